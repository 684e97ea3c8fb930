//! A partition of which the log answers no question (its leader is away) holds up no other: it is put aside, what is
//! buffered of it is thrown away (the log has it), and it is taken up again once the log answers.
//!
//! What is kept of it is a few fingerprints: a log that comes back as another one is still told from the one that was.
use super::Sink;
use super::identity::Recognised;
use super::waiting::Unanswered;
use crate::Error;
use crate::aside::Silence;
use crate::partition::Partition;
use event::dedup::Window;
use std::time::Duration;
use tokio::time::Instant;

/// Partitions are asked one after the other, and nothing is read meanwhile. When those that don't answer have taken so
/// many times what one may take, the rest is put aside unasked: the group would take a reader that does not read for
/// dead.
const ROUND_FACTOR: u32 = 3;

impl Sink {
    /// True when questions to several partitions have taken all the time that there is.
    pub(super) fn is_spent(&self, unanswered: Duration) -> bool {
        unanswered >= self.timing.answer * ROUND_FACTOR
    }

    /// The log was asked in vain for a partition that is read. Returns what that took.
    pub(super) fn unanswered(&mut self, number: u32, unanswered: Unanswered) -> Duration {
        match unanswered {
            Unanswered::Silent(silence) => self.put_aside(number, silence),
            Unanswered::GaveUp => {
                self.buffer.drop_partition(number);
                if let Some(partition) = self.partitions.get_mut(&number) {
                    partition.forget();
                }
                Duration::ZERO
            }
        }
    }

    /// To be taken up later. Returns what the question took.
    pub(super) fn put_aside(&mut self, number: u32, silence: Silence) -> Duration {
        let Silence { words, took } = silence;
        tracing::warn!(partition = number, words, "log can't be read now: the partition is put aside");
        self.set_aside(number, words);
        let wait = self.backoff.wait();
        self.aside.put(number, took, wait, Instant::now());
        took
    }

    /// The same for one that was not asked, since others did not answer.
    pub(super) fn put_aside_unasked(&mut self, number: u32) {
        self.set_aside(number, "other partitions did not answer, this one was not asked yet".to_owned());
        self.aside.put_unasked(number);
    }

    fn set_aside(&mut self, number: u32, words: String) {
        self.buffer.drop_partition(number);
        let now = self.clock.now();
        if !self.partitions.contains_key(&number) {
            let (names, window) = (self.tables.names(number), Window::new(self.tables.dedup_rows));
            let mut partition = Partition::new(names, None, None, window, 0, self.log.is_gapless());
            partition.known = self.known.get(&number).copied().unwrap_or_default();
            self.partitions.insert(number, partition);
        }
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.put_aside(now);
        }
        self.readiness.put_aside(number, words);
        self.count_stopped();
    }

    /// The partition to be tried next, and when; `None` for that: now.
    pub(super) fn next_aside(&self) -> Option<(u32, Option<Instant>)> {
        // What a sink that stops has not read is read at the next start.
        if self.drain.is_some() { None } else { self.aside.next(!self.healthy().is_empty()) }
    }

    /// Takes a partition up again, if the log answers and is still the one that it was.
    pub(super) async fn take_up(&mut self, number: u32) -> Result<(), Error> {
        match self.recognise(number).await? {
            Recognised::No(words) => self.stop(number, words).await,
            Recognised::Yes | Recognised::NoAnchor(_) => self.resume_all(&[number]).await,
            Recognised::Unanswered(unanswered) => {
                self.unanswered(number, unanswered);
                Ok(())
            }
        }
    }
}
