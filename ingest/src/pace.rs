//! How far apart the records of a partition are. Pure: time is passed in.
//!
//! A record costs as much as some thirty of its events, on this side and on the readers' (docs/benchmarks.md). While a
//! node makes few of them, each goes at once. Where it would make thousands a second, batches wait for more events, so
//! long that all its partitions together make about `appends_per_s`: what an event costs then does not depend on how
//! many partitions there are.
//!
//! Clients that wait for an answer before they post again send nothing while batches wait. So batches also go when as
//! many requests wait as ever did at once in the last seconds: nobody is left who could add to them. How many could is
//! seen now and then, when batches wait to the end of an interval whoever is there.
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The longest that a record waits for the one before it, be there ever so many partitions.
const INTERVAL_MAX: Duration = Duration::from_millis(100);
/// Rates are taken over this time at least: batches come in bursts.
const RATE_TIME: Duration = Duration::from_millis(50);
/// What is made without waiting before batches wait: so many times what is made then.
const WORTH_IT: f64 = 2.0;
/// The most requests that waited at once are of this time, and of as much before it. At its start an interval is waited
/// out: a twentieth of the time at most.
const MOST_TIME: Duration = Duration::from_secs(2);

/// The pace of a node's batches.
pub struct Pace {
    appends_per_s: f64,
    /// Between two records of a partition, while batches wait.
    interval: Duration,
    /// A copy of the rates' decision, for requests.
    waits: AtomicBool,
    /// Requests that wait for their batches now.
    waiting: AtomicUsize,
    /// Most that did at once, in the current time and in the one before.
    most: AtomicUsize,
    most_before: AtomicUsize,
    rates: Mutex<Rates>,
}

/// What went since when.
struct Rates {
    since: Instant,
    events: usize,
    appends: usize,
    most_since: Instant,
    /// Until then batches wait, whoever is there.
    waited_out_at: Instant,
    let_go_at: Option<Instant>,
}

/// What holds for batches now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait {
    /// Between two records of a partition.
    pub interval: Duration,
    /// Batches that were opened until then wait no more.
    pub let_go_at: Option<Instant>,
}

impl Pace {
    /// So that `partitions` together make `appends_per_s` records a second, where more would be made otherwise; 0:
    /// batches never wait.
    pub fn new(appends_per_s: u32, partitions: u32, now: Instant) -> Self {
        let interval = match appends_per_s {
            0 => Duration::ZERO,
            per_s => (Duration::from_secs(1) * partitions / per_s).min(INTERVAL_MAX),
        };
        Pace {
            appends_per_s: f64::from(appends_per_s),
            interval,
            waits: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            most_before: AtomicUsize::new(0),
            rates: Mutex::new(Rates {
                since: now,
                events: 0,
                appends: 0,
                most_since: now,
                waited_out_at: now,
                let_go_at: None,
            }),
        }
    }

    /// A batch of so many events goes.
    pub fn went(&self, events: usize, now: Instant) {
        let mut rates = self.rates();
        rates.events += events;
        rates.appends += 1;
        let elapsed = now.saturating_duration_since(rates.since);
        if elapsed >= RATE_TIME {
            let made = if self.waits.load(Ordering::Relaxed) { rates.events } else { rates.appends };
            let waits = made as f64 > WORTH_IT * self.appends_per_s * elapsed.as_secs_f64();
            let waits = waits && !self.interval.is_zero();
            let waited = self.waits.swap(waits, Ordering::Relaxed);
            (rates.since, rates.events, rates.appends) = (now, 0, 0);
            if waits && !waited {
                rates.waited_out_at = now + self.interval;
            }
        }
        if now.saturating_duration_since(rates.most_since) >= MOST_TIME {
            (rates.most_since, rates.waited_out_at) = (now, now + self.interval);
            let most = self.most.swap(self.waiting.load(Ordering::Relaxed), Ordering::Relaxed);
            self.most_before.store(most, Ordering::Relaxed);
        }
    }

    /// What holds for batches now.
    pub fn wait(&self) -> Wait {
        if !self.waits.load(Ordering::Relaxed) {
            return Wait::default();
        }
        Wait { interval: self.interval, let_go_at: self.rates().let_go_at }
    }

    /// A request waits for its batches, until the guard is dropped. True: all who could come are here, and batches wait
    /// in vain.
    pub fn request_waits(&self, now: Instant) -> (Waiting<'_>, bool) {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        let most = self.most.fetch_max(waiting, Ordering::Relaxed).max(self.most_before.load(Ordering::Relaxed));
        let all = waiting >= most && self.waits.load(Ordering::Relaxed) && self.let_go(now);
        (Waiting(self), all)
    }

    fn let_go(&self, now: Instant) -> bool {
        let mut rates = self.rates();
        let may = now >= rates.waited_out_at;
        if may {
            rates.let_go_at = Some(now);
        }
        may
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        // Nothing under the lock can be left half done that matters: a rate is wrong for a moment.
        self.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A request that waits.
pub struct Waiting<'a>(&'a Pace);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    const SECOND: Duration = Duration::from_secs(1);

    /// A node of 16 partitions after a second in which so many batches of so many events went.
    fn after(appends_per_s: u32, appends: u32, events: usize) -> (Pace, Instant) {
        let start = Instant::now();
        let pace = Pace::new(appends_per_s, 16, start);
        go_on(&pace, start, appends, events);
        (pace, start + SECOND)
    }

    fn go_on(pace: &Pace, start: Instant, appends: u32, events: usize) {
        (1..=appends).for_each(|number| pace.went(events, start + SECOND * number / appends));
    }

    fn waits(pace: &Pace) -> bool {
        !pace.wait().interval.is_zero()
    }

    #[test]
    fn batches_wait_where_a_node_would_make_too_many_records() {
        assert!(waits(&after(1_000, 2_100, 3).0));
        assert!(!waits(&after(1_000, 1_900, 3_000).0), "few records, be they ever so large");
        assert!(!waits(&after(0, 1_000_000, 1).0), "told never to wait");
    }

    #[test]
    fn they_wait_so_long_that_all_partitions_together_make_what_is_set() {
        assert_eq!(after(1_000, 2_100, 3).0.wait().interval, 16 * MS);
        assert_eq!(after(500, 2_100, 3).0.wait().interval, 32 * MS);
        assert_eq!(Pace::new(1_000, 256, Instant::now()).interval, INTERVAL_MAX);
    }

    #[test]
    fn they_wait_on_while_enough_events_come_though_few_records_are_made() {
        let (pace, now) = after(1_000, 2_100, 3);
        go_on(&pace, now, 1_000, 3);
        assert!(waits(&pace));
        go_on(&pace, now + SECOND, 950, 2);
        assert!(!waits(&pace), "each event could be a record of its own");
    }

    #[test]
    fn one_burst_of_records_makes_none_wait() {
        let start = Instant::now();
        let pace = Pace::new(1_000, 16, start);
        (0..90).for_each(|_| pace.went(1, start + 49 * MS));
        pace.went(1, start + 50 * MS);
        assert!(!waits(&pace));
    }

    #[test]
    fn batches_are_let_go_when_as_many_requests_wait_as_ever_did() {
        let (pace, now) = after(1_000, 2_100, 3);
        let (first, _) = pace.request_waits(now);
        let (second, all) = pace.request_waits(now);
        assert!(all);
        drop((first, second));
        let (_one, all) = pace.request_waits(now + MS);
        assert!(!all, "another one waited before, and may come");
        assert_eq!(pace.wait().let_go_at, Some(now));
        let (_other, all) = pace.request_waits(now + 2 * MS);
        assert!(all);
        assert_eq!(pace.wait().let_go_at, Some(now + 2 * MS));
    }

    #[test]
    fn an_interval_is_waited_out_now_and_then_to_see_who_comes() {
        let (pace, now) = after(1_000, 2_100, 3);
        assert!(pace.request_waits(now).1);
        go_on(&pace, now, 2_100, 3);
        let later = now + SECOND;
        assert!(!pace.request_waits(later).1, "two seconds have begun");
        assert!(!pace.request_waits(later + 15 * MS).1);
        assert!(pace.request_waits(later + 16 * MS).1);
    }

    #[test]
    fn how_many_requests_waited_is_forgotten_after_four_seconds() {
        let (pace, now) = after(1_000, 2_100, 3);
        drop(std::array::from_fn::<_, 9, _>(|_| pace.request_waits(now).0));
        go_on(&pace, now, 2_100, 3);
        go_on(&pace, now + SECOND, 2_100, 3);
        assert!(!pace.request_waits(now + 2 * SECOND).1, "nine waited two seconds ago");
        go_on(&pace, now + 2 * SECOND, 2_100, 3);
        go_on(&pace, now + 3 * SECOND, 2_100, 3);
        assert!(pace.request_waits(now + 4 * SECOND).1);
    }

    #[test]
    fn where_none_waits_none_is_let_go() {
        let pace = Pace::new(1_000, 16, Instant::now());
        assert!(!pace.request_waits(Instant::now()).1);
    }
}
