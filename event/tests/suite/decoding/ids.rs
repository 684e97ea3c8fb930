//! Identity, through whole bodies.
use super::{GOOD, Request, good_with, json, one};
use event::decode::Format;
use event::identity;

fn ids(request: &Request<'_>, body: &str) -> Vec<[u8; 16]> {
    let (accepted, rejected) = request.decode(Format::Json, body.as_bytes()).unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    accepted.into_iter().map(|(_, event)| event.event_id).collect()
}

#[test]
fn a_given_id_is_the_id_in_every_shape() {
    let uuid = 0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8_u128.to_be_bytes();
    for (raw, id) in [
        (r#""67e55044-10b1-426f-9247-bb680e5fe0c8""#, uuid),
        (r#""67E5504410B1426F9247BB680E5FE0C8""#, uuid),
        (r#""urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8""#, uuid),
        (r#""{67e55044-10b1-426f-9247-bb680e5fe0c8}""#, uuid),
        (r#""\u00367e55044-10b1-426f-9247-bb680e5fe0c8""#, uuid),
        (r#""order-42""#, identity::given("default", "order-42")),
        ("42", identity::given("default", "42")),
        (r#""42""#, identity::given("default", "42")),
        ("-170141183460469231731687303715884105728", {
            identity::given("default", "-170141183460469231731687303715884105728")
        }),
    ] {
        assert_eq!(one(&good_with(&format!("\"event_id\":{raw}"))).event_id, id, "{raw}");
    }
}

#[test]
fn a_retry_in_another_batch_is_the_same_event() {
    let (a, b) = (good_with("\"seq\":1"), good_with("\"seq\":2"));
    let both = format!("[{a},{b}]");
    let together = json(&both).unwrap().0;
    let later = Request { received_at: super::NOW + 60 * super::SECOND, ..Request::default() };
    let regrouped = format!("{{\"sent_at\":1795298931000,\"events\":[{b}]}}");
    assert_eq!(ids(&later, &regrouped), [together[1].1.event_id]);
    assert_ne!(together[0].1.event_id, together[1].1.event_id);
}

#[test]
fn the_order_of_keys_white_space_and_nulls_do_not_make_another_event() {
    let event = one(r#"{"event_type":"stop","event_time":1795298871000,"session_id":"s","own":{"a":[1,2]}}"#);
    let other = r#"{ "own": { "a" : [1, 2] }, "session_id": "s", "cdn": null, "event_id": null,
        "event_time": 1795298871000, "sent_at": 1795298871001, "event_type": "st\u006fp" }"#;
    assert_eq!(one(other).event_id, event.event_id);
}

#[test]
fn each_field_is_part_of_what_an_event_is() {
    let event = one(&good_with("\"seq\":1,\"own\":\"a\"")).event_id;
    for other in ["\"seq\":2,\"own\":\"a\"", "\"seq\":1,\"own\":\"b\"", "\"seq\":1,\"owm\":\"a\"", "\"seq\":1"] {
        assert_ne!(one(&good_with(other)).event_id, event, "{other}");
    }
    let of_another = Request { tenant: "other", ..Request::default() };
    assert_ne!(ids(&of_another, &good_with("\"seq\":1,\"own\":\"a\"")), [event]);
}

#[test]
fn the_content_hash_is_as_published() {
    let body = r#"{"tags":["a b", 1],"session_id":"s\u00e9ance","event_type":"heartbeat","event_time":1795298871914}"#;
    let fields = [
        ("event_time", "1795298871914"),
        ("event_type", "heartbeat"),
        ("session_id", "s\u{e9}ance"),
        ("tags", r#"["a b",1]"#),
    ];
    assert_eq!(one(body).event_id, identity::of_content("default", fields.into_iter()));
}

#[test]
fn equal_events_of_one_body_are_one_event_unless_the_request_has_a_key() {
    let body = format!("[{{{GOOD}}},{{{GOOD}}},{{{GOOD},\"seq\":1}}]");
    let without = ids(&Request::default(), &body);
    assert_eq!(without[0], without[1]);
    let keyed = Request { idempotency_key: Some("req-7"), ..Request::default() };
    let with = ids(&keyed, &body);
    let expected = [(0, 0), (0, 1), (2, 0)].map(|(content, n)| identity::salted(&without[content], "req-7", n));
    assert_eq!(with, expected);
    assert_eq!(ids(&keyed, &body), with, "a retry of the request");
    let empty = Request { idempotency_key: Some(""), ..Request::default() };
    assert_eq!(ids(&empty, &body), without);
}

#[test]
fn a_key_of_the_request_does_not_touch_a_given_id() {
    let keyed = Request { idempotency_key: Some("req-7"), ..Request::default() };
    let body = good_with("\"event_id\":\"e\"");
    assert_eq!(ids(&keyed, &body), ids(&Request::default(), &body));
}
