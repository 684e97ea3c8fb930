//! When to flush: by rows, bytes or age. Pure: time is passed in.
use crate::Config;
use std::time::Duration;
use tokio::time::Instant;

/// Positions without rows wait this many times longer than rows: they only keep the log from being pinned.
const POSITIONS_AGE_FACTOR: u32 = 10;

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
}

impl FlushPolicy {
    pub(crate) fn new(config: &Config) -> Self {
        FlushPolicy {
            rows: config.flush_rows,
            bytes: config.flush_bytes,
            age: Duration::from_millis(config.flush_age_ms),
        }
    }

    /// When what waits must be flushed.
    pub(crate) fn due(&self, waiting: &Waiting, now: Instant) -> Due {
        if waiting.rows > 0 && (waiting.rows >= self.rows || waiting.bytes >= self.bytes) {
            return Due::Now;
        }
        let rows = waiting.rows_since.map(|since| since + self.age);
        let positions = waiting.records_since.map(|since| since + self.age * POSITIONS_AGE_FACTOR);
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
}
