//! What a rollup's table says of windows: the rows of their newest revisions.
use super::snapshot::{START, Snapshot};
use crate::Error;
use crate::positions::Positions;
use crate::rollup::Plan;
use crate::table::{at, latest, of_another_shape};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};

/// Rows of windows that are compared at once: with ten columns of a text or a number some 300 MB.
const ROWS_MAX: usize = 1_000_000;
const REVISION: &str = "revision";

/// A window's newest revision.
pub(super) struct Held {
    /// Of what it was computed.
    pub(super) positions: Positions,
    /// The columns that the SQL makes.
    pub(super) rows: RecordBatch,
}

/// The newest revisions of the windows that begin at `starts` (µs); `None`: they are too many rows, of several windows.
pub(super) async fn newest(
    snapshot: &Snapshot,
    plan: &Plan,
    starts: &BTreeSet<i64>,
) -> Result<Option<BTreeMap<i64, Held>>, Error> {
    let Snapshot { name, table, .. } = snapshot;
    let (latest, mut rows_held) = (latest(table, name, starts).await?, 0);
    let made = plan.output().fields().iter().map(|field| field.name().as_str());
    let columns: Vec<&str> = made.chain([REVISION, START]).collect();
    let mut parts: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
    for file in table.files_within(START, &at(starts)).await? {
        let mut batches = table.read_file(&file.path, Some(&columns)).await?;
        while let Some(batch) = batches.try_next().await? {
            let of_windows = of_windows(&batch, |start| latest.get(&start).map(|latest| latest.revision))
                .ok_or_else(|| of_another_shape(name, &file.path))?;
            for (start, rows) in of_windows {
                rows_held += rows.len();
                if rows_held > ROWS_MAX && starts.len() > 1 {
                    return Ok(None);
                }
                let rows = take_record_batch(&batch, &UInt32Array::from(rows)).map_err(arrow)?;
                let made: Vec<usize> = (0..columns.len() - 2).collect();
                parts.entry(start).or_default().push(rows.project(&made).map_err(arrow)?);
            }
        }
    }
    let mut held = BTreeMap::new();
    for (start, parts) in parts {
        let rows = concat_batches(&parts[0].schema(), &parts).map_err(arrow)?;
        held.extend(latest.get(&start).map(|of| (start, Held { positions: of.positions.clone(), rows })));
    }
    Ok(Some(held))
}

/// By start of a window the rows of its newest revision; `None`: the batch has other columns.
fn of_windows(batch: &RecordBatch, newest: impl Fn(i64) -> Option<i32>) -> Option<BTreeMap<i64, Vec<u32>>> {
    let starts = batch.column_by_name(START)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let revisions = batch.column_by_name(REVISION)?.as_primitive_opt::<Int32Type>()?;
    let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, (start, revision)) in (0..).zip(starts.values().iter().zip(revisions.values())) {
        if newest(*start) == Some(*revision) {
            rows.entry(*start).or_default().push(row);
        }
    }
    Some(rows)
}

pub(super) fn arrow(error: arrow_schema::ArrowError) -> Error {
    Error::Computing(error.into())
}
