//! The table `partials/NAME`: what processors' partitions of closed windows come to, until they are merged.
//!
//! A row is some groups of a window that one processor closed. It is done with when the rollup's W has come to the window's end.
use super::encoding::{self, Undecodable};
use crate::fold::{Fold, Partial};
use crate::kept::Standing;
use crate::limits::PART_BYTES_MAX;
use crate::rollup::{Definition, Plan};
use crate::table::standing::{self, began, position, watermark};
use crate::table::{RollupTable, check_made_with, made_with, time_field};
use arrow_array::builder::{BinaryBuilder, Int64Builder, TimestampMicrosecondBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use event::schema::TIME_ZONE;
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::{ActiveFile, Commit, Error, Outcome, Spec, Table, Txn};
use lake::tables::properties;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const START: &str = "window_start";
const END: &str = "window_end";

/// Property: the rollup's table that these are merged into.
const ROLLUP: &str = "playhead.rollup.table";

/// Bytes of groups that are in a row group, and so in memory at once when they are read; one value may be more.
const GROUP_BYTES: usize = 8 << 20;

/// Files that are done with, before a commit takes them out.
const DONE_FILES_MIN: usize = 16;

/// A handle of the table.
pub(crate) struct Partials {
    table: Table,
    name: String,
    /// Of the names of its `txn`s.
    base: String,
    standing: Standing,
    /// By path of a file, starts of the windows that it has rows of, µs: files stay as they are.
    starts: BTreeMap<String, BTreeSet<i64>>,
}

/// One row: some groups of a window.
pub(crate) struct Piece {
    /// Start of the window, µs.
    pub(crate) start_us: i64,
    /// Events that its row stands for; of several rows of a window that were written together the first has all.
    pub(crate) events: u64,
    pub(crate) grouped_as_other: u64,
    pub(crate) groups: Vec<u8>,
}

impl Piece {
    /// Merges its groups with what is in their window. The inner error: they are not for this version to read.
    pub(crate) fn merge_into(&self, plan: &Plan, fold: &mut Fold) -> Result<Result<(), Undecodable>, crate::Error> {
        let decoded = match encoding::decode(plan, &self.groups) {
            Ok(decoded) => decoded,
            Err(why) => return Ok(Err(why)),
        };
        let (start_us, end_us) = (self.start_us, plan.windows.end(self.start_us));
        for (at, groups) in decoded.into_iter().enumerate() {
            let grouped_as_other = if at == 0 { self.grouped_as_other } else { 0 };
            fold.merge(&Partial { start_us, end_us, events: 0, grouped_as_other, groups })?;
        }
        Ok(Ok(()))
    }
}

/// Of the rows; a part of a window that is open has them, too.
pub(super) fn schema() -> Schema {
    Schema::new(vec![
        time_field(START),
        time_field(END),
        Field::new("events", DataType::Int64, false),
        Field::new("grouped_as_other", DataType::Int64, false),
        Field::new("groups", DataType::Binary, false),
    ])
}

impl Partials {
    /// Opens the table, or makes it; refuses one that is of another table of the rollup, and a rollup whose partials are gone.
    pub(crate) async fn open(
        at: &Location,
        rollup: &mut RollupTable,
        definition: &Definition,
        plan: &Plan,
        log: &dyn log::Log,
        dedup_rows: usize,
    ) -> Result<Partials, Error> {
        let (partitions, name) = (log.writer().partitions(), format!("partials/{}", definition.name));
        let incompatible = |reason: &str| Error::Incompatible { table: name.clone(), reason: reason.to_owned() };
        if Table::open(at).await?.is_none() && rollup.reached().await?.is_some() {
            return Err(incompatible(
                "it is gone, and windows that are not closed yet were in it. Restore it, or move the rollup's table away \
                 and count anew",
            ));
        }
        let mut own = made_with(definition, plan, log, dedup_rows);
        own.push((ROLLUP, rollup.id()));
        let mut of_table = properties(partitions);
        of_table.extend(own.iter().map(|(property, value)| ((*property).to_owned(), value.clone())));
        let spec = Spec {
            schema: Arc::new(schema()),
            partition_columns: Vec::new(),
            properties: of_table,
            statistics_columns: vec![START.to_owned(), END.to_owned()],
        };
        let table = Table::open_or_create(at, &spec).await?;
        if table.property(ROLLUP) != Some(rollup.id()) {
            return Err(Partials::without_rollup(&definition.name));
        }
        check_made_with(&table, &name, &own)?;
        let base = standing::base(&format!("{}/{}", log.cluster(), log.topic()), &definition.name);
        Ok(Partials { table, name, base, standing: Standing::new(), starts: BTreeMap::new() })
    }

    /// What it adds to is gone, or was made anew.
    pub(crate) fn without_rollup(rollup: &str) -> Error {
        let reason = "the rollup's table is gone, or was made anew. Put it back; or move this one away, too, and it counts \
                      anew";
        Error::Incompatible { table: format!("partials/{rollup}"), reason: reason.to_owned() }
    }

    /// The newest snapshot's word, of every partition that somebody has begun.
    pub(crate) async fn reload(&mut self, partitions: u32) -> Result<&Standing, Error> {
        self.table.reload().await?;
        let mut standing = Standing::new();
        for partition in 0..partitions {
            if let Some(closed_to_us) = self.table.txn(&watermark(&self.base, partition)).await? {
                let held = position(&self.table, &self.base, partition, closed_to_us).await?;
                standing.extend(held.map(|held| (partition, held)));
            }
        }
        // All of it or nothing: commits go by it.
        self.standing = standing;
        Ok(&self.standing)
    }

    /// What the snapshot that was looked at last said of partitions that somebody has begun.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How far the partition is that is furthest, µs; `i64::MIN`: none was begun.
    pub(crate) fn furthest_us(&self) -> i64 {
        self.standing.values().map(|held| held.closed_to_us).max().unwrap_or(i64::MIN)
    }

    /// Where a partition was begun: of windows that end at or before it (µs) it has no part.
    pub(crate) async fn began_us(&self, partition: u32) -> Result<i64, Error> {
        Ok(self.table.txn(&began(&self.base, partition)).await?.unwrap_or(i64::MIN))
    }

    /// What one commit is to bring in: it brings partitions from `before` to `after`. Its file is durable when this returns.
    pub(crate) async fn prepare(
        &self,
        closed: &[Partial],
        before: &Standing,
        after: &Standing,
    ) -> Result<Commit, Error> {
        let mut commit = Commit { data_change: true, ..Commit::default() };
        for (partition, position) in after {
            let held = self.standing.get(partition);
            commit.txns.extend(standing::txns(&self.base, *partition, held, position));
            let expected = held.map(|held| held.closed_to_us);
            commit.txns.push(Txn { app: watermark(&self.base, *partition), expected, new: position.closed_to_us });
            if held.is_none() {
                let new = before.get(partition).map_or(i64::MIN, |before| before.closed_to_us);
                commit.txns.push(Txn { app: began(&self.base, *partition), expected: None, new });
            }
        }
        if !closed.is_empty() {
            let groups = row_groups(closed).map_err(|error| self.broken(&error.to_string()))?;
            commit.adds.push(self.table.write_file(BTreeMap::new(), groups).await?);
        }
        Ok(commit)
    }

    /// Commits what was prepared; the same may be tried again after [`Error::Unavailable`].
    pub(crate) async fn commit(&mut self, commit: &Commit, after: &Standing) -> Result<Outcome, Error> {
        let outcome = self.table.commit(commit).await?;
        match outcome {
            Outcome::Committed { .. } => self.standing.extend(after),
            Outcome::Superseded => self.table.discard(&commit.adds).await,
        }
        Ok(outcome)
    }

    /// Files, in the snapshot, that have rows of windows that end after this, µs.
    pub(crate) async fn files_after(&self, closed_to_us: i64) -> Result<Vec<ActiveFile>, Error> {
        let after = closed_to_us.saturating_add(1)..i64::MAX;
        self.table.files_within(END, std::slice::from_ref(&after)).await
    }

    /// Starts of the windows (µs) that these files have rows of: those of which it was asked last, too, are not read again.
    pub(crate) async fn starts_in(&mut self, files: &[ActiveFile]) -> Result<BTreeSet<i64>, Error> {
        let paths: BTreeSet<&String> = files.iter().map(|file| &file.path).collect();
        self.starts.retain(|path, _| paths.contains(path));
        for file in files {
            if self.starts.contains_key(&file.path) {
                continue;
            }
            let (mut starts, mut batches) = (BTreeSet::new(), self.table.read_file(&file.path, Some(&[START])).await?);
            while let Some(batch) = batches.try_next().await? {
                starts.extend(starts_of(&batch).ok_or_else(|| self.of_another_shape(file))?.values());
            }
            self.starts.insert(file.path.clone(), starts);
        }
        Ok(self.starts.values().flatten().copied().collect())
    }

    /// The rows that files of [`Partials::starts_in`] have of these windows, one after the other.
    pub(crate) async fn pieces_in<E: From<Error>>(
        &self,
        files: &[ActiveFile],
        wanted: &BTreeSet<i64>,
        mut each: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let has_some =
            |file: &&ActiveFile| self.starts.get(&file.path).is_none_or(|starts| !starts.is_disjoint(wanted));
        for file in files.iter().filter(has_some) {
            let mut batches = self.table.read_file(&file.path, None).await?;
            while let Some(batch) = batches.try_next().await? {
                let pieces = pieces_of(&batch).ok_or_else(|| self.of_another_shape(file))?;
                pieces.filter(|piece| wanted.contains(&piece.start_us)).try_for_each(&mut each)?;
            }
        }
        Ok(())
    }

    /// What tells this table from another one.
    pub(crate) fn id(&self) -> String {
        self.table.id()
    }

    /// Takes out files of windows that end at or before this (µs), when there are some.
    pub(crate) async fn take_out_done(&mut self, closed_to_us: i64) -> Result<(), Error> {
        let waiting: BTreeSet<String> =
            self.files_after(closed_to_us).await?.into_iter().map(|file| file.path).collect();
        let mut removes = self.table.files().await?;
        removes.retain(|file| !waiting.contains(&file.path));
        if removes.len() >= DONE_FILES_MIN {
            // Superseded: another one has done so.
            self.table.commit(&Commit { removes, data_change: true, ..Commit::default() }).await?;
        }
        Ok(())
    }

    pub(crate) fn broken(&self, reason: &str) -> Error {
        Error::Broken { table: self.name.clone(), reason: reason.to_owned() }
    }

    fn of_another_shape(&self, file: &ActiveFile) -> Error {
        self.broken(&format!("{} holds rows of another shape", file.path))
    }
}

/// The rows of a commit: few enough in each row group.
fn row_groups(closed: &[Partial]) -> Result<Vec<Vec<RecordBatch>>, ArrowError> {
    let (mut rows, mut groups, mut bytes) = (Rows::default(), Vec::new(), 0);
    for partial in closed {
        for value in encoding::encode(&partial.groups)? {
            if bytes + value.len() > GROUP_BYTES && bytes > 0 {
                let next = Rows { last: rows.last, ..Rows::default() };
                groups.push(vec![std::mem::replace(&mut rows, next).finish()?]);
                bytes = 0;
            }
            bytes += value.len();
            rows.value(partial, &value);
        }
    }
    groups.push(vec![rows.finish()?]);
    Ok(groups)
}

/// All rows of these in one batch.
pub(super) fn rows_of(partials: &[Partial]) -> Result<RecordBatch, ArrowError> {
    let (mut rows, mut bytes) = (Rows::default(), 0);
    for partial in partials {
        for value in encoding::encode(&partial.groups)? {
            bytes += value.len();
            if bytes > PART_BYTES_MAX {
                return Err(ArrowError::MemoryError(format!("open windows of more than {PART_BYTES_MAX} bytes")));
            }
            rows.value(partial, &value);
        }
    }
    rows.finish()
}

/// Rows, column by column.
#[derive(Default)]
struct Rows {
    start: TimestampMicrosecondBuilder,
    end: TimestampMicrosecondBuilder,
    events: Int64Builder,
    grouped_as_other: Int64Builder,
    groups: BinaryBuilder,
    /// Of the window whose row came last: the next ones of it count nothing again.
    last: Option<i64>,
}

impl Rows {
    fn value(&mut self, partial: &Partial, value: &[u8]) {
        let is_first = self.last.replace(partial.start_us) != Some(partial.start_us);
        self.start.append_value(partial.start_us);
        self.end.append_value(partial.end_us);
        self.events.append_value(if is_first { partial.events as i64 } else { 0 });
        self.grouped_as_other.append_value(if is_first { partial.grouped_as_other as i64 } else { 0 });
        self.groups.append_value(value);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.start.finish().with_timezone(TIME_ZONE)),
            Arc::new(self.end.finish().with_timezone(TIME_ZONE)),
            Arc::new(self.events.finish()),
            Arc::new(self.grouped_as_other.finish()),
            Arc::new(self.groups.finish()),
        ];
        RecordBatch::try_new(Arc::new(schema()), columns)
    }
}

pub(super) fn starts_of(batch: &RecordBatch) -> Option<&TimestampMicrosecondArray> {
    batch.column_by_name(START)?.as_primitive_opt::<TimestampMicrosecondType>()
}

/// The rows of a batch; `None`: it has other columns.
pub(super) fn pieces_of(batch: &RecordBatch) -> Option<impl Iterator<Item = Piece>> {
    let start = starts_of(batch)?;
    let numbers = |name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (events, other) = (numbers("events")?, numbers("grouped_as_other")?);
    let groups: &BinaryArray = batch.column_by_name("groups")?.as_binary_opt()?;
    Some((0..batch.num_rows()).map(|row| Piece {
        start_us: start.value(row),
        events: events.value(row).unsigned_abs(),
        grouped_as_other: other.value(row).unsigned_abs(),
        groups: groups.value(row).to_owned(),
    }))
}
