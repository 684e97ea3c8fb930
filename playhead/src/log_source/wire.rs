//! The log through the admin server of the node that owns it: what goes over the wire, and who asks for it.
use super::{Bounds, Error};
use crate::admin_client::AdminClient;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use log::{Entry, ReadError, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// An answer is at most a batch and one more record, in base64 (4/3), with headers and JSON around it.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A node that does not answer within this is taken for hung. Longer than a node's own patience with its log, whose words
/// say more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
const _: () = assert!(ANSWER_TIMEOUT.as_secs() > super::reading::RECORD_TIMEOUT.as_secs());

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

impl From<Vec<Entry>> for Batch {
    fn from(entries: Vec<Entry>) -> Self {
        Batch { records: entries.into_iter().map(Encoded::from).collect() }
    }
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

/// The answer to a read below the log's start or above its end, with status 416.
#[derive(Debug, Serialize, Deserialize)]
pub struct OutOfRange {
    partition: u32,
    offset: u64,
    start: u64,
    end: u64,
}

impl OutOfRange {
    /// If that is what went wrong.
    pub fn of(error: &ReadError) -> Option<OutOfRange> {
        match *error {
            ReadError::OutOfRange { partition, offset, start, end } => {
                Some(OutOfRange { partition, offset, start, end })
            }
            _ => None,
        }
    }
}

impl From<OutOfRange> for ReadError {
    fn from(OutOfRange { partition, offset, start, end }: OutOfRange) -> Self {
        ReadError::OutOfRange { partition, offset, start, end }
    }
}

/// The answer of /readyz.
#[derive(Deserialize)]
struct Ready {
    not_ready: BTreeMap<String, String>,
}

/// The log of a node on this machine.
pub(super) struct RemoteLog(AdminClient);

impl RemoteLog {
    /// `address`: `HOST:PORT` of its admin server.
    pub(super) fn new(address: String) -> Self {
        RemoteLog(AdminClient::new(address))
    }

    /// What makes the node unready, by role.
    pub(super) async fn unready(&self) -> Result<BTreeMap<String, String>, Error> {
        let ready: Ready = self.ask("/readyz", &[StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]).await?;
        Ok(ready.not_ready)
    }

    pub(super) async fn bounds(&self) -> Result<Bounds, Error> {
        self.ask("/v1/log", &[StatusCode::OK]).await
    }

    pub(super) async fn read(&self, partition: u32, offset: u64) -> Result<Vec<Entry>, Error> {
        let batch: Batch = self.ask(&format!("/v1/log/{partition}?offset={offset}"), &[StatusCode::OK]).await?;
        let entries: Result<Vec<Entry>, _> = batch.records.into_iter().map(Entry::try_from).collect();
        entries.map_err(|error| self.failed(error.to_string()))
    }

    fn failed(&self, reason: String) -> Error {
        Error::Admin { address: self.0.address.clone(), reason }
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, answers: &[StatusCode]) -> Result<T, Error> {
        let answered = self.0.get(path, ANSWER_BYTES_MAX, ANSWER_TIMEOUT).await;
        let (status, body) = answered.map_err(|reason| self.failed(reason))?;
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            let out: OutOfRange = serde_json::from_slice(&body).map_err(|error| self.failed(error.to_string()))?;
            return Err(ReadError::from(out).into());
        }
        if !answers.contains(&status) {
            let words = format!("{status}: {}", String::from_utf8_lossy(&body).trim());
            return Err(Error::Answered { address: self.0.address.clone(), words });
        }
        serde_json::from_slice(&body).map_err(|error| self.failed(error.to_string()))
    }
}
