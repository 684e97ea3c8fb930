//! A log with a marker after each record, as a topic has whose producers use transactions: record `n` of the log below
//! stands at offset `2n`, and none at `2n + 1`.
use crate::harness::{Harness, TOPIC};
use async_trait::async_trait;
use event::clock::Micros;
use log::{AppendError, Entry, Log, Next, ReadError, Reader, Writer, memory};
use std::ops::Range;
use std::sync::Arc;

pub struct Sparse {
    log: Arc<memory::Log>,
    /// Whether it says that it has no gaps.
    gapless: bool,
}

impl Sparse {
    pub fn over(harness: &Harness) -> Arc<Sparse> {
        Arc::new(Sparse { log: harness.log.clone(), gapless: false })
    }

    /// One that says that an offset without a record is a lost record.
    pub fn that_denies_it(harness: &Harness) -> Arc<Sparse> {
        Arc::new(Sparse { log: harness.log.clone(), gapless: true })
    }
}

#[async_trait]
impl Log for Sparse {
    fn topic(&self) -> &str {
        TOPIC
    }
    fn cluster(&self) -> &str {
        self.log.cluster()
    }
    fn is_gapless(&self) -> bool {
        self.gapless
    }
    fn writer(&self) -> Arc<dyn Writer> {
        self.log.writer()
    }
    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn Reader>, ReadError> {
        Ok(Box::new(SparseReader(self.log.reader(name).await?)))
    }
    async fn retain(&self) -> Result<(), ReadError> {
        self.log.retain().await
    }
    async fn close(&self) -> Result<(), AppendError> {
        self.log.close().await
    }
}

struct SparseReader(Box<dyn Reader>);

#[async_trait]
impl Reader for SparseReader {
    async fn next(&mut self) -> Result<Next, ReadError> {
        Ok(match self.0.next().await? {
            Next::Record(entry) => Next::Record(Entry { offset: entry.offset * 2, ..entry }),
            Next::CaughtUp { partition, end } => Next::CaughtUp { partition, end: end * 2 },
            other => other,
        })
    }
    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.0.seek(partition, offset.div_ceil(2)).await
    }
    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError> {
        let held = self.0.bounds(partition).await?;
        Ok(held.start * 2..held.end * 2)
    }
    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        Ok(self.0.offset_at(partition, time).await?.map(|offset| offset * 2))
    }
    async fn fingerprint_at(&mut self, partition: u32, offset: u64) -> Result<Option<i64>, ReadError> {
        if offset % 2 == 1 {
            return Ok(None);
        }
        self.0.fingerprint_at(partition, offset / 2).await
    }
    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.0.release(partition, offset / 2).await
    }
}
