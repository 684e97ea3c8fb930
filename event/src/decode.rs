//! From a body's bytes to events: JSON and NDJSON, with each bad event rejected by itself.
use crate::clock::Micros;
use crate::view_event::ViewEvent;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object, an array of objects, or `{"sent_at": ..., "events": [...]}`.
    Json,
    /// One object a line.
    Ndjson,
}

impl Format {
    /// By the label where it is one of ours, else by looking at the body (clients mislabel).
    pub fn detect(content_type: Option<&str>, body: &[u8]) -> Format {
        let _ = (content_type, body);
        unimplemented!()
    }
}

/// Where an event without id and session takes its id from.
pub enum AnonymousId<'a> {
    /// At the edge: random bits of the caller's source.
    Random(&'a mut dyn FnMut() -> [u8; 16]),
    /// In a record that others produced: its place, so that every reader agrees.
    Place { topic: &'a str, partition: u32, offset: u64 },
}

/// Bounds of event_time around `received_at`; microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBounds {
    /// Older than this before `received_at`: rejected.
    pub past_max: Micros,
    /// Further than this ahead of `received_at`: rejected.
    pub future_max: Micros,
    /// Skew (received - sent) up to this is taken for network latency and not corrected.
    pub skew_min: Micros,
}

/// What decoding needs beside the bytes.
pub struct Context<'a> {
    /// Whose events these are; part of hashed ids.
    pub tenant: &'a str,
    /// When they came.
    pub received_at: Micros,
    /// The request's `Idempotency-Key`: salts the hash of events without an id.
    pub idempotency_key: Option<&'a str>,
    /// Ids for events with neither id nor session.
    pub anonymous: AnonymousId<'a>,
    /// Accepted times.
    pub bounds: TimeBounds,
    /// Most events in one body.
    pub events_max: usize,
}

/// Why one event was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its position in the body, from 0 (NDJSON: among the non-empty lines).
    pub index: u32,
    /// The id as the client gave it, if it could be read; bounded.
    pub event_id: Option<String>,
    /// Names the field and what was expected.
    pub reason: String,
}

/// The body as a whole can't be read: nothing of it was taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MalformedBody {
    /// Not JSON of one of the accepted shapes, with where it breaks.
    #[error("malformed body: {0}")]
    Syntax(String),
    /// More events than `events_max`.
    #[error("the body has more than {0} events")]
    TooManyEvents(usize),
    /// Nothing in it.
    #[error("the body has no events")]
    Empty,
}

/// Decodes `body`; hands each valid event to `accept` with its index, in order, and returns the others.
pub fn decode<'a>(
    format: Format,
    body: &'a [u8],
    context: &mut Context<'_>,
    accept: &mut dyn FnMut(u32, ViewEvent<'a>),
) -> Result<Vec<Rejection>, MalformedBody> {
    let _ = (format, body, context, accept);
    unimplemented!()
}
