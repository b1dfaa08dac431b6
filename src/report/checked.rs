//! What became of a check of the team's own.

use serde::{Deserialize, Serialize};

/// One check, and how it ended. Its statements are counted, none is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Its name in the specification.
    pub name: String,
    /// When it was started.
    pub at: CheckedAt,
    /// Word by word.
    pub command: Vec<String>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: CheckOutcome,
    /// How many statements it sent through the rehearsal.
    pub statements: u64,
    /// Milliseconds.
    pub millis: u64,
    /// The last lines of its output, when it did not pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// When a check was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckedAt {
    /// Before the upgrade.
    Before,
    /// After it.
    After,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum CheckOutcome {
    /// With 0.
    Passed,
    /// With another exit code.
    Failed {
        /// The exit code.
        exit: i32,
    },
    /// By a signal that drydock did not send.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// It took longer than its budget, and was ended.
    TimedOut,
    /// It failed behind a lock that somebody else held for too long.
    LockWait,
    /// A part of what it wanted to do cannot be done in a rehearsal.
    NotRehearsed {
        /// Which, and what to do.
        reason: String,
    },
    /// It could not be started, or whoever ran it is gone.
    NotStarted {
        /// Why.
        reason: String,
    },
}

impl Checked {
    /// Whether it passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.outcome == CheckOutcome::Passed
    }

    /// What became of it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.outcome {
            CheckOutcome::Passed => "passed".to_owned(),
            CheckOutcome::Failed { exit } => format!("failed with exit code {exit}"),
            CheckOutcome::Killed { signal } => {
                format!("was killed by signal {signal}, which drydock did not send")
            }
            CheckOutcome::TimedOut => "took longer than its budget, and was ended".to_owned(),
            CheckOutcome::LockWait => {
                "failed, since a lock that it needs is held by another session".to_owned()
            }
            CheckOutcome::NotRehearsed { reason } => {
                format!("wanted what cannot be rehearsed: {reason}")
            }
            CheckOutcome::NotStarted { reason } => format!("could not be started: {reason}"),
        }
    }
}
