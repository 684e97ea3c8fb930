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
use std::time::Duration;
use tokio::time::Instant;

/// A place that nothing comes of is looked at after this long: do the brokers answer, is there something to fetch?
const QUIET: Duration = Duration::from_secs(5);
/// An end that was said too low is put right after nothing came for so long.
const BEHIND_QUIET: Duration = Duration::from_millis(500);
/// Between two looks at a place that is in doubt.
const DOUBT_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
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
    look_at: Instant,
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
}

impl Places {
    /// The next record of `partition` is `offset`; `end` was seen before its fetch begins.
    pub(super) fn seek(&mut self, partition: u32, offset: u64, end: u64, now: Instant) {
        self.seeks += 1;
        let place = Place {
            next: offset,
            end_before: end,
            said: None,
            seen: end,
            doubt: false,
            sought: self.seeks,
            look_at: now + QUIET,
        };
        self.places.insert(partition, place);
    }

    pub(super) fn remove(&mut self, partition: u32) {
        self.places.remove(&partition);
    }

    /// True: hand it out. False: it is from before a seek.
    pub(super) fn record(&mut self, partition: u32, offset: u64, now: Instant) -> bool {
        let Some(place) = self.places.get_mut(&partition) else { return false };
        if place.doubt || offset < place.next {
            return false;
        }
        place.next = offset + 1;
        place.seen = place.seen.max(place.next);
        place.said = None;
        place.look_at = now + QUIET;
        true
    }

    /// The fetch of `partition` reached the end; `Some`: say that it is this one.
    pub(super) fn end(&mut self, partition: u32, now: Instant) -> Option<u64> {
        let place = self.places.get_mut(&partition).filter(|place| !place.doubt)?;
        let end = place.next.max(place.end_before);
        if place.said == Some(end) {
            return None;
        }
        place.said = Some(end);
        place.look_at = now + if place.is_behind() { BEHIND_QUIET } else { QUIET };
        Some(end)
    }

    /// Somebody asked for the bounds of `partition`.
    pub(super) fn saw_end(&mut self, partition: u32, end: u64, now: Instant) {
        let Some(place) = self.places.get_mut(&partition) else { return };
        let was_behind = place.is_behind();
        place.seen = place.seen.max(end);
        if place.is_behind() && !was_behind {
            place.look_at = now + BEHIND_QUIET;
        }
    }

    /// The least that the end of `partition` is known to be.
    pub(super) fn end_known(&self, partition: u32) -> u64 {
        self.places.get(&partition).map_or(0, |place| place.seen)
    }

    /// A fetch failed, and of which partition is not known.
    pub(super) fn doubt_all(&mut self, now: Instant) {
        for place in self.places.values_mut().filter(|place| !place.doubt) {
            place.doubt = true;
            place.look_at = now;
        }
    }

    /// When the next place is to be looked at.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.places.values().map(|place| place.look_at).min()
    }

    /// The places whose bounds are to be asked for now.
    pub(super) fn to_ask(&self, now: Instant) -> Vec<Asked> {
        let due = self.places.iter().filter(|(_, place)| place.look_at <= now);
        let asked = |(partition, place): (&u32, &Place)| Asked {
            partition: *partition,
            sought: place.sought,
            next: place.next,
        };
        due.map(asked).collect()
    }

    /// The bounds that were asked for did not come.
    pub(super) fn unanswered(&mut self, asked: Asked, now: Instant) {
        if let Some(place) = self.places.get_mut(&asked.partition) {
            place.look_again(now);
        }
    }

    /// The bounds that were asked for.
    pub(super) fn verify(&mut self, asked: Asked, bounds: &Range<u64>, now: Instant) -> Verdict {
        let Some(place) = self.places.get_mut(&asked.partition).filter(|place| place.sought == asked.sought) else {
            return Verdict::Leave;
        };
        // Records went on while the answer was on its way: what it says of the end is old.
        if place.next != asked.next {
            place.look_again(now);
            return Verdict::Leave;
        }
        let offset = place.next;
        if offset < bounds.start || offset > bounds.end {
            place.doubt = true;
            place.look_again(now);
            return Verdict::OutOfRange { offset };
        }
        place.seen = place.seen.max(bounds.end);
        // What is fetched anew needs its time.
        place.look_at = now + QUIET;
        let all_was_said = place.said.is_some() || bounds.end == offset;
        if !place.doubt && !place.is_behind() && all_was_said {
            return Verdict::Leave;
        }
        self.seeks += 1;
        place.end_before = bounds.end;
        place.seen = bounds.end;
        place.doubt = false;
        place.sought = self.seeks;
        Verdict::Fetch { offset }
    }
}

impl Place {
    fn look_again(&mut self, now: Instant) {
        self.look_at = now + if self.doubt { DOUBT_PAUSE } else { QUIET };
    }

    fn is_behind(&self) -> bool {
        self.said.is_some_and(|said| said < self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, end: u64) -> (Places, Instant) {
        let (mut places, now) = (Places::default(), Instant::now());
        places.seek(0, offset, end, now);
        (places, now)
    }

    fn verify(places: &mut Places, bounds: Range<u64>, now: Instant) -> Verdict {
        let asked = places.to_ask(now);
        places.verify(asked[0], &bounds, now)
    }

    #[test]
    fn records_from_before_a_seek_are_dropped() {
        let (mut places, now) = at(5, 9);
        assert!(
            !places.record(0, 4, now) && !places.record(1, 5, now),
            "below, and of a partition that was not sought"
        );
        assert!(places.record(0, 5, now) && !places.record(0, 5, now), "once");
        assert!(places.record(0, 8, now), "offsets between them were taken by no record");
        places.remove(0);
        assert!(!places.record(0, 9, now));
    }

    #[test]
    fn an_end_is_said_once_each_time_it_is_reached() {
        let (mut places, now) = at(4, 4);
        assert_eq!((places.end(0, now), places.end(0, now)), (Some(4), None));
        assert!(places.record(0, 4, now));
        assert_eq!((places.end(0, now), places.end(0, now)), (Some(5), None));
        assert_eq!(places.end(1, now), None);
    }

    #[test]
    fn an_end_behind_markers_is_said_as_it_was_seen_before_the_fetch() {
        let (mut places, now) = at(4, 7);
        assert!(places.record(0, 5, now));
        assert_eq!(places.end(0, now), Some(7), "6 is a marker");
    }

    #[test]
    fn a_higher_end_is_said_only_after_a_fetch_that_began_after_it_was_seen() {
        let (mut places, now) = at(0, 0);
        assert_eq!(places.end(0, now), Some(0));
        places.saw_end(0, 3, now);
        assert_eq!(places.end(0, now), None, "the fetch that is under way began before");
        assert_eq!(places.to_ask(now), [], "it may bring what was seen");
        let quiet = now + BEHIND_QUIET;
        assert_eq!(verify(&mut places, 0..3, quiet), Verdict::Fetch { offset: 0 });
        assert_eq!(places.to_ask(quiet + BEHIND_QUIET), [], "a fetch needs its time");
        assert_eq!(places.end(0, quiet), Some(3));
        assert_eq!(verify(&mut places, 0..3, quiet + QUIET), Verdict::Leave);
    }

    #[test]
    fn a_higher_end_that_records_reach_needs_no_fetch() {
        let (mut places, now) = at(0, 0);
        places.end(0, now);
        places.saw_end(0, 1, now);
        assert!(places.record(0, 0, now));
        assert_eq!(places.end(0, now), Some(1));
        assert_eq!(places.to_ask(now + BEHIND_QUIET), []);
    }

    #[test]
    fn a_place_that_is_behind_is_looked_at_whatever_comes_of_others() {
        let (mut places, now) = at(0, 0);
        places.seek(1, 0, 0, now);
        places.end(0, now);
        places.saw_end(0, 1, now);
        let later = now + BEHIND_QUIET;
        assert!(places.record(1, 0, later));
        assert_eq!(places.look_at(), Some(later));
        assert_eq!(places.to_ask(later).iter().map(|asked| asked.partition).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_place_in_doubt_hands_out_nothing_until_it_is_fetched_anew() {
        let (mut places, now) = at(2, 9);
        places.doubt_all(now);
        assert!(!places.record(0, 3, now), "what lies between may have been skipped");
        assert_eq!(places.end(0, now), None);
        assert_eq!(verify(&mut places, 0..9, now), Verdict::Fetch { offset: 2 });
        assert!(places.record(0, 2, now));
    }

    #[test]
    fn a_place_outside_of_the_log_stays_in_doubt_and_never_jumps() {
        for bounds in [3..9, 0..1] {
            let (mut places, mut now) = at(2, 9);
            places.doubt_all(now);
            for _ in 0..2 {
                assert_eq!(verify(&mut places, bounds.clone(), now), Verdict::OutOfRange { offset: 2 });
                assert!(!places.record(0, 4, now));
                assert_eq!(places.to_ask(now), [], "nobody is kept busy by it");
                now += DOUBT_PAUSE;
            }
            places.seek(0, 3, 9, now);
            assert!(places.record(0, 3, now));
        }
    }

    #[test]
    fn an_end_that_records_have_passed_since_it_was_asked_for_is_old() {
        let (mut places, now) = at(2, 2);
        let asked = places.to_ask(now + QUIET);
        assert!(places.record(0, 2, now));
        assert_eq!(places.verify(asked[0], &(0..2), now), Verdict::Leave);
        assert!(places.record(0, 3, now), "it is not in doubt");
        places.doubt_all(now);
        assert_eq!(places.verify(asked[0], &(0..2), now), Verdict::Leave);
        assert_eq!(places.look_at(), Some(now + DOUBT_PAUSE), "it is asked again");
    }

    #[test]
    fn an_answer_about_a_former_seek_is_of_no_use() {
        let (mut places, now) = at(2, 9);
        let asked = places.to_ask(now + QUIET);
        places.seek(0, 5, 9, now);
        assert_eq!(places.verify(asked[0], &(6..9), now), Verdict::Leave);
        assert!(places.record(0, 5, now));
    }

    #[test]
    fn a_fetch_that_stands_still_is_begun_anew() {
        let (mut places, now) = at(2, 9);
        assert_eq!(places.to_ask(now), []);
        assert_eq!(verify(&mut places, 0..9, now + QUIET), Verdict::Fetch { offset: 2 }, "no record, no end");
        let (mut places, now) = at(2, 2);
        assert_eq!(verify(&mut places, 0..2, now + QUIET), Verdict::Leave, "there is nothing");
    }

    #[test]
    fn brokers_that_do_not_answer_are_asked_again_after_a_while() {
        let (mut places, now) = at(2, 2);
        let later = now + QUIET;
        let asked = places.to_ask(later);
        places.unanswered(asked[0], later);
        assert_eq!(places.look_at(), Some(later + QUIET));
        places.doubt_all(later);
        assert_eq!(places.look_at(), Some(later));
        places.unanswered(asked[0], later);
        assert_eq!(places.look_at(), Some(later + DOUBT_PAUSE), "sooner when a position is in doubt");
    }
}
