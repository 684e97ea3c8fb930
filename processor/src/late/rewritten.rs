//! Windows whose rows in `events` change after they were counted: copies that compaction removes.
//!
//! They are marked before the change, and each mark names the value of [`lake::tables::REWRITES`] that `events` will have with
//! it. The correction waits for that, and computes them from what is there then.
use super::marks::{LateWindows, Mark, Marks, marks};
use crate::positions::Positions;
use crate::rollup::Definition;
use crate::table::{newest_revisions, reached};
use crate::windows::Windows;
use crate::{Error, Lake};
use event::clock::Micros;
use lake::table::{Error as LakeError, Table};
use std::collections::BTreeSet;

/// Marks the windows that hold one of these moments (µs), of every rollup that has a table: those that have a revision, and
/// those that are not closed yet. Durable when it returns.
///
/// # Errors
/// [`Error::TooManyLate`] when not all fit beside those that wait already.
pub async fn mark(lake: &Lake, times_us: &[i64], awaits: i64, marked_at: Micros) -> Result<(), Error> {
    let Some(mut late) = LateWindows::existing(&lake.late_windows).await? else { return Ok(()) };
    let mut marks = Marks::new();
    for rollup in lake.rollups.folders().await? {
        let Some(table) = Table::open(&lake.rollups.join(&rollup)).await? else { continue };
        let windows = Definition::of_table(&rollup, &table).and_then(|held| held.windows().ok());
        let Some(windows) = windows else { continue };
        for start in counted(&rollup, &table, windows, times_us).await? {
            let mark = Mark {
                end_us: windows.end(start),
                positions: Positions::new(),
                events: 0,
                awaits: Some(awaits),
                marked_at,
            };
            marks.insert((rollup.clone(), start), mark);
        }
    }
    late.mark(&marks).await
}

/// The largest value that a mark waits for.
pub async fn awaited(lake: &Lake) -> Result<Option<i64>, LakeError> {
    Ok(marks(&lake.late_windows).await?.values().filter_map(|mark| mark.awaits).max())
}

/// Starts of the windows that hold one of these moments, and whose rows were counted or are being counted.
async fn counted(rollup: &str, table: &Table, windows: Windows, times_us: &[i64]) -> Result<BTreeSet<i64>, LakeError> {
    let closed_to_us = reached(rollup, table).await?.map_or(i64::MIN, |(watermark_us, _)| watermark_us);
    let of_time = |time: &i64| (0..windows.of_event()).map(|back| windows.start(*time, back)).collect::<Vec<_>>();
    let starts: BTreeSet<i64> = times_us.iter().flat_map(of_time).collect();
    let (closed, mut counted): (BTreeSet<i64>, BTreeSet<i64>) =
        starts.into_iter().partition(|start| windows.end(*start) <= closed_to_us);
    // One that is closed without a revision was never this rollup's, or was filtered out as a whole.
    counted.extend(newest_revisions(table, &closed).await?.into_keys());
    Ok(counted)
}
