//! What operators see.
use crate::measured::Measured;
use crate::node::{Node, event, quick};
use log::AppendError;
use serde_json::json;

#[tokio::test]
async fn requests_events_refusals_and_batches_are_counted() {
    let measured = Measured::here();
    let node = Node::start(quick(), 1).await;
    let mut client = node.client().await;
    assert_eq!(client.post(json!([event(1), event(2), {}])).await.status, 200);
    assert_eq!(client.post_with(&[("prefer", "return=minimal")], event(3).to_string().as_bytes()).await.status, 204);
    assert_eq!(client.post(json!([{}])).await.status, 422);
    node.faults().fail_append(1, AppendError::Full("full".into()));
    assert_eq!(client.post(event(4)).await.status, 503);

    let text = measured.text();
    for line in [
        r#"playhead_ingest_requests_total{status="200"} 1"#,
        r#"playhead_ingest_requests_total{status="204"} 1"#,
        r#"playhead_ingest_requests_total{status="422"} 1"#,
        r#"playhead_ingest_requests_total{status="503"} 1"#,
        r#"playhead_ingest_events_total{outcome="accepted"} 3"#,
        r#"playhead_ingest_events_total{outcome="rejected"} 2"#,
        r#"playhead_ingest_refused_total{reason="all-rejected"} 1"#,
        r#"playhead_ingest_refused_total{reason="log-full"} 1"#,
        "playhead_ingest_connections 1",
        "playhead_ingest_request_seconds_count 4",
        "playhead_ingest_batch_rows_sum 4",
        "playhead_ingest_batch_bytes_count 3",
        "playhead_ingest_append_seconds_count 3",
        "# HELP playhead_ingest_body_bytes_total",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
