//! Which rows are copies: the exact dedup. Of rows with one key (tenant, event_id) the one with the lowest place in the log
//! (`_partition, _offset, _row`) stays, wherever it lies; so whoever looks, and however often, the same row stays.
//!
//! Only what is sorted anew can have copies that nobody has looked for: its keys are in memory, as many as are good at once,
//! and every row that may have the same key is compared with them.
use crate::content::second_of;
use crate::limits::{Bounds, FALSE_POSITIVES, FILTERED_ROWS_MIN};
use crate::ranges::Ranges;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use event::dedup::{Key, tenant_hash};
use event::schema::Column;
use futures::TryStreamExt as _;
use lake::table::{ActiveFile, Error, Table};
use parquet::bloom_filter::Sbbf;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

const COLUMNS: [&str; 6] = ["tenant_id", "event_id", "event_time", "_partition", "_offset", "_row"];

/// `(_partition, _offset, _row)`
pub(crate) type Place = (i32, i64, i64);

/// Rows to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// By file: which rows, counted from its first.
    pub(crate) rows: BTreeMap<String, BTreeSet<u64>>,
    /// Their event times, µs.
    pub(crate) times_us: BTreeSet<i64>,
    /// How many of each partition of the log.
    pub(crate) partitions: BTreeMap<i32, i64>,
    /// There are more than are removed at once.
    pub(crate) is_cut: bool,
    /// Rows of the files that are sorted anew.
    pub(crate) rows_read: u64,
    count: usize,
    most: usize,
}

impl Copies {
    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.count as u64
    }

    fn add(&mut self, row: &Row, files: &[&ActiveFile]) {
        if self.count == self.most {
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
#[derive(Debug)]
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
}

/// What is looked for.
#[derive(Debug, Default)]
pub(crate) struct Search<'a> {
    /// Rows of these records go: they count for nothing.
    pub(crate) gone: Ranges,
    /// Only copies of new rows in these seconds of event time; of all without them.
    pub(crate) seconds: Option<&'a HashSet<i64>>,
}

impl Search<'_> {
    fn is_for(&self, time_us: i64) -> bool {
        self.seconds.is_none_or(|seconds| seconds.contains(&second_of(time_us)))
    }
}

/// The copies among `new` rows, and between them and those `beside`. Those beside are read once: of them only rows whose key
/// may be among those that are looked for, by a filter over all of these, are kept and compared.
pub(crate) async fn find(
    table: &Table,
    new: &[ActiveFile],
    beside: &[ActiveFile],
    search: &Search<'_>,
    bounds: &Bounds,
) -> Result<Copies, Error> {
    let files: Vec<&ActiveFile> = new.iter().chain(beside).collect();
    let mut copies = Copies { most: bounds.copies_max, ..Copies::default() };
    let (mut filter, mut keys) = (filter_of(table, new)?, 0_u64);
    for (at, file) in new.iter().enumerate() {
        each_row(table, file, at, |key, row| {
            copies.rows_read += 1;
            if search.is_for(row.time_us) {
                keys += 1;
                filter.insert(&bytes_of(key)[..]);
            }
        })
        .await?;
    }
    let mut candidates: Vec<(Key, Row)> = Vec::new();
    for (at, file) in beside.iter().enumerate() {
        each_row(table, file, new.len() + at, |key, row| {
            let (partition, offset, _) = row.place;
            if filter.check(&bytes_of(key)[..]) && !search.gone.contains_record((partition, offset)) {
                match candidates.len() < bounds.candidates_max {
                    true => candidates.push((key, row)),
                    false => copies.is_cut = true,
                }
            }
        })
        .await?;
    }
    let passes = keys.div_ceil(bounds.keys_at_once).max(1);
    for pass in 0..passes {
        let rows = usize::try_from(keys / passes).unwrap_or(0);
        let mut kept = Kept { rows: HashMap::with_capacity(rows) };
        let is_of_pass = |key: Key| spread(key) % passes == pass;
        for (at, file) in new.iter().enumerate() {
            each_row(table, file, at, |key, row| {
                if is_of_pass(key)
                    && filter.check(&bytes_of(key)[..])
                    && let Some(copy) = kept.compare(key, row, true)
                {
                    copies.add(&copy, &files);
                }
            })
            .await?;
        }
        for (key, row) in candidates.iter().filter(|(key, _)| is_of_pass(*key)) {
            if let Some(copy) = kept.compare(*key, *row, false) {
                copies.add(&copy, &files);
            }
        }
    }
    if copies.is_cut && copies.count() == 0 {
        let reason = format!(
            "more than {} rows beside those that are sorted may be copies of them, and none is: they can't all be compared",
            bounds.candidates_max
        );
        return Err(Error::Broken { table: table.name().to_owned(), reason });
    }
    Ok(copies)
}

/// Room for the keys of these files.
fn filter_of(table: &Table, files: &[ActiveFile]) -> Result<Sbbf, Error> {
    let rows: u64 = files.iter().map(|file| file.rows.unwrap_or(FILTERED_ROWS_MIN)).sum();
    let filter = Sbbf::new_with_ndv_fpp(rows.max(FILTERED_ROWS_MIN), FALSE_POSITIVES);
    filter.map_err(|error| Error::Broken { table: table.name().to_owned(), reason: error.to_string() })
}

fn bytes_of(key: Key) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&key.tenant.to_le_bytes());
    bytes[8..].copy_from_slice(&key.id.to_le_bytes());
    bytes
}

/// Ids of one maker may share their first or last bytes: none of a key's bits decides alone in which pass it is.
fn spread(key: Key) -> u64 {
    let folded = (key.id as u64) ^ ((key.id >> 64) as u64).rotate_left(32) ^ key.tenant;
    let mixed = (folded ^ (folded >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed >> 32
}

/// Shows each row of a file, which is the `at`th that is looked at.
async fn each_row(table: &Table, file: &ActiveFile, at: usize, mut show: impl FnMut(Key, Row)) -> Result<(), Error> {
    let mut first = 0;
    let mut batches = table.read_file(&file.path, Some(&COLUMNS)).await?;
    while let Some(batch) = batches.try_next().await? {
        rows_of(&batch, (at as u32, first), &mut show).ok_or_else(|| Error::Broken {
            table: table.name().to_owned(),
            reason: format!("{} holds rows of another shape, or an event_id that is not of 16 bytes", file.path),
        })?;
        first += batch.num_rows() as u64;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The rows of a batch, which come after `first` others of their file; `None`: they are shaped in another way.
fn rows_of(batch: &RecordBatch, (file, first): (u32, u64), show: &mut impl FnMut(Key, Row)) -> Option<()> {
    let columns = Columns::of(batch)?;
    // Of the tenant before: nearly always the same.
    let mut tenant = ("", tenant_hash(""));
    for row in 0..batch.num_rows() {
        let id = u128::from_be_bytes(columns.ids.value(row).try_into().ok()?);
        let name = columns.tenants.value(row);
        if name != tenant.0 {
            tenant = (name, tenant_hash(name));
        }
        show(Key { tenant: tenant.1, id }, columns.row(row, file, first));
    }
    Some(())
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
