//! Asks other nodes over HTTP: the admin server of one on this machine, or other processors.
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// A client of one node.
#[derive(Debug)]
pub struct AdminClient {
    /// `HOST:PORT`.
    pub address: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl AdminClient {
    /// `address`: `HOST:PORT`.
    pub fn new(address: String) -> Self {
        AdminClient { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The answer to a GET, of so many bytes at most, within this time. `Err`: there is none, in words.
    pub async fn get(&self, path: &str, bytes_max: usize, patience: Duration) -> Result<(StatusCode, Bytes), String> {
        self.exchange(path, bytes_max, patience).await.map(|(status, _, body)| (status, body))
    }

    /// The same, with its headers.
    pub async fn exchange(
        &self,
        path: &str,
        bytes_max: usize,
        patience: Duration,
    ) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        let request = Request::get(format!("http://{}{path}", self.address)).body(Empty::new());
        exchange(&self.client, request.map_err(|error| error.to_string())?, bytes_max, patience).await
    }
}

/// An error with what it came from: `client error (Connect)` alone says nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words += &format!(": {error}");
        cause = error.source();
    }
    words
}

/// The answer to a request, of so many bytes at most, within this time. `Err`: there is none, in words.
pub async fn exchange(
    client: &Client<HttpConnector, Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    bytes_max: usize,
    patience: Duration,
) -> Result<(StatusCode, HeaderMap, Bytes), String> {
    let exchange = async {
        let response = client.request(request).await.map_err(|error| causes(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        Ok((status, headers, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}
