//! The admin server: is the process alive, is it ready, what does it measure, what is in its log.
//!
//! Without keys, so on loopback by default; not for players. An embedded log is served for `tail` and `audit`, since one
//! process owns its directory, and open windows for `sql`: to callers on this machine only, wherever the server listens, and
//! to a few at a time.
use super::Readiness;
use super::metrics::Exposition;
use crate::live::Access;
use crate::log_source::{self, Batch, OutOfRange};
use axum::extract::{ConnectInfo, Path, Query, Request};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use listener::Ends;
use processor::live::Live;
use serde::Deserialize;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

mod listener;
mod windows;

pub use windows::MISSING;

pub use listener::{Bounded, CONNECTIONS_MAX};

/// What the admin server shows.
#[derive(Clone)]
pub struct State {
    /// Of the roles.
    pub readiness: Arc<Readiness>,
    /// The metrics.
    pub exposition: Option<Exposition>,
    /// The embedded log: in Kafka everybody reads for himself.
    pub log: Option<OwnedLog>,
    /// The rollups that are kept here; `None`: that is not this node's role.
    pub live: Option<Arc<Live>>,
}

/// A log that only this process can read.
#[derive(Clone)]
pub struct OwnedLog {
    log: Arc<dyn log::Log>,
    /// Answers with records under way: each holds up to 16 MiB.
    reads: Arc<Semaphore>,
}

impl OwnedLog {
    /// To be shown.
    pub fn new(log: Arc<dyn log::Log>) -> Self {
        OwnedLog { log, reads: Arc::new(Semaphore::new(LOG_READS_MAX)) }
    }
}

/// Answers with records at the same time; more wait.
const LOG_READS_MAX: usize = 4;

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, state: State, stop: CancellationToken) {
    let mut router = axum::Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    if let Some(log) = &state.log {
        router = router.nest("/v1/log", log_routes(log.clone()));
    }
    if let Some(live) = &state.live {
        let shown = windows::routes(live.clone()).layer(middleware::from_fn(this_machine_only));
        router = router.nest("/v1/rollups", shown);
    }
    let service = router.with_state(state).into_make_service_with_connect_info::<Ends>();
    let served = axum::serve(Bounded::new(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "admin server stopped");
    }
}

fn log_routes(log: OwnedLog) -> axum::Router<State> {
    axum::Router::new()
        .route("/", get(bounds))
        .route("/{partition}", get(records))
        .layer(Extension(log))
        .layer(middleware::from_fn(this_machine_only))
}

/// Raw events are not for the network: there are no keys here.
async fn this_machine_only(ConnectInfo(ends): ConnectInfo<Ends>, request: Request, next: middleware::Next) -> Response {
    // A page of another site, or a proxy, may ask from this machine, too.
    if let Err((_, reason)) = Access::of_this_machine().check(request.headers(), None) {
        return (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response();
    }
    if ends.on_this_machine() {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "log and rollups are served here to callers on this machine only\n").into_response()
}

async fn ready(axum::extract::State(state): axum::extract::State<State>) -> Response {
    let unready = state.readiness.unready();
    let status = if unready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": unready.is_empty(), "not_ready": unready }))).into_response()
}

async fn metrics(axum::extract::State(state): axum::extract::State<State>) -> Response {
    let Some(exposition) = state.exposition else {
        return (StatusCode::SERVICE_UNAVAILABLE, "metrics recorder is not installed\n").into_response();
    };
    match tokio::task::spawn_blocking(move || exposition.render()).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics can't be rendered: {error}\n")).into_response()
        }
    }
}

async fn bounds(Extension(owned): Extension<OwnedLog>) -> Response {
    let Ok(_turn) = owned.reads.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    answer(log_source::bounds(owned.log.as_ref()).await)
}

/// Which records of a partition.
#[derive(Debug, Deserialize)]
struct Range {
    offset: u64,
}

async fn records(
    Extension(owned): Extension<OwnedLog>,
    Path(partition): Path<u32>,
    Query(range): Query<Range>,
) -> Response {
    let Ok(_turn) = owned.reads.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    answer(log_source::read(owned.log.as_ref(), partition, range.offset).await.map(Batch::from))
}

fn answer<T: serde::Serialize>(result: Result<T, log::ReadError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => match OutOfRange::of(&error) {
            Some(out) => (StatusCode::RANGE_NOT_SATISFIABLE, Json(out)).into_response(),
            None => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")).into_response(),
        },
    }
}
