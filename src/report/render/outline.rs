//! What a reader should see of a report, and in which order; no markup.

use std::fmt;

use super::object;
use super::proof::{ledger, rollback, rollback_heading};
use super::revisions;
use super::trip::round_trip;
use crate::report::units::{bytes, count, micros, millis};
use crate::report::{
    Assertion, Checked, CheckedAt, Finding, Fixture, Phase, Report, Severity, Statement,
    StatementOutcome, revision,
};
use crate::verdict::Verdict;

/// How something is to be felt: decides the colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// The reason to stop.
    Bad,
    /// Neither good nor bad.
    #[default]
    Plain,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The rows that were put in before the command.
    pub fixtures: Vec<Mark>,
    /// The questions about the data.
    pub assertions: Vec<Mark>,
    /// The team's own checks.
    pub checks: Vec<Mark>,
    /// The heading of the revisions.
    pub revisions_heading: String,
    /// Where the database stands among the tool's revisions, and what is pending.
    pub revisions: Vec<Mark>,
    /// The heading of the schema difference.
    pub schema_heading: String,
    /// What changes in the schema and in the version tables.
    pub schema: Vec<SchemaLine>,
    /// `12 statements in 3 transactions, 840 ms`.
    pub statements_heading: String,
    /// Every recorded statement.
    pub statements: Vec<StatementLine>,
    /// Each of Alembic's revisions: the index of its first statement, and how many there were and
    /// how long they took.
    pub revision_headings: Vec<(usize, String)>,
    /// Statements beyond the bound.
    pub omitted: u64,
    /// The way back and forth again.
    pub round_trip: Vec<Mark>,
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
        let failure = failure(report);
        Self {
            title: title(report),
            message: printable(&report.message),
            output: if tone == Tone::Bad {
                tail(&report.command_output)
            } else {
                Vec::new()
            },
            findings: findings(&report.findings),
            revisions_heading: report
                .revisions
                .as_ref()
                .map(revisions::heading)
                .unwrap_or_default(),
            revisions: report
                .revisions
                .as_ref()
                .map(revisions::marks)
                .unwrap_or_default(),
            fixtures: report.fixtures.iter().map(fixture).collect(),
            assertions: report.assertions.iter().map(assertion).collect(),
            checks: report.checks.iter().flat_map(checked).collect(),
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
            revision_headings: revision_headings(report),
            omitted: report.statements_omitted,
            round_trip: report
                .round_trip
                .as_ref()
                .map(round_trip)
                .unwrap_or_default(),
            rollback_heading: report
                .witness
                .as_ref()
                .map(rollback_heading)
                .unwrap_or_default(),
            rollback: report.witness.as_ref().map(rollback).unwrap_or_default(),
            // Without a rehearsal there was nothing to roll back.
            ledger: report
                .witness
                .as_ref()
                .map(|_| ledger(&report.ledger))
                .unwrap_or_default(),
            facts: facts(report),
            failure,
            verdict,
            tone,
        }
    }
}

fn tone(good: bool) -> Tone {
    if good { Tone::Good } else { Tone::Bad }
}

fn fixture(fixture: &Fixture) -> Mark {
    Mark {
        tone: tone(fixture.is_in()),
        text: printable(&format!(
            "{} {} ({})",
            fixture.name,
            fixture.words(),
            micros(fixture.micros)
        )),
    }
}

fn assertion(assertion: &Assertion) -> Mark {
    Mark {
        tone: tone(assertion.held()),
        text: printable(&format!(
            "{} {} ({})",
            assertion.name,
            assertion.words(),
            micros(assertion.micros)
        )),
    }
}

fn checked(check: &Checked) -> Vec<Mark> {
    let at = match check.at {
        CheckedAt::Before => ", before the upgrade,",
        CheckedAt::After => "",
    };
    let said = Mark {
        tone: tone(check.passed()),
        text: printable(&format!(
            "{}{at} {} ({}, {})",
            check.name,
            check.words(),
            millis(check.millis),
            count(check.statements, "statement")
        )),
    };
    let output = tail(&check.output).into_iter().map(|text| Mark {
        tone: Tone::Plain,
        text,
    });
    std::iter::once(said).chain(output).collect()
}

/// Findings, worst first.
pub(super) fn findings(found: &[Finding]) -> Vec<Mark> {
    let mut findings: Vec<_> = found.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
        .into_iter()
        .map(|finding| Mark {
            tone: match finding.severity {
                Severity::Info => Tone::Plain,
                Severity::Warning => Tone::Warning,
                Severity::Error => Tone::Bad,
            },
            text: match finding.statement {
                Some(index) => {
                    format!("{} (statement {})", printable(&finding.message), index + 1)
                }
                None => printable(&finding.message),
            },
        })
        .collect()
}

fn title(report: &Report) -> String {
    let command = one_line(&report.command.join(" "));
    match report.phase {
        Phase::DryRun if command.is_empty() => "open rehearsal".to_owned(),
        Phase::DryRun => format!("dry run of {}", printable(&command)),
        Phase::Upgrade => format!("upgrade with {}", printable(&command)),
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
            let mut lines = vec![format!(
                "ERROR {}: {}",
                error.code,
                printable(&error.message)
            )];
            if let Some(table) = &error.table {
                let schema = error.schema.as_ref().map(|schema| format!("{schema}."));
                lines.push(format!(
                    "table {}{}",
                    printable(&schema.unwrap_or_default()),
                    printable(table)
                ));
            }
            if !error.columns.is_empty() {
                lines.push(format!("columns {}", printable(&error.columns.join(", "))));
            }
            if let Some(constraint) = &error.constraint {
                lines.push(format!("constraint {}", printable(constraint)));
            }
            let violation = statement.violation.iter();
            lines.extend(violation.flat_map(|it| it.lines()).map(|it| printable(&it)));
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

/// What a migration wrote must not drive the reader's terminal, nor turn its text around.
pub(super) fn printable(text: &str) -> String {
    let turns_around = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .filter(|c| !c.is_control() && !turns_around(*c) || matches!(c, '\t' | '\n'))
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
                identity: printable(name),
                detail: printable(&format!(
                    "{} → {}",
                    shown(before.and_then(|table| table.rows.as_ref())),
                    shown(after.rows.as_ref())
                )),
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

fn revision_headings(report: &Report) -> Vec<(usize, String)> {
    let ranges = revision::boundaries(&report.statements, &report.version_tables());
    let numbered = (1..).zip(ranges);
    numbered
        .map(|(number, range): (u32, _)| {
            let from = range.start;
            let own = report.statements.get(range).unwrap_or_default();
            let heading = format!(
                "revision {number}: {}, {}",
                count(own.len() as u64, "statement"),
                micros(revision::spent(own))
            );
            (from, heading)
        })
        .collect()
}

fn statement_line(index: usize, statement: &Statement) -> StatementLine {
    let (outcome, tone) = match &statement.outcome {
        StatementOutcome::Done { tag } => (tag.clone(), Tone::Good),
        StatementOutcome::Error(error) => (
            format!("ERROR {}: {}", error.code, printable(&error.message)),
            Tone::Bad,
        ),
        StatementOutcome::Cut => ("cut before it ended".to_owned(), Tone::Bad),
        StatementOutcome::Substituted { by } if by.is_empty() => {
            ("skipped".to_owned(), Tone::Warning)
        }
        StatementOutcome::Substituted { by } => (
            format!("ran as: {}", printable(&one_line(by))),
            Tone::Warning,
        ),
    };
    StatementLine {
        number: index + 1,
        transaction: statement
            .transaction
            .map(|number| number.to_string())
            .unwrap_or_default(),
        duration: micros(statement.micros),
        text: printable(&one_line(&statement.text)),
        outcome,
        tone,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
    let rehearsed = report
        .rehearsed_command_millis
        .map(|rehearsed| format!("; rehearsed in {}", millis(rehearsed)))
        .unwrap_or_default();
    match report.command_exit {
        Some(code) => fact(
            "command",
            format!(
                "exit code {code}, took {}{rehearsed}",
                millis(report.command_millis)
            ),
        ),
        None if !report.command.is_empty() && report.command_millis > 0 => fact(
            "command",
            format!("stopped after {}{rehearsed}", millis(report.command_millis)),
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
