//! What a run's pod says: its containers' states, not the Job's condition, which comes later.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use super::problem::Problem;
use crate::api::{UPGRADE_GATE, pod};
use crate::report::Summary;

/// The state of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Step {
    /// The kubelet has said nothing about it yet.
    #[default]
    Unseen,
    /// It has not been started.
    Waiting {
        /// The kubelet's reason, e.g. `CreateContainerConfigError`; empty when it gives none.
        reason: String,
        /// The kubelet's message.
        message: String,
    },
    /// It runs.
    Running,
    /// It was seen to end.
    Ended {
        /// The exit code.
        code: i32,
        /// The termination message.
        message: String,
    },
    /// The kubelet does not know what became of it.
    Lost,
}

/// The pod of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The UID of its Job; empty when it has none.
    pub job: String,
    /// The position of [`UPGRADE_GATE`] among its scheduling gates: while it has that, nothing of it
    /// has run.
    pub gate: Option<usize>,
    /// When it was created.
    pub created: Timestamp,
    /// When it should have gone, if it is being deleted.
    pub gone_by: Option<Timestamp>,
    /// Whether it has ended.
    pub finished: bool,
    /// Whether a node was chosen for it. On no node nothing of it has run.
    pub bound: bool,
    /// Whether it was taken away for the sake of something else: an eviction, a lost node. What it
    /// says of its containers is then not its kubelet's last word.
    pub disrupted: bool,
    /// Why it cannot be scheduled.
    pub unschedulable: Option<String>,
    /// Init containers before `prepare` and beside it, that came from the template.
    pub sidecars: Vec<Step>,
    /// The container `prepare`.
    pub prepare: Step,
    /// The container `rehearsal` or `guard`.
    pub sidecar: Step,
    /// The container `migration`.
    pub migration: Step,
    /// The container `witness`.
    pub witness: Step,
    /// The image of `migration` as it stands in the pod after admission.
    pub admitted: Option<String>,
    /// The node's id of that image.
    pub image_id: Option<String>,
}

/// How far a run's pod has come.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    /// It is being started, or runs.
    Going,
    /// It cannot be started for now.
    Blocked(Problem),
    /// The container `prepare` ended the run before the command was started.
    Refused(Summary),
    /// The witness has spoken.
    Witnessed(Summary),
    /// It ended, or is gone, without a verdict; says what is known.
    Silent(String),
}

impl RunPod {
    /// Reads a pod.
    #[must_use]
    pub fn read(of: &Pod) -> Self {
        let spec = of.spec.as_ref();
        let status = of.status.as_ref();
        let init = status.and_then(|s| s.init_container_statuses.as_deref());
        let main = status.and_then(|s| s.container_statuses.as_deref());
        let find = |list: Option<&[ContainerStatus]>, names: &[&str]| {
            list.into_iter()
                .flatten()
                .find(|c| names.contains(&c.name.as_str()))
                .cloned()
        };
        let migration = find(main, &[pod::MIGRATION]);
        let own = [pod::PREPARE, pod::REHEARSAL, pod::GUARD];
        let phase = status.and_then(|s| s.phase.as_deref());
        Self {
            name: of.metadata.name.clone().unwrap_or_default(),
            uid: of.metadata.uid.clone().unwrap_or_default(),
            job: of
                .owner_references()
                .iter()
                .find(|owner| owner.controller == Some(true) && owner.kind == "Job")
                .map(|owner| owner.uid.clone())
                .unwrap_or_default(),
            gate: spec
                .into_iter()
                .flat_map(|s| s.scheduling_gates.iter().flatten())
                .position(|gate| gate.name == UPGRADE_GATE),
            created: of
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            gone_by: of.metadata.deletion_timestamp.as_ref().map(|t| t.0),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            bound: spec.is_some_and(|s| s.node_name.is_some()),
            disrupted: status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .any(|c| c.type_ == "DisruptionTarget" && c.status == "True"),
            unschedulable: status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .find(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("Unschedulable"))
                .map(|c| c.message.clone().unwrap_or_default()),
            sidecars: init
                .into_iter()
                .flatten()
                .filter(|c| !own.contains(&c.name.as_str()))
                .map(|c| Step::read(Some(c)))
                .collect(),
            prepare: Step::read(find(init, &[pod::PREPARE]).as_ref()),
            sidecar: Step::read(find(init, &[pod::REHEARSAL, pod::GUARD]).as_ref()),
            admitted: spec
                .into_iter()
                .flat_map(|s| &s.containers)
                .find(|c| c.name == pod::MIGRATION)
                .and_then(|c| c.image.clone()),
            image_id: migration
                .as_ref()
                .map(|c| c.image_id.clone())
                .filter(|id| !id.is_empty()),
            migration: Step::read(migration.as_ref()),
            witness: Step::read(find(main, &[pod::WITNESS]).as_ref()),
        }
    }

    /// Whether the command is known not to run any more: it was seen to end, or `prepare` ended the
    /// run before it could start.
    #[must_use]
    pub fn command_is_over(&self) -> bool {
        matches!(self.migration, Step::Ended { .. }) || self.was_stopped_before_the_command()
    }

    /// Whether `prepare` ended otherwise than well, so that nothing was started after it.
    #[must_use]
    pub fn was_stopped_before_the_command(&self) -> bool {
        matches!(self.prepare, Step::Ended { code, .. } if code != 0)
    }

    /// Whether the command may have been started.
    #[must_use]
    pub fn command_may_have_started(&self) -> bool {
        matches!(
            self.migration,
            Step::Running | Step::Ended { .. } | Step::Lost
        )
    }

    /// Whether `prepare` was not seen to begin, and so nothing after it.
    #[must_use]
    pub fn waits_for_prepare(&self) -> bool {
        self.prepare.waits()
    }

    /// Of a pod that is over or gone: whether it is certain that its command was not started. A
    /// kubelet that lets a pod go says of each container how it ended, and of those behind the one at
    /// which it stopped that they wait. The command begins behind the sidecar. A pod that was taken
    /// away by force may have gone on behind what was seen of it.
    #[must_use]
    pub fn went_before_it_began(&self) -> bool {
        self.gate.is_some()
            || self.was_stopped_before_the_command()
            || [&self.sidecar, &self.migration]
                .into_iter()
                .all(Step::waits)
                && (!self.bound || self.finished && !self.disrupted)
    }

    /// Whether the witness has spoken while the command's container has not begun. The sidecar gives
    /// no order to start behind its record, so whatever becomes of that container runs nothing, and
    /// the pod may wait for it for ever.
    #[must_use]
    pub fn is_over_without_the_command(&self) -> bool {
        matches!(self.witness, Step::Ended { .. }) && self.migration.waits()
    }

    /// Whether it has not come to its first container and its containers do not say why: then only
    /// its events may.
    #[must_use]
    pub fn waits_in_silence(&self) -> bool {
        !self.finished
            && self.gate.is_none()
            && self.unschedulable.is_none()
            && self.waits_for_prepare()
            && self.problem().is_none()
    }

    /// The summary that `prepare` or the witness left, whoever spoke.
    pub(super) fn summary(&self) -> Option<Summary> {
        match self.progress() {
            Progress::Refused(summary) | Progress::Witnessed(summary) => Some(summary),
            _ => None,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        if let Step::Ended { code, message } = &self.witness {
            return match serde_json::from_str::<Summary>(message) {
                Ok(summary) if i32::from(u8::from(summary.verdict.exit_code())) == *code => {
                    Progress::Witnessed(summary)
                }
                Ok(_) => Progress::Silent(format!(
                    "the witness's exit code {code} is not that of its verdict"
                )),
                Err(_) => Progress::Silent(format!(
                    "the witness ended with exit code {code} and no summary"
                )),
            };
        }
        if let Step::Ended { code, message } = &self.prepare
            && *code != 0
        {
            return match serde_json::from_str::<Summary>(message) {
                Ok(summary) => Progress::Refused(summary),
                Err(_) => Progress::Silent(format!(
                    "the container prepare ended with exit code {code} and no summary"
                )),
            };
        }
        if self.finished {
            return Progress::Silent(format!("the pod {} ended without a verdict", self.name));
        }
        self.problem().map_or(Progress::Going, Progress::Blocked)
    }

    fn problem(&self) -> Option<Problem> {
        self.sidecars
            .iter()
            .chain([&self.prepare, &self.sidecar, &self.migration, &self.witness])
            .find_map(|step| match step {
                Step::Waiting { reason, message } => Problem::of_container(reason, message),
                _ => None,
            })
            .or_else(|| self.unschedulable.as_deref().map(Problem::unschedulable))
    }
}

impl Step {
    fn waits(&self) -> bool {
        matches!(self, Self::Unseen | Self::Waiting { .. })
    }

    fn read(status: Option<&ContainerStatus>) -> Self {
        let Some(state) = status.and_then(|s| s.state.as_ref()) else {
            return Self::Unseen;
        };
        if let Some(ended) = &state.terminated {
            // What the kubelet writes when it cannot find a container that it should know.
            if ended.reason.as_deref() == Some("ContainerStatusUnknown") {
                return Self::Lost;
            }
            return Self::Ended {
                code: ended.exit_code,
                message: ended.message.clone().unwrap_or_default(),
            };
        }
        if state.running.is_some() {
            return Self::Running;
        }
        state
            .waiting
            .as_ref()
            .map_or(Self::Unseen, |waiting| Self::Waiting {
                reason: waiting.reason.clone().unwrap_or_default(),
                message: waiting.message.clone().unwrap_or_default(),
            })
    }
}
