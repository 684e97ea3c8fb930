//! The audit of rollups: each closed window against what its SQL gives of the rows of the table `events`.
//!
//! ```text
//!  rollups/NAME ─▶ newest revision of each window ─▶ held ─┐
//!  events ─▶ rows that the rollup has read ─▶ the window anew ┴─▶ rows: the difference, in words
//! ```
//! It is read beside whoever writes: marks are read before the tables and after them, so a window that is about to change is
//! not judged, and one that differs is looked at again.
use crate::fold::{Bounds, WindowRows};
use crate::late::{Reached, kept, marks, recompute};
use crate::positions::{Positions, covers};
use crate::rollup::{Definition, Plan};
use crate::table::reached;
use crate::{Error, Lake};
use held::Held;
use lake::table::Table;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod held;
mod rows;

/// Times that windows which differ are looked at: each time what changed meanwhile is seen.
const LOOKS: usize = 3;
/// Windows that are computed at once, when they are small: a day of minutes.
const AT_ONCE: usize = 1_440;
/// How often the lake is looked at while it lacks what a rollup has read.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was found of one rollup.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Audited {
    /// Its name.
    pub rollup: String,
    /// Closed windows that were compared, those without rows too.
    pub windows: u64,
    /// Rows of their newest revisions.
    pub rows: u64,
    /// Closed windows that are to be computed again: late events, or rows of `events` that changed. Nothing is said of them.
    pub waiting: u64,
    /// Windows of which only sums are compared: the smallest of too many groups were put together in them.
    pub sums_only: u64,
    /// Windows whose rows are not what the SQL gives.
    pub wrong: u64,
    /// Why none was compared, if so.
    pub not_compared: Option<String>,
    /// What is wrong, by start of the window (µs), in words.
    #[serde(skip)]
    pub different: BTreeMap<i64, String>,
}

/// The tables as they are compared.
struct Snapshot {
    table: Table,
    events: Table,
    /// Windows that end at or before this are closed, µs.
    watermark_us: i64,
    /// What the rollup has read.
    counted: Positions,
    /// Windows that begin before this have lost rows to retention, µs.
    ended_us: i64,
    marked: BTreeSet<i64>,
}

/// What a look came to.
#[derive(Default)]
struct Looked {
    windows: u64,
    rows: u64,
    waiting: u64,
    sums_only: u64,
    /// By start of the window, µs.
    different: BTreeMap<i64, String>,
}

/// The rollups of this lake that somebody keeps, and that an audit is about.
pub async fn rollups(lake: &Lake) -> Result<BTreeMap<String, Definition>, Error> {
    Ok(kept(&lake.rollups).await?)
}

/// Audits one of them. `groups`: as it is kept with. `patience`: how long a lake is waited for that lacks events which the
/// rollup has counted.
pub async fn audit(lake: &Lake, definition: &Definition, groups: Bounds, patience: Duration) -> Result<Audited, Error> {
    let name = &definition.name;
    let mut audited = Audited { rollup: name.clone(), ..Audited::default() };
    let plan = match Plan::new(definition).await {
        Ok(plan) => Arc::new(plan),
        Err(reason) => {
            audited.not_compared = Some(reason.to_string());
            return Ok(audited);
        }
    };
    let mut different = BTreeMap::new();
    let mut versions = None;
    for look in 0..LOOKS {
        let snapshot = match Snapshot::open(lake, name, patience).await? {
            Ok(snapshot) => snapshot,
            Err(reason) => {
                audited.not_compared = Some(reason);
                return Ok(audited);
            }
        };
        let now = (snapshot.table.version(), snapshot.events.version(), snapshot.marked.clone());
        if versions.replace(now.clone()) == Some(now) {
            break;
        }
        let starts = match look {
            0 => snapshot.starts(&plan).await?,
            _ => different.into_keys().collect(),
        };
        let looked = snapshot.look(name, &plan, groups, starts).await?;
        if look == 0 {
            let Looked { windows, rows, waiting, sums_only, .. } = looked;
            audited = Audited { windows, rows, waiting, sums_only, ..audited };
        }
        different = looked.different;
        if different.is_empty() {
            break;
        }
    }
    audited.wrong = different.len() as u64;
    audited.different = different;
    Ok(audited)
}

impl Snapshot {
    /// Opens the tables; `Err`: why there is nothing to compare, in words.
    async fn open(lake: &Lake, name: &str, patience: Duration) -> Result<Result<Snapshot, String>, Error> {
        let before = marks(&lake.late_windows).await?;
        let Some(table) = Table::open(&lake.rollups.join(name)).await? else {
            return Ok(Err("its table is gone".to_owned()));
        };
        let Some((watermark_us, counted)) = reached(name, &table).await? else {
            return Ok(Err("it has closed no window yet".to_owned()));
        };
        let deadline = tokio::time::Instant::now() + patience;
        let (events, held) = loop {
            let Some(events) = Table::open(&lake.events).await? else {
                return Ok(Err("there is no table events".to_owned()));
            };
            let held = Reached::of_log_of(&table, &events).await?;
            if covers(&held.positions, &counted) {
                break (events, held);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(Err("it has counted events that the lake does not have yet".to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let after = marks(&lake.late_windows).await?;
        let marked = before.into_keys().chain(after.into_keys()).filter(|(of, _)| of == name);
        let marked = marked.map(|(_, start)| start).collect();
        Ok(Ok(Snapshot { table, events, watermark_us, counted, ended_us: held.ended_us, marked }))
    }

    /// The windows that are closed, from the first one that the table has, and whose rows of `events` are all there.
    async fn starts(&self, plan: &Plan) -> Result<Vec<i64>, Error> {
        let windows = plan.windows;
        let Some(first) = self.table.first_time(held::START).await? else { return Ok(Vec::new()) };
        let first = windows.latest_start(first.max(self.ended_us).saturating_add(windows.slide_us() - 1));
        let slide_us = usize::try_from(windows.slide_us()).unwrap_or(usize::MAX);
        Ok((first..).step_by(slide_us).take_while(|start| windows.end(*start) <= self.watermark_us).collect())
    }

    /// Compares these windows, as many at once as memory allows.
    async fn look(&self, name: &str, plan: &Arc<Plan>, groups: Bounds, starts: Vec<i64>) -> Result<Looked, Error> {
        let mut looked = Looked::default();
        let (marked, starts): (Vec<i64>, Vec<i64>) = starts.into_iter().partition(|start| self.marked.contains(start));
        looked.waiting += marked.len() as u64;
        let (mut at, mut at_once) = (0, AT_ONCE);
        while at < starts.len() {
            let end = starts.len().min(at + at_once);
            let mut some: BTreeSet<i64> = starts[at..end].iter().copied().collect();
            let mut held = held::newest(&self.table, name, plan, &some).await?;
            // A correction that knew more than was read yet.
            let ahead: Vec<i64> =
                held.iter().filter(|(_, of)| !covers(&self.counted, &of.positions)).map(|(start, _)| *start).collect();
            ahead.iter().for_each(|start| drop((some.remove(start), held.remove(start))));
            if !some.is_empty() {
                let Some(windows) = recompute(&self.events, plan, groups, &some, Some(&self.counted)).await? else {
                    at_once = (some.len() / 2).max(1);
                    continue;
                };
                looked.add(plan, &some, windows, held)?;
            }
            looked.waiting += ahead.len() as u64;
            (at, at_once) = (end, AT_ONCE.min(at_once * 2));
        }
        Ok(looked)
    }
}

impl Looked {
    fn add(
        &mut self,
        plan: &Plan,
        starts: &BTreeSet<i64>,
        windows: Vec<WindowRows>,
        mut held: BTreeMap<i64, Held>,
    ) -> Result<(), Error> {
        self.windows += starts.len() as u64;
        for window in windows {
            let start_us = window.start_us;
            let held = held.remove(&start_us);
            self.rows += held.as_ref().map_or(0, |held| held.rows.num_rows() as u64);
            let found = rows::compare(plan, &window, held.as_ref().map(|held| &held.rows)).map_err(held::arrow)?;
            self.sums_only += u64::from(found.sums_only);
            self.different.extend(found.difference.map(|words| (start_us, words)));
        }
        for (start, of) in held {
            self.rows += of.rows.num_rows() as u64;
            self.different.insert(start, format!("{} rows, and events has none for it", of.rows.num_rows()));
        }
        Ok(())
    }
}
