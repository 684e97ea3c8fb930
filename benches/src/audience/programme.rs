//! What happens to everyone at once: the kickoff, and the ad breaks of the live programme.

/// Once the audience has come, breaks are so far apart.
const BREAK_EVERY_MS: u64 = 15 * 60_000;
/// Everyone is in the break, and out of it, within so long.
pub const BREAK_SPREAD_MS: u64 = 2_000;

/// An ad break of the live programme; audience time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdBreak {
    pub(crate) number: u32,
    pub(crate) starts_ms: u64,
    pub(crate) ends_ms: u64,
}

/// The plan of a run; milliseconds of audience time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Programme {
    /// Viewers come within this: three minutes, or three tenths of a short run.
    pub(crate) kickoff_ms: u64,
    first_break_ms: u64,
    break_ms: u64,
}

impl Programme {
    /// For a run of so much audience time.
    pub(crate) fn new(length_ms: u64) -> Programme {
        Programme {
            kickoff_ms: (length_ms * 3 / 10).clamp(1, 180_000),
            first_break_ms: length_ms / 2,
            break_ms: (length_ms * 15 / 100).clamp(1, 60_000),
        }
    }

    /// The first break that begins at or after `at_ms`.
    pub(crate) fn next_break(&self, at_ms: u64) -> AdBreak {
        // The first one is in the middle of the run, so that short runs have one; of long runs it is one of many.
        let first_ms = self.first_break_ms % BREAK_EVERY_MS;
        let number = at_ms.saturating_sub(first_ms).div_ceil(BREAK_EVERY_MS);
        let starts_ms = first_ms + number * BREAK_EVERY_MS;
        AdBreak { number: number as u32, starts_ms, ends_ms: starts_ms + self.break_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_has_its_kickoff_and_a_break_in_the_middle() {
        let programme = Programme::new(20_000);
        assert_eq!(programme.kickoff_ms, 6_000);
        assert_eq!(programme.next_break(0), AdBreak { number: 0, starts_ms: 10_000, ends_ms: 13_000 });
    }

    #[test]
    fn in_a_long_run_breaks_come_every_quarter_of_an_hour() {
        let programme = Programme::new(2 * 3_600_000);
        assert_eq!(programme.kickoff_ms, 180_000);
        let first = programme.next_break(0);
        let second = programme.next_break(first.starts_ms + 1);
        assert_eq!(second.starts_ms - first.starts_ms, BREAK_EVERY_MS);
        assert_eq!(first.ends_ms - first.starts_ms, 60_000);
        assert_eq!(programme.next_break(second.starts_ms), second);
    }
}
