//! What a body may look like.
use super::{BITS, BOUNDS, EVENTS_MAX, GOOD, NOW, Request, good_with, json, ndjson, one};
use event::decode::{Format, MalformedBody};
use event::schema::Column;
use event::view_event::Value;

fn syntax(body: &str) -> String {
    match json(body) {
        Err(MalformedBody::Syntax(problem)) => problem,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn an_object_an_array_an_envelope_and_lines_say_the_same() {
    let event = good_with(r#""cdn":"a""#);
    let alone = one(&event);
    for body in [format!("[{event}]"), format!("{{\"events\":[{event}]}}"), format!("\u{feff} {event}\n")] {
        assert_eq!(one(&body), alone, "{body}");
    }
    let lines = format!("{event}\r\n\r\n{event}");
    let (accepted, rejected) = ndjson(lines.as_bytes());
    assert_eq!(accepted, [(0, alone.clone()), (1, alone)]);
    assert!(rejected.is_empty());
}

#[test]
fn a_body_without_events_is_empty() {
    for body in ["", " \r\n", "[]", r#"{"events":[]}"#, "\u{feff}"] {
        assert_eq!(json(body), Err(MalformedBody::Empty), "{body:?}");
    }
    assert_eq!(Request::default().decode(Format::Ndjson, b"\n\r\n"), Err(MalformedBody::Empty));
}

#[test]
fn what_is_not_json_says_where_it_breaks() {
    assert!(syntax("[{},\n{\"a\":}]").ends_with("at line 2 column 6"), "{}", syntax("[{},\n{\"a\":}]"));
    for body in ["[{}", "[{},]", "{\"a\":1}}", "[{}] x", "{\"events\":[{}]", "[NaN]"] {
        assert!(syntax(body).contains(" at line 1 column "), "{body}: {}", syntax(body));
    }
    for body in ["17", "\"text\"", "null", "hello"] {
        assert!(syntax(body).starts_with("expected an event, an array of events, or"), "{body}");
    }
}

#[test]
fn an_envelope_has_two_keys() {
    assert!(syntax(r#"{"events":[{}],"batch":1}"#).contains("\"batch\""));
    assert!(syntax(r#"{"events":{}}"#).contains("events: expected an array of events, got {}"));
    assert!(syntax(r#"{"events":null}"#).contains("events: expected an array of events, got null"));
    assert!(syntax(r#"{"events":[{}],"sent_at":"yesterday"}"#).contains("sent_at: expected an RFC 3339 time"));
    assert!(syntax(r#"{"events":[{}],"events":[]}"#).contains("given twice"));
    let null = format!("{{\"sent_at\":null,\"events\":[{{{GOOD}}}]}}");
    assert_eq!(one(&null).field(Column::SENT_AT), None);
}

#[test]
fn the_envelope_says_when_its_events_were_sent_unless_they_do() {
    let body = format!(
        "{{\"events\":[{{{GOOD}}},{{{GOOD},\"sent_at\":{}}}],\"sent_at\":{}}}",
        NOW / 1_000 - 2,
        NOW / 1_000 - 1
    );
    let (accepted, _) = json(&body).unwrap();
    let sent: Vec<_> = accepted.iter().map(|(_, event)| event.field(Column::SENT_AT).cloned()).collect();
    assert_eq!(sent, [Some(Value::Time(NOW - 1_000)), Some(Value::Time(NOW - 2_000))]);
    assert_eq!(accepted[0].1.event_id, accepted[1].1.event_id, "sent_at is no part of what an event is");
}

#[test]
fn the_number_of_events_is_bounded() {
    let event = good_with("");
    let most = vec![event.as_str(); EVENTS_MAX];
    assert_eq!(json(&format!("[{}]", most.join(","))).unwrap().0.len(), EVENTS_MAX);
    let over = vec![event.as_str(); EVENTS_MAX + 1];
    let too_many = Err(MalformedBody::TooManyEvents(EVENTS_MAX));
    assert_eq!(json(&format!("[{}]", over.join(","))), too_many);
    assert_eq!(Request::default().decode(Format::Ndjson, over.join("\n").as_bytes()), too_many);
}

#[test]
fn the_label_decides_where_it_says_lines_else_the_body() {
    let pretty = b"{\n  \"events\": [\n {\"a\": 1}\n ]\n}";
    let lines = b"\xef\xbb\xbf{\"a\":1}\r\n{\"b\":2}\n";
    for label in [None, Some("text/plain"), Some("application/json; charset=utf-8"), Some("")] {
        assert_eq!(Format::detect(label, pretty), Format::Json, "{label:?}");
        assert_eq!(Format::detect(label, lines), Format::Ndjson, "{label:?}");
        assert_eq!(Format::detect(label, b"{\"a\":1}\n\n"), Format::Json, "{label:?}");
        assert_eq!(Format::detect(label, b"[{\"a\":1},\n{\"b\":1}]"), Format::Json, "{label:?}");
        assert_eq!(Format::detect(label, b""), Format::Json, "{label:?}");
    }
    for label in ["application/x-ndjson", "Application/NDJSON; charset=utf-8", "application/jsonl"] {
        assert_eq!(Format::detect(Some(label), pretty), Format::Ndjson, "{label}");
    }
    let envelope = b"{\"events\":[{\"a\":1}\n,{\"b\":2}]}";
    assert_eq!(Format::detect(None, envelope), Format::Json, "the first line is only a part of an object");
}

#[test]
fn an_array_in_a_line_is_no_event() {
    let (accepted, rejected) = ndjson(b"[{}]\n17\n{\"a\":1");
    assert!(accepted.is_empty());
    let reasons: Vec<_> = rejected.iter().map(|rejection| rejection.reason.as_str()).collect();
    assert_eq!(reasons[..2], ["expected a JSON object, got [{}]", "expected a JSON object, got 17"]);
    assert!(reasons[2].starts_with("not valid JSON: EOF while parsing an object at column "), "{}", reasons[2]);
}

#[test]
fn a_record_of_others_takes_its_ids_from_its_place() {
    let body = br#"{"event_type":"stop","event_time":1795298871000}"#;
    let lines = [body.as_slice(), b"\n", body.as_slice()].concat();
    let ids = |offset| {
        let mut context = event::decode::Context {
            tenant: "default",
            received_at: NOW,
            idempotency_key: None,
            anonymous: event::decode::AnonymousId::Place { topic: "events", partition: 3, offset },
            bounds: BOUNDS,
            events_max: 9,
        };
        let mut ids = Vec::new();
        let rejected =
            event::decode::decode(Format::Ndjson, &lines, &mut context, &mut |_, event| ids.push(event.event_id));
        assert_eq!(rejected, Ok(Vec::new()));
        ids
    };
    let expected = [event::identity::of_place("events", 3, 17, 0), event::identity::of_place("events", 3, 17, 1)];
    assert_eq!(ids(17), expected);
    assert_ne!(ids(18), expected);
    let at_the_edge = one(r#"{"event_type":"stop","event_time":1795298871000}"#).event_id;
    assert_eq!(at_the_edge, event::identity::random(BITS));
}
