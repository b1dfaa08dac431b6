//! Performs a decision: the status first, then its effects in order.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, LogParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::{Context, ControllerError, error::chain, foreign};
use crate::api::{
    FIELD_MANAGER, FINALIZER, GATE, Migration, RunPhase, UPGRADE_GATE, pod, reason, run_id,
};
use crate::operator::pipeline::{Decision, Effect, Problem, World, transitions};
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
    // Before all others, and whatever becomes of them: the pods of a released image start even
    // while the next release gets nowhere.
    let opened = open_gates(context, world, &gates).await;
    if !gates.is_empty() {
        acted = Acted::Something;
    }
    for effect in effects {
        match perform(context, world, &mut migration, effect).await? {
            Acted::InVain => {
                opened?;
                return Ok(Acted::InVain);
            }
            _ => acted = Acted::Something,
        }
    }
    opened?;
    Ok(acted)
}

/// Opens every gate that can be opened. The error is that of the first that could not.
async fn open_gates(
    context: &Context,
    world: &World,
    gates: &[&Effect],
) -> Result<(), ControllerError> {
    let mut opened = Ok(());
    for some in gates.chunks(OPENED_AT_A_TIME) {
        let mut opening = Vec::new();
        for gate in some {
            if let Effect::OpenGate { pod, uid, index } = gate {
                opening.push(remove_gate(context, world, pod, uid, *index, GATE));
            }
        }
        for one in futures::future::join_all(opening).await {
            opened = opened.and(one.map(drop));
        }
    }
    opened
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
            let budgets = api::<PodDisruptionBudget>(context, world);
            match budgets.create(&post(), &budget).await {
                Ok(_) => {}
                Err(error) if is_conflict(&error) => {
                    let name = budget.name_any();
                    if let Some(problem) = foreign::has_name(budgets, &name, migration).await? {
                        let Some(job) = intended(migration, RunPhase::Upgrade) else {
                            return Ok(Acted::Nothing);
                        };
                        return Ok(refused(context, world, &job, problem));
                    }
                }
                Err(source) => {
                    return Err(ControllerError::Write {
                        what: "the PodDisruptionBudget",
                        source,
                    });
                }
            }
            create_job(context, world, migration, RunPhase::Upgrade, Some(evidence)).await
        }
        Effect::StartUpgrade {
            pod, uid, index, ..
        } => remove_gate(context, world, pod, uid, *index, UPGRADE_GATE).await,
        Effect::DeleteJob { name, uid } => {
            delete_job(context, world, name, uid, DeleteParams::background()).await
        }
        Effect::WithdrawUpgrade { job, uid } => {
            delete_job(context, world, job, uid, DeleteParams::foreground()).await
        }
        Effect::StoreReport { job, pod, summary } => {
            match store_report(context, world, job, pod, summary).await {
                Ok(None) => {
                    context.memory.went_well(world, job);
                    Ok(Acted::Something)
                }
                Ok(Some(problem)) => {
                    context.memory.is_taken(world, job, problem);
                    Ok(known(world.taken.contains_key(job)))
                }
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

async fn delete_job(
    context: &Context,
    world: &World,
    name: &str,
    uid: &str,
    params: DeleteParams,
) -> Result<Acted, ControllerError> {
    let params = params.preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    });
    let deleted = api::<Job>(context, world).delete(name, &params).await;
    done("a superseded Job", deleted)
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
    let jobs = api::<Job>(context, world);
    match jobs.create(&post(), &built).await {
        Ok(_) => {
            context.memory.went_well(world, name);
            Ok(Acted::Something)
        }
        Err(error) if is_conflict(&error) => {
            let foreign = foreign::has_name(jobs, name, migration).await?;
            Ok(foreign.map_or(Acted::Something, |problem| {
                refused(context, world, name, problem)
            }))
        }
        // 403 by quota or admission, 400 and 422 by validation: said in the status, tried again.
        Err(kube::Error::Api(status)) if [400, 403, 422].contains(&status.code) => {
            let problem = Problem {
                reason: reason::JOB_REFUSED,
                message: format!("the API server refuses it: {}", status.message),
            };
            Ok(refused(context, world, name, problem))
        }
        Err(source) => Err(ControllerError::Write {
            what: "a Job",
            source,
        }),
    }
}

fn intended(migration: &Migration, phase: RunPhase) -> Option<String> {
    let run = migration.status.as_ref()?.run.as_ref()?;
    Some(run.job(phase)?.name.clone())
}

/// The Job cannot be created for now: said in the status, tried again.
fn refused(context: &Context, world: &World, job: &str, problem: Problem) -> Acted {
    context.memory.was_refused(world, job, problem);
    known(world.refused.contains_key(job))
}

/// What is news must be told first.
fn known(known: bool) -> Acted {
    if known {
        Acted::InVain
    } else {
        Acted::Something
    }
}

/// Fetches the announced report from the witness's log and keeps it; or says who has its name.
async fn store_report(
    context: &Context,
    world: &World,
    job: &str,
    pod: &str,
    summary: &Summary,
) -> Result<Option<Problem>, String> {
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
    let maps = api::<ConfigMap>(context, world);
    match maps.create(&post(), &map).await {
        Ok(_) => Ok(None),
        Err(error) if is_conflict(&error) => foreign::has_name(maps, job, &world.migration)
            .await
            .map_err(|error| chain(&error)),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use axum::http::{Method, Request, Response};
    use kube::Client;
    use kube::client::Body;

    use super::super::fixture::migration;
    use super::super::last_seen::LastSeen;
    use super::super::metrics::Metrics;
    use super::super::{events, gather};
    use super::*;
    use crate::api::JobRecord;
    use crate::operator::pipeline::decide;
    use crate::operator::resources::OwnImage;
    use crate::verdict::{EvidenceDigest, RollbackProof, Verdict};

    /// An API server that lets pods be patched, where all objects are somebody else's, and which
    /// answers everything else with `code`; and what it was asked for.
    fn server(code: u16) -> (Client, Arc<Mutex<Vec<String>>>) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Some((request, reply)) = handle.next_request().await {
                let method = request.method().clone();
                let of_pods = request.uri().path().contains("/pods/");
                log.lock()
                    .unwrap()
                    .push(format!("{method} {}", request.uri().path()));
                let (code, answer) = if method == Method::GET || method == Method::PATCH && of_pods
                {
                    (200, json!({"metadata": {"name": "any"}}))
                } else {
                    (
                        code,
                        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                            "message": "exceeded quota", "reason": "Forbidden", "code": code}),
                    )
                };
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                reply.send_response(Response::builder().status(code).body(body).unwrap());
            }
        });
        (Client::new(service, "shop"), asked)
    }

    fn context(client: Client) -> Context {
        Context {
            events: events::Events::new(client.clone()),
            client,
            own: OwnImage {
                image: "drydock:1".into(),
                image_pull_policy: None,
            },
            metrics: Metrics::new().unwrap(),
            memory: gather::Memory::default(),
            last_seen: LastSeen::default(),
        }
    }

    /// A Migration whose dry run is on record, and whose Job has been refused before.
    fn world() -> World {
        let migration = migration();
        let mut world = World {
            now: jiff::Timestamp::UNIX_EPOCH,
            migration,
            jobs: Vec::new(),
            reports: BTreeMap::new(),
            kept: Vec::new(),
            unfetched: BTreeMap::new(),
            refused: BTreeMap::new(),
            taken: BTreeMap::new(),
            gone: None,
            app_pods: Vec::new(),
        };
        let status = decide(&world).status;
        let run = status.run.clone().unwrap();
        let job = run.job(RunPhase::DryRun).unwrap().name.clone();
        let problem = Problem {
            reason: reason::JOB_REFUSED,
            message: "exceeded quota".into(),
        };
        world.refused.insert(job, problem);
        world.migration.status = Some(status);
        world
    }

    fn gate(pod: &str) -> Effect {
        Effect::OpenGate {
            pod: pod.into(),
            uid: format!("uid-{pod}"),
            index: 0,
        }
    }

    #[tokio::test]
    async fn gates_of_released_images_open_while_a_new_releases_job_is_refused() {
        for code in [403, 500] {
            let (client, asked) = server(code);
            let world = world();
            let decision = Decision {
                status: world.migration.status_or_default(),
                effects: vec![Effect::CreateDryRunJob, gate("old-1"), gate("old-2")],
                requeue: None,
            };
            let acted = apply(&context(client), &world, &decision).await;
            match code {
                403 => assert_eq!(acted.unwrap(), Acted::InVain),
                _ => assert!(acted.is_err(), "the error is counted, and tried again"),
            }
            let asked = asked.lock().unwrap().clone();
            let (job, gates) = asked.split_last().unwrap();
            let mut gates = gates.to_vec();
            gates.sort();
            assert_eq!(
                gates,
                [
                    "PATCH /api/v1/namespaces/shop/pods/old-1",
                    "PATCH /api/v1/namespaces/shop/pods/old-2"
                ]
            );
            assert_eq!(job, "POST /apis/batch/v1/namespaces/shop/jobs");
        }
    }

    #[tokio::test]
    async fn a_name_that_somebody_else_has_is_told_once_and_then_tried_in_vain() {
        let (client, asked) = server(409);
        let context = context(client);
        let mut world = world();
        world.refused.clear();
        let run = world.migration.status.as_mut().and_then(|s| s.run.as_mut());
        run.unwrap().upgrade = Some(JobRecord::intended("up".into()));
        let digest = EvidenceDigest::new("sha256:1");
        let evidence =
            Verified::check(&Verdict::Passed, RollbackProof::Verified, &digest, &digest).unwrap();
        for (effect, objects) in [
            (Effect::CreateDryRunJob, "jobs"),
            (
                Effect::CreateUpgradeJob { evidence },
                "poddisruptionbudgets",
            ),
        ] {
            let decision = Decision {
                status: world.migration.status_or_default(),
                effects: vec![effect],
                requeue: None,
            };
            for acted in [Acted::Something, Acted::InVain] {
                asked.lock().unwrap().clear();
                assert_eq!(apply(&context, &world, &decision).await.unwrap(), acted);
                let asked = asked.lock().unwrap().clone();
                assert_eq!(asked.len(), 2, "{asked:?}");
                assert!(asked[0].starts_with("POST "), "{asked:?}");
                assert!(asked[0].ends_with(objects), "{asked:?}");
                assert!(asked[1].starts_with("GET "), "{asked:?}");
                world.refused = context.memory.refused(&world);
                assert!(
                    world
                        .refused
                        .values()
                        .all(|why| why.reason == reason::NAME_TAKEN)
                );
            }
        }
        assert_eq!(world.refused.len(), 2);
    }
}
