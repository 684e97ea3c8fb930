//! A player's page must be able to read every answer.
use crate::client::Answer;
use crate::node::{Node, event, quick};
use log::AppendError;

const ORIGIN: (&str, &str) = ("origin", "https://player.example");

#[track_caller]
fn assert_readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://player.example"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("Retry-After"));
    assert_eq!(answer.header("vary"), Some("Origin"));
}

#[tokio::test]
async fn every_answer_can_be_read_by_the_page_errors_too() {
    let node = Node::start(quick(), 1).await;
    let mut client = node.client().await;
    let good = event(1).to_string();
    for (headers, body, status) in [
        (vec![ORIGIN], good.as_str(), 200),
        (vec![ORIGIN, ("prefer", "return=minimal")], &good, 204),
        (vec![ORIGIN], "nonsense", 400),
        (vec![ORIGIN, ("content-encoding", "compress")], &good, 415),
        (vec![ORIGIN], "[{}]", 422),
    ] {
        let answer = client.post_with(&headers, body.as_bytes()).await;
        assert_eq!(answer.status, status);
        assert_readable(&answer);
    }
    client.request("GET", "/elsewhere", &[ORIGIN], b"").await;
    assert_readable(&client.answer().await);
    client.request("DELETE", "/v1/events", &[ORIGIN], b"").await;
    assert_readable(&client.answer().await);
    node.faults().fail_append(1, AppendError::Full("full".into()));
    let answer = client.post_with(&[ORIGIN], good.as_bytes()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert_readable(&answer);
    client
        .send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\norigin: https://player.example\r\ncontent-length: 9\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 408);
    assert_readable(&answer);
}

#[tokio::test]
async fn a_preflight_allows_what_the_page_asks_for_and_is_kept_for_a_day() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    for path in ["/v1/events", "/elsewhere"] {
        let asks = [
            ORIGIN,
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-vendor-key"),
        ];
        client.request("OPTIONS", path, &asks, b"").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://player.example"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST, OPTIONS"));
        assert_eq!(answer.header("access-control-max-age"), Some("86400"));
        let allowed = answer.header("access-control-allow-headers").unwrap();
        for name in ["content-type", "authorization", "idempotency-key", "prefer", "content-encoding", "x-vendor-key"] {
            assert!(allowed.split(", ").any(|one| one == name), "{name} in {allowed}");
        }
    }
}

#[tokio::test]
async fn without_an_origin_nothing_is_allowed_and_caches_are_told() {
    let node = Node::one_partition().await;
    let answer = node.client().await.post(event(1)).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("vary"), Some("Origin"));
}
