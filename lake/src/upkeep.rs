//! Upkeep away from the flush path: checkpoints, log cleanup, merging of small files, under one lease.
use crate::table::{Error, Table};

/// Settings of upkeep.
#[derive(Debug, Clone)]
pub struct Options {
    /// Commits between checkpoints.
    pub checkpoint_commits: u64,
    /// Files of one date and size class that are merged together.
    pub merge_files_min: usize,
    /// Merged files are about this large; larger ones are left alone.
    pub merge_bytes_max: u64,
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// A checkpoint was written at this version.
    pub checkpoint: Option<u64>,
    /// Small files that were merged, and into how many.
    pub merged_from: usize,
    /// Files that came out.
    pub merged_into: usize,
}

/// One pass over a table: a checkpoint if due, log cleanup, at most one merge commit. Opens its own snapshot; safe
/// beside a sink that commits at the same time. `owner` names this process in the lease.
pub async fn pass(table: &mut Table, options: &Options, now_ms: i64) -> Result<Done, Error> {
    let _ = (table, options, now_ms);
    unimplemented!()
}
