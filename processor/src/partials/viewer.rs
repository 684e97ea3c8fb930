//! Windows as they are now where processors share the partitions: merged from what is in the table already, and from what each
//! processor has open.
//!
//! ```text
//!  somebody looks ─▶ this processor's part (at its next tick) ─┐
//!                    the other ones' parts, over the network  ─┼─▶ merged ─▶ Live
//!                    windows that some are past: partials/NAME ┘
//! ```
use super::encoding;
use super::part::Part;
use super::table::{Partials, Piece};
use crate::fold::{Bounds, Fold, Partial, WindowRows};
use crate::limits::{RECENT_ROWS_MAX, RECENT_WINDOWS};
use crate::live::{Live, Peers, Place, Shown, Watcher, Window};
use crate::rollup::Plan;
use crate::table::RollupTable;
use crate::{Error, telemetry};
use event::clock::Clock;
use futures::future::try_join_all;
use lake::table::{ActiveFile, Error as LakeError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Between two looks whether somebody looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The processor's own part is waited for so long: it makes one each second, unless it waits for log or lake itself.
const OWN_MAX: Duration = Duration::from_secs(3);

/// What is shown.
pub(crate) struct Viewer {
    pub(crate) rollups: Vec<Viewed>,
    pub(crate) live: Arc<Live>,
    pub(crate) peers: Option<Arc<dyn Peers>>,
    pub(crate) partitions: u32,
    pub(crate) groups: Bounds,
    pub(crate) clock: Arc<dyn Clock>,
    /// After the lake did not answer.
    pub(crate) retry: Duration,
}

/// A rollup that is shown.
pub(crate) struct Viewed {
    name: String,
    plan: Arc<Plan>,
    table: RollupTable,
    partials: Partials,
    /// By path of a file, starts of the windows that it has rows of, µs.
    files: BTreeMap<String, BTreeSet<i64>>,
    /// Windows that were closed lately, by start, µs.
    closed: BTreeMap<i64, WindowRows>,
    /// What was merged last.
    last: Option<(Vec<Part>, Option<i64>)>,
}

impl Viewer {
    /// Goes on until it is dropped, which is safe at any point.
    ///
    /// # Errors
    /// [`LakeError::NotDurable`], and a bug: what else can't be shown is said, and tried again.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let mut rollups = std::mem::take(&mut self.rollups);
        try_join_all(rollups.iter_mut().map(|rollup| self.show(rollup))).await.map(|_| ())
    }

    async fn show(&self, rollup: &mut Viewed) -> Result<(), Error> {
        let broken = || Error::Broken(format!("rollup {} is shown nowhere", rollup.name));
        let (whole, own) = self.live.whole(&rollup.name).zip(self.live.part(&rollup.name)).ok_or_else(broken)?;
        loop {
            if !whole.is_wanted(true) {
                sleep(LOOK_EVERY).await;
                continue;
            }
            match self.look(rollup, whole, own.watch()).await {
                Ok(()) => {}
                Err(error @ Error::Lake(LakeError::NotDurable { .. })) => return Err(error),
                Err(error) => {
                    tracing::warn!(rollup = rollup.name, %error, "open windows can't be shown; it is tried again");
                    sleep(self.retry).await;
                }
            }
        }
    }

    async fn look(&self, rollup: &mut Viewed, whole: &Place<Shown>, mut own: Watcher<Part>) -> Result<(), Error> {
        let theirs = async {
            match &self.peers {
                Some(peers) => peers.parts(&rollup.name).await,
                None => Vec::new(),
            }
        };
        let (own, theirs) = tokio::join!(timeout(OWN_MAX, own.next()), theirs);
        // What was shown last stays, and who looks anew is told that nothing comes.
        let Ok(own) = own else { return Ok(()) };
        let parts = distinct(own.as_ref().clone(), theirs.iter().filter_map(|bytes| Part::of_bytes(bytes)));
        // After the parts: what they say was committed is in it.
        let standing = rollup.partials.reload(self.partitions).await?;
        let watermark_us = rollup.table.reached().await?.map(|(watermark_us, _)| watermark_us);
        let now = (parts, watermark_us);
        if !whole.is_wanted(rollup.last.as_ref() != Some(&now)) {
            return Ok(());
        }
        let (parts, _) = rollup.last.insert(now);
        let covered: BTreeSet<u32> = parts.iter().flat_map(Part::partitions).collect();
        let received = parts.iter().filter_map(Part::received).min();
        let closed_to_us = |partition| standing.get(&partition).map_or(i64::MIN, |held| held.closed_to_us);
        let open = rollup.merged(watermark_us, closed_to_us, self.groups).await?;
        let closed = rollup.closed.values().map(|rows| Window { rows: rows.clone(), is_open: false });
        let windows = closed.chain(open.into_iter().map(|rows| Window { rows, is_open: true })).collect();
        let missing = (0..self.partitions).filter(|partition| !covered.contains(partition)).collect();
        let at = self.clock.now();
        whole.show(Shown { at, watermark_us, windows, missing });
        telemetry::shown(received.map(|received| at - received));
        Ok(())
    }
}

/// One part of each partition: its own first. Two processors may both take one for theirs, for a while.
fn distinct(own: Part, theirs: impl Iterator<Item = Part>) -> Vec<Part> {
    let (mut covered, mut parts) = (own.partitions().collect::<BTreeSet<u32>>(), vec![own]);
    for part in theirs {
        if part.partitions().all(|partition| !covered.contains(&partition)) {
            covered.extend(part.partitions());
            parts.push(part);
        }
    }
    parts
}

impl Viewed {
    /// Of a rollup of which nothing was shown yet.
    pub(crate) fn new(name: String, plan: Arc<Plan>, table: RollupTable, partials: Partials) -> Viewed {
        Viewed { name, plan, table, partials, files: BTreeMap::new(), closed: BTreeMap::new(), last: None }
    }

    /// The windows that are open, first to last; those that were closed lately are in `closed` then.
    async fn merged(
        &mut self,
        watermark_us: Option<i64>,
        closed_to_us: impl Fn(u32) -> i64,
        groups: Bounds,
    ) -> Result<Vec<WindowRows>, Error> {
        let (windows, watermark_us) = (self.plan.windows, watermark_us.unwrap_or(i64::MIN));
        let shown_from_us = watermark_us.saturating_sub(windows.recent_us());
        self.closed.retain(|start, _| windows.end(*start) > shown_from_us);
        let files = self.partials.files_after(shown_from_us).await?;
        self.look_into(&files).await?;
        let is_new = |start: &i64| windows.end(*start) > shown_from_us && !self.closed.contains_key(start);
        let mut fold = Fold::new(self.plan.clone(), groups);
        for file in &files {
            let starts: BTreeSet<i64> = self.files[&file.path].iter().copied().filter(is_new).collect();
            if !starts.is_empty() {
                self.partials.pieces_in(file, &starts, |piece| add(&self.plan, &mut fold, piece)).await?;
            }
        }
        for part in self.last.iter().flat_map(|(parts, _)| parts) {
            let added = part.pieces().filter(|piece| part.adds_to(windows.end(piece.start_us), &closed_to_us));
            added.into_iter().try_for_each(|piece| add(&self.plan, &mut fold, piece))?;
        }
        let (closed, open) = fold.look()?.into_iter().partition(|window| window.end_us <= watermark_us);
        self.remember(closed);
        Ok(open)
    }

    /// Looks which windows are in these files, of which each stays as it is.
    async fn look_into(&mut self, files: &[ActiveFile]) -> Result<(), LakeError> {
        let paths: BTreeSet<&String> = files.iter().map(|file| &file.path).collect();
        self.files.retain(|path, _| paths.contains(path));
        for file in files {
            if !self.files.contains_key(&file.path) {
                self.files.insert(file.path.clone(), self.partials.starts_in(file).await?);
            }
        }
        Ok(())
    }

    fn remember(&mut self, closed: Vec<WindowRows>) {
        let with_rows = closed.into_iter().filter(|window| window.rows.num_rows() > 0);
        self.closed.extend(with_rows.map(|window| (window.start_us, window)));
        let rows = |closed: &BTreeMap<i64, WindowRows>| -> usize {
            closed.values().map(|window| window.rows.num_rows()).sum()
        };
        while self.closed.len() > RECENT_WINDOWS || self.closed.len() > 1 && rows(&self.closed) > RECENT_ROWS_MAX {
            self.closed.pop_first();
        }
    }
}

/// What another version has written is left out: its windows are computed from the events when they are closed.
fn add(plan: &Plan, fold: &mut Fold, piece: Piece) -> Result<(), Error> {
    let Piece { start_us, grouped_as_other, groups, .. } = piece;
    let end_us = plan.windows.end(start_us);
    for groups in encoding::decode(plan, &groups).unwrap_or_default() {
        fold.merge(&Partial { start_us, end_us, events: 0, grouped_as_other, groups })?;
    }
    Ok(())
}
