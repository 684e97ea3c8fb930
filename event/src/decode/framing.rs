//! Cuts a body into events without reading them.
use super::field::unquote;
use super::problem::{excerpt, message};
use super::{MalformedBody, time};
use crate::clock::Micros;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The events of a body.
#[derive(Debug, PartialEq)]
pub(super) struct Frames<'a> {
    /// The envelope's `sent_at`.
    pub sent_at: Option<Micros>,
    /// The texts of the events, in order; at least one.
    pub events: Vec<Frame<'a>>,
}

/// One event's text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Frame<'a> {
    /// Trimmed.
    Text(&'a str),
    /// Not UTF-8: to be rejected.
    NotUtf8(&'a [u8]),
}

impl<'a> Frame<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes).map_or(Frame::NotUtf8(bytes), Frame::Text)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Where an invalid byte stands in a body, a copy has this one: harmless in a string, an error anywhere else.
const INVALID: u8 = b'?';

const SHAPES: &str = r#"expected an event, an array of events, or {"sent_at": ..., "events": [...]}"#;

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// JSON's white space; `trim_ascii` would also take a form feed.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The non-empty lines, trimmed.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').map(trim).filter(|line| !line.is_empty())
}

/// True when the first line is an object of its own, and more follows: that is never one JSON text.
pub(super) fn is_ndjson(body: &[u8]) -> bool {
    let mut lines = lines(without_mark(body));
    let Some(first) = lines.next() else { return false };
    first.starts_with(b"{")
        && first.ends_with(b"}")
        && lines.next().is_some()
        && serde_json::from_slice::<IgnoredAny>(first).is_ok()
}

/// One object a line.
pub(super) fn ndjson(body: &[u8], events_max: usize) -> Result<Frames<'_>, MalformedBody> {
    let mut events = Vec::new();
    for line in lines(without_mark(body)) {
        if events.len() == events_max {
            return Err(MalformedBody::TooManyEvents(events_max));
        }
        events.push(Frame::new(line));
    }
    not_empty(Frames { sent_at: None, events })
}

/// One object, an array, or an envelope.
pub(super) fn json(body: &[u8], events_max: usize) -> Result<Frames<'_>, MalformedBody> {
    let body = without_mark(body);
    if let Ok(text) = std::str::from_utf8(body) {
        let (sent_at, texts) = cut(text, events_max)?;
        return not_empty(Frames { sent_at, events: texts.into_iter().map(Frame::Text).collect() });
    }
    // Invalid bytes within strings don't hide where events end: cut a copy that has other bytes in their place.
    let copy = masked(body);
    let (sent_at, texts) = cut(&copy, events_max)?;
    let start = copy.as_ptr().addr();
    let events = texts.into_iter().map(|text| {
        let from = text.as_ptr().addr() - start;
        Frame::new(&body[from..from + text.len()])
    });
    not_empty(Frames { sent_at, events: events.collect() })
}

fn not_empty(frames: Frames<'_>) -> Result<Frames<'_>, MalformedBody> {
    if frames.events.is_empty() { Err(MalformedBody::Empty) } else { Ok(frames) }
}

/// `bytes` with another byte in the place of each that is no UTF-8; as long as `bytes`.
pub(super) fn masked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::from(INVALID)));
    }
    text
}

/// Events as text, with the envelope's `sent_at`.
type Cut<'a> = (Option<Micros>, Vec<&'a str>);

fn cut(text: &str, events_max: usize) -> Result<Cut<'_>, MalformedBody> {
    match text.bytes().find(|byte| !is_space(*byte)) {
        None => Err(MalformedBody::Empty),
        Some(b'[') => Ok((None, elements(text, events_max)?)),
        Some(b'{') => object(text, events_max),
        Some(_) => Err(MalformedBody::Syntax(format!("{SHAPES}, got {}", excerpt(text.trim_start())))),
    }
}

fn object(text: &str, events_max: usize) -> Result<Cut<'_>, MalformedBody> {
    let mut json = serde_json::Deserializer::from_str(text);
    let envelope = json.deserialize_map(EnvelopeVisitor).and_then(|envelope| json.end().map(|()| envelope));
    let envelope = envelope.map_err(|error| broken(&error))?;
    let Some(events) = envelope.events else {
        if events_max == 0 {
            return Err(MalformedBody::TooManyEvents(events_max));
        }
        return Ok((None, vec![text.trim_matches(|symbol: char| symbol.is_ascii() && is_space(symbol as u8))]));
    };
    if let Some(key) = envelope.other {
        let problem = format!("key {} beside \"events\": an envelope has sent_at and events only", excerpt(key));
        return Err(MalformedBody::Syntax(problem));
    }
    if envelope.twice {
        return Err(MalformedBody::Syntax("a key of the envelope is given twice".to_owned()));
    }
    let sent_at = match envelope.sent_at {
        None | Some("null") => None,
        Some(raw) => Some(time::read(raw).map_err(|problem| MalformedBody::Syntax(format!("sent_at: {problem}")))?),
    };
    if !events.starts_with('[') {
        return Err(MalformedBody::Syntax(format!("events: expected an array of events, got {}", excerpt(events))));
    }
    Ok((sent_at, elements(events, events_max)?))
}

fn broken(error: &serde_json::Error) -> MalformedBody {
    let place = format!("line {} column {}", error.line(), error.column());
    MalformedBody::Syntax(format!("{} at {place}", message(error)))
}

/// The elements of the array `text`.
fn elements(text: &str, events_max: usize) -> Result<Vec<&str>, MalformedBody> {
    let mut too_many = false;
    let mut json = serde_json::Deserializer::from_str(text);
    let elements = Elements { events_max, too_many: &mut too_many }.deserialize(&mut json);
    let elements = elements.and_then(|elements| json.end().map(|()| elements));
    elements.map_err(|error| if too_many { MalformedBody::TooManyEvents(events_max) } else { broken(&error) })
}

struct Elements<'t> {
    events_max: usize,
    too_many: &'t mut bool,
}

impl<'a> DeserializeSeed<'a> for Elements<'_> {
    type Value = Vec<&'a str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Elements<'_> {
    type Value = Vec<&'a str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element::<&'a RawValue>()? {
            if elements.len() == self.events_max {
                *self.too_many = true;
                return Err(serde::de::Error::custom("too many events"));
            }
            elements.push(element.get());
        }
        Ok(elements)
    }
}

/// What an object that may be an envelope has in it.
#[derive(Default)]
struct Envelope<'a> {
    sent_at: Option<&'a str>,
    events: Option<&'a str>,
    /// Any other key.
    other: Option<&'a str>,
    twice: bool,
}

struct EnvelopeVisitor;

impl<'a> Visitor<'a> for EnvelopeVisitor {
    type Value = Envelope<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event or an envelope")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Envelope<'a>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some((key, value)) = map.next_entry::<&'a RawValue, &'a RawValue>()? {
            // A key that is no Unicode is none of ours: the event that has it is rejected by itself.
            let slot = match unquote(key.get()).unwrap_or(Cow::Borrowed("")).as_ref() {
                "sent_at" => &mut envelope.sent_at,
                "events" => &mut envelope.events,
                _ => {
                    envelope.other = Some(key.get());
                    continue;
                }
            };
            envelope.twice |= slot.replace(value.get()).is_some();
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(frames: Frames<'_>) -> Vec<String> {
        let text = |frame| match frame {
            Frame::Text(text) => String::from(text),
            Frame::NotUtf8(bytes) => format!("not UTF-8: {} bytes", bytes.len()),
        };
        frames.events.into_iter().map(text).collect()
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_blank_ones_do_not_count() {
        let frames = ndjson(b"\xef\xbb\xbf{\"a\":1}\r\n\r\n  \n {\"b\":2} \n\xff\n", 3).unwrap();
        assert_eq!(texts(frames), [r#"{"a":1}"#, r#"{"b":2}"#, "not UTF-8: 1 bytes"]);
        assert_eq!(ndjson(b"1\n2\n3\n4", 3), Err(MalformedBody::TooManyEvents(3)));
        assert_eq!(ndjson(b" \r\n\n", 3), Err(MalformedBody::Empty));
    }

    #[test]
    fn invalid_utf8_in_a_string_stays_in_its_event() {
        let frames = json(b"[{\"a\":1}, {\"b\":\"\xff\xfe\"}, {\"c\":\"\xe2\x82\xac\"}]", 9).unwrap();
        assert_eq!(texts(frames), [r#"{"a":1}"#, "not UTF-8: 10 bytes", "{\"c\":\"\u{20ac}\"}"]);
        assert!(matches!(json(b"[{\"a\":1}, \xff{\"b\":2}]", 9), Err(MalformedBody::Syntax(_))));
    }

    #[test]
    fn an_array_is_bounded_while_it_is_cut() {
        assert_eq!(texts(json(b" [ {} , 1 ] ", 2).unwrap()), ["{}", "1"]);
        assert_eq!(json(b"[1,2,3", 2), Err(MalformedBody::TooManyEvents(2)));
        assert_eq!(json(b"[]", 2), Err(MalformedBody::Empty));
        assert_eq!(json(b" \n", 2), Err(MalformedBody::Empty));
    }

    #[test]
    fn depth_does_not_cost_stack() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(json(deep.as_bytes(), 2).unwrap().events.len(), 1);
        let open = "[".repeat(1_000_000);
        assert!(matches!(json(open.as_bytes(), 2), Err(MalformedBody::Syntax(_))));
    }
}
