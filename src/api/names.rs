//! Names that are public: labels, annotations, the gate, Jobs.

use super::digest::InputDigest;

/// The category under which `kubectl get` lists everything of drydock's.
pub const CATEGORY: &str = "drydock";

/// The scheduling gate that a pod template carries to wait for its migration.
pub const GATE: &str = "drydock.dev/migration";

/// The scheduling gate of an upgrade's pod. It is removed once the Job's UID is on record, so a Job
/// that is gone and was never recorded has never run anything.
pub const UPGRADE_GATE: &str = "drydock.dev/upgrade";

/// The label that names the Migration: on pods that wait for it, and on its Jobs and their pods.
pub const LABEL_MIGRATION: &str = "drydock.dev/migration";

/// The label on Jobs and their pods that says which of the two runs they are; see [`RunPhase`]. A
/// pod with this label is never gated.
pub const LABEL_PHASE: &str = "drydock.dev/phase";

/// A new value of this annotation, by custom a timestamp, starts a new attempt of a run that ended
/// badly.
pub const RETRY_ANNOTATION: &str = "drydock.dev/retry";

/// The state of the database that a person has accepted, after an upgrade that landed elsewhere than
/// predicted: its digest, as the Migration's message and the report say it.
pub const ACCEPT_ANNOTATION: &str = "drydock.dev/accept";

/// Break-glass: the image named here is released without a migration.
pub const RELEASE_ANNOTATION: &str = "drydock.dev/release";

/// Kept on a Migration while an upgrade may be running, so that it is not forgotten.
pub const FINALIZER: &str = "drydock.dev/upgrade";

/// The controller's field manager.
pub const FIELD_MANAGER: &str = "drydock";

/// The field manager of `drydock wait --apply`.
pub const WAIT_FIELD_MANAGER: &str = "drydock-wait";

/// The variable that holds the database's URL when `exposeAs` names none.
pub const DEFAULT_EXPOSED_URL: &str = "DATABASE_URL";

/// Which of a Migration's two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunPhase {
    /// The rehearsal.
    DryRun,
    /// The real upgrade.
    Upgrade,
}

impl RunPhase {
    /// As in Job names and in the label [`LABEL_PHASE`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DryRun => "dryrun",
            Self::Upgrade => "upgrade",
        }
    }

    /// The inverse of [`RunPhase::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "dryrun" => Some(Self::DryRun),
            "upgrade" => Some(Self::Upgrade),
            _ => None,
        }
    }
}

/// The longest run id: `application_name` is cut at 63 bytes, of which `drydock/` takes 8.
const RUN_ID_LIMIT: usize = 50;

/// The name of a run's Job: `<migration>-<dryrun|upgrade>-<8 of the input digest>-<attempt>`.
///
/// The same run always has the same name, so creating a Job twice is an error of the API server's
/// and not a second run.
#[must_use]
pub fn job_name(migration: &str, phase: RunPhase, input: &InputDigest, attempt: u32) -> String {
    format!("{migration}-{}", run_suffix(phase, input, attempt))
}

/// The id by which a run is known to the database: its Job's name, the Migration's part cut so that
/// it fits.
#[must_use]
pub fn run_id(migration: &str, phase: RunPhase, input: &InputDigest, attempt: u32) -> String {
    let suffix = run_suffix(phase, input, attempt);
    let room = RUN_ID_LIMIT.saturating_sub(suffix.len() + 1);
    // Names of custom resources are DNS names; a dot is not allowed in a run id.
    let name: String = migration
        .chars()
        .take(room)
        .map(|c| if c == '.' { '-' } else { c })
        .collect();
    format!("{name}-{suffix}")
}

fn run_suffix(phase: RunPhase, input: &InputDigest, attempt: u32) -> String {
    format!("{}-{}-{attempt}", phase.as_str(), input.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> InputDigest {
        InputDigest::from_hex("0123456789abcdef".repeat(4))
    }

    #[test]
    fn a_job_is_named_after_migration_run_input_and_attempt() {
        assert_eq!(
            job_name("orders", RunPhase::DryRun, &digest(), 1),
            "orders-dryrun-01234567-1"
        );
        assert_eq!(
            job_name("orders", RunPhase::Upgrade, &digest(), 12),
            "orders-upgrade-01234567-12"
        );
    }

    #[test]
    fn the_longest_name_still_makes_a_job_name_and_a_run_id() {
        let name = "m".repeat(40);
        assert!(job_name(&name, RunPhase::Upgrade, &digest(), 9999).len() <= 63);
        let id = run_id(&name, RunPhase::Upgrade, &digest(), 9999);
        assert_eq!(id.len(), RUN_ID_LIMIT);
        assert!(id.ends_with("-upgrade-01234567-9999"));
    }

    #[test]
    fn a_short_name_is_its_own_run_id() {
        assert_eq!(
            run_id("orders", RunPhase::DryRun, &digest(), 1),
            job_name("orders", RunPhase::DryRun, &digest(), 1)
        );
    }
}
