//! A bad event never fails or changes its neighbours, whatever it is.
use super::{Request, json, ndjson};
use event::decode::{Format, Rejection};
use event::schema::{Column, Kind, Origin};
use event::view_event::ViewEvent;
use proptest::prelude::*;
use serde_json::json;

/// A valid event's object, any columns, any custom keys.
fn valid() -> impl Strategy<Value = serde_json::Value> {
    let columns = prop::collection::vec((any::<prop::sample::Index>(), any::<i16>(), "\\PC{0,4}"), 0..12);
    let custom = prop::collection::btree_map("[a-z]{1,8}\\PC{0,2}", ("\\PC{0,9}", any::<f64>()), 0..5);
    let id = prop::option::of("[a-z0-9]{1,9}");
    (columns, custom, id, "[a-z0-9-]{1,16}").prop_map(|(columns, custom, id, session)| {
        let mut event = json!({ "event_type": "x-test", "event_time": 1_795_298_871_000_i64, "session_id": session });
        let free: Vec<_> = Column::all().filter(|column| column.spec().origin == Origin::Client).collect();
        for (index, number, text) in columns {
            let column = index.get(&free);
            let value = match column.kind() {
                Kind::Text { .. } | Kind::Dictionary { .. } => json!(text),
                Kind::Int16 | Kind::Int32 | Kind::Int64 => json!(number),
                Kind::Float32 => json!(f32::from(number) / 8.0),
                Kind::Boolean => json!(number % 2 == 0),
                Kind::Time | Kind::EventId | Kind::Custom => continue,
            };
            if !matches!(*column, Column::EVENT_TYPE | Column::SESSION_ID) {
                event[column.name()] = value;
            }
        }
        for (key, (text, number)) in custom {
            if Column::by_name(&key).is_none() && key != "events" {
                event[key] = json!([text, number]);
            }
        }
        if let Some(id) = id {
            event["event_id"] = json!(id);
        }
        event
    })
}

/// Text that stands for a bad event: complete JSON, so that an array around it can be cut.
fn bad() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("17".to_owned()),
        Just("null".to_owned()),
        Just("\"{\"".to_owned()),
        Just(format!("{{\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000))),
        Just(r#"{"event_type":"stop","event_type":"stop"}"#.to_owned()),
        Just(r#"{"event_type":"stop","event_time":1795298871000,"cdn":"\ud800"}"#.to_owned()),
        Just(r#"{"event_type":"stop","event_time":1795298871000,"width":1e999}"#.to_owned()),
        Just(r#"{"event_type":"stop","event_time":1795298871000,"\ud800":1}"#.to_owned()),
        Just(format!(r#"{{"event_type":"stop","event_time":0,"x":"{}"}}"#, "y".repeat(100_000))),
        "\\PC{0,20}".prop_map(|text| json!([text]).to_string()),
        "\\PC{0,20}".prop_map(|text| json!({ "event_type": text }).to_string()),
    ]
}

type Taken<'a> = Vec<ViewEvent<'a>>;

fn split<'a>(outcome: super::Outcome<'a>) -> (Taken<'a>, Vec<Rejection>) {
    (outcome.0.into_iter().map(|(_, event)| event).collect(), outcome.1)
}

proptest! {
    #[test]
    fn every_valid_event_is_taken_whole(event in valid()) {
        let text = event.to_string();
        let (taken, rejected) = split(json(&text).unwrap());
        prop_assert_eq!(rejected, vec![]);
        let taken = &taken[0];
        let own = 3 + usize::from(event.get("event_id").is_some());
        prop_assert_eq!(taken.fields.len() + taken.custom.len() + own, event.as_object().unwrap().len());
        for (key, value) in &taken.custom {
            prop_assert_eq!(value.as_ref(), event[key.as_ref()].to_string());
        }
    }

    #[test]
    fn bad_neighbours_change_nothing(
        good in prop::collection::vec(valid(), 1..5), bad in bad(), at in any::<prop::sample::Index>(),
    ) {
        let good: Vec<_> = good.iter().map(serde_json::Value::to_string).collect();
        let alone = good.join("\n");
        let expected = split(ndjson(alone.as_bytes())).0;
        let at = at.index(good.len() + 1);
        let mut mixed: Vec<&str> = good.iter().map(String::as_str).collect();
        mixed.insert(at, &bad);
        let (array, lines) = (format!("[{}]", mixed.join(",")), mixed.join("\n"));
        let envelope = format!("{{\"events\":{array}}}");
        for (format, body) in [(Format::Json, &array), (Format::Json, &envelope), (Format::Ndjson, &lines)] {
            let (taken, rejected) = split(Request::default().decode(format, body.as_bytes()).unwrap());
            prop_assert_eq!(&taken, &expected);
            prop_assert_eq!(rejected.len(), 1);
            prop_assert_eq!(rejected[0].index as usize, at);
        }
    }

    #[test]
    fn a_line_of_any_bytes_changes_nothing(good in valid(), line in prop::collection::vec(any::<u8>(), 1..60)) {
        prop_assume!(!line.contains(&b'\n') && !line.iter().all(u8::is_ascii_whitespace));
        let good = good.to_string();
        let body = [good.as_bytes(), b"\n", &line, b"\r\n", good.as_bytes()].concat();
        let (taken, rejected) = split(ndjson(&body));
        prop_assert_eq!(rejected.len(), 1);
        prop_assert_eq!(rejected[0].index, 1);
        prop_assert_eq!(taken.len(), 2);
        prop_assert_eq!(&taken[0], &super::one(&good));
        prop_assert_eq!(&taken[0], &taken[1]);
    }

    #[test]
    fn any_bytes_at_all_are_answered(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Ndjson, Format::detect(None, &body)] {
            let _ = Request::default().decode(format, &body);
        }
    }
}

#[test]
fn a_body_cut_at_any_byte_is_answered() {
    let event = r#"{"event_type":"stop","event_time":"2026-11-21T22:07:51Z","event_id":"e","x":{"\u00e9":[1.5e3,"\ud83d\ude00é"]}}"#;
    let body = format!("{{\"sent_at\":1795298871000,\"events\":[{event},\n{event}]}}");
    for end in 0..body.len() {
        assert!(Request::default().decode(Format::Json, &body.as_bytes()[..end]).is_err(), "cut at {end}");
    }
    for end in 1..event.len() {
        let (accepted, rejected) = ndjson(&event.as_bytes()[..end]);
        assert_eq!((accepted.len(), rejected.len()), (0, 1), "cut at {end}");
    }
}

#[test]
fn invalid_utf8_in_one_event_is_that_events_alone() {
    let good = super::good_with("\"seq\":1");
    let bad = b"{\"event_id\":\"e-1\",\"cdn\":\"\xff\xfe\"}";
    let lines = [good.as_bytes(), b"\n", bad, b"\n", good.as_bytes()].concat();
    let array = [b"[", good.as_bytes(), b",", bad, b",", good.as_bytes(), b"]"].concat();
    for (format, body) in [(Format::Ndjson, lines), (Format::Json, array)] {
        let (taken, rejected) = split(Request::default().decode(format, &body).unwrap());
        assert_eq!(taken, [super::one(&good), super::one(&good)]);
        let reason = "not valid UTF-8 at byte 25 of the event".to_owned();
        assert_eq!(rejected, [Rejection { index: 1, event_id: Some("e-1".to_owned()), reason }]);
    }
}

#[test]
fn an_id_that_is_not_utf8_is_not_made_up() {
    let (_, rejected) = ndjson(b"{\"event_id\":\"e\xff1\"}");
    assert_eq!(rejected[0].event_id, None);
}
