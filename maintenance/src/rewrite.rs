//! Files out of files: the same rows less those that go, sorted or as they lay.
//!
//! Rows are tallied where they are read and where they are written: both must come to the same before anything is
//! committed, whatever lies between.
use crate::compaction::{Config, sorted};
use crate::content::{Content, places as logged};
use crate::copies::Place;
use crate::ranges::Ranges;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use lake::table::{ActiveFile, DataFile, Error, Layout, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Which rows went by: how many, and the sum of the hashes of their places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    places: u64,
}

#[derive(Debug, Clone, Default)]
struct Counter(Arc<Mutex<Tally>>);

impl Counter {
    fn get(&self) -> Tally {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, table: &str, rows: &RecordBatch) -> Result<(), Error> {
        let places = places(rows).ok_or_else(|| broken(table, "rows without a place in the log".to_owned()))?;
        let sum = places.map(hash).fold(0_u64, u64::wrapping_add);
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.rows += rows.num_rows() as u64;
        tally.places = tally.places.wrapping_add(sum);
        Ok(())
    }
}

fn places(rows: &RecordBatch) -> Option<impl Iterator<Item = Place>> {
    let partitions = rows.column_by_name("_partition")?.as_primitive_opt::<Int32Type>()?.values();
    let offsets = rows.column_by_name("_offset")?.as_primitive_opt::<Int64Type>()?.values();
    let numbers = rows.column_by_name("_row")?.as_primitive_opt::<Int64Type>()?.values();
    Some((0..rows.num_rows()).map(|row| (partitions[row], offsets[row], numbers[row])))
}

/// splitmix64's last step, over each part.
fn hash((partition, offset, row): Place) -> u64 {
    [i64::from(partition), offset, row].into_iter().fold(0x9e37_79b9_7f4a_7c15, |hash, part| {
        let mixed = (hash ^ part.cast_unsigned()).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) files: Vec<DataFile>,
    pub(crate) tally: Tally,
}

/// Which rows go.
#[derive(Debug, Default, Clone)]
pub(crate) struct Gone {
    /// By file: which of its rows, counted from its first.
    pub(crate) rows: BTreeMap<String, BTreeSet<u64>>,
    /// Rows of these records of the log, whatever file they lie in.
    pub(crate) records: Ranges,
}

/// What was left out.
#[derive(Debug, Clone, Default)]
struct LeftOut(Arc<Mutex<Content>>);

impl LeftOut {
    fn add(&self, table: &str, rows: &RecordBatch) -> Result<(), Error> {
        let added = self.0.lock().unwrap_or_else(PoisonError::into_inner).add(rows);
        added.map_err(|error| broken(table, format!("look at rows that go: {error}")))
    }

    fn take(&self) -> Content {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes the rows of `files` less those that go, sorted, as files of about `config.file_bytes`.
pub(crate) async fn sorted_anew(
    table: &Table,
    values: &BTreeMap<String, Option<String>>,
    files: &[ActiveFile],
    gone: &Gone,
    rows: u64,
    (config, spill_dir): (&Config, &Path),
) -> Result<Written, Error> {
    let (read, written) = (Counter::default(), Counter::default());
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let count = bytes.div_ceil(config.file_bytes.max(1)).clamp(1, rows.max(1));
    let rows_a_file = rows.div_ceil(count);
    let input = rows_of(table, files, gone, &read, &LeftOut::default()).await?;
    let input = sorted(table.name(), table.data_schema(), input, config, spill_dir)?;
    let source = Arc::new(tokio::sync::Mutex::new(Source { rows: input, rest: None }));
    let mut done = Written::default();
    while written.get().rows < rows {
        let part = part(source.clone(), rows_a_file, table.name().to_owned(), written.clone());
        match table.write_stream(values.clone(), Layout::Sorted, part).await {
            Ok(file) if file.rows > 0 => done.files.push(file),
            // The input ended too early: told below.
            Ok(empty) => {
                done.files.push(empty);
                break;
            }
            Err(error) => {
                table.discard(&done.files).await;
                return Err(error);
            }
        }
    }
    done.tally = written.get();
    let rest = source.lock().await.peek().await.map(|rest| rest.is_some());
    let is_whole = match rest {
        Ok(is_left) => !is_left && done.tally.rows == rows,
        Err(error) => {
            table.discard(&done.files).await;
            return Err(error);
        }
    };
    verified(table, done, read.get(), is_whole).await
}

/// Writes the rows of one file less those that go, as they lay: as a file of the same age, or none where no row is left. Tells
/// what went, too.
pub(crate) async fn less(table: &Table, file: &ActiveFile, gone: &Gone) -> Result<(Written, Content), Error> {
    let (read, written, left_out) = (Counter::default(), Counter::default(), LeftOut::default());
    let rows = rows_of(table, std::slice::from_ref(file), gone, &read, &left_out).await?;
    let (name, counter) = (table.name().to_owned(), written.clone());
    let rows = rows.map(move |rows| {
        let rows = rows?;
        counter.add(&name, &rows)?;
        Ok(rows)
    });
    let rows: BoxStream<'static, Result<Option<RecordBatch>, Error>> = match file.layout() {
        Layout::Sorted => rows.map_ok(Some).boxed(),
        Layout::Log => by_partition(rows.boxed()).boxed(),
    };
    let new = table.write_stream(file.partition_values.clone(), file.layout(), rows).await?;
    let is_empty = new.rows == 0;
    if is_empty {
        table.discard(std::slice::from_ref(&new)).await;
    }
    let new = DataFile { oldest_ms: Some(file.modification_time), ..new };
    let files = if is_empty { Vec::new() } else { vec![new] };
    let written = verified(table, Written { files, tally: written.get() }, read.get(), true).await?;
    Ok((written, left_out.take()))
}

async fn verified(table: &Table, done: Written, read: Tally, is_whole: bool) -> Result<Written, Error> {
    let in_files: u64 = done.files.iter().map(|file| file.rows).sum();
    if is_whole && done.tally == read && in_files == read.rows {
        return Ok(done);
    }
    table.discard(&done.files).await;
    let reason =
        format!("{} rows were read and {in_files} written, or not the same ones: nothing is changed", read.rows);
    Err(broken(table.name(), reason))
}

/// All rows of files but those that go, counted.
async fn rows_of(
    table: &Table,
    files: &[ActiveFile],
    gone: &Gone,
    counter: &Counter,
    left_out: &LeftOut,
) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
    let mut streams = Vec::with_capacity(files.len());
    for file in files {
        let numbers = gone.rows.get(&file.path).cloned().unwrap_or_default();
        let (name, counter, mut first) = (table.name().to_owned(), counter.clone(), 0);
        let (records, left_out) = (gone.records.clone(), left_out.clone());
        // Opened now: what is missing is told before anything is written.
        let rows = table.read_file(&file.path, None).await?.map(move |rows| {
            let rows = rows?;
            let next = first + rows.num_rows() as u64;
            let rows = without(&name, rows, (first, &numbers), &records, &left_out)?;
            first = next;
            counter.add(&name, &rows)?;
            Ok(rows)
        });
        streams.push(rows);
    }
    Ok(futures::stream::iter(streams).flatten().boxed())
}

/// A batch whose first row is the file's row `first`, less what goes.
fn without(
    table: &str,
    rows: RecordBatch,
    (first, numbers): (u64, &BTreeSet<u64>),
    records: &Ranges,
    left_out: &LeftOut,
) -> Result<RecordBatch, Error> {
    let end = first + rows.num_rows() as u64;
    let none_by_number = numbers.range(first..end).next().is_none();
    if none_by_number && records.is_empty() {
        return Ok(rows);
    }
    let (partitions, offsets) =
        logged(&rows).ok_or_else(|| broken(table, "rows without a place in the log".to_owned()))?;
    let goes = |row: usize| {
        numbers.contains(&(first + row as u64)) || records.contains_record((partitions[row], offsets[row]))
    };
    let goes: BooleanArray = (0..rows.num_rows()).map(|row| Some(goes(row))).collect();
    if goes.true_count() == 0 {
        return Ok(rows);
    }
    let failed = |error| broken(table, format!("leave rows out: {error}"));
    left_out.add(table, &filter_record_batch(&rows, &goes).map_err(failed)?)?;
    filter_record_batch(&rows, &BooleanArray::new(!goes.values(), None)).map_err(failed)
}

/// Rows of a log file, with an end of the row group wherever the partition changes.
fn by_partition(
    rows: BoxStream<'static, Result<RecordBatch, Error>>,
) -> impl futures::Stream<Item = Result<Option<RecordBatch>, Error>> + Send + 'static {
    let mut last = None;
    rows.map_ok(move |rows| {
        let mut pieces = Vec::new();
        let partitions = rows.column_by_name("_partition").and_then(|column| column.as_primitive_opt::<Int32Type>());
        let partitions = partitions.map(|column| column.values().clone()).unwrap_or_default();
        let mut from = 0;
        for at in 0..rows.num_rows() {
            let partition = partitions.get(at).copied();
            if last.is_some() && last != partition {
                pieces.push(Some(rows.slice(from, at - from)));
                pieces.push(None);
                from = at;
            }
            last = partition;
        }
        pieces.push(Some(rows.slice(from, rows.num_rows() - from)));
        futures::stream::iter(pieces.into_iter().map(Ok))
    })
    .try_flatten()
}

/// Sorted rows that go to several files.
struct Source {
    rows: BoxStream<'static, Result<RecordBatch, Error>>,
    rest: Option<RecordBatch>,
}

impl Source {
    /// The next rows, which stay; `None`: there are none.
    async fn peek(&mut self) -> Result<Option<&RecordBatch>, Error> {
        while self.rest.as_ref().is_none_or(|rest| rest.num_rows() == 0) {
            match self.rows.try_next().await? {
                Some(rows) => self.rest = Some(rows),
                None => return Ok(None),
            }
        }
        Ok(self.rest.as_ref())
    }

    async fn take(&mut self, rows_max: u64) -> Result<Option<RecordBatch>, Error> {
        let Some(rows) = self.peek().await?.cloned() else { return Ok(None) };
        let count = rows.num_rows().min(usize::try_from(rows_max).unwrap_or(usize::MAX));
        self.rest = Some(rows.slice(count, rows.num_rows() - count));
        Ok(Some(rows.slice(0, count)))
    }
}

/// The next `rows` rows of the source.
fn part(
    source: Arc<tokio::sync::Mutex<Source>>,
    rows: u64,
    table: String,
    written: Counter,
) -> BoxStream<'static, Result<Option<RecordBatch>, Error>> {
    let next = move |left: u64| {
        let (source, table, written) = (source.clone(), table.clone(), written.clone());
        async move {
            if left == 0 {
                return Ok(None);
            }
            let Some(rows) = source.lock().await.take(left).await? else { return Ok(None) };
            written.add(&table, &rows)?;
            let left = left - rows.num_rows() as u64;
            Ok(Some((Some(rows), left)))
        }
    };
    futures::stream::try_unfold(rows, next).boxed()
}

fn broken(table: &str, reason: String) -> Error {
    Error::Broken { table: table.to_owned(), reason }
}
