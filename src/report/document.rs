//! The document itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Assertion, Checked, Finding, Fixture, Ledger, Revisions, RoundTrip, Statement, Witnessed,
};
use crate::schema::{Difference, Span, State};
use crate::verdict::Verdict;

/// The version of the document's format. Readers refuse a greater one.
pub const FORMAT_VERSION: u32 = 1;

/// The identity of one run: in the cluster the Job's name, elsewhere random. It is part of
/// `application_name` (`drydock/<run>`), so it is at most 50 bytes of `[a-z0-9-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

/// What kind of run the document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A rehearsal that was rolled back.
    DryRun,
    /// A real upgrade.
    Upgrade,
}

/// Which database the run met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// `system_identifier` of `pg_control_system()`, as text; empty when the role may not read it.
    pub system_identifier: String,
    /// The timeline.
    pub timeline: u32,
    /// `current_database()`.
    pub name: String,
    /// `server_version` as the server writes it.
    pub server_version: String,
    /// The major version, e.g. 18.
    pub major: u32,
    /// `current_user`.
    pub role: String,
    /// Bytes, by `pg_database_size`; `None` when it was not asked for.
    pub size_bytes: Option<u64>,
}

/// What the rehearsal says the upgrade will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// The state before.
    pub before: State,
    /// The state just before the rollback.
    pub predicted: State,
    /// What changed between the two.
    pub difference: Difference,
    /// When, by the server's clock: definitions may hold that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<Span>,
    /// In how many transactions the command commits what it may have written. Where that is more than
    /// one, the schema alone does not tell which of the rows of a broken-off upgrade are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<u32>,
}

impl Prediction {
    /// Whether the state tells which of the command's pieces are there: there is one only, a version
    /// table moves with them, or the tool `remembers` them itself.
    #[must_use]
    pub fn tells_pieces(&self, remembers: bool) -> bool {
        remembers || self.pieces == Some(1) || self.before.versions != self.predicted.versions
    }
}

/// One run, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`FORMAT_VERSION`] of the writer.
    pub format: u32,
    /// The writer's own version.
    pub drydock: String,
    /// Which run.
    pub run: RunId,
    /// Counts from 1 for each input.
    pub attempt: u32,
    /// Dry run or upgrade.
    pub phase: Phase,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// One sentence: what happened, where, what to do.
    pub message: String,
    /// True when the command ran, succeeded and wrote nothing that a commit would have kept, and the
    /// database stood where it had stood before.
    pub nothing_to_do: bool,
    /// The migration command, word by word.
    pub command: Vec<String>,
    /// The preset: `alembic` or `generic`.
    pub tool: String,
    /// The command's own exit code, when it ended by itself.
    pub command_exit: Option<i32>,
    /// The last lines that the command wrote, passwords removed; at most 16 KiB.
    pub command_output: String,
    /// When the run began.
    pub started: Timestamp,
    /// When the verdict was known.
    pub finished: Timestamp,
    /// How long the command itself ran, in milliseconds.
    pub command_millis: u64,
    /// In an upgrade how long it ran in the dry run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed_command_millis: Option<u64>,
    /// In a dry run the longest that another session waited behind it, in milliseconds; `None` when
    /// nobody looked.
    #[serde(default)]
    pub longest_wait_millis: Option<u64>,
    /// Which database; `None` when it was never reached.
    pub database: Option<Database>,
    /// What was executed, in order. Bounded: see `statements_omitted`.
    pub statements: Vec<Statement>,
    /// Statements beyond the bound.
    pub statements_omitted: u64,
    /// What a reader should know besides the verdict.
    pub findings: Vec<Finding>,
    /// In a dry run the rows that were put in before the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixtures: Vec<Fixture>,
    /// In a dry run the questions about the data, and their answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assertions: Vec<Assertion>,
    /// In a dry run the team's own checks, and how they ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Checked>,
    /// In a dry run of Alembic's, what its revisions say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Revisions>,
    /// In a dry run the prediction, in an upgrade what really happened.
    pub prediction: Option<Prediction>,
    /// The way back and forth again, in a second transaction; `None` when it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<RoundTrip>,
    /// In an upgrade the digest of the evidence that it was bound to.
    pub bound_to: Option<crate::verdict::EvidenceDigest>,
    /// What the witness saw. `None` in an upgrade.
    pub witness: Option<Witnessed>,
    /// What a rollback does not undo.
    pub ledger: Ledger,
}

impl Report {
    /// Alembic's version tables, as far as the run has seen them.
    #[must_use]
    pub fn version_tables(&self) -> Vec<String> {
        let seen = self.prediction.iter().flat_map(|prediction| {
            let states = [&prediction.before, &prediction.predicted];
            states.into_iter().flat_map(|state| state.versions.values())
        });
        let mut tables: Vec<String> = seen
            .filter(|table| table.alembic)
            .map(|table| table.name.clone())
            .chain(self.revisions.iter().flat_map(|it| it.tables.clone()))
            .collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }
}
