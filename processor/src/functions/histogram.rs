//! A histogram with fixed boundaries: any two merge, and one serves every percentile.
//!
//! Boundaries are log-linear, as in HdrHistogram (Tene) and DDSketch (Masson, Rim, Lee 2019): each power of two from 2^-10
//! to 2^50 is cut into 64 buckets of equal width, negative values alike. A value is told as the middle of its bucket: it is
//! off by 1/128 of itself at most. What is nearer to zero than 2^-10 is zero, what is beyond 2^51 the last bucket.
//!
//! ```text
//! bytes, version 1: 0x01, then for each bucket that is not empty, in order of their numbers:
//!   the number less the one before it (varint of its zigzag; the first less 0), the count (varint)
//! number of a bucket: 0 is zero; n > 0 is sub-bucket (n - 1) % 64 of the power (n - 1) / 64 - 10; n < 0 is that of -n, negative
//! ```
use std::collections::BTreeMap;

/// Buckets of a power of two, as a power of two.
const SUB_BUCKETS_LG: u32 = 6;
/// The smallest power of two that is told from zero: a thousandth.
const POWER_MIN: i64 = -10;
/// The largest power; what is larger counts as the largest value below its double: 2^51 ms are 71,000 years.
const POWER_MAX: i64 = 50;
/// The largest number of a bucket, so that a histogram has at most twice as many, and one.
const NUMBER_MAX: i64 = (POWER_MAX - POWER_MIN + 1) << SUB_BUCKETS_LG;
/// First byte of the bytes.
const VERSION: u8 = 1;
/// Bits of a double's fraction.
const FRACTION_BITS: u32 = 52;
/// What is added to a double's exponent.
const EXPONENT_BIAS: i64 = 1023;

/// A number of a bucket, within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(i16);

impl Bucket {
    /// The bucket of a value; NaN has none.
    pub fn of(value: f64) -> Option<Bucket> {
        if value.is_nan() {
            return None;
        }
        // Exponent and the first bits of the fraction are a number that grows with the value.
        let shifted = (value.abs().to_bits() >> (FRACTION_BITS - SUB_BUCKETS_LG)) as i64;
        let number = (shifted - ((EXPONENT_BIAS + POWER_MIN) << SUB_BUCKETS_LG) + 1).clamp(0, NUMBER_MAX) as i16;
        Some(Bucket(if value < 0.0 { -number } else { number }))
    }

    /// The middle of the bucket.
    pub fn middle(self) -> f64 {
        let number = i64::from(self.0.unsigned_abs());
        if number == 0 {
            return 0.0;
        }
        let (power, sub_bucket) =
            (((number - 1) >> SUB_BUCKETS_LG) + POWER_MIN, (number - 1) & ((1 << SUB_BUCKETS_LG) - 1));
        let width = 2_f64.powi((power - i64::from(SUB_BUCKETS_LG)) as i32);
        let middle = 2_f64.powi(power as i32) + (sub_bucket as f64 + 0.5) * width;
        middle.copysign(f64::from(self.0))
    }
}

/// Why bytes are no histogram.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Of a later version, or something else.
    #[error(
        "a histogram begins with version {VERSION}, this with {0:?}: it was written by a later Playhead, or is none"
    )]
    Version(Option<u8>),
    /// Cut off, or changed.
    #[error("a histogram's bytes are damaged")]
    Damaged,
}

/// How many values were in which bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// At most 2 x 3,904 + 1 of them.
    buckets: BTreeMap<Bucket, u64>,
    count: u64,
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, bucket: Bucket) {
        self.add_many(bucket, 1);
    }

    fn add_many(&mut self, bucket: Bucket, count: u64) {
        let held = self.buckets.entry(bucket).or_default();
        *held = held.saturating_add(count);
        self.count = self.count.saturating_add(count);
    }

    /// Adds all values of another.
    pub fn merge(&mut self, other: &Histogram) {
        other.buckets.iter().for_each(|(bucket, count)| self.add_many(*bucket, *count));
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many buckets hold any.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// The smallest value that a share of `p` (0 to 1) of all is not above (nearest rank); `None` of no values.
    pub fn percentile(&self, p: f64) -> Option<f64> {
        let exact = p * self.count as f64;
        // 0.55 of a hundred is 55, though its double is a little more.
        let whole = exact.round();
        let rank = if (exact - whole).abs() <= whole * 2.0 * f64::EPSILON { whole } else { exact.ceil() };
        let rank = (rank as u64).clamp(1, self.count.max(1));
        let mut below = 0_u64;
        self.buckets.iter().find_map(|(bucket, count)| {
            below = below.saturating_add(*count);
            (below >= rank).then(|| bucket.middle())
        })
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let mut before = 0;
        for (Bucket(number), count) in &self.buckets {
            let step = i64::from(*number) - before;
            put_varint(&mut bytes, ((step << 1) ^ (step >> 63)).cast_unsigned());
            put_varint(&mut bytes, *count);
            before = i64::from(*number);
        }
        bytes
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Histogram, Malformed> {
        let Some((&VERSION, mut rest)) = bytes.split_first() else {
            return Err(Malformed::Version(bytes.first().copied()));
        };
        let mut histogram = Histogram::default();
        let mut number = 0_i64;
        while !rest.is_empty() {
            let step = take_varint(&mut rest)?;
            let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
            let count = take_varint(&mut rest)?;
            // In order, without doubles and without empty ones: one histogram has one form.
            let first = histogram.buckets.is_empty();
            number = number.checked_add(step).filter(|number| number.abs() <= NUMBER_MAX).ok_or(Malformed::Damaged)?;
            if count == 0 || !first && step <= 0 || histogram.count.checked_add(count).is_none() {
                return Err(Malformed::Damaged);
            }
            histogram.add_many(Bucket(number as i16), count);
        }
        Ok(histogram)
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed::Damaged)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Malformed::Damaged);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().filter_map(|value| Bucket::of(*value)).for_each(|bucket| histogram.add(bucket));
        histogram
    }

    #[test]
    fn what_has_no_place_among_the_boundaries_is_the_nearest_that_has() {
        assert_eq!(Bucket::of(f64::NAN), None);
        assert_eq!(Bucket::of(0.0).map(Bucket::middle), Some(0.0));
        assert_eq!(Bucket::of(0.0005).map(Bucket::middle), Some(0.0));
        assert_eq!(Bucket::of(f64::INFINITY), Bucket::of(2_f64.powi(51) - 1.0));
        assert_eq!(Bucket::of(f64::NEG_INFINITY), Bucket::of(1.0 - 2_f64.powi(51)));
    }

    #[test]
    fn of_no_values_there_is_no_percentile() {
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    #[test]
    fn bytes_are_as_documented() {
        // 1.0 is sub-bucket 0 of power 0: number 10 * 64 + 1 = 641, as a step 641, as zigzag 1,282.
        assert_eq!(of(&[1.0, 1.0, 0.0]).to_bytes(), [1, 0, 1, 0x82, 0x0a, 2]);
        assert_eq!(of(&[-1.0]).to_bytes(), [1, 0x81, 0x0a, 1]);
    }

    #[test]
    fn damaged_bytes_and_those_of_a_later_version_are_refused() {
        let bytes = of(&[1.0, 500.0]).to_bytes();
        assert_eq!(Histogram::from_bytes(&[2, 0, 1]), Err(Malformed::Version(Some(2))));
        assert_eq!(Histogram::from_bytes(&[]), Err(Malformed::Version(None)));
        for damaged in [&bytes[..bytes.len() - 1], &[1, 0, 0], &[1, 0, 1, 0, 1], &[1, 0xff, 0xff, 0xff, 0x7f, 1]] {
            assert_eq!(Histogram::from_bytes(damaged), Err(Malformed::Damaged), "{damaged:?}");
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![-1e6..1e6, 0.001..10.0, (0_i64..100_000).prop_map(|whole| whole as f64)]
    }

    proptest! {
        #[test]
        fn a_percentile_is_off_by_one_part_in_128_at_most(
            mut values in proptest::collection::vec(value(), 1..200), percent in 0..=100_usize,
        ) {
            let told = of(&values).percentile(percent as f64 / 100.0).unwrap();
            values.sort_by(f64::total_cmp);
            let exact = values[(percent * values.len()).div_ceil(100).max(1) - 1];
            let error = (told - exact).abs();
            prop_assert!(error <= exact.abs() / 128.0 || exact.abs() < 0.001, "{told} for {exact}");
        }

        #[test]
        fn merged_histograms_are_the_histogram_of_all(
            one in proptest::collection::vec(value(), 0..50), other in proptest::collection::vec(value(), 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(&merged, &of(&[one, other].concat()));
            prop_assert_eq!(Histogram::from_bytes(&merged.to_bytes()), Ok(merged));
        }

        #[test]
        fn whatever_bytes_come_none_breaks_it_and_what_is_read_is_written_alike(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let bytes = [&[VERSION][..], &bytes].concat();
            if let Ok(histogram) = Histogram::from_bytes(&bytes) {
                let again = histogram.to_bytes();
                prop_assert_eq!(Histogram::from_bytes(&again), Ok(histogram));
            }
        }
    }
}
