//! The table `partials/NAME`: what processors' partitions of closed windows come to, until they are merged.
//!
//! Two kinds of rows: of a partition that a commit brought past the end of a window (`partition, closed_from_us, next`), and of
//! a window (`window_start, events, grouped_as_other, groups`; several where it has many groups). `closed_to` says of both when
//! they are done with: when the rollup's W has come there.
use super::closable::Moved;
use super::encoding;
use crate::fold::Partial;
use crate::kept::Standing;
use crate::rollup::{Definition, Plan};
use crate::table::standing::{self, position, watermark};
use crate::table::{RollupTable, check_made_with, made_with, time_field};
use crate::windows::Windows;
use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, TimestampMicrosecondBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use event::schema::TIME_ZONE;
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::{ActiveFile, Commit, Error, Outcome, Spec, Table, Txn};
use lake::tables::properties;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const CLOSED_TO: &str = "closed_to";
const START: &str = "window_start";

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
    windows: Windows,
    /// What the rollup's table said before partitions were shared.
    inherited: Standing,
    standing: Standing,
}

/// One value of the table: some groups of a window.
pub(crate) struct Piece {
    pub(crate) start_us: i64,
    pub(crate) events: u64,
    pub(crate) grouped_as_other: u64,
    pub(crate) groups: Vec<u8>,
}

fn schema() -> Schema {
    let start = Field::new(START, time_field(START).data_type().clone(), true);
    Schema::new(vec![
        time_field(CLOSED_TO),
        Field::new("partition", DataType::Int32, true),
        Field::new("closed_from_us", DataType::Int64, true),
        Field::new("next", DataType::Int64, true),
        start,
        Field::new("events", DataType::Int64, true),
        Field::new("grouped_as_other", DataType::Int64, true),
        Field::new("groups", DataType::Binary, true),
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
        let inherited = rollup.reload(partitions).await?.clone();
        let incompatible = |reason: &str| Error::Incompatible { table: name.clone(), reason: reason.to_owned() };
        if Table::open(at).await?.is_none() && rollup.is_merged().await? {
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
            statistics_columns: vec![CLOSED_TO.to_owned(), START.to_owned()],
        };
        let table = Table::open_or_create(at, &spec).await?;
        if table.property(ROLLUP) != Some(rollup.id()) {
            return Err(incompatible("the rollup's table was made anew. Move this one away, too, and it counts anew"));
        }
        check_made_with(&table, &name, &own)?;
        let base = standing::base(&format!("{}/{}", log.cluster(), log.topic()), &definition.name);
        Ok(Partials { table, name, base, windows: plan.windows, inherited, standing: Standing::new() })
    }

    /// The newest snapshot's word, of every partition that somebody has begun.
    pub(crate) async fn reload(&mut self, partitions: u32) -> Result<Standing, Error> {
        self.table.reload().await?;
        self.standing.clear();
        for partition in 0..partitions {
            if let Some(closed_to_us) = self.table.txn(&watermark(&self.base, partition)).await? {
                let held = position(&self.table, &self.base, partition, closed_to_us).await?;
                self.standing.extend(held.map(|held| (partition, held)));
            }
        }
        let inherited = self.inherited.iter().filter(|(partition, _)| !self.standing.contains_key(partition));
        Ok(self.standing.iter().chain(inherited).map(|(partition, held)| (*partition, *held)).collect())
    }

    /// What the snapshot that was looked at last said of partitions that somebody has begun.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How far the partition is that is furthest of those, µs; `i64::MIN`: none was begun.
    pub(crate) fn furthest_us(&self, is_one: impl Fn(u32) -> bool) -> i64 {
        let those = self.standing.iter().filter(|(partition, _)| is_one(**partition));
        those.map(|(_, held)| held.closed_to_us).max().unwrap_or(i64::MIN)
    }

    /// What one commit is to bring in: it brings partitions from `before` to `after`. Its file is durable when this returns.
    pub(crate) async fn prepare(
        &self,
        closed: &[Partial],
        before: &Standing,
        after: &Standing,
    ) -> Result<Commit, Error> {
        let mut commit = Commit { data_change: true, ..Commit::default() };
        let mut moved = Vec::new();
        for (partition, position) in after {
            let held = self.standing.get(partition);
            commit.txns.extend(standing::txns(&self.base, *partition, held, position));
            let expected = held.map(|held| held.closed_to_us);
            commit.txns.push(Txn { app: watermark(&self.base, *partition), expected, new: position.closed_to_us });
            let from_us = before.get(partition).map_or(i64::MIN, |before| before.closed_to_us);
            let to_us = self.windows.latest_end(position.closed_to_us);
            if to_us > from_us {
                moved.push(Moved { partition: *partition, from_us, to_us, next: position.next });
            }
        }
        if !moved.is_empty() {
            let groups = row_groups(&moved, closed).map_err(|error| self.broken(&error.to_string()))?;
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

    /// Files, in the snapshot, of which something is not done with where the rollup's W is this.
    async fn waiting(&self, closed_to_us: i64) -> Result<Vec<ActiveFile>, Error> {
        self.table.files_within(CLOSED_TO, &[closed_to_us.saturating_add(1)..i64::MAX]).await
    }

    /// How far commits brought partitions, and starts of the windows that have groups, that are not done with.
    pub(crate) async fn after(&self, closed_to_us: i64) -> Result<(Vec<Moved>, BTreeSet<i64>), Error> {
        let (mut moved, mut starts) = (Vec::new(), BTreeSet::new());
        for file in self.waiting(closed_to_us).await? {
            let columns = [CLOSED_TO, "partition", "closed_from_us", "next", START];
            let mut batches = self.table.read_file(&file.path, Some(&columns)).await?;
            while let Some(batch) = batches.try_next().await? {
                take(&batch, closed_to_us, &mut moved, &mut starts).ok_or_else(|| self.of_another_shape(&file))?;
            }
        }
        Ok((moved, starts))
    }

    /// All pieces of these windows that are not done with, given one after the other.
    pub(crate) async fn pieces<E: From<Error>>(
        &self,
        closed_to_us: i64,
        starts: &BTreeSet<i64>,
        mut each: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        for file in self.waiting(closed_to_us).await? {
            let mut batches =
                self.table.read_file(&file.path, Some(&[START, "events", "grouped_as_other", "groups"])).await?;
            while let Some(batch) = batches.try_next().await? {
                let pieces = pieces_of(&batch, starts).ok_or_else(|| self.of_another_shape(&file))?;
                pieces.into_iter().try_for_each(&mut each)?;
            }
        }
        Ok(())
    }

    /// Takes out files that are done with, when there are some.
    pub(crate) async fn take_out_done(&mut self, closed_to_us: i64) -> Result<(), Error> {
        let waiting: BTreeSet<String> = self.waiting(closed_to_us).await?.into_iter().map(|file| file.path).collect();
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
fn row_groups(moved: &[Moved], closed: &[Partial]) -> Result<Vec<Vec<RecordBatch>>, ArrowError> {
    let mut rows = Rows::default();
    moved.iter().for_each(|moved| rows.moved(moved));
    let (mut groups, mut bytes) = (Vec::new(), 0);
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

/// Rows of both kinds, column by column.
#[derive(Default)]
struct Rows {
    closed_to: TimestampMicrosecondBuilder,
    partition: Int32Builder,
    closed_from_us: Int64Builder,
    next: Int64Builder,
    start: TimestampMicrosecondBuilder,
    events: Int64Builder,
    grouped_as_other: Int64Builder,
    groups: BinaryBuilder,
    /// Of the window whose value came last: the next ones of it count nothing again.
    last: Option<i64>,
}

impl Rows {
    fn moved(&mut self, moved: &Moved) {
        self.closed_to.append_value(moved.to_us);
        self.partition.append_value(moved.partition as i32);
        self.closed_from_us.append_value(moved.from_us);
        self.next.append_value(moved.next as i64);
        self.start.append_null();
        self.events.append_null();
        self.grouped_as_other.append_null();
        self.groups.append_null();
    }

    fn value(&mut self, partial: &Partial, value: &[u8]) {
        let is_first = self.last.replace(partial.start_us) != Some(partial.start_us);
        self.closed_to.append_value(partial.end_us);
        self.partition.append_null();
        self.closed_from_us.append_null();
        self.next.append_null();
        self.start.append_value(partial.start_us);
        self.events.append_value(if is_first { partial.events as i64 } else { 0 });
        self.grouped_as_other.append_value(if is_first { partial.grouped_as_other as i64 } else { 0 });
        self.groups.append_value(value);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.closed_to.finish().with_timezone(TIME_ZONE)),
            Arc::new(self.partition.finish()),
            Arc::new(self.closed_from_us.finish()),
            Arc::new(self.next.finish()),
            Arc::new(self.start.finish().with_timezone(TIME_ZONE)),
            Arc::new(self.events.finish()),
            Arc::new(self.grouped_as_other.finish()),
            Arc::new(self.groups.finish()),
        ];
        RecordBatch::try_new(Arc::new(schema()), columns)
    }
}

/// The rows of one batch that are not done with; `None`: it has other columns.
fn take(batch: &RecordBatch, closed_to_us: i64, moved: &mut Vec<Moved>, starts: &mut BTreeSet<i64>) -> Option<()> {
    let times = |name| batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>();
    let numbers = |name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (closed_to, start) = (times(CLOSED_TO)?, times(START)?);
    let partition = batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?;
    let (from, next) = (numbers("closed_from_us")?, numbers("next")?);
    for row in (0..batch.num_rows()).filter(|row| closed_to.value(*row) > closed_to_us) {
        match start.is_valid(row) {
            true => drop(starts.insert(start.value(row))),
            false => moved.push(Moved {
                partition: u32::try_from(partition.value(row)).ok()?,
                from_us: from.value(row),
                to_us: closed_to.value(row),
                next: u64::try_from(next.value(row)).ok()?,
            }),
        }
    }
    Some(())
}

fn pieces_of(batch: &RecordBatch, wanted: &BTreeSet<i64>) -> Option<Vec<Piece>> {
    let start = batch.column_by_name(START)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let numbers = |name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (events, other) = (numbers("events")?, numbers("grouped_as_other")?);
    let groups: &BinaryArray = batch.column_by_name("groups")?.as_binary_opt()?;
    let rows = (0..batch.num_rows()).filter(|row| start.is_valid(*row) && wanted.contains(&start.value(*row)));
    rows.map(|row| {
        let (start_us, groups) = (start.value(row), groups.value(row).to_owned());
        let (events, grouped_as_other) =
            (u64::try_from(events.value(row)).ok()?, u64::try_from(other.value(row)).ok()?);
        Some(Piece { start_us, events, grouped_as_other, groups })
    })
    .collect()
}
