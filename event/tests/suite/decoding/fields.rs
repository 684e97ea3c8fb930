//! Each column takes its kind and nothing else; each refusal names the field.
use super::{GOOD, good_with, json, one, refused};
use event::decode::vocabulary::EVENT_TYPES;
use event::limits::{
    CUSTOM_BYTES_MAX, CUSTOM_KEY_BYTES_MAX, CUSTOM_KEYS_MAX, CUSTOM_VALUE_BYTES_MAX, EVENT_BYTES_MAX,
    EVENT_ID_BYTES_MAX, REASON_BYTES_MAX,
};
use event::schema::{Column, Kind, Origin};
use event::view_event::Value;
use proptest::prelude::*;

/// The smallest valid event, with `column` set to the JSON text `raw` (in the place of its own where it has one).
fn with(column: Column, raw: &str) -> String {
    let own = [("event_type", "\"heartbeat\""), ("event_time", "1795298871000"), ("session_id", "\"s-1\"")];
    let others = own.iter().filter(|(name, _)| *name != column.name());
    let members: Vec<_> = others.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{},\"{}\":{raw}}}", members.join(","), column.name())
}

/// JSON texts of the wrong type, or out of range, for a column of this kind.
fn wrong(column: Column) -> Vec<String> {
    let mut wrong = vec!["[1]".to_owned(), "{\"a\":1}".to_owned(), "true".to_owned(), "1.5".to_owned()];
    match column.kind() {
        Kind::Text { bytes_max } | Kind::Dictionary { bytes_max } => {
            wrong.push(format!("\"{}\"", "x".repeat(bytes_max + 1)));
            wrong.push(r#""half \ud800 pair""#.to_owned());
        }
        Kind::EventId => wrong.push(format!("\"{}\"", "x".repeat(EVENT_ID_BYTES_MAX + 1))),
        Kind::Int16 => wrong.extend(["32768", "-32769", "\"1\"", "1e5"].map(String::from)),
        Kind::Int32 => wrong.extend(["2147483648", "-2147483649", "\"1\"", "1e10"].map(String::from)),
        Kind::Int64 => wrong.extend(["9223372036854775808", "\"1\"", "1e19"].map(String::from)),
        Kind::Float32 => {
            wrong.retain(|raw| raw != "1.5");
            wrong.extend(["1e39", "\"1\"", "-1e999"].map(String::from));
        }
        Kind::Boolean => {
            wrong.retain(|raw| raw != "true");
            wrong.extend(["1", "0", "\"true\""].map(String::from));
        }
        Kind::Time => {
            wrong.retain(|raw| raw != "1.5");
            wrong.extend(["\"now\"", "1e300", "\"2026-11-22T00:00:00\""].map(String::from));
        }
        Kind::Custom => {
            wrong.retain(|raw| !raw.starts_with('{'));
            wrong.push("\"text\"".to_owned());
        }
    }
    wrong
}

fn of_clients() -> impl Iterator<Item = Column> {
    Column::all().filter(|column| column.spec().origin == Origin::Client)
}

#[test]
fn a_wrong_type_in_any_column_is_refused_by_the_columns_name() {
    for column in of_clients() {
        for raw in wrong(column) {
            let reason = refused(&with(column, &raw)).reason;
            assert!(reason.starts_with(&format!("{}: ", column.name())), "{} = {raw}: {reason}", column.name());
            assert!(reason.contains("expected "), "{reason}");
        }
    }
}

#[test]
fn a_refused_event_is_named_by_its_id_wherever_that_stands() {
    for body in [r#"{"seq":"x","event_id":"e-1"}"#, r#"{"event_id":"e-1","seq":"x"}"#, r#"{"event_id":"e-1"}"#] {
        assert_eq!(refused(body).event_id.as_deref(), Some("e-1"), "{body}");
    }
    assert_eq!(refused(r#"{"event_id":17}"#).event_id.as_deref(), Some("17"));
    assert_eq!(refused(r#"{"event_id":{}}"#).event_id, None);
}

#[test]
fn every_column_takes_a_value_of_its_kind() {
    for column in of_clients() {
        let (raw, value) = match column.kind() {
            Kind::Text { .. } | Kind::Dictionary { .. } => ("\"play \\u00e9\"", Value::Text("play \u{e9}".into())),
            Kind::Int16 | Kind::Int32 | Kind::Int64 => ("-12.0", Value::Int(-12)),
            Kind::Float32 => ("1.25", Value::Float(1.25)),
            Kind::Boolean => ("true", Value::Bool(true)),
            Kind::Time => ("1795298870999", Value::Time(1_795_298_870_999_000)),
            Kind::EventId | Kind::Custom => continue,
        };
        if matches!(column, Column::EVENT_TYPE | Column::EVENT_TIME | Column::SESSION_ID) {
            continue;
        }
        assert_eq!(one(&with(column, raw)).field(column), Some(&value), "{}", column.name());
    }
}

#[test]
fn null_is_the_same_as_leaving_it_out() {
    let good = good_with("");
    let without = one(&good).fields;
    for column in Column::all().filter(|column| !matches!(*column, Column::EVENT_TYPE | Column::EVENT_TIME)) {
        assert_eq!(one(&with(column, "null")).fields, without, "{}", column.name());
    }
    assert!(one(&good_with("\"unknown\":null")).custom.is_empty());
    assert!(refused(r#"{"event_type":null,"event_time":1795298871000}"#).reason.starts_with("event_type: missing"));
}

#[test]
fn what_is_required_is_named() {
    let reason = refused("{}").reason;
    assert!(reason.contains("event_type: missing") && reason.contains("event_time: missing"), "{reason}");
    let play = |more: &str| format!(r#"{{"event_type":"play","event_time":1795298871000{more}}}"#);
    assert!(refused(&play("")).reason.starts_with("content_id: missing"));
    assert!(refused(&play(r#","content_id":"""#)).reason.starts_with("content_id: missing"));
    one(&play(r#","content_id":7"#));
}

#[test]
fn event_types_are_published_or_a_clients_own() {
    for (name, _) in EVENT_TYPES {
        one(&with(Column::EVENT_TYPE, &format!("\"{name}\"")).replace('}', ",\"content_id\":\"c\"}"));
    }
    assert_eq!(one(&with(Column::EVENT_TYPE, "\"x-quiz\"")).event_type, "x-quiz");
    let reason = refused(&with(Column::EVENT_TYPE, "\"quiz\"")).reason;
    assert!(reason.contains("begins with x-, got \"quiz\""), "{reason}");
}

#[test]
fn what_is_ours_is_not_taken_from_clients() {
    for column in Column::all().filter(|column| column.spec().origin == Origin::Playhead) {
        let reason = refused(&with(column, "1")).reason;
        assert!(reason.starts_with(&format!("{}: set by Playhead", column.name())), "{reason}");
    }
    for name in ["_offset", "_row", "_x"] {
        assert!(refused(&good_with(&format!("\"{name}\":1"))).reason.starts_with(&format!("{name}: ")), "{name}");
    }
}

#[test]
fn a_key_given_twice_is_refused() {
    for (first, second) in [
        ("\"cdn\":\"a\"", "\"cdn\":\"a\""),
        ("\"cdn\":null", "\"cdn\":\"a\""),
        ("\"own\":1", "\"own\":1"),
        ("\"own\":null", "\"own\":2"),
        ("\"own\":1", "\"\\u006fwn\":1"),
        ("\"own\":1", "\"custom\":{\"own\":2}"),
        ("\"custom\":{}", "\"custom\":{}"),
        ("\"event_id\":\"a\"", "\"event_id\":\"b\""),
    ] {
        let reason = refused(&good_with(&format!("{first},{second}"))).reason;
        assert!(reason.contains(": given twice"), "{first}, {second}: {reason}");
    }
}

#[test]
fn an_empty_id_is_none_that_was_meant() {
    for name in ["event_id", "session_id"] {
        let column = Column::by_name(name).unwrap();
        assert_eq!(refused(&with(column, "\"\"")).reason, format!("{name}: must not be empty: leave the key out"));
    }
}

#[test]
fn unknown_keys_are_kept_as_strings() {
    let event = good_with(r#""a":"x","b":1.50,"c":true,"d":{ "e" : [ 1, " " ] },"custom":{"f":"y","cdn":"z"}"#);
    let expected = [("a", "x"), ("b", "1.50"), ("c", "true"), ("d", r#"{"e":[1," "]}"#), ("f", "y"), ("cdn", "z")];
    assert_eq!(one(&event).custom, expected.map(|(key, value)| (key.into(), value.into())));
}

#[test]
fn unknown_keys_are_bounded_in_every_way() {
    let keys = |count: usize| (0..count).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(",");
    assert_eq!(one(&good_with(&keys(CUSTOM_KEYS_MAX))).custom.len(), CUSTOM_KEYS_MAX);
    let pair = |key: usize, value: usize| format!("\"{}\":\"{}\"", "k".repeat(key), "v".repeat(value));
    one(&good_with(&pair(CUSTOM_KEY_BYTES_MAX, CUSTOM_VALUE_BYTES_MAX)));
    let bytes = (1..=CUSTOM_BYTES_MAX / CUSTOM_VALUE_BYTES_MAX).map(|key| pair(key, CUSTOM_VALUE_BYTES_MAX));
    let deep = |levels: usize| format!("\"k\":{}{}", "[".repeat(levels), "]".repeat(levels));
    for (members, reason) in [
        (keys(CUSTOM_KEYS_MAX + 1), "more than 64 keys that have no column"),
        (keys(500), "keys"),
        (format!("\"custom\":{{{}}}", keys(500)), "custom: more than 64 keys"),
        (pair(CUSTOM_KEY_BYTES_MAX + 1, 1), "expected a key of at most 64 bytes, got 65"),
        (pair(1, CUSTOM_VALUE_BYTES_MAX + 1), "k: expected a value of at most 2048 bytes, got 2049 bytes"),
        (bytes.collect::<Vec<_>>().join(","), "custom keys and values pass 16384 bytes"),
        (deep(9), "k: expected at most 8 levels of nesting, got 9"),
        (deep(20_000), "k: expected at most 8 levels of nesting, got 20000"),
        ("\"\":1".to_owned(), "a key must not be empty"),
        (r#""\udc00":1"#.to_owned(), r#"key "\udc00": expected Unicode text"#),
        (r#""k":"\udc00""#.to_owned(), "k: expected Unicode text"),
    ] {
        let got = refused(&good_with(&members)).reason;
        assert!(got.contains(reason), "{reason}: {got}");
    }
}

#[test]
fn an_event_is_bounded_as_a_whole() {
    let blank = |bytes: usize| format!("{{{}{GOOD}}}", " ".repeat(bytes - GOOD.len() - 2));
    one(&blank(EVENT_BYTES_MAX));
    let reason = refused(&blank(EVENT_BYTES_MAX + 1)).reason;
    assert_eq!(reason, "expected an event of at most 65536 bytes of JSON, got 65537");
}

#[test]
fn a_hundred_thousand_brackets_cost_no_stack() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let objects = "{\"a\":".repeat(100_000);
    for body in [format!("[{open}{close}]"), format!("[{{\"a\":{open}{close}}}]")] {
        assert_eq!(json(&body).unwrap().1.len(), 1);
    }
    for body in [open.as_str(), objects.as_str()] {
        assert!(json(body).is_err());
        assert_eq!(super::ndjson(body.as_bytes()).1.len(), 1);
    }
}

proptest! {
    #[test]
    fn reasons_are_bounded(keys in prop::collection::vec("[\\PC\u{1}\u{7f}\u{85}]{0,80}", 0..8), value in "\\PC{0,80}") {
        let object = |key: &String| format!("{}:{}", serde_json::json!(key), serde_json::json!(value));
        let mut members: Vec<_> = keys.iter().map(object).collect();
        members.extend(keys.iter().map(|key| format!("{}:[[[[[[[[[1]]]]]]]]]", serde_json::json!(key))));
        members.push("\"event_type\":\"\\u0085\"".to_owned());
        for rejection in json(&format!("[{{{}}}]", members.join(","))).unwrap().1 {
            prop_assert!(rejection.reason.len() <= REASON_BYTES_MAX);
        }
    }
}
