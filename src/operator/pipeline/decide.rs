//! The decision.

use super::advance::{Held, Next, Obstacle, SLOWLY, Stage, advance, is_busy, verified};
use super::attempt::{
    Again, again, begin, busy, has_evidence, is_in_doubt, landed_elsewhere, may_have_landed,
    upgrade_again,
};
use super::effect::{Decision, Effect};
use super::history;
use super::release::{self, Grounds, is_released};
use super::standing::{self, Standing};
use super::unaccepted::{accept, found_nothing_to_do, is_accepted, not_accepted, remember};
use super::upkeep::{self, has_finalizer};
use super::world::World;
use super::{retry, withdraw};
use crate::api::{JobRecord, Outcome, RunPhase, commands_digest, input_digest, job_name, reason};
use crate::verdict::Verified;

/// How often a run is rehearsed again because the database changed before its upgrade.
const DRIFTS: u32 = 3;

/// What to do in this world.
#[must_use]
pub fn decide(world: &World) -> Decision {
    let mut next = Next {
        status: world.migration.status_or_default(),
        effects: Vec::new(),
        requeue: None,
    };
    let deleting = world.migration.metadata.deletion_timestamp.is_some();
    let standing = if deleting {
        leave(world, &mut next)
    } else {
        first_look(world, &mut next);
        let standing = proceed(world, &mut next);
        upkeep::keep(world, &mut next);
        standing
    };
    history::record(world, &mut next.status);
    standing::write(&mut next.status, world, &standing);
    history::bound(&mut next.status);
    Decision {
        status: next.status,
        effects: next.effects,
        requeue: next.requeue,
    }
}

/// A Migration that goes away waits for the end of its upgrade.
fn leave(world: &World, next: &mut Next) -> Standing {
    let stage = look(world, next);
    if let Some(stage) = &stage {
        withdraw::withdraw(world, next, stage);
    }
    match stage {
        Some(Stage::Going(RunPhase::Upgrade, obstacle)) => Standing::Upgrading {
            obstacle,
            superseded: false,
        },
        _ => {
            if has_finalizer(world) {
                next.effects.push(Effect::RemoveFinalizer);
            }
            Standing::Leaving
        }
    }
}

fn first_look(world: &World, next: &mut Next) {
    let status = &mut next.status;
    if status.observed_generation >= 0 || status.run.is_some() || !status.released.is_empty() {
        return;
    }
    for image in release::adoptable(world) {
        release::release(status, &image, &Grounds::Adopted, world.now);
    }
}

fn proceed(world: &World, next: &mut Next) -> Standing {
    let spec = &world.migration.spec;
    let input = input_digest(spec);
    let commands = commands_digest(spec);
    let known = retry::upgrade_has_ended(next);
    let stage = look(world, next);
    let same = next
        .status
        .run
        .as_ref()
        .is_some_and(|run| run.input_digest == input);

    let retry = stage
        .as_ref()
        .is_some_and(|stage| retry::hear(world, next, stage, same, known));

    // An upgrade comes to its end, whatever the specification says by now.
    match &stage {
        Some(stage @ Stage::Going(RunPhase::Upgrade, obstacle)) => {
            if !same && !spec.suspend {
                withdraw::withdraw(world, next, stage);
            }
            return Standing::Upgrading {
                obstacle: obstacle.clone(),
                superseded: !same,
            };
        }
        // Only a person who has looked can go on from here: with a retry, or by releasing what is
        // applied.
        Some(Stage::Ended(_, outcome))
            if outcome.reason == reason::UPGRADE_UNKNOWN
                && !retry
                && !(same && release::by_hand(world)) =>
        {
            return Standing::UpgradeEnded {
                outcome: outcome.clone(),
                superseded: !same,
            };
        }
        Some(Stage::Upgraded) => {
            if let Err(why) = release_run(world, next) {
                return evidence_lost(world, next, RunPhase::Upgrade, &why);
            }
            next.status.unaccepted = None;
        }
        Some(Stage::Ended(RunPhase::Upgrade, outcome))
            if same && is_accepted(world, next, outcome) =>
        {
            next.status.unaccepted = None;
            accept(world, next);
        }
        Some(Stage::Ended(RunPhase::Upgrade, outcome))
            if landed_elsewhere(outcome) || is_in_doubt(&outcome.reason) =>
        {
            remember(next, outcome);
        }
        _ => {}
    }

    if release::by_hand(world) && !is_released(&next.status, &spec.image, &commands) {
        next.status.unaccepted = None;
        release::release(&mut next.status, &spec.image, &Grounds::ByHand, world.now);
    }
    if is_released(&next.status, &spec.image, &commands) {
        return released(world, next, same, stage.as_ref());
    }
    if !same {
        if spec.suspend {
            return Standing::Suspended;
        }
        return begin(world, next, input, commands);
    }
    match stage {
        Some(stage) => go_on(world, next, stage, retry),
        None => Standing::Suspended,
    }
}

/// The run is of the present input, and its image is not released.
fn go_on(world: &World, next: &mut Next, stage: Stage, retry: bool) -> Standing {
    let suspended = world.migration.spec.suspend;
    match stage {
        Stage::Pending(_) | Stage::Held(_) if suspended => Standing::Suspended,
        Stage::Pending(phase) => create(world, next, phase),
        Stage::Held(held) => start(world, next, held),
        Stage::Going(RunPhase::DryRun, Some(Obstacle { lasting: true, .. }))
            if retry && !suspended =>
        {
            again(world, next, Again::Asked)
        }
        Stage::Going(RunPhase::DryRun, obstacle) => Standing::DryRunning { obstacle },
        Stage::Going(RunPhase::Upgrade, obstacle) => Standing::Upgrading {
            obstacle,
            superseded: false,
        },
        Stage::Passed if retry && !suspended && not_accepted(world, next).is_some() => {
            again(world, next, Again::Asked)
        }
        Stage::Passed => passed(world, next),
        // Released in the present decision at the latest.
        Stage::Upgraded => Standing::Released(reason::UPGRADED),
        Stage::Ended(RunPhase::Upgrade, outcome)
            if retry && !suspended && may_have_landed(&outcome) && has_evidence(world, next) =>
        {
            upgrade_again(world, next)
        }
        Stage::Ended(..) if retry && !suspended => again(world, next, Again::Asked),
        Stage::Ended(phase, outcome) if is_busy(&outcome) => busy(world, next, phase, outcome),
        Stage::Ended(RunPhase::Upgrade, outcome)
            if outcome.reason == reason::DRIFT && drifts(next) < DRIFTS && !suspended =>
        {
            again(world, next, Again::Drifted)
        }
        Stage::Ended(RunPhase::DryRun, outcome) => Standing::DryRunEnded { outcome },
        Stage::Ended(RunPhase::Upgrade, outcome) => Standing::UpgradeEnded {
            outcome,
            superseded: false,
        },
    }
}

pub(super) fn passed(world: &World, next: &mut Next) -> Standing {
    let Some(run) = next.status.run.clone() else {
        return Standing::Suspended;
    };
    let evidence = match verified(world, &run) {
        Ok(evidence) => evidence,
        Err(why) => return evidence_lost(world, next, RunPhase::DryRun, &why),
    };
    if world.migration.spec.suspend {
        return Standing::Suspended;
    }
    if let Some(unaccepted) = not_accepted(world, next) {
        return Standing::NotAccepted(unaccepted);
    }
    if found_nothing_to_do(&run) {
        next.status.unaccepted = None;
        release::release(
            &mut next.status,
            &run.image,
            &Grounds::Migrated(&run, evidence),
            world.now,
        );
        return Standing::Released(reason::NOTHING_TO_DO);
    }
    let name = job_name(
        name_of(world),
        RunPhase::Upgrade,
        &run.input_digest,
        run.attempt,
    );
    if let Some(run) = &mut next.status.run {
        run.upgrade = Some(JobRecord::intended(name));
    }
    create_upgrade(next, evidence)
}

fn create_upgrade(next: &mut Next, evidence: Verified) -> Standing {
    next.effects.push(Effect::AddFinalizer);
    next.effects.push(Effect::CreateUpgradeJob { evidence });
    Standing::Upgrading {
        obstacle: None,
        superseded: false,
    }
}

/// The upgrade's Job is on record: from here on it counts as started.
fn start(world: &World, next: &mut Next, held: Held) -> Standing {
    let evidence = match &next.status.run {
        Some(run) => verified(world, run),
        None => return Standing::Suspended,
    };
    let evidence = match evidence {
        Ok(evidence) => evidence,
        Err(why) => return evidence_lost(world, next, RunPhase::DryRun, &why),
    };
    next.effects.push(Effect::StartUpgrade {
        pod: held.pod,
        uid: held.uid,
        index: held.index,
        evidence,
    });
    Standing::Upgrading {
        obstacle: None,
        superseded: false,
    }
}

/// The Job is on record, but does not exist yet.
fn create(world: &World, next: &mut Next, phase: RunPhase) -> Standing {
    let Some(run) = next.status.run.clone() else {
        return Standing::Suspended;
    };
    let name = run.job(phase).map_or("", |record| record.name.as_str());
    // An object of an earlier Migration of this name, or of somebody else.
    if world.jobs.iter().any(|job| job.name == name) {
        return again(world, next, Again::Asked);
    }
    let refusal = world.refused.get(name).cloned();
    if refusal.is_some() {
        next.wake(SLOWLY);
    }
    match phase {
        RunPhase::DryRun => next.effects.push(Effect::CreateDryRunJob),
        RunPhase::Upgrade => match verified(world, &run) {
            Ok(evidence) => {
                create_upgrade(next, evidence);
            }
            Err(why) => return evidence_lost(world, next, RunPhase::DryRun, &why),
        },
    }
    match (refusal, phase) {
        (Some(problem), phase) => Standing::JobRefused { phase, problem },
        (None, RunPhase::DryRun) => Standing::DryRunning { obstacle: None },
        (None, RunPhase::Upgrade) => Standing::Upgrading {
            obstacle: None,
            superseded: false,
        },
    }
}

fn released(world: &World, next: &mut Next, same: bool, stage: Option<&Stage>) -> Standing {
    // What was released by hand has no evidence.
    let nothing_to_do = next.status.run.as_ref().is_some_and(|run| {
        let mut released = next.status.released.iter();
        found_nothing_to_do(run)
            && released.any(|entry| entry.image == run.image && entry.evidence.is_some())
    });
    match stage {
        Some(Stage::Upgraded) if same => Standing::Released(reason::UPGRADED),
        Some(Stage::Ended(RunPhase::Upgrade, outcome))
            if same && is_accepted(world, next, outcome) =>
        {
            Standing::Released(reason::ACCEPTED)
        }
        Some(Stage::Passed) if same && nothing_to_do => Standing::Released(reason::NOTHING_TO_DO),
        _ => {
            // What ran last did not release this image, and says nothing about it.
            next.status.run = None;
            Standing::Released(if release::by_hand(world) {
                reason::RELEASED_BY_HAND
            } else {
                reason::ALREADY_RELEASED
            })
        }
    }
}

/// Adds the image of an upgrade that landed to the released ones, once.
fn release_run(world: &World, next: &mut Next) -> Result<(), String> {
    let Some(run) = next.status.run.clone() else {
        return Ok(());
    };
    if is_released(&next.status, &run.image, &run.commands) {
        return Ok(());
    }
    let evidence = verified(world, &run)?;
    release::release(
        &mut next.status,
        &run.image,
        &Grounds::Migrated(&run, evidence),
        world.now,
    );
    Ok(())
}

/// What was recorded as passed cannot be shown any more.
fn evidence_lost(world: &World, next: &mut Next, phase: RunPhase, why: &str) -> Standing {
    let outcome = Outcome {
        reason: reason::EVIDENCE_LOST.to_owned(),
        cause: None,
        message: format!("the dry run passed, but {why}"),
        rollback_verified: None,
        nothing_to_do: false,
        report: None,
        at: world.now,
    };
    if let Some(run) = &mut next.status.run {
        let record = match phase {
            RunPhase::DryRun => {
                run.upgrade = None;
                &mut run.dry_run
            }
            RunPhase::Upgrade => &mut run.upgrade,
        };
        if let Some(record) = record {
            record.outcome = Some(outcome.clone());
        }
    }
    match phase {
        RunPhase::DryRun => Standing::DryRunEnded { outcome },
        RunPhase::Upgrade => Standing::UpgradeEnded {
            outcome,
            superseded: false,
        },
    }
}

/// How far the run has come. What has ended goes down in the history at once: the same decision may
/// begin another run.
fn look(world: &World, next: &mut Next) -> Option<Stage> {
    let mut run = next.status.run.take()?;
    let stage = advance(world, next, &mut run);
    next.status.run = Some(run);
    history::record(world, &mut next.status);
    Some(stage)
}

fn drifts(next: &Next) -> u32 {
    next.status.run.as_ref().map_or(0, |run| run.drifts)
}

pub(super) fn name_of(world: &World) -> &str {
    world.migration.metadata.name.as_deref().unwrap_or_default()
}
