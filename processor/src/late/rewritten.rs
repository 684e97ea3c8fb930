//! Windows whose rows in `events` change after they were counted: copies that compaction removes.
//!
//! They are marked before the change, and each mark names the value of [`lake::tables::REWRITES`] that `events` will have with
//! it. The correction waits for that, and computes them from what is there then. Windows are marked whether they have a
//! revision or not: one may be computed for the first time between the mark and the change. The mark stays for that long.
use super::marks::{LateWindows, Mark, Marks};
use crate::limits::AWAITING_MAX;
use crate::positions::Positions;
use crate::rollup::Definition;
use crate::table::reached;
use crate::{Error, Lake};
use event::clock::Micros;
use lake::location::Location;
use lake::table::{Error as LakeError, Table};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// A rollup that is so far behind the others is kept by nobody: its windows would wait for ever.
const KEPT_WITHIN: Duration = Duration::from_secs(7 * 86_400);

/// Who marks such windows, of every rollup that has a table.
#[derive(Debug)]
pub struct Rewritten {
    lake: Lake,
    late: Option<LateWindows>,
}

impl Rewritten {
    /// Of this lake.
    pub fn new(lake: Lake) -> Rewritten {
        Rewritten { lake, late: None }
    }

    /// Marks the windows that hold one of these moments (µs). Durable when it returns.
    ///
    /// # Errors
    /// [`Error::TooManyLate`]: there is no room for all of them, and none is marked.
    pub async fn mark(&mut self, times_us: &[i64], awaits: i64, marked_at: Micros) -> Result<(), Error> {
        let mut new = Marks::new();
        for (rollup, definition) in kept(&self.lake.rollups).await? {
            let Ok(windows) = definition.windows() else { continue };
            for time in times_us {
                for back in 0..windows.of_event() {
                    let start = windows.start(*time, back);
                    let end_us = windows.end(start);
                    let mark = Mark { end_us, positions: Positions::new(), events: 0, awaits: Some(awaits), marked_at };
                    new.insert((rollup.clone(), start), mark);
                    if new.len() > AWAITING_MAX {
                        return Err(Error::TooManyLate);
                    }
                }
            }
        }
        self.add(&new).await
    }

    async fn add(&mut self, new: &Marks) -> Result<(), Error> {
        // None: no processor has begun, and nothing is counted.
        let Some(late) = self.late().await? else { return Ok(()) };
        // Late events have their room beside.
        let held = late.read().await?;
        let waiting = held.iter().filter(|(window, mark)| mark.awaits.is_some() && !new.contains_key(*window)).count();
        if waiting + new.len() > AWAITING_MAX {
            return Err(Error::TooManyLate);
        }
        late.mark(new).await
    }

    /// Marks the windows of one rollup that begin in this time (µs), and are closed; how many. Durable when it returns.
    ///
    /// # Errors
    /// As [`Rewritten::mark`]; [`Error::Broken`]: there is no such rollup.
    pub async fn mark_rollup(
        &mut self,
        rollup: &str,
        starts_us: Range<Micros>,
        awaits: i64,
        marked_at: Micros,
    ) -> Result<usize, Error> {
        let missing = || Error::Broken(format!("there is no rollup {rollup} in this lake that a node keeps"));
        let table = Table::open(&self.lake.rollups.join(rollup)).await?.ok_or_else(missing)?;
        let closed_to_us = reached(rollup, &table).await?.map_or(i64::MIN, |(watermark_us, _)| watermark_us);
        let windows = Definition::of_table(rollup, &table).and_then(|definition| definition.windows().ok());
        let windows = windows.ok_or_else(missing)?;
        let mut new = Marks::new();
        let mut start = windows.latest_start(starts_us.start.saturating_add(windows.slide_us() - 1));
        while start < starts_us.end && windows.end(start) <= closed_to_us {
            let end_us = windows.end(start);
            let mark = Mark { end_us, positions: Positions::new(), events: 0, awaits: Some(awaits), marked_at };
            new.insert((rollup.to_owned(), start), mark);
            if new.len() > AWAITING_MAX {
                return Err(Error::TooManyLate);
            }
            start += windows.slide_us();
        }
        self.add(&new).await.map(|()| new.len())
    }

    /// How many windows of a rollup that begin in this time have waited since `marked_at`, or longer, to be computed again:
    /// those that late events mark meanwhile are others.
    ///
    /// # Errors
    /// The lake.
    pub async fn waiting(
        &mut self,
        rollup: &str,
        starts_us: &Range<Micros>,
        marked_at: Micros,
    ) -> Result<usize, LakeError> {
        let Some(late) = self.late().await? else { return Ok(0) };
        let of_these = |((name, start), mark): &(&(String, i64), &Mark)| {
            name == rollup && starts_us.contains(start) && mark.marked_at <= marked_at
        };
        Ok(late.read().await?.iter().filter(of_these).count())
    }

    /// The largest value that a mark waits for.
    pub async fn awaited(&mut self) -> Result<Option<i64>, LakeError> {
        let Some(late) = self.late().await? else { return Ok(None) };
        Ok(late.read().await?.values().filter_map(|mark| mark.awaits).max())
    }

    async fn late(&mut self) -> Result<Option<&mut LateWindows>, LakeError> {
        if self.late.is_none() {
            self.late = LateWindows::existing(&self.lake.late_windows).await?;
        }
        Ok(self.late.as_mut())
    }
}

/// The rollups in this folder of tables that somebody keeps.
pub(crate) async fn kept(rollups: &Location) -> Result<BTreeMap<String, Definition>, LakeError> {
    let mut found = BTreeMap::new();
    for rollup in rollups.folders().await? {
        let Some(table) = Table::open(&rollups.join(&rollup)).await? else { continue };
        let closed_to_us = reached(&rollup, &table).await?.map(|(watermark_us, _)| watermark_us);
        if let Some(definition) = Definition::of_table(&rollup, &table) {
            found.insert(rollup, (definition, closed_to_us));
        }
    }
    let newest_us = found.values().filter_map(|(_, closed_to_us)| *closed_to_us).max();
    let oldest_us = newest_us.map_or(i64::MIN, |newest| newest.saturating_sub(KEPT_WITHIN.as_micros() as i64));
    // One that has closed nothing yet is counting.
    found.retain(|_, (_, closed_to_us)| closed_to_us.is_none_or(|closed_to_us| closed_to_us >= oldest_us));
    Ok(found.into_iter().map(|(rollup, (definition, _))| (rollup, definition)).collect())
}
