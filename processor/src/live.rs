//! Windows as they are now, for who looks: made when somebody asks, at most once a tick.
//!
//! ```text
//!  who looks ─▶ Watcher: "asked" ─▶ next tick: open windows' rows are made ─▶ Shown ─▶ every watcher of that rollup
//! ```
//! Nobody looks: nothing is made. Nothing has changed: nothing is made again.
//!
//! Where processors share the partitions each makes its [`Part`] instead, whenever it is asked for, and who is looked at merges
//! those of all (`live/viewer`).
use crate::fold::WindowRows;
pub use crate::partials::Part;
use crate::rollup::Definition;
use async_trait::async_trait;
use bytes::Bytes;
use event::clock::Micros;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::watch;

mod viewer;

pub(crate) use viewer::{Viewed, Viewer};

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
    /// Partitions that are not in the open windows, or not whole: whoever has them does not answer, or reads them again.
    pub missing: Vec<u32>,
}

/// The other processors of those that share the partitions.
#[async_trait]
pub trait Peers: Send + Sync {
    /// Of each that answers within a second or two, what it has open of a rollup: [`Part::to_bytes`]. One may be this processor itself.
    async fn parts(&self, rollup: &str) -> Vec<Bytes>;
}

/// Where the processor shows its rollups.
#[derive(Debug)]
pub struct Live {
    rollups: Vec<Rollup>,
}

#[derive(Debug)]
struct Rollup {
    name: String,
    whole: Arc<Place<Shown>>,
    part: Arc<Place<Part>>,
}

/// Where something is shown to who looks.
#[derive(Debug)]
pub(crate) struct Place<T> {
    watchers: AtomicUsize,
    asked: AtomicBool,
    shown: watch::Sender<Option<Arc<T>>>,
}

impl<T> Place<T> {
    fn new() -> Arc<Self> {
        let (watchers, asked) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Place { watchers, asked, shown: watch::Sender::new(None) })
    }

    pub(crate) fn watch(self: &Arc<Self>) -> Watcher<T> {
        let mut shown = self.shown.subscribe();
        shown.mark_unchanged();
        self.watchers.fetch_add(1, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        Watcher { place: self.clone(), shown }
    }

    /// Whether somebody wants to see it: at once, or when it has changed.
    pub(crate) fn is_wanted(&self, has_changed: bool) -> bool {
        self.asked.load(Ordering::Relaxed) || has_changed && self.watchers.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn show(&self, shown: T) {
        self.asked.store(false, Ordering::Relaxed);
        self.shown.send_replace(Some(Arc::new(shown)));
    }
}

impl Live {
    /// A place for each rollup.
    pub fn new(rollups: &[Definition]) -> Arc<Live> {
        let rollup = |rollup: &Definition| {
            let (whole, part) = (Place::new(), Place::new());
            Rollup { name: rollup.name.clone(), whole, part }
        };
        Arc::new(Live { rollups: rollups.iter().map(rollup).collect() })
    }

    /// Names of the rollups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rollups.iter().map(|rollup| rollup.name.as_str())
    }

    fn rollup(&self, name: &str) -> Option<&Rollup> {
        self.rollups.iter().find(|rollup| rollup.name == name)
    }

    /// Begins to watch a rollup; `None`: there is none of that name.
    pub fn watch(&self, rollup: &str) -> Option<Watcher> {
        self.rollup(rollup).map(|rollup| rollup.whole.watch())
    }

    /// Begins to watch what this processor has of a rollup; `None`: there is none of that name. Nothing is shown where it does
    /// not share the partitions with others.
    pub fn watch_part(&self, rollup: &str) -> Option<Watcher<Part>> {
        self.rollup(rollup).map(|rollup| rollup.part.watch())
    }

    pub(crate) fn whole(&self, rollup: &str) -> Option<&Arc<Place<Shown>>> {
        self.rollup(rollup).map(|rollup| &rollup.whole)
    }

    pub(crate) fn part(&self, rollup: &str) -> Option<&Arc<Place<Part>>> {
        self.rollup(rollup).map(|rollup| &rollup.part)
    }
}

/// Somebody who looks at a rollup, until it is dropped.
#[derive(Debug)]
pub struct Watcher<T = Shown> {
    place: Arc<Place<T>>,
    shown: watch::Receiver<Option<Arc<T>>>,
}

impl<T> Watcher<T> {
    /// How it is now, the first time; then each time that it has changed. It waits for as long as the processor does not
    /// come to it.
    pub async fn next(&mut self) -> Arc<T> {
        loop {
            // The sender lives as long as `place`.
            let _ = self.shown.changed().await;
            if let Some(shown) = self.shown.borrow_and_update().clone() {
                return shown;
            }
        }
    }
}

impl<T> Drop for Watcher<T> {
    fn drop(&mut self) {
        // It takes memory, and who comes next asks anew.
        if self.place.watchers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.place.shown.send_replace(None);
        }
    }
}
