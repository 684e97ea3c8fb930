//! `playhead replay`, `playhead rebuild`: rows of the lake, made again from the log.
use super::jobs::{in_words, refuse_if_alive, this_process};
use super::{Context, Error, Outcome};
use crate::cli;
use crate::clock::{SystemClock, rfc3339};
use crate::log_source::{self, LogSource};
use crate::rewritten;
use crate::storage::Storage;
use crate::terminal;
use async_trait::async_trait;
use event::clock::Clock;
use lake::table::{Error as LakeError, Table};
use lake::tables::{REWRITES, ended_us};
use log::Entry;
use maintenance::replay::{self, Asked, CHUNK_ROWS, Job, Kind, Parts, Plan, Records, Replay};
use processor::rewritten::Rewritten;
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where no window was computed for so long, it is said why that may be.
const SILENT: Duration = Duration::from_secs(10);

/// No window is longer, and each hour begins one.
const HOUR_US: i64 = 3_600_000_000;

/// Replays what is asked for.
pub async fn run(context: &Context, options: cli::Replay) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let asked = match (options.from_offset, options.partition, options.from_time) {
        (Some(from), Some(partition), _) => Asked::Offsets { partition, from, to: options.to_offset },
        (_, _, Some(from_us)) => Asked::Times { from_us, to_us: options.to_time },
        _ => Asked::All,
    };
    let is_reversed = match asked {
        Asked::Offsets { from, to, .. } => to.is_some_and(|to| to < from),
        Asked::Times { from_us, to_us } => to_us.is_some_and(|to_us| to_us <= from_us),
        Asked::All => false,
    };
    if is_reversed {
        return Err("the range ends before it begins".into());
    }
    let dead_letters_only = match options.table.as_str() {
        "events" => false,
        "dead_letters" => true,
        table => match table.strip_prefix("rollups/") {
            Some(rollup) => return rollup_again(context, rollup, &asked, &options).await,
            None => return Err(format!("--table {table}: there are events, dead_letters and rollups/NAME").into()),
        },
    };
    if options.wait {
        return Err("--wait is for --table rollups/NAME: a replay of rows ends when they are there".into());
    }
    let wanted = Wanted { asked, kind: Kind::Replay, dead_letters_only, chunk_rows: options.chunk_rows };
    replayed(context, &wanted, options.keep_missing, options.dry_run).await
}

/// Replays everything in one commit.
pub async fn rebuild(context: &Context, options: cli::Rebuild) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let wanted = Wanted { asked: Asked::All, kind: Kind::Rebuild, dead_letters_only: false, chunk_rows: CHUNK_ROWS };
    replayed(context, &wanted, options.keep_missing, options.dry_run).await
}

struct Wanted {
    asked: Asked,
    kind: Kind,
    dead_letters_only: bool,
    chunk_rows: u64,
}

async fn replayed(context: &Context, wanted: &Wanted, keep_missing: bool, dry_run: bool) -> Result<Outcome, Error> {
    let storage = context.look()?;
    let log = LogSource::open(&storage.log).await?;
    let done = with_log(context, &storage, &log, wanted, (keep_missing, dry_run)).await;
    log.close().await;
    done
}

async fn with_log(
    context: &Context,
    storage: &Storage,
    log: &LogSource,
    wanted: &Wanted,
    (keep_missing, dry_run): (bool, bool),
) -> Result<Outcome, Error> {
    let lake = storage.lake.tables();
    let (Some(events), Some(dead_letters)) = (Table::open(&lake.events).await?, Table::open(&lake.dead_letters).await?)
    else {
        return Err("there is no table events in this lake: no sink has brought any event there".into());
    };
    let parts = Parts {
        events,
        dead_letters,
        records: &Source(log),
        cluster: log.cluster().to_owned(),
        topic: log.topic().to_owned(),
        bounds: context.config.events.bounds(),
        windows: rewritten::windows(storage),
        clock: Arc::new(SystemClock),
        process: this_process(),
    };
    let mut replay = Replay::new(parts).await?;
    let unfinished = replay.unfinished().await?;
    if let Some(job) = unfinished.filter(|_| !dry_run) {
        refuse_if_alive(&job)?;
        terminal::note(format_args!(
            "job {} is unfinished, and is finished first (`playhead jobs --cancel {}` gives it up)",
            job.id, job.id
        ));
        let done = brought_to_end(&mut replay, Ok(job)).await?;
        terminal::note(in_words(&done, SystemClock.now()));
    }
    let limits = (wanted.chunk_rows, keep_missing);
    let plan = replay.plan(&wanted.asked, wanted.kind, wanted.dead_letters_only, limits).await?;
    say_plan(&plan, context.common.json && dry_run);
    if dry_run || plan.job.ranges.is_empty() {
        return Ok(Outcome::Right);
    }
    let done = brought_to_end(&mut replay, Err(&plan)).await?;
    match context.common.json {
        true => terminal::say_json(&json!(done)),
        false => terminal::say(in_words(&done, SystemClock.now())),
    }
    if done.seconds_changed > 0 {
        terminal::note(
            "rollups' windows of those events are computed again by the node that keeps them (table late_windows)",
        );
    }
    Ok(Outcome::Right)
}

/// A job that was begun before, or one that begins now.
async fn brought_to_end(replay: &mut Replay<'_>, job: Result<Job, &Plan>) -> Result<Job, Error> {
    let bar = terminal::progress(0, "replay");
    let progress = |job: &Job, offsets: u64, of: u64| {
        bar.set_length(of);
        bar.set_position(offsets);
        bar.set_message(format!("{} rows", job.rows_after));
    };
    let ended = match job {
        Ok(job) => replay.finish(job, &progress).await,
        Err(plan) => replay.begin(plan, &progress).await,
    };
    bar.finish_and_clear();
    ended.map_err(|error| match error {
        replay::Error::Log(_) | replay::Error::Lake(lake::table::Error::Unavailable(_)) => {
            format!("{error}. What was replayed stays: run `playhead replay` again, and it goes on from there").into()
        }
        error => error.into(),
    })
}

fn say_plan(plan: &Plan, as_json: bool) {
    if as_json {
        let kept = plan
            .kept
            .iter()
            .map(|kept| json!({ "partition": kept.partition, "offsets": kept.offsets, "reason": kept.reason }));
        let kept: Vec<_> = kept.collect();
        terminal::say_json(&json!({
            "ranges": plan.job.ranges, "rows": plan.rows, "dead_letters": plan.dead_letters, "kept": kept,
        }));
        return;
    }
    for kept in &plan.kept {
        let Range { start, end } = kept.offsets;
        terminal::note(format_args!(
            "partition {}: offsets {start}..{end} stay as they are: {}",
            kept.partition, kept.reason
        ));
    }
    if plan.job.ranges.is_empty() {
        terminal::note("there is nothing in that range");
        return;
    }
    let ranges: Vec<String> = plan
        .job
        .ranges
        .iter()
        .map(|(partition, range)| format!("{} to {} of partition {partition}", range.start, range.end - 1))
        .collect();
    terminal::note(format_args!(
        "{} rows and {} dead letters, as the tables have them now, are made again of offsets {}",
        plan.rows,
        plan.dead_letters,
        ranges.join(", ")
    ));
}

/// A rollup's windows are made of `events`: they are marked, and computed again by the node that keeps them.
async fn rollup_again(context: &Context, rollup: &str, asked: &Asked, options: &cli::Replay) -> Result<Outcome, Error> {
    let (from_us, to_us) = match asked {
        Asked::Times { from_us, to_us } => (*from_us, to_us.unwrap_or(i64::MAX)),
        Asked::All => (i64::MIN, i64::MAX),
        Asked::Offsets { .. } => {
            return Err("a rollup's windows are of the events' times: give --from-time, or --all".into());
        }
    };
    let storage = context.look()?;
    let known = storage.lake.rollups().rollups.folders().await?;
    if !known.iter().any(|name| name == rollup) {
        return Err(format!("--table rollups/{rollup}: there are {}", known.join(", ")).into());
    }
    let Some(events) = Table::open(&storage.lake.tables().events).await? else {
        return Err("there is no table events in this lake: no sink has brought any event there".into());
    };
    // Windows from before the first event that is left would become empty.
    let first_us = events.first_time("event_time").await?.map_or(i64::MAX, |first| first.div_euclid(HOUR_US) * HOUR_US);
    let starts = from_us.max(first_us).max(ended_us(&events).await?)..to_us;
    if options.dry_run {
        terminal::say(format_args!(
            "windows of {rollup} that begin at {} or later{}, and are closed, are computed again",
            rfc3339(starts.start).unwrap_or_default(),
            rfc3339(starts.end).map_or(String::new(), |end| format!(" and before {end}"))
        ));
        return Ok(Outcome::Right);
    }
    let awaits = events.txn(REWRITES).await?.unwrap_or(0);
    let mut windows = Rewritten::new(storage.lake.rollups());
    let marked_at = SystemClock.now();
    let marked = windows.mark_rollup(rollup, starts.clone(), awaits, marked_at).await;
    let marked = marked.map_err(|error| match error {
        processor::Error::TooManyLate => {
            let reason = "more windows would wait to be computed than late_windows has room for";
            Error::from(format!(
                "{rollup}: {reason}, and none is marked: give --from-time and --to-time, a part at a time"
            ))
        }
        other => other.into(),
    })?;
    if options.wait {
        until_none_waits(marked as u64, async || windows.waiting(rollup, &starts, marked_at).await).await?;
    }
    match (context.common.json, options.wait) {
        (true, _) => terminal::say_json(&json!({ "windows": marked })),
        (false, false) => terminal::say(format_args!(
            "{marked} windows of {rollup} wait to be computed again by the node that keeps it (table late_windows)"
        )),
        (false, true) => terminal::say(format_args!(
            "{marked} windows of {rollup} were to be computed again, and none waits any more"
        )),
    }
    Ok(Outcome::Right)
}

/// Looks each second how many are `waiting`, until none is.
async fn until_none_waits(
    marked: u64,
    mut waiting: impl AsyncFnMut() -> Result<usize, LakeError>,
) -> Result<(), Error> {
    let bar = terminal::progress(marked, "windows");
    let (mut fewest, mut since) = (usize::MAX, Instant::now());
    loop {
        match waiting().await {
            Ok(0) => break,
            Ok(waiting) => {
                bar.set_position(marked.saturating_sub(waiting as u64));
                if waiting < fewest || since.elapsed() > SILENT {
                    if waiting >= fewest {
                        terminal::note(format_args!(
                            "{waiting} windows wait on. A node has to run that keeps the rollup; one that was corrected often waits ten minutes"
                        ));
                    }
                    (fewest, since) = (fewest.min(waiting), Instant::now());
                }
            }
            // They are marked: it may be seen a second later as well.
            Err(LakeError::Unavailable(reason)) => tracing::warn!(reason, "can't look which windows wait"),
            Err(other) => return Err(other.into()),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bar.finish_and_clear();
    Ok(())
}

/// The log as a replay reads it.
struct Source<'a>(&'a LogSource);

#[async_trait(?Send)]
impl Records for Source<'_> {
    async fn bounds(&self) -> Result<Vec<Range<u64>>, replay::Error> {
        self.0.bounds().await.map_err(failed)
    }

    async fn read(&self, partition: u32, offset: u64) -> Result<Vec<Entry>, replay::Error> {
        self.0.read(partition, offset).await.map_err(failed)
    }
}

fn failed(error: log_source::Error) -> replay::Error {
    replay::Error::Log(error.to_string())
}
