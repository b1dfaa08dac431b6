//! How a run's Job ended, as it goes on record.

use super::world::World;
use crate::api::{Outcome, Run, RunPhase, reason, run_id};
use crate::report::Summary;
use crate::verdict::{RollbackProof, UpgradeFailure, Verdict};

/// The run ended, and nobody can say how.
pub(super) fn lost(world: &World, phase: RunPhase, why: &str) -> Outcome {
    let (reason, message) = match phase {
        RunPhase::DryRun => (
            reason::DRY_RUN_LOST,
            format!("the dry run ended without a verdict: {why}"),
        ),
        RunPhase::Upgrade => (
            reason::UPGRADE_UNKNOWN,
            format!(
                "it is not known how the upgrade ended, or whether its command still runs: {why}"
            ),
        ),
    };
    Outcome {
        reason: reason.to_owned(),
        cause: None,
        message,
        rollback_verified: None,
        nothing_to_do: false,
        report: None,
        at: world.now,
    }
}

/// `prepare` was ended from outside, so the command was not started.
pub(super) fn not_started(world: &World, phase: RunPhase, why: &str) -> Outcome {
    Outcome {
        reason: reason::ENVIRONMENT.to_owned(),
        message: format!("the command was not started: {why}"),
        ..lost(world, phase, why)
    }
}

/// `prepare` ended the run before the command was started; there is no report.
pub(super) fn refused(world: &World, run: &Run, phase: RunPhase, summary: &Summary) -> Outcome {
    if let Err(why) = belongs(world, run, phase, summary) {
        return lost(world, phase, &why);
    }
    let mut outcome = outcome_of(world, phase, summary);
    match outcome.reason.as_str() {
        reason::PASSED | reason::UPGRADED => outcome.reason = reason::ENVIRONMENT.to_owned(),
        // Whatever ended `prepare`, nothing was upgraded.
        reason::UPGRADE_UNKNOWN => outcome.reason = reason::INTERRUPTED.to_owned(),
        _ => {}
    }
    outcome
}

/// A summary speaks about the run only if it names it.
pub(super) fn belongs(
    world: &World,
    run: &Run,
    phase: RunPhase,
    summary: &Summary,
) -> Result<(), String> {
    let migration = world.migration.metadata.name.as_deref().unwrap_or_default();
    let expected = run_id(migration, phase, &run.input_digest, run.attempt);
    if summary.run.0 == expected {
        Ok(())
    } else {
        Err(format!(
            "the witness speaks about the run {}, not {expected}",
            summary.run.0
        ))
    }
}

pub(super) fn evidence_lost(
    world: &World,
    phase: RunPhase,
    summary: &Summary,
    why: &str,
) -> Outcome {
    Outcome {
        reason: reason::EVIDENCE_LOST.to_owned(),
        message: format!("the run ended, but its report is not at hand: {why}"),
        ..outcome_of(world, phase, summary)
    }
}

pub(super) fn outcome_of(world: &World, phase: RunPhase, summary: &Summary) -> Outcome {
    let reason = match (&summary.verdict, phase) {
        (Verdict::Passed, RunPhase::DryRun)
            if summary.rollback == Some(RollbackProof::Verified) =>
        {
            reason::PASSED
        }
        (Verdict::Passed, RunPhase::DryRun) | (Verdict::RollbackNotVerified, _) => {
            reason::ROLLBACK_NOT_VERIFIED
        }
        (Verdict::Passed, RunPhase::Upgrade) => reason::UPGRADED,
        (Verdict::Failed, RunPhase::DryRun) => reason::FAILED,
        (Verdict::NotRehearsed(_), _) => reason::NOT_REHEARSED,
        (Verdict::BudgetExceeded(_), _) => reason::BUDGET_EXCEEDED,
        (Verdict::Environment(_), _) => reason::ENVIRONMENT,
        (Verdict::Drift, _) => reason::DRIFT,
        (Verdict::UpgradeFailed(UpgradeFailure::Partial), _) => reason::UPGRADE_PARTIAL,
        (Verdict::UpgradeFailed(UpgradeFailure::Unknown), _) => reason::UPGRADE_UNKNOWN,
        (Verdict::UpgradeFailed(_), _) | (Verdict::Failed, RunPhase::Upgrade) => {
            reason::UPGRADE_FAILED
        }
        (Verdict::UpgradeDiverged, _) => reason::UPGRADE_DIVERGED,
        (Verdict::Interrupted, RunPhase::DryRun) => reason::INTERRUPTED,
        (Verdict::Interrupted, RunPhase::Upgrade) => reason::UPGRADE_UNKNOWN,
    };
    Outcome {
        reason: reason.to_owned(),
        cause: Outcome::cause_of(&summary.verdict),
        message: summary.message.clone(),
        rollback_verified: match summary.rollback {
            Some(RollbackProof::Verified) => Some(true),
            Some(RollbackProof::Violated) => Some(false),
            Some(RollbackProof::Unknown) | None => None,
        },
        nothing_to_do: summary.nothing_to_do,
        report: None,
        at: world.now,
    }
}
