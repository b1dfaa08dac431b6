//! The digest that binds an upgrade to its dry run.

use sha2::{Digest, Sha256};

use super::Report;
use crate::verdict::EvidenceDigest;

impl Report {
    /// The digest of this document: SHA-256 over its canonical JSON (the document as serialised by
    /// this program, without insignificant white space).
    ///
    /// It covers run id, attempt, times and prediction, so one dry run's evidence can never be
    /// taken for another's.
    #[must_use]
    pub fn digest(&self) -> EvidenceDigest {
        let json = serde_json::to_vec(self).unwrap_or_default();
        Self::digest_of(&json)
    }

    /// The digest of a document's bytes as they were fetched or stored.
    #[must_use]
    pub fn digest_of(json: &[u8]) -> EvidenceDigest {
        let hex: String = Sha256::digest(json)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        EvidenceDigest::new(format!("sha256:{hex}"))
    }
}
