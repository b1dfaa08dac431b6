//! Alembic's revisions: where the database stands among them, and what is pending.

use serde::{Deserialize, Serialize};

/// What the migration tool itself says of its revisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revisions {
    /// How many there are.
    pub known: u64,
    /// Those on which no other builds.
    pub heads: Vec<Revision>,
    /// The version tables of this run, qualified.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Where the database stands, by its version tables; empty for one that was never migrated.
    #[serde(default)]
    pub current: Vec<String>,
    /// What the upgrade runs, in order; as far as that is known.
    #[serde(default)]
    pub pending: Vec<Revision>,
    /// Why nobody looked, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_looked_at: Option<String>,
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its identifier.
    pub revision: String,
    /// The first paragraph of its file, on one line.
    pub message: String,
    /// How long its statements took on the server, where they can be told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
}

impl Revisions {
    /// Nobody looked; says why and what to do.
    #[must_use]
    pub fn not_looked_at(reason: impl Into<String>) -> Self {
        Self {
            not_looked_at: Some(reason.into()),
            ..Self::default()
        }
    }
}
