//! The objects that the controller creates, built from values only.

mod container;
mod evidence;
mod job;
mod volumes;

pub use evidence::{ReportError, report_config_map, unpack_report};
pub use job::{JobInput, OwnImage, disruption_budget, job};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use crate::api::{LABEL_MIGRATION, Migration};

/// Name, namespace, labels and owner of everything that belongs to a Migration.
fn owned(migration: &Migration, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: migration.namespace(),
        labels: Some(
            [
                (LABEL_MIGRATION, migration.name_any()),
                ("app.kubernetes.io/managed-by", "drydock".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        ),
        owner_references: Some(vec![owner(migration)]),
        ..ObjectMeta::default()
    }
}

fn owner(migration: &Migration) -> OwnerReference {
    OwnerReference {
        api_version: Migration::api_version(&()).into_owned(),
        kind: Migration::kind(&()).into_owned(),
        name: migration.name_any(),
        uid: migration.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Whether this very Migration owns the object, not one of that name that was deleted.
#[must_use]
pub fn is_owned(object: &ObjectMeta, migration: &Migration) -> bool {
    let mut owners = object.owner_references.iter().flatten();
    owners.any(|owner| Some(&owner.uid) == migration.metadata.uid.as_ref())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::api::core::v1::{Container, PodSpec};
    use rstest::rstest;

    use super::*;
    use crate::api::{
        InputDigest, JobRecord, LABEL_PHASE, Run, RunPhase, UPGRADE_GATE, from_yaml, pod,
    };
    use crate::report::Report;
    use crate::verdict::{RollbackProof, Verdict, Verified};

    fn migration(more: &str) -> Migration {
        let spec = from_yaml(&format!(
            "{{image: 'registry.example/orders:v2', alembic: {{}}, \
             database: {{urlFrom: {{secretKeyRef: {{name: orders-db, key: url}}}}}}{more}}}"
        ));
        let mut migration = Migration::new("orders", spec.unwrap());
        migration.metadata.namespace = Some("shop".into());
        migration.metadata.uid = Some("m-1".into());
        migration
    }

    fn built(phase: RunPhase, more: &str) -> Job {
        let migration = migration(more);
        let digest = Report::digest_of(b"{}");
        let evidence = Verified::check(&Verdict::Passed, RollbackProof::Verified, &digest, &digest);
        let record = Run {
            input_digest: InputDigest::from_hex("0123456789abcdef".repeat(4)),
            image: migration.spec.image.clone(),
            commands: "c".into(),
            attempt: 3,
            drifts: 0,
            busy: 0,
            started: jiff::Timestamp::UNIX_EPOCH,
            dry_run: Some(JobRecord::intended("orders-dryrun-01234567-3".into())),
            upgrade: None,
            evidence: None,
            before: None,
            predicted: None,
            landed: None,
            admitted: None,
            image_id: Some("registry.example/orders@sha256:11".into()),
        };
        job(&JobInput {
            migration: &migration,
            settings: &OwnImage {
                image: "drydock:1".into(),
                image_pull_policy: None,
            },
            phase,
            name: "the-name",
            run: "the-run",
            attempt: 3,
            evidence: (phase == RunPhase::Upgrade).then(|| evidence.as_ref().unwrap()),
            record: &record,
        })
    }

    fn pod_of(job: &Job) -> &PodSpec {
        job.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
    }

    fn containers(pod: &PodSpec) -> Vec<&Container> {
        let init = pod.init_containers.iter().flatten();
        init.chain(&pod.containers).collect()
    }

    fn container<'a>(pod: &'a PodSpec, name: &str) -> &'a Container {
        let found = containers(pod).into_iter().find(|c| c.name == name);
        found.unwrap_or_else(|| panic!("no container {name}"))
    }

    fn mounted(container: &Container) -> Vec<&str> {
        let mounts = container.volume_mounts.iter().flatten();
        mounts.map(|mount| mount.name.as_str()).collect()
    }

    const BOTH: [RunPhase; 2] = [RunPhase::DryRun, RunPhase::Upgrade];

    #[test]
    fn a_pod_is_prepared_guarded_run_and_witnessed() {
        for (phase, sidecar) in [
            (RunPhase::DryRun, pod::REHEARSAL),
            (RunPhase::Upgrade, pod::GUARD),
        ] {
            let job = built(phase, "");
            let pod = pod_of(&job);
            let names: Vec<_> = containers(pod).iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names, [pod::PREPARE, sidecar, pod::MIGRATION, pod::WITNESS]);
            // Only a sidecar is started again, and signalled after the others have ended.
            for container in containers(pod) {
                let again = (container.name == sidecar).then_some("Always");
                assert_eq!(container.restart_policy.as_deref(), again);
            }
            assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
            assert_eq!(job.spec.as_ref().unwrap().backoff_limit, Some(0));
        }
    }

    #[test]
    fn our_containers_are_restricted_whatever_the_template_says() {
        let loose = ", template: {securityContext: {privileged: true, runAsUser: 0}}";
        for phase in BOTH {
            let job = built(phase, loose);
            for container in containers(pod_of(&job)) {
                let security = container.security_context.clone().unwrap();
                if container.name == pod::MIGRATION {
                    assert_eq!(security.run_as_user, Some(0), "the user's word holds");
                    continue;
                }
                assert_eq!(security.run_as_non_root, Some(true));
                assert_ne!(security.run_as_user, Some(0));
                assert_eq!(security.privileged, None);
                assert_eq!(security.allow_privilege_escalation, Some(false));
                assert_eq!(security.read_only_root_filesystem, Some(true));
                assert_eq!(
                    security.capabilities.unwrap().drop,
                    Some(vec!["ALL".to_owned()])
                );
                assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
                assert!(container.resources.as_ref().unwrap().limits.is_some());
            }
        }
    }

    #[test]
    fn the_users_container_has_neither_our_credentials_nor_our_files() {
        for phase in BOTH {
            let job = built(phase, "");
            let migration = container(pod_of(&job), pod::MIGRATION);
            assert_eq!(mounted(migration), [pod::BIN_VOLUME, pod::RESULTS_VOLUME]);
            let names: Vec<_> = migration.env.iter().flatten().map(|v| &v.name).collect();
            assert_eq!(names, [pod::ENV_RUN]);
            assert_eq!(migration.env_from, None);
        }
        let job = built(RunPhase::DryRun, "");
        for name in [pod::PREPARE, pod::REHEARSAL, pod::WITNESS] {
            let url = container(pod_of(&job), name)
                .env
                .iter()
                .flatten()
                .find(|variable| variable.name == pod::ENV_DATABASE_URL)
                .unwrap();
            // By reference: the controller never has it.
            assert_eq!(url.value, None);
            let source = url.value_from.as_ref().unwrap();
            assert_eq!(source.secret_key_ref.as_ref().unwrap().name, "orders-db");
        }
    }

    #[rstest]
    #[case("", false)]
    #[case(", template: {automountServiceAccountToken: true}", true)]
    fn no_service_account_token_is_mounted_unless_asked_for(
        #[case] more: &str,
        #[case] mounted: bool,
    ) {
        for phase in BOTH {
            let job = built(phase, more);
            let pod = pod_of(&job);
            assert_eq!(pod.automount_service_account_token, Some(mounted));
        }
    }

    #[test]
    fn a_job_is_owned_labelled_and_named_as_recorded() {
        for phase in BOTH {
            let job = built(phase, "");
            assert_eq!(job.metadata.name.as_deref(), Some("the-name"));
            assert_eq!(job.metadata.namespace.as_deref(), Some("shop"));
            let owner = &job.metadata.owner_references.as_ref().unwrap()[0];
            assert_eq!((owner.uid.as_str(), owner.controller), ("m-1", Some(true)));
            let template = &job.spec.as_ref().unwrap().template;
            for metadata in [&job.metadata, template.metadata.as_ref().unwrap()] {
                let labels = metadata.labels.as_ref().unwrap();
                assert_eq!(labels[LABEL_MIGRATION], "orders");
                assert_eq!(labels[LABEL_PHASE], phase.as_str());
            }
        }
    }

    #[test]
    fn only_an_upgrade_waits_at_its_gate_is_pinned_and_carries_evidence() {
        let dry_run = built(RunPhase::DryRun, "");
        let upgrade = built(RunPhase::Upgrade, "");
        assert_eq!(pod_of(&dry_run).scheduling_gates, None);
        let gates = pod_of(&upgrade).scheduling_gates.clone().unwrap();
        let gates: Vec<_> = gates.iter().map(|gate| gate.name.as_str()).collect();
        assert_eq!(gates, [UPGRADE_GATE]);

        let image = |job| container(pod_of(job), pod::MIGRATION).image.clone();
        assert_eq!(
            image(&dry_run).as_deref(),
            Some("registry.example/orders:v2")
        );
        assert_eq!(
            image(&upgrade).as_deref(),
            Some("registry.example/orders@sha256:11")
        );

        let guard = container(pod_of(&upgrade), pod::GUARD);
        assert!(mounted(guard).contains(&pod::EVIDENCE_VOLUME));
        let digest = Report::digest_of(b"{}");
        assert!(guard.env.iter().flatten().any(|variable| {
            variable.name == pod::ENV_EVIDENCE && variable.value.as_deref() == Some(digest.as_str())
        }));
    }

    #[test]
    fn a_disruption_may_restart_a_dry_run_and_never_an_upgrade() {
        for (phase, expected) in [(RunPhase::DryRun, "Ignore"), (RunPhase::Upgrade, "FailJob")] {
            let job = built(phase, "");
            let spec = job.spec.unwrap();
            let rule = &spec.pod_failure_policy.unwrap().rules[0];
            assert_eq!(rule.action, expected);
            assert_eq!(
                rule.on_pod_conditions.as_ref().unwrap()[0].type_,
                "DisruptionTarget"
            );
        }
    }
}
