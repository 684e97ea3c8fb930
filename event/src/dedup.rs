//! The dedup window: a row is a duplicate when its key is among the previous N rows read of its partition.
//!
//! The verdicts are a function of the log alone. What counts is rows *read*, kept or not: a window over kept rows
//! could not be rebuilt from the log without knowing what was kept, and a window over minutes would follow clocks
//! that jump. So a window that is made anew and fed from [`Window::start_offset`] gives the verdicts that the old one
//! would have given:
//!
//! ```text
//!   offsets   4        5     6              7          next record
//!   rows      a b c d  e f   g h i j k      l m        ...
//!                  └────────── N = 10 ────────┘
//!             ▲ start_offset = 4: the smallest offset with a row in the window
//! ```
//!
//! Not for what is further apart than N rows: that is deduplicated when its date is compacted (`maintenance`).
//!
//! Memory, a partition: 32 bytes a row for the ring of keys, 5 bytes a bucket for the index over it (a power of two
//! of buckets, at most 8/7 full: 5.7 to 11.4 bytes a row), and 16 bytes a record. For N = 1,000,000 that is
//! 32 MB + 10 MB + the records. It grows with the rows read and is not taken in advance.
mod verdict;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use xxhash_rust::xxh3::xxh3_64;

pub use verdict::{Verdict, verdicts};

/// The dedup key: tenant and event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// xxh3-64 of the tenant's name.
    pub tenant: u64,
    /// The event id.
    pub id: u128,
}

impl Key {
    /// The key of an event.
    pub fn new(tenant: &str, event_id: &[u8; 16]) -> Self {
        Key { tenant: tenant_hash(tenant), id: u128::from_be_bytes(*event_id) }
    }
}

/// xxh3-64 of a tenant's name.
pub fn tenant_hash(tenant: &str) -> u64 {
    xxh3_64(tenant.as_bytes())
}

/// Most rows of a window: slots of the ring are counted in 32 bits.
pub const WINDOW_ROWS_MAX: usize = u32::MAX as usize;

/// The first slots are taken together.
const RING_ROWS_MIN: usize = 1024;

/// Where the rows of a record begin, counted from the first row that this window read.
#[derive(Debug, Clone, Copy)]
struct RecordStart {
    offset: u64,
    row: u64,
}

/// The last N keys read of one partition, kept or not.
#[derive(Debug)]
pub struct Window {
    /// N.
    rows_max: usize,
    /// Rows read so far: the number of the next one.
    rows_read: u64,
    /// Keys of the last N rows; row r is in slot r % N.
    ring: Vec<Key>,
    /// For each key in the ring the slot of its last row.
    slots: HashTable<u32>,
    /// Seeded: clients choose ids, and shall not choose their place in the table.
    hasher: DefaultHashBuilder,
    /// Records that have a row in the window, oldest first.
    records: VecDeque<RecordStart>,
}

impl Window {
    /// An empty window over `rows` rows; 0: nothing is ever a duplicate.
    ///
    /// # Panics
    /// If `rows` is over [`WINDOW_ROWS_MAX`].
    pub fn new(rows: usize) -> Self {
        assert!(rows <= WINDOW_ROWS_MAX, "a dedup window of {rows} rows is over the limit of {WINDOW_ROWS_MAX}");
        Window {
            rows_max: rows,
            rows_read: 0,
            ring: Vec::new(),
            slots: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            records: VecDeque::new(),
        }
    }

    /// Takes the next row read, of the record at `offset`; true when it is a duplicate. Rows come in the order of the
    /// log: offsets never decrease, and all rows of a record come, bad ones left out by every reader alike.
    ///
    /// # Panics
    /// If `offset` is below an earlier one: the verdicts would no longer be those of the log.
    pub fn observe(&mut self, offset: u64, key: Key) -> bool {
        if self.rows_max == 0 {
            return false;
        }
        self.enter_record(offset);
        let hash = self.hasher.hash_one(key);
        let slot = (self.rows_read % self.rows_max as u64) as usize;
        // The verdict comes first: the row that leaves is still one of the previous N.
        let is_duplicate = self.slots.find(hash, |&held| self.ring[held as usize] == key).is_some();
        if slot == self.ring.len() {
            self.grow();
            self.ring.push(key);
        } else {
            self.leave(slot);
            self.ring[slot] = key;
        }
        let (ring, hasher) = (&self.ring, &self.hasher);
        let entry =
            self.slots.entry(hash, |&held| ring[held as usize] == key, |&held| hasher.hash_one(ring[held as usize]));
        match entry {
            Entry::Occupied(mut held) => *held.get_mut() = slot as u32,
            Entry::Vacant(place) => {
                place.insert(slot as u32);
            }
        }
        self.rows_read += 1;
        self.leave_records();
        is_duplicate
    }

    /// D: the offset to read from so that the window is the same after a restart at the next record: the smallest
    /// offset whose rows are still in the window. `None` while it holds no row (and always for N = 0): read from the
    /// next record.
    pub fn start_offset(&self) -> Option<u64> {
        self.records.front().map(|record| record.offset)
    }

    /// Rows held now; less than N: the window is short (start of the log, or retention cut it).
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// True while nothing was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn enter_record(&mut self, offset: u64) {
        match self.records.back() {
            Some(last) if last.offset == offset => {}
            Some(last) if last.offset > offset => {
                panic!("dedup window was given offset {offset} after {}: rows must come in log order", last.offset)
            }
            _ => self.records.push_back(RecordStart { offset, row: self.rows_read }),
        }
    }

    /// Forgets records whose rows have all left.
    fn leave_records(&mut self) {
        let oldest_row = self.rows_read.saturating_sub(self.rows_max as u64);
        while self.records.get(1).is_some_and(|next| next.row <= oldest_row) {
            self.records.pop_front();
        }
    }

    /// The row in `slot` leaves; its key goes too, unless it came again later: then the index names that later slot.
    fn leave(&mut self, slot: usize) {
        let hash = self.hasher.hash_one(self.ring[slot]);
        if let Ok(last) = self.slots.find_entry(hash, |&held| held as usize == slot) {
            last.remove();
        }
    }

    /// Doubles the ring, but never beyond N.
    fn grow(&mut self) {
        if self.ring.len() == self.ring.capacity() {
            let more = self.ring.len().max(RING_ROWS_MIN).min(self.rows_max - self.ring.len());
            self.ring.reserve_exact(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_and_the_records_never_outgrow_the_window() {
        let mut window = Window::new(100);
        for row in 0..10_000u64 {
            window.observe(row / 3, Key { tenant: 0, id: u128::from(row * row % 9_973 / 5) });
            assert!(window.slots.len() <= window.ring.len() && window.ring.len() <= 100);
            assert!(window.ring.capacity() <= 100, "the ring is never taken beyond N");
            assert!(window.records.len() <= 100 / 3 + 2);
        }
    }
}
