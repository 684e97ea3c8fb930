//! The log for commands that only look: opened offline, or through the admin address of the node that owns it.
use crate::config::Config;
use crate::data_dir::{DataDir, RunningNode};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use log::{Entry, Next, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Payload bytes after which a read returns what it has: a few records of the largest size.
const BATCH_BYTES: usize = 4 << 20;
/// An answer is at most a batch and one more record, in base64 (4/3), with headers and JSON around it.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A node that does not answer within this is taken for hung.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the log can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log itself.
    #[error(transparent)]
    Read(#[from] log::ReadError),
    /// Its directory.
    #[error(transparent)]
    Open(#[from] log::embedded::OpenError),
    /// Another process owns it, and does not answer.
    #[error("the log is in use by another process, and its admin address {address} does not answer: {reason}")]
    Admin {
        /// Where it was asked.
        address: String,
        /// What came back.
        reason: String,
    },
    /// Another process owns it and did not say where it listens.
    #[error("the log is in use by another process that has not announced its admin address (is it still starting?)")]
    Unannounced,
}

/// First offset held and next one to be written, for each partition.
pub type Bounds = Vec<Range<u64>>;

/// Records of one partition, in order. Empty: the end is reached.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    records: Vec<Encoded>,
}

/// A record as the admin server sends it: payload and header values in base64.
#[derive(Debug, Serialize, Deserialize)]
struct Encoded {
    partition: u32,
    offset: u64,
    timestamp: i64,
    headers: Vec<(String, String)>,
    payload: String,
}

impl From<Entry> for Encoded {
    fn from(entry: Entry) -> Self {
        let headers = entry.record.headers.iter().map(|(name, value)| (name.clone(), BASE64.encode(value))).collect();
        Encoded {
            partition: entry.partition,
            offset: entry.offset,
            timestamp: entry.timestamp,
            headers,
            payload: BASE64.encode(&entry.record.payload),
        }
    }
}

impl TryFrom<Encoded> for Entry {
    type Error = base64::DecodeError;

    fn try_from(encoded: Encoded) -> Result<Self, Self::Error> {
        let headers = encoded
            .headers
            .into_iter()
            .map(|(name, value)| Ok((name, Bytes::from(BASE64.decode(value)?))))
            .collect::<Result<_, Self::Error>>()?;
        let payload = Bytes::from(BASE64.decode(encoded.payload)?);
        Ok(Entry {
            partition: encoded.partition,
            offset: encoded.offset,
            timestamp: encoded.timestamp,
            record: Record { headers, payload },
        })
    }
}

/// Bounds of all partitions.
pub async fn bounds(log: &dyn log::Log) -> Result<Bounds, Error> {
    let mut reader = log.reader(None).await?;
    let mut bounds = Vec::new();
    for partition in 0..log.writer().partitions() {
        bounds.push(reader.bounds(partition).await?);
    }
    Ok(bounds)
}

/// Records from `offset` on, at least one while there is one, about [`BATCH_BYTES`] of them.
pub async fn read(log: &dyn log::Log, partition: u32, offset: u64) -> Result<Batch, Error> {
    let mut batch = Batch { records: Vec::new() };
    let mut reader = log.reader(None).await?;
    let end = reader.bounds(partition).await?.end;
    if offset == end {
        return Ok(batch);
    }
    reader.seek(partition, offset).await?;
    let mut bytes = 0;
    while bytes < BATCH_BYTES {
        match reader.next().await? {
            Next::Record(entry) => {
                bytes += entry.record.bytes();
                let last = entry.offset + 1 >= end;
                batch.records.push(entry.into());
                if last {
                    break;
                }
            }
            Next::CaughtUp { partition: caught_up, .. } if caught_up == partition => break,
            Next::CaughtUp { .. } | Next::Assigned(_) | Next::Revoked(_) => {}
        }
    }
    Ok(batch)
}

/// The log of a data directory, wherever it can be had.
pub enum LogSource {
    /// Nobody runs: this process owns it for now.
    Offline(Arc<dyn log::Log>),
    /// A node runs.
    Admin {
        /// `HOST:PORT`
        address: String,
        /// One client for all requests.
        client: Box<Client<HttpConnector, Empty<Bytes>>>,
    },
}

impl LogSource {
    /// Opens the log, or finds the node that owns it.
    pub async fn open(config: &Config, data: &DataDir) -> Result<LogSource, Error> {
        match crate::storage::open_existing_log(config, data).await {
            Ok(log) => Ok(LogSource::Offline(log)),
            Err(log::embedded::OpenError::Owned { .. }) => {
                let RunningNode { admin, .. } = data.announced().ok_or(Error::Unannounced)?;
                let client = Box::new(Client::builder(TokioExecutor::new()).build_http());
                Ok(LogSource::Admin { address: admin, client })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// True when a node runs.
    pub fn is_running(&self) -> bool {
        matches!(self, LogSource::Admin { .. })
    }

    /// What makes the running node unready, by role; `None` offline.
    pub async fn unready(&self) -> Result<Option<BTreeMap<String, String>>, Error> {
        let LogSource::Admin { address, client } = self else { return Ok(None) };
        let ready: Ready = ask(client, address, "/readyz", &[StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]).await?;
        Ok(Some(ready.not_ready))
    }

    /// Bounds of all partitions.
    pub async fn bounds(&self) -> Result<Bounds, Error> {
        match self {
            LogSource::Offline(log) => bounds(log.as_ref()).await,
            LogSource::Admin { address, client } => get(client, address, "/v1/log").await,
        }
    }

    /// Records from `offset` on; empty at the end.
    pub async fn read(&self, partition: u32, offset: u64) -> Result<Vec<Entry>, Error> {
        let batch = match self {
            LogSource::Offline(log) => read(log.as_ref(), partition, offset).await?,
            LogSource::Admin { address, client } => {
                get(client, address, &format!("/v1/log/{partition}?offset={offset}")).await?
            }
        };
        let entries: Result<Vec<Entry>, _> = batch.records.into_iter().map(Entry::try_from).collect();
        entries.map_err(|error| Error::Admin { address: "the log".into(), reason: error.to_string() })
    }

    /// Gives the log free, where it was opened here.
    pub async fn close(self) {
        if let LogSource::Offline(log) = self
            && let Err(error) = log.close().await
        {
            tracing::warn!(%error, "log could not be closed");
        }
    }
}

/// The answer of /readyz.
#[derive(Deserialize)]
struct Ready {
    not_ready: BTreeMap<String, String>,
}

async fn get<T: serde::de::DeserializeOwned>(
    client: &Client<HttpConnector, Empty<Bytes>>,
    address: &str,
    path: &str,
) -> Result<T, Error> {
    ask(client, address, path, &[StatusCode::OK]).await
}

async fn ask<T: serde::de::DeserializeOwned>(
    client: &Client<HttpConnector, Empty<Bytes>>,
    address: &str,
    path: &str,
    answers: &[StatusCode],
) -> Result<T, Error> {
    let failed = |reason: String| Error::Admin { address: address.to_owned(), reason };
    let exchange = async {
        let uri = format!("http://{address}{path}").parse().map_err(|error| failed(format!("{error}")))?;
        let response = client.get(uri).await.map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
        if !answers.contains(&status) {
            return Err(failed(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
        }
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
    };
    tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(failed("no answer in time".into())))
}
