//! Metrics and health.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::ControllerError;
use super::metrics::Metrics;
use crate::api::Migration;

#[derive(Clone)]
struct Served {
    metrics: Metrics,
    store: Store<PartialObjectMeta<Migration>>,
}

/// Serves until the task is aborted.
pub(super) async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    store: Store<PartialObjectMeta<Migration>>,
) -> Result<JoinHandle<()>, ControllerError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ControllerError::Listen { address, source })?;
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(Served { metrics, store });
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    }))
}

async fn metrics_page(State(served): State<Served>) -> impl IntoResponse {
    match served.metrics.text() {
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
    use futures::FutureExt;
    match served.store.wait_until_ready().now_or_never() {
        Some(Ok(())) => (StatusCode::OK, "ok"),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the Migrations have not been listed yet",
        ),
    }
}
