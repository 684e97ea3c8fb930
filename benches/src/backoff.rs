//! How long to wait before a request is tried again.
use crate::ids::mix;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// Also what a server's Retry-After is cut to: a run is short, and its grace bounded.
const LONGEST: Duration = Duration::from_secs(1);

/// Exponential backoff with jitter, by seed: so that a thousand requests that failed together don't come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    seed: u64,
    draws: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Backoff {
        Backoff { seed: mix(seed ^ 0xBAC0_FF00), draws: 0 }
    }

    /// Before attempt `attempt` (1: the first retry). A Retry-After is waited for in full (up to a second) and up to a
    /// quarter longer; else between half and all of 50 ms, doubled at each attempt up to a second.
    pub(crate) fn before(&mut self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        self.draws += 1;
        let jitter = (mix(self.seed.wrapping_add(self.draws)) >> 11) as f64 / (1u64 << 53) as f64;
        match retry_after {
            Some(asked) => asked.min(LONGEST).mul_f64(1.0 + 0.25 * jitter),
            None => {
                let doubled = FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(LONGEST);
                doubled.mul_f64(0.5 + 0.5 * jitter)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second() {
        let mut backoff = Backoff::new(1);
        for (attempt, longest_ms) in [(1, 50), (2, 100), (3, 200), (6, 1000), (40, 1000)] {
            let wait = backoff.before(attempt, None);
            assert!(wait >= Duration::from_millis(longest_ms / 2) && wait <= Duration::from_millis(longest_ms));
        }
    }

    #[test]
    fn retry_after_is_honoured_but_never_longer_than_the_run_can_bear() {
        let mut backoff = Backoff::new(1);
        let asked = Duration::from_millis(400);
        let wait = backoff.before(1, Some(asked));
        assert!(wait >= asked && wait <= asked * 5 / 4);
        assert!(backoff.before(1, Some(Duration::from_secs(3600))) <= LONGEST * 5 / 4);
    }

    #[test]
    fn the_same_seed_waits_alike_and_two_draws_differ() {
        let (mut one, mut other) = (Backoff::new(9), Backoff::new(9));
        let (first, second) = (one.before(3, None), one.before(3, None));
        assert_eq!((first, second), (other.before(3, None), other.before(3, None)));
        assert_ne!(first, second);
    }
}
