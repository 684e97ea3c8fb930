//! The open windows of a rollup: batches go in, rows come out when a window closes or when somebody looks.
//!
//! DataFusion's own accumulators are the state: a batch is added to them in place, whatever is open, so what it costs does
//! not grow with what is held. They give their states away when asked; who looks merges these into new ones.
mod groups;

use crate::limits::{GROUPS_MAX, OPEN_WINDOWS_MAX};
use crate::rollup::{Evaluated, Plan};
use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use datafusion::common::Result;
use groups::Groups;
pub(crate) use groups::OTHER;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Groups of a window; of more the smallest are put together as `(other)`.
    pub groups_max: usize,
    /// Open windows of a rollup; events of more are marked as late ones are, and counted when the window is corrected.
    pub windows_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { groups_max: GROUPS_MAX, windows_max: OPEN_WINDOWS_MAX }
    }
}

/// Rows of one window.
#[derive(Debug, Clone)]
pub struct WindowRows {
    /// Its start, µs.
    pub start_us: i64,
    /// The first moment after it, µs.
    pub end_us: i64,
    /// Events that were folded into it.
    pub events: u64,
    /// Groups that were put together as `(other)`.
    pub grouped_as_other: u64,
    /// Values of the rows that are null since their expression failed on what was aggregated.
    pub failed: u64,
    /// What the SQL makes; of a closed window with the states of its sketches behind ([`Plan::states`]).
    pub rows: RecordBatch,
}

impl WindowRows {
    /// What the SQL makes alone.
    #[must_use]
    pub fn without_states(mut self, plan: &Plan) -> WindowRows {
        let made: Vec<usize> = (0..plan.output().fields().len()).collect();
        let Ok(rows) = self.rows.project(&made) else { unreachable!("what the SQL makes is there in every case") };
        self.rows = rows;
        self
    }
}

/// What some of a window's events come to: those of some partitions. Parts of a window merge to what all of them come to.
#[derive(Debug, Clone)]
pub struct Partial {
    /// The window's start, µs.
    pub start_us: i64,
    /// The first moment after it, µs.
    pub end_us: i64,
    /// Events that were folded into it.
    pub events: u64,
    /// Groups that were put together as `(other)`.
    pub grouped_as_other: u64,
    /// Keys, how many events each has, and the states of their accumulators ([`partial_schema`]).
    pub groups: RecordBatch,
}

/// Columns of a partial's groups.
pub fn partial_schema(plan: &Plan) -> Result<SchemaRef> {
    groups::partial_schema(plan)
}

/// A rollup's open windows.
pub struct Fold {
    plan: Arc<Plan>,
    bounds: Bounds,
    /// By start, µs.
    open: BTreeMap<i64, Groups>,
}

impl Fold {
    /// Without an open window.
    pub fn new(plan: Arc<Plan>, bounds: Bounds) -> Self {
        Fold { plan, bounds, open: BTreeMap::new() }
    }

    /// Adds the rows of which `is_open` says so, and opens windows as it needs to. It is asked once a window of these rows:
    /// by its start (µs), and how many they are.
    pub fn fold(&mut self, rows: &Evaluated, mut is_open: impl FnMut(i64, usize) -> bool) -> Result<()> {
        let windows = self.plan.windows;
        for back in 0..windows.of_event() {
            let starts: Vec<i64> = rows.times.iter().map(|time| windows.start(*time, back)).collect();
            let Some(first) = starts.first() else { return Ok(()) };
            // Nearly all batches are of one window.
            if starts.iter().all(|start| start == first) {
                if is_open(*first, starts.len()) {
                    self.groups(*first)?.add(rows)?;
                }
                continue;
            }
            let mut of_windows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            starts.iter().enumerate().for_each(|(row, start)| of_windows.entry(*start).or_default().push(row as u32));
            for (start, of_window) in of_windows {
                if is_open(start, of_window.len()) {
                    self.groups(start)?.add(&rows.rows(&UInt32Array::from(of_window))?)?;
                }
            }
        }
        Ok(())
    }

    fn groups(&mut self, start: i64) -> Result<&mut Groups> {
        use std::collections::btree_map::Entry;
        Ok(match self.open.entry(start) {
            Entry::Occupied(groups) => groups.into_mut(),
            Entry::Vacant(place) => place.insert(Groups::new(self.plan.clone(), self.bounds)?),
        })
    }

    /// The windows that end at or before the watermark, first to last; they are open no more, also when this fails.
    pub fn close(&mut self, watermark_us: i64) -> Result<Vec<WindowRows>> {
        let closed = |(start_us, end_us, groups): (i64, i64, Groups)| {
            let (events, grouped_as_other) = (groups.events(), groups.grouped_as_other());
            let (rows, failed) = groups.finish()?;
            Ok(WindowRows { start_us, end_us, events, grouped_as_other, failed, rows })
        };
        self.complete(watermark_us).map(closed).collect()
    }

    /// Start and end (µs) and the groups of each window that ends at or before the watermark, first to last: all are taken.
    fn complete(&mut self, watermark_us: i64) -> impl Iterator<Item = (i64, i64, Groups)> + use<> {
        let windows = self.plan.windows;
        let taken: Vec<(i64, Groups)> =
            self.open.extract_if(.., |start, _| windows.end(*start) <= watermark_us).collect();
        taken.into_iter().map(move |(start_us, groups)| (start_us, windows.end(start_us), groups))
    }

    /// The same windows, each as what can be merged with others' parts of it.
    pub fn close_partials(&mut self, watermark_us: i64) -> Result<Vec<Partial>> {
        let closed = |(start_us, end_us, groups): (i64, i64, Groups)| {
            let (events, grouped_as_other) = (groups.events(), groups.grouped_as_other());
            Ok(Partial { start_us, end_us, events, grouped_as_other, groups: groups.into_partial()? })
        };
        self.complete(watermark_us).map(closed).collect()
    }

    /// The open windows as they are now, each as what can be merged; they stay open.
    pub fn look_at_partials(&mut self) -> Result<Vec<Partial>> {
        let windows = self.plan.windows;
        let partial = |(start, groups): (&i64, &mut Groups)| {
            let (events, grouped_as_other) = (groups.events(), groups.grouped_as_other());
            let (start_us, end_us, groups) = (*start, windows.end(*start), groups.partial()?);
            Ok(Partial { start_us, end_us, events, grouped_as_other, groups })
        };
        self.open.iter_mut().map(partial).collect()
    }

    /// Adds what others came to, to a window that is opened if it is not.
    pub fn merge(&mut self, partial: &Partial) -> Result<()> {
        self.groups(partial.start_us)?.merge(&partial.groups, partial.grouped_as_other)
    }

    /// The open windows as they are now, first to last; they stay open.
    pub fn look(&mut self) -> Result<Vec<WindowRows>> {
        let windows = self.plan.windows;
        self.open.iter_mut().map(|(start, groups)| look(groups, *start, windows.end(*start))).collect()
    }

    /// Puts groups of the largest window together, until half of them are left; false: no window has more than one beside
    /// `(other)`.
    pub fn shrink(&mut self) -> Result<bool> {
        let largest = self.open.values_mut().filter(|groups| groups.len() > 2).max_by_key(|groups| groups.bytes());
        largest.map_or(Ok(false), |groups| groups.shrink().map(|()| true))
    }

    /// How many windows are open.
    pub fn windows(&self) -> usize {
        self.open.len()
    }

    /// How many groups they hold.
    pub fn held(&self) -> usize {
        self.open.values().map(Groups::len).sum()
    }

    /// Memory that they take, bytes.
    pub fn bytes(&self) -> usize {
        self.open.values().map(Groups::bytes).sum()
    }
}

fn look(groups: &mut Groups, start_us: i64, end_us: i64) -> Result<WindowRows> {
    let (events, grouped_as_other) = (groups.events(), groups.grouped_as_other());
    let (rows, failed) = groups.rows()?;
    Ok(WindowRows { start_us, end_us, events, grouped_as_other, failed, rows })
}
