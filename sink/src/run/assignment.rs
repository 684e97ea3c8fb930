//! Taking partitions up, stopping them, giving them back: the shell around [`crate::position`].
use super::Sink;
use super::waiting::{Asked, Unanswered};
use crate::aside::Silence;
use crate::partition::{DeadCommitted, Partition};
use crate::position::{Committed, Known, Resume, grown, resume};
use crate::watch::{LOG, STORE, watched};
use crate::{Error, telemetry};
use event::dedup::Window;
use lake::tables::TxnNames;
use log::ReadError;
use std::ops::Range;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Offset errors in a row, without a record between them, after which a partition stops. Retention may overtake the
/// rebuilding of a window once or twice; what goes on failing is a log that changes under us.
const OFFSET_ERRORS_MAX: u32 = 3;

impl Sink {
    /// Takes the partitions up where the tables say.
    pub(super) async fn resume_all(&mut self, partitions: &[u32]) -> Result<(), Error> {
        loop {
            match watched(&mut self.readiness, "a look at the tables", STORE, self.timing.slow, self.tables.reload())
                .await
            {
                Ok(()) => break,
                Err(error) => self.wait_for_lake(error).await?,
            }
        }
        let made_with = self.log.writer().partitions();
        let mut unanswered = Duration::ZERO;
        for partition in partitions {
            if *partition >= made_with {
                self.refuse(*partition, made_with);
            } else if self.is_spent(unanswered) {
                self.put_aside_unasked(*partition);
            } else {
                unanswered += self.resume(*partition).await?;
            }
        }
        // It was the tables' time, not the log's.
        self.heard();
        self.recovered();
        Ok(())
    }

    /// Takes one partition up where the snapshot last seen says; what was buffered of it is thrown away. Returns how
    /// long the log was asked in vain; then it is put aside.
    async fn resume(&mut self, number: u32) -> Result<Duration, Error> {
        self.buffer.drop_partition(number);
        let names = self.tables.names(number);
        let before = self.partitions.remove(&number);
        let (offset_errors, oldest) = before.as_ref().map_or((0, None), |before| (before.offset_errors, before.oldest));
        let mut known =
            before.as_ref().map(|before| before.known).or(self.known.get(&number).copied()).unwrap_or_default();
        // What was seen so far was of the log as it was until now.
        known.prove();
        self.known.insert(number, known);
        let (committed, dead_committed) = self.stored(&names).await?;
        let dead_last = dead_committed.map(|dead| dead.last);
        let (decision, held) = match self.sought(number, committed.as_ref(), dead_last, known).await? {
            Ok(sought) => sought,
            Err(Unanswered::GaveUp) => return Ok(Duration::ZERO),
            Err(Unanswered::Silent(silence)) => {
                // By what it was before, the log is recognised when it answers.
                self.partitions.extend(before.map(|before| (number, before)));
                return Ok(self.put_aside(number, silence));
            }
        };
        let (from, gapless) = (decision.from(&held), self.log.is_gapless());
        let window = Window::new(self.tables.dedup_rows);
        let mut partition = Partition::new(names, committed, dead_committed, window, from, gapless);
        partition.drain_to = self.drain.map(|_| held.end);
        partition.offset_errors = offset_errors;
        partition.oldest = oldest.filter(|_| partition.lake_next() < held.end);
        partition.known = known;
        if !matches!(decision, Resume::Stop(_)) {
            partition.known.cut_off_at(held.end);
            partition.see_end(held.end, self.clock.now());
        }
        self.partitions.insert(number, partition);
        self.aside.remove(number);
        self.aside.answered();
        self.readiness.forget(number);
        self.count_stopped();
        if let Resume::Stop(words) = decision {
            self.mark_stopped(number, words);
            return Ok(Duration::ZERO);
        }
        warn_of_loss(number, &decision, &held, known);
        let Some(Committed { last, .. }) = committed else { return Ok(Duration::ZERO) };
        telemetry::position(number, last);
        // The record that is compared on the way there is gone already.
        if from > last {
            self.release(number, last + 1).await?;
        }
        Ok(Duration::ZERO)
    }

    /// The log was given more partitions than it was made with, while it is read. Nothing is asked of one: who opened the
    /// log knows of no such partition.
    fn refuse(&mut self, number: u32, made_with: u32) {
        let (names, window) = (self.tables.names(number), Window::new(self.tables.dedup_rows));
        let partition = Partition::new(names, None, None, window, 0, self.log.is_gapless());
        self.partitions.insert(number, partition);
        self.mark_stopped(number, grown(made_with));
    }

    /// What the tables say of a partition.
    async fn stored(&mut self, names: &TxnNames) -> Result<(Option<Committed>, Option<DeadCommitted>), Error> {
        loop {
            let stored = async { Ok((self.tables.committed(names).await?, self.tables.dead_committed(names).await?)) };
            match stored.await {
                Ok(stored) => return Ok(stored),
                Err(error) => self.wait_for_lake(error).await?,
            }
        }
    }

    /// Decides how to go on, and puts the reader there.
    async fn sought(
        &mut self,
        number: u32,
        committed: Option<&Committed>,
        dead_last: Option<u64>,
        known: Known,
    ) -> Result<Asked<(Resume, Range<u64>)>, Error> {
        let (since, mut overtaken) = (Instant::now(), 0);
        loop {
            let held = match self.bounds(number).await? {
                Ok(held) => held,
                Err(unanswered) => return Ok(Err(unanswered)),
            };
            let decision = resume(committed, dead_last, &held, known.sure, self.log.is_gapless());
            match self.seek(number, decision.from(&held)).await? {
                Ok(Ok(())) => return Ok(Ok((decision, held))),
                // Retention moved on between the two calls: look again.
                Ok(Err(_)) if overtaken < OFFSET_ERRORS_MAX => overtaken += 1,
                Ok(Err(error)) => {
                    let silence = Silence { words: error.to_string(), took: since.elapsed() };
                    return Ok(Err(Unanswered::Silent(silence)));
                }
                Err(unanswered) => return Ok(Err(unanswered)),
            }
        }
    }

    /// The log no longer has, or not yet, what is next: the tables decide how to go on.
    pub(super) async fn offset_error(&mut self, number: u32, words: String) -> Result<(), Error> {
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Err(Error::Broken(format!("the log reports partition {number} that it didn't assign: {words}")));
        };
        if partition.is_aside() {
            // It will be sought anew.
            sleep(self.backoff.wait()).await;
            return Ok(());
        }
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
        // Another log, with records up to the position again, would be recognised on the way there too; but here it is
        // still known what was read of the former one.
        self.take_up(number).await
    }

    /// Stops a partition in words; the others go on.
    pub(super) async fn stop(&mut self, number: u32, words: String) -> Result<(), Error> {
        self.mark_stopped(number, words);
        self.park(number).await
    }

    pub(super) fn mark_stopped(&mut self, number: u32, words: String) {
        tracing::error!(partition = number, words, "partition stopped");
        self.buffer.drop_partition(number);
        let now = self.clock.now();
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.stop(now);
        }
        self.aside.remove(number);
        self.readiness.stop(number, words);
        self.count_stopped();
    }

    pub(super) fn count_stopped(&self) {
        telemetry::stopped(self.partitions.values().filter(|partition| partition.is_stopped()).count());
    }

    /// Puts the reader of a stopped partition at the log's end: a position that is out of range would be an error at
    /// each read, and hold up the other partitions. What comes there is ignored. When the log does not answer, or moves on
    /// meanwhile, the next such error leads here again.
    pub(super) async fn park(&mut self, number: u32) -> Result<(), Error> {
        let Ok(held) = self.bounds(number).await? else { return Ok(()) };
        if let Ok(Ok(())) = self.seek(number, held.end).await? {
            self.recovered();
        }
        Ok(())
    }

    /// Partitions are another sink's from here on. What is buffered of them is thrown away, also when the group could
    /// be made to wait for a flush: that would hold up every member for as long as the store takes, and a flush of a
    /// partition that was lost rather than asked back (a sink that had slept) loses the compare-and-swap, and with it
    /// the rows of all partitions. So a rebalance costs its next owner what this one had read since the last commit: at
    /// most one flush's age. A commit that was under way has ended before this is called, one way or the other.
    pub(super) fn revoke(&mut self, partitions: &[u32]) {
        for number in partitions {
            self.buffer.drop_partition(*number);
            if let Some(partition) = self.partitions.remove(number) {
                self.known.insert(*number, partition.known);
            }
            self.aside.remove(*number);
            self.readiness.forget(*number);
            self.lags.forget(*number);
        }
        self.count_stopped();
        telemetry::revoked(partitions.len(), self.partitions.len());
    }

    /// The table holds everything below `offset`: retention by age and budget may drop it. The dedup window reaches
    /// further back, to D, but may be cut short: held back for it, a full disk would refuse events for the sake of
    /// duplicates that are found again when their date is compacted.
    pub(super) async fn release(&mut self, partition: u32, offset: u64) -> Result<(), Error> {
        let limit = self.limit();
        let released = self.reader.release(partition, offset);
        let released = watched(&mut self.readiness, "a release", LOG, self.timing.slow, released);
        match limit.of(released).await {
            Some(Ok(())) => {
                self.heard();
                self.recovered();
                Ok(())
            }
            Some(Err(error @ ReadError::Corrupt(_))) => Err(error.into()),
            None => Ok(()),
            Some(Err(error)) => {
                tracing::warn!(partition, offset, %error, "the log was not told what it may drop; the next commit tells it");
                Ok(())
            }
        }
    }
}

/// Says what a partition goes on without, though it goes on.
fn warn_of_loss(number: u32, decision: &Resume, held: &Range<u64>, known: Known) {
    if let Resume::Rebuild { window_records_lost: records_lost @ 1.., .. } = decision {
        telemetry::window_cut();
        tracing::warn!(
            partition = number,
            records_lost,
            "the dedup window begins short: retention dropped records that it was made of, retries of their events may \
             get in until it is full again"
        );
    }
    let end = held.end;
    if end < known.sure {
        tracing::error!(
            partition = number,
            "records {end}..{} are gone from the log before they reached the lake: it was cut off above what the lake \
             holds",
            known.sure
        );
    }
}
