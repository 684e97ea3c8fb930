//! Ranges of offsets, by partition of the log. Pure.
use std::collections::BTreeMap;
use std::ops::Range;

/// Of each partition ranges that neither overlap nor touch, in order; none of them empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u32, Vec<Range<u64>>>);

impl Ranges {
    /// One range of each partition.
    pub fn of(ranges: impl IntoIterator<Item = (u32, Range<u64>)>) -> Ranges {
        let mut all = Ranges::default();
        for (partition, range) in ranges {
            all.add(partition, range);
        }
        all
    }

    /// Adds a range: above those that the partition has, or touching the last of them.
    pub fn add(&mut self, partition: u32, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let held = self.0.entry(partition).or_default();
        match held.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => held.push(range),
        }
    }

    /// Nothing is in them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The partitions that have any.
    pub fn partitions(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    /// From the first offset of a partition to its last one.
    pub fn span(&self, partition: u32) -> Option<Range<u64>> {
        let held = self.0.get(&partition)?;
        Some(held.first()?.start..held.last()?.end)
    }

    /// How many offsets.
    pub fn offsets(&self) -> u64 {
        self.0.values().flatten().map(|range| range.end - range.start).sum()
    }

    /// Whether an offset of a partition is in them.
    pub fn contains(&self, partition: u32, offset: u64) -> bool {
        let Some(held) = self.0.get(&partition) else { return false };
        let after = held.partition_point(|range| range.start <= offset);
        after.checked_sub(1).is_some_and(|at| offset < held[at].end)
    }

    /// The first offset of a partition that is in them, at or above `offset`.
    pub fn next_in(&self, partition: u32, offset: u64) -> Option<u64> {
        let held = self.0.get(&partition)?;
        held.get(held.partition_point(|range| range.end <= offset)).map(|range| range.start.max(offset))
    }

    /// The same of a row's `(_partition, _offset)`.
    pub(crate) fn contains_record(&self, (partition, offset): (i32, i64)) -> bool {
        self.contains(partition.unsigned_abs(), offset.unsigned_abs())
    }

    /// Whether a partition between these two and an offset between those two (each included) may be in them.
    pub fn touch(&self, partitions: (u32, u32), offsets: (u64, u64)) -> bool {
        let mut of_partitions = self.0.range(partitions.0..=partitions.1.max(partitions.0));
        of_partitions.any(|(_, held)| held.iter().any(|range| range.start <= offsets.1 && offsets.0 < range.end))
    }

    /// The same with `offsets` more on both sides of each range.
    pub fn widened(&self, offsets: u64) -> Ranges {
        let wider = |range: &Range<u64>| range.start.saturating_sub(offsets)..range.end.saturating_add(offsets);
        Ranges::of(self.0.iter().flat_map(|(partition, held)| held.iter().map(|range| (*partition, wider(range)))))
    }

    /// What of them lies within one range of each partition; nothing of partitions that have none.
    pub fn within(&self, limits: &BTreeMap<u32, Range<u64>>) -> Ranges {
        let mut inner = Ranges::default();
        for (partition, held) in &self.0 {
            let Some(limit) = limits.get(partition) else { continue };
            for range in held {
                inner.add(*partition, range.start.max(limit.start)..range.end.min(limit.end));
            }
        }
        inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_widened_into_each_other() {
        let ranges = Ranges::of([(0, 4..5), (0, 12..13), (0, 40..41)]);
        assert_eq!(ranges.widened(5).0[&0], [0..18, 35..46]);
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let ranges = Ranges::of([(0, 4..5), (0, 5..6), (0, 9..9), (0, 8..12), (2, 0..1)]);
        assert_eq!(ranges.0[&0], [4..6, 8..12]);
        assert_eq!((ranges.span(0), ranges.span(1), ranges.offsets()), (Some(4..12), None, 7));
    }

    proptest! {
        #[test]
        fn what_is_in_them_is_what_was_added(
            ends in prop::collection::btree_set(0u64..60, 0..12),
            limit in (0u64..60, 0u64..60),
        ) {
            let ends: Vec<u64> = ends.into_iter().collect();
            let added: Vec<Range<u64>> = ends.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let ranges = Ranges::of(added.iter().map(|range| (1, range.clone())));
            let limit = limit.0.min(limit.1)..limit.0.max(limit.1);
            let inner = ranges.within(&BTreeMap::from([(1, limit.clone())]));
            for offset in 0..60 {
                let expected = added.iter().any(|range| range.contains(&offset));
                prop_assert_eq!(ranges.contains(1, offset), expected);
                prop_assert_eq!(ranges.touch((0, 3), (offset, offset)), expected);
                let next = (offset..60).find(|at| added.iter().any(|range| range.contains(at)));
                prop_assert_eq!(ranges.next_in(1, offset), next);
                prop_assert_eq!(inner.contains(1, offset), expected && limit.contains(&offset));
                prop_assert!(!ranges.contains(0, offset) && !ranges.touch((2, 3), (0, offset)));
            }
        }
    }
}
