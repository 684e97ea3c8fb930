//! The ledger of one pass: keys and places of the lake's rows, sorted, so that every question is a binary search. Pure.
use super::ByPartition;
use event::dedup::Key;
use std::collections::BTreeMap;
use std::fmt;

/// A row's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// Row of the record; `u32::MAX`: the whole record (dead letters).
    pub row: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} offset {} row {}", self.partition, self.offset, self.row)
    }
}

/// A row of the lake. Sorted by id first: acknowledged ids come without their tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    id: u128,
    tenant: u64,
    place: Place,
}

/// Rows of one pass.
pub struct Ledger {
    passes: u64,
    pass: u64,
    rows: Vec<Row>,
    places: Vec<Place>,
}

/// How much a pass holds.
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Distinct keys.
    pub ids: u64,
    /// Rows whose place another row has.
    pub places_repeated: u64,
}

/// What the comparison with the log's records came to.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Rows of the log found in the lake at their place, by partition.
    pub matched: ByPartition,
    /// Rows of the log above the lake's position.
    pub pending: u64,
    /// Rows of the log whose dates retention has ended.
    pub expired: u64,
    /// Rows and dead letters of the log that the lake lacks.
    pub absent: u64,
    /// The first of them in words.
    pub examples: Vec<String>,
    /// The records that they are of, by partition.
    pub lacking: BTreeMap<u32, Lacking>,
}

/// Records of a partition of which the lake lacks something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking {
    /// Rows and dead letters.
    pub rows: u64,
    /// The first record's offset.
    pub first: u64,
    /// The last one's.
    pub last: u64,
}

impl Lacking {
    /// These and others.
    pub fn and(self, other: Lacking) -> Lacking {
        Lacking { rows: self.rows + other.rows, first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

impl Ledger {
    /// Pass `pass` of `passes`.
    pub fn new(passes: u64, pass: u64) -> Self {
        Ledger { passes, pass, rows: Vec::new(), places: Vec::new() }
    }

    /// Whether this pass looks at this id.
    pub fn covers(&self, id: u128) -> bool {
        id % u128::from(self.passes) == u128::from(self.pass)
    }

    /// Takes a row of the lake, if it is this pass's.
    pub fn add(&mut self, key: Key, place: Place) {
        if self.covers(key.id) {
            self.rows.push(Row { id: key.id, tenant: key.tenant, place });
        }
        if place.offset.wrapping_add(u64::from(place.row)) % self.passes == self.pass {
            self.places.push(place);
        }
    }

    /// Must be called once, after the last `add`.
    pub fn sort(&mut self) {
        self.rows.sort_unstable();
        self.places.sort_unstable();
    }

    /// The places where the lake has this key.
    pub fn places_of(&self, key: Key) -> impl Iterator<Item = Place> {
        let start = self.rows.partition_point(|row| (row.id, row.tenant) < (key.id, key.tenant));
        let same = self.rows[start..].iter().take_while(move |row| row.id == key.id && row.tenant == key.tenant);
        same.map(|row| row.place)
    }

    /// Whether the lake has this id, of whatever tenant.
    pub fn has_id(&self, id: u128) -> bool {
        let start = self.rows.partition_point(|row| row.id < id);
        self.rows.get(start).is_some_and(|row| row.id == id)
    }

    /// How much this pass holds.
    pub fn counts(&self) -> Counts {
        let repeated = self.rows.windows(2).filter(|pair| same_key(pair)).count();
        Counts {
            rows: self.rows.len() as u64,
            ids: (self.rows.len() - repeated) as u64,
            places_repeated: self.places.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64,
        }
    }

    /// Keys that stand more than once, with their places, in words.
    pub fn repeated(&self) -> impl Iterator<Item = String> {
        let pairs = self.rows.windows(2).filter(|pair| same_key(pair));
        pairs.map(|pair| format!("{} at {} and at {}", uuid::Uuid::from_u128(pair[0].id), pair[0].place, pair[1].place))
    }

    /// Places that stand more than once.
    pub fn places_repeated(&self) -> impl Iterator<Item = Place> {
        self.places.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// Rows of a partition.
    pub fn rows_of(&self, partition: u32) -> u64 {
        self.rows.iter().filter(|row| row.place.partition == partition).count() as u64
    }

    /// Rows of a partition from `start` up to and including `last`.
    pub fn rows_between(&self, partition: u32, start: u64, last: Option<u64>) -> u64 {
        let Some(last) = last else { return 0 };
        let within = |place: Place| place.partition == partition && (start..=last).contains(&place.offset);
        self.rows.iter().filter(|row| within(row.place)).count() as u64
    }

    /// Rows of a partition above `last`.
    pub fn rows_beyond(&self, partition: u32, last: Option<u64>) -> u64 {
        let beyond = |place: Place| place.partition == partition && last.is_none_or(|last| place.offset > last);
        self.rows.iter().filter(|row| beyond(row.place)).count() as u64
    }
}

fn same_key(pair: &[Row]) -> bool {
    (pair[0].id, pair[0].tenant) == (pair[1].id, pair[1].tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8) -> Key {
        Key::new("default", &[id; 16])
    }

    fn place(offset: u64, row: u32) -> Place {
        Place { partition: 0, offset, row }
    }

    fn ledger(rows: &[(u8, Place)]) -> Ledger {
        let mut ledger = Ledger::new(1, 0);
        rows.iter().for_each(|(id, place)| ledger.add(key(*id), *place));
        ledger.sort();
        ledger
    }

    #[test]
    fn a_key_that_stands_twice_is_counted_once_too_often() {
        let ledger = ledger(&[(1, place(0, 0)), (2, place(0, 1)), (1, place(7, 0))]);
        let counts = ledger.counts();
        assert_eq!((counts.rows, counts.ids, counts.places_repeated), (3, 2, 0));
        assert_eq!(ledger.repeated().count(), 1);
        assert_eq!(ledger.places_of(key(1)).collect::<Vec<_>>(), [place(0, 0), place(7, 0)]);
    }

    #[test]
    fn two_rows_of_one_place_are_found() {
        assert_eq!(ledger(&[(1, place(3, 0)), (2, place(3, 0))]).counts().places_repeated, 1);
    }

    #[test]
    fn the_passes_together_see_each_row_once() {
        let passes = 3;
        let mut seen = 0;
        for pass in 0..passes {
            let mut ledger = Ledger::new(passes, pass);
            (0..100).for_each(|id| ledger.add(key(id), place(u64::from(id), 0)));
            ledger.sort();
            seen += ledger.counts().rows;
        }
        assert_eq!(seen, 100);
    }

    #[test]
    fn rows_above_the_position_are_told_apart() {
        let ledger = ledger(&[(1, place(3, 0)), (2, place(4, 0)), (3, place(5, 0))]);
        assert_eq!(ledger.rows_between(0, 4, Some(4)), 1);
        assert_eq!(ledger.rows_beyond(0, Some(4)), 1);
        assert_eq!(ledger.rows_beyond(0, None), 3);
    }
}
