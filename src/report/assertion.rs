//! What became of a question about the data.

use serde::{Deserialize, Serialize};

use super::ServerError;

/// One assertion and its answer. What it found is counted, never kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assertion {
    /// Its name in the specification.
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: AssertionOutcome,
    /// How many rows it found, at most 10,000; `None` when it has no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// From sending to the answer, in microseconds.
    pub micros: u64,
}

/// How an assertion ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum AssertionOutcome {
    /// It found what it expects.
    Held,
    /// It found something else.
    Failed {
        /// What, without a value: "37 rows, where none is expected".
        found: String,
    },
    /// The server answered with an error.
    Error(ServerError),
    /// It took longer than its budget.
    TimedOut,
    /// It was not sent.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Assertion {
    /// Whether it found what it expects.
    #[must_use]
    pub fn held(&self) -> bool {
        self.outcome == AssertionOutcome::Held
    }

    /// What became of it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.outcome {
            AssertionOutcome::Held => "held".to_owned(),
            AssertionOutcome::Failed { found } => format!("failed: {found}"),
            AssertionOutcome::Error(error) => {
                format!("failed: ERROR {}: {}", error.code, error.message)
            }
            AssertionOutcome::TimedOut => "took longer than its budget".to_owned(),
            AssertionOutcome::Refused { reason } => format!("was not asked: {reason}"),
        }
    }
}
