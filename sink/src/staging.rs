//! Records that are read again, as the rows that the tables would have of them: for a replay. Pure.
//!
//! The same decoding, the same dedup window, the same columns as a sink's: a replay of what a sink brought there comes to
//! the same rows, and one with a decoder that was mended to what that sink would have brought.
use crate::buffer::{Buffer, dated};
use crate::dead_letter;
use crate::provenance::Columns;
use crate::record::{Reading, Rows};
use arrow_schema::SchemaRef;
use event::decode::TimeBounds;
use event::dedup::Window;
use lake::table::{Error, Table};
use lake::tables::{DEDUP_ROWS, EVENT_DATE};
use log::Entry;
use std::collections::BTreeMap;
use tokio::time::Instant;

pub use crate::buffer::Dated;

/// Rows that are to be written.
#[derive(Debug, Default)]
pub struct Staged {
    /// Of `events`.
    pub events: Dated,
    /// Of `dead_letters`.
    pub dead_letters: Dated,
}

/// Takes records of several partitions, each partition's in order.
#[derive(Debug)]
pub struct Staging {
    reading: Reading,
    columns: Columns,
    dead_letters: SchemaRef,
    dedup_rows: usize,
    windows: BTreeMap<u32, Window>,
    buffer: Buffer,
}

impl Staging {
    /// For these tables of the log `topic`.
    ///
    /// # Errors
    /// [`Error::Incompatible`]: a sink did not make them.
    pub fn new(events: &Table, dead_letters: &Table, topic: &str, bounds: TimeBounds) -> Result<Staging, Error> {
        let incompatible = |reason| Error::Incompatible { table: events.name().to_owned(), reason };
        let columns = Columns::new(&events.schema(), EVENT_DATE).map_err(incompatible)?;
        let dedup_rows = events.property(DEDUP_ROWS).and_then(|rows| rows.parse().ok());
        let dedup_rows =
            dedup_rows.ok_or_else(|| incompatible(format!("its property {DEDUP_ROWS} is not a number")))?;
        Ok(Staging {
            reading: Reading { topic: topic.to_owned(), bounds },
            columns,
            dead_letters: dead_letters.schema(),
            dedup_rows,
            windows: BTreeMap::new(),
            buffer: Buffer::default(),
        })
    }

    /// Gives the memory of a partition's window free.
    pub fn forget(&mut self, partition: u32) {
        self.windows.remove(&partition);
    }

    /// The next record of its partition: how many of its rows are kept, those that are no copies of rows taken before. In words: what
    /// is broken.
    pub fn take(&mut self, entry: &Entry) -> Result<u64, String> {
        let window = self.windows.entry(entry.partition).or_insert_with(|| Window::new(self.dedup_rows));
        let Rows { kept, rows, dead, .. } = self.reading.keep(entry, window, &self.columns)?;
        let now = Instant::now();
        for (date, batch) in kept {
            self.buffer.push(date, entry.partition, batch, now).map_err(|error| error.to_string())?;
        }
        self.buffer.push_dead(entry.partition, dead_letter::rows(entry, dead), now);
        Ok(rows)
    }

    /// Memory that the rows take which wait to be written, bytes.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// Takes out what waits. In words: what is broken.
    pub fn staged(&mut self) -> Result<Staged, String> {
        let (rows, dead) = self.buffer.take();
        let dead_letters = dead_letter::by_date(dead, &self.dead_letters, &self.reading.topic)?;
        Ok(Staged { events: dated(rows), dead_letters })
    }
}
