//! What the side that held the database says of a run; the witness decides over it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::before::{Before, Holder};
use super::link::{Ended, How};
use super::timeouts;
use crate::report::{
    Assertion, Checked, Database, Finding, Fixture, Prediction, Revisions, RoundTrip, RunId,
    Severity, Statement,
};
use crate::verdict::{EvidenceDigest, Verdict};
use crate::witness::{Bypass, Taken};

/// A verdict with its sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What happened, where, what to do.
    pub message: String,
}

impl Said {
    /// Joins the two.
    #[must_use]
    pub fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            verdict,
            message: message.into(),
        }
    }
}

/// What every document of one run has in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Which run.
    pub id: RunId,
    /// Counts from 1 for each input.
    pub attempt: u32,
    /// The command, word by word; empty for an open rehearsal.
    pub command: Vec<String>,
    /// The preset's name.
    pub tool: String,
    /// When it began.
    pub started: Timestamp,
}

/// A dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// Which run.
    pub run: Run,
    /// Which database.
    pub database: Option<Database>,
    /// How the command ended; `None` for an open rehearsal and for a command that never started.
    pub ended: Option<Ended>,
    /// What the rehearsal saw.
    pub rehearsal: Rehearsed,
    /// Why the guard ended the run, if it did.
    pub guard: Option<Said>,
    /// Whether a session that went around the rehearsal was seen.
    pub bypass: bool,
    /// The longest that another session waited behind the rehearsal, as far as somebody looked.
    #[serde(default)]
    pub longest_wait_millis: Option<u64>,
    /// What the upgrade will do, as far as the command came.
    pub prediction: Option<Prediction>,
    /// What was observed outside the rehearsal.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The rows that were put in before the command.
    #[serde(default)]
    pub fixtures: Vec<Fixture>,
    /// The questions about the data, and their answers.
    #[serde(default)]
    pub assertions: Vec<Assertion>,
    /// The team's own checks, and how they ended.
    #[serde(default)]
    pub checks: Vec<Checked>,
    /// What Alembic says of its revisions, where it was asked.
    #[serde(default)]
    pub revisions: Option<Revisions>,
    /// The second transaction, when one was asked for and the first one passed.
    #[serde(default)]
    pub second: Option<SecondTransaction>,
    /// The role's own timeouts on transactions, which are off in the rehearsal.
    #[serde(default)]
    pub timeouts: RoleTimeouts,
    /// What was found and is not to be let through.
    #[serde(default)]
    pub denied: Option<Said>,
    /// A person or the system stopped the run.
    pub interrupted: bool,
    /// The sidecar crashed or the run never began; says why.
    pub broken: Option<Said>,
}

/// The rehearsal's own part of a dry run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsed {
    /// Whether the command ever connected.
    pub connected: bool,
    /// The top transaction id of the rehearsal.
    pub xid: Option<u64>,
    /// Whether the command wrote anything that a real commit would have kept.
    pub wrote: bool,
    /// In how many transactions it committed what it may have written.
    #[serde(default)]
    pub pieces: u32,
    /// The server process that held the transaction.
    pub backend_pid: Option<i32>,
    /// Whether every answer was as expected.
    pub gapless: bool,
    /// Whether the guard ended the run for a session that waited for what the plain form of a
    /// CONCURRENTLY statement had locked.
    #[serde(default)]
    pub blocked_by_substitution: bool,
    /// What was executed.
    pub statements: Vec<Statement>,
    /// Statements beyond the bound.
    pub omitted: u64,
    /// What was observed.
    pub findings: Vec<Finding>,
    /// The rehearsal's own verdict, when it has one.
    pub verdict: Option<Said>,
    /// The longest pause of a connection inside a transaction block; `None` when there was none that
    /// timeouts of the role's would count.
    #[serde(default)]
    pub longest_pause: Option<Lasted>,
    /// The longest transaction, pauses included, as far as timeouts of the role's would count it.
    #[serde(default)]
    pub longest_transaction: Option<Lasted>,
}

/// How long something lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lasted {
    /// How long, in milliseconds.
    pub millis: u64,
    /// The last statement before its end, counted from 1; 0 for none.
    pub statement: u64,
}

/// The role's own timeouts on transactions, in milliseconds; `None` is off (manual, "Client Connection
/// Defaults").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleTimeouts {
    /// `idle_in_transaction_session_timeout`.
    pub idle_in_transaction_millis: Option<u64>,
    /// `transaction_timeout` (PostgreSQL 17).
    pub transaction_millis: Option<u64>,
}

/// A real upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Which run.
    pub run: Run,
    /// Which database.
    pub database: Option<Database>,
    /// Whether the tool remembers what it has applied.
    pub remembers: bool,
    /// The evidence that it was bound to.
    pub bound_to: Option<EvidenceDigest>,
    /// How the command ended; `None` when it was not started.
    pub ended: Option<Ended>,
    /// The database was in the predicted state already, so nothing was run.
    pub already_applied: bool,
    /// What was observed outside the rehearsal.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// A person or the system stopped the run.
    pub interrupted: bool,
    /// The sidecar crashed or the run never began; says why.
    pub broken: Option<Said>,
}

/// What became of the second transaction of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecondTransaction {
    /// What the rehearsal itself recorded.
    pub rehearsal: Rehearsed,
    /// Whether a session of a command went around it.
    pub bypass: bool,
    /// What it showed.
    pub report: RoundTrip,
    /// The same, judged.
    pub findings: Vec<Finding>,
    /// Whether it was stopped by somebody.
    pub interrupted: bool,
    /// Whether the connection that holds drydock's lock was lost in it.
    pub lost: bool,
}

impl SecondTransaction {
    /// It was begun, and its record is lost.
    fn broken(holder: Holder) -> Self {
        Self {
            rehearsal: Rehearsed {
                backend_pid: Some(holder.backend_pid),
                xid: holder.xid,
                ..Rehearsed::default()
            },
            ..Self::not_done("its record is lost".to_owned())
        }
    }

    /// None was begun.
    #[must_use]
    pub fn not_done(reason: String) -> Self {
        Self {
            rehearsal: Rehearsed {
                gapless: true,
                ..Rehearsed::default()
            },
            bypass: false,
            report: RoundTrip {
                cut: Some(reason),
                ..RoundTrip::default()
            },
            findings: Vec::new(),
            interrupted: false,
            lost: false,
        }
    }
}

impl DryRun {
    /// Whether the command worked on the database without the rehearsal.
    #[must_use]
    pub fn went_around(&self) -> Bypass {
        if self.bypass || self.second.as_ref().is_some_and(|second| second.bypass) {
            Bypass::Seen
        } else if self.ended.is_some() && !self.rehearsal.connected {
            Bypass::Possible
        } else {
            Bypass::None
        }
    }

    /// Whether the first transaction passed, as far as can be said before the witness has looked.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        let well = self
            .ended
            .as_ref()
            .is_some_and(|ended| ended.how == How::Exited { code: 0 });
        well && self.rehearsal.wrote
            && self.assertions.iter().all(Assertion::held)
            && self.checks.iter().all(Checked::passed)
            && self.rehearsal.gapless
            && self.rehearsal.verdict.is_none()
            && timeouts::exceeded(&self.timeouts, &self.rehearsal).is_none()
            && self.guard.is_none()
            && self.broken.is_none()
            && !self.interrupted
    }

    /// Does not let through what has one of these codes.
    pub fn deny(&mut self, codes: &[String]) {
        for finding in &mut self.findings {
            if !codes.contains(&finding.code) {
                continue;
            }
            finding.severity = Severity::Error;
            self.denied.get_or_insert_with(|| {
                Said::new(
                    Verdict::Failed,
                    format!("{} ({}, which is denied)", finding.message, finding.code),
                )
            });
        }
    }

    /// The transactions whose rollback is to be proven.
    #[must_use]
    pub fn transactions(&self) -> Vec<Taken> {
        std::iter::once(&self.rehearsal)
            .chain(self.second.as_ref().map(|second| &second.rehearsal))
            .map(|rehearsed| Taken {
                xid: rehearsed.xid,
                backend_pid: rehearsed.backend_pid,
            })
            .collect()
    }

    /// Whether every answer of the server was as expected, in all of them.
    #[must_use]
    pub fn gapless(&self) -> bool {
        self.rehearsal.gapless
            && self
                .second
                .as_ref()
                .is_none_or(|second| second.rehearsal.gapless)
    }

    /// A dry run of which nothing is left but the state before and the reason.
    #[must_use]
    pub fn broken(run: Run, before: &Before, said: Said) -> Self {
        Self {
            database: Some(before.database.clone()),
            rehearsal: Rehearsed {
                backend_pid: before.holder.map(|holder| holder.backend_pid),
                xid: before.holder.and_then(|holder| holder.xid),
                ..Rehearsed::default()
            },
            second: before.again.map(SecondTransaction::broken),
            broken: Some(said),
            ..Self::unseen(run)
        }
    }

    /// A dry run of which nothing is known.
    #[must_use]
    pub fn unseen(run: Run) -> Self {
        Self {
            run,
            database: None,
            ended: None,
            rehearsal: Rehearsed::default(),
            guard: None,
            bypass: false,
            longest_wait_millis: None,
            prediction: None,
            findings: Vec::new(),
            fixtures: Vec::new(),
            assertions: Vec::new(),
            checks: Vec::new(),
            revisions: None,
            second: None,
            timeouts: RoleTimeouts::default(),
            denied: None,
            interrupted: false,
            broken: None,
        }
    }
}

impl Upgrade {
    /// An upgrade that begins.
    #[must_use]
    pub fn begun(
        run: Run,
        database: Database,
        remembers: bool,
        bound_to: Option<EvidenceDigest>,
    ) -> Self {
        Self {
            run,
            database: Some(database),
            remembers,
            bound_to,
            ended: None,
            already_applied: false,
            findings: Vec::new(),
            interrupted: false,
            broken: None,
        }
    }
}
