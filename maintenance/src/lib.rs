//! Keeps the tables good for years: sorted files of one size, each event once whatever lies between its copies, rows made again
//! from the log (`replay`), old dates ended (`retention`).
//!
//! Promise: never a row lost or doubled. A compaction is one commit that goes only while every file that it removes is
//! active and the maintenance lease is still this process's; what a sink appends meanwhile stays. A row goes only when another
//! row of the same key, with a lower place in the log, stays.
//!
//! ```text
//!  files of a date ─▶ plan: what lies unsorted ─▶ copies: the same key, here or a day beside ─▶ windows of theirs: marked
//!                                                                                                     │
//!        one commit {removes, adds, fence: epoch, rewrites + 1} ◀── sort by title, hour, session ◀────┘
//! ```
//!
//! Not for: merging small files in the log's order, checkpoints, deletion of replaced files (`lake` upkeep, under whose lease
//! this runs); copies within the dedup window (the sink drops them); rollups (who keeps them computes marked windows again).
mod compaction;
mod content;
mod copies;
mod limits;
mod ranges;
pub mod replay;
pub mod retention;
mod rewrite;
mod telemetry;
mod windows;

pub use compaction::{Compacted, Compaction, Config, NO_ROOM, Scope, Step, Unsorted, unsorted};
pub use content::Content;
pub use limits::Bounds;
pub use ranges::Ranges;
pub use telemetry::describe;
pub use windows::Windows;
