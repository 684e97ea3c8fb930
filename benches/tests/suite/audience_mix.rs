//! The audience is what the model says, within what chance allows.
use crate::{START_MS, of_audience};
use benches::audience::{
    BAD, DUPLICATES, EXITS_BEFORE_START, LIVE_SHARE, REBUFFERING, START_FAILURES, TITLES, ZIPF_EXPONENT,
};
use benches::{Body, Format, Options};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use uuid::Uuid;

const NOWHERE: &str = "http://127.0.0.1:1";

/// A planned event as a collector would read it.
struct Planned {
    body: usize,
    id: Uuid,
    bad: bool,
    repeated: bool,
    text: String,
}

impl Planned {
    fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

fn events(bodies: &[Body]) -> Vec<Planned> {
    let mut events = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let lines: Vec<_> = std::str::from_utf8(&body.bytes).unwrap().lines().collect();
        assert_eq!(lines.len(), body.ids.len());
        for (position, line) in lines.into_iter().enumerate() {
            events.push(Planned {
                body: number,
                id: body.ids[position],
                bad: body.bad.contains(&(position as u32)),
                repeated: body.repeated.contains(&(position as u32)),
                text: line.to_owned(),
            });
        }
    }
    events
}

fn planned(options: &Options) -> Vec<Body> {
    benches::bodies(options).unwrap().collect()
}

/// Forty minutes of an audience, in real time: about 20,000 events.
fn an_evening() -> Options {
    Options { duration: Duration::from_secs(2_400), speed: 1.0, ..of_audience(NOWHERE, 150, 50) }
}

/// Within five standard deviations of a share.
fn about(count: usize, of: usize, share: f64) -> bool {
    let expected = of as f64 * share;
    (count as f64 - expected).abs() <= 5.0 * (expected * (1.0 - share)).sqrt() + 1.0
}

#[test]
fn duplicates_and_bad_events_are_as_many_as_planned_and_the_rest_is_valid_and_distinct() {
    let bodies = planned(&Options { duration: Duration::from_secs(4_800), ..an_evening() });
    let events = events(&bodies);
    let copies = bodies.iter().map(|body| body.duplicates as usize).sum::<usize>();
    let bad = events.iter().filter(|event| event.bad).count();
    assert!(events.len() > 20_000, "{}", events.len());
    assert!(about(copies, events.len(), DUPLICATES), "{copies} copies of {}", events.len());
    assert!(about(bad, events.len(), BAD), "{bad} bad of {}", events.len());
    let mut seen: HashMap<Uuid, (usize, String)> = HashMap::new();
    let mut again = 0;
    for event in events.iter().filter(|event| !event.bad) {
        let value = event.value();
        assert_eq!(value["event_id"], event.id.to_string());
        assert!(value["event_type"].is_string() && !value["event_time"].is_null(), "{}", event.text);
        assert!(value["session_id"].is_string() && value["content_id"].is_string());
        if let Some((body, text)) = seen.insert(event.id, (event.body, event.text.clone())) {
            assert!(body < event.body, "a copy is in another, later body");
            assert_eq!(text, event.text, "and the same to the byte");
            assert!(event.repeated);
            again += 1;
        }
    }
    assert_eq!(again, copies);
}

#[test]
fn bad_events_are_refused_by_their_type_or_time_or_kind() {
    let options = Options { duration: Duration::from_secs(20), ..of_audience(NOWHERE, 5_000, 100) };
    let mut kinds = HashSet::new();
    for event in events(&planned(&options)).iter().filter(|event| event.bad) {
        let Ok(value) = serde_json::from_str::<Value>(&event.text) else {
            kinds.insert("not json");
            continue;
        };
        let week_ahead =
            value["event_time"].as_i64().is_some_and(|time| time > START_MS + 6 * 24 * 3_600_000 - 72 * 3_600_000);
        kinds.insert(match &value {
            value if value["event_type"].is_null() => "no type",
            value if value["event_type"].is_i64() => "type is a number",
            value if value["event_type"] == "teleport" => "type is unknown",
            value if value["event_time"].is_null() => "no time",
            value if value["event_time"] == "soon" => "time is no time",
            value if value["event_time"] == "0001-01-01T00:00:00Z" => "year one",
            value if value["playhead_ms"].is_string() => "number is text",
            _ if week_ahead => "next week",
            value => panic!("nothing is wrong with {value}"),
        });
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[test]
fn an_array_has_no_event_that_spoils_its_neighbours() {
    let mut options = of_audience(NOWHERE, 800, 100);
    options.target.format = Format::Json;
    let (mut arrays, mut envelopes) = (0, 0);
    for body in planned(&options) {
        let events = match serde_json::from_slice(&body.bytes).unwrap() {
            Value::Array(events) => {
                arrays += 1;
                events
            }
            Value::Object(mut envelope) => {
                envelopes += 1;
                assert!(envelope["sent_at"].as_i64().unwrap() >= START_MS);
                assert_eq!(envelope.len(), 2);
                envelope["events"].take().as_array().unwrap().clone()
            }
            other => panic!("{other}"),
        };
        assert_eq!(events.len(), body.ids.len());
    }
    assert!(about(envelopes, arrays + envelopes, 0.25), "{envelopes} envelopes, {arrays} arrays");
}

/// Sessions with their events in the order sent, without copies and bad ones.
fn sessions(events: &[Planned]) -> HashMap<String, Vec<Value>> {
    let mut seen = HashSet::new();
    let mut sessions: HashMap<String, Vec<Value>> = HashMap::new();
    for event in events.iter().filter(|event| !event.bad) {
        if seen.insert(event.id) {
            let value = event.value();
            sessions.entry(value["session_id"].as_str().unwrap().to_owned()).or_default().push(value);
        }
    }
    sessions
}

fn time_ms(event: &Value) -> i64 {
    match &event["event_time"] {
        Value::String(text) => chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis(),
        number => number.as_i64().unwrap(),
    }
}

fn types(session: &[Value]) -> Vec<&str> {
    session.iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

#[test]
fn a_session_goes_from_play_to_its_end_in_order() {
    let sessions = sessions(&events(&planned(&an_evening())));
    assert!(sessions.len() > 300, "{}", sessions.len());
    let mut complete = 0;
    for session in sessions.values() {
        let types = types(session);
        assert_eq!(types[0], "play");
        assert_eq!(types.iter().filter(|&&event_type| event_type == "play").count(), 1);
        let seqs: Vec<_> = session.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (1..=session.len() as i64).collect::<Vec<_>>());
        assert!(session.is_sorted_by_key(time_ms), "its clock does not jump");
        if let Some(second) = types.get(1) {
            assert!(["playing", "error", "stop"].contains(second), "{types:?}");
        }
        let fatal = |event: &Value| event["error_fatal"] == true;
        for (at, event) in session.iter().enumerate() {
            let last = ["ended", "stop"].contains(&event["event_type"].as_str().unwrap()) || fatal(event);
            assert!(!last || at + 1 == session.len(), "nothing comes after the end: {types:?}");
        }
        for pair in types.windows(2) {
            assert!(pair[0] != "rebuffer_start" || ["rebuffer_end", "heartbeat"].contains(&pair[1]), "{types:?}");
            assert!(pair[1] != "resume" || ["pause", "heartbeat"].contains(&pair[0]), "{types:?}");
            assert!(pair[1] != "seeked" || ["seek", "heartbeat"].contains(&pair[0]), "{types:?}");
        }
        if types.last() == Some(&"ended") {
            complete += 1;
            let last = session.last().unwrap();
            assert_eq!(last["playhead_ms"], last["content_duration_ms"]);
        }
    }
    assert!(complete > 3, "{complete} sessions were watched to the end");
}

#[test]
fn sessions_fail_rebuffer_and_are_left_as_often_as_the_model_says() {
    let options = Options { duration: Duration::from_secs(20), speed: 60.0, ..of_audience(NOWHERE, 400, 100) };
    let sessions = sessions(&events(&planned(&options)));
    // Those that had the time to show what they are.
    let all: Vec<_> =
        sessions.values().filter(|session| session.len() > 1 || !recent(&session[0])).map(|s| types(s)).collect();
    let failed = all.iter().filter(|types| types.get(1) == Some(&"error")).count();
    let left = all.iter().filter(|types| matches!(types.get(1), None | Some(&"stop"))).count();
    assert!(about(failed, all.len(), START_FAILURES), "{failed} of {} failed to start", all.len());
    assert!(about(left, all.len(), EXITS_BEFORE_START), "{left} of {} were left before the start", all.len());
    let started = all.iter().filter(|types| types.contains(&"playing")).count();
    let rebuffered = all.iter().filter(|types| types.contains(&"rebuffer_start")).count();
    // Some that would rebuffer were left, or the run was over, before they did.
    assert!(rebuffered > 0 && (rebuffered as f64) < started as f64 * REBUFFERING * 1.2, "{rebuffered} of {started}");
}

/// Whether it began in the last second of a run of twenty.
fn recent(event: &Value) -> bool {
    time_ms(event) > START_MS + 19_000 || event["sent_at"].is_string() || event["sent_at"].is_i64()
}

#[test]
fn half_of_the_audience_watches_live_and_the_rest_by_zipf() {
    // No longer than the kickoff takes: what counts are the choices.
    let options = Options { duration: Duration::from_secs(20), speed: 1.0, ..of_audience(NOWHERE, 20_000, 500) };
    let mut titles: HashMap<String, usize> = HashMap::new();
    let events = events(&planned(&options));
    for play in events.iter().filter(|event| !event.bad && event.text.contains("\"event_type\":\"play\"")) {
        *titles.entry(play.value()["content_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let sessions: usize = titles.values().sum();
    let live = titles.remove("live-final").unwrap();
    assert!(about(live, sessions, LIVE_SHARE), "{live} of {sessions} live");
    let weight = |rank: u32| f64::from(rank).powf(-ZIPF_EXPONENT);
    let (head, all): (f64, f64) = ((1..=100).map(weight).sum(), (1..=TITLES).map(weight).sum());
    let watched = |rank: u32| titles.get(&format!("title-{rank:06}")).copied().unwrap_or(0);
    let in_head: usize = (1..=100).map(watched).sum();
    assert!(about(in_head, sessions - live, head / all), "{in_head} of {} in the head", sessions - live);
    assert!(about(watched(1), sessions - live, weight(1) / all));
}

#[test]
fn everyone_who_watches_live_is_in_the_ad_break_within_two_seconds() {
    // Real time, so that two seconds are two seconds: the break is in the middle of the run.
    let options = Options { duration: Duration::from_secs(600), speed: 1.0, ..of_audience(NOWHERE, 500, 1) };
    let bodies = planned(&options);
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for body in bodies.iter().filter(|body| body.bad.is_empty() && body.duplicates == 0) {
        let event: Value = serde_json::from_slice(&body.bytes).unwrap();
        match event["event_type"].as_str().unwrap() {
            "ad_start" => starts.push(body.due),
            "ad_end" => ends.push(body.due),
            _ => continue,
        }
        assert_eq!(event["content_id"], "live-final");
        assert!(event["ad_id"].is_string() && event["ad_break_id"].is_string());
    }
    assert!(starts.len() > 150, "{}", starts.len());
    assert!(ends.len() > 130, "{}", ends.len());
    let within = |times: &[Duration]| *times.iter().max().unwrap() - *times.iter().min().unwrap();
    assert!(within(&starts) <= Duration::from_secs(2) && within(&ends) <= Duration::from_secs(2));
    assert!(*starts.iter().min().unwrap() >= Duration::from_secs(300));
}

#[test]
fn the_audience_comes_at_kickoff_and_stays_as_large() {
    let options = Options { duration: Duration::from_secs(1_200), speed: 1.0, ..of_audience(NOWHERE, 300, 1) };
    let mut heartbeats = [0usize; 20];
    let mut first_plays = HashSet::new();
    let mut kickoff = 0;
    for body in planned(&options).iter().filter(|body| body.bad.is_empty() && body.duplicates == 0) {
        let event: Value = serde_json::from_slice(&body.bytes).unwrap();
        if event["event_type"] == "heartbeat" {
            heartbeats[(body.due.as_secs() / 60) as usize % 20] += 1;
        }
        if event["event_type"] == "play" && first_plays.insert(event["viewer_id"].to_string()) {
            kickoff += usize::from(body.due <= Duration::from_secs(180));
        }
    }
    assert_eq!((first_plays.len(), kickoff), (300, 300), "all come within three minutes");
    // 300 viewers: 30% each 10 s, 60% each 30 s, 10% each 60 s are 930 heartbeats a minute.
    for (minute, &count) in heartbeats.iter().enumerate().skip(5) {
        assert!((650..=1000).contains(&count), "minute {minute}: {count}");
    }
}

#[test]
fn some_events_are_late_and_some_clocks_are_wrong_but_none_is_out_of_bounds() {
    let options = of_audience(NOWHERE, 1_500, 100);
    let bodies = planned(&options);
    let (mut late, mut told, mut all) = (0, 0, 0);
    for body in &bodies {
        let due_ms = START_MS + body.due.as_millis() as i64;
        for (position, line) in std::str::from_utf8(&body.bytes).unwrap().lines().enumerate() {
            if body.bad.contains(&(position as u32)) {
                continue;
            }
            let event: Value = serde_json::from_str(line).unwrap();
            let sent_at = match &event["sent_at"] {
                Value::Null => None,
                Value::String(text) => Some(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()),
                number => number.as_i64(),
            };
            let skew_ms = sent_at.map_or(0, |sent_at| due_ms - sent_at);
            let age_ms = due_ms - (time_ms(&event) + skew_ms);
            assert!(age_ms < 73 * 3_600_000 && age_ms > -60_000, "{age_ms} ms old, skew {skew_ms}");
            all += 1;
            late += usize::from(age_ms > 30_000);
            told += usize::from(sent_at.is_some());
        }
    }
    assert!(late * 100 > all && late * 100 < all * 10, "{late} of {all} are more than half a minute late");
    assert!(told * 100 > all * 25 && told * 100 < all * 36, "{told} of {all} say when they were sent");
}
