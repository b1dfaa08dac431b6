//! Attempts at one input: the first, and those after it.

use std::time::Duration;

use super::advance::{Next, verified};
use super::decide::{name_of, passed};
use super::effect::Effect;
use super::standing::Standing;
use super::world::World;
use crate::api::{Attempts, InputDigest, JobRecord, Outcome, Run, RunPhase, job_name, reason};
use crate::verdict::{UpgradeFailure, Verdict};

/// Of how many inputs the attempts are counted. What is older than so many others is gone, and so
/// are its reports.
const INPUTS: usize = 20;

/// Starts the first dry run of an input.
pub(super) fn begin(
    world: &World,
    next: &mut Next,
    input: InputDigest,
    commands: String,
) -> Standing {
    let attempt = next_attempt(world, next, &input);
    rehearse(world, next, input, commands, attempt)
}

fn rehearse(
    world: &World,
    next: &mut Next,
    input: InputDigest,
    commands: String,
    attempt: u32,
) -> Standing {
    let name = job_name(name_of(world), RunPhase::DryRun, &input, attempt);
    next.status.run = Some(Run {
        image: world.migration.spec.image.clone(),
        commands,
        attempt,
        drifts: 0,
        busy: 0,
        started: world.now,
        dry_run: Some(JobRecord::intended(name)),
        upgrade: None,
        evidence: None,
        before: None,
        predicted: None,
        landed: None,
        admitted: None,
        image_id: None,
        input_digest: input,
    });
    next.effects.push(Effect::CreateDryRunJob);
    Standing::DryRunning { obstacle: None }
}

pub(super) enum Again {
    /// A person asked for it, or nobody was hurt.
    Asked,
    /// The database changed before the upgrade.
    Drifted,
    /// Another run held the database.
    Busy,
}

/// Starts another attempt at the same input with a new dry run.
pub(super) fn again(world: &World, next: &mut Next, why: Again) -> Standing {
    let Some(old) = next.status.run.take() else {
        return Standing::Suspended;
    };
    let attempt = next_attempt(world, next, &old.input_digest).max(1 + old.attempt);
    let standing = rehearse(world, next, old.input_digest, old.commands, attempt);
    if let Some(run) = &mut next.status.run {
        run.started = old.started;
        match why {
            Again::Asked => run.started = world.now,
            Again::Drifted => run.drifts = old.drifts + 1,
            Again::Busy => {
                run.drifts = old.drifts;
                run.busy = old.busy + 1;
            }
        }
    }
    standing
}

/// Another run held the database: wait, then try again. An upgrade keeps its evidence.
pub(super) fn busy(world: &World, next: &mut Next, phase: RunPhase, outcome: Outcome) -> Standing {
    if world.migration.spec.suspend {
        return Standing::Suspended;
    }
    let times = next.status.run.as_ref().map_or(0, |run| run.busy);
    let pause = Duration::from_secs(2 << times.min(6));
    let waited = Duration::try_from(world.now.duration_since(outcome.at)).unwrap_or_default();
    if waited < pause {
        next.wake(pause.saturating_sub(waited));
        return Standing::Busy { phase, outcome };
    }
    match phase {
        RunPhase::DryRun => again(world, next, Again::Busy),
        RunPhase::Upgrade => {
            if let Some(run) = &mut next.status.run {
                run.busy += 1;
            }
            upgrade_again(world, next)
        }
    }
}

/// Whether the database may be in the predicted state although the upgrade did not end well. Only
/// another attempt at the same upgrade can find that out: its `prepare` compares with what was
/// predicted, while a command that remembers nothing cannot be rehearsed on top of its own work.
pub(super) fn may_have_landed(outcome: &Outcome) -> bool {
    let all_applied = Outcome::cause_of(&Verdict::UpgradeFailed(UpgradeFailure::AllApplied));
    [
        reason::UPGRADE_UNKNOWN,
        reason::EVIDENCE_LOST,
        reason::ENVIRONMENT,
        reason::INTERRUPTED,
    ]
    .contains(&outcome.reason.as_str())
        || outcome.reason == reason::UPGRADE_FAILED && outcome.cause == all_applied
}

/// Whether the database is known to be in a state that was not predicted.
pub(super) fn landed_elsewhere(outcome: &Outcome) -> bool {
    [reason::UPGRADE_DIVERGED, reason::UPGRADE_PARTIAL].contains(&outcome.reason.as_str())
}

/// Whether nobody knows in which state an upgrade that ended with this reason left the database.
/// `Environment` and `Interrupted` are not
/// among these: an upgrade that ends like that has not started its command.
pub(super) fn is_in_doubt(upgrade: &str) -> bool {
    [reason::UPGRADE_UNKNOWN, reason::EVIDENCE_LOST].contains(&upgrade)
}

pub(super) fn has_evidence(world: &World, next: &Next) -> bool {
    let run = next.status.run.as_ref();
    run.is_some_and(|run| verified(world, run).is_ok())
}

/// Starts another attempt at the upgrade on the evidence of the same dry run.
pub(super) fn upgrade_again(world: &World, next: &mut Next) -> Standing {
    if let Some(input) = next.status.run.as_ref().map(|run| run.input_digest.clone()) {
        let attempt = next_attempt(world, next, &input);
        if let Some(run) = &mut next.status.run {
            run.attempt = attempt.max(1 + run.attempt);
            run.upgrade = None;
            run.landed = None;
        }
    }
    passed(world, next)
}

/// The number of another attempt at that input, which from here on is on record.
fn next_attempt(world: &World, next: &mut Next, input: &InputDigest) -> u32 {
    let attempts = &mut next.status.attempts;
    let known = attempts.iter().position(|of| of.input_digest == *input);
    let known = known.map_or(0, |at| attempts.remove(at).latest);
    let past = next.status.history.iter();
    let past = past.filter(|past| past.input_digest == *input);
    let past = past.map(|past| past.attempt).max().unwrap_or(0);
    let latest = 1 + known.max(past).max(latest_attempt(world, input));
    attempts.push(Attempts {
        input_digest: input.clone(),
        latest,
    });
    let surplus = attempts.len().saturating_sub(INPUTS);
    attempts.drain(..surplus);
    latest
}

/// The greatest attempt of that input that left a trace under this Migration's name, be it that of
/// an earlier Migration.
fn latest_attempt(world: &World, input: &InputDigest) -> u32 {
    let names = world
        .jobs
        .iter()
        .map(|job| job.name.as_str())
        .chain(world.kept.iter().map(|map| map.name.as_str()));
    let migration = name_of(world);
    names
        .filter_map(|name| {
            let rest = name.strip_prefix(migration)?.strip_prefix('-')?;
            let (phase, rest) = rest.split_once('-')?;
            RunPhase::parse(phase)?;
            rest.strip_prefix(input.short())?
                .strip_prefix('-')?
                .parse::<u32>()
                .ok()
        })
        .max()
        .unwrap_or(0)
}
