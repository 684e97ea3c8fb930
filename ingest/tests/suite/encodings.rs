//! Compressed bodies, true and false ones.
use crate::client::Answer;
use crate::node::{Node, event};
use async_compression::tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};

async fn all<R: AsyncRead + Unpin>(mut encoder: R) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoder.read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn post(node: &Node, encoding: &str, body: &[u8]) -> Answer {
    node.client().await.post_with(&[("content-encoding", encoding)], body).await
}

#[tokio::test]
async fn every_encoding_is_taken() {
    let node = Node::one_partition().await;
    let body = json!((0..50).map(event).collect::<Vec<_>>()).to_string();
    let body = body.as_bytes();
    for (encoding, compressed) in [
        ("gzip", all(GzipEncoder::new(body)).await),
        ("x-gzip", all(GzipEncoder::new(body)).await),
        ("deflate", all(ZlibEncoder::new(body)).await),
        ("deflate", all(DeflateEncoder::new(body)).await),
        ("zstd", all(ZstdEncoder::new(body)).await),
        ("br", all(BrotliEncoder::new(body)).await),
        ("identity", body.to_vec()),
    ] {
        let answer = post(&node, encoding, &compressed).await;
        assert_eq!(answer.status, 200, "{encoding}: {answer:?}");
        assert_eq!(answer.json()["accepted"], 50);
    }
    assert_eq!(node.rows().await.len(), 7 * 50);
}

#[tokio::test]
async fn bombs_are_refused_by_bytes_and_by_ratio_before_they_unfold() {
    let node = Node::one_partition().await;
    let by_bytes = all(GzipEncoder::new(&vec![b' '; 64 << 20][..])).await;
    post(&node, "gzip", &by_bytes).await.assert_problem(413, "body-too-large");
    let by_ratio = all(ZstdEncoder::new(&vec![b' '; 2 << 20][..])).await;
    let answer = post(&node, "zstd", &by_ratio).await;
    answer.assert_problem(413, "body-too-large");
    assert!(answer.json()["detail"].as_str().unwrap().contains("100 times its compressed size"), "{answer:?}");
    let by_brotli = all(BrotliEncoder::new(&vec![b' '; 16 << 20][..])).await;
    post(&node, "br", &by_brotli).await.assert_problem(413, "body-too-large");
}

#[tokio::test]
async fn unknown_and_stacked_encodings_are_refused_with_what_is_taken() {
    let node = Node::one_partition().await;
    for encoding in ["compress", "gzip, gzip", "zstd, br", "\u{e9}"] {
        let answer = post(&node, encoding, b"{}").await;
        answer.assert_problem(415, "unsupported-encoding");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, deflate, zstd, br, identity"));
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_its_label_says_is_refused_with_a_hint() {
    let node = Node::one_partition().await;
    let body = event(1).to_string();
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        post(&node, encoding, body.as_bytes()).await.assert_problem(400, "malformed-encoding");
    }
    let compressed = all(GzipEncoder::new(body.as_bytes())).await;
    let answer = node.client().await.post_with(&[], &compressed).await;
    answer.assert_problem(400, "malformed-body");
    assert!(answer.json()["detail"].as_str().unwrap().contains("Content-Encoding: gzip"), "{answer:?}");
    let cut = &compressed[..compressed.len() - 9];
    post(&node, "gzip", cut).await.assert_problem(400, "malformed-encoding");
    assert!(node.entries().await.is_empty());
}
