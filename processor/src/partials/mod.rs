//! Partitions that are shared: each processor keeps a part of every window, and the parts are merged when all have theirs.
//!
//! ```text
//!  processor A: partitions 0, 1 ─▶ what its events of a window come to ─┐  one commit: partials, and of each
//!  processor B: partition 2     ─▶ ...                                  ┤  partition W, P, S, D
//!                                                                       ▼
//!                                                           table partials/NAME
//!                                                                       │ windows that all partitions are past
//!                                 who has partition 0 ─▶ closer: merge ─┴─▶ one commit to rollups/NAME: rows, W, P
//! ```
//! Each partition is closed for itself: windows that end at or before *its* W are counted up to *its* P, and what comes for
//! them later is late. So a partition that moves to another processor in the middle of a window is counted once: whoever has
//! it goes on from what the table says of it, and a commit goes only while that still stands. The rollup's W is the smallest
//! of its partitions'. Closing is done from what the tables say alone, and fenced by W: of two that close one is first.
//!
//! A window that is marked late before it is closed is left to the correction.
mod closer;
mod encoding;
mod part;
mod table;

pub(crate) use closer::{Closer, Merged};
pub use part::Part;
pub(crate) use table::{Partials, Piece};
