//! What a reader should see of a report, and in which order; no markup.

use std::fmt;

use super::object;
use super::units::{bytes, count, micros, millis};
use crate::report::{
    CatalogueClass, Ledger, Phase, Report, Severity, Statement, StatementOutcome, Witnessed,
};
use crate::verdict::{RollbackProof, Verdict};

/// How something is to be felt: decides the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// The reason to stop.
    Bad,
}

/// How one object of the schema changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// New.
    Added,
    /// Gone.
    Removed,
    /// Different.
    Altered,
}

impl Sign {
    /// `+`, `-` or `~`.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Altered => "~",
        }
    }
}

/// One changed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaLine {
    /// How it changes.
    pub sign: Sign,
    /// The kind in words.
    pub kind: String,
    /// Its qualified name.
    pub identity: String,
    /// Its definition, or what is different about it.
    pub detail: String,
}

impl fmt::Display for SchemaLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.sign.symbol(), self.kind, self.identity)?;
        if !self.detail.is_empty() {
            write!(f, "  {}", self.detail)?;
        }
        Ok(())
    }
}

/// One statement on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    /// Counts from 1 in the order of execution.
    pub number: usize,
    /// Which virtual transaction; empty in autocommit.
    pub transaction: String,
    /// How long.
    pub duration: String,
    /// The text on one line.
    pub text: String,
    /// The command tag, the error, or what became of it.
    pub outcome: String,
    /// How it ended.
    pub tone: Tone,
}

/// The statement that ended the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Counts from 1.
    pub number: usize,
    /// Which transaction and how long: `transaction 3, after 12.3 ms`.
    pub place: String,
    /// The statement's lines.
    pub text: Vec<String>,
    /// `SQLSTATE: message`, then table and constraint.
    pub error: Vec<String>,
}

/// One line with a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// How it is to be felt.
    pub tone: Tone,
    /// What was found.
    pub text: String,
}

/// A report as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// `PASSED`, `FAILED`, `NOT REHEARSED`, …
    pub verdict: String,
    /// How the verdict is to be felt.
    pub tone: Tone,
    /// What was run: `dry run of alembic upgrade head`.
    pub title: String,
    /// The one sentence.
    pub message: String,
    /// The statement that ended the run.
    pub failure: Option<Failure>,
    /// The last lines of the command's own output, when it did not end as it should.
    pub output: Vec<String>,
    /// Findings, worst first.
    pub findings: Vec<Mark>,
    /// The heading of the schema difference.
    pub schema_heading: String,
    /// What changes in the schema and in the version tables.
    pub schema: Vec<SchemaLine>,
    /// `12 statements in 3 transactions, 840 ms`.
    pub statements_heading: String,
    /// Every recorded statement.
    pub statements: Vec<StatementLine>,
    /// Statements beyond the bound.
    pub omitted: u64,
    /// The heading of the witness's part.
    pub rollback_heading: String,
    /// What the witness saw.
    pub rollback: Vec<Mark>,
    /// What a rollback does not undo.
    pub ledger: Vec<String>,
    /// Database, run, times.
    pub facts: Vec<(String, String)>,
}

/// How many lines of the command's own output help a reader.
const OUTPUT_LINES: usize = 12;

impl Outline {
    /// Arranges a report for reading.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let (verdict, tone) = headline(report);
        let run = match report.phase {
            Phase::DryRun => "dry run of",
            Phase::Upgrade => "upgrade with",
        };
        let command = if report.command.is_empty() {
            "an open rehearsal".to_owned()
        } else {
            report.command.join(" ")
        };
        let mut findings: Vec<_> = report.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let failure = failure(report);
        Self {
            title: format!("{run} {command}"),
            message: printable(&report.message),
            output: if tone == Tone::Bad {
                tail(&report.command_output)
            } else {
                Vec::new()
            },
            findings: findings
                .into_iter()
                .map(|finding| Mark {
                    tone: match finding.severity {
                        Severity::Info => Tone::Good,
                        Severity::Warning => Tone::Warning,
                        Severity::Error => Tone::Bad,
                    },
                    text: match finding.statement {
                        Some(index) => format!("{} (statement {})", finding.message, index + 1),
                        None => finding.message.clone(),
                    },
                })
                .collect(),
            schema_heading: match (report.phase, &report.verdict) {
                (Phase::Upgrade, _) => "Schema: what changed".to_owned(),
                (Phase::DryRun, Verdict::Passed) => "Schema: what the upgrade will do".to_owned(),
                (Phase::DryRun, _) => "Schema: as far as the rehearsal came".to_owned(),
            },
            schema: schema(report),
            statements_heading: statements_heading(report),
            statements: report
                .statements
                .iter()
                .enumerate()
                .map(|(index, statement)| statement_line(index, statement))
                .collect(),
            omitted: report.statements_omitted,
            rollback_heading: report
                .witness
                .as_ref()
                .map(rollback_heading)
                .unwrap_or_default(),
            rollback: report.witness.as_ref().map(rollback).unwrap_or_default(),
            ledger: ledger(&report.ledger),
            facts: facts(report),
            failure,
            verdict,
            tone,
        }
    }
}

fn headline(report: &Report) -> (String, Tone) {
    let (words, tone) = match &report.verdict {
        Verdict::Passed if report.nothing_to_do => ("NOTHING TO DO", Tone::Good),
        Verdict::Passed => ("PASSED", Tone::Good),
        Verdict::Failed => ("FAILED", Tone::Bad),
        Verdict::NotRehearsed(_) => ("NOT REHEARSED", Tone::Bad),
        Verdict::RollbackNotVerified => ("ROLLBACK NOT VERIFIED", Tone::Bad),
        Verdict::BudgetExceeded(_) => ("BUDGET EXCEEDED", Tone::Bad),
        Verdict::Environment(_) => ("NOT STARTED", Tone::Bad),
        Verdict::Drift => ("DRIFT", Tone::Bad),
        Verdict::UpgradeFailed(_) => ("UPGRADE FAILED", Tone::Bad),
        Verdict::UpgradeDiverged => ("UPGRADE DIVERGED", Tone::Bad),
        Verdict::Interrupted => ("INTERRUPTED", Tone::Warning),
    };
    (words.to_owned(), tone)
}

fn failure(report: &Report) -> Option<Failure> {
    if matches!(report.verdict, Verdict::Passed) {
        return None;
    }
    let named = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .find_map(|finding| finding.statement);
    let index = named.or_else(|| {
        report.statements.iter().rposition(|statement| {
            matches!(
                statement.outcome,
                StatementOutcome::Error(_) | StatementOutcome::Cut
            )
        })
    })?;
    let statement = report.statements.get(index)?;
    let mut place = Vec::new();
    if let Some(transaction) = statement.transaction {
        place.push(format!("transaction {transaction}"));
    }
    place.push(format!("after {}", micros(statement.micros)));
    let error = match &statement.outcome {
        StatementOutcome::Error(error) => {
            let mut lines = vec![format!("ERROR {}: {}", error.code, error.message)];
            if let Some(table) = &error.table {
                lines.push(format!("table {table}"));
            }
            if let Some(constraint) = &error.constraint {
                lines.push(format!("constraint {constraint}"));
            }
            lines
        }
        StatementOutcome::Cut => vec!["cut before it ended".to_owned()],
        StatementOutcome::Done { .. } | StatementOutcome::Substituted { .. } => Vec::new(),
    };
    Some(Failure {
        number: index + 1,
        place: place.join(", "),
        text: statement.text.lines().map(printable).collect(),
        error,
    })
}

fn tail(output: &str) -> Vec<String> {
    let lines: Vec<&str> = output.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(OUTPUT_LINES))
        .map(|line| printable(line))
        .collect()
}

/// A statement or a log line must not drive the reader's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\t' | '\n'))
        .collect()
}

fn schema(report: &Report) -> Vec<SchemaLine> {
    let Some(prediction) = &report.prediction else {
        return Vec::new();
    };
    let mut lines: Vec<SchemaLine> = prediction
        .difference
        .iter()
        .map(|(id, change)| object::line(id, change))
        .collect();
    for (name, after) in &prediction.predicted.versions {
        let shown = |rows: Option<&Vec<String>>| match rows {
            None => "no table".to_owned(),
            Some(rows) if rows.is_empty() => "empty".to_owned(),
            Some(rows) => rows.join(", "),
        };
        let before = prediction.before.versions.get(name);
        if before.map(|table| &table.rows) != Some(&after.rows) {
            lines.push(SchemaLine {
                sign: Sign::Altered,
                kind: "version".to_owned(),
                identity: name.clone(),
                detail: format!(
                    "{} → {}",
                    shown(before.and_then(|table| table.rows.as_ref())),
                    shown(after.rows.as_ref())
                ),
            });
        }
    }
    lines
}

fn statements_heading(report: &Report) -> String {
    let total = report.statements.len() as u64 + report.statements_omitted;
    if total == 0 {
        return String::new();
    }
    let mut transactions: Vec<_> = report
        .statements
        .iter()
        .filter_map(|statement| statement.transaction)
        .collect();
    transactions.sort_unstable();
    transactions.dedup();
    let spent: u64 = report
        .statements
        .iter()
        .map(|statement| statement.micros)
        .sum();
    let mut heading = count(total, "statement");
    if !transactions.is_empty() {
        heading.push_str(" in ");
        heading.push_str(&count(transactions.len() as u64, "transaction"));
    }
    format!("{heading}, {} on the server", micros(spent))
}

fn statement_line(index: usize, statement: &Statement) -> StatementLine {
    let (outcome, tone) = match &statement.outcome {
        StatementOutcome::Done { tag } => (tag.clone(), Tone::Good),
        StatementOutcome::Error(error) => (
            format!("ERROR {}: {}", error.code, error.message),
            Tone::Bad,
        ),
        StatementOutcome::Cut => ("cut before it ended".to_owned(), Tone::Bad),
        StatementOutcome::Substituted { by } if by.is_empty() => {
            ("skipped".to_owned(), Tone::Warning)
        }
        StatementOutcome::Substituted { by } => (format!("ran as: {by}"), Tone::Warning),
    };
    StatementLine {
        number: index + 1,
        transaction: statement
            .transaction
            .map(|number| number.to_string())
            .unwrap_or_default(),
        duration: micros(statement.micros),
        text: printable(
            &statement
                .text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        ),
        outcome,
        tone,
    }
}

fn rollback_heading(witness: &Witnessed) -> String {
    let word = match witness.rollback {
        RollbackProof::Verified => "verified",
        RollbackProof::Violated => "VIOLATED",
        RollbackProof::Unknown => "not provable",
    };
    format!("Rollback: {word}")
}

fn rollback(witness: &Witnessed) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut mark = |tone, text: String| marks.push(Mark { tone, text });
    match (witness.xid, witness.xact_status.as_deref()) {
        (None, _) => mark(
            Tone::Good,
            "no transaction id was ever assigned: nothing was written".to_owned(),
        ),
        (Some(xid), Some("aborted")) => mark(Tone::Good, format!("transaction {xid} is aborted")),
        (Some(xid), Some(status)) => mark(Tone::Bad, format!("transaction {xid} is {status}")),
        (Some(xid), None) => mark(
            Tone::Warning,
            format!("the fate of transaction {xid} could not be read"),
        ),
    }
    let moved_really = witness
        .moved
        .iter()
        .filter(|moved| moved.class == CatalogueClass::Real)
        .count();
    if !witness.unchanged.is_empty() {
        mark(
            Tone::Good,
            format!(
                "{} exactly as before, row by row",
                catalogues(witness.unchanged.len())
            ),
        );
    }
    for moved in &witness.moved {
        let what = match moved.class {
            CatalogueClass::Temporary => "only temporary objects moved",
            CatalogueClass::FileOnly => "only file names moved",
            CatalogueClass::Real => "rows moved",
        };
        let detail = if moved.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", printable(&moved.detail))
        };
        match &moved.attributed_to {
            Some(whose) => mark(
                Tone::Warning,
                format!("{}: {what}{detail}, by {whose}", moved.catalogue),
            ),
            None => mark(
                if moved.class == CatalogueClass::Real {
                    Tone::Bad
                } else {
                    Tone::Good
                },
                format!("{}: {what}{detail}", moved.catalogue),
            ),
        }
    }
    if witness.nothing_committed_meanwhile && moved_really == 0 {
        mark(
            Tone::Good,
            "nothing at all committed in the whole cluster meanwhile".to_owned(),
        );
    }
    if witness.leftovers.is_empty() {
        mark(
            Tone::Good,
            "no session, lock, prepared transaction, slot or temporary schema of ours is left"
                .to_owned(),
        );
    }
    for leftover in &witness.leftovers {
        mark(Tone::Bad, format!("left behind: {leftover}"));
    }
    for unproven in &witness.unproven {
        mark(Tone::Warning, format!("not proven: {unproven}"));
    }
    if !witness.not_covered.is_empty() {
        mark(
            Tone::Warning,
            format!(
                "not readable by this role, so not compared: {}",
                witness.not_covered.join(", ")
            ),
        );
    }
    marks
}

fn catalogues(number: usize) -> String {
    format!("{} are", count(number as u64, "catalogue"))
        .replace("1 catalogue are", "1 catalogue is")
}

fn ledger(ledger: &Ledger) -> Vec<String> {
    let number = |value: Option<i64>| value.map_or_else(|| "unset".to_owned(), |v| v.to_string());
    let mut lines: Vec<String> = ledger
        .sequences
        .iter()
        .map(|sequence| {
            format!(
                "sequence {} moved {} → {}",
                sequence.name,
                number(sequence.before),
                number(sequence.after)
            )
        })
        .collect();
    if let Some(wal) = ledger.wal_bytes.filter(|wal| *wal > 0) {
        lines.push(format!("at most {} of write-ahead log", bytes(wal)));
    }
    if let Some(growth) = ledger.bloat_bytes.filter(|growth| *growth > 0) {
        lines.push(format!(
            "{} more in the database's files, for VACUUM to reuse",
            bytes(growth.unsigned_abs())
        ));
    }
    match ledger.standbys {
        Some(0) => {}
        Some(number) => lines.push(format!(
            "{} replayed the locks",
            count(u64::from(number), "standby").replace("standbys", "standbys that are connected")
        )),
        None => lines.push("standbys: unknown (the role may not see them)".to_owned()),
    }
    lines
}

fn facts(report: &Report) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |label: &str, value: String| facts.push((label.to_owned(), value));
    if let Some(database) = &report.database {
        let size = database
            .size_bytes
            .map(|size| format!(", {}", bytes(size)))
            .unwrap_or_default();
        fact(
            "database",
            format!(
                "{} on PostgreSQL {} as {}{size}",
                database.name, database.server_version, database.role
            ),
        );
    }
    match report.command_exit {
        Some(code) => fact(
            "command",
            format!("exit code {code} after {}", millis(report.command_millis)),
        ),
        None if !report.command.is_empty() && report.command_millis > 0 => fact(
            "command",
            format!("stopped after {}", millis(report.command_millis)),
        ),
        None => {}
    }
    let took = report.finished.as_millisecond() - report.started.as_millisecond();
    fact(
        "run",
        format!(
            "{}, {} in all",
            report.run.0,
            millis(u64::try_from(took).unwrap_or_default())
        ),
    );
    if let Some(evidence) = &report.bound_to {
        fact("rehearsed as", evidence.to_string());
    }
    facts
}
