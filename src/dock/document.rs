//! From the records of a run to the document that it leaves.

use jiff::Timestamp;

use super::decide::{self, After};
use super::link::{Ended, How};
use super::record::{DryRun, Run, Said, Upgrade};
use crate::report::{
    Database, FORMAT_VERSION, Finding, Ledger, Phase, Prediction, Report, Witnessed, revision,
};

/// The document of a run that ended before its command could be started.
#[must_use]
pub fn not_started(
    run: &Run,
    phase: Phase,
    database: Option<Database>,
    said: Said,
    finished: Timestamp,
) -> Report {
    empty(run, phase, database, said, finished)
}

/// The document of a dry run. `witness` is what the witness saw, or why it could not look.
#[must_use]
pub fn dry_run(
    record: DryRun,
    witness: Result<(Witnessed, Ledger), String>,
    finished: Timestamp,
) -> Report {
    let seen = witness
        .as_ref()
        .map(|(seen, _)| seen)
        .map_err(String::as_str);
    let said = decide::dry_run(&record, Some(seen));
    let mut report = empty(
        &record.run,
        Phase::DryRun,
        record.database.clone(),
        said,
        finished,
    );
    report.nothing_to_do =
        report.verdict == crate::verdict::Verdict::Passed && decide::nothing_to_do(&record);
    if let Ok((seen, ledger)) = witness {
        report.witness = Some(seen);
        report.ledger = ledger;
    }
    command(&mut report, record.ended);
    report.longest_wait_millis = record.longest_wait_millis;
    report.statements = record.rehearsal.statements;
    report.statements_omitted = record.rehearsal.omitted;
    report.findings = record.rehearsal.findings;
    report.findings.extend(record.findings);
    report.revisions = record.revisions;
    report.round_trip = record.second.map(|second| second.report);
    report.prediction = record.prediction;
    let tables = report.version_tables();
    revision::number(&mut report.statements, &tables);
    report.fixtures = record.fixtures;
    report.assertions = record.assertions;
    report.checks = record.checks;
    report
}

/// The document of an upgrade. `rehearsed_millis` is how long the command ran in the dry run,
/// `after` what was read once it had ended, or why it could not be read.
#[must_use]
pub fn upgrade(
    record: Upgrade,
    predicted: &Prediction,
    rehearsed_millis: u64,
    after: Result<After, String>,
    finished: Timestamp,
) -> Report {
    let said = decide::upgrade(&record, predicted, after.as_ref().map_err(String::as_str));
    let mut report = empty(
        &record.run,
        Phase::Upgrade,
        record.database.clone(),
        said,
        finished,
    );
    report.rehearsed_command_millis = record.ended.as_ref().map(|_| rehearsed_millis);
    command(&mut report, record.ended);
    report.bound_to = record.bound_to;
    report.findings = record.findings;
    report.prediction = after.ok().map(|after| Prediction {
        before: after.before,
        predicted: after.state,
        difference: after.difference,
        during: after.during,
        pieces: None,
    });
    report
}

/// The document of an upgrade that cannot be compared with what was rehearsed: `reason` says what
/// is missing for that.
#[must_use]
pub fn unjudged(record: Upgrade, reason: &str, finished: Timestamp) -> Report {
    let said = decide::unjudged(&record, reason);
    let mut report = empty(
        &record.run,
        Phase::Upgrade,
        record.database.clone(),
        said,
        finished,
    );
    command(&mut report, record.ended);
    report.bound_to = record.bound_to;
    report.findings = record.findings;
    report
}

fn command(report: &mut Report, ended: Option<Ended>) {
    let Some(ended) = ended else {
        return;
    };
    report.command_millis = ended.millis;
    report.command_output = ended.output;
    report.command_exit = match ended.how {
        How::Exited { code } => Some(code),
        _ => None,
    };
}

fn empty(
    run: &Run,
    phase: Phase,
    database: Option<Database>,
    said: Said,
    finished: Timestamp,
) -> Report {
    Report {
        format: FORMAT_VERSION,
        drydock: env!("CARGO_PKG_VERSION").to_owned(),
        run: run.id.clone(),
        attempt: run.attempt,
        phase,
        verdict: said.verdict,
        message: said.message,
        nothing_to_do: false,
        command: run.command.clone(),
        tool: run.tool.clone(),
        command_exit: None,
        command_output: String::new(),
        started: run.started,
        finished,
        command_millis: 0,
        rehearsed_command_millis: None,
        longest_wait_millis: None,
        database,
        statements: Vec::new(),
        statements_omitted: 0,
        findings: Vec::<Finding>::new(),
        fixtures: Vec::new(),
        assertions: Vec::new(),
        checks: Vec::new(),
        revisions: None,
        prediction: None,
        round_trip: None,
        bound_to: None,
        witness: None,
        ledger: Ledger::default(),
    }
}
