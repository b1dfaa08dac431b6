//! Metrics and health.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::FutureExt;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Context, ControllerError};
use crate::api::Migration;

#[derive(Clone)]
struct Served {
    context: Arc<Context>,
    store: Store<PartialObjectMeta<Migration>>,
}

impl Served {
    /// Whether the Migrations have been listed.
    fn is_ready(&self) -> bool {
        matches!(self.store.wait_until_ready().now_or_never(), Some(Ok(())))
    }
}

/// Serves until the task is aborted.
pub(super) async fn serve(
    address: SocketAddr,
    context: Arc<Context>,
    store: Store<PartialObjectMeta<Migration>>,
) -> Result<JoinHandle<()>, ControllerError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ControllerError::Listen { address, source })?;
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(Served { context, store });
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    }))
}

async fn metrics_page(State(served): State<Served>) -> impl IntoResponse {
    // Nothing is reconciled when a Migration goes.
    if served.is_ready() {
        let exists = |namespace: &str, name: &str| {
            let object = ObjectRef::new(name).within(namespace);
            served.store.get(&object).is_some()
        };
        served.context.metrics.keep_only(exists);
        served.context.memory.keep_only(exists);
    }
    match served.context.metrics.text() {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}

/// Ready once the Migrations have been listed.
async fn ready(State(served): State<Served>) -> impl IntoResponse {
    if served.is_ready() {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the Migrations have not been listed yet",
        )
    }
}
