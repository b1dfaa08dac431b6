//! A person's word that something may be tried again.

use super::advance::{Next, Obstacle, Stage};
use super::withdraw::{is_going_away, withdraw};
use super::world::World;
use crate::api::{RETRY_ANNOTATION, RunPhase, mark, reason};

/// Whether a person asks for another attempt. A value counts once, also when nothing could be
/// retried at the time; only while an upgrade that cannot begin is on its way out it is kept for
/// when that is gone.
///
/// `same` says whether the run is of the present input, `known` whether it was known before how its
/// upgrade ended.
pub(super) fn hear(world: &World, next: &mut Next, stage: &Stage, same: bool, known: bool) -> bool {
    let asked = world.migration.metadata.annotations.as_ref();
    let asked = asked.and_then(|annotations| annotations.get(RETRY_ANNOTATION));
    let Some(asked) = asked.filter(|value| !value.is_empty()) else {
        return false;
    };
    let asked = mark(asked);
    if next.status.handled_retry.as_ref() == Some(&asked) || world.migration.spec.suspend {
        return false;
    }
    if is_going_away(world, next) || same && cannot_begin(stage) && withdraw(world, next, stage) {
        return false;
    }
    next.status.handled_retry = Some(asked);
    // Who asked before it was known that nobody knows how the upgrade ended has not looked.
    let in_doubt = matches!(
        stage,
        Stage::Ended(RunPhase::Upgrade, outcome) if outcome.reason == reason::UPGRADE_UNKNOWN
    );
    known || !in_doubt
}

/// Whether the end of the run's upgrade is on record.
pub(super) fn upgrade_has_ended(next: &Next) -> bool {
    let run = next.status.run.as_ref();
    run.is_some_and(|run| run.outcome(RunPhase::Upgrade).is_some())
}

fn cannot_begin(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Going(RunPhase::Upgrade, Some(Obstacle { lasting: true, .. }))
    )
}
