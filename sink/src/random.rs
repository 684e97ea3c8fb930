//! Numbers for waits that must not be in step. Pure: the seed is passed in. Not for secrets.

/// An even distribution over 0..1 (splitmix64; Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Sinks of one fleet take different seeds, or they do everything at once.
    pub(crate) fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// The next number, below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
