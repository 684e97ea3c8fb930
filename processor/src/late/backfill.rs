//! Backfill: windows from before a rollup began, marked as if all their events had come late.
//!
//! A mark without events asks for a revision, whichever: a window that has one is only unmarked. One that has none is computed
//! when the lake has all that the rollup had read when it was asked for: what comes after that for a closed window is late,
//! and marked as such. So a backfill may be asked for twice, goes on after a stop, and needs nobody but the corrector.
use super::marks::{LateWindows, Mark, Marks, marks};
use crate::limits::LATE_WINDOWS_MAX;
use crate::positions::Positions;
use crate::rollup::Definition;
use crate::table::reached;
use crate::windows::Windows;
use crate::{Error, Lake};
use event::clock::Micros;
use lake::table::{Error as LakeError, Table};
use std::ops::Range;

/// Which windows are to be computed from the table `events`.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Those that begin at or after this, µs.
    pub since_us: i64,
    /// And end at or before this, µs; `None`: all that are closed.
    pub until_us: Option<i64>,
}

/// What a backfill comes to.
#[derive(Debug, Clone)]
pub struct Backfill {
    rollup: String,
    windows: Windows,
    /// Starts of the windows, µs: from the first to before the end.
    pub starts: Range<i64>,
    /// What the rollup has read.
    read: Positions,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No processor has begun it.
    #[error("rollup {0} has closed no window yet: start a node that keeps it, then ask again in a minute")]
    NotBegun(String),
    /// Nothing to compute from.
    #[error("there is no table events in this lake: no sink has brought any event there")]
    NoEvents,
    /// The table is of other SQL.
    #[error("the table of {0} is of other SQL or windows than its definition: give the rollup another name")]
    Changed(String),
    /// None is in the range.
    #[error("no window of {0} that is closed lies in that time")]
    NoWindow(String),
    /// More than may be asked for.
    #[error("these are {0} windows, and {1} may be asked for now: do it in parts, with --until")]
    TooMany(i64, i64),
    /// The end is before the beginning.
    #[error("--until is before --since")]
    Reversed,
    /// Tables.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl Backfill {
    /// Looks what is to be done; nothing is changed.
    pub async fn plan(lake: &Lake, definition: &Definition, asked: Asked) -> Result<Backfill, Refused> {
        let name = &definition.name;
        if asked.until_us.is_some_and(|until| until < asked.since_us) {
            return Err(Refused::Reversed);
        }
        let not_begun = || Refused::NotBegun(name.clone());
        let table = Table::open(&lake.rollups.join(name)).await?.ok_or_else(not_begun)?;
        let (watermark_us, read) = reached(name, &table).await?.ok_or_else(not_begun)?;
        let held = Definition::of_table(name, &table).ok_or_else(|| Refused::Changed(name.clone()))?;
        let windows = held.windows().map_err(|_| Refused::Changed(name.clone()))?;
        let is_same = held.sql == definition.sql && definition.windows().is_ok_and(|configured| configured == windows);
        if !is_same {
            return Err(Refused::Changed(name.clone()));
        }
        Table::open(&lake.events).await?.ok_or(Refused::NoEvents)?;
        let starts = starts(windows, asked, watermark_us).ok_or_else(|| Refused::NoWindow(name.clone()))?;
        let backfill = Backfill { rollup: name.clone(), windows, starts, read };
        let room = FILLED_IN_MAX.saturating_sub(marks(&lake.late_windows).await?.len()) as i64;
        match backfill.count() {
            count if count > room => Err(Refused::TooMany(count, room)),
            _ => Ok(backfill),
        }
    }

    /// How many windows.
    pub fn count(&self) -> i64 {
        (self.starts.end - self.starts.start) / self.windows.slide_us()
    }

    /// Marks them; durable when this returns. Whoever keeps the rollup computes them.
    ///
    /// # Errors
    /// [`Error::TooManyLate`] when not all fit beside those that wait already: those that do are marked.
    pub async fn mark(&self, lake: &Lake, marked_at: Micros) -> Result<(), Error> {
        let Some(mut table) = LateWindows::existing(&lake.late_windows).await? else {
            return Err(Error::Broken("a processor has begun, and there is no table late_windows".to_owned()));
        };
        let mark = |start: i64| {
            let mark = Mark {
                end_us: self.windows.end(start),
                positions: self.read.clone(),
                events: 0,
                awaits: None,
                marked_at,
            };
            ((self.rollup.clone(), start), mark)
        };
        let marks: Marks = self.starts.clone().step_by(self.windows.slide_us() as usize).map(mark).collect();
        table.mark(&marks).await
    }

    /// How many of them are still to be looked at.
    pub async fn waiting(&self, lake: &Lake) -> Result<usize, LakeError> {
        let is_asked = |((of, start), mark): &(&(String, i64), &Mark)| {
            *of == self.rollup && self.starts.contains(start) && mark.is_filled_in()
        };
        Ok(marks(&lake.late_windows).await?.iter().filter(is_asked).count())
    }
}

/// Half of what may wait: late events have their place beside it.
const FILLED_IN_MAX: usize = LATE_WINDOWS_MAX / 2;

/// Takes back what was asked for of a rollup and is not computed yet; how many windows. Late events of theirs stay marked.
pub async fn cancel(lake: &Lake, rollup: &str) -> Result<usize, LakeError> {
    match LateWindows::existing(&lake.late_windows).await? {
        Some(mut table) => table.unmark_filled_in(rollup).await,
        None => Ok(0),
    }
}

/// Starts of the windows within what is asked for that end at or before the watermark; `None`: there is none.
fn starts(windows: Windows, asked: Asked, watermark_us: i64) -> Option<Range<i64>> {
    let first = windows.latest_start(asked.since_us.saturating_add(windows.slide_us() - 1));
    let until = asked.until_us.map_or(watermark_us, |until| until.min(watermark_us));
    let last = windows.latest_start(until.saturating_sub(windows.length_us()));
    (first <= last).then(|| first..last.saturating_add(windows.slide_us()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn the_windows_are_those_that_lie_within_the_time_and_are_closed(
            size in 1_i64..6, slide in 1_i64..4, since in -50_i64..50, until in proptest::option::of(-50_i64..60), watermark in -60_i64..60,
        ) {
            let (size, slide) = (size * slide, slide);
            let of = |units: i64| Duration::from_micros(units as u64);
            let windows = Windows::new(of(size), of(slide));
            let asked = Asked { since_us: since, until_us: until };
            let found: Vec<i64> =
                starts(windows, asked, watermark).map(|range| range.step_by(slide as usize).collect()).unwrap_or_default();
            let end = until.unwrap_or(i64::MAX).min(watermark);
            let wanted: Vec<i64> = (-200..200)
                .filter(|start: &i64| start.rem_euclid(slide) == 0 && *start >= since && start + size <= end)
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
