//! A state of the database that an upgrade left and nobody predicted, or nobody knows.

use super::advance::Next;
use super::attempt::is_in_doubt;
use super::release::{self, Grounds, is_released};
use super::world::World;
use crate::api::{ACCEPT_ANNOTATION, Outcome, Run, RunPhase, Unaccepted, reason};

pub(super) fn found_nothing_to_do(run: &Run) -> bool {
    run.outcome(RunPhase::DryRun)
        .is_some_and(|outcome| outcome.nothing_to_do)
}

pub(super) fn remember(next: &mut Next, outcome: &Outcome) {
    let Some(run) = &next.status.run else { return };
    next.status.unaccepted = Some(Unaccepted {
        image: run.image.clone(),
        reason: outcome.reason.clone(),
        message: outcome.message.clone(),
        predicted: run.predicted.clone().filter(|predicted| {
            is_in_doubt(&outcome.reason) && Some(predicted) != run.before.as_ref()
        }),
    });
}

/// The upgrade that landed elsewhere, or nobody knows where, when the present run found nothing to
/// do on top of it. What it would release is a state that nobody predicted and no person has
/// accepted.
///
/// That a tool finds nothing pending says what the tool remembers, not what is there: after an
/// upgrade that diverged it finds nothing pending either. But the dry run has compared states: where
/// it began in the very state that the unknown upgrade was to reach, that upgrade has arrived.
pub(super) fn not_accepted(world: &World, next: &Next) -> Option<Unaccepted> {
    let run = next.status.run.as_ref()?;
    let unaccepted = next.status.unaccepted.as_ref()?;
    let arrived = unaccepted.predicted.is_some() && unaccepted.predicted == run.before;
    let accepted = run
        .before
        .as_ref()
        .is_some_and(|state| accepts(world, state));
    (found_nothing_to_do(run) && !arrived && !accepted).then(|| unaccepted.clone())
}

/// Whether a person has accepted the very state in which the present run's upgrade landed.
pub(super) fn is_accepted(world: &World, next: &Next, outcome: &Outcome) -> bool {
    let run = next.status.run.as_ref();
    outcome.reason == reason::UPGRADE_DIVERGED
        && run
            .and_then(|run| run.landed.as_ref())
            .is_some_and(|state| accepts(world, state))
}

/// Releases the image of the present run on a person's word, once.
pub(super) fn accept(world: &World, next: &mut Next) {
    if let Some(run) = next.status.run.clone()
        && !is_released(&next.status, &run.image, &run.commands)
    {
        let grounds = Grounds::Accepted(&run);
        release::release(&mut next.status, &run.image, &grounds, world.now);
    }
}

fn accepts(world: &World, state: &str) -> bool {
    let annotations = world.migration.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(ACCEPT_ANNOTATION))
        .is_some_and(|accepted| accepted == state)
}
