//! Rollups as they are now, over HTTP: `GET /v1/live`, `/v1/live/NAME`, `/v1/live/NAME/stream`, and a page at `/`; for other
//! processors `/v1/live/NAME/part` ([`peers`]).
//!
//! ```text
//!  processor ─▶ Live (one Shown a second at most, for who looks) ─▶ view: filter, top ─▶ JSON, once or as server-sent events
//! ```
//! On the edge's address in `up`, on `live.listen` in `process`. Figures are nobody's who is not let in ([`access`]).
mod access;
mod ask;
mod peers;
mod screen;
mod view;

pub use access::Access;
pub use peers::Peers;

use ask::Ask;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::StreamExt;
use processor::live::{Live, Shown, Watcher};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The page for people.
pub const PAGE: &str = "/";
/// Paths below this are ours, and itself.
pub const PATH: &str = "/v1/live";

/// Content type of a processor's part.
const PART: &str = "application/vnd.apache.arrow.stream";

/// Who asks waits so long for the processor: it shows once a second, unless it waits for log or lake itself.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Answers that are made at the same time; more wait. Each looks at every group of its windows.
const ANSWERS_MAX: usize = 2;
/// Streams at the same time: each makes such an answer a second.
const STREAMS_MAX: usize = 64;
/// A line that says nothing is sent so often, so that whoever is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Clone)]
struct Screen {
    live: Arc<Live>,
    access: Access,
    streams: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves what `live` shows to whom `access` lets in; streams end with `stop`.
pub fn router(live: Arc<Live>, access: Access, stop: CancellationToken) -> Router {
    let (streams, answers) = (Arc::new(Semaphore::new(STREAMS_MAX)), Arc::new(Semaphore::new(ANSWERS_MAX)));
    let screen = Screen { live, access, streams, answers, stop };
    Router::new()
        .route(PAGE, get(screen::page))
        .route(PATH, get(names))
        .route("/v1/live/{rollup}", get(now))
        .route("/v1/live/{rollup}/stream", get(stream))
        .route("/v1/live/{rollup}/part", get(part))
        .layer(middleware::from_fn_with_state(screen.clone(), let_in))
        .with_state(screen)
}

/// Why there is no figure (RFC 9457, as the edge's problems are).
struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { status, detail } = self;
        let body = json!({ "status": status.as_u16(), "title": status.canonical_reason(), "detail": detail });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(body)).into_response()
    }
}

async fn let_in(State(screen): State<Screen>, Query(asked): Parameters, request: Request, next: Next) -> Response {
    match screen.access.check(request.headers(), asked.get("token").map(String::as_str)) {
        Ok(()) => ([(header::CACHE_CONTROL, "no-store")], next.run(request).await).into_response(),
        Err((status, detail)) => Problem::new(status, detail).into_response(),
    }
}

async fn names(State(screen): State<Screen>) -> Response {
    Json(json!({ "rollups": screen.live.names().collect::<Vec<_>>() })).into_response()
}

type Parameters = Query<BTreeMap<String, String>>;

/// What was asked, of whom, and how it is now: a question that can't be answered is refused before anything is sent.
async fn look(
    screen: &Screen,
    rollup: &str,
    asked: BTreeMap<String, String>,
) -> Result<(Watcher, Ask, Value), Problem> {
    let ask = Ask::of(asked).map_err(|detail| Problem::new(StatusCode::BAD_REQUEST, detail))?;
    let mut watcher = screen.live.watch(rollup).ok_or_else(|| no_such_rollup(screen, rollup))?;
    let shown = next(&mut watcher).await.ok_or_else(|| {
        let detail =
            "the processor shows nothing now: /readyz on the admin address says why, or another one keeps the rollups";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let view = view(screen, rollup, shown, &ask).await?;
    Ok((watcher, ask, view))
}

fn no_such_rollup(screen: &Screen, rollup: &str) -> Problem {
    let names = screen.live.names().collect::<Vec<_>>().join(", ");
    Problem::new(StatusCode::NOT_FOUND, format!("no rollup is named {rollup:?}; there are: {names}"))
}

/// The rollup as it is now; `None`: the processor does not show it.
pub async fn next(watcher: &mut Watcher) -> Option<Arc<Shown>> {
    timeout(ANSWER_MAX, watcher.next()).await.ok()
}

/// What this processor has of a rollup that it shares with others, for who merges all parts.
async fn part(State(screen): State<Screen>, Path(rollup): Path<String>) -> Result<Response, Problem> {
    let mut watcher = screen.live.watch_part(&rollup).ok_or_else(|| no_such_rollup(&screen, &rollup))?;
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    let Ok(part) = timeout(ANSWER_MAX, watcher.next()).await else {
        return Err(unavailable("this processor shares its partitions with none, or waits itself: see /readyz"));
    };
    let Ok(_turn) = screen.answers.acquire().await else { return Err(unavailable("stopping")) };
    match spawn_blocking(move || part.to_bytes()).await {
        Ok(Ok(bytes)) => Ok(([(header::CONTENT_TYPE, PART)], bytes).into_response()),
        Ok(Err(error)) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Made beside the event path, a few at a time.
async fn view(screen: &Screen, rollup: &str, shown: Arc<Shown>, ask: &Ask) -> Result<Value, Problem> {
    let Ok(_turn) = screen.answers.acquire().await else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping"));
    };
    let (rollup, ask) = (rollup.to_owned(), ask.clone());
    let made = spawn_blocking(move || view::of(&rollup, &shown, &ask)).await;
    let made = made.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    made.map_err(|detail| Problem::new(StatusCode::BAD_REQUEST, detail))
}

async fn now(
    State(screen): State<Screen>,
    Path(rollup): Path<String>,
    Query(asked): Parameters,
) -> Result<Json<Value>, Problem> {
    let (_, _, view) = look(&screen, &rollup, asked).await?;
    Ok(Json(view))
}

/// A stream under way: its watcher, and its place among the few.
struct Streaming {
    screen: Screen,
    watcher: Watcher,
    rollup: String,
    ask: Ask,
    /// What is sent first.
    first: Option<Value>,
    _place: OwnedSemaphorePermit,
}

async fn stream(
    State(screen): State<Screen>,
    Path(rollup): Path<String>,
    Query(asked): Parameters,
) -> Result<Response, Problem> {
    let place = screen.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{STREAMS_MAX} streams are open, no more are served");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let (watcher, ask, first) = look(&screen, &rollup, asked).await?;
    let stop = screen.stop.clone();
    let streaming = Streaming { screen, watcher, rollup, ask, first: Some(first), _place: place };
    let events = futures::stream::unfold(streaming, |mut streaming| async {
        let view = match streaming.first.take() {
            Some(first) => first,
            None => {
                let shown = streaming.watcher.next().await;
                // What could be answered once can be again: the stream ends where it can't.
                view(&streaming.screen, &streaming.rollup, shown, &streaming.ask).await.ok()?
            }
        };
        let event = Event::default().event("windows").data(view.to_string());
        Some((Ok::<_, Infallible>(event), streaming))
    });
    let events = events.take_until(stop.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
