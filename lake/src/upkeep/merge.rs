//! Merging: the rows of several files, written as one file, a row group for each log partition, in log order. Rows that
//! are of no log (rollups) stay as they stand, one file's after the other's (`in_turn`).
//!
//! ```text
//!  file A  [p0 ..][p1 ..]                    ┌ p0: A's rows and B's, by (_offset, _row)
//!  file B  [p0 ..][p1 ..]   ─▶ one file of   └ p1: A's rows and B's, by (_offset, _row)
//! ```
//!
//! Streaming: of one partition at a time, and of each input only the row group under way; an input is opened when its
//! first offset is due, so inputs that follow each other in the log (flushes do) are read one after the other.
use crate::error::Error;
use crate::file::{ActiveFile, DataFile, Layout};
use crate::read::{Opened, rows};
use crate::table::{Commit, Table, Txn};
use crate::write::Piece;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array as _, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use tokio::runtime::Handle;

mod in_turn;

use in_turn::InTurn;

const PARTITION: &str = "_partition";
const OFFSET: &str = "_offset";
const ROW: &str = "_row";

/// Inputs whose footers are read at the same time.
const OPENED_AT_ONCE: usize = 8;

/// Rows handed to the encoder at once.
const ROWS_AT_ONCE: usize = 8192;

/// Whether the table's rows say where in the log they came from. Those of others are merged as they stand.
fn is_of_log(table: &Table) -> bool {
    let schema = table.data_schema();
    let is = |name: &str, of: DataType| schema.field_with_name(name).is_ok_and(|field| *field.data_type() == of);
    is(PARTITION, DataType::Int32) && is(OFFSET, DataType::Int64) && is(ROW, DataType::Int64)
}

/// Writes the merged file of each group, and makes the commit that swaps them in.
pub(crate) async fn merged(table: &Table, groups: &[Vec<ActiveFile>], fence: Txn) -> Result<Commit, Error> {
    let mut commit = Commit { txns: vec![fence], ..Commit::default() };
    for group in groups {
        match merge_group(table, group).await {
            Ok(file) => {
                let oldest_ms = group.iter().map(|file| file.modification_time).min();
                commit.adds.push(DataFile { oldest_ms, ..file });
            }
            Err(error) => {
                table.discard(&commit.adds).await;
                return Err(error);
            }
        }
        commit.removes.extend(group.iter().cloned());
    }
    commit.info.insert("playhead.merged".to_owned(), commit.removes.len().into());
    Ok(commit)
}

async fn merge_group(table: &Table, group: &[ActiveFile]) -> Result<DataFile, Error> {
    let mut inputs = Vec::with_capacity(group.len());
    let mut expected = 0;
    let opening = group.iter().map(|file| table.open_file_of(&file.path, file.bytes)).collect::<Vec<_>>();
    let opened: Vec<Opened> = futures::stream::iter(opening).buffered(OPENED_AT_ONCE).try_collect().await?;
    for (file, opened) in group.iter().zip(opened) {
        let held = u64::try_from(opened.footer.metadata().file_metadata().num_rows()).unwrap_or(0);
        if file.rows.is_some_and(|rows| rows != held) {
            let reason = format!("{} holds {held} rows, the log says {:?}", file.path, file.rows);
            return Err(Error::broken(&table.name, reason));
        }
        expected += held;
        inputs.push(opened);
    }
    let values = group.first().map(|file| file.partition_values.clone()).unwrap_or_default();
    let file = match is_of_log(table) {
        true => table.write_pieces(values, Layout::Log, in_log_order(table, inputs).await?).await?,
        false => table.write_pieces(values, Layout::Log, InTurn::new(table, inputs)).await?,
    };
    if file.rows != expected {
        table.discard(std::slice::from_ref(&file)).await;
        let reason = format!("a merge of {expected} rows wrote {}", file.rows);
        return Err(Error::broken(&table.name, reason));
    }
    Ok(file)
}

async fn in_log_order(table: &Table, opened: Vec<Opened>) -> Result<Source, Error> {
    let mut inputs = Vec::with_capacity(opened.len());
    for opened in opened {
        inputs.push(Input::new(table, opened).await?);
    }
    let partitions = inputs.iter().flat_map(|input| input.groups.keys().copied()).collect::<BTreeSet<_>>();
    Ok(Source {
        table: table.name.clone(),
        schema: table.data_schema(),
        runtime: Handle::current(),
        inputs,
        partitions: partitions.into_iter().collect(),
        current: None,
    })
}

/// One file to merge: which of its row groups hold rows of which partition.
#[derive(Debug)]
struct Input {
    opened: Opened,
    /// By partition: row groups, whether they hold others too, and the first offset as far as statistics say.
    groups: BTreeMap<i32, Held>,
}

#[derive(Debug, Clone)]
struct Held {
    groups: Vec<usize>,
    mixed: bool,
    first_offset: i64,
}

impl Input {
    async fn new(table: &Table, opened: Opened) -> Result<Input, Error> {
        let mut groups: BTreeMap<i32, Held> = BTreeMap::new();
        for (index, group) in opened.footer.metadata().row_groups().iter().enumerate() {
            let (partitions, mixed) = match partition_bounds(group) {
                Some((min, max)) if min == max => (BTreeSet::from([min]), false),
                _ => (distinct_partitions(table, &opened, index).await?, true),
            };
            let first_offset = int64_min(group, OFFSET).unwrap_or(i64::MIN);
            for partition in partitions {
                let empty = Held { groups: Vec::new(), mixed, first_offset };
                let held = groups.entry(partition).or_insert(empty);
                held.groups.push(index);
                held.mixed |= mixed;
                held.first_offset = held.first_offset.min(first_offset);
            }
        }
        Ok(Input { opened, groups })
    }
}

fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    group.columns().iter().find(|chunk| chunk.column_path().string() == column)?.statistics()
}

fn partition_bounds(group: &RowGroupMetaData) -> Option<(i32, i32)> {
    match statistics(group, PARTITION)? {
        Statistics::Int32(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    }
}

fn int64_min(group: &RowGroupMetaData, column: &str) -> Option<i64> {
    match statistics(group, column)? {
        Statistics::Int64(values) => values.min_opt().copied(),
        _ => None,
    }
}

/// For a row group of several partitions (our own files have none): which they are.
async fn distinct_partitions(table: &Table, opened: &Opened, group: usize) -> Result<BTreeSet<i32>, Error> {
    let data = table.data_schema();
    let field = data.field_with_name(PARTITION).map_err(|error| Error::broken(&table.name, error.to_string()))?;
    let mut batches = rows(&table.name, opened, vec![group], Arc::new(Schema::new(vec![field.clone()])))?;
    let mut partitions = BTreeSet::new();
    while let Some(batch) = batches.next().await {
        partitions.extend(batch?.column(0).as_primitive::<Int32Type>().values().iter().copied());
    }
    Ok(partitions)
}

/// Feeds the encoder, on its blocking thread: partition after partition.
struct Source {
    table: String,
    schema: SchemaRef,
    runtime: Handle,
    inputs: Vec<Input>,
    partitions: VecDeque<i32>,
    current: Option<InOrder>,
}

impl Iterator for Source {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(current) = &mut self.current {
            let runtime = self.runtime.clone();
            match runtime.block_on(current.next()) {
                Ok(Some(batch)) => return Some(Ok(Piece::Rows(batch))),
                Ok(None) => {
                    self.current = None;
                    return Some(Ok(Piece::EndOfGroup));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let partition = self.partitions.pop_front()?;
        let mut lanes = Vec::new();
        for input in &self.inputs {
            if let Some(held) = input.groups.get(&partition) {
                lanes.push(Lane::Waiting { opened: input.opened.clone(), held: held.clone() });
            }
        }
        self.current = Some(InOrder::new(&self.table, &self.schema, partition, lanes));
        self.next()
    }
}

/// Position of a row in its partition; a row without `_row` stands for its whole record, before its rows.
type Position = (i64, i64);

/// The rows of one partition out of several files, by position. Files are taken to be in order in themselves, as
/// ours are; one that is not is merged all the same, with its rows where they come.
struct InOrder {
    table: String,
    schema: SchemaRef,
    partition: i32,
    lanes: Vec<Lane>,
    /// The next position of each lane, smallest first.
    due: BinaryHeap<Reverse<(Position, usize)>>,
}

enum Lane {
    Waiting { opened: Opened, held: Held },
    Reading { batches: BoxStream<'static, Result<RecordBatch, Error>>, mixed: bool, rows: RecordBatch, at: usize },
    Done,
}

impl InOrder {
    fn new(table: &str, schema: &SchemaRef, partition: i32, lanes: Vec<Lane>) -> InOrder {
        let due = lanes.iter().enumerate().filter_map(|(lane, state)| match state {
            Lane::Waiting { held, .. } => Some(Reverse(((held.first_offset, i64::MIN), lane))),
            _ => None,
        });
        let due = due.collect();
        InOrder { table: table.to_owned(), schema: schema.clone(), partition, lanes, due }
    }

    /// About [`ROWS_AT_ONCE`] rows, or what is left; `None` at the end.
    async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let (mut runs, mut count) = (Vec::new(), 0);
        while count < ROWS_AT_ONCE {
            let Some(run) = self.run().await? else { break };
            count += run.num_rows();
            runs.push(run);
        }
        match runs.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            runs => arrow_select::concat::concat_batches(&self.schema, runs)
                .map(Some)
                .map_err(|error| Error::broken(&self.table, format!("join rows of several files: {error}"))),
        }
    }

    /// The longest run of rows of one file that comes before every other file's next row.
    async fn run(&mut self) -> Result<Option<RecordBatch>, Error> {
        while let Some(Reverse((_, lane))) = self.due.pop() {
            if let Lane::Waiting { opened, held } = &self.lanes[lane] {
                let batches = rows(&self.table, opened, held.groups.clone(), self.schema.clone())?;
                let empty = RecordBatch::new_empty(self.schema.clone());
                self.lanes[lane] = Lane::Reading { batches, mixed: held.mixed, rows: empty, at: 0 };
                if let Some(position) = self.head(lane).await? {
                    self.due.push(Reverse((position, lane)));
                }
                continue;
            }
            let limit = self.due.peek().map(|Reverse((position, _))| *position);
            let Lane::Reading { rows, at, .. } = &mut self.lanes[lane] else { continue };
            let from = *at;
            *at += 1;
            while *at < rows.num_rows() && limit.is_none_or(|limit| position(rows, *at) <= limit) {
                *at += 1;
            }
            let run = rows.slice(from, *at - from);
            if let Some(position) = self.head(lane).await? {
                self.due.push(Reverse((position, lane)));
            }
            return Ok(Some(run));
        }
        Ok(None)
    }

    /// The next position of a lane that is read; `None` at its end.
    async fn head(&mut self, lane: usize) -> Result<Option<Position>, Error> {
        loop {
            let Lane::Reading { batches, mixed, rows, at } = &mut self.lanes[lane] else { return Ok(None) };
            if *at < rows.num_rows() {
                return Ok(Some(position(rows, *at)));
            }
            let Some(batch) = batches.next().await else {
                self.lanes[lane] = Lane::Done;
                return Ok(None);
            };
            (*rows, *at) = (batch?, 0);
            if *mixed {
                *rows = only(&self.table, rows, self.partition)?;
            }
        }
    }
}

fn position(rows: &RecordBatch, at: usize) -> Position {
    let value = |name: &str| {
        let column = rows.column_by_name(name)?.as_primitive::<Int64Type>();
        column.is_valid(at).then(|| column.value(at))
    };
    (value(OFFSET).unwrap_or(i64::MIN), value(ROW).unwrap_or(-1))
}

fn only(table: &str, rows: &RecordBatch, partition: i32) -> Result<RecordBatch, Error> {
    let Some(partitions) = rows.column_by_name(PARTITION) else {
        return Err(Error::broken(table, "a batch without _partition"));
    };
    let wanted: BooleanArray =
        partitions.as_primitive::<Int32Type>().iter().map(|p| Some(p == Some(partition))).collect();
    arrow_select::filter::filter_record_batch(rows, &wanted)
        .map_err(|error| Error::broken(table, format!("take the rows of one partition: {error}")))
}
