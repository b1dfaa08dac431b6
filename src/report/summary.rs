//! The termination message of the witness: at most 1 KiB.

use serde::{Deserialize, Serialize};

use super::{Phase, Report, RunId};
use crate::schema::StateDigest;
use crate::verdict::{EvidenceDigest, RollbackProof, Verdict};

/// What the controller reads from the witness's container status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Which run.
    pub run: RunId,
    /// Which attempt.
    pub attempt: u32,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What the witness proved; `None` in an upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackProof>,
    /// Nothing was pending.
    #[serde(default)]
    pub nothing_to_do: bool,
    /// The state before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<StateDigest>,
    /// The predicted state, where it tells that all of the command's pieces are there; or in an upgrade
    /// the state after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<StateDigest>,
    /// The digest of the whole report.
    pub digest: EvidenceDigest,
    /// The report's length in bytes.
    pub bytes: u64,
    /// One sentence for the condition; cut so that the summary fits.
    pub message: String,
}

impl Summary {
    /// The greatest length of the JSON text, in bytes.
    pub const LIMIT: usize = 1024;

    /// Builds the summary of a report, of which `json` are the very bytes that were printed.
    #[must_use]
    pub fn of(report: &Report, json: &[u8]) -> Self {
        let mut summary = Self {
            run: report.run.clone(),
            attempt: report.attempt,
            verdict: report.verdict.clone(),
            rollback: report.witness.as_ref().map(|w| w.rollback),
            nothing_to_do: report.nothing_to_do,
            before: report.prediction.as_ref().map(|p| p.before.digest()),
            predicted: report
                .prediction
                .as_ref()
                .filter(|p| report.phase != Phase::DryRun || p.tells_pieces(false))
                .map(|p| p.predicted.digest()),
            digest: Report::digest_of(json),
            bytes: json.len() as u64,
            message: String::new(),
        };
        let room = Self::LIMIT.saturating_sub(serde_json::to_vec(&summary).map_or(0, |v| v.len()));
        for c in report.message.chars() {
            summary.message.push(c);
            if serde_json::to_string(&summary.message).map_or(0, |t| t.len() - 2) > room {
                summary.message.pop();
                break;
            }
        }
        summary
    }
}
