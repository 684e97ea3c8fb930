//! `playhead demo`: the whole way once on this machine, and the proof that it is exact.
use super::load::{drive, open_acked, run_id};
use super::{Context, Error, Outcome};
use crate::audit::{self, Begun, Tables};
use crate::cli::Demo;
use crate::clock::SystemClock;
use crate::log_source::LogSource;
use crate::node::Node;
use crate::roles::Roles;
use crate::storage::Storage;
use crate::terminal;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use benches::{Format, Options, Shape, Target};
use event::clock::Clock;
use futures::TryStreamExt;
use indicatif::ProgressBar;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The lake should be seen to grow while the demo runs.
const FLUSH_AGE_MS: u64 = 2_000;
/// Most events a request: as a relay between players and the collector would send.
const BATCH: usize = 50;
/// Seconds of the audience's life in one of the demo: twenty seconds show whole sessions.
const SPEED: f64 = 30.0;
/// Connections of the audience.
const CONNECTIONS: usize = 32;

/// What went in, and what came out.
#[derive(Debug, Serialize)]
struct Reconciliation {
    sent: u64,
    acknowledged: u64,
    rejected: u64,
    bad_sent: u64,
    unknown: u64,
    duplicates_sent: u64,
    acknowledged_ids: u64,
    in_lake: u64,
    duplicates_in_lake: u64,
    missing: u64,
    exact: bool,
    data: PathBuf,
}

/// Runs an audience against a node of its own, then reconciles; `Wrong` unless exact.
pub async fn run(mut context: Context, demo: Demo) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let root = fresh_directory(context.common.data.as_deref())?;
    // It shows one machine, whatever is configured for others.
    context.config.kafka.brokers.clear();
    context.config.lake = crate::config::Lake::default();
    let storage = Storage::make(&context.config, &root, Roles::ALL)?;
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    context.config.ingest.listen = any_port;
    context.config.admin.listen = any_port;
    context.config.sink.flush_age_ms = context.config.sink.flush_age_ms.min(FLUSH_AGE_MS);

    let mut node = Node::start(&context.config, &storage, Roles::ALL).await?;
    let Some(listen) = node.listen else { return Err("the node takes no events".into()) };
    tokio::select! {
        () = node.ready() => {}
        error = node.failed() => return Err(error.into()),
    }
    if !context.common.json {
        terminal::say(format_args!(
            "a node takes events on http://{}, {} viewers play for {} s, the lake is {}",
            listen,
            demo.viewers,
            demo.seconds,
            storage.lake.events_name()
        ));
    }
    let acked = root.join("acked.txt");
    let report = tokio::select! {
        report = play(&demo, listen, &acked) => report?,
        error = node.failed() => return Err(error.into()),
    };
    node.stop().await?;

    let tables = Tables::open(&storage.lake.tables()).await?;
    let log = LogSource::open(&storage.log).await?;
    let audit = async {
        let begun = Begun::now(&log, Some(&acked)).await?;
        audit::audit(
            &context.config,
            begun,
            &tables,
            &storage.lake.rollups(),
            &log,
            (Duration::ZERO, &ProgressBar::hidden()),
        )
        .await
    };
    let audit = audit.await;
    log.close().await;
    let audit = audit?;
    // An event whose answer never came may be in the lake, and need not be.
    let possible = audit.acked..=audit.acked + report.unknown;
    let exact = audit.ok && audit.pending == 0 && report.rejected == report.bad_sent && possible.contains(&audit.rows);
    let outcome = Reconciliation {
        sent: report.events,
        acknowledged: report.acknowledged,
        rejected: report.rejected,
        bad_sent: report.bad_sent,
        unknown: report.unknown,
        duplicates_sent: report.duplicates_sent,
        acknowledged_ids: audit.acked,
        in_lake: audit.rows,
        duplicates_in_lake: audit.duplicates,
        missing: audit.missing + audit.pending,
        exact,
        data: root,
    };
    if context.common.json {
        terminal::say_json(&outcome);
    } else {
        audit.findings.iter().for_each(|finding| terminal::say(format_args!("wrong: {finding}")));
        print(&outcome, &event_types(&tables).await?, &storage.lake.events_name());
    }
    Ok(if exact { Outcome::Right } else { Outcome::Wrong })
}

/// The named directory, which must be new or empty, or one under the system's temporary folder that stays.
fn fresh_directory(named: Option<&Path>) -> Result<PathBuf, Error> {
    let Some(named) = named else {
        return Ok(tempfile::Builder::new().prefix("playhead-demo-").tempdir()?.keep());
    };
    if named.exists() && named.read_dir()?.next().is_some() {
        return Err(format!("{} is not empty: the demo reconciles a fresh directory only", named.display()).into());
    }
    Ok(std::path::absolute(named)?)
}

async fn play(demo: &Demo, address: SocketAddr, acked: &Path) -> Result<benches::Report, Error> {
    let options = Options {
        target: Target {
            url: format!("http://{address}"),
            path: "/v1/events".into(),
            headers: Vec::new(),
            format: Format::Ndjson,
        },
        shape: Shape::Audience { viewers: demo.viewers },
        batch: BATCH,
        duration: Duration::from_secs(demo.seconds),
        seed: demo.seed,
        run: run_id(),
        connections: CONNECTIONS,
        start_ms: SystemClock.now() / 1_000,
        speed: SPEED,
    };
    drive(options, Some(open_acked(acked)?)).await
}

/// How many events of each type the lake has: read from the files, not from what was sent.
async fn event_types(tables: &Tables) -> Result<Vec<(String, u64)>, Error> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let Some(events) = &tables.events else { return Ok(Vec::new()) };
    for file in events.files().await? {
        let mut batches = events.read_file(&file.path, Some(&["event_type"])).await?;
        while let Some(batch) = batches.try_next().await? {
            let types = arrow_cast::cast(batch.column(0), &arrow_schema::DataType::Utf8)?;
            for event_type in types.as_string::<i32>().iter().flatten() {
                *counts.entry(event_type.to_owned()).or_default() += 1;
            }
            debug_assert_eq!(types.null_count(), 0);
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(counts)
}

fn print(outcome: &Reconciliation, event_types: &[(String, u64)], table: &str) {
    terminal::say("\nin the lake, by event_type");
    for (event_type, count) in event_types.iter().take(10) {
        terminal::say(format_args!("  {event_type:<18}{count:>10}"));
    }
    let line = |what: &str, count: u64, words: &str| terminal::say(format_args!("  {what:<22}{count:>10}  {words}"));
    terminal::say("\nreconciled");
    line("sent", outcome.sent, "copies included");
    line("acknowledged", outcome.acknowledged, "a 2xx said that they are durable");
    line("rejected", outcome.rejected, &format!("{} were sent bad on purpose", outcome.bad_sent));
    line("unknown", outcome.unknown, "no answer before the end");
    line("duplicates sent", outcome.duplicates_sent, "the same event again, in another request");
    line("acknowledged ids", outcome.acknowledged_ids, "distinct");
    line("in the lake", outcome.in_lake, "rows");
    line("duplicates in the lake", outcome.duplicates_in_lake, "");
    line("missing", outcome.missing, "acknowledged and not in the lake");
    terminal::say(if outcome.exact { "exact: each acknowledged event is in the lake once" } else { "NOT exact" });
    terminal::say(format_args!(
        "\nquery it\n  duckdb  -c \"INSTALL delta; LOAD delta; SELECT content_id, count(DISTINCT session_id) AS sessions FROM delta_scan('{table}') GROUP BY 1 ORDER BY 2 DESC LIMIT 10\"\n  python3 -c \"import polars as pl; print(pl.scan_delta('{table}').group_by('event_type').len().sort('len').collect())\"\n\nremove it: rm -r {}",
        outcome.data.display()
    ));
}
