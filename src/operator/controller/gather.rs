//! Reads everything about one Migration into a [`World`].
//!
//! It asks the API server, not a cache: a decision on what the controller itself has just written
//! must see it. The watches only say when to look.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::last_seen::Awaited;
use super::{Context, ControllerError};
use crate::api::{JobRecord, LABEL_MIGRATION, Migration, Run};
use crate::operator::pipeline::{
    AppPod, KeptMap, ObservedJob, Problem, StoredReport, Unfetched, World,
};
use crate::operator::resources::{is_owned, unpack_report};

/// A pod that takes longer than this to be created, or to leave its first containers waiting, has a
/// reason that stands in its events.
const SLOW: SignedDuration = SignedDuration::from_millis(1500);

/// The events of a pod that has a node, and whose containers wait without saying for what.
const HINDERED: &[&str] = &[
    "FailedAttachVolume",
    "FailedCreatePodContainer",
    "FailedCreatePodSandBox",
    "FailedMapVolume",
    "FailedMount",
    "NetworkNotReady",
];

/// What the controller remembers between two looks. Forgetting it (a restart) costs time only.
#[derive(Debug, Default)]
pub(super) struct Memory {
    failures: Mutex<HashMap<Key, Failures>>,
}

type Key = (String, String);

#[derive(Debug, Clone, Default)]
struct Failures {
    unfetched: BTreeMap<String, Unfetched>,
    refused: BTreeMap<String, Problem>,
    taken: BTreeMap<String, Problem>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn could_not_fetch(&self, world: &World, job: &str, why: String) {
        let mut failures = self.lock();
        let entry = failures.entry(key(world)).or_default();
        let tries = 1 + entry.unfetched.get(job).map_or(0, |failed| failed.tries);
        let last = Timestamp::now();
        entry
            .unfetched
            .insert(job.to_owned(), Unfetched { tries, why, last });
    }

    pub(super) fn was_refused(&self, world: &World, job: &str, why: Problem) {
        let mut failures = self.lock();
        let entry = failures.entry(key(world)).or_default();
        entry.refused.insert(job.to_owned(), why);
    }

    /// Somebody else has the name of the ConfigMap for that Job's report.
    pub(super) fn is_taken(&self, world: &World, job: &str, why: Problem) {
        let mut failures = self.lock();
        let entry = failures.entry(key(world)).or_default();
        entry.taken.insert(job.to_owned(), why);
    }

    /// What stood in the way of that Job, or of its report, does so no more.
    pub(super) fn went_well(&self, world: &World, job: &str) {
        if let Some(entry) = self.lock().get_mut(&key(world)) {
            entry.refused.remove(job);
            entry.taken.remove(job);
        }
    }

    /// What is remembered about the Jobs of that run. The rest is forgotten.
    fn of(&self, namespace: &str, name: &str, run: Option<&Run>) -> Failures {
        let mut failures = self.lock();
        let Some(entry) = failures.get_mut(&(namespace.to_owned(), name.to_owned())) else {
            return Failures::default();
        };
        let of_run = |job: &String| run.is_some_and(|run| run.job_names().any(|name| name == job));
        entry.unfetched.retain(|job, _| of_run(job));
        entry.refused.retain(|job, _| of_run(job));
        entry.taken.retain(|job, _| of_run(job));
        entry.clone()
    }

    /// Forgets the Migrations that do not exist any more.
    pub(super) fn keep_only(&self, exists: impl Fn(&str, &str) -> bool) {
        self.lock()
            .retain(|(namespace, name), _| exists(namespace, name));
    }

    #[cfg(test)]
    pub(super) fn refused(&self, world: &World) -> BTreeMap<String, Problem> {
        let status = world.migration.status.as_ref();
        let run = status.and_then(|status| status.run.as_ref());
        let (namespace, name) = key(world);
        self.of(&namespace, &name, run).refused
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }
}

fn key(world: &World) -> Key {
    (
        world.migration.namespace().unwrap_or_default(),
        world.migration.name_any(),
    )
}

/// Everything about that Migration; `None` when there is none.
pub(super) async fn gather(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<World>, ControllerError> {
    let client = &context.client;
    let migrations = Api::<Migration>::namespaced(client.clone(), namespace);
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let of_migration = ListParams::default().labels(&format!("{LABEL_MIGRATION}={name}"));
    let read = |what| move |source| ControllerError::Read { what, source };

    let (migration, jobs, pods, kept) = futures::try_join!(
        async {
            migrations
                .get_opt(name)
                .await
                .map_err(|source| match source {
                    kube::Error::SerdeError(_) => ControllerError::Unreadable(source),
                    source => read("the Migration")(source),
                })
        },
        async { jobs.list(&of_migration).await.map_err(read("its Jobs")) },
        async { pods.list(&of_migration).await.map_err(read("its pods")) },
        async {
            maps.list_metadata(&of_migration)
                .await
                .map_err(read("its reports"))
        },
    )?;
    let Some(migration) = migration else {
        context.memory.forget(namespace, name);
        context.last_seen.of(namespace, name, None);
        return Ok(None);
    };

    let uid = migration.uid().unwrap_or_default();
    let now = Timestamp::now();
    let mut observed = Vec::new();
    for job in &jobs {
        let mut job = ObservedJob::read(job, &uid, &pods.items);
        if job.owned && wants_events(&job, now) {
            job.event = events_of(context, namespace, &job).await?;
        }
        observed.push(job);
    }
    let mut reports = BTreeMap::new();
    let run = migration.status.as_ref().and_then(|s| s.run.as_ref());
    let wanted: Vec<String> = kept
        .iter()
        .filter(|map| is_owned(&map.metadata, &migration))
        .map(ResourceExt::name_any)
        .filter(|kept| run.is_some_and(|run| run.job_names().any(|name| name == kept)))
        .collect();
    for job in wanted {
        let map = maps.get_opt(&job).await.map_err(read("a kept report"))?;
        if let Some(report) = map.as_ref().and_then(stored) {
            reports.insert(job, report);
        }
    }
    let awaited = run.and_then(|run| awaited(run, &observed, &pods.items));
    let gone = context.last_seen.of(namespace, name, awaited);
    let failures = context.memory.of(namespace, name, run);
    Ok(Some(World {
        now,
        jobs: observed,
        reports,
        kept: kept
            .iter()
            .map(|map| KeptMap {
                name: map.name_any(),
                created: map
                    .creation_timestamp()
                    .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
                owned: is_owned(&map.metadata, &migration),
            })
            .collect(),
        unfetched: failures.unfetched,
        refused: failures.refused,
        taken: failures.taken,
        gone,
        app_pods: pods.iter().filter_map(AppPod::read).collect(),
        migration,
    }))
}

/// The pod whose end is not on record yet, and that is not there, or without its Job.
fn awaited<'a>(run: &'a Run, jobs: &[ObservedJob], pods: &[Pod]) -> Option<Awaited<'a>> {
    let job_of = |record: &JobRecord| {
        let mut jobs = jobs.iter();
        jobs.find(|job| record.uid.as_ref() == Some(&job.uid))
    };
    let unknown = |record: &&JobRecord| record.outcome.is_none();
    if let Some(upgrade) = &run.upgrade {
        let uid = Some(upgrade).filter(unknown)?.pod.as_deref()?;
        let there = pods.iter().any(|pod| pod.uid().as_deref() == Some(uid));
        return (!there || job_of(upgrade).is_none()).then_some(Awaited::Pod(uid));
    }
    let dry_run = run.dry_run.as_ref().filter(unknown)?;
    let uid = dry_run.uid.as_deref()?;
    let there = job_of(dry_run).is_some_and(|job| job.pod.is_some());
    (!there).then_some(Awaited::OfJob(uid))
}

fn stored(map: &ConfigMap) -> Option<StoredReport> {
    let report = unpack_report(map).ok()?;
    StoredReport::read(map, &report)
}

/// Whether the reason why a Job does not go on can only stand in events.
fn wants_events(job: &ObservedJob, now: Timestamp) -> bool {
    if job.failed || job.complete || job.deleting {
        return false;
    }
    match &job.pod {
        None => now.duration_since(job.created) >= SLOW,
        Some(pod) => now.duration_since(pod.created) >= SLOW && pod.waits_in_silence(),
    }
}

async fn events_of(
    context: &Context,
    namespace: &str,
    job: &ObservedJob,
) -> Result<Option<Problem>, ControllerError> {
    let events = Api::<Event>::namespaced(context.client.clone(), namespace);
    let (kind, name, reasons) = match &job.pod {
        None => ("Job", &job.name, &["FailedCreate"][..]),
        Some(pod) => ("Pod", &pod.name, HINDERED),
    };
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
    let found = events
        .list(&ListParams::default().fields(&fields))
        .await
        .map_err(|source| ControllerError::Read {
            what: "the events of a Job",
            source,
        })?;
    let latest = found
        .items
        .into_iter()
        .filter(|event| {
            let reason = event.reason.as_deref().unwrap_or_default();
            reasons.contains(&reason)
        })
        .max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    Ok(latest
        .and_then(|event| event.message)
        .map(|message| match &job.pod {
            None => Problem::of_failed_create(&message),
            Some(_) => Problem::of_silent_pod(&message),
        }))
}
