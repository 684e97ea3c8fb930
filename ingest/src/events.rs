//! `POST /v1/events`: decode, route, wait until durable, answer.
//!
//! ```text
//! body ─▶ decode ─▶ by partition ─▶ batches ─▶ (body and events are let go) ─▶ all durable? ─▶ 200 | 204
//!            └─▶ rejected, each with its reason ────────────────────────────────────┘    └─▶ 503, 500
//! ```
//! Promise: a 2xx only when every accepted event is durable. When one batch fails the whole request is refused, even if
//! others are durable: the client's retry is deduplicated by event.
use crate::batching::{BatchError, Ticket};
use crate::body::{Received, overloaded};
use crate::budget::Reserved;
use crate::cpu_bound::off_the_runtime;
use crate::edge::Edge;
use crate::limits::{IDEMPOTENCY_KEY_BYTES_MAX, INLINE_BYTES_MAX};
use crate::partition_worker::NoPlace;
use crate::problem::{Kind, Problem};
use crate::receipt::{self, Receipt};
use bytes::Bytes;
use event::batch::Arrival;
use event::clock::Micros;
use event::decode::{AnonymousId, Context, Format, MalformedBody, Rejection};
use event::limits::RECORD_BYTES_MAX;
use event::partition::partition_of;
use event::schema::Column;
use event::view_event::{Value, ViewEvent};
use http::Response;
use http::header::{self, HeaderMap};
use http_body_util::Full;
use hyper::body::Incoming;
use log::AppendError;
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Whose events these are, until there are write keys: the place of admission.
const TENANT: &str = "default";

/// `source` of what comes here.
const SOURCE: &str = "http";

/// An event with its partition and its place in the body.
struct Routed<'a> {
    partition: u32,
    index: u32,
    event: ViewEvent<'a>,
}

/// A body's events, charged to the budget.
struct Decoded<'a> {
    /// In the order of the body.
    events: Vec<Routed<'a>>,
    /// Their positions in `events`, in order of their partitions, and within one in the order of the body.
    order: Vec<usize>,
    rejected: Vec<Rejection>,
    rejected_bytes: usize,
}

/// What became of a body: its events wait in batches.
struct Offered {
    tickets: Vec<Ticket>,
    rejected: Vec<Rejection>,
    /// For the rejections: thousands of them, each with its reason, can be larger than the body.
    reserved: Reserved,
}

/// Answers a post.
pub async fn post(edge: &Edge, headers: &HeaderMap, body: Incoming) -> Result<Response<Full<Bytes>>, Problem> {
    let received = edge.bodies.receive(headers, body).await?;
    edge.instruments.received(received.wire_bytes);
    let deadline = Instant::now() + Duration::from_millis(edge.config.append_timeout_ms);
    let Offered { tickets, rejected, reserved: _held } = offer(edge, headers, received, deadline).await?;
    if tickets.is_empty() {
        return Err(Problem::all_rejected(rejected));
    }
    let receipts = durable(edge, tickets, deadline).await?;
    edge.instruments.accepted(receipts.iter().map(|receipt| receipt.count).sum());
    edge.instruments.rejected(rejected.len());
    Ok(receipt::answer(&receipts, &rejected, edge.writer.ack(), receipt::prefers_minimal(headers)))
}

/// Puts a body's events into the batches of their partitions. The body and its events are gone afterwards.
async fn offer(edge: &Edge, headers: &HeaderMap, received: Received, deadline: Instant) -> Result<Offered, Problem> {
    let Received { bytes, mut reserved, .. } = received;
    let received_at = edge.clock.now();
    let Decoded { events, order, mut rejected, rejected_bytes } = if bytes.len() > INLINE_BYTES_MAX {
        let Some(_turn) = edge.decode_turns.take(deadline).await else {
            let detail = "this node decodes as many large bodies as it has cores for: nothing was taken, try again";
            return Err(Problem::new(Kind::Overloaded, detail));
        };
        off_the_runtime(|| decode(edge, headers, &bytes, received_at, &mut reserved))?
    } else {
        decode(edge, headers, &bytes, received_at, &mut reserved)?
    };

    let arrival = Arrival { tenant: TENANT, source: SOURCE, received_at };
    let mut tickets = Vec::new();
    for same_partition in order.chunk_by(|a, b| events[*a].partition == events[*b].partition) {
        let partition = &edge.partitions[events[same_partition[0]].partition as usize];
        let references: Vec<&ViewEvent<'_>> = same_partition.iter().map(|at| &events[*at].event).collect();
        let oversized = partition.offer(arrival, &references, deadline, &mut tickets).await.map_err(no_place)?;
        rejected.extend(oversized.into_iter().map(|(at, bytes)| too_large(&events[same_partition[at]], bytes)));
    }
    rejected.sort_by_key(|rejection| rejection.index);
    reserved.shrink_to(rejected_bytes);
    Ok(Offered { tickets, rejected, reserved })
}

/// Decodes and routes a body, and charges what came of it while its turn lasts.
fn decode<'a>(
    edge: &Edge,
    headers: &HeaderMap,
    body: &'a [u8],
    received_at: Micros,
    reserved: &mut Reserved,
) -> Result<Decoded<'a>, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut random = || (edge.random_id)();
    let mut context = Context {
        tenant: TENANT,
        received_at,
        idempotency_key: idempotency_key(headers)?,
        anonymous: AnonymousId::Random(&mut random),
        bounds: edge.bounds,
        events_max: edge.config.events_max,
    };
    let partitions = edge.partitions.len() as u32;
    let mut events = Vec::new();
    let mut accept = |index, event: ViewEvent<'a>| {
        let partition = partition_of(TENANT, event.session_id.as_deref(), &event.event_id, partitions);
        events.push(Routed { partition, index, event });
    };
    let format = Format::detect(content_type, body);
    let rejected = event::decode::decode(format, body, &mut context, &mut accept)
        .map_err(|error| malformed(error, headers, body))?;
    let rejected_bytes = rejected.iter().map(rejection_bytes).sum::<usize>();
    reserved.add(events.iter().map(Routed::bytes).sum::<usize>() + rejected_bytes).map_err(|_| overloaded())?;
    // Positions, and not the events: these are some hundred bytes each.
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|at| events[*at].partition);
    Ok(Decoded { events, order, rejected, rejected_bytes })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(text) if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) => Ok(Some(text)),
        _ => Err(Problem::new(
            Kind::MalformedHeader,
            format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"),
        )),
    }
}

fn malformed(error: MalformedBody, headers: &HeaderMap, body: &[u8]) -> Problem {
    let kind = match error {
        MalformedBody::TooManyEvents(_) => Kind::TooManyEvents,
        MalformedBody::Syntax(_) | MalformedBody::Empty => Kind::MalformedBody,
    };
    let unlabelled = !headers.contains_key(header::CONTENT_ENCODING);
    let hint = match body {
        [0x1f, 0x8b, ..] if unlabelled => "; it looks like gzip: send Content-Encoding: gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] if unlabelled => "; it looks like zstd: send Content-Encoding: zstd",
        _ if kind == Kind::TooManyEvents => "; nothing was taken: split it",
        _ => "; nothing was taken: send an object, an array of objects, {\"events\": [...]} or one object a line",
    };
    Problem::new(kind, format!("{error}{hint}"))
}

fn too_large(routed: &Routed<'_>, bytes: usize) -> Rejection {
    Rejection {
        index: routed.index,
        event_id: Some(uuid::Uuid::from_bytes(routed.event.event_id).to_string()),
        reason: format!("the event takes up to {bytes} bytes, over the limit of a log record, {RECORD_BYTES_MAX}"),
    }
}

fn no_place(reason: NoPlace) -> Problem {
    match reason {
        NoPlace::Timeout => {
            Problem::new(Kind::Overloaded, "the log is slower than the events come: no room in time, try again")
        }
        NoPlace::Stopping => Problem::new(Kind::Stopping, "this node is stopping: try again"),
    }
}

/// Waits until all of the request's batches are durable.
async fn durable(edge: &Edge, tickets: Vec<Ticket>, deadline: Instant) -> Result<Vec<Receipt>, Problem> {
    let (_in_flight, all) = edge.pace.begin(Instant::now());
    if all {
        edge.partitions.iter().for_each(|partition| partition.look_again());
    }
    let mut receipts = Vec::with_capacity(tickets.len());
    for mut ticket in tickets {
        let waiting = timeout_at(deadline, ticket.outcome.wait_for(Option::is_some)).await.map_err(|_| {
            let detail = format!(
                "not durable after {} ms; perhaps it will be: try again, events with an event_id or a session_id are \
                 deduplicated",
                edge.config.append_timeout_ms
            );
            Problem::new(Kind::AppendTimeout, detail)
        })?;
        // A closed channel or no outcome: the worker ended before it could say what became of the batch.
        let outcome = waiting.ok().and_then(|outcome| (*outcome).clone());
        let outcome = outcome.unwrap_or_else(|| Err(BatchError::Append(AppendError::Unknown("the node stops".into()))));
        let offset = outcome.map_err(not_acknowledged)?;
        receipts.push(Receipt { partition: ticket.partition, offset, count: ticket.count });
    }
    Ok(receipts)
}

fn not_acknowledged(error: BatchError) -> Problem {
    let (kind, advice) = match &error {
        BatchError::Append(AppendError::Full(_)) => (Kind::LogFull, "try again later"),
        BatchError::Append(AppendError::Unknown(_)) => {
            (Kind::LogUnavailable, "try again: events with an event_id or a session_id are deduplicated")
        }
        BatchError::Append(AppendError::Stopped(_)) => (Kind::Stopping, "try again"),
        BatchError::Append(AppendError::TooLarge { .. }) | BatchError::Encode(_) => {
            (Kind::BatchNotEncodable, "this is a bug of Playhead: please report it with this text")
        }
    };
    let what = match error {
        BatchError::Append(error) => error.to_string(),
        BatchError::Encode(reason) => reason,
    };
    Problem::new(kind, format!("{what}; {advice}"))
}

/// Memory of a rejection, and of the same in the answer.
fn rejection_bytes(rejection: &Rejection) -> usize {
    size_of::<Rejection>() + 2 * (rejection.reason.len() + rejection.event_id.as_ref().map_or(0, String::len))
}

impl Routed<'_> {
    /// Memory that it takes beside the body it borrows from; owned text is about as long as in the body.
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.event.fields.capacity() * size_of::<(Column, Value<'_>)>()
            + self.event.custom.capacity() * size_of::<(Cow<'_, str>, Cow<'_, str>)>()
    }
}
