//! Later revisions of closed windows: which is the newest, and how another one gets in.
use super::{Revision, RollupTable, standing};
use crate::fold::WindowRows;
use crate::positions::{self, Positions};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use event::clock::Micros;
use event::date::Date;
use futures::TryStreamExt;
use lake::table::{Commit, Error, Outcome, Table, Txn};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Column: when a window begins.
pub(crate) const START: &str = "window_start";

/// A window's newest revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) revision: i32,
    pub(crate) closed_at: Micros,
    /// Of what it was computed.
    pub(crate) positions: Positions,
}

impl RollupTable {
    /// How many corrections were committed, in the snapshot: what fences the next.
    pub(crate) async fn corrections(&self) -> Result<Option<i64>, Error> {
        self.table.txn(&standing::corrections(&self.base)).await
    }

    /// W when it was counted first, as [`standing::counted_from_us`].
    pub(crate) async fn counted_from_us(&self) -> Result<Option<i64>, Error> {
        standing::counted_from_us(&self.name, &self.table).await
    }

    /// Start of the first window that the table may have, µs, as its files' statistics say; `None`: it has no file.
    pub(crate) async fn first_start(&self) -> Result<Option<i64>, Error> {
        self.table.first_time(START).await
    }

    /// The newest revisions of the windows that begin at `starts` (µs), in the snapshot.
    pub(crate) async fn latest(&self, starts: &BTreeSet<i64>) -> Result<BTreeMap<i64, Latest>, Error> {
        latest(&self.table, &self.name, starts).await
    }

    /// Commits windows computed again of everything below `positions`, each as the revision after its newest one;
    /// superseded by any correction since `fence`.
    pub(crate) async fn correct(
        &mut self,
        windows: &[WindowRows],
        newest: &BTreeMap<i64, Option<Latest>>,
        fence: Option<i64>,
        positions: &Positions,
        closed_at: Micros,
    ) -> Result<Outcome, Error> {
        let of = Revision { positions, closed_at };
        let mut commit = Commit { data_change: true, ..Commit::default() };
        let mut without_rows: BTreeSet<i64> =
            newest.iter().filter(|(_, latest)| latest.is_some()).map(|(start, _)| *start).collect();
        let mut batches = Vec::new();
        for window in windows.iter().filter(|window| window.rows.num_rows() > 0) {
            without_rows.remove(&window.start_us);
            let latest = newest.get(&window.start_us).and_then(Option::as_ref);
            batches.push(self.rows(window, latest.map_or(1, |latest| latest.revision + 1), of)?);
        }
        if !batches.is_empty() {
            commit.adds.push(self.table.write_file(BTreeMap::new(), vec![batches]).await?);
        }
        self.take_out(&without_rows, &mut commit).await?;
        let (app, new) = (standing::corrections(&self.base), fence.unwrap_or(0).saturating_add(1));
        commit.txns.push(Txn { app, expected: fence, new });
        self.touch_days(newest.keys(), &mut commit, new).await?;
        let outcome = self.table.commit(&commit).await?;
        if outcome == Outcome::Superseded {
            self.table.discard(&commit.adds).await;
        }
        Ok(outcome)
    }

    /// Says which days this correction changes: what was computed of them is old.
    async fn touch_days(&self, starts: impl Iterator<Item = &i64>, commit: &mut Commit, new: i64) -> Result<(), Error> {
        let days: BTreeSet<i64> = starts.map(|start| Date::day(*start)).collect();
        for number in days {
            let app = standing::day(&self.base, number);
            commit.txns.push(Txn { expected: self.table.txn(&app).await?, app, new });
        }
        Ok(())
    }

    /// A revision without rows can't be told from none, so a window that the SQL now filters out as a whole (a HAVING)
    /// is taken out of the files that hold it.
    async fn take_out(&self, starts: &BTreeSet<i64>, commit: &mut Commit) -> Result<(), Error> {
        for file in self.table.files_within(START, &at(starts)).await? {
            let mut batches = self.table.read_file(&file.path, None).await?;
            let (mut left, mut taken) = (Vec::new(), 0);
            while let Some(batch) = batches.try_next().await? {
                let rest = without(&batch, starts).ok_or_else(|| of_another_shape(&self.name, &file.path))?;
                taken += batch.num_rows() - rest.num_rows();
                left.extend(Some(rest).filter(|rest| rest.num_rows() > 0));
            }
            if taken == 0 {
                continue;
            }
            if !left.is_empty() {
                commit.adds.push(self.table.write_file(BTreeMap::new(), vec![left]).await?);
            }
            commit.removes.push(file);
        }
        Ok(())
    }
}

/// The newest revisions of the windows that begin at `starts` (µs), in the snapshot of a rollup's table.
pub(crate) async fn latest(table: &Table, name: &str, starts: &BTreeSet<i64>) -> Result<BTreeMap<i64, Latest>, Error> {
    let mut latest = BTreeMap::<i64, Latest>::new();
    for file in table.files_within(START, &at(starts)).await? {
        let columns = [START, "revision", "closed_at", "positions"];
        let mut batches = table.read_file(&file.path, Some(&columns)).await?;
        while let Some(batch) = batches.try_next().await? {
            take(&batch, starts, &mut latest).ok_or_else(|| of_another_shape(name, &file.path))?;
        }
    }
    Ok(latest)
}

/// These moments, as ranges.
pub(crate) fn at(starts: &BTreeSet<i64>) -> Vec<Range<i64>> {
    starts.iter().map(|start| *start..start + 1).collect()
}

pub(crate) fn of_another_shape(table: &str, path: &str) -> Error {
    Error::Broken { table: table.to_owned(), reason: format!("{path} holds rows of another shape") }
}

fn take(batch: &RecordBatch, starts: &BTreeSet<i64>, latest: &mut BTreeMap<i64, Latest>) -> Option<()> {
    let times = |name| batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>();
    let (window_starts, closed_at) = (times(START)?, times("closed_at")?);
    let revisions = batch.column_by_name("revision")?.as_primitive_opt::<Int32Type>()?;
    let of_positions = batch.column_by_name("positions")?;
    for row in 0..batch.num_rows() {
        let (start, revision) = (window_starts.value(row), revisions.value(row));
        if starts.contains(&start) && latest.get(&start).is_none_or(|held| held.revision < revision) {
            let positions = positions::of_row(of_positions, row)?;
            latest.insert(start, Latest { revision, closed_at: closed_at.value(row), positions });
        }
    }
    Some(())
}

fn without(batch: &RecordBatch, starts: &BTreeSet<i64>) -> Option<RecordBatch> {
    let window_starts = batch.column_by_name(START)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let keep: BooleanArray = window_starts.values().iter().map(|start| Some(!starts.contains(start))).collect();
    filter_record_batch(batch, &keep).ok()
}
