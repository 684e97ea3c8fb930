//! Flushing: seals what waits, brings it into the tables, takes the new ground.
use super::Sink;
use crate::buffer::Buffer;
use crate::flush::{Flush, FlushCommit};
use crate::watch::{LOG, STORE, watched};
use crate::{Error, telemetry};
use lake::table::Outcome;
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Sink {
    /// Commits everything that waits. True when it was superseded: reading starts again from the tables.
    pub(super) async fn flush(&mut self) -> Result<bool, Error> {
        self.recognise_all().await?;
        self.recovered();
        let bytes = self.buffer.bytes();
        let (rows, dead) = self.buffer.take();
        let Some(flush) = Flush::seal(&self.partitions, rows, dead) else { return Ok(false) };
        let began = Instant::now();
        let mut commit = FlushCommit::new(flush, &self.tables)?;
        let outcome = loop {
            match watched(&mut self.readiness, "a flush", STORE, self.timing.slow, commit.advance(&mut self.tables))
                .await
            {
                Ok(outcome) => break outcome,
                Err(error) => self.wait_for_lake(error).await?,
            }
        };
        // It was the store's time, not the log's.
        self.heard();
        self.recovered();
        match outcome {
            Outcome::Committed { version } => {
                self.superseded.reset();
                self.policy.next_flush(self.random.unit(), 0);
                let took = began.elapsed();
                telemetry::committed(commit.flush.totals(), bytes, took);
                self.settle(&commit.flush, version, took).await?;
                Ok(false)
            }
            Outcome::Superseded => {
                telemetry::superseded();
                tracing::warn!("another sink has committed: buffers are thrown away, reading starts from the tables");
                sleep(self.superseded.wait()).await;
                self.policy.next_flush(self.random.unit(), self.superseded.attempts());
                self.buffer = Buffer::default();
                // What has stopped waits for an operator still.
                let healthy = self.healthy();
                self.resume_all(&healthy).await?;
                Ok(true)
            }
        }
    }

    /// What is committed is the new ground.
    pub(super) async fn settle(&mut self, flush: &Flush, version: u64, took: Duration) -> Result<(), Error> {
        let totals = flush.totals();
        tracing::debug!(version, rows = totals.rows, duplicates = totals.duplicates, ?took, "flushed");
        if let Some(received_at) = flush.received_at_max {
            telemetry::freshness(self.clock.now() - received_at);
        }
        for step in &flush.moves {
            let Some(partition) = self.partitions.get_mut(&step.partition) else { continue };
            partition.settle(step.to, step.dead_to);
            telemetry::position(step.partition, step.to.last);
        }
        // Only now, since the log may keep them waiting.
        self.lags.update(&self.partitions);
        let mut answers = true;
        for step in &flush.moves {
            let Some(partition) = self.partitions.get(&step.partition) else { continue };
            self.release(step.partition, partition.settled_to().max(step.to.last + 1)).await?;
            // A log that does not answer would be waited for as often as there are partitions.
            answers = answers && self.look_at_end(step.partition).await;
        }
        self.recovered();
        Ok(())
    }

    /// Where the log ends now, for the lag alone: not known is no trouble. False: the log did not answer.
    async fn look_at_end(&mut self, number: u32) -> bool {
        let limit = self.limit();
        let held = self.reader.bounds(number);
        let held = watched(&mut self.readiness, "a look at its bounds", LOG, self.timing.slow, held);
        match limit.of(held).await {
            Some(Ok(held)) => {
                if let Some(partition) = self.partitions.get_mut(&number) {
                    partition.see_end(held.end, self.clock.now());
                }
                true
            }
            Some(Err(error)) => {
                tracing::debug!(partition = number, %error, "lag is not known now");
                false
            }
            None => false,
        }
    }
}
