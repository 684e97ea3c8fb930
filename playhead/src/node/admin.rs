//! The admin server: is the process alive, is it ready, what does it measure, what is in its log.
//!
//! Loopback by default and without keys; not for players. The log is served for `tail` and `audit`, since one process
//! owns its directory.
use super::Readiness;
use crate::log_source::{self, Batch};
use axum::Json;
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the admin server shows.
#[derive(Clone)]
pub struct State {
    /// Of the roles.
    pub readiness: Arc<Readiness>,
    /// The log.
    pub log: Arc<dyn log::Log>,
    /// The metrics.
    pub exposition: Option<PrometheusHandle>,
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, state: State, stop: CancellationToken) {
    let router = axum::Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/log", get(bounds))
        .route("/v1/log/{partition}", get(records))
        .with_state(state);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "admin server stopped");
    }
}

async fn ready(axum::extract::State(state): axum::extract::State<State>) -> Response {
    let unready = state.readiness.unready();
    let status = if unready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": unready.is_empty(), "not_ready": unready }))).into_response()
}

async fn metrics(axum::extract::State(state): axum::extract::State<State>) -> Response {
    match state.exposition {
        Some(handle) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "metrics recorder is not installed\n").into_response(),
    }
}

async fn bounds(axum::extract::State(state): axum::extract::State<State>) -> Response {
    answer(log_source::bounds(state.log.as_ref()).await)
}

/// Which records of a partition.
#[derive(Debug, Deserialize)]
struct Range {
    offset: u64,
}

async fn records(
    axum::extract::State(state): axum::extract::State<State>,
    Path(partition): Path<u32>,
    Query(range): Query<Range>,
) -> Response {
    let batch: Result<Batch, _> = log_source::read(state.log.as_ref(), partition, range.offset).await;
    answer(batch)
}

fn answer<T: serde::Serialize>(result: Result<T, log_source::Error>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")).into_response(),
    }
}
