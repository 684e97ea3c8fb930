//! How far apart the records of a partition are. Pure: time is passed in.
//!
//! A record costs as much as some thirty of its events, on this side and on the readers' (docs/benchmarks.md). While a
//! node makes few of them, each goes at once. Where it would make thousands a second, batches wait for more events, so
//! long that all its partitions together make about `appends_per_s`: what an event costs then does not depend on how
//! many partitions there are. That holds up to an interval of 100 ms, 100 partitions by default; more make more records.
//!
//! Clients that wait for an answer before they post again send nothing while batches wait. So batches also go when as
//! many requests are in flight as ever were at once in the last seconds: nobody is left who could add to them. How many
//! could is seen now and then, when batches wait to the end of an interval whoever is there.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The longest that a record waits for the one before it, be there ever so many partitions.
const INTERVAL_MAX: Duration = Duration::from_millis(100);
/// Rates are taken over this time at least, and over two intervals: batches come in bursts.
const RATE_TIME: Duration = Duration::from_millis(50);
/// Batches wait where a node would make so many times the records that it makes then.
const UNPACED_RATIO: f64 = 2.0;
/// The most requests that were in flight at once are of this time, and of as much before it. At its start an interval is
/// waited out: a twentieth of the time, or a tenth at worst.
const IN_FLIGHT_TIME: Duration = Duration::from_secs(2);

/// The pace of a node's batches.
pub struct Pace {
    appends_per_s: f64,
    /// Between two records of a partition, while batches wait.
    interval: Duration,
    /// Batches wait.
    paced: AtomicBool,
    /// Requests whose batches are not durable yet.
    in_flight: AtomicUsize,
    /// Most at once, in the current time and in the one before.
    in_flight_max: AtomicUsize,
    in_flight_max_before: AtomicUsize,
    rates: Mutex<Rates>,
}

/// What went since when.
struct Rates {
    /// While this is still to come, an interval is waited out, and what goes says nothing of the rates.
    since: Instant,
    events: usize,
    appends: usize,
    in_flight_since: Instant,
    /// Until then batches wait, whoever is there.
    waited_out_at: Instant,
    released_at: Option<Instant>,
}

/// What holds for batches now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pacing {
    /// Between two records of a partition.
    pub interval: Duration,
    /// Batches that were opened until then wait no more.
    pub released_at: Option<Instant>,
}

impl Pace {
    /// So that `partitions` together make `appends_per_s` records a second, where more would be made otherwise; 0:
    /// batches never wait. None waits longer than `wait_max`.
    pub fn new(appends_per_s: u32, partitions: u32, wait_max: Duration, now: Instant) -> Self {
        let interval = match appends_per_s {
            0 => Duration::ZERO,
            per_s => (Duration::from_secs(1) * partitions / per_s).min(INTERVAL_MAX).min(wait_max),
        };
        let rates =
            Rates { since: now, events: 0, appends: 0, in_flight_since: now, waited_out_at: now, released_at: None };
        Pace {
            appends_per_s: f64::from(appends_per_s),
            interval,
            paced: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            in_flight_max_before: AtomicUsize::new(0),
            rates: Mutex::new(rates),
        }
    }

    /// A batch of so many events goes.
    pub fn went(&self, events: usize, now: Instant) {
        let mut rates = self.rates();
        if now >= rates.since {
            rates.events += events;
            rates.appends += 1;
            if now - rates.since >= RATE_TIME.max(2 * self.interval) {
                self.judge(&mut rates, now);
            }
        }
        let elapsed = now.saturating_duration_since(rates.in_flight_since);
        if elapsed >= IN_FLIGHT_TIME {
            let most = self.in_flight_max.swap(self.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
            // After a time without any batch the most is of long ago.
            let most = if elapsed < 2 * IN_FLIGHT_TIME { most } else { 0 };
            self.in_flight_max_before.store(most, Ordering::Relaxed);
            rates.in_flight_since = now;
            self.wait_out(&mut rates, now);
        }
    }

    /// Whether batches wait from now on, by what went since.
    fn judge(&self, rates: &mut Rates, now: Instant) {
        let seconds = (now - rates.since).as_secs_f64();
        let paced = self.paced.load(Ordering::Relaxed);
        let unpaced_max = if paced { rates.events } else { rates.appends };
        let pace = unpaced_max as f64 > UNPACED_RATIO * self.appends_per_s * seconds && !self.interval.is_zero();
        self.paced.store(pace, Ordering::Relaxed);
        (rates.since, rates.events, rates.appends) = (now, 0, 0);
        if pace && !paced {
            self.wait_out(rates, now);
        }
    }

    /// Batches wait for an interval, whoever is there: so many requests could be in flight.
    fn wait_out(&self, rates: &mut Rates, now: Instant) {
        if self.paced.load(Ordering::Relaxed) {
            rates.waited_out_at = now + self.interval;
            (rates.since, rates.events, rates.appends) = (rates.waited_out_at, 0, 0);
        }
    }

    /// What holds for batches now.
    pub fn pacing(&self) -> Pacing {
        if !self.paced.load(Ordering::Relaxed) {
            return Pacing::default();
        }
        Pacing { interval: self.interval, released_at: self.rates().released_at }
    }

    /// A request is in flight until the guard is dropped. True: all who could be are, and batches wait in vain.
    pub fn begin(&self, now: Instant) -> (InFlight<'_>, bool) {
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let most = self.in_flight_max.fetch_max(in_flight, Ordering::Relaxed);
        let most = most.max(self.in_flight_max_before.load(Ordering::Relaxed));
        let all = in_flight >= most && self.paced.load(Ordering::Relaxed) && self.release(now);
        (InFlight(self), all)
    }

    fn release(&self, now: Instant) -> bool {
        let mut rates = self.rates();
        let may = now >= rates.waited_out_at;
        if may {
            // Two requests may come here in another order than they looked at the clock.
            rates.released_at = rates.released_at.max(Some(now));
        }
        may
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        // Nothing under the lock can be left half done that matters: a rate is wrong for a moment.
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is in flight.
pub struct InFlight<'a>(&'a Pace);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn node(appends_per_s: u32, partitions: u32, now: Instant) -> Pace {
        Pace::new(appends_per_s, partitions, SECOND, now)
    }

    /// A node of 16 partitions after a second in which so many batches of so many events went.
    fn after(appends_per_s: u32, appends: u32, events: usize) -> (Pace, Instant) {
        let start = Instant::now();
        let pace = node(appends_per_s, 16, start);
        go_on(&pace, start, appends, events);
        (pace, start + SECOND)
    }

    fn go_on(pace: &Pace, start: Instant, appends: u32, events: usize) {
        (1..=appends).for_each(|number| pace.went(events, start + SECOND * number / appends));
    }

    fn is_paced(pace: &Pace) -> bool {
        !pace.pacing().interval.is_zero()
    }

    #[test]
    fn batches_wait_where_a_node_would_make_too_many_records() {
        assert!(is_paced(&after(1_000, 2_100, 3).0));
        assert!(!is_paced(&after(1_000, 1_900, 3_000).0), "few records, be they ever so large");
        assert!(!is_paced(&after(0, 1_000_000, 1).0), "told never to wait");
    }

    #[test]
    fn they_wait_so_long_that_all_partitions_together_make_what_is_set() {
        assert_eq!(after(1_000, 2_100, 3).0.pacing().interval, 16 * MS);
        assert_eq!(after(500, 2_100, 3).0.pacing().interval, 32 * MS);
        assert_eq!(node(1_000, 256, Instant::now()).interval, INTERVAL_MAX);
        assert_eq!(Pace::new(1_000, 256, 20 * MS, Instant::now()).interval, 20 * MS);
    }

    #[test]
    fn they_wait_on_while_enough_events_come_though_few_records_are_made() {
        let (pace, now) = after(1_000, 2_100, 3);
        go_on(&pace, now, 1_000, 3);
        assert!(is_paced(&pace));
        go_on(&pace, now + SECOND, 950, 2);
        assert!(!is_paced(&pace), "each event could be a record of its own");
    }

    #[test]
    fn one_burst_of_records_makes_none_wait() {
        let start = Instant::now();
        let pace = node(1_000, 16, start);
        (0..90).for_each(|_| pace.went(1, start + 49 * MS));
        pace.went(1, start + 50 * MS);
        assert!(!is_paced(&pace));
    }

    #[test]
    fn an_interval_that_is_waited_out_is_no_sign_of_few_events() {
        let start = Instant::now();
        let pace = node(1_000, 100, start);
        let mut now = start;
        while !is_paced(&pace) {
            now += MS / 3;
            pace.went(1, now);
        }
        // Nothing goes for an interval, and then all at once, four seconds long.
        for _ in 0..40 {
            now += INTERVAL_MAX;
            for _ in 0..100 {
                pace.went(3, now);
                assert!(is_paced(&pace), "after {:?}", now - start);
            }
        }
    }

    #[test]
    fn batches_are_released_when_as_many_requests_are_in_flight_as_ever_were() {
        let (pace, now) = after(1_000, 2_100, 3);
        let (first, _) = pace.begin(now);
        let (second, all) = pace.begin(now);
        assert!(all);
        drop((first, second));
        let (_one, all) = pace.begin(now + MS);
        assert!(!all, "another one was there before, and may come");
        assert_eq!(pace.pacing().released_at, Some(now));
        let (_other, all) = pace.begin(now + 2 * MS);
        assert!(all);
        let (_third, all) = pace.begin(now + MS);
        assert!(all, "one that looked at its clock before and comes after");
        assert_eq!(pace.pacing().released_at, Some(now + 2 * MS));
    }

    #[test]
    fn an_interval_is_waited_out_now_and_then_to_see_who_comes() {
        let (pace, now) = after(1_000, 2_100, 3);
        assert!(pace.begin(now).1);
        go_on(&pace, now, 2_100, 3);
        let later = now + SECOND;
        assert!(!pace.begin(later).1, "two seconds have begun");
        assert!(!pace.begin(later + 15 * MS).1);
        assert!(pace.begin(later + 16 * MS).1);
    }

    #[test]
    fn how_many_requests_were_in_flight_is_forgotten_after_four_seconds() {
        let (pace, now) = after(1_000, 2_100, 3);
        drop(std::array::from_fn::<_, 9, _>(|_| pace.begin(now).0));
        go_on(&pace, now, 2_100, 3);
        go_on(&pace, now + SECOND, 2_100, 3);
        assert!(!pace.begin(now + 2 * SECOND).1, "nine were two seconds ago");
        go_on(&pace, now + 2 * SECOND, 2_100, 3);
        go_on(&pace, now + 3 * SECOND, 2_100, 3);
        assert!(pace.begin(now + 4 * SECOND).1);
    }

    #[test]
    fn after_an_hour_without_a_batch_nothing_of_before_counts() {
        let (pace, now) = after(1_000, 2_100, 3);
        drop(std::array::from_fn::<_, 9, _>(|_| pace.begin(now).0));
        let later = now + 3_600 * SECOND;
        pace.went(1, later);
        go_on(&pace, later, 2_100, 3);
        assert!(pace.begin(later + SECOND).1);
    }

    #[test]
    fn where_none_waits_none_is_released() {
        let pace = node(1_000, 16, Instant::now());
        assert!(!pace.begin(Instant::now()).1);
    }
}
