//! Whether waiting for more events makes a record worth it. Pure: time is passed in.
use std::time::Duration;
use tokio::time::Instant;

/// A batch waits where so many events are to be expected within the interval.
const EVENTS_WORTH_A_WAIT: f64 = 64.0;
/// Intervals over which the rate is taken, at least.
pub const RATE_INTERVALS: u32 = 10;

/// Whether so many events come to a partition that waiting for more is worth it: by what went in the time before, and
/// not by one batch, since batches come in bursts.
#[derive(Default)]
pub struct ArrivalRate {
    since: Option<Instant>,
    events: usize,
    busy: bool,
}

impl ArrivalRate {
    /// Waiting is worth it.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// So many events went.
    pub fn add(&mut self, events: usize, interval: Duration, now: Instant) {
        self.events += events;
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed >= interval * RATE_INTERVALS {
            let expected = self.events as f64 * interval.div_duration_f64(elapsed);
            *self = ArrivalRate { since: Some(now), events: 0, busy: expected >= EVENTS_WORTH_A_WAIT };
        }
    }
}
