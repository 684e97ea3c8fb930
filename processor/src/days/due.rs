//! Which days are to be computed, and when. Pure.
use std::collections::BTreeMap;

/// A day that was corrected waits until nothing more was for so long: late events come in swarms.
const SETTLED_MS: i64 = 30_000;

/// A day that is corrected again and again is computed this often nevertheless, and one that could not be is tried again.
pub(super) const WAIT_MAX_MS: i64 = 3_600_000;

/// One UTC day of a rollup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    /// Since 1970-01-01.
    pub(crate) number: i64,
    /// Number of the last correction that touched a window of it; 0: none did.
    pub(crate) corrected: i64,
    /// The same as it was when its rows were computed; `None`: they never were.
    pub(crate) computed: Option<i64>,
}

impl Day {
    /// Whether its rows are what its windows come to.
    pub(crate) fn is_kept(&self) -> bool {
        self.computed == Some(self.corrected)
    }
}

/// What a day waits since.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    corrected: i64,
    /// Since when that is the last correction, ms.
    still_ms: i64,
    /// Since when its rows are not what its windows come to, ms.
    first_ms: i64,
    /// It could not be computed then.
    failed: bool,
}

/// Days that are to be computed, since when.
#[derive(Debug, Default)]
pub(crate) struct Settling(BTreeMap<i64, Waiting>);

impl Settling {
    /// Of all days the windows of which are closed, those that are due at `now_ms`, the oldest first. One that was seen never
    /// before waits as well: after a midnight the last late events are still under way.
    pub(crate) fn due(&mut self, days: &[Day], now_ms: i64) -> Vec<Day> {
        let waiting: BTreeMap<i64, Waiting> =
            days.iter().filter(|day| !day.is_kept()).map(|day| (day.number, self.waiting(day, now_ms))).collect();
        self.0 = waiting;
        let is_due = |day: &&Day| self.0.get(&day.number).is_some_and(|waiting| waiting.is_over(now_ms));
        days.iter().filter(is_due).copied().collect()
    }

    fn waiting(&self, day: &Day, now_ms: i64) -> Waiting {
        let began = Waiting { corrected: day.corrected, still_ms: now_ms, first_ms: now_ms, failed: false };
        match self.0.get(&day.number) {
            // A clock that went back begins anew.
            Some(held) if held.still_ms > now_ms || held.first_ms > now_ms => began,
            Some(held) if held.corrected == day.corrected => *held,
            Some(held) => Waiting { first_ms: held.first_ms, ..began },
            None => began,
        }
    }

    /// It could not be computed.
    pub(super) fn failed(&mut self, day: &Day, now_ms: i64) {
        let waiting = Waiting { corrected: day.corrected, still_ms: now_ms, first_ms: now_ms, failed: true };
        self.0.insert(day.number, waiting);
    }

    /// It was computed: what it waits for next is another correction.
    pub(crate) fn computed(&mut self, day: i64) {
        self.0.remove(&day);
    }
}

impl Waiting {
    fn is_over(&self, now_ms: i64) -> bool {
        (!self.failed && now_ms - self.still_ms >= SETTLED_MS) || now_ms - self.first_ms >= WAIT_MAX_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(corrected: i64, computed: Option<i64>) -> Day {
        Day { number: 20_000, corrected, computed }
    }

    fn due(settling: &mut Settling, day: Day, now_ms: i64) -> bool {
        !settling.due(&[day], now_ms).is_empty()
    }

    #[test]
    fn a_day_is_due_when_nothing_has_corrected_it_for_a_while() {
        let mut settling = Settling::default();
        assert!(!due(&mut settling, day(0, None), 0));
        assert!(!due(&mut settling, day(1, None), SETTLED_MS), "just corrected");
        assert!(!due(&mut settling, day(1, None), 2 * SETTLED_MS - 1));
        assert!(due(&mut settling, day(1, None), 2 * SETTLED_MS));
        assert!(!due(&mut settling, day(1, Some(1)), 3 * SETTLED_MS), "it is kept");
        assert!(!due(&mut settling, day(2, Some(1)), 4 * SETTLED_MS), "it waits anew");
    }

    #[test]
    fn a_day_that_is_corrected_all_the_time_is_computed_once_an_hour() {
        let mut settling = Settling::default();
        let dues = (0..=WAIT_MAX_MS / 10_000).filter(|tick| due(&mut settling, day(*tick, Some(-1)), tick * 10_000));
        assert_eq!(dues.collect::<Vec<_>>(), [WAIT_MAX_MS / 10_000]);
        settling.computed(20_000);
        assert!(!due(&mut settling, day(1_000, Some(999)), WAIT_MAX_MS + 10_000));
    }

    #[test]
    fn a_day_that_could_not_be_computed_is_tried_again_an_hour_later_or_when_it_is_corrected() {
        let mut settling = Settling::default();
        settling.failed(&day(1, None), 0);
        assert!(!due(&mut settling, day(1, None), WAIT_MAX_MS - 1));
        assert!(due(&mut settling, day(1, None), WAIT_MAX_MS));
        settling.failed(&day(1, None), 0);
        assert!(!due(&mut settling, day(2, None), 10_000));
        assert!(due(&mut settling, day(2, None), 10_000 + SETTLED_MS));
    }

    #[test]
    fn a_clock_that_goes_back_begins_the_wait_anew() {
        let mut settling = Settling::default();
        assert!(!due(&mut settling, day(0, None), 1_000_000_000));
        assert!(!due(&mut settling, day(0, None), 0));
        assert!(due(&mut settling, day(0, None), SETTLED_MS));
    }
}
