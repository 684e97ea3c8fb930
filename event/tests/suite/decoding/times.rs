//! Skew and bounds, through whole bodies.
use super::{BOUNDS, NOW, Request, SECOND, one, refused};
use event::clock::Micros;
use event::decode::Format;
use event::schema::Column;
use event::view_event::Value;

fn at(event_time: &str, sent_at: Option<Micros>) -> String {
    let sent_at = sent_at.map(|sent_at| format!(",\"sent_at\":{}", sent_at / 1_000)).unwrap_or_default();
    format!("{{\"event_type\":\"stop\",\"event_time\":{event_time}{sent_at}}}")
}

#[test]
fn a_clock_an_hour_slow_is_corrected_and_its_time_kept() {
    let slow = NOW - 3_600 * SECOND;
    let body = at(&((slow - 2 * SECOND) / 1_000).to_string(), Some(slow));
    let event = one(&body);
    assert_eq!(event.event_time, NOW - 2 * SECOND);
    assert_eq!(event.field(Column::EVENT_TIME_RAW), Some(&Value::Time(slow - 2 * SECOND)));
    assert_eq!(event.field(Column::SENT_AT), Some(&Value::Time(slow)));
}

#[test]
fn latency_does_not_shift_an_event() {
    let body = at(&(NOW / 1_000).to_string(), Some(NOW - BOUNDS.skew_min));
    let event = one(&body);
    assert_eq!((event.event_time, event.field(Column::EVENT_TIME_RAW)), (NOW, None));
}

#[test]
fn a_fast_clock_is_no_reason_to_refuse() {
    let fast = NOW + 90 * 86_400 * SECOND;
    assert!(refused(&at(&(fast / 1_000).to_string(), None)).reason.contains("90 days ahead"));
    assert_eq!(one(&at(&(fast / 1_000).to_string(), Some(fast))).event_time, NOW);
}

#[test]
fn the_first_and_the_last_year_are_refused_in_words() {
    for time in ["\"0001-01-01T00:00:00Z\"", "\"9999-12-31T23:59:60Z\"", "\"9999-12-31T23:59:59Z\"", "0", "1e17"] {
        for sent_at in [None, Some(NOW)] {
            let reason = refused(&at(time, sent_at)).reason;
            assert!(reason.starts_with("event_time: "), "{time}: {reason}");
        }
    }
}

#[test]
fn a_clock_that_starts_at_1970_is_corrected() {
    assert_eq!(one(&at("1000", Some(3 * SECOND))).event_time, NOW - 2 * SECOND);
}

#[test]
fn bounds_at_their_ends_do_not_overflow() {
    let mut request = Request::default();
    for received_at in [Micros::MIN, 0, Micros::MAX] {
        for most in [0, Micros::MAX] {
            request.received_at = received_at;
            request.bounds = event::decode::TimeBounds { past_max: most, future_max: most, skew_min: most };
            for time in ["\"0001-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59Z\""] {
                let body = at(time, Some(0));
                let (accepted, rejected) = request.decode(Format::Json, body.as_bytes()).unwrap();
                assert_eq!(accepted.len() + rejected.len(), 1);
            }
        }
    }
}
