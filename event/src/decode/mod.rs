//! From a body's bytes to events: JSON and NDJSON, with each bad event rejected by itself.
//!
//! ```text
//!  body ──▶ framing ──▶ one event's text ──▶ Draft ──▶ identity, time ──▶ accept(index, ViewEvent)
//!             │                                │             │
//!             ▼ MalformedBody                  └─────────────┴──▶ Rejection { index, event_id, reason }
//! ```
//! Promise: a body is cut into events before any of them is read, and each is read by itself, so a bad one never
//! fails or changes its neighbours. Nothing is cut short or guessed: what passes a bound is rejected with a reason
//! that names the field. No input makes it panic, recurse or use more than a small multiple of the body's bytes.
//!
//! What is taken, beside the obvious:
//! - `null` is the same as leaving a key out. A key that is there twice is rejected.
//! - Integers may be written as `12.0` or `1.2e1`. The ids (`event_id`, `session_id`, `viewer_id`, `user_id`,
//!   `content_id`) may be JSON integers: their decimal text is the id.
//! - Times are RFC 3339 with an offset, or epoch milliseconds (`time`).
//! - Keys without a column go to `custom` (`custom`); an object under the key `custom` is taken apart the same way.
//! - A UTF-8 byte order mark before the body; CRLF and blank lines in NDJSON.
//!
//! Not for: compression, content negotiation, or vendors' formats, which are decoders of their own.
mod custom;
mod draft;
mod field;
mod framing;
mod object;
mod plain;
mod problem;
mod time;
pub mod vocabulary;

use crate::clock::Micros;
use crate::identity;
use crate::schema::Column;
use crate::view_event::{Value, ViewEvent};
use draft::{Draft, KeyOrder};
use framing::{Frame, Frames};
use hashbrown::HashMap;
use object::Member;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object, an array of objects, or `{"sent_at": ..., "events": [...]}`.
    Json,
    /// One object a line.
    Ndjson,
}

/// Media types of one object a line, as clients spell them.
const NDJSON_TYPES: &[&str] = &[
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/x-json-stream",
    "text/x-ndjson",
];

impl Format {
    /// By the label where it says one object a line, else by looking at the body: clients mislabel, and one object
    /// a line is never JSON, so that looking can't mistake a body that is right.
    pub fn detect(content_type: Option<&str>, body: &[u8]) -> Format {
        let label = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if NDJSON_TYPES.iter().any(|ndjson| label.eq_ignore_ascii_case(ndjson)) || framing::is_ndjson(body) {
            Format::Ndjson
        } else {
            Format::Json
        }
    }
}

/// Where an event without id and session takes its id from.
pub enum AnonymousId<'a> {
    /// At the edge: random bits of the caller's source.
    Random(&'a mut dyn FnMut() -> [u8; 16]),
    /// In a record that others produced: its place, so that every reader agrees.
    Place {
        /// The record's topic.
        topic: &'a str,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
}

/// Bounds of event_time around `received_at`; microseconds, none negative.
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
    /// The request's `Idempotency-Key`: salts the hash of events without an id. Empty is the same as none.
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
    /// The id as the client gave it, if it could be read; at most `limits::EVENT_ID_BYTES_MAX`.
    pub event_id: Option<String>,
    /// Names the field and what was expected; at most `limits::REASON_BYTES_MAX`.
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
///
/// # Errors
/// [`MalformedBody`]: the body can't be cut into events. `accept` was not called then.
pub fn decode<'a>(
    format: Format,
    body: &'a [u8],
    context: &mut Context<'_>,
    accept: &mut dyn FnMut(u32, ViewEvent<'a>),
) -> Result<Vec<Rejection>, MalformedBody> {
    let events_max = context.events_max.min(u32::MAX as usize);
    let Frames { sent_at, events } = match format {
        Format::Json => framing::json(body, events_max)?,
        Format::Ndjson => framing::ndjson(body, events_max)?,
    };
    let mut reader =
        Reader { context, sent_at, members: Vec::new(), order: KeyOrder::default(), copies: HashMap::new() };
    let mut rejected = Vec::new();
    for (index, frame) in (0u32..).zip(events) {
        match reader.read(index, frame) {
            Ok(event) => accept(index, event),
            Err((event_id, reason)) => rejected.push(Rejection { index, event_id, reason }),
        }
    }
    Ok(rejected)
}

/// Reads the events of one body, one after the other.
struct Reader<'r, 'c, 'a> {
    context: &'r mut Context<'c>,
    /// The envelope's.
    sent_at: Option<Micros>,
    /// Scratch: keys and values of the event being read.
    members: Vec<Member<'a>>,
    order: KeyOrder,
    /// With an Idempotency-Key: how many events of this content were read. At most `events_max` entries.
    copies: HashMap<[u8; 16], u32>,
}

impl<'a> Reader<'_, '_, 'a> {
    /// One event, or its id and why it was not taken.
    fn read(&mut self, index: u32, frame: Frame<'a>) -> Result<ViewEvent<'a>, (Option<String>, String)> {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::NotUtf8(bytes) => return Err(draft::not_utf8(bytes)),
        };
        let mut draft = Draft::read(text, &mut self.members, &mut self.order);
        draft.require();
        let problems = std::mem::take(&mut draft.problems);
        if let Some(reason) = problems.into_reason() {
            return Err((draft.given_id.map(String::from), reason));
        }
        let event_id = self.identify(index, &draft);
        self.place_in_time(event_id, draft)
    }

    /// The event's id, see [`identity`].
    fn identify(&mut self, index: u32, draft: &Draft<'a>) -> [u8; 16] {
        if let Some(given) = &draft.given_id {
            return identity::given(self.context.tenant, given);
        }
        if draft.session_id.is_some() {
            let content = identity::of_content(self.context.tenant, draft::content(&mut self.members));
            let Some(key) = self.context.idempotency_key.filter(|key| !key.is_empty()) else {
                return content;
            };
            let copies = self.copies.entry(content).or_insert(0);
            let ordinal = *copies;
            *copies = copies.saturating_add(1);
            return identity::salted(&content, key, ordinal);
        }
        match &mut self.context.anonymous {
            AnonymousId::Random(bits) => identity::random(bits()),
            AnonymousId::Place { topic, partition, offset } => identity::of_place(topic, *partition, *offset, index),
        }
    }

    /// Corrects the skew of the client's clock, and holds the result against the bounds.
    fn place_in_time(
        &self,
        event_id: [u8; 16],
        mut draft: Draft<'a>,
    ) -> Result<ViewEvent<'a>, (Option<String>, String)> {
        let (Some(event_type), Some(raw)) = (draft.event_type, draft.event_time) else {
            unreachable!("a draft without problems has all that is required")
        };
        let sent_at = draft.sent_at.or(self.sent_at);
        let placed = time::place(raw, sent_at, self.context.received_at, self.context.bounds);
        if let Some(problem) = placed.problem {
            return Err((draft.given_id.map(String::from), format!("event_time: {problem}")));
        }
        draft.fields.extend(sent_at.map(|sent_at| (Column::SENT_AT, Value::Time(sent_at))));
        if placed.corrected {
            draft.fields.push((Column::EVENT_TIME_RAW, Value::Time(raw)));
        }
        Ok(ViewEvent {
            event_id,
            event_time: placed.event_time,
            session_id: draft.session_id,
            event_type,
            fields: draft.fields,
            custom: draft.custom.into_entries(),
        })
    }
}
