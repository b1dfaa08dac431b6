//! The controller: observes, asks [`decide`](super::pipeline::decide), acts.
//!
//! It is woken by changes of Migrations, of Jobs and of pods; nothing is polled but what Kubernetes
//! does not report as a change of these (a Job's events).

mod apply;
mod error;
mod events;
#[cfg(test)]
mod fixture;
mod foreign;
mod gather;
mod http;
mod last_seen;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};

use self::apply::Acted;
use self::metrics::Metrics;
use super::pipeline::decide;
use super::resources::OwnImage;
use crate::api::{LABEL_MIGRATION, Migration};

pub use self::error::ControllerError;

/// How the controller runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The only namespace to look at; all when `None`.
    pub namespace: Option<String>,
    /// drydock's own image, for the Jobs' pods.
    pub own: OwnImage,
    /// Where metrics and health are served.
    pub listen: SocketAddr,
}

/// A reconciliation ends after so many rounds, even if there seems to be more to do.
const ROUNDS: u32 = 16;

/// Even when nothing seems to change, everything is looked at again after this time.
const RESYNC: Duration = Duration::from_secs(300);

/// How often the Migrations are asked for at the start.
const LIST_TRIES: u32 = 60;
const LIST_PAUSE: Duration = Duration::from_millis(500);

struct Context {
    client: Client,
    own: OwnImage,
    metrics: Metrics,
    events: events::Events,
    memory: gather::Memory,
    last_seen: last_seen::LastSeen,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the API server cannot be reached at all, the CRD is not installed, or the port for metrics
/// is taken.
pub async fn run(settings: Settings) -> Result<(), ControllerError> {
    let client = Client::try_default()
        .await
        .map_err(ControllerError::Connect)?;
    let scope = settings.namespace.as_deref();
    // Their metadata say when to look. One that cannot be read is then a trouble of its own alone: a
    // list of whole objects fails for all of them.
    let migrations = scoped::<PartialObjectMeta<Migration>>(&client, scope);
    until_listed(&migrations).await?;
    let metrics = Metrics::new().map_err(ControllerError::Metrics)?;
    let context = Arc::new(Context {
        events: events::Events::new(client.clone()),
        client: client.clone(),
        own: settings.own,
        metrics,
        memory: gather::Memory::default(),
        last_seen: last_seen::LastSeen::default(),
    });

    let labelled = watcher::Config::default().labels(LABEL_MIGRATION);
    let controller = Controller::new(migrations, watcher::Config::default())
        .with_config(Config::default().concurrency(32))
        .watches(scoped::<Job>(&client, scope), labelled.clone(), of_label)
        .watches(scoped::<Pod>(&client, scope), labelled, of_label)
        .shutdown_on_signal();
    let store = controller.store();
    let health = http::serve(settings.listen, Arc::clone(&context), store).await?;
    let upgrades = scoped::<Pod>(&client, scope);
    let seen = Arc::clone(&context);
    let watch = tokio::spawn(async move { seen.last_seen.follow(upgrades).await });

    controller
        .run(reconcile, on_error, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, "reconciliation ended with an error");
            }
        })
        .await;
    watch.abort();
    health.abort();
    Ok(())
}

/// A CRD that was installed together with the controller is served a moment later.
async fn until_listed(
    migrations: &Api<PartialObjectMeta<Migration>>,
) -> Result<(), ControllerError> {
    let one = ListParams::default().limit(1);
    let mut tries = 0;
    loop {
        match migrations.list(&one).await {
            Ok(_) => return Ok(()),
            Err(error) if tries >= LIST_TRIES => return Err(ControllerError::List(error)),
            Err(error) => tracing::debug!(%error, "cannot list Migrations yet"),
        }
        tries += 1;
        tokio::time::sleep(LIST_PAUSE).await;
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn of_label<K: Resource>(object: K) -> Option<ObjectRef<PartialObjectMeta<Migration>>> {
    let name = object.labels().get(LABEL_MIGRATION)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

async fn reconcile(
    trigger: Arc<PartialObjectMeta<Migration>>,
    context: Arc<Context>,
) -> Result<Action, ControllerError> {
    let namespace = trigger.namespace().unwrap_or_default();
    let name = trigger.name_any();
    for _ in 0..ROUNDS {
        let Some(world) = gather::gather(&context, &namespace, &name).await? else {
            context.metrics.forget(&namespace, &name);
            return Ok(Action::await_change());
        };
        let decision = decide(&world);
        match apply::apply(&context, &world, &decision).await? {
            Acted::Something => {}
            Acted::Nothing => {
                context.metrics.show(&world, &decision.status);
                let wake = decision.requeue.unwrap_or(RESYNC).min(RESYNC);
                return Ok(Action::requeue(wake));
            }
            Acted::InVain => {
                context.metrics.show(&world, &decision.status);
                let wake = decision.requeue.unwrap_or(Duration::from_secs(1));
                return Ok(Action::requeue(wake));
            }
        }
    }
    Ok(Action::requeue(Duration::from_millis(100)))
}

#[allow(clippy::needless_pass_by_value)] // the signature that the runtime calls
fn on_error(
    migration: Arc<PartialObjectMeta<Migration>>,
    error: &ControllerError,
    context: Arc<Context>,
) -> Action {
    context.metrics.count_error(error.category());
    tracing::warn!(
        namespace = migration.namespace().unwrap_or_default(),
        migration = migration.name_any(),
        error = %error::chain(error),
        "cannot reconcile; trying again"
    );
    // What cannot be read stays so until somebody changes it, and that is watched.
    let again = match error {
        ControllerError::Unreadable(_) => RESYNC,
        _ => Duration::from_secs(2),
    };
    Action::requeue(again)
}
