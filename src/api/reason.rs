//! The reasons of conditions and events: public API, like exit codes.

use crate::verdict::ExitCode;

/// The dry run is being started or runs.
pub const DRY_RUN_IN_PROGRESS: &str = "DryRunInProgress";
/// The upgrade is being started or runs.
pub const UPGRADE_IN_PROGRESS: &str = "UpgradeInProgress";
/// The dry run passed.
pub const PASSED: &str = "Passed";
/// The upgrade landed where the rehearsal predicted.
pub const UPGRADED: &str = "Upgraded";
/// The image is released.
pub const RELEASED: &str = "Released";
/// The image had been released before, with the same commands: nothing was run.
pub const ALREADY_RELEASED: &str = "AlreadyReleased";
/// The image was released by the annotation `drydock.dev/release`, without a migration.
pub const RELEASED_BY_HAND: &str = "ReleasedByHand";
/// The upgrade landed elsewhere than predicted, and a person has accepted that state by the annotation
/// `drydock.dev/accept`.
pub const ACCEPTED: &str = "Accepted";
/// The migration had nothing to do; the image was released without an upgrade.
pub const NOTHING_TO_DO: &str = "NothingToDo";
/// The witness proved the rollback.
pub const VERIFIED: &str = "Verified";
/// The witness could not say whether the rollback was complete, or was not asked.
pub const NOT_PROVEN: &str = "NotProven";
/// The pod template holds the database's Secret.
pub const SECRET_IN_TEMPLATE: &str = "SecretInTemplate";
/// Not decided yet.
pub const PENDING: &str = "Pending";
/// `suspend` is true: nothing new is started.
pub const SUSPENDED: &str = "Suspended";
/// A new specification waits until an upgrade of an earlier one is known to have ended.
pub const WAITING_FOR_UPGRADE: &str = "WaitingForUpgrade";

/// The migration failed in the dry run.
pub const FAILED: &str = "Failed";
/// The command could not be rehearsed.
pub const NOT_REHEARSED: &str = "NotRehearsed";
/// The rehearsal was ended because it went past a budget.
pub const BUDGET_EXCEEDED: &str = "BudgetExceeded";
/// It is not proven that the rehearsal left nothing behind.
pub const ROLLBACK_NOT_VERIFIED: &str = "RollbackNotVerified";
/// The run's report could not be fetched, or is not the one that the witness announced.
pub const EVIDENCE_LOST: &str = "EvidenceLost";
/// The run could not reach, or not use, the database.
pub const ENVIRONMENT: &str = "Environment";
/// The database changed between dry run and upgrade, more often than it was rehearsed again.
pub const DRIFT: &str = "Drift";
/// The run was interrupted: a dry run was rolled back, an upgrade was not started.
pub const INTERRUPTED: &str = "Interrupted";
/// The dry run's pod is gone, or ended without a verdict.
pub const DRY_RUN_LOST: &str = "DryRunLost";
/// A Secret, or a key in one, does not exist.
pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
/// A ConfigMap, or a key in one, does not exist.
pub const CONFIG_MAP_NOT_FOUND: &str = "ConfigMapNotFound";
/// An image cannot be pulled.
pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
/// The image runs as root, which the pod's security context forbids.
pub const RUN_AS_ROOT: &str = "RunAsRoot";
/// A container cannot be created for another reason, e.g. a missing mount path.
pub const CONTAINER_NOT_STARTED: &str = "ContainerNotStarted";
/// A ResourceQuota leaves no room for the Job's pod.
pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
/// Pod Security or an admission webhook refuses the Job's pod.
pub const POD_FORBIDDEN: &str = "PodForbidden";
/// No node can take the Job's pod.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// The API server refuses the Job.
pub const JOB_REFUSED: &str = "JobRefused";
/// An object of somebody else has the name of the Job, of its report or of what protects it.
pub const NAME_TAKEN: &str = "NameTaken";

/// The upgrade failed; the database is as it was before, or as rehearsed.
pub const UPGRADE_FAILED: &str = "UpgradeFailed";
/// The upgrade succeeded but landed on another state than predicted.
pub const UPGRADE_DIVERGED: &str = "UpgradeDiverged";
/// The upgrade failed and left the database between the state before and the predicted one.
pub const UPGRADE_PARTIAL: &str = "UpgradePartial";
/// It is not known how the upgrade ended, or whether it has ended.
pub const UPGRADE_UNKNOWN: &str = "UpgradeUnknown";

/// An image that already ran when the Migration was created was released. An event only.
pub const ADOPTED: &str = "Adopted";

/// The exit code of `drydock wait` for a Migration that stands still with this reason.
#[must_use]
pub fn exit_code(reason: &str) -> ExitCode {
    match reason {
        FAILED => ExitCode::Failed,
        NOT_REHEARSED => ExitCode::NotRehearsed,
        ROLLBACK_NOT_VERIFIED | EVIDENCE_LOST => ExitCode::RollbackNotVerified,
        BUDGET_EXCEEDED => ExitCode::BudgetExceeded,
        DRIFT => ExitCode::Drift,
        UPGRADE_FAILED | UPGRADE_PARTIAL | UPGRADE_UNKNOWN => ExitCode::UpgradeFailed,
        UPGRADE_DIVERGED => ExitCode::UpgradeDiverged,
        _ => ExitCode::Environment,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[FAILED], 1)]
    #[case(&[NOT_REHEARSED], 3)]
    #[case(&[ROLLBACK_NOT_VERIFIED, EVIDENCE_LOST], 4)]
    #[case(&[BUDGET_EXCEEDED], 5)]
    #[case(
        &[
            ENVIRONMENT, INTERRUPTED, DRY_RUN_LOST, SECRET_NOT_FOUND, CONFIG_MAP_NOT_FOUND,
            IMAGE_PULL_FAILED, RUN_AS_ROOT, CONTAINER_NOT_STARTED, QUOTA_EXCEEDED, POD_FORBIDDEN,
            UNSCHEDULABLE, JOB_REFUSED, NAME_TAKEN,
        ],
        6
    )]
    #[case(&[DRIFT], 7)]
    #[case(&[UPGRADE_FAILED, UPGRADE_PARTIAL, UPGRADE_UNKNOWN], 8)]
    #[case(&[UPGRADE_DIVERGED], 9)]
    fn each_standstill_has_its_exit_code(#[case] reasons: &[&str], #[case] code: u8) {
        for reason in reasons {
            assert_eq!(u8::from(exit_code(reason)), code, "{reason}");
        }
    }
}
