//! How long to wait before the next try: exponential, bounded, with jitter. Pure: the seed is passed in.
use crate::random::Random;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(5);

/// Waits of one row of failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    random: Random,
}

impl Backoff {
    /// No failure yet.
    pub(crate) fn new(seed: u64) -> Self {
        Backoff { attempts: 0, random: Random::new(seed) }
    }

    /// Failures in a row.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The wait after one more failure: between half of and the whole of 100 ms doubled at each failure, at most 5 s.
    pub(crate) fn wait(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.attempts.min(16)).min(MAX);
        self.attempts = self.attempts.saturating_add(1);
        let half = ceiling / 2;
        half + half.mul_f64(self.random.unit())
    }

    /// It worked: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(1);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[11] >= MAX / 2 && waits.iter().all(|wait| *wait <= MAX));
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }

    #[test]
    fn two_seeds_do_not_wait_in_step() {
        let (mut one, mut other) = (Backoff::new(1), Backoff::new(2));
        assert_ne!(one.wait(), other.wait());
    }
}
