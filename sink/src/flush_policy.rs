//! When to flush: by rows, bytes or age. Pure: time is passed in.
use crate::Config;
use std::time::Duration;
use tokio::time::Instant;

/// Positions without rows wait this many times longer than rows: they only keep the log from being pinned.
const POSITIONS_AGE_FACTOR: u32 = 10;

/// A flush comes up to this share of its age early, at random: sinks that were started together would else meet at each
/// commit, and all but one would build theirs again.
const EARLY: f64 = 0.1;
/// The age is halved for each flush lost in a row to another sink, this often at most: two sinks that believe that the
/// same partitions are theirs take turns, or the one that always begins a moment later would always lose.
const HALVINGS_MAX: u32 = 4;

/// What waits to be committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Rows and dead letters.
    pub(crate) rows: usize,
    /// Bytes of memory that they take.
    pub(crate) bytes: usize,
    /// When the first of them came.
    pub(crate) rows_since: Option<Instant>,
    /// When the first record came whose position isn't committed, with or without rows.
    pub(crate) records_since: Option<Instant>,
}

/// When to flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing waits.
    Never,
    /// Then, if nothing more comes.
    At(Instant),
    /// Now.
    Now,
}

/// The limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushPolicy {
    rows: usize,
    bytes: usize,
    age: Duration,
    /// The age of the next flush: at most `age`.
    next_age: Duration,
}

impl FlushPolicy {
    pub(crate) fn new(config: &Config) -> Self {
        FlushPolicy {
            rows: config.flush_rows,
            bytes: config.flush_bytes,
            age: Duration::from_millis(config.flush_age_ms),
            next_age: Duration::from_millis(config.flush_age_ms),
        }
    }

    /// Sets the age of the next flush. `unit`: random, 0..1. `lost`: flushes lost in a row to another sink.
    pub(crate) fn next_flush(&mut self, unit: f64, lost: u32) {
        self.next_age = self.age.mul_f64(1.0 - EARLY * unit) / (1 << lost.min(HALVINGS_MAX));
    }

    /// When what waits must be flushed.
    pub(crate) fn due(&self, waiting: &Waiting, now: Instant) -> Due {
        if waiting.rows > 0 && (waiting.rows >= self.rows || waiting.bytes >= self.bytes) {
            return Due::Now;
        }
        let rows = waiting.rows_since.map(|since| since + self.next_age);
        let positions = waiting.records_since.map(|since| since + self.next_age * POSITIONS_AGE_FACTOR);
        match [rows, positions].into_iter().flatten().min() {
            None => Due::Never,
            Some(at) if at <= now => Due::Now,
            Some(at) => Due::At(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    fn policy() -> FlushPolicy {
        FlushPolicy::new(&Config { flush_rows: 100, flush_bytes: 1000, flush_age_ms: 10_000 })
    }

    fn rows(rows: usize, bytes: usize, since: Instant) -> Waiting {
        Waiting { rows, bytes, rows_since: Some(since), records_since: Some(since) }
    }

    #[test]
    fn rows_bytes_and_age_each_make_a_flush_due() {
        let now = Instant::now();
        assert_eq!(policy().due(&rows(99, 999, now), now), Due::At(now + AGE));
        assert_eq!(policy().due(&rows(100, 1, now), now), Due::Now);
        assert_eq!(policy().due(&rows(1, 1000, now), now), Due::Now);
        assert_eq!(policy().due(&rows(1, 1, now), now + AGE), Due::Now);
    }

    #[test]
    fn an_idle_sink_never_commits() {
        assert_eq!(policy().due(&Waiting::default(), Instant::now()), Due::Never);
    }

    #[test]
    fn positions_without_rows_wait_ten_times_longer() {
        let now = Instant::now();
        let waiting = Waiting { records_since: Some(now), ..Waiting::default() };
        assert_eq!(policy().due(&waiting, now + AGE), Due::At(now + AGE * 10));
        assert_eq!(policy().due(&waiting, now + AGE * 10), Due::Now);
    }

    #[test]
    fn positions_that_wait_already_do_not_wait_for_rows_that_came_late() {
        let now = Instant::now();
        let late = now + AGE * 10 - Duration::from_secs(1);
        let waiting = Waiting { records_since: Some(now), ..rows(1, 1, late) };
        assert_eq!(policy().due(&waiting, late), Due::At(now + AGE * 10));
    }

    #[test]
    fn a_flush_comes_a_little_early_and_never_late() {
        let now = Instant::now();
        let mut policy = policy();
        for (unit, age_ms) in [(0.0, 10_000), (0.5, 9_500), (0.999_999, 9_000)] {
            policy.next_flush(unit, 0);
            let Due::At(at) = policy.due(&rows(1, 1, now), now) else { panic!("it is due later") };
            assert_eq!((at - now).as_millis(), age_ms);
        }
    }

    /// Two sinks on the same partitions, in a time of their own: whoever commits makes the other one read again.
    #[test]
    fn of_two_sinks_that_fight_each_makes_progress() {
        let begin = Instant::now();
        let mut sinks = [(policy(), begin, 0_u32), (policy(), begin + Duration::from_millis(700), 0)];
        let mut commits = [0; 2];
        let mut last_commit = begin;
        for _ in 0..40 {
            let due = |(policy, since, _): &(FlushPolicy, Instant, u32)| match policy.due(&rows(1, 1, *since), *since) {
                Due::At(at) => at,
                _ => unreachable!("one row is not due at once"),
            };
            let turn = usize::from(due(&sinks[1]) < due(&sinks[0]));
            let now = due(&sinks[turn]);
            let (policy, since, lost) = &mut sinks[turn];
            if *since < last_commit {
                *lost += 1;
            } else {
                (commits[turn], last_commit, *lost) = (commits[turn] + 1, now, 0);
            }
            (*since, _) = (now + Duration::from_millis(100), policy.next_flush(0.0, *lost));
        }
        assert!(commits.iter().all(|commits| *commits >= 5), "{commits:?}");
    }
}
