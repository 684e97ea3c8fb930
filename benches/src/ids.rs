//! Random ids as a function of a seed and a number: no state to carry, the same on every machine.
use uuid::Uuid;

/// Odd, from the golden ratio: the step of SplitMix64 (Steele, Lea, Flood 2014).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's output function: a bijection of 64 bits that looks random.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A sequence of random-looking UUIDs (version 4).
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    high: u64,
    low: u64,
    next: u64,
}

impl Ids {
    /// The sequence named `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Ids {
        let high = mix(mix(seed.wrapping_add(STEP)).wrapping_add(stream.wrapping_mul(STEP)));
        Ids { high, low: mix(high ^ STEP), next: 0 }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Uuid {
        let step = self.next.wrapping_mul(STEP);
        self.next += 1;
        let high = mix(self.high.wrapping_add(step));
        let low = mix(self.low.wrapping_add(step));
        let version = (high & !0xF000) | 0x4000;
        let variant = (low & (u64::MAX >> 2)) | (1 << 63);
        Uuid::from_u64_pair(version, variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_distinct_random_uuids_and_differ_by_seed_and_stream() {
        let mut seen = HashSet::new();
        for (seed, stream) in [(1, 1), (1, 2), (2, 1)] {
            let mut ids = Ids::new(seed, stream);
            for _ in 0..20_000 {
                let id = ids.next();
                assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
                assert!(seen.insert(id));
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (mut one, mut other) = (Ids::new(7, 3), Ids::new(7, 3));
        assert!((0..100).all(|_| one.next() == other.next()));
    }
}
