//! What follows from a status, whatever was decided: the gates, the finalizer, what is of no use any
//! more.

use super::advance::{Next, is_busy_end};
use super::effect::Effect;
use super::pods::RunPod;
use super::release;
use super::world::World;
use crate::api::{FINALIZER, Outcome, Run, RunPhase, reason};
use crate::operator::gate;
use crate::verdict::Verdict;

/// How many old reports are kept.
const REPORTS: usize = 10;

pub(super) fn keep(world: &World, next: &mut Next) {
    end_stray_runs(world, next);
    keep_finalizer_only_for_an_upgrade(world, next);
    release::forget(&mut next.status, world);
    open_gates(world, next);
    forget_old_reports(world, next);
}

/// Ends what is of no use to anybody: a dry run that is not the present run's, an upgrade that was
/// superseded before it was started, a pod that waits for the command's container although all is
/// said. What ended because another run held the database leaves nothing to look at, and there may
/// be any number of that.
fn end_stray_runs(world: &World, next: &mut Next) {
    let run = next.status.run.clone();
    for job in &world.jobs {
        let Some(phase) = job.phase.filter(|_| job.owned && !job.deleting) else {
            continue;
        };
        let record = run.as_ref().and_then(|run| run.job(phase));
        let record = record.filter(|record| record.name == job.name);
        let says = |what: fn(&RunPod) -> bool| job.pod.as_ref().is_some_and(what);
        let over = job.failed || job.complete;
        let useless = match record {
            Some(record) => {
                !over && record.outcome.is_some() && says(RunPod::is_over_without_the_command)
            }
            None if over => says(found_the_database_busy),
            None => {
                phase == RunPhase::DryRun
                    || says(|pod| pod.gate.is_some() || pod.is_over_without_the_command())
            }
        };
        if useless {
            next.effects.push(Effect::DeleteJob {
                name: job.name.clone(),
                uid: job.uid.clone(),
            });
        }
    }
}

fn found_the_database_busy(pod: &RunPod) -> bool {
    pod.summary().is_some_and(|summary| {
        let cause = Outcome::cause_of(&summary.verdict);
        matches!(summary.verdict, Verdict::Environment(_))
            && is_busy_end(reason::ENVIRONMENT, cause.as_deref())
    })
}

fn keep_finalizer_only_for_an_upgrade(world: &World, next: &mut Next) {
    let over = next
        .status
        .run
        .as_ref()
        .and_then(|run| run.job(RunPhase::Upgrade))
        .is_none_or(|upgrade| {
            upgrade
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.reason != reason::UPGRADE_UNKNOWN)
        });
    if over && has_finalizer(world) {
        next.effects.push(Effect::RemoveFinalizer);
    }
}

fn open_gates(world: &World, next: &mut Next) {
    for pod in world.app_pods.iter().filter(|pod| !pod.leaving) {
        if let Some(index) = pod.gate
            && gate::opens_for(
                pod.images.iter().map(String::as_str),
                &world.migration.spec.image,
                &next.status.released,
            )
        {
            next.effects.push(Effect::OpenGate {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                index,
            });
        }
    }
}

fn forget_old_reports(world: &World, next: &mut Next) {
    let run = next.status.run.as_ref();
    let needed: Vec<&str> = run.into_iter().flat_map(Run::job_names).collect();
    let mut old: Vec<_> = world
        .kept
        .iter()
        .filter(|map| map.owned && !needed.contains(&map.name.as_str()))
        .collect();
    old.sort_by_key(|map| std::cmp::Reverse(map.created));
    for map in old.into_iter().skip(REPORTS) {
        next.effects.push(Effect::DeleteReport {
            name: map.name.clone(),
        });
    }
}

pub(super) fn has_finalizer(world: &World) -> bool {
    world
        .migration
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == FINALIZER)
}
