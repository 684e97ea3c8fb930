//! Which windows an event is in. Pure.
//!
//! A window has its start and not its end: `start <= event_time < start + size`. Starts are multiples of the slide since
//! 1970-01-01T00:00:00Z, so that every processor cuts time alike.
use crate::limits::RECENT_WINDOWS;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// How time is cut: tumbling where the slide is the size, else hopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    size_us: i64,
    slide_us: i64,
}

impl Windows {
    /// Windows of `size` that begin every `slide`, which divides it ([`crate::rollup::Definition::windows`]).
    pub fn new(size: Duration, slide: Duration) -> Self {
        Windows { size_us: micros(size), slide_us: micros(slide) }
    }

    /// How long one is, µs.
    pub fn length_us(&self) -> i64 {
        self.size_us
    }

    /// One begins this often, µs.
    pub fn slide_us(&self) -> i64 {
        self.slide_us
    }

    /// How many windows an event is in.
    pub fn of_event(&self) -> i64 {
        self.size_us / self.slide_us
    }

    /// Start of the latest window that an event at `time_us` is in; the others begin one, two, ... slides before it.
    pub fn latest_start(&self, time_us: i64) -> i64 {
        time_us.div_euclid(self.slide_us).saturating_mul(self.slide_us)
    }

    /// Start of the window that is `back` slides before the latest one of an event at `time_us`.
    pub fn start(&self, time_us: i64, back: i64) -> i64 {
        self.latest_start(time_us).saturating_sub(back * self.slide_us)
    }

    /// The end of the latest window that ends at or before `time_us`. Ends are multiples of the slide as starts are.
    pub fn latest_end(&self, time_us: i64) -> i64 {
        self.latest_start(time_us)
    }

    /// Over so long reach the windows that are shown after they were closed, µs.
    pub(crate) fn recent_us(&self) -> i64 {
        RECENT_WINDOWS as i64 * self.slide_us
    }

    /// Times of the windows that begin at these starts (µs), neighbours together.
    pub(crate) fn ranges(&self, starts: &BTreeSet<i64>) -> Vec<Range<i64>> {
        let mut ranges: Vec<Range<i64>> = Vec::new();
        for start in starts {
            let end = self.end(*start);
            match ranges.last_mut() {
                Some(last) if *start <= last.end => last.end = end,
                _ => ranges.push(*start..end),
            }
        }
        ranges
    }

    /// The first moment after the window that begins at `start_us`.
    pub fn end(&self, start_us: i64) -> i64 {
        start_us.saturating_add(self.size_us)
    }
}

/// Lengths are bounded to hours.
fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(size: u64, slide: u64) -> Windows {
        Windows::new(Duration::from_secs(size), Duration::from_secs(slide))
    }

    #[test]
    fn a_window_has_its_start_and_not_its_end() {
        let windows = seconds(60, 60);
        assert_eq!(windows.latest_start(59_999_999), 0);
        assert_eq!(windows.latest_start(60_000_000), 60_000_000);
        assert_eq!(windows.latest_start(-1), -60_000_000);
    }

    proptest! {
        #[test]
        fn an_event_is_in_exactly_the_windows_that_hold_it(
            time in -4_000_000_000_000_000_i64..4_000_000_000_000_000, slide in 1_u64..3_600, times in 1_u64..60,
        ) {
            let windows = seconds(slide * times, slide);
            let starts: Vec<i64> = (0..windows.of_event()).map(|back| windows.start(time, back)).collect();
            // The naive way: each multiple of the slide around the event.
            let slide_us = slide as i64 * 1_000_000;
            let near = time.div_euclid(slide_us);
            let naive: Vec<i64> = (near - 2 * times as i64..=near + 2)
                .map(|number| number * slide_us)
                .filter(|start| *start <= time && time < windows.end(*start))
                .rev()
                .collect();
            prop_assert_eq!(starts, naive);
        }
    }
}
