//! What a rollback does not undo, with figures.

use serde::{Deserialize, Serialize};

/// A sequence whose value is another than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SequenceMoved {
    /// Qualified name.
    pub name: String,
    /// `last_value` before, `None` when it could not be read or was never called.
    pub before: Option<i64>,
    /// `last_value` after.
    pub after: Option<i64>,
}

/// What the planner is told of a table is another than before: building an index writes it in place
/// (`pg_class`, in the manual's chapter "System Catalogs"), and VACUUM or ANALYZE puts it right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HintsMoved {
    /// Qualified name.
    pub name: String,
    /// Before.
    pub before: Hints,
    /// After.
    pub after: Hints,
}

/// What `pg_class` says of a table's rows and indexes, without being held to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hints {
    /// `relhasindex`: it has, or recently had, an index.
    pub has_index: bool,
    /// `reltuples`: about how many rows; -1 or, before PostgreSQL 14, 0 for unknown.
    pub tuples: i64,
}

/// Everything that stays although the transaction was rolled back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Sequences that moved while the rehearsal ran.
    pub sequences: Vec<SequenceMoved>,
    /// Tables of which `pg_class` says something else than before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<HintsMoved>,
    /// Bytes of write-ahead log written in the whole cluster meanwhile, an upper bound.
    pub wal_bytes: Option<u64>,
    /// Growth of the database's files in bytes: dead rows and pages that VACUUM will reuse.
    pub bloat_bytes: Option<i64>,
    /// Standbys that replayed our locks; `None` when the role may not see them.
    pub standbys: Option<u32>,
}
