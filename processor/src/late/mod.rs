//! Events that come after their window was closed: marked durably, then corrected from the lake.
//!
//! ```text
//!  record ─▶ late events (kept) ─▶ marks: the table late_windows ─▶ P may move past them
//!                                      │ read again and again
//!  events, as the sink has them ─▶ correction: the window anew, by the same SQL ─▶ rollups/NAME, revision + 1 ─▶ unmarked
//! ```
//! A mark says that a window is to be computed again from an `events` that holds everything below its positions. It may
//! be made twice and never harms: the correction looks at the window's newest revision, and a mark whose positions that
//! one covers is only cleared. So neither table needs a fence for marks, and a kill between any two steps is healed by
//! the next pass.
//!
//! Rows of `events` change long after, too: compaction removes copies. Who does that marks their windows first ([`rewritten`]).
pub mod backfill;
mod correction;
mod marks;
mod reached;
mod recompute;
pub mod rewritten;

pub(crate) use correction::{Corrected, Corrector};
pub(crate) use marks::{LateWindows, Mark, Marks, marks};
pub(crate) use reached::Reached;
pub(crate) use recompute::recompute;
pub(crate) use rewritten::kept;
