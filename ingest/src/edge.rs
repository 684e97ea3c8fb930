//! What all connections share, and which path goes where.
use crate::body::Bodies;
use crate::config::Config;
use crate::cors;
use crate::cpu_bound::DecodeTurns;
use crate::deadline_stream::Turn;
use crate::events;
use crate::instruments::Instruments;
use crate::pace::Pace;
use crate::pages::{Body, Page, Pages};
use crate::partition_worker::Partition;
use crate::problem::{Kind, Problem};
use bytes::Bytes;
use event::clock::Clock;
use event::decode::TimeBounds;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use log::Writer;
use std::sync::Arc;
use tokio::time::Instant;

/// The path that events are posted to.
const EVENTS_PATH: &str = "/v1/events";

/// What all connections share.
pub struct Edge {
    /// Settings.
    pub config: Config,
    /// Takes bodies in.
    pub bodies: Bodies,
    /// Large bodies are decoded in turns.
    pub decode_turns: DecodeTurns,
    /// By number.
    pub partitions: Vec<Arc<Partition>>,
    /// When batches go.
    pub pace: Arc<Pace>,
    /// The log.
    pub writer: Arc<dyn Writer>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Accepted times.
    pub bounds: TimeBounds,
    /// Ids for events with neither id nor session.
    pub random_id: Arc<dyn Fn() -> [u8; 16] + Send + Sync>,
    /// What else is served on this address.
    pub pages: Option<Pages>,
    /// Measures.
    pub instruments: Arc<Instruments>,
}

impl Edge {
    /// Answers a request, whatever it is; its turn ends with the answer, that of a page with its body.
    pub async fn answer(&self, request: Request<Incoming>, turn: Turn) -> Response<Body> {
        let (head, body) = request.into_parts();
        if let Some(pages) = self.pages.as_ref().filter(|pages| pages.serve(&head.method, head.uri.path())) {
            let mut answered = (pages.answer)(Request::from_parts(head, ())).await;
            // A connection whose turn ends with a body is not told that it waits for a request again.
            answered.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return answered.map(|body| Either::Right(Page::new(body, turn)));
        }
        let response = self.answer_events(head, body).await;
        turn.end().await;
        response.map(Either::Left)
    }

    async fn answer_events(&self, head: http::request::Parts, body: Incoming) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let answered = match (head.uri.path(), &head.method) {
            (_, &Method::OPTIONS) => Ok(cors::preflight(&head.headers)),
            (EVENTS_PATH, &Method::POST) => events::post(self, &head.headers, body).await,
            (EVENTS_PATH, method) => Err(method_not_allowed(method)),
            (path, _) => Err(not_found(path)),
        };
        self.finish(&head, answered, started)
    }

    /// Answers a request of a connection over the cap.
    pub fn refuse(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, _) = request.into_parts();
        let detail = format!("{} connections are open, no more are taken: try again", self.config.connections_max);
        self.finish(&head, Err(Problem::new(Kind::Overloaded, detail)), Instant::now())
    }

    fn finish(
        &self,
        head: &http::request::Parts,
        answered: Result<Response<Full<Bytes>>, Problem>,
        started: Instant,
    ) -> Response<Full<Bytes>> {
        let mut response = answered.unwrap_or_else(|problem| {
            self.instruments.refused(problem.kind());
            self.instruments.rejected(problem.rejected());
            problem.into_response()
        });
        cors::expose(&head.headers, response.headers_mut());
        self.instruments.answered(response.status(), started.elapsed());
        response
    }
}

fn method_not_allowed(method: &Method) -> Problem {
    let method = method.as_str().chars().take(20).collect::<String>();
    Problem::new(Kind::MethodNotAllowed, format!("{EVENTS_PATH} takes POST, not {method}"))
        .with_header(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"))
}

fn not_found(path: &str) -> Problem {
    let path = path.chars().take(100).collect::<String>();
    Problem::new(
        Kind::NotFound,
        format!("{path:?} is not a path of the event edge: POST view events, as JSON or NDJSON, to {EVENTS_PATH}"),
    )
}
