//! Where a reader stands in each partition, and what it may say. Pure.
//!
//! Promise: of each partition, records are handed out in order from the offset that was sought; an end is said once each
//! time it is reached, and everything below it was handed out before; a place in doubt hands out nothing until it is
//! verified.
//!
//! An end is told by the broker without its offset, and offsets may be taken by no record (markers of transactions). So
//! what the end is at least is remembered from before a fetch began: that fetch reaches it or more. An end that is seen
//! to be higher than the one that was said, while nothing comes, is verified by a fetch that begins after it was seen.
//!
//! ```text
//!  sought ─▶ fetched ─▶ record, record, end ─┬─▶ record ...
//!              ▲                             └─▶ a higher end is seen, and nothing comes ─┐
//!              └──────── verified ◀────────── in doubt ◀── errors of the fetch ───────────┘
//! ```
use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Debug, Clone, Default)]
struct Place {
    /// The next record's offset, or below it when offsets are taken by no record.
    next: u64,
    /// The end before the fetch began: that fetch reaches it.
    end_before: u64,
    said: Option<u64>,
    /// The highest end that was seen.
    seen: u64,
    doubt: bool,
    /// Counts seeks, so that an answer about a former one is of no use.
    sought: u64,
}

/// What became of looking at a place's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was sought anew or given back meanwhile, or there is nothing to do.
    Leave,
    /// The topic does not have its next record, nor will it be the next one written.
    OutOfRange { offset: u64 },
    /// To be fetched from this offset anew.
    Fetch { offset: u64 },
}

/// A place whose bounds are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) partition: u32,
    sought: u64,
    /// The next record's offset when it was asked.
    next: u64,
}

/// Places of one reader.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: BTreeMap<u32, Place>,
    seeks: u64,
    turn: u32,
}

impl Places {
    /// The next record of `partition` is `offset`; `end` was seen before its fetch begins.
    pub(super) fn seek(&mut self, partition: u32, offset: u64, end: u64) {
        self.seeks += 1;
        let place = Place { next: offset, end_before: end, seen: end, sought: self.seeks, ..Place::default() };
        self.places.insert(partition, place);
    }

    pub(super) fn remove(&mut self, partition: u32) {
        self.places.remove(&partition);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// True: hand it out. False: it is from before a seek.
    pub(super) fn record(&mut self, partition: u32, offset: u64) -> bool {
        let Some(place) = self.places.get_mut(&partition) else { return false };
        if place.doubt || offset < place.next {
            return false;
        }
        place.next = offset + 1;
        place.seen = place.seen.max(place.next);
        place.said = None;
        true
    }

    /// The fetch of `partition` reached the end; `Some`: say that it is this one.
    pub(super) fn end(&mut self, partition: u32) -> Option<u64> {
        let place = self.places.get_mut(&partition).filter(|place| !place.doubt)?;
        let end = place.next.max(place.end_before);
        if place.said == Some(end) {
            return None;
        }
        place.said = Some(end);
        Some(end)
    }

    /// Somebody asked for the bounds of `partition`.
    pub(super) fn saw_end(&mut self, partition: u32, end: u64) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.seen = place.seen.max(end);
        }
    }

    /// The least that the end of `partition` is known to be.
    pub(super) fn end_known(&self, partition: u32) -> u64 {
        self.places.get(&partition).map_or(0, |place| place.seen)
    }

    /// The fetch failed, and of which partition is not known.
    pub(super) fn doubt_all(&mut self) {
        self.places.values_mut().for_each(|place| place.doubt = true);
    }

    /// Some place is in doubt.
    pub(super) fn is_doubtful(&self) -> bool {
        self.places.values().any(|place| place.doubt)
    }

    /// Some place said an end, and a higher one was seen.
    pub(super) fn is_behind(&self) -> bool {
        self.places.values().any(Place::is_behind)
    }

    /// All places in doubt; with `quiet` also those that said an end too low, and each time another one, whether the
    /// brokers answer at all.
    pub(super) fn to_ask(&mut self, quiet: bool) -> Vec<Asked> {
        let turn = quiet.then(|| self.next_turn()).flatten();
        let asked = |(partition, place): (&u32, &Place)| {
            let wanted = place.doubt || (quiet && place.is_behind()) || turn == Some(*partition);
            wanted.then_some(Asked { partition: *partition, sought: place.sought, next: place.next })
        };
        self.places.iter().filter_map(asked).collect()
    }

    fn next_turn(&mut self) -> Option<u32> {
        let after = self.places.range(self.turn..).chain(&self.places).next();
        let partition = after.map(|(partition, _)| *partition)?;
        self.turn = partition + 1;
        Some(partition)
    }

    /// The bounds that were asked for.
    pub(super) fn verify(&mut self, asked: Asked, bounds: &Range<u64>) -> Verdict {
        let Some(place) = self.places.get_mut(&asked.partition).filter(|place| place.sought == asked.sought) else {
            return Verdict::Leave;
        };
        let offset = place.next;
        // Records went on while the answer was on its way: what it says of the end is old.
        if asked.next <= bounds.end && bounds.end < offset {
            return Verdict::Leave;
        }
        if offset < bounds.start || offset > bounds.end {
            place.doubt = true;
            return Verdict::OutOfRange { offset };
        }
        place.seen = place.seen.max(bounds.end);
        // A place that has said no end yet is on its way, unless it stands still.
        if !place.doubt && !place.is_behind() && (place.said.is_some() || bounds.end <= offset) {
            return Verdict::Leave;
        }
        self.seeks += 1;
        let said = place.said;
        *place =
            Place { next: offset, end_before: bounds.end, seen: bounds.end, said, sought: self.seeks, doubt: false };
        Verdict::Fetch { offset }
    }
}

impl Place {
    fn is_behind(&self) -> bool {
        self.said.is_some_and(|said| said < self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, end: u64) -> Places {
        let mut places = Places::default();
        places.seek(0, offset, end);
        places
    }

    fn verify(places: &mut Places, bounds: Range<u64>) -> Verdict {
        let asked = places.to_ask(true);
        places.verify(asked[0], &bounds)
    }

    #[test]
    fn records_from_before_a_seek_are_dropped() {
        let mut places = at(5, 9);
        assert!(!places.record(0, 4) && !places.record(1, 5), "below, and of a partition that was not sought");
        assert!(places.record(0, 5) && !places.record(0, 5), "once");
        assert!(places.record(0, 8), "offsets between them were taken by no record");
        places.remove(0);
        assert!(!places.record(0, 9));
    }

    #[test]
    fn an_end_is_said_once_each_time_it_is_reached() {
        let mut places = at(4, 4);
        assert_eq!((places.end(0), places.end(0)), (Some(4), None));
        assert!(places.record(0, 4));
        assert_eq!((places.end(0), places.end(0)), (Some(5), None));
        assert_eq!(places.end(1), None);
    }

    #[test]
    fn an_end_behind_markers_is_said_as_it_was_seen_before_the_fetch() {
        let mut places = at(4, 7);
        assert!(places.record(0, 5));
        assert_eq!(places.end(0), Some(7), "6 is a marker");
    }

    #[test]
    fn a_higher_end_is_said_only_after_a_fetch_that_began_after_it_was_seen() {
        let mut places = at(0, 0);
        assert_eq!(places.end(0), Some(0));
        assert!(!places.is_behind());
        places.saw_end(0, 3);
        assert!(places.is_behind());
        assert_eq!(places.end(0), None, "the fetch that is under way began before");
        assert_eq!(verify(&mut places, 0..3), Verdict::Fetch { offset: 0 });
        assert_eq!(places.end(0), Some(3));
        assert!(!places.is_behind());
    }

    #[test]
    fn a_higher_end_that_records_reach_needs_no_fetch() {
        let mut places = at(0, 0);
        places.end(0);
        places.saw_end(0, 1);
        assert!(places.record(0, 0));
        assert!(!places.is_behind());
        assert_eq!(places.end(0), Some(1));
    }

    #[test]
    fn a_place_in_doubt_hands_out_nothing_until_it_is_fetched_anew() {
        let mut places = at(2, 9);
        places.doubt_all();
        assert!(!places.record(0, 3), "what lies between may have been skipped");
        assert_eq!(places.end(0), None);
        assert_eq!(places.to_ask(false).len(), 1);
        assert_eq!(verify(&mut places, 0..9), Verdict::Fetch { offset: 2 });
        assert!(!places.is_doubtful() && places.record(0, 2));
    }

    #[test]
    fn a_place_outside_of_the_log_stays_in_doubt_and_never_jumps() {
        for bounds in [3..9, 0..1] {
            let mut places = at(2, 9);
            places.doubt_all();
            for _ in 0..2 {
                assert_eq!(verify(&mut places, bounds.clone()), Verdict::OutOfRange { offset: 2 });
                assert!(places.is_doubtful() && !places.record(0, 4));
            }
            places.seek(0, 3, 9);
            assert!(!places.is_doubtful() && places.record(0, 3));
        }
    }

    #[test]
    fn an_end_that_records_have_passed_since_it_was_asked_for_is_old() {
        let mut places = at(2, 2);
        let asked = places.to_ask(true);
        assert!(places.record(0, 2));
        assert_eq!(places.verify(asked[0], &(0..2)), Verdict::Leave);
        assert!(!places.is_doubtful() && places.record(0, 3));
    }

    #[test]
    fn an_answer_about_a_former_seek_is_of_no_use() {
        let mut places = at(2, 9);
        let asked = places.to_ask(true);
        places.seek(0, 5, 9);
        assert_eq!(places.verify(asked[0], &(6..9)), Verdict::Leave);
        assert!(places.record(0, 5));
    }

    #[test]
    fn a_fetch_that_stands_still_is_begun_anew() {
        let mut places = at(2, 9);
        assert_eq!(verify(&mut places, 0..9), Verdict::Fetch { offset: 2 }, "no record, no end");
        let mut places = at(2, 2);
        assert_eq!(verify(&mut places, 0..2), Verdict::Leave, "there is nothing");
    }

    #[test]
    fn partitions_take_turns_in_being_asked() {
        let mut places = Places::default();
        for partition in [1, 4] {
            places.seek(partition, 0, 0);
            places.end(partition);
        }
        let mut turns = || places.to_ask(true).iter().map(|asked| asked.partition).collect::<Vec<_>>();
        assert_eq!([turns(), turns(), turns()], [[1], [4], [1]]);
        assert_eq!(places.to_ask(false), []);
    }
}
