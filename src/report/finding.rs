//! What a reader should know besides the verdict.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth changing.
    Warning,
    /// The reason of the verdict.
    Error,
}

/// The code of a wait for locks of other sessions, which the message names.
pub const WAITED_FOR_LOCK: &str = "WaitedForLock";

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// A constant name in CamelCase, e.g. `ConcurrentlySubstituted`.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What happened, where, and what to do.
    pub message: String,
    /// The index into the report's statements, when it is about one.
    pub statement: Option<usize>,
}
