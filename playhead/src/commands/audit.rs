//! `playhead audit`: the proof, for people and for scripts.
use super::{Context, Error, Outcome};
use crate::audit::{self, Report, Tables};
use crate::cli::Audit;
use crate::log_source::LogSource;
use crate::{storage, terminal};
use std::time::Duration;

/// How often the tables are looked at while waiting for the lake.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Audits, prints, and is `Wrong` if anything is.
pub async fn run(context: Context, options: Audit) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let data = context.data()?;
    let lake = storage::lake_of(&data);
    let log = LogSource::open(&context.config, &data).await?;
    let behind = match log.is_running() {
        true => wait_for_lake(&context, &lake, &log, Duration::from_secs(options.wait_s)).await?,
        false => 0,
    };
    let tables = Tables::open(&lake).await?;
    let bar = terminal::progress(2, "audit");
    let report = audit::audit(&context.config, &tables, &log, options.acked.as_deref(), &bar).await;
    bar.finish_and_clear();
    log.close().await;
    let mut report = report?;
    if behind > 0 {
        report.ok = false;
        report
            .findings
            .push(format!("the lake is {behind} records behind the running node's log, and does not catch up"));
    }
    if context.common.json {
        terminal::say_json(&report);
    } else {
        print(&report);
    }
    Ok(if report.ok { Outcome::Right } else { Outcome::Wrong })
}

/// Beside a running node: until the lake has what the log held when the audit began, or `limit` is over. Returns the
/// records that it still lacks.
async fn wait_for_lake(context: &Context, lake: &sink::Lake, log: &LogSource, limit: Duration) -> Result<u64, Error> {
    let ends: Vec<u64> = log.bounds().await?.iter().map(|held| held.end).collect();
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let tables = Tables::open(lake).await?;
        let mut behind = 0;
        for (partition, end) in (0u32..).zip(&ends) {
            behind += end.saturating_sub(tables.next_offset(&context.config.kafka.topic, partition).await?);
        }
        // A sink that has stopped will not catch up, however long one waits.
        let stuck = log.unready().await?.is_some_and(|roles| roles.contains_key("sink"));
        if behind == 0 || stuck || tokio::time::Instant::now() >= deadline {
            return Ok(behind);
        }
        tokio::time::sleep(LOOK_EVERY).await;
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
    for finding in &report.findings {
        terminal::say(format_args!("wrong: {finding}"));
    }
    if report.pending > 0 {
        terminal::say("pending: durable in the log, not in the lake yet; `playhead up` brings them there");
    }
    terminal::say(if report.ok { "exact" } else { "not exact" });
}
