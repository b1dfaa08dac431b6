//! The containers of a run's pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, ResourceRequirements, SeccompProfile,
    SecretKeySelector, SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::job::JobInput;
use super::volumes::{certificates, mount};
use crate::api::{MigrationSpec, RunPhase, SecretKey, Template, pod};

/// The user of drydock's own containers. Any but root would do.
const USER: i64 = 65532;

/// `prepare`: copies the binary, and ends a hopeless run before the user's image is started.
pub(super) fn prepare(input: &JobInput<'_>) -> Container {
    let mut container = own(input, pod::PREPARE);
    let phase = match input.phase {
        RunPhase::DryRun => "dry-run",
        RunPhase::Upgrade => "upgrade",
    };
    container.args = words(&["step", "prepare", "--phase", phase]);
    mounts(&mut container, mount(pod::BIN_VOLUME, pod::BIN_PATH, false));
    container
}

/// `rehearsal` or `guard`: holds the database while the command runs.
pub(super) fn sidecar(input: &JobInput<'_>) -> Container {
    let (name, step) = match input.phase {
        RunPhase::DryRun => (pod::REHEARSAL, "rehearse"),
        RunPhase::Upgrade => (pod::GUARD, "upgrade"),
    };
    let mut container = own(input, name);
    container.args = words(&["step", step]);
    container.restart_policy = Some("Always".to_owned());
    container.resources = Some(resources("50m", "64Mi", "2", "1Gi"));
    container
}

/// `witness`: proves the result.
pub(super) fn witness(input: &JobInput<'_>) -> Container {
    let mut container = own(input, pod::WITNESS);
    container.args = words(&["step", "verify"]);
    container
}

/// `migration`: the user's image, and nothing of ours in it but the runner and its results folder.
pub(super) fn migration(input: &JobInput<'_>) -> Container {
    let template = input.template();
    let mut env = template.env;
    env.retain(|variable| variable.name != pod::ENV_RUN);
    env.push(variable(pod::ENV_RUN, input.run));
    let mut volume_mounts = template.volume_mounts;
    volume_mounts.push(mount(pod::BIN_VOLUME, pod::BIN_PATH, true));
    volume_mounts.push(mount(pod::RESULTS_VOLUME, pod::RESULTS_PATH, false));
    Container {
        name: pod::MIGRATION.to_owned(),
        image: Some(input.migration_image()),
        image_pull_policy: template.image_pull_policy,
        command: words(&[pod::BIN]),
        args: words(&["step", "run"]),
        working_dir: template.working_dir,
        env: Some(env),
        env_from: (!template.env_from.is_empty()).then_some(template.env_from),
        resources: Some(
            template
                .resources
                .unwrap_or_else(|| requests(&[("cpu", "100m"), ("memory", "128Mi")])),
        ),
        security_context: Some(users(template.security_context.unwrap_or_default())),
        volume_mounts: Some(volume_mounts),
        ..Container::default()
    }
}

/// The template's own sidecars, in the form that starts before and ends after everything else.
pub(super) fn sidecars(template: &Template) -> Vec<Container> {
    template
        .sidecars
        .iter()
        .cloned()
        .map(|mut container| {
            container.restart_policy = Some("Always".to_owned());
            container
        })
        .collect()
}

fn own(input: &JobInput<'_>, name: &str) -> Container {
    let mut volume_mounts = vec![
        mount(pod::WORK_VOLUME, pod::WORK_PATH, false),
        mount(pod::RESULTS_VOLUME, pod::RESULTS_PATH, false),
    ];
    if input.phase == RunPhase::Upgrade {
        volume_mounts.push(mount(pod::EVIDENCE_VOLUME, pod::EVIDENCE_PATH, true));
    }
    if certificates(input.spec()).is_some() {
        volume_mounts.push(mount(pod::TLS_VOLUME, pod::TLS_PATH, true));
    }
    Container {
        name: name.to_owned(),
        image: Some(input.settings.image.clone()),
        image_pull_policy: input.settings.image_pull_policy.clone(),
        env: Some(environment(input)),
        resources: Some(resources("20m", "32Mi", "1", "512Mi")),
        security_context: Some(SecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            read_only_root_filesystem: Some(true),
            ..users(SecurityContext::default())
        }),
        volume_mounts: Some(volume_mounts),
        ..Container::default()
    }
}

fn environment(input: &JobInput<'_>) -> Vec<EnvVar> {
    // What the steps have no use for need not be in every container's environment.
    let spec = MigrationSpec {
        template: None,
        ..input.spec().clone()
    };
    let mut env = vec![
        variable(pod::ENV_RUN, input.run),
        variable(pod::ENV_ATTEMPT, &input.attempt.to_string()),
        variable(
            pod::ENV_SPEC,
            &serde_json::to_string(&spec).unwrap_or_default(),
        ),
    ];
    if let Some(evidence) = input.evidence {
        env.push(variable(pod::ENV_EVIDENCE, evidence.evidence().as_str()));
    }
    let database = &spec.database;
    match database.connects_to() {
        Some(key) => env.push(secret(pod::ENV_DATABASE_URL, key)),
        None => {
            let port = database.port.map(|port| port.to_string());
            for (name, value) in [
                (pod::ENV_DATABASE_HOST, &database.host),
                (pod::ENV_DATABASE_PORT, &port),
                (pod::ENV_DATABASE_NAME, &database.name),
                (pod::ENV_DATABASE_USER, &database.user),
            ] {
                env.extend(value.as_deref().map(|value| variable(name, value)));
            }
            env.extend(
                database
                    .password_from
                    .as_ref()
                    .map(|source| secret(pod::ENV_DATABASE_PASSWORD, &source.secret_key_ref)),
            );
        }
    }
    env
}

/// The user's settings over the parts of the `restricted` Pod Security Standard that say nothing
/// about which user the image runs as.
fn users(given: SecurityContext) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: given.allow_privilege_escalation.or(Some(false)),
        capabilities: given.capabilities.or_else(|| {
            Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            })
        }),
        seccomp_profile: given.seccomp_profile.or_else(|| {
            Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            })
        }),
        ..given
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    }
}

fn secret(name: &str, key: &SecretKey) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: key.name.clone(),
                key: key.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

fn quantities(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    pairs
        .iter()
        .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())))
        .collect()
}

fn requests(pairs: &[(&str, &str)]) -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(quantities(pairs)),
        ..ResourceRequirements::default()
    }
}

fn resources(cpu: &str, memory: &str, most_cpu: &str, most_memory: &str) -> ResourceRequirements {
    ResourceRequirements {
        limits: Some(quantities(&[("cpu", most_cpu), ("memory", most_memory)])),
        ..requests(&[("cpu", cpu), ("memory", memory)])
    }
}

/// For the volume mounts that only one of our containers has.
fn mounts(container: &mut Container, mount: VolumeMount) {
    container.volume_mounts.get_or_insert_default().push(mount);
}
