//! `drydock wait`: until the gate is open, or it is known that it will not open.

mod owner;

use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::Value;

use crate::api::{Migration, RETRY_ANNOTATION, WAIT_FIELD_MANAGER, condition, is_true, reason};
use crate::verdict::ExitCode;

pub use self::owner::Owner;

/// What to wait for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The namespace; the one of the kubeconfig or of the pod when `None`.
    pub namespace: Option<String>,
    /// The Migration, by name or as a document that is applied first.
    pub subject: Subject,
    /// Wait until this image is released, whatever the specification names; the specification's
    /// when `None`.
    pub image: Option<String>,
    /// How long.
    pub timeout: Duration,
}

/// Which Migration.
#[derive(Debug, Clone)]
pub enum Subject {
    /// One that exists.
    Name(String),
    /// The Migration in this YAML, applied first.
    Apply(String),
}

/// How the waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// The image is released.
    Open {
        /// Whose pods start.
        message: String,
    },
    /// It will not be, unless a person acts.
    Stalled {
        /// The exit code for the reason.
        code: ExitCode,
        /// A constant of [`crate::api::reason`].
        reason: String,
        /// What happened and what to do.
        message: String,
    },
    /// The time was over.
    TimedOut {
        /// How it stood.
        message: String,
    },
}

/// Why there was nothing to wait for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// No usable configuration, or no answer.
    #[error("cannot connect to the Kubernetes API server")]
    Connect(#[source] kube::Error),
    /// The file is not YAML.
    #[error("the file to apply is not YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// The file holds none or several Migrations.
    #[error("the file to apply must hold exactly one Migration of drydock.dev/v1alpha1, not {0}")]
    NotOneMigration(usize),
    /// The Migration in the file has no name.
    #[error("the Migration in the file to apply has no metadata.name")]
    NoName,
    /// It belongs to somebody else.
    #[error(
        "the Migration {name} belongs to {owner}: change it there, and use `drydock wait {name}` without --apply"
    )]
    Owned {
        /// Its name.
        name: String,
        /// Who.
        owner: Owner,
    },
    /// The API server did not take it.
    #[error("the API server refuses the Migration {name}")]
    Apply {
        /// Its name.
        name: String,
        /// Its words.
        #[source]
        source: kube::Error,
    },
    /// It does not exist.
    #[error("there is no Migration {name} in the namespace {namespace}")]
    Missing {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// It cannot be read.
    #[error("cannot read the Migration {name}")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// It was deleted meanwhile.
    #[error("the Migration {name} was deleted meanwhile")]
    Deleted {
        /// Its name.
        name: String,
    },
}

impl WaitError {
    /// 2 for what the caller must change, 6 for the surroundings.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            // The caller's mistake only where the API server says that it is.
            Self::Apply { source, .. } => match code(source) {
                Some(400 | 403 | 404 | 409 | 422) => ExitCode::Usage,
                _ => ExitCode::Environment,
            },
            Self::Connect(_) | Self::Read { .. } | Self::Deleted { .. } => ExitCode::Environment,
            Self::Yaml(_)
            | Self::NotOneMigration(_)
            | Self::NoName
            | Self::Owned { .. }
            | Self::Missing { .. } => ExitCode::Usage,
        }
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Waits. `progress` is told the condition Ready whenever its reason or message changes.
///
/// # Errors
/// When there is nothing to wait for; [`WaitError::exit_code`] says how the process should end.
pub async fn wait(
    request: &Request,
    mut progress: impl FnMut(&Condition),
) -> Result<Waited, WaitError> {
    let client = Client::try_default().await.map_err(WaitError::Connect)?;
    let (name, document) = match &request.subject {
        Subject::Name(name) => (name.clone(), None),
        Subject::Apply(yaml) => {
            let document = the_migration(yaml)?;
            let name = document.pointer("/metadata/name").and_then(Value::as_str);
            (
                name.ok_or(WaitError::NoName)?.to_owned(),
                Some(document.clone()),
            )
        }
    };
    let namespace = request
        .namespace
        .clone()
        .or_else(|| {
            let given = document.as_ref()?.pointer("/metadata/namespace")?;
            given.as_str().map(str::to_owned)
        })
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let api = Api::<Migration>::namespaced(client, &namespace);
    let awaited = match document {
        Some(document) => apply(&api, &name, document).await?,
        None => Awaited::of(&present(&api, &name, &namespace).await?, None),
    };

    let mut last = format!("the controller has not looked at the Migration {name} yet");
    let told = &mut last;
    let mut trouble = None;
    let interrupted = &mut trouble;
    let watching = async {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = Box::pin(watcher(api.clone(), config).default_backoff());
        let mut seen = false;
        loop {
            let event = match changes.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(error) => match refused(error) {
                    Ok(source) => {
                        return Err(WaitError::Read {
                            name: name.clone(),
                            source,
                        });
                    }
                    // The stream retries by itself, and waits longer each time.
                    Err(error) => {
                        *interrupted = Some(error.to_string());
                        continue;
                    }
                },
            };
            *interrupted = None;
            let migration = match event {
                watcher::Event::Apply(migration) | watcher::Event::InitApply(migration) => {
                    seen = true;
                    migration
                }
                watcher::Event::Delete(_) => {
                    return Err(WaitError::Deleted { name: name.clone() });
                }
                watcher::Event::InitDone if !seen => {
                    return Err(WaitError::Deleted { name: name.clone() });
                }
                watcher::Event::Init | watcher::Event::InitDone => continue,
            };
            if let Some(ready) = migration.status_or_default().condition(condition::READY)
                && *told != ready.message
            {
                told.clone_from(&ready.message);
                progress(ready);
            }
            if let Some(waited) = awaited.judge(&migration, request.image.as_deref()) {
                return Ok(waited);
            }
        }
    };
    match tokio::time::timeout(request.timeout, watching).await {
        Ok(result) => result,
        Err(_) => Ok(Waited::TimedOut {
            message: match trouble {
                Some(why) => format!("{last}; by now it cannot be seen: {why}"),
                None => last,
            },
        }),
    }
}

/// The API server's word that this watch is not for us: waiting longer does not help.
fn refused(error: watcher::Error) -> Result<kube::Error, watcher::Error> {
    let is_final = |code| [401, 403].contains(&code);
    match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source)
            if code(&source).is_some_and(is_final) =>
        {
            Ok(source)
        }
        watcher::Error::WatchError(status) if is_final(status.code) => Ok(kube::Error::Api(status)),
        other => Err(other),
    }
}

async fn present(
    api: &Api<Migration>,
    name: &str,
    namespace: &str,
) -> Result<Migration, WaitError> {
    api.get_opt(name)
        .await
        .map_err(|source| WaitError::Read {
            name: name.to_owned(),
            source,
        })?
        .ok_or_else(|| WaitError::Missing {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
}

/// From which point on a status counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Awaited {
    generation: i64,
    retry: Option<String>,
}

impl Awaited {
    fn of(migration: &Migration, retry: Option<String>) -> Self {
        Self {
            generation: migration.metadata.generation.unwrap_or_default(),
            retry,
        }
    }

    fn judge(&self, migration: &Migration, image: Option<&str>) -> Option<Waited> {
        let status = migration.status_or_default();
        if let Some(image) = image
            && status.released.iter().any(|entry| entry.image == image)
        {
            return Some(Waited::Open {
                message: format!("the gate is open for {image}"),
            });
        }
        let present = status.observed_generation >= self.generation
            && (self.retry.is_none() || self.retry == status.handled_retry);
        if !present {
            return None;
        }
        let names_it = image.is_none_or(|image| image == migration.spec.image);
        if names_it && is_true(status.condition(condition::GATE_OPEN)) {
            return Some(Waited::Open {
                message: format!("the gate is open for {}", migration.spec.image),
            });
        }
        let stalled = status.condition(condition::STALLED)?;
        is_true(Some(stalled)).then(|| Waited::Stalled {
            code: reason::exit_code(&stalled.reason),
            reason: stalled.reason.clone(),
            message: stalled.message.clone(),
        })
    }
}

/// Applies the document by server-side apply, never by force.
///
/// Applying once more what stands still already is how a deploy is repeated, so it is a retry; but
/// not where nobody knows how an upgrade ended: that needs a person's own word.
async fn apply(
    api: &Api<Migration>,
    name: &str,
    mut document: Value,
) -> Result<Awaited, WaitError> {
    let before = api.get_opt(name).await.map_err(|source| WaitError::Read {
        name: name.to_owned(),
        source,
    })?;
    if let Some(owner) = before.as_ref().and_then(Owner::of) {
        return Err(WaitError::Owned {
            name: name.to_owned(),
            owner,
        });
    }
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
    }
    let params = PatchParams::apply(WAIT_FIELD_MANAGER);
    let patch = async |document: &Value| {
        api.patch(name, &params, &Patch::Apply(document))
            .await
            .map_err(|source| WaitError::Apply {
                name: name.to_owned(),
                source,
            })
    };
    let applied = patch(&document).await?;
    let unchanged = before.as_ref().is_some_and(|before| {
        before.metadata.generation == applied.metadata.generation
            && before.status_or_default().observed_generation
                == applied.metadata.generation.unwrap_or_default()
    });
    let status = applied.status_or_default();
    let stands_still = status
        .condition(condition::STALLED)
        .is_some_and(|c| c.status == "True" && c.reason != reason::UPGRADE_UNKNOWN);
    if !(unchanged && stands_still) {
        return Ok(Awaited::of(&applied, None));
    }
    let retry = Timestamp::now().to_string();
    document["metadata"]["annotations"][RETRY_ANNOTATION] = Value::from(retry.as_str());
    Ok(Awaited::of(&patch(&document).await?, Some(retry)))
}

fn the_migration(yaml: &str) -> Result<Value, WaitError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|e| WaitError::Yaml(Box::new(e)))?;
    let mut migrations: Vec<Value> = documents
        .into_iter()
        .filter(|document| {
            document.get("kind").and_then(Value::as_str) == Some("Migration")
                && document.get("apiVersion").and_then(Value::as_str)
                    == Some("drydock.dev/v1alpha1")
        })
        .collect();
    match (migrations.pop(), migrations.len()) {
        (Some(migration), 0) => Ok(migration),
        (found, others) => Err(WaitError::NotOneMigration(
            usize::from(found.is_some()) + others,
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::{MigrationSpec, MigrationStatus, Released};

    fn migration(generation: i64, observed: i64, conditions: &[(&str, &str, &str)]) -> Migration {
        let spec = MigrationSpec {
            image: "orders:v2".into(),
            ..MigrationSpec::default()
        };
        let mut migration = Migration::new("orders", spec);
        migration.metadata.generation = Some(generation);
        let conditions = conditions
            .iter()
            .map(|(kind, status, reason)| Condition {
                type_: (*kind).into(),
                status: (*status).into(),
                reason: (*reason).into(),
                message: format!("about {reason}"),
                last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                    Timestamp::UNIX_EPOCH,
                ),
                observed_generation: None,
            })
            .collect();
        migration.status = Some(MigrationStatus {
            observed_generation: observed,
            conditions,
            ..MigrationStatus::default()
        });
        migration
    }

    fn judge(migration: &Migration, image: Option<&str>) -> Option<Waited> {
        Awaited {
            generation: 3,
            retry: None,
        }
        .judge(migration, image)
    }

    const OPEN: (&str, &str, &str) = ("GateOpen", "True", "Released");
    const STALLED: (&str, &str, &str) = ("Stalled", "True", "Failed");

    #[test]
    fn an_older_generation_says_nothing_about_the_present_one() {
        assert_eq!(judge(&migration(3, 2, &[OPEN]), None), None);
        assert_eq!(judge(&migration(3, 2, &[STALLED]), None), None);
        assert_eq!(judge(&migration(3, 3, &[]), None), None);
        assert!(matches!(
            judge(&migration(3, 3, &[OPEN]), None),
            Some(Waited::Open { .. })
        ));
    }

    #[test]
    fn a_standstill_ends_the_waiting_with_its_verdict() {
        assert_eq!(
            judge(&migration(3, 3, &[STALLED]), None),
            Some(Waited::Stalled {
                code: ExitCode::Failed,
                reason: "Failed".into(),
                message: "about Failed".into()
            })
        );
    }

    #[test]
    fn a_retry_is_waited_for() {
        let awaited = Awaited {
            generation: 3,
            retry: Some("now".into()),
        };
        let mut migration = migration(3, 3, &[STALLED]);
        assert_eq!(awaited.judge(&migration, None), None);
        migration.status.as_mut().unwrap().handled_retry = Some("now".into());
        assert!(awaited.judge(&migration, None).is_some());
    }

    #[test]
    fn an_image_counts_as_soon_as_it_is_released() {
        let mut migration = migration(3, 2, &[]);
        assert_eq!(judge(&migration, Some("orders:v1")), None);
        migration.status.as_mut().unwrap().released = vec![Released {
            image: "orders:v1".into(),
            admitted: None,
            digest: None,
            commands: None,
            evidence: None,
            at: Timestamp::UNIX_EPOCH,
        }];
        assert!(judge(&migration, Some("orders:v1")).is_some());
        let open = super::tests::migration(3, 3, &[OPEN]);
        assert_eq!(judge(&open, Some("orders:v3")), None);
    }

    #[rstest]
    #[case("a: [", "the file to apply is not YAML")]
    #[case(
        "kind: Secret",
        "the file to apply must hold exactly one Migration of drydock.dev/v1alpha1, not 0"
    )]
    fn what_cannot_be_applied_says_why(#[case] yaml: &str, #[case] message: &str) {
        let error = the_migration(yaml).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }
}
