//! Rollups: SQL over events, kept window by window as the log is read.
//!
//! ```text
//!  [[rollup]] ─▶ Definition ─▶ Plan: what is done below, in and above the one aggregate
//!                                │
//!  batch of events ─▶ below: filters, projections ─▶ keys and arguments ─▶ open windows ─▶ above ─▶ rows
//!                                                        (fold)             by start      (close, look)
//! ```
//! Promise: what a window shows is what the same SQL gives over the same events in one batch: equal where aggregates are
//! exact, up to rounding where they add floats, within the stated error where they are sketches ([`functions`]). A window
//! of which the SQL filters every event out shows no row.
//!
//! - [`rollup`]: what is configured, and how SQL is checked and taken apart.
//! - [`functions`]: the aggregates of our own, whose states merge and can be read by others.
//! - [`fold`]: the open windows of a rollup.
//! - [`windows`]: which windows an event is in. [`watermark`]: when they close. [`recovery`]: what was counted already.
//!
//! DataFusion parses, plans, evaluates expressions and keeps the accumulators; what it has no notion of is a window that
//! stays open between batches. Not here: where batches come from, and where rows go.
pub mod fold;
pub mod functions;
pub mod limits;
pub mod recovery;
pub mod rollup;
pub mod watermark;
pub mod windows;
