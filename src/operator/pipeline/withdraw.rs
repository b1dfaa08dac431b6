//! Taking back an upgrade that cannot begin.
//!
//! Between what was observed and the end of a pod its obstacle may go away and the command start. So
//! an upgrade is only asked to go, and stays the present one until it is gone: how it ended is read
//! from the last that its pod said.

use super::advance::{Next, Stage};
use super::effect::Effect;
use super::world::{ObservedJob, World};
use crate::api::RunPhase;

/// Asks the upgrade to go, if it cannot begin; whether it was asked.
pub(super) fn withdraw(world: &World, next: &mut Next, stage: &Stage) -> bool {
    if let Stage::Going(RunPhase::Upgrade, Some(_)) = stage
        && let Some(job) = not_begun(world, next).filter(|job| !job.deleting)
    {
        next.effects.push(Effect::WithdrawUpgrade {
            job: job.name.clone(),
            uid: job.uid.clone(),
        });
        return true;
    }
    false
}

/// Whether the upgrade has been asked to go, and had not begun when it was seen last.
pub(super) fn is_going_away(world: &World, next: &Next) -> bool {
    not_begun(world, next).is_some_and(|job| job.deleting)
}

/// The upgrade's Job, when nothing of it has been seen to begin.
fn not_begun<'a>(world: &'a World, next: &Next) -> Option<&'a ObservedJob> {
    let record = next.status.run.as_ref()?.job(RunPhase::Upgrade)?;
    let job = world.job(&record.name)?;
    let begun = job.pod.as_ref().is_some_and(|pod| !pod.waits_for_prepare());
    (record.outcome.is_none() && record.uid.as_ref() == Some(&job.uid) && !begun).then_some(job)
}
