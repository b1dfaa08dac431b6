//! Everything that was observed about one Migration, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};

use super::pods::RunPod;
use super::problem::Problem;
use crate::api::{GATE, LABEL_PHASE, Migration, RunPhase, pod};
use crate::report::Summary;
use crate::verdict::EvidenceDigest;

/// The input of one decision.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// When it was observed.
    pub now: Timestamp,
    /// The Migration.
    pub migration: Migration,
    /// All Jobs with the Migration's label, whoever owns them.
    pub jobs: Vec<ObservedJob>,
    /// The stored reports of the present run by the name of their Job.
    pub reports: BTreeMap<String, StoredReport>,
    /// All ConfigMaps with the Migration's label, whoever owns them.
    pub kept: Vec<KeptMap>,
    /// Jobs whose report could not be fetched and stored.
    pub unfetched: BTreeMap<String, Unfetched>,
    /// Jobs that could not be created, and why.
    pub refused: BTreeMap<String, Problem>,
    /// Jobs whose report cannot be kept while somebody else has the name of its ConfigMap.
    pub taken: BTreeMap<String, Problem>,
    /// The pod of the run's upgrade, or else of its dry run, as a watch saw it, when it is not there
    /// any more.
    pub gone: Option<GonePod>,
    /// The application's pods with the Migration's label.
    pub app_pods: Vec<AppPod>,
}

/// A report that could not be fetched and stored, since the controller started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfetched {
    /// How often.
    pub tries: u32,
    /// Why the last time.
    pub why: String,
    /// When that was.
    pub last: Timestamp,
}

/// A pod that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GonePod {
    /// As it was seen last.
    pub pod: RunPod,
    /// Whether that was its end. Otherwise the watch has yet to say that it is gone, and what it was
    /// at the time.
    pub last: bool,
}

/// One Job and its pods.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether this very Migration owns it.
    pub owned: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Which run it is, by its label.
    pub phase: Option<RunPhase>,
    /// Whether Kubernetes has given it up.
    pub failed: bool,
    /// Whether it has succeeded.
    pub complete: bool,
    /// The latest of its pods.
    pub pod: Option<RunPod>,
    /// Why its pod cannot be created or started, read from events. Only looked for when its
    /// containers do not say it.
    pub event: Option<Problem>,
}

/// A ConfigMap, mostly one with a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMap {
    /// Its name, which is that of its Job.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Whether this very Migration owns it.
    pub owned: bool,
}

/// A report as it is kept in its ConfigMap.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReport {
    /// The witness's own summary.
    pub summary: Summary,
    /// The digest over the report's bytes as they are kept, computed anew.
    pub digest: EvidenceDigest,
    /// The evidence that an upgrade says it was bound to.
    pub bound_to: Option<EvidenceDigest>,
    /// What it took, for people who watch; nothing is decided by it.
    pub figures: Figures,
}

/// What a run took, as far as its report says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// From the run's beginning to its verdict.
    pub duration: Option<Duration>,
    /// How long the command ran; `None` when it was not started.
    pub command: Option<Duration>,
    /// The longest that another session waited behind a dry run.
    pub longest_wait: Option<Duration>,
}

/// A pod of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The images of all its containers and init containers.
    pub images: Vec<String>,
    /// The position of drydock's gate among its scheduling gates, while it has it.
    pub gate: Option<usize>,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it has ended, or is being deleted.
    pub leaving: bool,
}

impl World {
    /// The Job of that name that this Migration owns.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<&ObservedJob> {
        self.jobs.iter().find(|job| job.owned && job.name == name)
    }
}

impl ObservedJob {
    /// Reads a Job. Its pod is the latest of those given.
    #[must_use]
    pub fn read(job: &Job, migration_uid: &str, pods: &[Pod]) -> Self {
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let owned_by = |references: Option<&Vec<_>>, uid: &str| {
            references.into_iter().flatten().any(
                |r: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| r.uid == uid,
            )
        };
        let pod = pods
            .iter()
            .filter(|pod| owned_by(pod.metadata.owner_references.as_ref(), &uid))
            .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0))
            .map(RunPod::read);
        let is = |kind: &str| {
            job.status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten())
                .any(|c| c.type_ == kind && c.status == "True")
        };
        Self {
            name: job.metadata.name.clone().unwrap_or_default(),
            owned: owned_by(job.metadata.owner_references.as_ref(), migration_uid),
            uid,
            created: job
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            deleting: job.metadata.deletion_timestamp.is_some(),
            phase: job
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(LABEL_PHASE))
                .and_then(|phase| RunPhase::parse(phase)),
            failed: is("Failed"),
            complete: is("Complete"),
            pod,
            event: None,
        }
    }
}

impl AppPod {
    /// Reads a pod; `None` for the pods of drydock's own Jobs.
    #[must_use]
    pub fn read(pod: &Pod) -> Option<Self> {
        let labels = pod.metadata.labels.as_ref();
        if labels.is_some_and(|labels| labels.contains_key(LABEL_PHASE)) {
            return None;
        }
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref();
        let containers = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers);
        let phase = status.and_then(|s| s.phase.as_deref());
        Some(Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            images: containers.filter_map(|c| c.image.clone()).collect(),
            gate: spec
                .scheduling_gates
                .iter()
                .flatten()
                .position(|gate| gate.name == GATE),
            ready: status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            leaving: pod.metadata.deletion_timestamp.is_some()
                || matches!(phase, Some("Succeeded" | "Failed")),
        })
    }
}

impl StoredReport {
    /// Reads what is kept of a report. `report` is the document as unpacked.
    ///
    /// Anything that is not whole is as good as not there: `None`.
    #[must_use]
    pub fn read(map: &ConfigMap, report: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Document {
            bound_to: Option<EvidenceDigest>,
            started: Option<Timestamp>,
            finished: Option<Timestamp>,
            #[serde(default)]
            command_millis: u64,
            longest_wait_millis: Option<u64>,
        }
        let document: Document = serde_json::from_slice(report).ok()?;
        let duration = document
            .started
            .zip(document.finished)
            .and_then(|(from, to)| Duration::try_from(to.duration_since(from)).ok());
        let summary = map.data.as_ref()?.get(pod::SUMMARY_KEY)?;
        Some(Self {
            summary: serde_json::from_str(summary).ok()?,
            digest: crate::report::Report::digest_of(report),
            bound_to: document.bound_to,
            figures: Figures {
                duration,
                command: Some(document.command_millis)
                    .filter(|millis| *millis > 0)
                    .map(Duration::from_millis),
                longest_wait: document.longest_wait_millis.map(Duration::from_millis),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn a_stored_report_says_what_its_run_took() {
        let text = include_str!("../../../tests/reports/passed.json");
        let mut report: Report = serde_json::from_str(text).unwrap();
        report.finished = report.started + jiff::SignedDuration::from_millis(4200);
        report.longest_wait_millis = Some(250);
        let json = serde_json::to_vec(&report).unwrap();
        let summary = serde_json::to_string(&Summary::of(&report, &json)).unwrap();
        let map = ConfigMap {
            data: Some([(pod::SUMMARY_KEY.to_owned(), summary)].into()),
            ..ConfigMap::default()
        };
        let stored = StoredReport::read(&map, &json).unwrap();
        assert_eq!(
            stored.figures,
            Figures {
                duration: Some(Duration::from_millis(4200)),
                command: Some(Duration::from_millis(799)),
                longest_wait: Some(Duration::from_millis(250)),
            }
        );
        // As an earlier version wrote it.
        let stored = StoredReport::read(&map, text.as_bytes()).unwrap();
        assert_eq!(stored.figures.longest_wait, None);
    }
}
