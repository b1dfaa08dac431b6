//! Where a database stands: its schema's fingerprint and what the version tables say.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Fingerprint;

/// The contents of one migration tool's version table, e.g. `alembic_version`.
///
/// `None` rows: the table does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionTable {
    /// Qualified, quoted name.
    pub name: String,
    /// Its rows as text, sorted; `None` when there is no such table.
    pub rows: Option<Vec<String>>,
    /// Whether it is Alembic's, by its name or by its only column.
    #[serde(default)]
    pub alembic: bool,
}

/// Fingerprint plus version tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The fingerprint of the schema (objects of the *schema* scope only).
    pub fingerprint: Fingerprint,
    /// The known version tables by name.
    pub versions: BTreeMap<String, VersionTable>,
}

/// SHA-256 over a [`State`], in lower-case hexadecimal with the prefix `sha256:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateDigest(String);

impl State {
    /// The digest of the whole state, as it is shown in conditions and annotations.
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        let mut hash = Sha256::new();
        hash.update(self.fingerprint.as_str());
        for (name, table) in &self.versions {
            hash.update([0]);
            hash.update(name);
            match &table.rows {
                None => hash.update([1]),
                Some(rows) => {
                    for row in rows {
                        hash.update([2]);
                        hash.update(row);
                    }
                }
            }
        }
        StateDigest(format!(
            "sha256:{}",
            hash.finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        ))
    }
}

impl StateDigest {
    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
