//! `drydock report NAME`: the reports that the cluster keeps.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::resources::{ReportError, unpack_report};
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
    let status = migration.status_or_default();
    let wanted: Vec<&str> = status.run.iter().flat_map(|run| run.job_names()).collect();
    let of_run: Vec<&ConfigMap> = wanted
        .iter()
        .filter_map(|job| maps.iter().find(|map| map.name_any() == *job))
        .collect();
    let chosen = if of_run.is_empty() {
        maps.last().into_iter().collect()
    } else {
        of_run
    };
    if chosen.is_empty() {
        return Err(FetchError::NoReport(name.to_owned()));
    }
    chosen.into_iter().map(read_report).collect()
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
