//! Which rows are copies: the exact dedup. Of rows with one key (tenant, event_id) the one with the lowest place in the log
//! (`_partition, _offset, _row`) stays, wherever it lies; so whoever looks, and however often, the same row stays.
//!
//! Only what is sorted anew can have copies that nobody has looked for: its keys are in memory, as many as are good at once,
//! and every row that may have the same key is compared with them.
use crate::limits::{COPIES_MAX, KEYS_AT_ONCE};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use event::dedup::{Key, tenant_hash};
use event::schema::Column;
use futures::TryStreamExt as _;
use lake::table::{ActiveFile, Error, Table};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const COLUMNS: [&str; 6] = ["tenant_id", "event_id", "event_time", "_partition", "_offset", "_row"];

/// `(_partition, _offset, _row)`
pub(super) type Place = (i32, i64, i64);

/// Rows to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Copies {
    /// By file: which rows, counted from its first.
    pub(super) rows: BTreeMap<String, BTreeSet<u64>>,
    /// Their event times, µs.
    pub(super) times_us: BTreeSet<i64>,
    /// How many of each partition of the log.
    pub(super) partitions: BTreeMap<i32, i64>,
    /// There are more than are removed at once.
    pub(super) is_cut: bool,
    /// Rows of the files that are sorted anew.
    pub(super) rows_read: u64,
    count: usize,
}

impl Copies {
    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.count as u64
    }

    fn add(&mut self, row: &Row, files: &[&ActiveFile]) {
        if self.count == COPIES_MAX {
            self.is_cut = true;
            return;
        }
        let Some(file) = files.get(row.file as usize) else { return };
        if self.rows.entry(file.path.clone()).or_default().insert(row.at) {
            self.count += 1;
            self.times_us.insert(row.time_us);
            *self.partitions.entry(row.place.0).or_default() += 1;
        }
    }
}

/// A row that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    place: Place,
    file: u32,
    at: u64,
    time_us: i64,
}

impl Row {
    /// Rows that claim one place are told apart by where they lie.
    fn order(&self) -> (Place, u32, u64) {
        (self.place, self.file, self.at)
    }
}

/// The rows that stay, of those keys that are looked at.
#[derive(Debug, Default)]
struct Kept {
    rows: HashMap<Key, Row>,
}

impl Kept {
    /// Of two rows of one key the one that does not stay. A key that is not known is taken up only if it `is_new`.
    fn compare(&mut self, key: Key, row: Row, is_new: bool) -> Option<Row> {
        match self.rows.entry(key) {
            Entry::Vacant(place) if is_new => {
                place.insert(row);
                None
            }
            Entry::Vacant(_) => None,
            Entry::Occupied(mut held) if row.order() < held.get().order() => Some(held.insert(row)),
            Entry::Occupied(held) => (*held.get() != row).then_some(row),
        }
    }

    /// The copies that a batch brings to light, whose rows come after `first` others of `file`; `None`: it is shaped in
    /// another way.
    fn look(
        &mut self,
        batch: &RecordBatch,
        (file, first): (u32, u64),
        is_new: bool,
        is_of_pass: impl Fn(u128) -> bool,
    ) -> Option<Vec<Row>> {
        let columns = Columns::of(batch)?;
        let mut copies = Vec::new();
        // Of the tenant before: nearly always the same.
        let mut tenant = ("", tenant_hash(""));
        for row in 0..batch.num_rows() {
            let id = u128::from_be_bytes(columns.ids.value(row).try_into().ok()?);
            if !is_of_pass(id) {
                continue;
            }
            let name = columns.tenants.value(row);
            if name != tenant.0 {
                tenant = (name, tenant_hash(name));
            }
            let found = columns.row(row, file, first);
            copies.extend(self.compare(Key { tenant: tenant.1, id }, found, is_new));
        }
        Some(copies)
    }
}

/// The copies among `new` rows, and between them and those `beside`.
pub(super) async fn find(table: &Table, new: &[ActiveFile], beside: &[ActiveFile]) -> Result<Copies, Error> {
    let rows: u64 = new.iter().map(|file| file.rows.unwrap_or(KEYS_AT_ONCE)).sum();
    let passes = rows.div_ceil(KEYS_AT_ONCE).max(1);
    let files: Vec<&ActiveFile> = new.iter().chain(beside).collect();
    let mut copies = Copies::default();
    for pass in 0..passes {
        let mut kept = Kept::default();
        for (at, file) in files.iter().enumerate() {
            let is_new = at < new.len();
            let mut first = 0;
            let mut batches = table.read_file(&file.path, Some(&COLUMNS)).await?;
            while let Some(batch) = batches.try_next().await? {
                let looked = kept.look(&batch, (at as u32, first), is_new, |id| id % u128::from(passes) == pass.into());
                let found = looked.ok_or_else(|| Error::Broken {
                    table: table.name().to_owned(),
                    reason: format!(
                        "{} holds rows of another shape, or an event_id that is not of 16 bytes",
                        file.path
                    ),
                })?;
                found.iter().for_each(|copy| copies.add(copy, &files));
                first += batch.num_rows() as u64;
                if is_new && pass == 0 {
                    copies.rows_read += batch.num_rows() as u64;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(copies)
}

struct Columns<'a> {
    tenants: &'a StringArray,
    ids: &'a BinaryArray,
    times: &'a TimestampMicrosecondArray,
    partitions: &'a Int32Array,
    offsets: &'a Int64Array,
    rows: &'a Int64Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Columns<'a>> {
        let column = |name: &str| batch.column_by_name(name);
        Some(Columns {
            tenants: column(COLUMNS[0])?.as_string_opt::<i32>()?,
            ids: column(COLUMNS[1])?.as_binary_opt::<i32>()?,
            times: column(Column::EVENT_TIME.name())?.as_primitive_opt::<TimestampMicrosecondType>()?,
            partitions: column(COLUMNS[3])?.as_primitive_opt::<Int32Type>()?,
            offsets: column(COLUMNS[4])?.as_primitive_opt::<Int64Type>()?,
            rows: column(COLUMNS[5])?.as_primitive_opt::<Int64Type>()?,
        })
    }

    fn row(&self, row: usize, file: u32, first: u64) -> Row {
        Row {
            place: (self.partitions.value(row), self.offsets.value(row), self.rows.value(row)),
            file,
            at: first + row as u64,
            time_us: self.times.value(row),
        }
    }
}
