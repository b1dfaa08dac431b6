//! A cluster of plain values: API server, kubelet, witness and people, without their delays.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    AppPod, Decision, Effect, Figures, GonePod, KeptMap, ObservedJob, Problem, RunPod, Step,
    StoredReport, Unfetched, World, decide,
};
use crate::api::{
    FINALIZER, LABEL_PHASE, Migration, MigrationStatus, RETRY_ANNOTATION, RunPhase, condition,
    from_yaml, is_true, run_id,
};
use crate::report::{RunId, Summary};
use crate::schema::StateDigest;
use crate::verdict::{EvidenceDigest, RollbackProof, Verdict};

/// How a Job of the model goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Going {
    /// The witness says this.
    Says(Verdict),
    /// Nothing was pending.
    NothingToDo,
    /// `prepare` says this, and the command is never started.
    Refuses(Verdict),
    /// `prepare` is killed.
    Dies,
    /// The pod cannot start.
    CannotStart,
    /// The command's image cannot be pulled, and the witness says this.
    IsNotBegun(Verdict),
    /// It cannot start, but it begins when it is asked to go, and vanishes while the command runs.
    BeginsLate,
    /// The pod vanishes while the command runs.
    Vanishes,
    /// The pod ends like that and is deleted before the controller looks; a watch saw it.
    EndsUnseen(Verdict),
    /// The pod vanishes while the command runs, and nobody counts it: the Job makes another pod.
    IsReplaced,
    /// Its node is lost while the command runs, and the pod is deleted.
    Strands,
    /// The witness's report cannot be fetched.
    Mute,
}

pub(super) struct Cluster {
    pub(super) now: Timestamp,
    pub(super) migration: Migration,
    pub(super) jobs: Vec<ObservedJob>,
    pub(super) gone: Option<GonePod>,
    pub(super) app_pods: Vec<AppPod>,
    pub(super) reports: BTreeMap<String, StoredReport>,
    pub(super) refused: BTreeMap<String, Problem>,
    taken: BTreeMap<String, Problem>,
    /// ConfigMaps with the Migration's label that somebody else made.
    pub(super) others_maps: Vec<KeptMap>,
    unfetched: BTreeMap<String, Unfetched>,
    /// What the next dry runs and upgrades do; a pass when nothing is said.
    pub(super) dry_runs: VecDeque<Going>,
    pub(super) upgrades: VecDeque<Going>,
    pub(super) goings: BTreeMap<String, Going>,
    /// Names of all upgrades that were ever started.
    pub(super) upgrades_started: Vec<String>,
    /// Upgrades whose command may still run somewhere.
    pub(super) at_large: Vec<String>,
    /// Why no Job can be created.
    pub(super) refuse_jobs: Option<Problem>,
    /// Why no report can be kept.
    pub(super) refuse_reports: Option<Problem>,
    uids: u32,
    /// Where the database is; each upgrade that lands takes it one further.
    pub(super) state: u32,
}

pub(super) const V1: &str = "registry.example/orders:v1";
pub(super) const V2: &str = "registry.example/orders:v2";

/// How far from its state an upgrade that diverges takes the database.
const ELSEWHERE: u32 = 1000;

/// How long the command always runs.
pub(super) const IN_DRY_RUN: Duration = Duration::from_millis(1200);
pub(super) const IN_UPGRADE: Duration = Duration::from_millis(1400);

impl Cluster {
    pub(super) fn new() -> Self {
        let spec = from_yaml(&format!(
            "{{image: '{V1}', alembic: {{}}, database: {{urlFrom: {{secretKeyRef: {{name: orders-db, key: url}}}}}}}}"
        ))
        .unwrap();
        let mut migration = Migration::new("orders", spec);
        migration.metadata.namespace = Some("shop".into());
        migration.metadata.uid = Some("m-1".into());
        migration.metadata.generation = Some(1);
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            migration,
            jobs: Vec::new(),
            gone: None,
            app_pods: Vec::new(),
            reports: BTreeMap::new(),
            refused: BTreeMap::new(),
            taken: BTreeMap::new(),
            others_maps: Vec::new(),
            unfetched: BTreeMap::new(),
            dry_runs: VecDeque::new(),
            upgrades: VecDeque::new(),
            goings: BTreeMap::new(),
            upgrades_started: Vec::new(),
            at_large: Vec::new(),
            refuse_jobs: None,
            refuse_reports: None,
            uids: 0,
            state: 0,
        }
    }

    pub(super) fn world(&self) -> World {
        let run = self.migration.status.as_ref().and_then(|s| s.run.as_ref());
        World {
            now: self.now,
            migration: self.migration.clone(),
            jobs: self.jobs.clone(),
            reports: self
                .reports
                .iter()
                .filter(|(name, _)| run.is_some_and(|run| run.job_names().any(|n| n == *name)))
                .map(|(name, report)| (name.clone(), report.clone()))
                .collect(),
            kept: self
                .reports
                .keys()
                .map(|name| KeptMap {
                    name: name.clone(),
                    created: self.now,
                    owned: true,
                })
                .chain(self.others_maps.clone())
                .collect(),
            unfetched: self.unfetched.clone(),
            refused: self.refused.clone(),
            taken: self.taken.clone(),
            gone: self.gone.clone(),
            app_pods: self.app_pods.clone(),
        }
    }

    pub(super) fn status(&self) -> MigrationStatus {
        self.migration.status_or_default()
    }

    pub(super) fn is(&self, kind: &str) -> bool {
        is_true(self.status().condition(kind))
    }

    pub(super) fn reason(&self) -> String {
        self.status()
            .condition(condition::READY)
            .map(|c| c.reason.clone())
            .unwrap_or_default()
    }

    /// One round; the controller dies after `survives` acts. Whether anything was done.
    pub(super) fn reconcile(&mut self, survives: usize) -> bool {
        let world = self.world();
        let Decision {
            status, effects, ..
        } = decide(&world);
        let mut acts = 0;
        if self.migration.status.as_ref() != Some(&status) {
            if survives == 0 {
                return true;
            }
            acts += 1;
            self.migration.status = Some(status);
        }
        for effect in effects {
            if acts == survives {
                return true;
            }
            acts += 1;
            self.perform(effect);
        }
        acts > 0
    }

    /// Reconciles until there is nothing to do. What is refused is tried again for ever.
    pub(super) fn settle(&mut self) {
        for _ in 0..50 {
            if !self.reconcile(usize::MAX) {
                return;
            }
            if self.is_refused() {
                self.reconcile(usize::MAX);
                return;
            }
        }
        panic!("does not come to rest: {:#?}", decide(&self.world()));
    }

    fn is_refused(&self) -> bool {
        self.refuse_jobs.is_some() || self.refuse_reports.is_some()
    }

    /// Lets everybody act until nothing changes any more.
    pub(super) fn run(&mut self) {
        for _ in 0..80 {
            self.settle();
            let before = self.jobs.clone();
            self.kubelet();
            self.sleep(2);
            let decision = decide(&self.world());
            let goes_on = decision.requeue.is_some() || !decision.effects.is_empty();
            let waits = goes_on && !self.is_refused();
            if before == self.jobs && !waits {
                break;
            }
        }
        self.settle();
    }

    pub(super) fn sleep(&mut self, seconds: i64) {
        self.now = self
            .now
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap();
    }

    pub(super) fn edit_image(&mut self, image: &str) {
        if self.migration.spec.image != image {
            self.migration.spec.image = image.into();
            self.touched();
        }
    }

    pub(super) fn suspend(&mut self, suspend: bool) {
        if self.migration.spec.suspend != suspend {
            self.migration.spec.suspend = suspend;
            self.touched();
        }
    }

    fn touched(&mut self) {
        *self.migration.metadata.generation.get_or_insert(0) += 1;
    }

    pub(super) fn retry(&mut self) {
        let stamp = self.now.to_string();
        self.annotate(RETRY_ANNOTATION, &stamp);
    }

    pub(super) fn annotate(&mut self, key: &str, value: &str) {
        self.migration
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(key.into(), value.into());
    }

    pub(super) fn delete(&mut self) {
        self.migration.metadata.deletion_timestamp = Some(Time(self.now));
    }

    pub(super) fn gated_pod(&mut self, name: &str, image: &str) {
        self.app_pods.push(AppPod {
            name: name.into(),
            uid: format!("uid-{name}"),
            images: vec![image.into()],
            gate: Some(0),
            ready: false,
            leaving: false,
        });
    }

    pub(super) fn running_pod(&mut self, name: &str, image: &str) {
        self.gated_pod(name, image);
        if let Some(pod) = self.app_pods.last_mut() {
            pod.gate = None;
            pod.ready = true;
        }
    }

    /// Whether the database is where the present run's upgrade was to take it.
    pub(super) fn has_arrived(&self) -> bool {
        let there = digest(self.state).map(|digest| digest.to_string());
        let predicted = self.status().run.and_then(|run| run.predicted);
        predicted.is_some() && predicted == there
    }

    pub(super) fn has_finalizer(&self) -> bool {
        let finalizers = self.migration.metadata.finalizers.as_deref();
        finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER))
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::AddFinalizer => {
                if !self.has_finalizer() {
                    let finalizers = self.migration.metadata.finalizers.get_or_insert_default();
                    finalizers.push(FINALIZER.into());
                }
            }
            Effect::RemoveFinalizer => self.migration.metadata.finalizers = None,
            Effect::CreateDryRunJob => self.create(RunPhase::DryRun),
            Effect::CreateUpgradeJob { evidence } => {
                let run = self.status().run.unwrap();
                assert_eq!(run.evidence.as_ref(), Some(evidence.evidence()));
                assert_eq!(
                    run.image, self.migration.spec.image,
                    "another image was rehearsed"
                );
                self.create(RunPhase::Upgrade);
            }
            Effect::StartUpgrade {
                pod,
                uid,
                index,
                evidence,
            } => {
                let run = self.status().run.unwrap();
                assert_eq!(run.evidence.as_ref(), Some(evidence.evidence()));
                let started = self.jobs.iter_mut().find_map(|job| {
                    let held = job.pod.as_mut()?;
                    (held.name == pod && held.uid == uid && held.gate == Some(index)).then(|| {
                        held.gate = None;
                        (job.name.clone(), job.uid.clone())
                    })
                });
                let Some((name, uid)) = started else { return };
                assert_eq!(
                    run.upgrade.and_then(|upgrade| upgrade.uid),
                    Some(uid),
                    "{name} is started before it is on record"
                );
                assert!(
                    !self.upgrades_started.contains(&name),
                    "the upgrade {name} is started twice"
                );
                assert!(
                    self.at_large.is_empty(),
                    "{name} is started while {:?} may run",
                    self.at_large
                );
                self.upgrades_started.push(name);
            }
            Effect::DeleteJob { name, uid } => {
                let job = self.jobs.iter().find(|job| job.name == name);
                assert!(
                    job.is_none_or(|job| job.phase == Some(RunPhase::DryRun)
                        || !self.upgrades_started.contains(&job.name)
                        || job.pod.as_ref().is_some_and(|pod| pod.gate.is_some()
                            || pod.was_stopped_before_the_command()
                            || pod.is_over_without_the_command())),
                    "a pod of an upgrade whose command may run is never deleted"
                );
                self.jobs.retain(|job| job.uid != uid);
            }
            Effect::WithdrawUpgrade { uid, .. } => {
                let asked = self.jobs.iter_mut().find(|job| job.uid == uid);
                if let Some(job) = asked {
                    let begun = job.pod.as_ref().is_some_and(|pod| !pod.waits_for_prepare());
                    assert!(!begun, "an upgrade that has begun is never taken back");
                    job.deleting = true;
                }
            }
            Effect::StoreReport { job, summary, .. } => {
                if let Some(Going::Mute | Going::EndsUnseen(_)) = self.goings.get(&job) {
                    let tries = 1 + self.unfetched.get(&job).map_or(0, |failed| failed.tries);
                    let failed = Unfetched {
                        tries,
                        why: "no answer from the node".into(),
                        last: self.now,
                    };
                    self.unfetched.insert(job, failed);
                    return;
                }
                if let Some(why) = &self.refuse_reports {
                    self.taken.insert(job, why.clone());
                    return;
                }
                self.taken.remove(&job);
                // The run may have been superseded in the same decision.
                let run = self.status().run;
                let upgrade = run.as_ref().and_then(|run| run.upgrade.as_ref());
                let upgrade = upgrade.is_some_and(|record| record.name == job);
                self.reports.entry(job).or_insert(StoredReport {
                    digest: summary.digest.clone(),
                    bound_to: run.filter(|_| upgrade).and_then(|run| run.evidence),
                    summary,
                    figures: Figures {
                        command: Some(if upgrade { IN_UPGRADE } else { IN_DRY_RUN }),
                        ..Figures::default()
                    },
                });
            }
            Effect::DeleteReport { name } => {
                self.reports.remove(&name);
            }
            Effect::OpenGate { pod, uid, index } => {
                let pod = self
                    .app_pods
                    .iter_mut()
                    .find(|p| p.name == pod && p.uid == uid);
                if let Some(pod) = pod.filter(|pod| pod.gate == Some(index)) {
                    pod.gate = None;
                    pod.ready = true;
                }
            }
        }
    }

    fn create(&mut self, phase: RunPhase) {
        let run = self.status().run.unwrap();
        let name = run.job(phase).unwrap().name.clone();
        if let Some(why) = &self.refuse_jobs {
            self.refused.insert(name, why.clone());
            return;
        }
        self.refused.remove(&name);
        if self.jobs.iter().any(|job| job.name == name) {
            return;
        }
        let going = match phase {
            RunPhase::DryRun => self.dry_runs.pop_front(),
            // One that was never started does not count.
            RunPhase::Upgrade => match self.goings.get(&name) {
                Some(going) => Some(going.clone()),
                None => self.upgrades.pop_front(),
            },
        };
        self.goings
            .insert(name.clone(), going.unwrap_or(Going::Says(Verdict::Passed)));
        self.uids += 1;
        self.jobs.push(ObservedJob {
            uid: format!("job-{}", self.uids),
            name,
            owned: true,
            created: self.now,
            deleting: false,
            phase: Some(phase),
            failed: false,
            complete: false,
            pod: None,
            event: None,
        });
    }

    /// Every Job comes one step further.
    pub(super) fn kubelet(&mut self) {
        let run = self.status().run;
        for job in &mut self.jobs {
            if job.failed || job.complete {
                continue;
            }
            // It is gone before it began, or it began in between and goes as it ends.
            let late = self.goings.get(&job.name) == Some(&Going::BeginsLate);
            if job.deleting && !late {
                let pod = job.pod.take();
                self.gone = pod.map(|mut pod| {
                    // As the kubelet writes it.
                    pod.prepare = Step::Lost;
                    pod.finished = true;
                    GonePod { pod, last: true }
                });
                job.failed = true;
                continue;
            }
            let Some(phase) = job.phase else { continue };
            let going = self.goings[&job.name].clone();
            let Some(pod) = &mut job.pod else {
                job.pod = Some(new_pod(job, self.now));
                continue;
            };
            if pod.gate.is_some() {
                continue;
            }
            if going == Going::CannotStart || going == Going::BeginsLate && !job.deleting {
                pod.prepare = Step::Waiting {
                    reason: "CreateContainerConfigError".into(),
                    message: "secret \"orders-db\" not found".into(),
                };
                continue;
            }
            if let Going::IsNotBegun(verdict) = &going {
                let summary = summary(&job.name, run.as_ref(), phase, verdict, false, self.state);
                pod.prepare = Step::Ended {
                    code: 0,
                    message: String::new(),
                };
                pod.migration = Step::Waiting {
                    reason: "ImagePullBackOff".into(),
                    message: "not found".into(),
                };
                pod.witness = ended(&summary);
                continue;
            }
            if going == Going::Dies {
                pod.prepare = Step::Ended {
                    code: 137,
                    message: String::new(),
                };
                pod.finished = true;
                job.failed = true;
                continue;
            }
            if let (Step::Unseen, Going::Refuses(verdict)) = (&pod.prepare, &going) {
                let summary = summary(&job.name, run.as_ref(), phase, verdict, false, self.state);
                pod.prepare = ended(&summary);
                pod.finished = true;
                job.failed = true;
                continue;
            }
            if pod.migration == Step::Unseen {
                pod.prepare = Step::Ended {
                    code: 0,
                    message: String::new(),
                };
                pod.sidecar = Step::Running;
                pod.migration = Step::Running;
                pod.witness = Step::Running;
                if phase == RunPhase::Upgrade {
                    self.at_large.push(job.name.clone());
                }
                continue;
            }
            if going == Going::Vanishes || going == Going::BeginsLate {
                // Nobody tells whether the command still runs.
                job.pod = None;
                job.failed = true;
                continue;
            }
            if going == Going::Strands {
                pod.gone_by.get_or_insert(self.now);
                continue;
            }
            if going == Going::IsReplaced {
                let uid = format!("{}-again", pod.uid);
                job.pod = Some(RunPod {
                    uid,
                    ..new_pod(job, self.now)
                });
                continue;
            }
            let (verdict, nothing) = match &going {
                Going::Says(verdict) | Going::EndsUnseen(verdict) => (verdict.clone(), false),
                Going::NothingToDo => (Verdict::Passed, true),
                _ => (Verdict::Passed, false),
            };
            let summary = summary(
                &job.name,
                run.as_ref(),
                phase,
                &verdict,
                nothing,
                self.state,
            );
            if phase == RunPhase::Upgrade {
                self.state += match verdict {
                    Verdict::Passed => 1,
                    Verdict::UpgradeDiverged => ELSEWHERE,
                    _ => 0,
                };
            }
            pod.migration = Step::Ended {
                code: 0,
                message: String::new(),
            };
            pod.witness = ended(&summary);
            pod.finished = true;
            job.failed = verdict != Verdict::Passed;
            job.complete = !job.failed;
            self.at_large.retain(|name| *name != job.name);
            if let Going::EndsUnseen(_) = going {
                self.gone = job.pod.take().map(|pod| GonePod { pod, last: true });
            }
        }
    }
}

fn new_pod(job: &ObservedJob, now: Timestamp) -> RunPod {
    RunPod {
        name: format!("{}-pod", job.name),
        uid: format!("{}-pod", job.uid),
        job: job.uid.clone(),
        gate: (job.phase == Some(RunPhase::Upgrade)).then_some(0),
        created: now,
        gone_by: None,
        finished: false,
        bound: true,
        disrupted: false,
        unschedulable: None,
        sidecars: Vec::new(),
        prepare: Step::Unseen,
        sidecar: Step::Unseen,
        migration: Step::Unseen,
        witness: Step::Unseen,
        admitted: Some(format!("mirror.example/{LABEL_PHASE}")),
        image_id: Some("registry.example/orders@sha256:11".into()),
    }
}

fn digest(state: u32) -> Option<StateDigest> {
    serde_json::from_value(format!("sha256:{state}").into()).ok()
}

fn ended(summary: &Summary) -> Step {
    Step::Ended {
        code: i32::from(u8::from(summary.verdict.exit_code())),
        message: serde_json::to_string(summary).unwrap(),
    }
}

fn summary(
    job: &str,
    run: Option<&crate::api::Run>,
    phase: RunPhase,
    verdict: &Verdict,
    nothing_to_do: bool,
    state: u32,
) -> Summary {
    // The run's id is the one that the Job was created with.
    let id = run
        .filter(|run| run.job(phase).is_some_and(|record| record.name == job))
        .map_or_else(
            || job.to_owned(),
            |run| run_id("orders", phase, &run.input_digest, run.attempt),
        );
    Summary {
        run: RunId(id),
        attempt: run.map_or(1, |run| run.attempt),
        verdict: verdict.clone(),
        rollback: (phase == RunPhase::DryRun).then_some(match verdict {
            Verdict::RollbackNotVerified => RollbackProof::Violated,
            _ => RollbackProof::Verified,
        }),
        nothing_to_do,
        before: digest(state),
        predicted: digest(match verdict {
            _ if nothing_to_do => state,
            Verdict::UpgradeDiverged => state + ELSEWHERE,
            _ => state + 1,
        }),
        digest: EvidenceDigest::new(format!("sha256:{job}")),
        bytes: 1,
        message: format!("about {verdict:?}"),
    }
}
