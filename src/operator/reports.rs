//! `drydock report NAME`: the reports that the cluster keeps.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::resources::{ReportError, is_owned, unpack_report};
use crate::api::{LABEL_MIGRATION, Migration};
use crate::report::{FORMAT_VERSION, Report};
use crate::verdict::ExitCode;

/// Why there is no report to show.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No usable configuration, or no answer.
    #[error("cannot connect to the Kubernetes API server")]
    Connect(#[source] kube::Error),
    /// Something could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// There is no such Migration.
    #[error("there is no Migration {name} in the namespace {namespace}")]
    Missing {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// Nothing is kept.
    #[error(
        "no report of the Migration {0} is kept yet: one is stored when a dry run has ended; \
         `kubectl describe migration {0}` says where it stands"
    )]
    NoReport(String),
    /// What is kept cannot be unpacked.
    #[error("the ConfigMap {name} holds no usable report")]
    Unpack {
        /// The ConfigMap.
        name: String,
        /// Why.
        #[source]
        source: ReportError,
    },
    /// What is kept is of a newer drydock.
    #[error(
        "the report in the ConfigMap {name} has format {format}, and this drydock reads up to \
         {FORMAT_VERSION}: use the drydock that wrote it, or a newer one"
    )]
    Newer {
        /// The ConfigMap.
        name: String,
        /// Its format.
        format: u64,
    },
    /// What is kept is no report.
    #[error("the report in the ConfigMap {name} cannot be read")]
    Parse {
        /// The ConfigMap.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl FetchError {
    /// 2 for what the caller must change, 6 for the surroundings.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Connect(_) | Self::Read { .. } => ExitCode::Environment,
            Self::Missing { .. }
            | Self::NoReport(_)
            | Self::Unpack { .. }
            | Self::Newer { .. }
            | Self::Parse { .. } => ExitCode::Usage,
        }
    }
}

/// The reports of a Migration's present run: of its dry run, then of its upgrade. When there is no
/// present run, the latest that is kept.
///
/// # Errors
/// Says what is missing.
pub async fn fetch_reports(namespace: Option<&str>, name: &str) -> Result<Vec<Report>, FetchError> {
    let client = Client::try_default().await.map_err(FetchError::Connect)?;
    let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
    let read = |what: &str| {
        let what = what.to_owned();
        move |source| FetchError::Read { what, source }
    };
    let migration = Api::<Migration>::namespaced(client.clone(), &namespace)
        .get_opt(name)
        .await
        .map_err(read("the Migration"))?
        .ok_or_else(|| FetchError::Missing {
            name: name.to_owned(),
            namespace: namespace.clone(),
        })?;
    let mut maps = Api::<ConfigMap>::namespaced(client, &namespace)
        .list(&ListParams::default().labels(&format!("{LABEL_MIGRATION}={name}")))
        .await
        .map_err(read("its reports"))?
        .items;
    maps.sort_by_key(|map| map.creation_timestamp().map(|time| time.0));
    let chosen = choose(&maps, &migration);
    if chosen.is_empty() {
        return Err(FetchError::NoReport(name.to_owned()));
    }
    chosen.into_iter().map(read_report).collect()
}

/// Of ConfigMaps with the Migration's label, the oldest first. Anybody may put that label on.
fn choose<'a>(maps: &'a [ConfigMap], migration: &Migration) -> Vec<&'a ConfigMap> {
    let own: Vec<&ConfigMap> = maps
        .iter()
        .filter(|map| is_owned(&map.metadata, migration))
        .collect();
    let status = migration.status_or_default();
    let of_run: Vec<&ConfigMap> = status
        .run
        .iter()
        .flat_map(|run| run.job_names())
        .filter_map(|job| own.iter().find(|map| map.name_any() == job).copied())
        .collect();
    if of_run.is_empty() {
        own.last().copied().into_iter().collect()
    } else {
        of_run
    }
}

fn read_report(map: &ConfigMap) -> Result<Report, FetchError> {
    let name = map.name_any();
    let bytes = unpack_report(map).map_err(|source| FetchError::Unpack {
        name: name.clone(),
        source,
    })?;
    let parsing = |source| FetchError::Parse {
        name: name.clone(),
        source,
    };
    let document: serde_json::Value = serde_json::from_slice(&bytes).map_err(parsing)?;
    if let Some(format) = document.get("format").and_then(serde_json::Value::as_u64)
        && format > u64::from(FORMAT_VERSION)
    {
        return Err(FetchError::Newer {
            name: name.clone(),
            format,
        });
    }
    serde_json::from_slice(&bytes).map_err(parsing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::MigrationSpec;

    fn map(name: &str, owner: &str) -> ConfigMap {
        let owner = json!({"apiVersion": "v1", "kind": "K", "name": "orders", "uid": owner});
        let metadata = json!({"name": name, "ownerReferences": [owner]});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn only_reports_of_this_very_migration_are_shown() {
        let mut migration = Migration::new("orders", MigrationSpec::default());
        migration.metadata.uid = Some("mine".into());
        let maps = [
            map("first", "mine"),
            map("latest", "mine"),
            map("other", "x"),
        ];
        let names = |migration: &Migration| -> Vec<String> {
            let chosen = choose(&maps, migration);
            chosen.into_iter().map(ResourceExt::name_any).collect()
        };
        assert_eq!(names(&migration), ["latest"]);
        let run = json!({"run": {
            "inputDigest": "0", "image": "i", "commands": "c", "attempt": 1,
            "started": "1970-01-01T00:00:00Z",
            "dryRun": {"name": "first"}, "upgrade": {"name": "other"},
        }});
        migration.status = serde_json::from_value(run).unwrap();
        assert_eq!(names(&migration), ["first"]);
    }
}
