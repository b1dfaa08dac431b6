//! The value without which no upgrade is started and no migrated image is released.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Verdict;

/// SHA-256 over the evidence of one dry run, in lower-case hexadecimal with the prefix `sha256:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct EvidenceDigest(String);

impl EvidenceDigest {
    /// Wraps a digest as written in a report, a summary or an annotation.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EvidenceDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the witness could prove about the rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum RollbackProof {
    /// Transaction aborted, catalogue unchanged or every change attributed, nothing of ours left.
    Verified,
    /// Something was left behind.
    Violated,
    /// Something that had to be read could not be read; opens no gate.
    Unknown,
}

/// Why evidence does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The dry run did not pass.
    #[error("the dry run did not pass")]
    NotPassed,
    /// The witness did not prove the rollback.
    #[error("the rollback is not proven")]
    RollbackNotProven,
    /// The report is not the one that the witness announced.
    #[error("the report's digest is {found}, but the witness announced {announced}")]
    DigestMismatch {
        /// The digest that the witness wrote into its termination message.
        announced: EvidenceDigest,
        /// The digest computed over the report as fetched.
        found: EvidenceDigest,
    },
}

/// Proof that a dry run passed, was rolled back, and that its report is the announced one.
///
/// There is no other way to obtain one than [`Verified::check`]; an upgrade and an opened gate
/// carry it, so that neither can be written without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    evidence: EvidenceDigest,
}

impl Verified {
    /// Checks the outcome of a dry run.
    ///
    /// `announced` is the digest from the witness's own summary, `found` the one computed over the
    /// report that was fetched or kept.
    ///
    /// # Errors
    /// Says which of the three conditions does not hold.
    pub fn check(
        verdict: &Verdict,
        rollback: RollbackProof,
        announced: &EvidenceDigest,
        found: &EvidenceDigest,
    ) -> Result<Self, NotVerified> {
        if *verdict != Verdict::Passed {
            return Err(NotVerified::NotPassed);
        }
        if rollback != RollbackProof::Verified {
            return Err(NotVerified::RollbackNotProven);
        }
        if announced != found {
            return Err(NotVerified::DigestMismatch {
                announced: announced.clone(),
                found: found.clone(),
            });
        }
        Ok(Self {
            evidence: found.clone(),
        })
    }

    /// The digest of the evidence that was checked.
    #[must_use]
    pub fn evidence(&self) -> &EvidenceDigest {
        &self.evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_passed_run_with_a_proven_rollback_and_the_announced_report_verifies() {
        let a = EvidenceDigest::new("sha256:a");
        let b = EvidenceDigest::new("sha256:b");
        assert!(Verified::check(&Verdict::Passed, RollbackProof::Verified, &a, &a).is_ok());
        assert_eq!(
            Verified::check(&Verdict::Failed, RollbackProof::Verified, &a, &a),
            Err(NotVerified::NotPassed)
        );
        for proof in [RollbackProof::Unknown, RollbackProof::Violated] {
            assert_eq!(
                Verified::check(&Verdict::Passed, proof, &a, &a),
                Err(NotVerified::RollbackNotProven)
            );
        }
        assert!(matches!(
            Verified::check(&Verdict::Passed, RollbackProof::Verified, &a, &b),
            Err(NotVerified::DigestMismatch { .. })
        ));
    }
}
