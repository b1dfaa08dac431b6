//! Any command.

/// A command of which nothing is known but what the user says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generic {
    /// Word by word; empty for an open rehearsal.
    pub command: Vec<String>,
    /// The way back, word by word; empty when none is known.
    pub downgrade: Vec<String>,
    /// Tables in which the tool remembers what it has applied.
    pub version_tables: Vec<String>,
}
