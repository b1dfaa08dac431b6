//! A check of revisions, arranged like a report.

use super::outline::{Outline, Tone, findings};
use super::revisions;
use crate::report::Check;
use crate::report::units::count;
use crate::verdict::ExitCode;

impl Outline {
    /// Arranges a check for reading.
    #[must_use]
    pub fn of_check(check: &Check) -> Self {
        let (verdict, tone) = match check.exit_code() {
            ExitCode::Passed => ("PASSED", Tone::Good),
            ExitCode::NotRehearsed => ("NOT LOOKED AT", Tone::Bad),
            _ => ("FAILED", Tone::Bad),
        };
        let heads = check.revisions.heads.len() as u64;
        let message = match &check.revisions.not_looked_at {
            Some(reason) => reason.clone(),
            None => format!(
                "{}, {}",
                count(check.revisions.known, "revision"),
                count(heads, "head")
            ),
        };
        Self {
            title: "check of the revisions".to_owned(),
            message: super::outline::printable(&message),
            findings: findings(&check.findings),
            revisions: revisions::heads(&check.revisions),
            revisions_heading: "Revisions".to_owned(),
            facts: vec![("command".to_owned(), check.command.join(" "))],
            verdict: verdict.to_owned(),
            tone,
            ..Self::default()
        }
    }
}
