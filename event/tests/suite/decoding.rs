//! From bytes to events.
mod bodies;
mod fields;
mod ids;
mod isolation;
mod times;

use event::clock::Micros;
use event::decode::{AnonymousId, Context, Format, MalformedBody, Rejection, TimeBounds, decode};
use event::view_event::ViewEvent;

/// 2026-11-21T22:07:51Z
pub const NOW: Micros = 1_795_298_871_000_000;
pub const SECOND: Micros = 1_000_000;
pub const BOUNDS: TimeBounds =
    TimeBounds { past_max: 30 * 86_400 * SECOND, future_max: 3_600 * SECOND, skew_min: 5 * SECOND };
pub const EVENTS_MAX: usize = 1_000;
/// What the source of random bits yields in these tests.
pub const BITS: [u8; 16] = [7; 16];

/// Members of the smallest valid event with a session.
pub const GOOD: &str = r#""event_type":"heartbeat","event_time":1795298871000,"session_id":"s-1""#;

/// A body's valid events with their index, and the others.
pub type Outcome<'a> = (Vec<(u32, ViewEvent<'a>)>, Vec<Rejection>);

pub struct Request<'a> {
    pub tenant: &'a str,
    pub received_at: Micros,
    pub idempotency_key: Option<&'a str>,
    pub bounds: TimeBounds,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self { tenant: "default", received_at: NOW, idempotency_key: None, bounds: BOUNDS }
    }
}

impl Request<'_> {
    pub fn decode<'b>(&self, format: Format, body: &'b [u8]) -> Result<Outcome<'b>, MalformedBody> {
        let mut context = Context {
            tenant: self.tenant,
            received_at: self.received_at,
            idempotency_key: self.idempotency_key,
            anonymous: AnonymousId::Random(&mut || BITS),
            bounds: self.bounds,
            events_max: EVENTS_MAX,
        };
        let mut accepted = Vec::new();
        let rejected = decode(format, body, &mut context, &mut |index, event| accepted.push((index, event)))?;
        Ok((accepted, rejected))
    }
}

pub fn json(body: &str) -> Result<Outcome<'_>, MalformedBody> {
    Request::default().decode(Format::Json, body.as_bytes())
}

pub fn ndjson(body: &[u8]) -> Outcome<'_> {
    Request::default().decode(Format::Ndjson, body).unwrap()
}

/// The only event of `body`.
pub fn one(body: &str) -> ViewEvent<'_> {
    let (mut accepted, rejected) = json(body).unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(accepted.len(), 1);
    accepted.remove(0).1
}

/// Why the only event of `body` was not taken.
pub fn refused(body: &str) -> Rejection {
    let (accepted, mut rejected) = json(body).unwrap();
    assert!(accepted.is_empty(), "{accepted:?}");
    assert_eq!(rejected.len(), 1);
    rejected.remove(0)
}

/// An event of `GOOD` with further members.
pub fn good_with(members: &str) -> String {
    if members.is_empty() { format!("{{{GOOD}}}") } else { format!("{{{GOOD},{members}}}") }
}
