//! Where a reader stands in each partition, and what it may say. Pure.
//!
//! Promise: of each partition, records are handed out in order from the offset that was sought; an end is said once each
//! time it is reached, and everything below it was handed out before; a place in doubt hands out nothing until it is
//! verified.
//!
//! An end is told by the broker without its offset, and offsets may be taken by no record (markers of transactions). So
//! an end above the next record is said only if the fetch itself went over the offsets between (its position): what
//! another question said of the end proves nothing about this fetch, since a broker may say a lower one (a leader that
//! was just elected does). An end that is seen to be higher than the one that was said, while nothing comes, is looked
//! for by another fetch.
//!
//! An error of a fetch does not say of which partition it is. A broken batch is one that a place stands before: fetched
//! again and again, it neither moves nor reaches its end, whatever comes of others.
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

/// So many fetches in vain, and the client is at fault: seen of librdkafka 2.12 after an outage of 40 s, in which it went
/// on answering questions but fetched no more.
const IN_VAIN_MAX: u32 = 3;
/// The longest wait for a fetch: QUIET doubled so often, 80 s.
const IN_VAIN_DOUBLINGS: u32 = 4;

#[derive(Debug, Clone)]
struct Place {
    /// The next record's offset, or below it when offsets are taken by no record.
    next: u64,
    said: Option<u64>,
    /// The highest end that was seen.
    seen: u64,
    doubt: bool,
    /// `next` at the last doubt; `None`: the end was reached since.
    stood_at: Option<u64>,
    /// Doubts in a row, without moving or reaching the end, because of a batch that was broken.
    broken: u32,
    /// Fetches in a row of which nothing came, though the brokers say that there is something.
    in_vain: u32,
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
    /// The next record of `partition` is `offset`; `end` was seen.
    pub(super) fn seek(&mut self, partition: u32, offset: u64, end: u64, now: Instant) {
        self.seeks += 1;
        let place = Place {
            next: offset,
            said: None,
            seen: end,
            doubt: false,
            stood_at: None,
            broken: 0,
            in_vain: 0,
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
        place.in_vain = 0;
        place.look_at = now + QUIET;
        true
    }

    /// True: an end of `partition` that is told now may be above its next record; the fetch's position says so.
    pub(super) fn wants_position(&self, partition: u32) -> bool {
        self.places.get(&partition).is_some_and(|place| !place.doubt && place.next < place.seen)
    }

    /// The fetch of `partition` reached the end, and went over all below `position`; `Some`: say that it is this one.
    pub(super) fn end(&mut self, partition: u32, position: Option<u64>, now: Instant) -> Option<u64> {
        let place = self.places.get_mut(&partition).filter(|place| !place.doubt)?;
        (place.stood_at, place.broken, place.in_vain) = (None, 0, 0);
        let end = place.next.max(position.unwrap_or(0));
        place.seen = place.seen.max(end);
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

    /// A fetch failed, because a batch was broken or not, and of which partition is not known. Gives how often in a row
    /// a place stood before a broken batch; 0: this error is of a fetch that was in doubt before.
    pub(super) fn doubt_all(&mut self, broken: bool, now: Instant) -> u32 {
        let mut most = 0;
        for place in self.places.values_mut().filter(|place| !place.doubt) {
            let stood = place.stood_at.replace(place.next) == Some(place.next);
            place.broken = u32::from(broken) + if stood { place.broken } else { 0 };
            most = most.max(place.broken);
            place.in_vain = 0;
            place.doubt = true;
            // What a fetch still has to tell of broken batches comes before all are fetched anew: it counts once.
            place.look_at = if broken || stood { now + DOUBT_PAUSE } else { now };
        }
        most
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
        place.look_at = now + QUIET;
        let all_was_said = place.said.is_some() || bounds.end == offset;
        if !place.doubt && !place.is_behind() && all_was_said {
            return Verdict::Leave;
        }
        self.seeks += 1;
        place.seen = bounds.end;
        place.doubt = false;
        place.in_vain += 1;
        // What is fetched anew needs its time, on a slow line each time more.
        place.look_at = now + QUIET * (1 << (place.in_vain - 1).min(IN_VAIN_DOUBLINGS));
        place.sought = self.seeks;
        Verdict::Fetch { offset }
    }

    /// True: fetches of `partition` bring nothing, again and again, and no error either.
    pub(super) fn is_in_vain(&self, partition: u32) -> bool {
        self.places.get(&partition).is_some_and(|place| place.in_vain >= IN_VAIN_MAX)
    }

    /// All are fetched by another client from now on: where from. Those in doubt are looked at before.
    pub(super) fn begin_anew(&mut self, now: Instant) -> Vec<(u32, u64)> {
        let sound = self.places.iter_mut().filter(|(_, place)| !place.doubt);
        sound
            .map(|(partition, place)| {
                self.seeks += 1;
                place.sought = self.seeks;
                place.look_at = place.look_at.max(now + QUIET);
                (*partition, place.next)
            })
            .collect()
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
mod tests;
