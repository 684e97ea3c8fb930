//! Windows computed again from the rows of the table `events`.
use crate::Error;
use crate::fold::{Bounds, Fold, WindowRows};
use crate::limits::{CORRECTED_BYTES_MAX, OPEN_BYTES_MAX};
use crate::positions::Positions;
use crate::rollup::{Events, Plan};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use event::schema::Column;
use futures::TryStreamExt;
use lake::table::{Error as LakeError, Table};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Where a row stands in the log.
const PLACE: [&str; 2] = ["_partition", "_offset"];

/// The windows that begin at these starts (µs), of the rows of the table's snapshot: of all, or of those of records `below`.
/// One whose rows the SQL filters out is not among them. `None`: together they take more memory than is good, and there are
/// several.
pub(crate) async fn recompute(
    events: &Table,
    plan: &Arc<Plan>,
    groups: Bounds,
    starts: &BTreeSet<i64>,
    below: Option<&Positions>,
) -> Result<Option<Vec<WindowRows>>, Error> {
    let ranges = plan.windows.ranges(starts);
    let time = Column::EVENT_TIME.name();
    let mut columns: Vec<&str> = plan.columns().filter(|name| *name != time).collect();
    if below.is_some() {
        columns.extend(PLACE);
    }
    columns.push(time);
    let mut fold = Fold::new(plan.clone(), groups);
    for file in events.files_within(time, &ranges).await? {
        let mut batches = events.read_file(&file.path, Some(&columns)).await?;
        while let Some(batch) = batches.try_next().await? {
            if let Some(batch) = within(&batch, &ranges, below)? {
                let evaluated = plan.evaluate(&Events::of_lake(batch)?)?;
                fold.fold(&evaluated, |start, _| starts.contains(&start))?;
                if starts.len() > 1 && fold.bytes() > CORRECTED_BYTES_MAX {
                    return Ok(None);
                }
                // As it would have been while it was open.
                while fold.bytes() > OPEN_BYTES_MAX && fold.shrink()? {}
            }
            // The loop that reads the log has its turn after each batch.
            tokio::task::yield_now().await;
        }
    }
    Ok(Some(fold.close(i64::MAX)?))
}

/// The rows whose time is in one of the ranges, of records `below`; `None`: there is none.
fn within(batch: &RecordBatch, ranges: &[Range<i64>], below: Option<&Positions>) -> Result<Option<RecordBatch>, Error> {
    let broken = |reason: String| LakeError::Broken { table: "events".to_owned(), reason };
    let times = batch.column(batch.num_columns() - 1).as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| broken("event_time is no time".to_owned()))?;
    let is_within = |time: &i64| {
        let after = ranges.partition_point(|range| range.start <= *time);
        after.checked_sub(1).is_some_and(|at| ranges[at].contains(time))
    };
    let keep: BooleanArray = match below {
        None => times.values().iter().map(|time| Some(is_within(time))).collect(),
        Some(below) => {
            let places = of_places(batch, below).ok_or_else(|| broken("rows have no place in the log".to_owned()))?;
            times.values().iter().zip(places).map(|(time, is_below)| Some(is_below && is_within(time))).collect()
        }
    };
    match keep.true_count() {
        0 => Ok(None),
        _ => Ok(Some(filter_record_batch(batch, &keep).map_err(|error| broken(error.to_string()))?)),
    }
}

/// Whether each row is of a record below these offsets.
fn of_places<'a>(batch: &'a RecordBatch, below: &'a Positions) -> Option<impl Iterator<Item = bool> + 'a> {
    let partitions = batch.column_by_name(PLACE[0])?.as_primitive_opt::<Int32Type>()?;
    let offsets = batch.column_by_name(PLACE[1])?.as_primitive_opt::<Int64Type>()?;
    let is_below = |(partition, offset): (&i32, &i64)| {
        let next = u32::try_from(*partition).ok().and_then(|partition| below.get(&partition));
        next.is_some_and(|next| offset.cast_unsigned() < *next)
    };
    Some(partitions.values().iter().zip(offsets.values()).map(is_below))
}
