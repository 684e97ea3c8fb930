//! `playhead compact`: what lies unsorted in the table `events`, now.
use super::{Context, Error, Outcome};
use crate::cli;
use crate::clock::{SystemClock, rfc3339};
use crate::compaction::compaction;
use crate::terminal;
use event::clock::Clock;
use indicatif::HumanBytes;
use lake::table::Table;
use lake::upkeep::{Options, Upkeep, held_until};
use maintenance::{Compacted, NO_ROOM, Scope, Step, Unsorted, unsorted};
use serde_json::json;

/// Compacts date after date; or only says which.
pub async fn run(context: &Context, options: cli::Compact) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let storage = context.look()?;
    let Some(mut table) = Table::open(&storage.lake.tables().events).await? else {
        return Err("there is no table events in this lake: no sink has brought any event there".into());
    };
    let scope = Scope::Asked(options.date);
    let waiting = unsorted(&table.files().await?, &scope);
    if options.dry_run {
        say_waiting(&waiting, context.common.json);
        return Ok(Outcome::Right);
    }
    if waiting.is_empty() {
        // Without taking the upkeep from a node that runs.
        return Ok(told(context, &Compacted::default()));
    }
    let now_ms = || SystemClock.now() / 1000;
    let mut compaction = compaction(&context.config, &storage, scope);
    if let Some(until_ms) = held_until(&table, now_ms()).await? {
        return Err(format!(
            "a replay holds the table's maintenance, until {} at least: wait until `playhead jobs` says that it is done. (One that \
             was killed holds it until then: run it again, or wait)",
            rfc3339(until_ms * 1000).unwrap_or_default()
        )
        .into());
    }
    let mut upkeep = Upkeep::new(Options::default());
    let bar = terminal::progress(waiting.iter().map(|date| date.bytes).sum(), "compact");
    let mut done = Compacted::default();
    loop {
        // A node that took the table's upkeep back has it for good: two would throw away each other's work.
        let Some(fence) = upkeep.fence(&mut table, now_ms()).await? else { return Err(overtaken(&done)) };
        match compaction.step(&mut table, &fence, now_ms()).await? {
            Step::Nothing => break,
            Step::Done(step) => {
                bar.inc(step.bytes_from);
                done.add(&step);
            }
            Step::Superseded => {}
            Step::NoRoom => {
                return Err(format!("{NO_ROOM}. Until then: {}", in_words(&done)).into());
            }
        }
    }
    bar.finish_and_clear();
    Ok(told(context, &done))
}

fn told(context: &Context, done: &Compacted) -> Outcome {
    match context.common.json {
        true => terminal::say_json(&json!(done)),
        false => terminal::say(in_words(done)),
    }
    if done.copies > 0 {
        terminal::note(
            "rollups' windows that had counted the copies are computed again by the node that keeps them (table late_windows)",
        );
    }
    Outcome::Right
}

fn overtaken(done: &Compacted) -> Error {
    let so_far = match done.files_from {
        0 => "nothing was done by this one".to_owned(),
        _ => in_words(done),
    };
    format!("another process has taken over the table's maintenance, and compacts what is due: {so_far}").into()
}

fn say_waiting(waiting: &[Unsorted], as_json: bool) {
    if as_json {
        terminal::say_json(&json!({ "dates": waiting }));
        return;
    }
    if waiting.is_empty() {
        terminal::say("nothing lies unsorted");
    }
    for date in waiting {
        let name = date.date.as_deref().unwrap_or("without a date");
        terminal::say(format_args!("{name}: {} files, {}, lie unsorted", date.files, HumanBytes(date.bytes)));
    }
}

fn in_words(done: &Compacted) -> String {
    if done.files_from == 0 {
        return "nothing lay unsorted".to_owned();
    }
    format!(
        "{} files, {}, became {} of {} rows, {}; {} copies were removed",
        done.files_from,
        HumanBytes(done.bytes_from),
        done.files_into,
        done.rows,
        HumanBytes(done.bytes_into),
        done.copies
    )
}
