//! The other processors that share the partitions, asked over HTTP for what they have open.
use super::PATH;
use crate::admin_client;
use async_trait::async_trait;
use axum::http::{HeaderValue, Request, StatusCode, header};
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::Empty;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use processor::limits::PART_BYTES_MAX;
use processor::live;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::lookup_host;

/// Who is asked waits for its next tick, a second; who does not answer is missing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Processors that are asked: each holds one partition at least, and a log of more has more of them a processor.
const PEERS_MAX: usize = 64;

/// Where they are.
pub struct Peers {
    /// `HOST:PORT`; of a name all of its addresses.
    names: Vec<String>,
    token: Option<HeaderValue>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Peers {
    /// `token`: one that a header can have (the configuration is checked), or empty, where they let in who is on their
    /// machine.
    pub fn new(names: &[String], token: &str) -> Peers {
        let token = Some(token).filter(|token| !token.is_empty());
        let token = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        Peers { names: names.to_vec(), token, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Looked up anew each time: processors come and go.
    async fn addresses(&self) -> BTreeSet<SocketAddr> {
        let looked_up = self.names.iter().map(|name| async move {
            match lookup_host(name).await {
                Ok(addresses) => addresses.collect::<Vec<_>>(),
                Err(error) => {
                    tracing::warn!(peer = name, %error, "live.peers: a name has no address");
                    Vec::new()
                }
            }
        });
        join_all(looked_up).await.into_iter().flatten().take(PEERS_MAX).collect()
    }

    async fn part(&self, address: SocketAddr, rollup: &str) -> Option<Bytes> {
        let mut request = Request::get(format!("http://{address}{PATH}/{rollup}/part"));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Empty::new()).ok()?;
        match admin_client::exchange(&self.client, request, PART_BYTES_MAX, PATIENCE).await {
            Ok((StatusCode::OK, body)) => Some(body),
            Ok((status, body)) => {
                let said = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
                tracing::warn!(peer = %address, rollup, %status, said, "what it has open is not shown");
                None
            }
            Err(error) => {
                tracing::warn!(peer = %address, rollup, error, "what it has open is not shown");
                None
            }
        }
    }
}

#[async_trait]
impl live::Peers for Peers {
    async fn parts(&self, rollup: &str) -> Vec<Bytes> {
        let addresses = self.addresses().await;
        let parts = addresses.into_iter().map(|address| self.part(address, rollup));
        join_all(parts).await.into_iter().flatten().collect()
    }
}
