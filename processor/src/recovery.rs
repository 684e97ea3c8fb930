//! What a processor that starts again does with an event that it reads. Pure.
//!
//! With the rows of closed windows, in the same commit, go the watermark W, and for each partition the position P (the
//! next offset) and the safe offset S (the oldest offset with an event of a window that was open). A processor that
//! starts reads from S: the log is the state.

/// What an event is for one window of one rollup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// In the rows of a closed window already: skip it.
    Counted,
    /// Of a window that is open: fold it (again, below P: what was folded is gone with the process).
    Open,
    /// Of a window that was closed before it came: mark the window, to be corrected from the lake.
    Late,
}

/// What was committed last, of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// W: windows that end at or before it are closed, µs.
    pub watermark_us: i64,
    /// P: the next offset when it was committed.
    pub position: u64,
}

impl Committed {
    /// Decides by where the event stands and when its window ends.
    pub fn decide(self, offset: u64, window_end_us: i64) -> Event {
        match (window_end_us <= self.watermark_us, offset < self.position) {
            (true, true) => Event::Counted,
            (true, false) => Event::Late,
            (false, _) => Event::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A processor of one partition with tumbling windows of 10, that loses everything but what it committed.
    #[derive(Default)]
    struct Model {
        committed: Option<(Committed, u64)>,
        /// Rows of closed windows: the offsets that they count.
        closed: BTreeMap<i64, BTreeSet<u64>>,
        late: BTreeSet<u64>,
    }

    impl Model {
        /// Reads `log` from the safe offset to `end`, commits at each of `commits`, and is killed.
        fn run(&mut self, log: &[i64], end: usize, commits: &[usize]) {
            let (begun, safe) = self.committed.unwrap_or((Committed { watermark_us: i64::MIN, position: 0 }, 0));
            let mut open: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
            let (mut now, mut watermark) = (begun, begun.watermark_us);
            for (offset, time) in log.iter().enumerate().take(end).skip(safe as usize) {
                let window_end = time.div_euclid(10) * 10 + 10;
                match now.decide(offset as u64, window_end) {
                    Event::Counted => {}
                    Event::Late => drop(self.late.insert(offset as u64)),
                    Event::Open => drop(open.entry(window_end).or_default().insert(offset as u64)),
                }
                watermark = watermark.max(time - 5);
                if commits.contains(&offset) {
                    let still = open.split_off(&(watermark + 1));
                    self.closed.extend(std::mem::replace(&mut open, still));
                    let position = now.position.max(offset as u64 + 1);
                    now = Committed { watermark_us: watermark, position };
                    let safe = open.values().flatten().min().copied().unwrap_or(position);
                    self.committed = Some((now, safe));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn wherever_it_is_killed_each_event_is_counted_once_or_is_late(
            log in proptest::collection::vec(0_i64..200, 1..60),
            runs in proptest::collection::vec((0_usize..60, proptest::collection::vec(0_usize..60, 0..6)), 0..8),
        ) {
            let mut killed = Model::default();
            for (end, commits) in &runs {
                killed.run(&log, (*end).min(log.len()), commits);
            }
            // The last run reads all, and a last event closes every window.
            let mut whole = log.clone();
            whole.push(1_000);
            killed.run(&whole, whole.len(), &[log.len()]);
            let counted: Vec<u64> = killed.closed.values().flatten().copied().collect();
            let distinct: BTreeSet<u64> = counted.iter().copied().collect();
            prop_assert_eq!(counted.len(), distinct.len(), "an event is in two windows");
            let all: BTreeSet<u64> = distinct.union(&killed.late).copied().collect();
            prop_assert_eq!(all, (0..log.len() as u64).collect::<BTreeSet<_>>());
            prop_assert!(distinct.is_disjoint(&killed.late), "counted, and late as well");
        }
    }
}
