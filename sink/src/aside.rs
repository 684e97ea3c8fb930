//! Partitions that are put aside, since the log does not answer for them, and when to ask for one of them again. Pure:
//! time is passed in.
//!
//! A question that is not answered takes seconds in which nothing else is read. So beside partitions that are read it is
//! asked seldom, by what it took: the others keep four fifths of the time. Where there are none, it is asked as often as
//! anything else that failed.
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Beside partitions that are read, the pause after a question is this many times what it took.
const PAUSE_FACTOR: u32 = 4;

/// Why a partition is put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Silence {
    /// What the log says, or that it says nothing.
    pub(crate) words: String,
    /// How long it was waited for.
    pub(crate) took: Duration,
}

/// They wait in a row.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    row: VecDeque<u32>,
    asked: Option<Asked>,
}

/// The last question without an answer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    took: Duration,
    wait: Duration,
}

impl Aside {
    /// It was asked in vain until `now`, which took `took`: goes to the end of the row, and none is tried for `wait`.
    pub(crate) fn put(&mut self, partition: u32, took: Duration, wait: Duration, now: Instant) {
        self.remove(partition);
        self.row.push_back(partition);
        self.asked = Some(Asked { at: now, took, wait });
    }

    /// It was not asked: goes to the front of the row.
    pub(crate) fn put_unasked(&mut self, partition: u32) {
        self.remove(partition);
        self.row.push_front(partition);
    }

    /// It is read again, has stopped, or is another sink's.
    pub(crate) fn remove(&mut self, partition: u32) {
        self.row.retain(|waits| *waits != partition);
    }

    /// The one to try next, and when. `busy`: other partitions are read.
    pub(crate) fn next(&self, busy: bool) -> Option<(u32, Option<Instant>)> {
        let first = *self.row.front()?;
        let at = self.asked.map(|Asked { at, took, wait }| {
            let pause = if busy { wait.max(took * PAUSE_FACTOR) } else { wait };
            at + pause
        });
        Some((first, at))
    }

    /// One answered: the next one is tried at once.
    pub(crate) fn answered(&mut self) {
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(100);
    const TOOK: Duration = Duration::from_secs(5);

    #[test]
    fn a_question_takes_at_most_a_fifth_of_the_time_of_the_partitions_that_are_read() {
        let now = Instant::now();
        let mut aside = Aside::default();
        assert_eq!(aside.next(true), None);
        aside.put(3, TOOK, WAIT, now);
        assert_eq!(aside.next(true), Some((3, Some(now + TOOK * 4))));
        assert_eq!(aside.next(false), Some((3, Some(now + WAIT))));
        aside.put(3, Duration::ZERO, WAIT, now);
        assert_eq!(aside.next(true), Some((3, Some(now + WAIT))));
    }

    #[test]
    fn they_take_turns_and_once_one_answers_the_others_are_asked_at_once() {
        let now = Instant::now();
        let mut aside = Aside::default();
        aside.put(1, TOOK, WAIT, now);
        aside.put_unasked(2);
        aside.put(2, TOOK, WAIT, now);
        assert_eq!(aside.next(false).map(|(first, _)| first), Some(1));
        aside.put(1, TOOK, WAIT, now);
        assert_eq!(aside.next(false).map(|(first, _)| first), Some(2));
        aside.remove(2);
        aside.answered();
        assert_eq!(aside.next(true), Some((1, None)));
    }
}
