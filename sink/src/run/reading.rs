//! Reading: each thing that the reader comes upon, and what it does to its partition.
use super::Sink;
use crate::dead_letter;
use crate::partition::Place;
use crate::record::Rows;
use crate::{Error, telemetry};
use log::{Entry, Next, ReadError, Reader};
use tokio::time::{Instant, sleep_until};

impl Sink {
    pub(super) async fn take(&mut self, next: Result<Next, ReadError>) -> Result<(), Error> {
        let next = match next {
            Ok(next) => next,
            Err(ReadError::OutOfRange { partition, offset, start, end }) => {
                return self.offset_error(partition, format!("offset {offset} is outside of {start}..{end}")).await;
            }
            Err(ReadError::Unavailable(reason)) => {
                tracing::warn!(reason, "log can't be read now");
                self.readiness.trouble(format!("log can't be read now: {reason}"));
                self.read_at = Some(Instant::now() + self.backoff.wait());
                return Ok(());
            }
            Err(error @ ReadError::Corrupt(_)) => return Err(error.into()),
        };
        self.heard();
        if self.read_at.take().is_some() {
            self.recovered();
        }
        match next {
            Next::Assigned(partitions) => {
                self.assigned = true;
                self.resume_all(&partitions).await?;
                telemetry::assigned(partitions.len(), self.partitions.len());
                // With no partition it stands by, and is as ready as it can be.
                self.readiness.started();
            }
            Next::Revoked(partitions) => self.revoke(&partitions),
            Next::Record(entry) => {
                self.record(&entry).await?;
                // Other tasks get their turn after each record: a log with a backlog is always ready.
                tokio::task::yield_now().await;
            }
            Next::CaughtUp { partition, end } => self.caught_up(partition, end).await?,
        }
        Ok(())
    }

    async fn record(&mut self, entry: &Entry) -> Result<(), Error> {
        let number = entry.partition;
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        let place = partition.place(entry);
        match place {
            Place::Ignore => return Ok(()),
            Place::Stop(words) => return self.stop(number, words).await,
            Place::Feed | Place::FeedLast => {
                self.reading.feed(entry, &mut partition.window).map_err(Error::Broken)?;
            }
            Place::Keep => self.keep(entry)?,
        }
        if place == Place::FeedLast {
            self.release(number, entry.offset + 1).await?;
        }
        Ok(())
    }

    fn keep(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(partition) = self.partitions.get_mut(&entry.partition) else { return Ok(()) };
        let Rows { kept, rows, duplicates, dead, received_at_max } =
            self.reading.keep(entry, &mut partition.window, &self.tables.columns).map_err(Error::Broken)?;
        let now = Instant::now();
        partition.took(entry, now);
        let pending = &mut partition.pending;
        pending.rows += rows;
        pending.duplicates += duplicates;
        pending.dead_letters += dead.len() as u64;
        pending.received_at_max = pending.received_at_max.max(received_at_max);
        for (date, batch) in kept {
            let pushed = self.buffer.push(date, entry.partition, batch, now);
            pushed.map_err(|error| Error::Broken(error.to_string()))?;
        }
        if !dead.is_empty() && partition.wants_dead_letters_of(entry.offset) {
            self.buffer.push_dead(entry.partition, dead_letter::rows(entry, dead), now);
        }
        Ok(())
    }

    async fn caught_up(&mut self, number: u32, end: u64) -> Result<(), Error> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        if let Some(words) = partition.caught_up(end) {
            return self.stop(number, words).await;
        }
        // Markers above the last record are nobody's any more: the log's own tools see no lag then.
        let settled = partition.settled_to();
        if !self.log.is_gapless() && settled > partition.lake_next() && partition.committed.is_some() {
            self.release(number, settled).await?;
        }
        Ok(())
    }
}

/// The next thing; not asked for before that time.
pub(super) async fn read(reader: &mut dyn Reader, not_before: Option<Instant>) -> Result<Next, ReadError> {
    if let Some(at) = not_before {
        sleep_until(at).await;
    }
    reader.next().await
}
