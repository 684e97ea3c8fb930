//! Up to when events are taken for complete. Pure: time is passed in.
//!
//! Of each partition the latest `min(event_time, received_at)` seen counts, less the allowed lateness: a player whose
//! clock is ahead closes nothing. Neither counts beyond the processor's own clock and a bound: nor does a node whose clock
//! is ahead. The watermark is the earliest of its partitions'. Partitions of which everything was read (their end was asked
//! for just now) hold up nobody; when that is so of all, time itself closes windows. It never goes back.
//!
//! After a restart it stays where it was committed until every partition was read again up to the position that was
//! committed with it: what lies below has been counted only as far as that watermark ([`crate::recovery`]).
use std::collections::BTreeMap;
use std::time::Duration;

/// How far a time may be ahead of the processor's clock: what clocks of one network differ by, and more.
const AHEAD_MAX: Duration = Duration::from_secs(10);
/// So long is a partition idle after its end was asked for: a broker that does not answer is not idle.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock, µs since 1970: it may jump.
    pub wall_us: i64,
    /// Monotonic clock, µs since any moment.
    pub monotonic_us: i64,
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Partition {
    /// The latest `min(event_time, received_at)` seen.
    latest_us: Option<i64>,
    /// When everything had been read, by the monotonic clock.
    idle_since_us: Option<i64>,
    /// Up to here it is read again.
    read_again_to: Option<u64>,
}

impl Partition {
    fn is_idle(&self, now: Moment) -> bool {
        let is_idle = |since: i64| now.monotonic_us.saturating_sub(since) <= IDLE_MAX.as_micros() as i64;
        self.idle_since_us.is_some_and(is_idle)
    }
}

/// The watermark of the partitions of one processor.
#[derive(Debug, Clone)]
pub struct Watermark {
    lateness_us: i64,
    partitions: BTreeMap<u32, Partition>,
    /// The latest `received_at` seen, and when it was seen, by the monotonic clock.
    received: Option<(i64, i64)>,
    /// How far others have come with partitions that are not here, their lateness taken off.
    others_us: Option<i64>,
    /// The watermark so far.
    reached_us: i64,
}

impl Watermark {
    /// Starts where an earlier one had come to; `i64::MIN` where there was none.
    pub fn new(allowed_lateness: Duration, reached_us: i64) -> Self {
        let lateness_us = i64::try_from(allowed_lateness.as_micros()).unwrap_or(i64::MAX);
        Watermark { lateness_us, partitions: BTreeMap::new(), received: None, others_us: None, reached_us }
    }

    /// This partition is read from now on, from `start`, and was committed up to `position`. It holds up the watermark
    /// until it was read again up to there, and an event of it was seen, or its end.
    pub fn assign(&mut self, partition: u32, start: u64, position: u64) {
        let read_again_to = Some(position).filter(|position| start < *position);
        self.partitions.insert(partition, Partition { read_again_to, ..Partition::default() });
    }

    /// An event of an assigned partition was read.
    pub fn observe(&mut self, partition: u32, event_time_us: i64, received_at_us: i64, now: Moment) {
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        let received_at_us = received_at_us.min(now.wall_us.saturating_add(AHEAD_MAX.as_micros() as i64));
        state.idle_since_us = None;
        state.latest_us = state.latest_us.max(Some(event_time_us.min(received_at_us)));
        if self.received.is_none_or(|(latest, _)| received_at_us > latest) {
            self.received = Some((received_at_us, now.monotonic_us));
        }
    }

    /// All events of this partition below this offset were read.
    pub fn read_to(&mut self, partition: u32, offset: u64) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.read_again_to = state.read_again_to.filter(|position| offset < *position);
        }
    }

    /// Everything of this partition was read, up to an end that was fetched just now; to be said again as long as it holds.
    pub fn idle(&mut self, partition: u32, now: Moment) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            (state.idle_since_us, state.read_again_to) = (Some(now.monotonic_us), None);
        }
    }

    /// More of this partition has come, or may have.
    pub fn busy(&mut self, partition: u32) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.idle_since_us = None;
        }
    }

    /// The watermark of somebody else's partitions has come as far, µs. It counts while everything of those that are here
    /// was read: they hold up nobody then, here as little as where all are in one place. Nor does it count beyond this
    /// processor's own clock.
    pub fn follow(&mut self, others_us: i64, now: Moment) {
        let most = now.wall_us.saturating_add(AHEAD_MAX.as_micros() as i64).saturating_sub(self.lateness_us);
        self.others_us = self.others_us.max(Some(others_us.min(most)));
    }

    /// Where it stands now, µs: windows that end at or before are complete.
    pub fn advance(&mut self, now: Moment) -> i64 {
        if let Some(candidate) = self.candidate(now) {
            self.reached_us = self.reached_us.max(candidate.saturating_sub(self.lateness_us));
        }
        if let Some(others_us) = self.others_us.filter(|_| self.is_idle(now)) {
            self.reached_us = self.reached_us.max(others_us);
        }
        self.reached_us
    }

    /// Whether everything of every partition was read, as their ends said lately.
    pub fn is_idle(&self, now: Moment) -> bool {
        !self.partitions.is_empty()
            && self.partitions.values().all(|partition| partition.read_again_to.is_none() && partition.is_idle(now))
    }

    fn candidate(&self, now: Moment) -> Option<i64> {
        if self.partitions.is_empty() || self.partitions.values().any(|partition| partition.read_again_to.is_some()) {
            return None;
        }
        let busy = || self.partitions.values().filter(|partition| !partition.is_idle(now));
        if busy().next().is_some() {
            // One without any event yet is unknown, and holds up all.
            return busy().map(|partition| partition.latest_us).min().flatten();
        }
        let (received_us, seen_us) = self.received?;
        Some(received_us.saturating_add(now.monotonic_us.saturating_sub(seen_us).max(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LATENESS: Duration = Duration::from_secs(1);
    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Moment {
        Moment { wall_us: seconds * SECOND, monotonic_us: seconds * SECOND }
    }

    fn watermark(partitions: u32) -> Watermark {
        let mut watermark = Watermark::new(LATENESS, i64::MIN);
        (0..partitions).for_each(|partition| watermark.assign(partition, 0, 0));
        watermark
    }

    #[test]
    fn it_is_the_earliest_of_its_partitions_less_the_lateness() {
        let mut watermark = watermark(2);
        watermark.observe(0, 50 * SECOND, 50 * SECOND, at(60));
        assert_eq!(watermark.advance(at(60)), i64::MIN, "nothing is known of the other partition");
        watermark.observe(1, 40 * SECOND, 45 * SECOND, at(60));
        assert_eq!(watermark.advance(at(60)), 39 * SECOND);
    }

    #[test]
    fn a_player_whose_clock_is_ahead_closes_nothing() {
        let mut watermark = watermark(1);
        watermark.observe(0, 4_000 * SECOND, 50 * SECOND, at(50));
        assert_eq!(watermark.advance(at(50)), 49 * SECOND);
    }

    #[test]
    fn a_partition_of_which_all_was_read_holds_up_nobody_until_it_has_events_again() {
        let mut watermark = watermark(2);
        watermark.observe(0, 50 * SECOND, 50 * SECOND, at(60));
        watermark.idle(1, at(60));
        assert_eq!(watermark.advance(at(60)), 49 * SECOND);
        watermark.observe(1, 20 * SECOND, 60 * SECOND, at(60));
        watermark.observe(0, 70 * SECOND, 70 * SECOND, at(70));
        assert_eq!(watermark.advance(at(70)), 49 * SECOND, "it waits, and does not go back");
    }

    #[test]
    fn when_all_was_read_time_closes_windows_whatever_the_wall_clock_does() {
        let mut watermark = watermark(1);
        watermark.observe(0, 30 * SECOND, 50 * SECOND, at(50));
        watermark.idle(0, at(50));
        assert_eq!(watermark.advance(Moment { wall_us: 50 * SECOND, monotonic_us: 53 * SECOND }), 52 * SECOND);
        let jumped = Moment { wall_us: 9_000 * SECOND, monotonic_us: 54 * SECOND };
        assert_eq!(watermark.advance(jumped), 53 * SECOND);
    }

    #[test]
    fn a_node_whose_clock_is_ahead_is_believed_up_to_a_bound_and_takes_no_lateness_away() {
        let mut watermark = watermark(1);
        watermark.observe(0, 9_000 * SECOND, 9_000 * SECOND, at(50));
        assert_eq!(watermark.advance(at(50)), 59 * SECOND);
        assert_eq!(watermark.advance(at(1_000)), 59 * SECOND, "it is forgotten, not waited for");
    }

    #[test]
    fn a_partition_whose_end_was_not_asked_for_lately_is_not_idle() {
        let mut watermark = watermark(2);
        watermark.observe(0, 50 * SECOND, 50 * SECOND, at(50));
        watermark.observe(1, 40 * SECOND, 40 * SECOND, at(50));
        watermark.idle(1, at(50));
        watermark.observe(0, 70 * SECOND, 70 * SECOND, at(70));
        assert_eq!(watermark.advance(at(70)), 39 * SECOND);
        watermark.idle(1, at(70));
        assert_eq!(watermark.advance(at(70)), 69 * SECOND);
    }

    #[test]
    fn a_partition_that_has_more_again_holds_up_at_once() {
        let mut watermark = watermark(2);
        watermark.observe(0, 50 * SECOND, 50 * SECOND, at(50));
        watermark.observe(1, 40 * SECOND, 40 * SECOND, at(50));
        watermark.idle(0, at(50));
        watermark.idle(1, at(50));
        watermark.busy(1);
        assert_eq!(watermark.advance(at(59)), 39 * SECOND);
        watermark.busy(0);
        assert_eq!(watermark.advance(at(59)), 39 * SECOND);
    }

    #[test]
    fn it_stays_until_each_partition_was_read_again_up_to_its_position() {
        let mut watermark = Watermark::new(LATENESS, 7);
        watermark.assign(0, 0, 3);
        watermark.assign(1, 5, 5);
        watermark.observe(0, 50 * SECOND, 50 * SECOND, at(50));
        watermark.observe(1, 50 * SECOND, 50 * SECOND, at(50));
        watermark.read_to(0, 2);
        assert_eq!(watermark.advance(at(50)), 7);
        watermark.read_to(0, 3);
        assert_eq!(watermark.advance(at(50)), 49 * SECOND);
    }

    #[test]
    fn one_that_has_read_all_goes_as_far_as_others_have_come_and_a_busy_one_does_not() {
        let mut watermark = watermark(1);
        watermark.follow(40 * SECOND, at(50));
        assert_eq!(watermark.advance(at(50)), i64::MIN, "its end was not asked for");
        watermark.idle(0, at(50));
        assert_eq!(watermark.advance(at(50)), 40 * SECOND);
        watermark.follow(45 * SECOND, at(50));
        watermark.observe(0, 20 * SECOND, 50 * SECOND, at(50));
        assert_eq!(watermark.advance(at(50)), 40 * SECOND);
        watermark.idle(0, at(50));
        watermark.follow(9_000 * SECOND, at(50));
        assert_eq!(watermark.advance(at(50)), 59 * SECOND, "nor beyond its own clock");
    }

    #[test]
    fn without_partitions_it_stays() {
        let mut watermark = Watermark::new(LATENESS, 7);
        assert_eq!(watermark.advance(at(50)), 7);
    }

    #[derive(Debug, Clone)]
    enum Happens {
        Event(u32, i64, i64),
        Idle(u32),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            (0_u32..3, 0_i64..1_000, 0_i64..1_000)
                .prop_map(|(partition, time, received)| Happens::Event(partition, time, received)),
            (0_u32..3).prop_map(Happens::Idle),
        ]
    }

    proptest! {
        #[test]
        fn it_is_what_a_naive_reading_of_the_history_gives(history in proptest::collection::vec(happens(), 1..40)) {
            let mut watermark = watermark(3);
            let mut most = i64::MIN;
            for (step, _) in history.iter().enumerate() {
                let now = at(10_000 + step as i64);
                match history[step] {
                    Happens::Event(partition, time, received) => {
                        watermark.observe(partition, time * SECOND, received * SECOND, now);
                    }
                    Happens::Idle(partition) => watermark.idle(partition, now),
                }
                most = most.max(naive(&history[..=step], step));
                prop_assert_eq!(watermark.advance(now), most);
            }
        }
    }

    /// From the history alone: of each partition its last word, and its latest event.
    fn naive(history: &[Happens], step: usize) -> i64 {
        let of = |partition: u32| {
            let idle = history.iter().enumerate().rev().find_map(|(at, happens)| match happens {
                Happens::Event(of, ..) if *of == partition => Some(false),
                Happens::Idle(of) if *of == partition => Some(step - at <= 10),
                _ => None,
            });
            let latest = history.iter().filter_map(|happens| match happens {
                Happens::Event(of, time, received) if *of == partition => Some(time.min(received)),
                _ => None,
            });
            (idle.unwrap_or(false), latest.max().copied())
        };
        let partitions = [0, 1, 2].map(of);
        let busy: Vec<_> = partitions.iter().filter(|(idle, _)| !idle).collect();
        let seconds = if busy.is_empty() {
            let received = history.iter().enumerate().filter_map(|(at, happens)| match happens {
                Happens::Event(_, _, received) => Some((*received, std::cmp::Reverse(at))),
                Happens::Idle(_) => None,
            });
            received.max().map(|(received, std::cmp::Reverse(at))| received + (step - at) as i64)
        } else if busy.iter().any(|(_, latest)| latest.is_none()) {
            None
        } else {
            busy.iter().filter_map(|(_, latest)| *latest).min()
        };
        seconds.map_or(i64::MIN, |seconds| seconds * SECOND - SECOND)
    }
}
