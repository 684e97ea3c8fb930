//! Taking partitions up, stopping them, giving them back: the shell around [`crate::position`].
use super::Sink;
use crate::partition::Partition;
use crate::position::{Resume, resume};
use crate::watch::watched;
use crate::{Error, telemetry};
use event::dedup::Window;
use log::ReadError;
use tokio::time::sleep;

/// Offset errors in a row, without a record between them, after which a partition stops. Retention may overtake the
/// rebuilding of a window once or twice; what goes on failing is a log that changes under us.
const OFFSET_ERRORS_MAX: u32 = 3;

impl Sink {
    /// Takes the partitions up where the tables say.
    pub(super) async fn resume_all(&mut self, partitions: &[u32]) -> Result<(), Error> {
        loop {
            match watched(&mut self.readiness, "a look at the tables", self.slow, self.tables.reload()).await {
                Ok(()) => break,
                Err(error) => self.wait_for_lake(error).await?,
            }
        }
        for partition in partitions {
            self.resume(*partition).await?;
        }
        self.recovered();
        Ok(())
    }

    /// Takes one partition up where the snapshot last seen says; what was buffered of it is thrown away.
    pub(super) async fn resume(&mut self, number: u32) -> Result<(), Error> {
        self.buffer.drop_partition(number);
        let names = self.tables.names(number);
        let mut overtaken = 0;
        loop {
            let stored =
                async { Ok((self.tables.committed(&names).await?, self.tables.dead_committed(&names).await?)) };
            let (committed, dead_committed) = match stored.await {
                Ok(stored) => stored,
                Err(error) => {
                    self.wait_for_lake(error).await?;
                    continue;
                }
            };
            let held = match self.reader.bounds(number).await {
                Ok(held) => held,
                Err(error) => {
                    self.wait_for_log(error).await?;
                    continue;
                }
            };
            let decision = resume(committed.as_ref(), dead_committed.map(|dead| dead.last), &held);
            let (from, lost) = match &decision {
                Resume::Start => (0, 0),
                Resume::Rebuild { from, window_records_lost } => (*from, *window_records_lost),
                Resume::Stop(_) => (held.end, 0),
            };
            match self.reader.seek(number, from).await {
                Ok(()) => {}
                // Retention moved on between the two calls: look again.
                Err(ReadError::OutOfRange { .. }) if overtaken < OFFSET_ERRORS_MAX => {
                    overtaken += 1;
                    continue;
                }
                Err(error) => {
                    self.wait_for_log(error).await?;
                    continue;
                }
            }
            let window = Window::new(self.tables.dedup_rows);
            let mut partition = Partition::new(names, committed, dead_committed, window, from);
            partition.drain_to = self.draining_since.map(|_| held.end);
            let offset_errors = self.partitions.get(&number).map_or(0, |before| before.offset_errors);
            partition.offset_errors = offset_errors;
            self.partitions.insert(number, partition);
            self.readiness.forget(number);
            if lost > 0 {
                telemetry::window_cut();
                tracing::warn!(
                    partition = number,
                    records_lost = lost,
                    "the dedup window begins short: retention dropped records that it was made of, retries of their \
                     events may get in until it is full again"
                );
            }
            if let Resume::Stop(words) = decision {
                self.mark_stopped(number, words);
            } else if let Some(committed) = committed {
                telemetry::position(number, committed.last);
                telemetry::lag(number, held.end - (committed.last + 1));
                if from > committed.last {
                    self.release(number, committed.last + 1).await?;
                }
            }
            return Ok(());
        }
    }

    /// The log no longer has, or not yet, what is next: the tables decide how to go on.
    pub(super) async fn offset_error(&mut self, number: u32, words: String) -> Result<(), Error> {
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Err(Error::Broken(format!("the log reports partition {number} that it didn't assign: {words}")));
        };
        partition.offset_errors += 1;
        let errors = partition.offset_errors;
        if partition.is_stopped() {
            // Stopped already, and the place where it is parked has gone too.
            sleep(self.backoff.wait()).await;
            return self.park(number).await;
        }
        tracing::warn!(partition = number, words, "the log does not have the next record");
        if errors > OFFSET_ERRORS_MAX {
            return self.stop(number, format!("the log changes while it is read: {words}")).await;
        }
        self.resume_all(&[number]).await
    }

    /// Stops a partition in words; the others go on.
    pub(super) async fn stop(&mut self, number: u32, words: String) -> Result<(), Error> {
        self.mark_stopped(number, words);
        self.park(number).await
    }

    pub(super) fn mark_stopped(&mut self, number: u32, words: String) {
        tracing::error!(partition = number, words, "partition stopped");
        self.buffer.drop_partition(number);
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.stop();
        }
        self.readiness.stop(number, words);
        telemetry::stopped(self.partitions.values().filter(|partition| partition.is_stopped()).count());
    }

    /// Puts the reader of a stopped partition at the log's end: a position that is out of range would be an error at
    /// each read, and hold up the other partitions. What comes there is ignored.
    pub(super) async fn park(&mut self, number: u32) -> Result<(), Error> {
        loop {
            let parked = match self.reader.bounds(number).await {
                Ok(held) => self.reader.seek(number, held.end).await,
                Err(error) => Err(error),
            };
            match parked {
                Ok(()) => return Ok(()),
                Err(error) => self.wait_for_log(error).await?,
            }
        }
    }

    pub(super) fn revoke(&mut self, partitions: &[u32]) {
        for number in partitions {
            self.buffer.drop_partition(*number);
            self.partitions.remove(number);
            self.readiness.forget(*number);
        }
    }

    /// The table holds everything below `offset`: retention by age and budget may drop it. The dedup window reaches
    /// further back, to D, but may be cut short: held back for it, a full disk would refuse events for the sake of
    /// duplicates that are found again when their date is sealed.
    pub(super) async fn release(&mut self, partition: u32, offset: u64) -> Result<(), Error> {
        match self.reader.release(partition, offset).await {
            Ok(()) => Ok(()),
            Err(error @ ReadError::Corrupt(_)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(partition, offset, %error, "the log was not told what it may drop; the next commit tells it");
                Ok(())
            }
        }
    }
}
