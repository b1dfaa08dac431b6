//! Performs a decision: the status first, then its effects in order.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, LogParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::{Context, ControllerError, error::chain};
use crate::api::{FIELD_MANAGER, FINALIZER, GATE, Migration, RunPhase, UPGRADE_GATE, pod, run_id};
use crate::operator::pipeline::{Decision, Effect, World, transitions};
use crate::operator::resources::{JobInput, disruption_budget, job, report_config_map};
use crate::report::{Report, Summary};
use crate::verdict::Verified;

/// How many gates are opened at a time.
const OPENED_AT_A_TIME: usize = 16;

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acted {
    /// There was nothing to do.
    Nothing,
    /// The world is another now: look again at once.
    Something,
    /// Something was tried and refused: look again later.
    InVain,
}

pub(super) async fn apply(
    context: &Context,
    world: &World,
    decision: &Decision,
) -> Result<Acted, ControllerError> {
    let mut acted = Acted::Nothing;
    let mut migration = world.migration.clone();
    let old = migration.status_or_default();
    if world.migration.status.as_ref() != Some(&decision.status) {
        migration.status = Some(decision.status.clone());
        migration.metadata.managed_fields = None;
        let written = api::<Migration>(context, world)
            .replace_status(&migration.name_any(), &post(), &migration)
            .await;
        migration = match written {
            Ok(written) => written,
            // Somebody wrote in between: look again.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Acted::Something),
            // It is gone.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Acted::Nothing),
            Err(source) => {
                return Err(ControllerError::Write {
                    what: "the status",
                    source,
                });
            }
        };
        acted = Acted::Something;
        for transition in transitions(&old, &decision.status) {
            context.events.tell(&migration, &transition).await;
        }
        context.metrics.count(world, &old, &decision.status);
    }
    let (gates, effects): (Vec<&Effect>, Vec<&Effect>) = decision
        .effects
        .iter()
        .partition(|effect| matches!(effect, Effect::OpenGate { .. }));
    for effect in effects {
        match perform(context, world, &mut migration, effect).await? {
            Acted::InVain => return Ok(Acted::InVain),
            _ => acted = Acted::Something,
        }
    }
    for some in gates.chunks(OPENED_AT_A_TIME) {
        let mut opening = Vec::new();
        for gate in some {
            if let Effect::OpenGate { pod, uid, index } = gate {
                opening.push(remove_gate(context, world, pod, uid, *index, GATE));
            }
        }
        futures::future::try_join_all(opening).await?;
        acted = Acted::Something;
    }
    Ok(acted)
}

async fn perform(
    context: &Context,
    world: &World,
    migration: &mut Migration,
    effect: &Effect,
) -> Result<Acted, ControllerError> {
    match effect {
        Effect::AddFinalizer => set_finalizer(context, world, migration, true).await,
        Effect::RemoveFinalizer => set_finalizer(context, world, migration, false).await,
        Effect::CreateDryRunJob => {
            create_job(context, world, migration, RunPhase::DryRun, None).await
        }
        Effect::CreateUpgradeJob { evidence } => {
            let budget = disruption_budget(migration);
            let created = api::<PodDisruptionBudget>(context, world)
                .create(&post(), &budget)
                .await;
            if let Err(source) = created
                && !is_conflict(&source)
            {
                return Err(ControllerError::Write {
                    what: "the PodDisruptionBudget",
                    source,
                });
            }
            create_job(context, world, migration, RunPhase::Upgrade, Some(evidence)).await
        }
        Effect::StartUpgrade {
            pod, uid, index, ..
        } => remove_gate(context, world, pod, uid, *index, UPGRADE_GATE).await,
        Effect::DeleteJob { name, uid } => {
            let params = DeleteParams::background().preconditions(Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            });
            done(
                "a superseded Job",
                api::<Job>(context, world).delete(name, &params).await,
            )
        }
        Effect::StoreReport { job, pod, summary } => {
            match store_report(context, world, job, pod, summary).await {
                Ok(()) => Ok(Acted::Something),
                Err(why) => {
                    tracing::warn!(job, pod, why, "cannot fetch a report");
                    context.memory.could_not_fetch(world, job, why);
                    Ok(Acted::Something)
                }
            }
        }
        Effect::DeleteReport { name } => done(
            "an old report",
            api::<ConfigMap>(context, world)
                .delete(name, &DeleteParams::default())
                .await,
        ),
        Effect::OpenGate { pod, uid, index } => {
            remove_gate(context, world, pod, uid, *index, GATE).await
        }
    }
}

async fn set_finalizer(
    context: &Context,
    world: &World,
    migration: &mut Migration,
    wanted: bool,
) -> Result<Acted, ControllerError> {
    let mut finalizers = migration.finalizers().to_vec();
    if finalizers.iter().any(|f| f == FINALIZER) == wanted {
        return Ok(Acted::Nothing);
    }
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    } else {
        finalizers.retain(|f| f != FINALIZER);
    }
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": migration.resource_version(),
    }});
    *migration = api::<Migration>(context, world)
        .patch(
            &migration.name_any(),
            &PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            },
            &Patch::Merge(patch),
        )
        .await
        .map_err(|source| ControllerError::Write {
            what: "the finalizer",
            source,
        })?;
    Ok(Acted::Something)
}

async fn create_job(
    context: &Context,
    world: &World,
    migration: &Migration,
    phase: RunPhase,
    evidence: Option<&Verified>,
) -> Result<Acted, ControllerError> {
    let Some(run) = migration.status.as_ref().and_then(|s| s.run.as_ref()) else {
        return Ok(Acted::Nothing);
    };
    let Some(record) = run.job(phase) else {
        return Ok(Acted::Nothing);
    };
    let name = &record.name;
    let built = job(&JobInput {
        migration,
        settings: &context.own,
        phase,
        name,
        run: &run_id(&migration.name_any(), phase, &run.input_digest, run.attempt),
        attempt: run.attempt,
        evidence,
        record: run,
    });
    match api::<Job>(context, world).create(&post(), &built).await {
        Ok(_) => Ok(Acted::Something),
        Err(error) if is_conflict(&error) => Ok(Acted::Something),
        // 403 by quota or admission, 400 and 422 by validation: said in the status, tried again.
        Err(kube::Error::Api(status)) if [400, 403, 422].contains(&status.code) => {
            context
                .memory
                .was_refused(world, name, status.message.clone());
            Ok(if world.refused.contains_key(name) {
                Acted::InVain
            } else {
                Acted::Something
            })
        }
        Err(source) => Err(ControllerError::Write {
            what: "a Job",
            source,
        }),
    }
}

/// Fetches the announced report from the witness's log and keeps it.
async fn store_report(
    context: &Context,
    world: &World,
    job: &str,
    pod: &str,
    summary: &Summary,
) -> Result<(), String> {
    let log = api::<Pod>(context, world)
        .logs(
            pod,
            &LogParams {
                container: Some(pod::WITNESS.to_owned()),
                ..LogParams::default()
            },
        )
        .await
        .map_err(|error| chain(&error))?;
    // What it wrote to stderr stands in the same log.
    let report = log
        .lines()
        .find(|line| Report::digest_of(line.as_bytes()) == summary.digest)
        .ok_or_else(|| {
            format!(
                "the witness's log holds no report with the digest {}",
                summary.digest
            )
        })?;
    let map = report_config_map(&world.migration, job, report.as_bytes(), summary)
        .map_err(|error| chain(&error))?;
    match api::<ConfigMap>(context, world).create(&post(), &map).await {
        Ok(_) => Ok(()),
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}

/// Removes that gate, at that position, from that very pod; nothing when it is not there any more.
async fn remove_gate(
    context: &Context,
    world: &World,
    pod: &str,
    uid: &str,
    index: usize,
    gate: &str,
) -> Result<Acted, ControllerError> {
    let path = format!("/spec/schedulingGates/{index}");
    let patch = serde_json::from_value(json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": format!("{path}/name"), "value": gate},
        {"op": "remove", "path": path},
    ]))
    .map_err(|error| ControllerError::Write {
        what: "a pod",
        source: kube::Error::SerdeError(error),
    })?;
    let patched = api::<Pod>(context, world)
        .patch(pod, &PatchParams::default(), &Patch::<Pod>::Json(patch))
        .await;
    match patched {
        Ok(_) => {
            tracing::info!(pod, gate, "gate removed");
            Ok(Acted::Something)
        }
        // It is gone, or another, or without the gate by now.
        Err(kube::Error::Api(status)) if [404, 409, 422].contains(&status.code) => {
            Ok(Acted::Something)
        }
        Err(source) => Err(ControllerError::Write {
            what: "a pod",
            source,
        }),
    }
}

fn done<T>(what: &'static str, result: kube::Result<T>) -> Result<Acted, ControllerError> {
    match result {
        Ok(_) => Ok(Acted::Something),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(Acted::Something),
        Err(source) => Err(ControllerError::Write { what, source }),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn api<K>(context: &Context, world: &World) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    let namespace = world.migration.namespace().unwrap_or_default();
    Api::namespaced(context.client.clone(), &namespace)
}
