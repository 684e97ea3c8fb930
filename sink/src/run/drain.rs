//! Draining: told to stop, the sink reads up to the end as it is then, flushes, and ends.
//!
//! A log that is silent meanwhile ends the drain early. Then what was read is committed if the log can still be
//! recognised ([`super::identity`]); what can't be is thrown away, and read again at the next start: the log has it.
use super::Sink;
use crate::Error;
use crate::partition::Partition;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// A sink that was told to stop before it was given any partition waits for them this long.
const ASSIGNMENT_WAIT: Duration = Duration::from_secs(1);
/// After it gave up reading, the log has this long to answer the questions before the last commit.
const LAST_QUESTIONS: Duration = Duration::from_secs(3);

/// A drain under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    since: Instant,
    /// When the log was heard last.
    heard: Instant,
    /// When it gave up.
    gave_up: Option<Instant>,
    /// The ends to read up to were asked for.
    begun: bool,
}

/// How long a question to the log may take.
pub(super) struct Limit {
    until: Option<Instant>,
    shutdown: CancellationToken,
    silence: Duration,
}

impl Limit {
    /// The work's outcome; `None`: it took too long, and was dropped.
    pub(super) async fn of<T>(self, work: impl Future<Output = T>) -> Option<T> {
        let passed = async {
            if let Some(at) = self.until {
                return sleep_until(at).await;
            }
            self.shutdown.cancelled().await;
            sleep(self.silence).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = passed => None,
        }
    }
}

impl Sink {
    /// From here on: read up to the end as it is now, flush, stop.
    pub(super) async fn begin_drain(&mut self) -> Result<(), Error> {
        self.heed_stop();
        if let Some(drain) = &mut self.drain {
            drain.begun = true;
        }
        tracing::info!(topic = self.log.topic(), partitions = self.partitions.len(), "sink drains");
        for number in self.healthy() {
            let Ok(held) = self.bounds(number).await? else { return Ok(()) };
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.drain_to = Some(held.end);
            }
        }
        self.recovered();
        Ok(())
    }

    /// Told to stop, also while it waits for an answer: from here on the log has only so much time for that.
    pub(super) fn heed_stop(&mut self) {
        if self.shutdown.is_cancelled() {
            let now = Instant::now();
            self.drain.get_or_insert(Drain { since: now, heard: now, gave_up: None, begun: false });
        }
    }

    /// True once the drain has begun.
    pub(super) fn drains(&self) -> bool {
        self.drain.is_some_and(|drain| drain.begun)
    }

    pub(super) fn is_drained(&self) -> bool {
        let Some(drain) = &self.drain else { return false };
        let given = drain.begun && (self.assigned || drain.since.elapsed() >= ASSIGNMENT_WAIT);
        drain.gave_up.is_some() || given && self.partitions.values().all(Partition::is_drained)
    }

    pub(super) fn gave_up(&self) -> bool {
        self.drain.is_some_and(|drain| drain.gave_up.is_some())
    }

    /// The log answered.
    pub(super) fn heard(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.heard = Instant::now();
        }
    }

    /// How long a question to the log may take.
    pub(super) fn limit(&mut self) -> Limit {
        self.heed_stop();
        Limit { until: self.patience(), shutdown: self.shutdown.clone(), silence: self.timing.silence }
    }

    /// Until when a question to the log may take; `None`: however long, while nobody wants the sink to stop.
    pub(super) fn patience(&self) -> Option<Instant> {
        let drain = self.drain?;
        Some(match drain.gave_up {
            Some(at) => at + LAST_QUESTIONS,
            None => drain.heard + self.timing.silence,
        })
    }

    pub(super) fn is_silent(&self) -> bool {
        !self.gave_up() && self.patience().is_some_and(|at| at <= Instant::now())
    }

    /// When a drain must be looked at again, though nothing was read.
    pub(super) fn drain_wakes_at(&self) -> Option<Instant> {
        let drain = self.drain?;
        let assignment = (!self.assigned).then_some(drain.since + ASSIGNMENT_WAIT);
        assignment.into_iter().chain(self.patience()).min()
    }

    /// Reads no more, and leaves the rest to the next start. `silent`: who does not answer.
    pub(super) fn give_up(&mut self, silent: &str) {
        let Some(drain) = &mut self.drain else { return };
        if drain.gave_up.is_some() {
            return;
        }
        drain.gave_up = Some(Instant::now());
        let words = format!(
            "{silent} did not answer for {:?} while the sink was stopping: what it had not read is read at the next start",
            self.timing.silence
        );
        tracing::warn!(words, "sink gives up draining");
        self.readiness.trouble(words);
    }
}
