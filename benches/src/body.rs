//! A planned request: bytes to post, and what is known of each event in them.
use crate::json;
use crate::options::Format;
use bytes::Bytes;
use std::time::Duration;
use uuid::Uuid;

/// A planned request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// When it is due, from the start of the run. Never before an event in it happened.
    pub due: Duration,
    /// What is posted.
    pub bytes: Bytes,
    /// Ids of its events, in the order in which they stand in it. (A bad event may not carry the one given here.)
    pub ids: Vec<Uuid>,
    /// Positions of events that are sent twice, in this body for the first or for the second time.
    pub repeated: Vec<u32>,
    /// Positions of events that are bad on purpose.
    pub bad: Vec<u32>,
    /// How many of its events are the second copy of a planned duplicate.
    pub duplicates: u32,
}

impl Body {
    /// Events in it.
    pub fn events(&self) -> u64 {
        self.ids.len() as u64
    }
}

/// What is planned with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Sent once.
    Once,
    /// Will be sent again.
    First,
    /// Was sent before.
    Second,
    /// Not valid, on purpose.
    Bad,
}

/// Frames events into a body.
pub(crate) struct Framer {
    format: Format,
    bytes: Vec<u8>,
    ids: Vec<Uuid>,
    repeated: Vec<u32>,
    bad: Vec<u32>,
    duplicates: u32,
    envelope: bool,
}

impl Framer {
    /// For bodies of up to `events` events of about `event_bytes`. With `sent_at_ms` (JSON only) an envelope.
    pub(crate) fn new(format: Format, events: usize, event_bytes: usize, sent_at_ms: Option<i64>) -> Framer {
        let mut bytes = Vec::with_capacity(events * (event_bytes + 1) + 64);
        if let (Format::Json, Some(sent_at_ms)) = (format, sent_at_ms) {
            bytes.extend_from_slice(b"{\"sent_at\":");
            json::push_int(&mut bytes, sent_at_ms);
            bytes.extend_from_slice(b",\"events\":[");
        } else if format == Format::Json {
            bytes.push(b'[');
        }
        Framer {
            format,
            bytes,
            ids: Vec::with_capacity(events),
            repeated: Vec::new(),
            bad: Vec::new(),
            duplicates: 0,
            envelope: format == Format::Json && sent_at_ms.is_some(),
        }
    }

    /// Adds an event that `write` appends; without a line feed in it.
    pub(crate) fn push(&mut self, id: Uuid, mark: Mark, write: impl FnOnce(&mut Vec<u8>)) {
        let position = self.ids.len() as u32;
        if self.format == Format::Json && position > 0 {
            self.bytes.push(b',');
        }
        write(&mut self.bytes);
        if self.format == Format::Ndjson {
            self.bytes.push(b'\n');
        }
        self.ids.push(id);
        match mark {
            Mark::Once => {}
            Mark::First => self.repeated.push(position),
            Mark::Second => {
                self.repeated.push(position);
                self.duplicates += 1;
            }
            Mark::Bad => self.bad.push(position),
        }
    }

    /// The body, due at `due`.
    pub(crate) fn finish(mut self, due: Duration) -> Body {
        if self.format == Format::Json {
            self.bytes.push(b']');
            if self.envelope {
                self.bytes.push(b'}');
            }
        }
        Body {
            due,
            bytes: Bytes::from(self.bytes),
            ids: self.ids,
            repeated: self.repeated,
            bad: self.bad,
            duplicates: self.duplicates,
        }
    }
}
