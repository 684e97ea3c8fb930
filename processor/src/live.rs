//! Windows as they are now, for who looks: made when somebody asks, at most once a tick.
//!
//! ```text
//!  who looks ─▶ Watcher: "asked" ─▶ next tick: open windows' rows are made ─▶ Shown ─▶ every watcher of that rollup
//! ```
//! Nobody looks: nothing is made. Nothing has changed: nothing is made again.
use crate::fold::WindowRows;
use crate::rollup::Definition;
use event::clock::Micros;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::watch;

/// One window of a rollup.
#[derive(Debug, Clone)]
pub struct Window {
    /// Its rows, as they are now.
    pub rows: WindowRows,
    /// Whether it still takes events; one that does not is in the lake.
    pub is_open: bool,
}

/// A rollup as it is now.
#[derive(Debug, Clone)]
pub struct Shown {
    /// When this was made.
    pub at: Micros,
    /// Windows that end at or before it are closed, µs; `None`: nothing was read yet.
    pub watermark_us: Option<i64>,
    /// Those closed lately and those that are open, first to last.
    pub windows: Vec<Window>,
}

/// Where the processor shows its rollups.
#[derive(Debug)]
pub struct Live {
    rollups: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    name: String,
    watchers: AtomicUsize,
    asked: AtomicBool,
    shown: watch::Sender<Option<Arc<Shown>>>,
}

impl Live {
    /// A place for each rollup.
    pub fn new(rollups: &[Definition]) -> Arc<Live> {
        let place = |rollup: &Definition| Place {
            name: rollup.name.clone(),
            watchers: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            shown: watch::Sender::new(None),
        };
        Arc::new(Live { rollups: rollups.iter().map(place).collect() })
    }

    /// Names of the rollups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rollups.iter().map(|place| place.name.as_str())
    }

    /// Begins to watch a rollup; `None`: there is none of that name.
    pub fn watch(self: &Arc<Self>, rollup: &str) -> Option<Watcher> {
        let index = self.rollups.iter().position(|place| place.name == rollup)?;
        let place = &self.rollups[index];
        let mut shown = place.shown.subscribe();
        shown.mark_unchanged();
        place.watchers.fetch_add(1, Ordering::Relaxed);
        place.asked.store(true, Ordering::Relaxed);
        Some(Watcher { live: self.clone(), index, shown })
    }

    /// Whether somebody wants to see it: at once, or when it has changed.
    pub(crate) fn is_wanted(&self, index: usize, has_changed: bool) -> bool {
        self.rollups.get(index).is_some_and(|place| {
            place.asked.load(Ordering::Relaxed) || has_changed && place.watchers.load(Ordering::Relaxed) > 0
        })
    }

    pub(crate) fn show(&self, index: usize, shown: Shown) {
        if let Some(place) = self.rollups.get(index) {
            place.asked.store(false, Ordering::Relaxed);
            place.shown.send_replace(Some(Arc::new(shown)));
        }
    }
}

/// Somebody who looks at a rollup, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    live: Arc<Live>,
    index: usize,
    shown: watch::Receiver<Option<Arc<Shown>>>,
}

impl Watcher {
    /// How it is now, the first time; then each time that it has changed. It waits for as long as the processor does not
    /// come to it.
    pub async fn next(&mut self) -> Arc<Shown> {
        loop {
            // The sender lives as long as `live`.
            let _ = self.shown.changed().await;
            if let Some(shown) = self.shown.borrow_and_update().clone() {
                return shown;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.live.rollups[self.index].watchers.fetch_sub(1, Ordering::Relaxed);
    }
}
