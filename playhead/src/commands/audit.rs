//! `playhead audit`: the proof, for people and for scripts.
use super::{Context, Error, Outcome};
use crate::audit::{self, Begun, Report, Tables};
use crate::cli::Audit;
use crate::log_source::{self, Bounds, LogSource};
use crate::terminal;
use indicatif::HumanBytes;
use std::ops::Range;
use std::time::Duration;

/// How often the tables are looked at while waiting for the lake.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Audits, prints, and is `Wrong` if anything is.
pub async fn run(context: Context, options: Audit) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let storage = context.look()?;
    let lake = storage.lake.tables();
    let log = LogSource::open(&storage.log).await?;
    let begun = Begun::now(&log, options.acked.as_deref()).await?;
    let wait = Duration::from_secs(options.wait_s);
    let behind = match log.is_live() {
        true => wait_for_lake(&lake, &log, &begun.held, wait).await?,
        false => 0,
    };
    let tables = Tables::open(&lake).await?;
    if tables.events.is_none() {
        let place = storage.lake.events_name();
        tracing::warn!("no table at {place}: no sink has started with this lake yet, or lake.url is another");
    }
    if let Some(file) = &options.manifest {
        audit::manifest::write(&tables, file).await?;
    }
    let bar = terminal::progress(2, "audit");
    let report = audit::audit(&context.config, begun, &tables, &storage.lake.rollups(), &log, (wait, &bar)).await;
    bar.finish_and_clear();
    log.close().await;
    let mut report = report?;
    if behind > 0 {
        report.ok = false;
        report.findings.push(format!(
            "the lake is {behind} offsets behind the log as it was when the audit began, and did not catch up"
        ));
    }
    if context.common.json {
        terminal::say_json(&report);
    } else {
        print(&report);
    }
    Ok(if report.ok { Outcome::Right } else { Outcome::Wrong })
}

/// Beside running roles: until the lake has what the log held when the audit began, or `limit` is over. Returns the
/// offsets that it still lacks.
async fn wait_for_lake(lake: &sink::Lake, log: &LogSource, held: &Bounds, limit: Duration) -> Result<u64, Error> {
    let deadline = tokio::time::Instant::now() + limit;
    let mut before = Vec::new();
    loop {
        let tables = Tables::open(lake).await?;
        let (mut positions, mut behind) = (Vec::new(), 0);
        for (partition, held) in (0u32..).zip(held) {
            let next = tables.next_offset(log, partition).await?;
            let moved = before.get(partition as usize) != Some(&next);
            // Where the lake stands still below the end, that may be all there is.
            if next < held.end && (moved || has_record(log, partition, next..held.end).await?) {
                behind += held.end - next;
            }
            positions.push(next);
        }
        before = positions;
        // A sink that has stopped will not catch up, however long one waits.
        let stuck = log.unready().await?.is_some_and(|roles| roles.contains_key("sink"));
        if behind == 0 || stuck || tokio::time::Instant::now() >= deadline {
            return Ok(behind);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a record stands at these offsets. In Kafka the last ones may be taken by none.
async fn has_record(log: &LogSource, partition: u32, offsets: Range<u64>) -> Result<bool, Error> {
    if log.is_gapless() {
        return Ok(true);
    }
    match log.read(partition, offsets.start).await {
        Ok(entries) => Ok(entries.first().is_some_and(|entry| entry.offset < offsets.end)),
        // Dropped by the log before the lake had it: the audit itself says more.
        Err(log_source::Error::Read(log::ReadError::OutOfRange { .. })) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn print(report: &Report) {
    terminal::say(format_args!(
        "{} rows, {} ids, {} duplicates, {} gaps, {} missing, {} pending, {} dead letters; {} files, {} wrong",
        report.rows,
        report.ids,
        report.duplicates,
        report.gaps,
        report.missing,
        report.pending,
        report.dead_letters,
        report.files,
        report.files_wrong
    ));
    terminal::say("partition       rows   dropped      dead  last offset  log holds            compared");
    for p in &report.partitions {
        terminal::say(format_args!(
            "{:>9} {:>10} {:>9} {:>9} {:>12}  {:<20} {:>8}",
            p.partition,
            p.rows,
            p.duplicates_dropped,
            p.dead_letters,
            p.last_offset.map_or("none".to_owned(), |last| last.to_string()),
            format!("{}..{}", p.log_start, p.log_end),
            p.records_compared
        ));
    }
    print_rollups(report);
    for finding in &report.findings {
        terminal::say(format_args!("wrong: {finding}"));
    }
    if report.findings_more > 0 {
        terminal::say(format_args!("wrong: and {} more", report.findings_more));
    }
    let removed: i64 = report.partitions.iter().map(|of| of.removed).sum();
    if removed != 0 {
        terminal::say(format_args!(
            "{removed} rows were removed since a sink brought them: copies, by compaction; dates, by retention; less what replays added"
        ));
    }
    if report.orphans > 0 {
        terminal::say(format_args!(
            "{} files, {}, are named by no commit: written by a process that was killed, or to be committed now; a vacuum deletes \
             them when they are three days old",
            report.orphans,
            HumanBytes(report.orphan_bytes)
        ));
    }
    if report.duplicates > 0 {
        terminal::say(
            "duplicates: copies that came further apart than dedup.rows go when their date is compacted (`playhead compact`: now); \
             what is left then, on dates that are not neighbours, was sent with another event_time",
        );
    }
    if !report.repairs.is_empty() {
        terminal::say(
            "to mend it, as far as the log holds the records (a rollup may differ because values of its events were changed: where the \
             replay of these is refused, computing it again would take over what is wrong; docs/replay.md has what is left then):",
        );
        terminal::say(format_args!("    {}", report.repairs.join(" &&\n    ")));
    }
    if report.pending > 0 {
        terminal::say(
            "pending: durable in the log, not in the lake yet; a running sink (`playhead up` or `sink`) brings them there",
        );
    }
    terminal::say(if report.ok { "exact" } else { "not exact" });
}

fn print_rollups(report: &Report) {
    if report.rollups.is_empty() {
        return;
    }
    terminal::say("rollup               windows       rows   waiting     wrong");
    for of in &report.rollups {
        let (name, note) = (&of.rollup, of.not_compared.as_deref());
        terminal::say(format_args!(
            "{name:<18} {:>9} {:>10} {:>9} {:>9}{}",
            of.windows,
            of.rows,
            of.waiting,
            of.wrong,
            note.map_or(String::new(), |note| format!("  not compared: {note}"))
        ));
        if of.sums_only > 0 {
            terminal::say(format_args!(
                "{:<18} of {} windows only the sums over all groups: some were put together as (other), or not every key is a column",
                "", of.sums_only
            ));
        }
    }
}
