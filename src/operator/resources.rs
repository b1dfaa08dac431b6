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
