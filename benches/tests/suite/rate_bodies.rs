//! Bodies of rate mode.
use crate::{START_MS, at_rate};
use benches::{Body, Format, Options};
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

const NOWHERE: &str = "http://127.0.0.1:1";

fn planned(options: &Options) -> Vec<Body> {
    benches::bodies(options).unwrap().collect()
}

#[test]
fn events_are_valid_distinct_of_twenty_fields_and_about_480_bytes() {
    let options = at_rate(NOWHERE, 10_000.0, 100);
    let bodies = planned(&options);
    let mut ids = HashSet::new();
    let mut bytes = 0;
    for body in &bodies {
        for (line, id) in std::str::from_utf8(&body.bytes).unwrap().lines().zip(&body.ids) {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event.as_object().unwrap().len(), 20);
            assert_eq!(event["event_id"], id.to_string());
            let time_ms = event["event_time"].as_i64().unwrap();
            let due_ms = body.due.as_millis() as i64;
            assert!((START_MS..=START_MS + due_ms).contains(&time_ms), "an event is sent when it has happened");
            assert!(event["event_type"].is_string() && event["session_id"].is_string());
            assert!(event["seq"].is_i64() && event["playhead_ms"].is_i64() && event["buffer_ms"].is_i64());
            assert!(ids.insert(*id));
            bytes += line.len();
        }
    }
    assert_eq!(ids.len(), 10_000);
    let mean = bytes / ids.len();
    assert!((460..=500).contains(&mean), "{mean} bytes an event");
    let sessions: HashSet<_> = bodies
        .iter()
        .flat_map(|body| std::str::from_utf8(&body.bytes).unwrap().lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["session_id"].to_string())
        .collect();
    assert_eq!(sessions.len(), 4096);
}

#[test]
fn an_array_holds_the_same_events_as_lines_do() {
    let lines = at_rate(NOWHERE, 1_000.0, 30);
    let mut array = lines.clone();
    array.target.format = Format::Json;
    for (lines, array) in planned(&lines).iter().zip(planned(&array)) {
        let events: Vec<Value> = serde_json::from_slice(&array.bytes).unwrap();
        let text = std::str::from_utf8(&lines.bytes).unwrap();
        assert_eq!(events, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>());
    }
}

#[test]
fn the_time_holds_as_many_events_as_the_rate_says_and_the_last_body_may_be_smaller() {
    for (rate, batch, seconds, events) in [(1000.0, 300, 1, 1000), (0.5, 10, 4, 2), (7.0, 1, 3, 21)] {
        let options = Options { duration: Duration::from_secs(seconds), ..at_rate(NOWHERE, rate, batch) };
        let bodies = planned(&options);
        assert_eq!(bodies.iter().map(Body::events).sum::<u64>(), events);
        assert!(bodies.is_sorted_by_key(|body| body.due));
        assert!(bodies.iter().all(|body| body.due <= options.duration && body.ids.len() <= batch));
    }
}
