//! The SHA-256 of a snapshot.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Snapshot;

/// SHA-256 over a snapshot's objects, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Computes the fingerprint. Fields are separated by bytes that no identifier can hold, so two
    /// different snapshots never feed the hash the same bytes.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut hash = Sha256::new();
        for (id, body) in snapshot.iter() {
            for field in [id.kind.as_str(), id.identity.as_str(), body] {
                hash.update(field.as_bytes());
                hash.update([0]);
            }
        }
        Self(
            hash.finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// The fingerprint as hexadecimal text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
