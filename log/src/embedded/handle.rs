//! The public ends: log and writer. The last handle to go closes the log.
use super::core::Core;
use super::reader::Reader;
use super::retain;
use crate::{Ack, AppendError, ReadError, Record};
use async_trait::async_trait;
use std::sync::Arc;

/// Keeps the log open: every log, writer and reader has one.
pub(super) struct Handle {
    pub core: Arc<Core>,
}

impl Drop for Handle {
    /// As [`crate::Log::close`], for who forgot it. Blocks until the committer has done what waits, one group and fsync
    /// or a few, on whatever thread drops the last handle, an async worker too: better than a directory that stays
    /// owned, or appends that nobody answers. Who cares for its worker threads awaits `close`, after which nothing is
    /// left to wait for here.
    fn drop(&mut self) {
        self.core.close();
    }
}

pub(super) struct Embedded {
    handle: Arc<Handle>,
}

impl Embedded {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { handle: Arc::new(Handle { core }) }
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }
}

#[async_trait]
impl crate::Log for Embedded {
    fn topic(&self) -> &str {
        &self.handle.core.topic
    }

    fn cluster(&self) -> &str {
        "embedded"
    }

    fn writer(&self) -> Arc<dyn crate::Writer> {
        Arc::new(Writer { handle: self.handle.clone() })
    }

    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn crate::Reader>, ReadError> {
        if let Some(name) = name {
            let releases = super::lock(&self.core().releases);
            if !releases.contains_key(name) {
                let known: Vec<_> = releases.keys().map(String::as_str).collect();
                return Err(ReadError::Unavailable(format!(
                    "retention does not wait for a reader {name:?}: the log was opened for {}",
                    known.join(", ")
                )));
            }
        }
        Ok(Box::new(Reader::new(self.handle.clone(), name)))
    }

    async fn retain(&self) -> Result<(), ReadError> {
        retain::run(self.core()).await
    }

    async fn close(&self) -> Result<(), AppendError> {
        let core = self.core().clone();
        let closed = tokio::task::spawn_blocking(move || core.close()).await;
        closed.map_err(|error| AppendError::Stopped(format!("closing the log panicked: {error}")))?;
        match self.core().queue.refusal() {
            Some(AppendError::Stopped(reason)) if reason != "log is closed" => Err(AppendError::Stopped(reason)),
            _ => Ok(()),
        }
    }
}

struct Writer {
    handle: Arc<Handle>,
}

#[async_trait]
impl crate::Writer for Writer {
    fn partitions(&self) -> u32 {
        self.handle.core.count()
    }

    fn ack(&self) -> Ack {
        Ack::Disk
    }

    async fn append(&self, partition: u32, record: Record) -> Result<u64, AppendError> {
        crate::within_limit(&record)?;
        let core = &self.handle.core;
        if partition >= core.count() {
            return Err(crate::no_such_partition(partition, core.count()));
        }
        let answer = core.queue.append(partition, record)?;
        answer.await.map_err(|_| AppendError::Stopped("committer has gone away".into()))?
    }
}
