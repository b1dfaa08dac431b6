//! The Job of a run.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{PodSchedulingGate, PodSpec, PodTemplateSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{container, owned, volumes};
use crate::api::{
    LABEL_MIGRATION, LABEL_PHASE, Migration, MigrationSpec, Run, RunPhase, Template, UPGRADE_GATE,
    pod,
};
use crate::operator::gate;
use crate::verdict::Verified;

/// How long a finished Job stays: long enough to look at its pod's logs.
const KEPT_SECONDS: i32 = 24 * 60 * 60;

/// How long a dry run may take to roll back: nothing is lost when it is cut, and a new one waits for
/// the database that this one holds.
const DRY_RUN_GRACE_SECONDS: i64 = 5;

/// How long an upgrade may go on after its pod was told to end.
const UPGRADE_GRACE_SECONDS: i64 = 15 * 60;

/// How drydock's own containers are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImage {
    /// drydock's image.
    pub image: String,
    /// When it is pulled; Kubernetes' default when `None`.
    pub image_pull_policy: Option<String>,
}

/// Everything that a Job depends on.
#[derive(Debug)]
pub struct JobInput<'a> {
    /// The Migration.
    pub migration: &'a Migration,
    /// drydock's own image.
    pub settings: &'a OwnImage,
    /// Which run.
    pub phase: RunPhase,
    /// The Job's name.
    pub name: &'a str,
    /// The run's id.
    pub run: &'a str,
    /// The attempt.
    pub attempt: u32,
    /// The proof that an upgrade needs, and the ConfigMap with its report.
    pub evidence: Option<&'a Verified>,
    /// The run as it stands in the status: where its report is, and which image was rehearsed.
    pub record: &'a Run,
}

impl JobInput<'_> {
    pub(super) fn spec(&self) -> &MigrationSpec {
        &self.migration.spec
    }

    pub(super) fn template(&self) -> Template {
        self.spec().template.clone().unwrap_or_default()
    }

    /// The user's image; in an upgrade the very bytes that were rehearsed, when the node's image id
    /// names a digest of the image's repository. An image that was imported without a registry has
    /// none, and keeps its tag.
    pub(super) fn migration_image(&self) -> String {
        let image = &self.spec().image;
        let pinned = match self.phase {
            RunPhase::DryRun => None,
            RunPhase::Upgrade => self.record.image_id.as_deref().and_then(gate::digest),
        };
        pinned.map_or_else(
            || image.clone(),
            |digest| format!("{}@{digest}", gate::repository(image)),
        )
    }
}

/// The Job of a run; see the module `api::pod` for what its containers agree on.
#[must_use]
pub fn job(input: &JobInput<'_>) -> Job {
    let mut meta = owned(input.migration, input.name);
    meta.labels
        .get_or_insert_default()
        .insert(LABEL_PHASE.to_owned(), input.phase.as_str().to_owned());
    Job {
        metadata: meta,
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            completions: Some(1),
            parallelism: Some(1),
            // A replacement must never run beside the pod that it replaces.
            pod_replacement_policy: Some("Failed".to_owned()),
            pod_failure_policy: Some(failure_policy(input.phase)),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(input)),
                spec: Some(pod_spec(input)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Keeps drains away from a pod that runs an upgrade. It counts only pods that have not ended.
#[must_use]
pub fn disruption_budget(migration: &Migration) -> PodDisruptionBudget {
    let labels: BTreeMap<String, String> = [
        (LABEL_MIGRATION, migration.name_any()),
        (LABEL_PHASE, RunPhase::Upgrade.as_str().to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    PodDisruptionBudget {
        metadata: owned(migration, &format!("{}-upgrade", migration.name_any())),
        spec: Some(PodDisruptionBudgetSpec {
            // The only form that pods of a Job allow: they have no scale.
            min_available: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(labels),
                match_expressions: None,
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// A dry run whose pod was evicted may start again by itself; an upgrade never.
fn failure_policy(phase: RunPhase) -> PodFailurePolicy {
    let action = match phase {
        RunPhase::DryRun => "Ignore",
        RunPhase::Upgrade => "FailJob",
    };
    PodFailurePolicy {
        rules: vec![PodFailurePolicyRule {
            action: action.to_owned(),
            on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                type_: "DisruptionTarget".to_owned(),
                status: "True".to_owned(),
            }]),
            on_exit_codes: None,
        }],
    }
}

fn pod_metadata(input: &JobInput<'_>) -> ObjectMeta {
    let template = input.template();
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    // A mesh's proxy would sit between us and the database, and never end.
    let mut labels: BTreeMap<String, String> = [
        ("sidecar.istio.io/inject", "false"),
        ("kuma.io/sidecar-injection", "disabled"),
    ]
    .map(text)
    .into();
    let mut annotations: BTreeMap<String, String> = [
        ("sidecar.istio.io/inject", "false"),
        ("linkerd.io/inject", "disabled"),
        ("consul.hashicorp.com/connect-inject", "false"),
        ("kuma.io/sidecar-injection", "disabled"),
    ]
    .map(text)
    .into();
    if input.phase == RunPhase::Upgrade {
        annotations.extend(
            [
                ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
                ("karpenter.sh/do-not-disrupt", "true"),
            ]
            .map(text),
        );
    }
    labels.extend(template.labels);
    annotations.extend(template.annotations);
    labels.extend(
        [
            (LABEL_MIGRATION, input.migration.name_any().as_str()),
            (LABEL_PHASE, input.phase.as_str()),
        ]
        .map(text),
    );
    ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

fn pod_spec(input: &JobInput<'_>) -> PodSpec {
    let template = input.template();
    let mut init = container::sidecars(&template);
    init.push(container::prepare(input));
    init.push(container::sidecar(input));
    let mut volumes = vec![
        volumes::empty(pod::BIN_VOLUME),
        volumes::empty(pod::WORK_VOLUME),
        volumes::empty(pod::RESULTS_VOLUME),
    ];
    if input.phase == RunPhase::Upgrade
        && let Some(record) = &input.record.dry_run
    {
        volumes.push(volumes::evidence(&record.name));
    }
    volumes.extend(volumes::certificates(input.spec()));
    volumes.extend(template.volumes);
    PodSpec {
        // A rehearsal may start twice; an upgrade waits until its Job is on record.
        scheduling_gates: (input.phase == RunPhase::Upgrade).then(|| {
            vec![PodSchedulingGate {
                name: UPGRADE_GATE.to_owned(),
            }]
        }),
        init_containers: Some(init),
        containers: vec![container::migration(input), container::witness(input)],
        volumes: Some(volumes),
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(
            template.automount_service_account_token.unwrap_or(false),
        ),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(match input.phase {
            RunPhase::DryRun => DRY_RUN_GRACE_SECONDS,
            RunPhase::Upgrade => UPGRADE_GRACE_SECONDS,
        }),
        service_account_name: template.service_account_name,
        image_pull_secrets: (!template.image_pull_secrets.is_empty())
            .then_some(template.image_pull_secrets),
        security_context: template.pod_security_context,
        node_selector: (!template.node_selector.is_empty()).then_some(template.node_selector),
        affinity: template.affinity,
        tolerations: (!template.tolerations.is_empty()).then_some(template.tolerations),
        priority_class_name: template.priority_class_name,
        runtime_class_name: template.runtime_class_name,
        host_aliases: (!template.host_aliases.is_empty()).then_some(template.host_aliases),
        ..PodSpec::default()
    }
}
