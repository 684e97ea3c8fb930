//! What a processor that starts again does with an event that it reads. Pure.
//!
//! With the rows of closed windows, in the same commit, go the watermark W, and for each partition the position P (the
//! next offset) and the safe offset S (the oldest offset with an event of a window that was open). A processor that
//! starts reads from S, and before it what the dedup window was made of: the log is the state.

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
    use crate::watermark::{Moment, Watermark};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    const PARTITIONS: usize = 2;
    const SECOND: i64 = 1_000_000;
    /// Later than every event.
    const NOW: Moment = Moment { wall_us: 10_000 * SECOND, monotonic_us: 0 };

    /// An event's partition and offset.
    type Place = (usize, u64);

    /// A processor with tumbling windows of ten seconds, that loses everything but what it committed.
    #[derive(Clone)]
    struct Model {
        watermark_us: i64,
        positions: [u64; PARTITIONS],
        safe: [u64; PARTITIONS],
        /// Rows of closed windows, by their end: the events that they count.
        closed: BTreeMap<i64, BTreeSet<Place>>,
        late: BTreeSet<Place>,
    }

    /// From its start to when it is killed.
    #[derive(Debug, Clone)]
    struct Run {
        lateness_s: u64,
        /// Of which partition the next event is read, and whether it commits then.
        steps: Vec<(usize, bool)>,
    }

    impl Model {
        fn run(&mut self, logs: &[Vec<i64>; PARTITIONS], run: &Run) {
            let mut watermark = Watermark::new(Duration::from_secs(run.lateness_s), self.watermark_us);
            let mut next = self.safe;
            (0..PARTITIONS).for_each(|of| watermark.assign(of as u32, next[of], self.positions[of]));
            let mut open: BTreeMap<i64, BTreeSet<Place>> = BTreeMap::new();
            let mut late = self.late.clone();
            for (partition, commits) in &run.steps {
                let of = *partition;
                if let Some(time_s) = logs[of].get(next[of] as usize) {
                    let (offset, window_end) = (next[of], time_s.div_euclid(10) * 10 * SECOND + 10 * SECOND);
                    let committed = Committed { watermark_us: self.watermark_us, position: self.positions[of] };
                    match committed.decide(offset, window_end) {
                        Event::Counted => {}
                        Event::Late => drop(late.insert((of, offset))),
                        Event::Open => drop(open.entry(window_end).or_default().insert((of, offset))),
                    }
                    watermark.observe(of as u32, time_s * SECOND, time_s * SECOND, NOW);
                    next[of] += 1;
                    watermark.read_to(of as u32, next[of]);
                }
                let reached = watermark.advance(NOW);
                if *commits {
                    let still = open.split_off(&(reached + 1));
                    for (end, events) in std::mem::replace(&mut open, still) {
                        assert!(self.closed.insert(end, events).is_none(), "a window came out twice");
                    }
                    (self.watermark_us, self.late) = (reached, late.clone());
                    for (of, next) in next.iter().copied().enumerate() {
                        self.positions[of] = self.positions[of].max(next);
                        let held = open.values().flatten().filter(|(partition, _)| *partition == of);
                        // What it has not read again yet may be of windows that are open.
                        self.safe[of] = held.map(|(_, offset)| *offset).chain([next]).min().unwrap_or(next);
                    }
                }
            }
        }
    }

    fn run() -> impl Strategy<Value = Run> {
        let steps = proptest::collection::vec((0..PARTITIONS, proptest::bool::weighted(0.2)), 0..60);
        (0_u64..20, steps).prop_map(|(lateness_s, steps)| Run { lateness_s, steps })
    }

    fn log() -> impl Strategy<Value = Vec<i64>> {
        proptest::collection::vec(0_i64..200, 0..40)
    }

    proptest! {
        #[test]
        fn wherever_it_is_killed_each_event_is_counted_once_or_is_late(
            one in log(), other in log(), runs in proptest::collection::vec(run(), 0..8),
        ) {
            let mut logs = [one, other];
            let mut killed = Model {
                watermark_us: i64::MIN,
                positions: [0; PARTITIONS],
                safe: [0; PARTITIONS],
                closed: BTreeMap::new(),
                late: BTreeSet::new(),
            };
            runs.iter().for_each(|run| killed.run(&logs, run));
            let events: BTreeSet<Place> =
                (0..PARTITIONS).flat_map(|of| (0..logs[of].len() as u64).map(move |offset| (of, offset))).collect();
            // The last run reads all, and a last event of each partition closes every window.
            logs.iter_mut().for_each(|log| log.push(1_000));
            let steps = (0..PARTITIONS).flat_map(|of| vec![(of, false); logs[of].len()]).chain([(0, true)]).collect();
            killed.run(&logs, &Run { lateness_s: 0, steps });
            let counted: Vec<Place> = killed.closed.values().flatten().copied().collect();
            let distinct: BTreeSet<Place> = counted.iter().copied().collect();
            prop_assert_eq!(counted.len(), distinct.len(), "an event is in two windows");
            prop_assert!(distinct.is_disjoint(&killed.late), "counted, and late as well");
            let all: BTreeSet<Place> = distinct.union(&killed.late).copied().collect();
            prop_assert_eq!(all, events);
        }
    }
}
