//! What follows from a status, whatever was decided: the gates, the finalizer, what is of no use any
//! more.

use super::advance::Next;
use super::effect::Effect;
use super::release;
use super::world::World;
use crate::api::{FINALIZER, Run, RunPhase, reason};
use crate::operator::gate;

/// How many old reports are kept.
const REPORTS: usize = 10;

pub(super) fn keep(world: &World, next: &mut Next) {
    end_stray_runs(world, next);
    keep_finalizer_only_for_an_upgrade(world, next);
    release::forget(&mut next.status, world);
    open_gates(world, next);
    forget_old_reports(world, next);
}

/// A dry run that is not the present run's is of no use to anybody, nor is an upgrade that was
/// superseded before it was started.
fn end_stray_runs(world: &World, next: &mut Next) {
    let run = next.status.run.clone();
    for job in &world.jobs {
        let over = job.failed || job.complete || job.deleting;
        let useless = match job.phase {
            Some(RunPhase::DryRun) => true,
            Some(RunPhase::Upgrade) => job.pod.as_ref().is_some_and(|pod| pod.gate.is_some()),
            None => false,
        };
        let wanted = job
            .phase
            .and_then(|phase| run.as_ref()?.job(phase))
            .is_some_and(|record| record.name == job.name);
        if job.owned && useless && !over && !wanted {
            next.effects.push(Effect::DeleteJob {
                name: job.name.clone(),
                uid: job.uid.clone(),
            });
        }
    }
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
