//! Windows as they are now where processors share the partitions: merged from what is in the table already, and from what each
//! processor has open.
//!
//! ```text
//!  somebody looks ─▶ this processor's part (at its next tick) ─┐
//!                    the other ones' parts, over the network  ─┼─▶ merged ─▶ Live
//!                    windows that some are past: partials/NAME ┘
//! ```
use super::{Live, Part, Peers, Place, Shown, Watcher, Window};
use crate::Error;
use crate::fold::{Bounds, Fold, WindowRows};
use crate::limits::{OPEN_BYTES_MAX, RECENT_ROWS_MAX, RECENT_WINDOWS, SHOWN_WINDOWS_MAX};
use crate::partials::{Partials, Piece};
use crate::rollup::Plan;
use crate::table::RollupTable;
use crate::telemetry::{self, Lasting};
use bytes::Bytes;
use event::clock::{Clock, Micros};
use futures::future::try_join_all;
use lake::table::Error as LakeError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Between two looks whether somebody looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The processor's own part is waited for so long: it makes one each second, unless it waits for log or lake itself.
const OWN_MAX: Duration = Duration::from_secs(3);

/// So long may a partition be missing before it is said: twice what the group takes to notice that a processor is gone.
const MISSING_MAX: Duration = Duration::from_secs(30);

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
    /// Windows that were closed lately, by start, µs; `None`: it is not shown.
    closed: BTreeMap<i64, Option<WindowRows>>,
    /// Answers of other tables, last time.
    foreign: usize,
    /// Some partition is missing.
    missing: Lasting,
    /// What was shown last.
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
                // It takes memory.
                rollup.last = None;
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
        let asked = theirs.len();
        let theirs = decoded(theirs, rollup.partials.id()).await;
        rollup.tell_foreign(asked - theirs.len());
        let parts = distinct(own.as_ref().clone(), theirs);
        // W, then the partials: what is closed is all in them. Both after the parts: what those say was committed is there.
        let watermark_us = rollup.table.reached().await?.map(|(watermark_us, _)| watermark_us);
        let standing = rollup.partials.reload(self.partitions).await?.clone();
        let now = (parts, watermark_us);
        if !whole.is_wanted(rollup.last.as_ref() != Some(&now)) {
            return Ok(());
        }
        let (parts, _) = &now;
        let closed_to_us = |partition| standing.get(&partition).map_or(i64::MIN, |held| held.closed_to_us);
        let at = self.clock.now();
        let look = Look { at, watermark_us: watermark_us.unwrap_or(i64::MIN), groups: self.groups };
        let (open, covered) = rollup.merged(look, parts, closed_to_us).await?;
        let received = parts.iter().filter_map(Part::received).min();
        let closed = rollup.closed.values().flatten().map(|rows| Window { rows: rows.clone(), is_open: false });
        let windows = closed.chain(open.into_iter().map(|rows| Window { rows, is_open: true })).collect();
        let missing: Vec<u32> = (0..self.partitions).filter(|partition| !covered.contains(partition)).collect();
        rollup.tell_missing(&missing);
        whole.show(Shown { at, watermark_us, windows, missing });
        rollup.last = Some(now);
        telemetry::shown(received.map(|received| at - received));
        Ok(())
    }
}

/// When something is looked at.
#[derive(Clone, Copy)]
struct Look {
    at: Micros,
    /// W; `i64::MIN`: nothing was closed yet.
    watermark_us: i64,
    groups: Bounds,
}

/// Those that are parts, of this table: beside the loop, and whatever they are, nothing ends by them.
async fn decoded(parts: Vec<Bytes>, table: String) -> Vec<Part> {
    let decode = move |bytes: Bytes| Part::of_bytes(&bytes).filter(|part| part.is_of(&table));
    let mut decoded = Vec::new();
    for bytes in parts {
        let decode = decode.clone();
        decoded.extend(spawn_blocking(move || decode(bytes)).await.ok().flatten());
    }
    decoded
}

/// One part of each partition: its own first, then who is further. Two processors may both take one for theirs, for a while.
fn distinct(own: Part, mut theirs: Vec<Part>) -> Vec<Part> {
    theirs.sort_by_key(|part| std::cmp::Reverse(part.furthest_us()));
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
        Viewed {
            name,
            plan,
            table,
            partials,
            closed: BTreeMap::new(),
            foreign: 0,
            missing: Lasting::default(),
            last: None,
        }
    }

    /// Says, once, that answers are of other tables: peers of another lake, or no processors at all.
    fn tell_foreign(&mut self, answers: usize) {
        if answers > 0 && self.foreign == 0 {
            let rollup = &self.name;
            tracing::warn!(rollup, answers, "live.peers: answers that are no parts of this lake's rollup are left out");
        }
        self.foreign = answers;
    }

    /// Says, once, that a partition is missing for longer than it takes somebody to get it.
    fn tell_missing(&mut self, missing: &[u32]) {
        if self.missing.is_to_be_told(!missing.is_empty(), MISSING_MAX) {
            let rollup = &self.name;
            tracing::warn!(rollup, partitions = ?missing, "open windows are shown without these partitions: nobody in live.peers \
                has them. Does it name all processors?");
        }
    }

    /// The windows that are open, first to last, and which partitions are in them; those that were closed lately are in `closed`
    /// then. Of many the newest are taken that have begun.
    async fn merged(
        &mut self,
        look: Look,
        parts: &[Part],
        closed_to_us: impl Fn(u32) -> i64,
    ) -> Result<(Vec<WindowRows>, BTreeSet<u32>), Error> {
        let windows = self.plan.windows;
        let shown_from_us = look.watermark_us.saturating_sub(windows.recent_us());
        self.closed.retain(|start, _| windows.end(*start) > shown_from_us);
        let files = self.partials.files_after(shown_from_us).await?;
        let is_new =
            |start: &i64| windows.end(*start) > shown_from_us && *start <= look.at && !self.closed.contains_key(start);
        let in_parts = parts.iter().flat_map(Part::starts);
        let mut starts: BTreeSet<i64> = self.partials.starts_in(&files).await?.into_iter().chain(in_parts).collect();
        starts.retain(is_new);
        while starts.len() > SHOWN_WINDOWS_MAX {
            starts.pop_first();
        }
        let mut fold = Fold::new(self.plan.clone(), look.groups);
        let add_piece = |piece: Piece| add(&self.plan, &mut fold, piece).map(drop);
        self.partials.pieces_in(&files, &starts, add_piece).await?;
        let mut covered = BTreeSet::new();
        for part in parts {
            let added = part.pieces().filter(|piece| starts.contains(&piece.start_us));
            let mut added = added.filter(|piece| part.adds_to(windows.end(piece.start_us), &closed_to_us));
            if added.try_fold(true, |whole, piece| Ok::<_, Error>(add(&self.plan, &mut fold, piece)? && whole))? {
                covered.extend(part.partitions());
            }
        }
        let (closed, open) = fold.look()?.into_iter().partition(|window| window.end_us <= look.watermark_us);
        self.remember(closed).await?;
        Ok((open, covered))
    }

    /// Keeps those that are in the rollup's table as they were merged: not one that was left to the correction, or corrected.
    async fn remember(&mut self, closed: Vec<WindowRows>) -> Result<(), LakeError> {
        if closed.is_empty() {
            return Ok(());
        }
        let starts: BTreeSet<i64> = closed.iter().map(|window| window.start_us).collect();
        let latest = self.table.latest(&starts).await?;
        for window in closed {
            let is_whole = latest.get(&window.start_us).is_some_and(|latest| latest.revision == 1);
            self.closed.insert(window.start_us, Some(window).filter(|_| is_whole));
        }
        // The newest that are not too many.
        let (mut windows, mut rows) = (0, 0);
        for held in self.closed.values_mut().rev() {
            if let Some(window) = held {
                (windows, rows) = (windows + 1, rows + window.rows.num_rows());
                if windows > RECENT_WINDOWS || windows > 1 && rows > RECENT_ROWS_MAX {
                    *held = None;
                }
            }
        }
        Ok(())
    }
}

/// False: another version has written it, and it is left out. Its window is computed from the events when it is closed.
fn add(plan: &Plan, fold: &mut Fold, piece: Piece) -> Result<bool, Error> {
    if piece.merge_into(plan, fold)?.is_err() {
        return Ok(false);
    }
    // As where one processor has all of it.
    while fold.bytes() > OPEN_BYTES_MAX && fold.shrink()? {}
    Ok(true)
}
