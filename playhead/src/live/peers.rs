//! The other processors that share the partitions, asked over HTTP for what they have open.
use super::{PART, PATH};
use crate::admin_client::exchange;
use async_trait::async_trait;
use axum::http::{HeaderValue, Request, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use http_body_util::Empty;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use processor::limits::{PART_BYTES_MAX, PARTS_BYTES_MAX};
use processor::live;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

/// Who is asked waits for its next tick, a second; who does not answer is missing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who did not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Processors that are asked: each holds one partition at least, and a log of more has more of them a processor.
const PEERS_MAX: usize = 64;
/// Questions that are remembered to have been asked in vain: a few rollups of each.
const SILENT_MAX: usize = 16 * PEERS_MAX;
/// Answers that come at the same time.
const ASKED_AT_ONCE: usize = 8;

/// Where they are.
pub struct Peers {
    /// `HOST:PORT`; of a name all of its addresses.
    names: Vec<String>,
    token: Option<HeaderValue>,
    client: Client<HttpConnector, Empty<Bytes>>,
    /// This node's own address, which is not asked.
    own: Option<SocketAddr>,
    /// What was asked in vain last time, and was told of.
    silent: Mutex<BTreeMap<String, Instant>>,
}

impl Peers {
    /// `token`: one that a header can have (the configuration is checked), or empty, where they let in who is on their
    /// machine. `own`: where this node listens itself.
    pub fn new(names: &[String], token: &str, own: Option<SocketAddr>) -> Peers {
        let token = Some(token).filter(|token| !token.is_empty());
        let token = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let client = Client::builder(TokioExecutor::new()).build_http();
        Peers { names: names.to_vec(), token, client, own, silent: Mutex::default() }
    }

    /// Looked up anew each time: processors come and go.
    async fn addresses(&self) -> BTreeSet<SocketAddr> {
        let looked_up = self.names.iter().map(|name| async move {
            let found = match timeout(PATIENCE, lookup_host(name)).await {
                Ok(Ok(addresses)) => Ok(addresses.collect::<Vec<_>>()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("its name is not looked up in time".to_owned()),
            };
            self.heard(&format!("the name {name}"), found).unwrap_or_default()
        });
        let found = join_all(looked_up).await.into_iter().flatten();
        found.filter(|address| Some(*address) != self.own).take(PEERS_MAX).collect()
    }

    async fn part(&self, address: SocketAddr, rollup: &str) -> Option<Bytes> {
        let question = format!("{rollup} of {address}");
        if self.was_silent(&question) {
            return None;
        }
        let mut request = Request::get(format!("http://{address}{PATH}/{rollup}/part"));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Empty::new()).ok()?;
        let answered = match exchange(&self.client, request, PART_BYTES_MAX, PATIENCE).await {
            Ok((StatusCode::OK, headers, body))
                if headers.get(header::CONTENT_TYPE).is_some_and(|held| held == PART) =>
            {
                Ok(body)
            }
            Ok((StatusCode::OK, ..)) => Err("something else listens there than a processor's live.listen".to_owned()),
            Ok((status, _, body)) if body.is_empty() => {
                Err(format!("it answers {status}: that is not a processor's live.listen"))
            }
            Ok((status, _, body)) => {
                Err(format!("it answers {status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)])))
            }
            Err(error) => Err(error),
        };
        self.heard(&question, answered)
    }

    /// Whether this was asked in vain a moment ago: who looks need not wait for it each time.
    fn was_silent(&self, question: &str) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.get(question).is_some_and(|since| since.elapsed() < ASK_AGAIN)
    }

    /// Tells once that somebody does not answer, and once that it does again.
    fn heard<T>(&self, who: &str, answer: Result<T, String>) -> Option<T> {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(answer) => {
                if silent.remove(who).is_some() {
                    tracing::info!(peer = who, "it answers again");
                }
                Some(answer)
            }
            Err(reason) => {
                // Addresses that are no more are forgotten some day.
                if silent.len() > SILENT_MAX {
                    silent.clear();
                }
                if silent.insert(who.to_owned(), Instant::now()).is_none() {
                    tracing::warn!(peer = who, reason, "live.peers: what it has open is not shown");
                }
                None
            }
        }
    }
}

#[async_trait]
impl live::Peers for Peers {
    async fn parts(&self, rollup: &str) -> Vec<Bytes> {
        let addresses = self.addresses().await;
        let mut answers = stream::iter(addresses.into_iter().map(|address| self.part(address, rollup)))
            .buffer_unordered(ASKED_AT_ONCE);
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while let Some(answer) = answers.next().await {
            let Some(part) = answer else { continue };
            bytes += part.len();
            if bytes > PARTS_BYTES_MAX {
                tracing::warn!(
                    rollup,
                    "the processors' parts are more than {PARTS_BYTES_MAX} bytes: some are not shown"
                );
                break;
            }
            parts.push(part);
        }
        parts
    }
}
