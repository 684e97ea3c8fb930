//! One record of the log as rows of the tables. Pure: what a sink keeps and what a replay stages is the same.
use crate::intake::{self, Sifted};
use crate::provenance::Columns;
use arrow_array::RecordBatch;
use event::clock::Micros;
use event::codec::{self, DeadLetter};
use event::date::Date;
use event::decode::TimeBounds;
use event::dedup::Window;
use log::Entry;

/// What a record comes to.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Rows of `events`, by date.
    pub(crate) kept: Vec<(Date, RecordBatch)>,
    /// How many rows they are.
    pub(crate) rows: u64,
    /// Rows dropped, since their key is in the window.
    pub(crate) duplicates: u64,
    /// What could not be taken.
    pub(crate) dead: Vec<DeadLetter>,
    /// The largest `received_at` of a kept row.
    pub(crate) received_at_max: Option<Micros>,
}

/// How records are read: by whom they are named, and what their times may be.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) topic: String,
    pub(crate) bounds: TimeBounds,
}

impl Reading {
    /// Lets a record's rows into the window, and keeps none.
    pub(crate) fn feed(&self, entry: &Entry, window: &mut Window) -> Result<(), String> {
        intake::feed(&self.decode(entry), entry.offset, window)
    }

    /// Lets a record's rows into the window; what is new becomes rows of the table.
    pub(crate) fn keep(&self, entry: &Entry, window: &mut Window, columns: &Columns) -> Result<Rows, String> {
        let sifted = intake::sift(self.decode(entry), entry.offset, window)?;
        let Sifted { kept, duplicates, dead, received_at_max } = sifted;
        let rows = kept.iter().map(|rows| rows.rows.len() as u64).sum();
        let built = kept.into_iter().map(|rows| {
            let batch = columns.build(&rows.batch, self.place(entry), &rows.rows);
            Ok((rows.date, batch.map_err(|error| error.to_string())?))
        });
        let kept = built.collect::<Result<_, String>>()?;
        Ok(Rows { kept, rows, duplicates, dead, received_at_max })
    }

    fn decode(&self, entry: &Entry) -> codec::Decoded {
        codec::decode(&entry.record, self.place(entry), self.bounds)
    }

    fn place<'a>(&'a self, entry: &Entry) -> codec::Place<'a> {
        codec::Place {
            topic: &self.topic,
            partition: entry.partition,
            offset: entry.offset,
            timestamp: entry.timestamp,
        }
    }
}
