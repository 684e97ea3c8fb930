//! Which windows can be closed, by what partitions were brought to. Pure.
use crate::positions::Positions;

/// What a commit brought a partition to: windows that end after `from_us` and at or before `to_us` (µs) have all that the
/// partition holds below `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) partition: u32,
    pub(crate) from_us: i64,
    pub(crate) to_us: i64,
    pub(crate) next: u64,
}

/// Up to where each of so many partitions is in the partials of the window that ends at `end_us`; `None`: one is not.
pub(crate) fn positions(moved: &[Moved], partitions: u32, end_us: i64) -> Option<Positions> {
    let of = |partition| {
        let has = |moved: &&Moved| moved.partition == partition && moved.from_us < end_us && end_us <= moved.to_us;
        moved.iter().find(has).map(|moved| (partition, moved.next))
    };
    (0..partitions).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_the_positions_of_the_commits_that_went_past_its_end() {
        let moved = |partition, from_us, to_us, next| Moved { partition, from_us, to_us, next };
        let all = [moved(0, i64::MIN, 20, 5), moved(1, i64::MIN, 10, 3), moved(1, 10, 30, 7), moved(0, 20, 30, 6)];
        let at = |end_us| positions(&all, 2, end_us).map(|positions| positions.into_values().collect::<Vec<u64>>());
        assert_eq!(at(10), Some(vec![5, 3]));
        assert_eq!(at(20), Some(vec![5, 7]));
        assert_eq!(at(30), Some(vec![6, 7]));
        assert_eq!(at(40), None);
        assert_eq!(positions(&all, 3, 10), None, "a partition that nobody has counted");
    }
}
