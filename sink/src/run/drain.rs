//! Draining: told to stop, the sink reads up to the end as it is then, flushes, and ends.
//!
//! A log that is silent meanwhile ends the drain early. Then what was read is committed if the log can still be
//! recognised ([`super::identity`]); what can't be is thrown away, and read again at the next start: the log has it.
use super::Sink;
use crate::Error;
use crate::partition::Partition;
use std::time::Duration;
use tokio::time::Instant;

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
}

impl Sink {
    /// From here on: read up to the end as it is now, flush, stop.
    pub(super) async fn begin_drain(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.drain = Some(Drain { since: now, heard: now, gave_up: None });
        tracing::info!(topic = self.log.topic(), partitions = self.partitions.len(), "sink drains");
        for number in self.healthy() {
            let Some(held) = self.bounds(number).await? else { return Ok(()) };
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.drain_to = Some(held.end);
            }
        }
        self.recovered();
        Ok(())
    }

    pub(super) fn is_drained(&self) -> bool {
        let Some(drain) = &self.drain else { return false };
        let given = self.assigned || drain.since.elapsed() >= ASSIGNMENT_WAIT;
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

    /// Until when a question to the log may take; `None`: however long.
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
