//! The pods of runs as a watch saw them last: one that is gone before anybody looked may have said
//! how it ended.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, ResourceExt};

use crate::api::{LABEL_MIGRATION, LABEL_PHASE};
use crate::operator::pipeline::{GonePod, RunPod};

/// So many pods that are gone are remembered at most, the latest ones.
const GONE: usize = 256;

/// What the watch has said. Forgetting it (a restart) leaves the end of an upgrade unknown, and a dry
/// run lost.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By UID.
    pods: HashMap<String, Entry>,
    /// The UIDs of a listing that is under way.
    listed: HashSet<String>,
    /// Counts the pods that are gone.
    departures: u64,
}

/// The pod that a run waits for and that a listing did not show any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited<'a> {
    /// This very pod, by its UID: no other pod of an upgrade is ever started.
    Pod(&'a str),
    /// The last pod of this Job, by the Job's UID: a dry run may have had several.
    OfJob(&'a str),
}

impl Awaited<'_> {
    fn is(self, pod: &RunPod) -> bool {
        match self {
            Self::Pod(uid) => pod.uid == uid,
            Self::OfJob(uid) => pod.job == uid,
        }
    }
}

#[derive(Debug)]
struct Entry {
    namespace: String,
    migration: String,
    pod: RunPod,
    /// Which departure it was.
    gone: Option<u64>,
}

impl LastSeen {
    /// Listens for ever.
    pub(super) async fn follow(&self, pods: Api<Pod>) {
        let runs = format!("{LABEL_MIGRATION},{LABEL_PHASE}");
        let config = watcher::Config::default().labels(&runs);
        watch(pods, config)
            .default_backoff()
            .for_each(|event| async {
                match event {
                    Ok(event) => self.note(&event),
                    Err(error) => tracing::debug!(%error, "the watch of runs is interrupted"),
                }
            })
            .await;
    }

    /// What is known of the pod that is awaited. Other pods of the Migration that are gone are
    /// forgotten: nobody will ask for them.
    pub(super) fn of(
        &self,
        namespace: &str,
        migration: &str,
        awaited: Option<Awaited<'_>>,
    ) -> Option<GonePod> {
        let mut seen = self.lock();
        seen.pods.retain(|_, entry| {
            entry.gone.is_none()
                || awaited.is_some_and(|awaited| awaited.is(&entry.pod))
                || entry.namespace != namespace
                || entry.migration != migration
        });
        let awaited = awaited?;
        let entry = seen
            .pods
            .values()
            .filter(|entry| awaited.is(&entry.pod))
            .max_by_key(|entry| entry.gone.unwrap_or(u64::MAX))?;
        Some(GonePod {
            pod: entry.pod.clone(),
            last: entry.gone.is_some(),
        })
    }

    fn note(&self, event: &Event<Pod>) {
        let mut seen = self.lock();
        match event {
            Event::Init => seen.listed.clear(),
            Event::InitApply(pod) => {
                seen.listed.extend(pod.uid());
                seen.put(pod);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut seen.listed);
                let missing: Vec<String> = seen
                    .pods
                    .iter()
                    .filter(|(uid, entry)| entry.gone.is_none() && !listed.contains(*uid))
                    .map(|(uid, _)| uid.clone())
                    .collect();
                for uid in missing {
                    seen.departed(&uid);
                }
            }
            Event::Apply(pod) => seen.put(pod),
            Event::Delete(pod) => {
                seen.put(pod);
                seen.departed(&pod.uid().unwrap_or_default());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn put(&mut self, pod: &Pod) {
        let (Some(uid), Some(migration)) = (pod.uid(), pod.labels().get(LABEL_MIGRATION)) else {
            return;
        };
        let entry = Entry {
            namespace: pod.namespace().unwrap_or_default(),
            migration: migration.clone(),
            pod: RunPod::read(pod),
            gone: None,
        };
        self.pods.insert(uid, entry);
    }

    fn departed(&mut self, uid: &str) {
        self.departures += 1;
        let departure = self.departures;
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.gone = Some(departure);
        }
        let gone = |entry: &Entry| entry.gone;
        let mut departures: Vec<u64> = self.pods.values().filter_map(gone).collect();
        departures.sort_unstable();
        if let Some(surplus) = departures.len().checked_sub(GONE + 1) {
            let oldest = departures.get(surplus).copied().unwrap_or_default();
            self.pods
                .retain(|_, entry| entry.gone.is_none_or(|gone| gone > oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::pipeline::Step;

    /// A pod of the upgrade of `orders`; `code` is how its witness ended.
    fn pod(uid: &str, code: Option<i32>) -> Pod {
        let witness = match code {
            Some(code) => serde_json::json!({"terminated": {"exitCode": code, "message": "said"}}),
            None => serde_json::json!({"running": {}}),
        };
        serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "p", "namespace": "shop", "uid": uid,
                "labels": {LABEL_MIGRATION: "orders", LABEL_PHASE: "upgrade"},
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job",
                    "controller": true,
                }],
            },
            "spec": {"containers": []},
            "status": {"containerStatuses": [{
                "name": "witness", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": witness,
            }]},
        }))
        .unwrap()
    }

    fn seen(events: impl IntoIterator<Item = Event<Pod>>) -> LastSeen {
        let last_seen = LastSeen::default();
        for event in events {
            last_seen.note(&event);
        }
        last_seen
    }

    fn of(last_seen: &LastSeen, uid: &str) -> Option<GonePod> {
        last_seen.of("shop", "orders", Some(Awaited::Pod(uid)))
    }

    #[test]
    fn a_deleted_pod_is_remembered_as_it_was_when_it_went() {
        let last_seen = seen([
            Event::Apply(pod("u", None)),
            Event::Delete(pod("u", Some(0))),
        ]);
        let gone = of(&last_seen, "u").unwrap();
        assert!(gone.last);
        assert_eq!(
            gone.pod.witness,
            Step::Ended {
                code: 0,
                message: "said".into()
            }
        );
    }

    #[test]
    fn of_the_pods_of_a_job_the_one_that_was_there_last_counts() {
        let last_seen = seen([
            Event::Delete(pod("evicted", Some(8))),
            Event::Delete(pod("deleted", Some(7))),
        ]);
        let of = |job| last_seen.of("shop", "orders", Some(Awaited::OfJob(job)));
        assert_eq!(of("job").unwrap().pod.uid, "deleted");
        last_seen.note(&Event::Apply(pod("another", None)));
        assert!(!of("job").unwrap().last, "one of them may be there");
        assert_eq!(of("another job"), None);
    }

    #[test]
    fn a_pod_that_the_watch_still_takes_for_there_has_not_said_its_last_word() {
        let last_seen = seen([Event::Apply(pod("u", None))]);
        let gone = of(&last_seen, "u").unwrap();
        assert!(!gone.last);
        assert_eq!(gone.pod.witness, Step::Running);
        assert_eq!(of(&last_seen, "another"), None);
    }

    #[test]
    fn a_pod_that_went_while_the_watch_was_interrupted_said_its_last_word_before() {
        let last_seen = seen([
            Event::Apply(pod("u", Some(8))),
            Event::Apply(pod("stays", None)),
            Event::Init,
            Event::InitApply(pod("stays", None)),
        ]);
        assert!(
            !of(&last_seen, "u").unwrap().last,
            "the list is not complete"
        );
        last_seen.note(&Event::InitDone);
        assert!(of(&last_seen, "u").unwrap().last);
        assert!(!of(&last_seen, "stays").unwrap().last);
    }

    #[test]
    fn what_the_run_does_not_need_is_forgotten() {
        let last_seen = seen([
            Event::Delete(pod("old", Some(0))),
            Event::Delete(pod("new", Some(0))),
            Event::Apply(pod("running", None)),
        ]);
        // Somebody else's question changes nothing.
        assert_eq!(last_seen.of("shop", "customers", None), None);
        assert!(of(&last_seen, "new").is_some());
        assert_eq!(of(&last_seen, "old"), None);
        assert_eq!(last_seen.of("shop", "orders", None), None);
        assert_eq!(last_seen.lock().pods.len(), 1, "a pod that is there stays");
    }

    #[test]
    fn no_more_than_the_latest_departures_are_remembered() {
        let many = (0..GONE + 10).map(|n| Event::Delete(pod(&n.to_string(), Some(0))));
        let last_seen = seen(many);
        assert_eq!(last_seen.lock().pods.len(), GONE);
        assert!(of(&last_seen, &(GONE + 9).to_string()).is_some());
    }
}
