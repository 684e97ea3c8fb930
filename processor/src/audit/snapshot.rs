//! The tables as they are compared: read so that a window which is about to change is known to be.
//!
//! Order: marks, the rollup's table, `events`, marks again. What a processor reads late it marks before it says that it has read
//! it, and a mark goes only after the window was computed again; who changes rows of `events` marks their windows before.
use crate::late::{Reached, marks};
use crate::positions::{Positions, covers};
use crate::table::{counted_from_us, reached};
use crate::windows::Windows;
use crate::{Error, Lake};
use lake::table::Table;
use std::collections::BTreeSet;
use std::time::Duration;

/// Why a rollup that has begun only now is not compared.
pub const NOTHING_CLOSED: &str = "it has closed no window yet";
/// Start of a row's window.
pub(super) const START: &str = "window_start";
/// How often the lake is looked at while it lacks what a rollup has read.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Windows that an audit goes over: a year of minutes, ten times; 8 bytes each.
const WINDOWS_MAX: usize = 5_000_000;

/// The tables as they are compared.
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) table: Table,
    pub(super) events: Table,
    /// What the rollup has read: only rows below are its own.
    pub(super) counted: Positions,
    /// What `events` has.
    pub(super) reached: Positions,
    /// Windows that begin before this have lost rows to retention, µs.
    pub(super) ended_us: i64,
    /// Starts of windows that are to be computed again.
    pub(super) marked: BTreeSet<i64>,
    /// Windows that end at or before this are closed, µs.
    watermark_us: i64,
    /// Of windows that end at or before this there are only those that were filled in, µs; `None`: the table does not say.
    counted_from_us: Option<i64>,
}

impl Snapshot {
    /// Opens the tables; `Err`: why there is nothing to compare, in words.
    pub(super) async fn open(lake: &Lake, name: &str, patience: Duration) -> Result<Result<Snapshot, String>, Error> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut snapshot = match Snapshot::now(lake, name).await? {
            Ok(snapshot) => snapshot,
            Err(why) => return Ok(Err(why)),
        };
        while !covers(&snapshot.reached, &snapshot.counted) {
            if tokio::time::Instant::now() >= deadline {
                return Ok(Err("it has counted events that the lake does not have yet".to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            snapshot = snapshot.newer(lake).await?;
        }
        Ok(Ok(snapshot))
    }

    /// The tables as they are now. Where the lake lacks what the rollup has read meanwhile, what it had read before is compared:
    /// a window that knows more is one that was corrected, and waits.
    pub(super) async fn newer(&self, lake: &Lake) -> Result<Snapshot, Error> {
        let gone = |why| Error::Broken(format!("while it was audited: {why}"));
        let newer = Snapshot::now(lake, &self.name).await?.map_err(gone)?;
        match covers(&newer.reached, &newer.counted) {
            true => Ok(newer),
            false => Ok(Snapshot { counted: self.counted.clone(), ..newer }),
        }
    }

    async fn now(lake: &Lake, name: &str) -> Result<Result<Snapshot, String>, Error> {
        let before = marks(&lake.late_windows).await?;
        let Some(table) = Table::open(&lake.rollups.join(name)).await? else {
            return Ok(Err("its table is gone".to_owned()));
        };
        let Some((watermark_us, counted)) = reached(name, &table).await? else {
            return Ok(Err(NOTHING_CLOSED.to_owned()));
        };
        let Some(events) = Table::open(&lake.events).await? else {
            return Ok(Err("there is no table events".to_owned()));
        };
        let held = Reached::of_log_of(&table, &events).await?;
        let after = marks(&lake.late_windows).await?;
        let marked = before.into_keys().chain(after.into_keys()).filter(|(of, _)| of == name);
        let marked = marked.map(|(_, start)| start).collect();
        let counted_from_us = counted_from_us(name, &table).await?;
        let (name, reached, ended_us) = (name.to_owned(), held.positions, held.ended_us);
        Ok(Ok(Snapshot { name, table, events, counted, reached, ended_us, marked, watermark_us, counted_from_us }))
    }

    /// Whether nothing has changed since another one.
    pub(super) fn is_as(&self, other: &Snapshot) -> bool {
        let all = |of: &Snapshot| (of.table.version(), of.events.version());
        all(self) == all(other) && self.marked == other.marked && self.counted == other.counted
    }

    /// Whether the rollup counted a window that ends then as its events came.
    pub(super) fn has_counted(&self, end_us: i64) -> bool {
        self.counted_from_us.is_some_and(|from| end_us > from)
    }

    /// The windows that are closed and whose rows of `events` are all there, from the first one that the table has or counted;
    /// `Err`: why they can't be told, in words.
    pub(super) async fn starts(&self, windows: Windows) -> Result<Result<Vec<i64>, String>, Error> {
        let counted = match self.counted_from_us {
            // The first window that ends after both began a length before.
            Some(from) => self.events.first_time("event_time").await?.map(|first| first.max(from)),
            None => None,
        };
        let counted = counted.map(|time| time.saturating_sub(windows.length_us()));
        let first = self.table.first_time(START).await?.into_iter().chain(counted).min();
        let Some(first) = first else { return Ok(Ok(Vec::new())) };
        let first = windows.latest_start(first.max(self.ended_us).saturating_add(windows.slide_us() - 1));
        let slide_us = usize::try_from(windows.slide_us()).unwrap_or(usize::MAX);
        let starts = (first..).step_by(slide_us).take_while(|start| windows.end(*start) <= self.watermark_us);
        let starts: Vec<i64> = starts.take(WINDOWS_MAX + 1).collect();
        Ok(match starts.len() <= WINDOWS_MAX {
            true => Ok(starts),
            false => Err(format!(
                "from its first row, or the first event, to now there are more than {WINDOWS_MAX} windows: is there a file \
                 without statistics, or a time of long ago?"
            )),
        })
    }
}
