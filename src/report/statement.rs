//! One statement as it was executed.

use serde::{Deserialize, Serialize};

/// A lock that one statement took for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// The mode in PostgreSQL's words, e.g. `AccessExclusiveLock`.
    pub mode: String,
    /// Qualified name of the relation.
    pub relation: String,
}

/// An error as the server wrote it, without DETAIL (which may hold rows).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerError {
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// The constraint, when the server names one.
    pub constraint: Option<String>,
    /// The table, when the server names one.
    pub table: Option<String>,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum StatementOutcome {
    /// It completed.
    Done {
        /// The command tag, e.g. `ALTER TABLE` or `INSERT 0 5`.
        tag: String,
    },
    /// The server (or the rehearsal in its place) answered with an error.
    Error(ServerError),
    /// It never ended: the run was cut.
    Cut,
    /// It was replaced by another form or skipped; a finding says which.
    Substituted {
        /// What ran instead; empty when it was skipped.
        by: String,
    },
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// The text with the literals of DML normalised and passwords removed; at most 4 KiB.
    pub text: String,
    /// Which of the command's connections, counting from 1.
    pub client: u32,
    /// Which virtual transaction, counting from 1; `None` in autocommit.
    pub transaction: Option<u32>,
    /// From sending to the last answer, in microseconds.
    pub micros: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: StatementOutcome,
    /// Locks that it was the first to take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<Lock>,
}
