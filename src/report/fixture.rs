//! What became of the rows that a rehearsal was given.

use serde::{Deserialize, Serialize};

use super::ServerError;

/// One fixture, and whether it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fixture {
    /// Its name in the specification.
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: FixtureOutcome,
    /// From sending to the last answer, in microseconds.
    pub micros: u64,
}

/// How a fixture ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum FixtureOutcome {
    /// It is in.
    Inserted,
    /// The server answered with an error.
    Error(ServerError),
    /// It was not sent, or it did more than a fixture may.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Fixture {
    /// Whether it is in.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.outcome == FixtureOutcome::Inserted
    }

    /// What became of it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.outcome {
            FixtureOutcome::Inserted => "is in".to_owned(),
            FixtureOutcome::Error(error) => {
                format!("failed: ERROR {}: {}", error.code, error.message)
            }
            FixtureOutcome::Refused { reason } => format!("was refused: {reason}"),
        }
    }
}
