//! Options of the commands that keep the tables.
use super::{date, time_us};
use ::maintenance::replay::CHUNK_ROWS;
use chrono::NaiveDate;
use clap::Args;

pub(super) const COMPACT_HELP: &str = "\
Examples:
  playhead compact --dry-run
  playhead compact --date 2026-11-22

`playhead up` and `playhead sink` do this by themselves for what has lain for compaction.after_ms (6 hours), or sooner where
much came (settings [compaction]). Beside a running node it takes over the table's upkeep, which the node takes back after ten
minutes. SIGKILL is safe at any moment: each date's files are swapped in one commit.";

/// Options of `compact`.
#[derive(Debug, Clone, Args)]
pub struct Compact {
    /// Only this date of the events (UTC).
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    pub date: Option<NaiveDate>,
    /// Only say what lies unsorted.
    #[arg(long)]
    pub dry_run: bool,
}

pub(super) const REPLAY_HELP: &str = "\
Examples:
  playhead replay --all --dry-run
  playhead replay --from-time 2026-11-22T06:00:00Z --to-time 2026-11-22T07:00:00Z
  playhead replay --partition 0 --from-offset 1000 --to-offset 1999
  playhead replay --table dead_letters --all                  only records that have dead letters
  playhead replay --table rollups/audience --from-time 2026-11-22 --wait

Rows and dead letters of those records are replaced by what the log gives now, one commit a chunk, while nodes go on writing;
windows of rollups whose events are others then are computed again. Times are when the log took a record (of a rollup: the
events' own). What the log has no more can't be had again: it is refused, unless --keep-missing lets it stay as it is.
A node that runs is read through its admin address. SIGKILL is safe: the next replay first finishes the one that was killed.";

/// Options of `replay`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("range").required(true).args(["from_offset", "from_time", "all"]))]
pub struct Replay {
    /// events (with their dead letters), dead_letters (only records that have some) or rollups/NAME.
    #[arg(long, default_value = "events")]
    pub table: String,
    /// Records of one partition, from this offset on.
    #[arg(long, value_name = "OFFSET", requires = "partition", conflicts_with_all = ["to_time"])]
    pub from_offset: Option<u64>,
    /// Up to this offset, it included [default: all that the lake has].
    #[arg(long, value_name = "OFFSET", requires = "from_offset", conflicts_with_all = ["all", "from_time"])]
    pub to_offset: Option<u64>,
    /// The partition.
    #[arg(long, requires = "from_offset", conflicts_with_all = ["all", "from_time"])]
    pub partition: Option<u32>,
    /// Records that the log took at or after this: a date (UTC), or a time with its zone (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time_us)]
    pub from_time: Option<i64>,
    /// And before this [default: all that the lake has].
    #[arg(long, value_name = "TIME", value_parser = time_us, requires = "from_time", conflicts_with = "all")]
    pub to_time: Option<i64>,
    /// Everything.
    #[arg(long)]
    pub all: bool,
    /// Leave rows as they are whose records the log has no more.
    #[arg(long)]
    pub keep_missing: bool,
    /// Rows of a commit, about. Each writes the files anew that its rows lay in.
    #[arg(long, value_name = "ROWS", default_value_t = CHUNK_ROWS, value_parser = clap::value_parser!(u64).range(1..))]
    pub chunk_rows: u64,
    /// Only say what would be replaced.
    #[arg(long)]
    pub dry_run: bool,
    /// With rollups/NAME: end when none of those windows waits for the node that keeps it.
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

pub(super) const REBUILD_HELP: &str = "\
Example:
  playhead rebuild --dry-run

All files are written and read back before one commit swaps them in, so the lake needs room for both; readers see the old rows
until then, and older versions of the tables for two days after it. Nodes go on writing. Killed before its commit it has changed
nothing, and the next `replay` or `rebuild` begins it again; `playhead jobs --cancel` gives it up.";

/// Options of `rebuild`.
#[derive(Debug, Clone, Args)]
pub struct Rebuild {
    /// Leave rows as they are whose records the log has no more.
    #[arg(long)]
    pub keep_missing: bool,
    /// Only say what would be replaced.
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `jobs`.
#[derive(Debug, Clone, Args)]
pub struct Jobs {
    /// Give this one up: what it has replayed stays.
    #[arg(long, value_name = "JOB")]
    pub cancel: Option<u64>,
}
