//! `playhead jobs`: replays and rebuilds of this lake.
use super::{Context, Error, Outcome};
use crate::cli;
use crate::clock::{SystemClock, rfc3339};
use crate::terminal;
use event::clock::Clock;
use lake::table::Table;
use maintenance::replay::{Job, Jobs, Kind, State, give_back};
use serde_json::{Value, json};
use std::path::Path;

/// Lists them, or gives one up.
pub async fn run(context: &Context, options: cli::Jobs) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let storage = context.look()?;
    let lake = storage.lake.tables();
    let Some(mut events) = Table::open(&lake.events).await? else {
        return Err("there is no table events in this lake: nothing was ever replayed".into());
    };
    let jobs = Jobs::of(&events);
    let now = SystemClock.now();
    if let Some(id) = options.cancel {
        if let Some(job) = jobs.all().await?.iter().find(|job| job.id == id && job.is_unfinished()) {
            refuse_if_alive(job)?;
        }
        jobs.cancel(id, now).await?;
        give_back(&mut events, now).await?;
        if let Some(mut dead_letters) = Table::open(&lake.dead_letters).await? {
            give_back(&mut dead_letters, now).await?;
        }
    }
    let mut all = jobs.all().await?;
    all.retain(|job| options.cancel.is_none_or(|cancelled| job.id == cancelled));
    if context.common.json {
        let alive: Vec<_> = all.iter().map(|job| as_json(job, now)).collect();
        terminal::say_json(&json!({ "jobs": alive }));
        return Ok(Outcome::Right);
    }
    if all.is_empty() {
        terminal::say("nothing was replayed yet");
    }
    for job in &all {
        terminal::say(in_words(job, now));
    }
    Ok(Outcome::Right)
}

/// A job as it is on record, and `alive`: whether a process is at it.
fn as_json(job: &Job, now: i64) -> Value {
    let mut fields = json!(job);
    fields["alive"] = (job.state == State::Running && is_alive(job, now)).into();
    fields
}

/// For so long after a job was heard of, a process of its number is taken for its own.
const NUMBER_IS_ITS_US: i64 = 900_000_000;

/// This process in a job: its number and machine.
pub fn this_process() -> String {
    format!("{}@{}", std::process::id(), machine())
}

fn machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Whether a process is at a job. Of this machine it is seen; of another one it is taken for alive for two minutes after it was
/// heard of.
fn is_alive(job: &Job, now: i64) -> bool {
    let here = job.process.split_once('@').filter(|(_, of)| !of.is_empty() && *of == machine());
    match here {
        // Numbers come again, in containers the same one each time.
        Some((process, _)) => {
            let is_there = process != std::process::id().to_string() && Path::new("/proc").join(process).exists();
            let is_recent = now.saturating_sub(job.heard_at) < NUMBER_IS_ITS_US;
            job.state == State::Running && is_there && is_recent
        }
        None => job.is_alive(now),
    }
}

/// Two would throw away each other's work.
pub fn refuse_if_alive(job: &Job) -> Result<(), Error> {
    match is_alive(job, SystemClock.now()) {
        false => Ok(()),
        true => Err(format!(
            "job {} is running (process {}), or that process died on another machine less than two minutes ago: wait, or stop it",
            job.id, job.process
        )
        .into()),
    }
}

/// One line: what, how far, since when.
pub fn in_words(job: &Job, now: i64) -> String {
    let kind = match (job.kind, job.dead_letters_only) {
        (Kind::Rebuild, _) => "rebuild",
        (Kind::Replay, true) => "replay of dead letters",
        (Kind::Replay, false) => "replay",
    };
    let state = match job.state {
        State::Running if is_alive(job, now) => format!("running (process {})", job.process),
        State::Running => "died: the next replay finishes it".to_owned(),
        State::Failed => format!("failed: {}", job.failure.as_deref().unwrap_or_default()),
        State::Done => "done".to_owned(),
        State::Cancelled => "cancelled".to_owned(),
    };
    let ranges: Vec<String> =
        job.ranges.iter().map(|(partition, range)| format!("{partition}: {}..{}", range.start, range.end)).collect();
    format!(
        "job {} ({kind}, begun {}), {state}. Offsets {}; in {} commits {} rows became {}, {} dead letters {}; {} copies, \
         {} seconds of events changed",
        job.id,
        rfc3339(job.begun_at).unwrap_or_default(),
        ranges.join(", "),
        job.chunks,
        job.rows_before,
        job.rows_after,
        job.dead_letters_before,
        job.dead_letters_after,
        job.copies,
        job.seconds_changed
    )
}
