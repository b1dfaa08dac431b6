//! What was found about revisions without a database.

use serde::{Deserialize, Serialize};

use super::{Finding, Revisions, Severity};
use crate::verdict::ExitCode;

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The writer's own version.
    pub drydock: String,
    /// What was run to read the revisions.
    pub command: Vec<String>,
    /// What they say.
    pub revisions: Revisions,
    /// What is wrong, and what a reader should know.
    pub findings: Vec<Finding>,
}

impl Check {
    /// Makes errors of findings that the user will not have.
    pub fn deny(&mut self, codes: &[String]) {
        for finding in &mut self.findings {
            if codes.contains(&finding.code) {
                finding.severity = Severity::Error;
            }
        }
    }

    /// 0 when nothing is wrong, 1 when something is, 3 when nobody could look.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
        {
            ExitCode::Failed
        } else if self.revisions.not_looked_at.is_some() {
            ExitCode::NotRehearsed
        } else {
            ExitCode::Passed
        }
    }
}
