//! What must hold for any body: the properties that the fuzz targets of the decoders check.
use event::clock::Micros;
use event::decode::{AnonymousId, Context, Format, MalformedBody, Rejection, TimeBounds, decode};
use event::limits::{
    CUSTOM_BYTES_MAX, CUSTOM_KEY_BYTES_MAX, CUSTOM_KEYS_MAX, CUSTOM_VALUE_BYTES_MAX, EVENT_ID_BYTES_MAX,
    REASON_BYTES_MAX,
};
use event::schema::{Column, Kind, Origin};
use event::view_event::{Value, ViewEvent};
use std::collections::HashSet;

/// 2026-11-21T22:07:51Z, and what the seeds' times are near.
const NOW: Micros = 1_795_298_871_000_000;
const BOUNDS: TimeBounds = TimeBounds { past_max: 30 * 86_400_000_000, future_max: 3_600_000_000, skew_min: 5_000_000 };
const EVENTS_MAX: usize = 500;

type Answer<'a> = Result<(Vec<(u32, ViewEvent<'a>)>, Vec<Rejection>), MalformedBody>;

/// Decodes `body` and panics when an answer breaks a promise.
pub fn check(format: Format, body: &[u8]) {
    let _ = Format::detect(None, body);
    let answer = answer(format, body);
    assert_eq!(answer, self::answer(format, body), "decoding is a function of its input");
    let Ok((accepted, rejected)) = &answer else { return };
    check_indices(accepted, rejected);
    for (_, event) in accepted {
        check_event(event);
    }
    for rejection in rejected {
        assert!(!rejection.reason.is_empty() && rejection.reason.len() <= REASON_BYTES_MAX, "{rejection:?}");
        assert!(rejection.event_id.as_ref().is_none_or(|id| id.len() <= EVENT_ID_BYTES_MAX), "{rejection:?}");
    }
    if format == Format::Ndjson {
        check_isolation(body, accepted, rejected);
    }
}

fn answer(format: Format, body: &[u8]) -> Answer<'_> {
    let mut context = Context {
        tenant: "default",
        received_at: NOW,
        idempotency_key: None,
        anonymous: AnonymousId::Random(&mut || [7; 16]),
        bounds: BOUNDS,
        events_max: EVENTS_MAX,
    };
    let mut accepted = Vec::new();
    let rejected = decode(format, body, &mut context, &mut |index, event| accepted.push((index, event)))?;
    Ok((accepted, rejected))
}

/// Each event of the body is answered once, in order.
fn check_indices(accepted: &[(u32, ViewEvent<'_>)], rejected: &[Rejection]) {
    assert!(accepted.is_sorted_by(|left, right| left.0 < right.0));
    assert!(rejected.is_sorted_by(|left, right| left.index < right.index));
    let indices: HashSet<_> =
        accepted.iter().map(|(index, _)| *index).chain(rejected.iter().map(|r| r.index)).collect();
    let events = accepted.len() + rejected.len();
    assert!((1..=EVENTS_MAX).contains(&events));
    assert!(indices.len() == events && indices.iter().all(|index| (*index as usize) < events));
}

/// What is accepted keeps every bound of its columns.
fn check_event(event: &ViewEvent<'_>) {
    assert!((NOW - BOUNDS.past_max..=NOW + BOUNDS.future_max).contains(&event.event_time));
    assert!(event.session_id.as_ref().is_none_or(|session| !session.is_empty()));
    let columns: HashSet<_> = event.fields.iter().map(|(column, _)| column).collect();
    assert_eq!(columns.len(), event.fields.len(), "each column once");
    for (column, value) in &event.fields {
        assert!(column.spec().origin == Origin::Client || *column == Column::EVENT_TIME_RAW);
        let fits = match (column.kind(), value) {
            (Kind::Text { bytes_max } | Kind::Dictionary { bytes_max }, Value::Text(text)) => text.len() <= bytes_max,
            (Kind::Int16, Value::Int(value)) => i16::try_from(*value).is_ok(),
            (Kind::Int32, Value::Int(value)) => i32::try_from(*value).is_ok(),
            (Kind::Int64, Value::Int(_)) | (Kind::Boolean, Value::Bool(_)) | (Kind::Time, Value::Time(_)) => true,
            (Kind::Float32, Value::Float(value)) => value.is_finite(),
            _ => false,
        };
        assert!(fits, "{}: {value:?}", column.name());
    }
    let keys: HashSet<_> = event.custom.iter().map(|(key, _)| key).collect();
    assert!(keys.len() == event.custom.len() && keys.len() <= CUSTOM_KEYS_MAX);
    assert!(keys.iter().all(|key| (1..=CUSTOM_KEY_BYTES_MAX).contains(&key.len()) && !key.starts_with('_')));
    assert!(event.custom.iter().all(|(_, value)| value.len() <= CUSTOM_VALUE_BYTES_MAX));
    assert!(event.custom.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= CUSTOM_BYTES_MAX);
}

/// A line means the same alone as among its neighbours.
fn check_isolation(body: &[u8], accepted: &[(u32, ViewEvent<'_>)], rejected: &[Rejection]) {
    // A mark belongs to the body, not to its first line: alone, a later line would lose one of its own.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let (mut accepted, mut rejected, mut index) = (accepted.iter(), rejected.iter(), 0);
    for line in body.split(|byte| *byte == b'\n') {
        let alone = match answer(Format::Ndjson, &[b"\n", line].concat()) {
            Err(MalformedBody::Empty) => continue,
            Err(other) => panic!("a line is never malformed: {other}"),
            Ok((events, reasons)) => (
                events.first().map(|(_, event)| format!("{event:?}")),
                reasons.first().map(|rejection| (rejection.event_id.clone(), rejection.reason.clone())),
            ),
        };
        let among = match alone.0 {
            Some(_) => accepted.next().map(|(at, event)| (*at, Some(format!("{event:?}")), None)),
            None => {
                rejected.next().map(|found| (found.index, None, Some((found.event_id.clone(), found.reason.clone()))))
            }
        };
        assert_eq!(among, Some((index, alone.0, alone.1)));
        index += 1;
    }
}
