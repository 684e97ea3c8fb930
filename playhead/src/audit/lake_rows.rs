//! Reads keys and places of the tables' rows.
use super::ledger::{Ledger, Place};
use crate::outcome::Error;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use event::dedup::Key;
use futures::TryStreamExt;
use lake::table::Table;
use std::collections::BTreeSet;

const KEY_AND_PLACE: [&str; 5] = ["tenant_id", "event_id", "_partition", "_offset", "_row"];

/// Reads every row of `events` into the ledger's pass. A file that can't be read is an error with its name: the files
/// that are simply gone were reported before, and are passed over here.
pub async fn read(events: &Table, ledger: &mut Ledger) -> Result<(), Error> {
    for file in events.files().await? {
        if events.file_bytes(&file.path).await?.is_none() {
            continue;
        }
        let mut batches = events.read_file(&file.path, Some(&KEY_AND_PLACE)).await?;
        while let Some(batch) = batches.try_next().await? {
            add(&batch, ledger).map_err(|error| format!("{}: {error}", file.path))?;
        }
    }
    Ok(())
}

fn add(batch: &RecordBatch, ledger: &mut Ledger) -> Result<(), Error> {
    let tenants = column(batch, "tenant_id", &DataType::Utf8)?;
    let ids = column(batch, "event_id", &DataType::Binary)?;
    let places = Places::of(batch)?;
    let (tenants, ids): (&StringArray, &BinaryArray) = (tenants.as_string(), ids.as_binary());
    for row in 0..batch.num_rows() {
        let id: &[u8; 16] = ids.value(row).try_into().map_err(|_| "event_id is not of 16 bytes")?;
        ledger.add(Key::new(tenants.value(row), id), places.at(row));
    }
    Ok(())
}

/// The provenance columns of a batch.
struct Places {
    partitions: Int32Array,
    offsets: Int64Array,
    rows: Int32Array,
}

impl Places {
    fn of(batch: &RecordBatch) -> Result<Places, Error> {
        Ok(Places {
            partitions: column(batch, "_partition", &DataType::Int32)?.as_primitive::<Int32Type>().clone(),
            offsets: column(batch, "_offset", &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            rows: column(batch, "_row", &DataType::Int32)?.as_primitive::<Int32Type>().clone(),
        })
    }

    fn at(&self, row: usize) -> Place {
        Place {
            partition: self.partitions.value(row).unsigned_abs(),
            offset: self.offsets.value(row).unsigned_abs(),
            row: if self.rows.is_valid(row) { self.rows.value(row).unsigned_abs() } else { u32::MAX },
        }
    }
}

fn column(batch: &RecordBatch, name: &str, kind: &DataType) -> Result<ArrayRef, Error> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
    Ok(cast(column, kind)?)
}

/// Places of all dead letters; there are few of them, or something is very wrong.
#[derive(Debug, Default)]
pub struct DeadLetters {
    places: BTreeSet<Place>,
    repeated: u64,
}

impl DeadLetters {
    /// Rows of the table.
    pub fn total(&self) -> u64 {
        self.places.len() as u64 + self.repeated
    }

    /// Whether this one is there.
    pub fn has(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    /// How many there are of a partition up to the events' position. (Later ones were committed just before a crash:
    /// their events follow.)
    pub fn up_to(&self, partition: u32, last: Option<u64>) -> u64 {
        let Some(offset) = last else { return 0 };
        let (first, last) = (Place { partition, offset: 0, row: 0 }, Place { partition, offset, row: u32::MAX });
        self.places.range(first..=last).count() as u64
    }

    /// Places that stand more than once.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}

/// Reads the places of `dead_letters`.
pub async fn dead_letters(table: Option<&Table>) -> Result<DeadLetters, Error> {
    let mut dead = DeadLetters::default();
    let Some(table) = table else { return Ok(dead) };
    for file in table.files().await? {
        if table.file_bytes(&file.path).await?.is_none() {
            continue;
        }
        let mut batches = table.read_file(&file.path, Some(&KEY_AND_PLACE[2..])).await?;
        while let Some(batch) = batches.try_next().await? {
            let places = Places::of(&batch)?;
            for row in 0..batch.num_rows() {
                dead.repeated += u64::from(!dead.places.insert(places.at(row)));
            }
        }
    }
    Ok(dead)
}
