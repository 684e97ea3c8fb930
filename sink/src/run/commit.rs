//! Flushing: seals what waits, brings it into the tables, takes the new ground.
use super::Sink;
use crate::buffer::Buffer;
use crate::flush::{Flush, FlushCommit};
use crate::partition::Pending;
use crate::watch::watched;
use crate::{Error, telemetry};
use lake::table::Outcome;
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Sink {
    /// Commits everything that waits. True when it was superseded: reading starts again from the tables.
    pub(super) async fn flush(&mut self) -> Result<bool, Error> {
        let (rows, dead) = self.buffer.take();
        let Some(flush) = Flush::seal(&self.partitions, rows, dead) else { return Ok(false) };
        let began = Instant::now();
        let mut commit = FlushCommit::new(flush, &self.tables)?;
        let outcome = loop {
            match watched(&mut self.readiness, "a flush", self.slow, commit.advance(&mut self.tables)).await {
                Ok(outcome) => break outcome,
                Err(error) => self.wait_for_lake(error).await?,
            }
        };
        self.recovered();
        match outcome {
            Outcome::Committed { version } => {
                self.superseded.reset();
                self.settle(&commit.flush, version, began.elapsed()).await?;
                Ok(false)
            }
            Outcome::Superseded => {
                telemetry::superseded();
                tracing::warn!("another sink has committed: buffers are thrown away, reading starts from the tables");
                sleep(self.superseded.wait()).await;
                self.buffer = Buffer::default();
                let all: Vec<u32> = self.partitions.keys().copied().collect();
                self.resume_all(&all).await?;
                Ok(true)
            }
        }
    }

    /// What is committed is the new ground.
    pub(super) async fn settle(&mut self, flush: &Flush, version: u64, took: Duration) -> Result<(), Error> {
        for step in &flush.moves {
            let Some(partition) = self.partitions.get_mut(&step.partition) else { continue };
            partition.committed = Some(step.to);
            partition.dead_committed = step.dead_to.or(partition.dead_committed);
            partition.pending = Pending::default();
            telemetry::position(step.partition, step.to.last);
            self.release(step.partition, step.to.last + 1).await?;
            match self.reader.bounds(step.partition).await {
                Ok(held) => telemetry::lag(step.partition, held.end.saturating_sub(step.to.last + 1)),
                Err(error) => tracing::debug!(partition = step.partition, %error, "lag is not known now"),
            }
        }
        let totals = flush.totals();
        telemetry::committed(totals.rows, totals.duplicates, totals.dead_letters, took);
        if let Some(received_at) = flush.received_at_max {
            telemetry::freshness(self.clock.now() - received_at);
        }
        tracing::debug!(version, rows = totals.rows, duplicates = totals.duplicates, ?took, "flushed");
        Ok(())
    }
}
