//! Where a reader stands in each partition, and what it does next. Pure: no I/O, no waiting.
//!
//! Promise: partitions take turns; nothing at or past the durable end is handed out; a position that the log no
//! longer has is an error each time, never a jump.
use std::ops::Range;

/// What the reader does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Say which partitions are this reader's.
    Assign,
    /// Hand out this record, then call [`Cursor::advance`].
    Read { partition: u32, offset: u64 },
    /// Say that the end was reached.
    CaughtUp { partition: u32, end: u64 },
    /// The position is not within the log any more.
    OutOfRange { partition: u32, offset: u64, start: u64, end: u64 },
    /// Nothing to do until the log moves.
    Wait,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    offset: u64,
    said_caught_up: bool,
}

/// Positions of one reader over all partitions.
#[derive(Debug)]
pub(crate) struct Cursor {
    places: Vec<Option<Place>>,
    turn: usize,
    assigned: bool,
}

impl Cursor {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { places: vec![None; partitions as usize], turn: 0, assigned: false }
    }

    /// The next step, given each partition's start and durable end. Changes nothing for `Read` (so that a reader that
    /// is cancelled while it fetches the record loses nothing); the other steps count as taken.
    pub(crate) fn step(&mut self, bounds: impl Fn(u32) -> Range<u64>) -> Step {
        if !self.assigned {
            self.assigned = true;
            return Step::Assign;
        }
        let count = self.places.len();
        for index in (0..count).map(|step| (self.turn + step) % count) {
            let Some(place) = self.places[index] else { continue };
            let partition = index as u32;
            let Range { start, end } = bounds(partition);
            if place.offset < start || place.offset > end {
                return Step::OutOfRange { partition, offset: place.offset, start, end };
            }
            if place.offset < end {
                return Step::Read { partition, offset: place.offset };
            }
            if !place.said_caught_up {
                self.places[index] = Some(Place { said_caught_up: true, ..place });
                self.turn = index + 1;
                return Step::CaughtUp { partition, end };
            }
        }
        Step::Wait
    }

    /// The record of the last `Read` of `partition` was handed out.
    pub(crate) fn advance(&mut self, partition: u32) {
        let index = partition as usize;
        if let Some(place) = &mut self.places[index] {
            *place = Place { offset: place.offset + 1, said_caught_up: false };
        }
        self.turn = index + 1;
    }

    /// The next record of `partition` is `offset`.
    pub(crate) fn seek(&mut self, partition: u32, offset: u64) {
        self.places[partition as usize] = Some(Place { offset, said_caught_up: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(partitions: u32) -> Cursor {
        let mut cursor = Cursor::new(partitions);
        assert_eq!(cursor.step(|_| 0..9), Step::Assign);
        cursor
    }

    #[test]
    fn nothing_is_read_before_a_seek() {
        assert_eq!(cursor(3).step(|_| 0..9), Step::Wait);
    }

    #[test]
    fn partitions_take_turns() {
        let mut cursor = cursor(2);
        cursor.seek(0, 0);
        cursor.seek(1, 5);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let Step::Read { partition, offset } = cursor.step(|_| 0..9) else { panic!("records are left") };
            cursor.advance(partition);
            seen.push((partition, offset));
        }
        assert_eq!(seen, [(0, 0), (1, 5), (0, 1), (1, 6)]);
    }

    #[test]
    fn the_end_is_said_once_each_time_it_is_reached() {
        let mut cursor = cursor(1);
        cursor.seek(0, 4);
        assert_eq!(cursor.step(|_| 0..4), Step::CaughtUp { partition: 0, end: 4 });
        assert_eq!(cursor.step(|_| 0..4), Step::Wait);
        assert_eq!(cursor.step(|_| 0..5), Step::Read { partition: 0, offset: 4 });
        cursor.advance(0);
        assert_eq!(cursor.step(|_| 0..5), Step::CaughtUp { partition: 0, end: 5 });
    }

    #[test]
    fn a_position_that_the_log_dropped_or_never_had_is_an_error_every_time() {
        let mut cursor = cursor(1);
        cursor.seek(0, 4);
        for _ in 0..2 {
            assert_eq!(cursor.step(|_| 6..9), Step::OutOfRange { partition: 0, offset: 4, start: 6, end: 9 });
            assert_eq!(cursor.step(|_| 0..3), Step::OutOfRange { partition: 0, offset: 4, start: 0, end: 3 });
        }
    }
}
