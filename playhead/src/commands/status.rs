//! `playhead status`: how far log and lake are, and whether the node runs.
use super::{Context, Error, Outcome};
use crate::audit::Tables;
use crate::clock::rfc3339;
use crate::log_source::LogSource;
use crate::storage::LakePlace;
use crate::terminal;
use lake::table::{ActiveFile, Table};
use processor::progress::{Progress, progress};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// What is printed.
#[derive(Debug, Serialize)]
struct Status {
    /// A node owns the log. Null: it is Kafka, which roles anywhere may use.
    running: Option<bool>,
    /// It takes events and writes the lake.
    ready: Option<bool>,
    /// What keeps it from that, by role.
    not_ready: BTreeMap<String, String>,
    /// Its addresses.
    listen: Option<String>,
    admin: Option<String>,
    log: LogStatus,
    /// Where the tables are.
    lake: String,
    /// Why they can't be read now. Null: they can.
    lake_error: Option<String>,
    partitions: Vec<Partition>,
    events: Option<TableStatus>,
    dead_letters: Option<TableStatus>,
    rollups: Vec<RollupStatus>,
}

/// One rollup that is configured.
#[derive(Debug, Serialize)]
struct RollupStatus {
    name: String,
    /// Windows that end at or before this are in its table. Null: none yet.
    closed_to: Option<String>,
    /// Windows that wait to be computed again.
    late_windows: usize,
    table: Option<FilesStatus>,
}

/// The files of a table.
#[derive(Debug, Serialize)]
struct FilesStatus {
    files: usize,
    rows: u64,
    bytes: u64,
}

impl From<&[ActiveFile]> for FilesStatus {
    fn from(files: &[ActiveFile]) -> Self {
        FilesStatus {
            files: files.len(),
            rows: files.iter().filter_map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
        }
    }
}

/// The log.
#[derive(Debug, Serialize)]
struct LogStatus {
    cluster: String,
    topic: String,
    /// Empty: the embedded log.
    brokers: Vec<String>,
    /// The consumer group that sinks of this lake join.
    group: Option<String>,
    /// That of processors.
    processors_group: Option<String>,
}

/// One partition: the log's bounds, and the next offset that the lake wants (null: it can't be read). `lake_ahead`: the log
/// ends below that: it is not the log that the lake was written from.
#[derive(Debug, Serialize)]
struct Partition {
    partition: u32,
    log_start: u64,
    log_end: u64,
    lake_next: Option<u64>,
    lag_records: Option<u64>,
    lake_ahead: bool,
}

/// One table.
#[derive(Debug, Serialize)]
struct TableStatus {
    version: u64,
    #[serde(flatten)]
    held: FilesStatus,
}

/// What the tables say.
#[derive(Default)]
struct LakeStatus {
    /// For each partition, the next offset that the lake wants.
    next: Vec<u64>,
    events: Option<TableStatus>,
    dead_letters: Option<TableStatus>,
    rollups: Vec<RollupStatus>,
}

/// Looks and prints; never changes anything. A lake that does not answer is said beside what is known of the log, and is
/// `Wrong`.
pub async fn run(context: Context) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let storage = context.look()?;
    let source = LogSource::open(&storage.log).await?;
    let bounds = source.bounds().await?;
    let rollups = context.config.rollups().rollups.into_iter().map(|rollup| rollup.name).collect();
    let looked = lake_status(&storage.lake, &source, bounds.len(), rollups).await;
    let lake_error = looked.as_ref().err().map(ToString::to_string);
    let lake = looked.unwrap_or_default();
    let partition = |(partition, held): (u32, Range<u64>)| {
        let lake_next = lake.next.get(partition as usize).copied();
        Partition {
            partition,
            log_start: held.start,
            log_end: held.end,
            lake_next,
            lag_records: lake_next.map(|next| held.end.saturating_sub(next)),
            lake_ahead: lake_next.is_some_and(|next| next > held.end),
        }
    };
    let partitions = (0u32..).zip(bounds).map(partition).collect();
    let node = source.owner().cloned();
    let unready = source.unready().await?;
    let owned = storage.log.owned().is_some();
    let outcome = if lake_error.is_none() { Outcome::Right } else { Outcome::Wrong };
    let status = Status {
        running: owned.then_some(node.is_some()),
        ready: owned.then_some(unready.as_ref().is_some_and(BTreeMap::is_empty)),
        not_ready: unready.unwrap_or_default(),
        listen: node.as_ref().map(|node| node.listen.clone()),
        admin: node.map(|node| node.admin),
        log: LogStatus {
            cluster: source.cluster().to_owned(),
            topic: source.topic().to_owned(),
            brokers: context.config.kafka.brokers.clone(),
            group: storage.log.group(),
            processors_group: storage.log.processors_group(),
        },
        lake: storage.lake.name(),
        lake_error,
        partitions,
        events: lake.events,
        dead_letters: lake.dead_letters,
        rollups: lake.rollups,
    };
    source.close().await;
    if context.common.json {
        terminal::say_json(&status);
    } else {
        print(&status);
    }
    Ok(outcome)
}

async fn lake_status(
    lake: &LakePlace,
    source: &LogSource,
    partitions: usize,
    rollups: Vec<String>,
) -> Result<LakeStatus, Error> {
    let tables = Tables::open(&lake.tables()).await?;
    let mut next = Vec::new();
    for partition in (0u32..).take(partitions) {
        next.push(tables.next_offset(source, partition).await?);
    }
    let events = table_status(tables.events.as_ref()).await?;
    let dead_letters = table_status(tables.dead_letters.as_ref()).await?;
    let rollups = progress(&lake.rollups(), rollups).await?.into_iter().map(RollupStatus::from).collect();
    Ok(LakeStatus { next, events, dead_letters, rollups })
}

async fn table_status(table: Option<&Table>) -> Result<Option<TableStatus>, Error> {
    let Some(table) = table else { return Ok(None) };
    Ok(Some(TableStatus { version: table.version(), held: FilesStatus::from(table.files().await?.as_slice()) }))
}

impl From<Progress> for RollupStatus {
    fn from(progress: Progress) -> Self {
        RollupStatus {
            name: progress.name,
            closed_to: progress.closed_to.and_then(rfc3339),
            late_windows: progress.late_windows,
            table: progress.files.as_deref().map(FilesStatus::from),
        }
    }
}

impl fmt::Display for FilesStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows in {} files, {:.1} MB", self.rows, self.files, self.bytes as f64 / 1e6)
    }
}

fn print(status: &Status) {
    match (&status.listen, &status.admin) {
        (Some(listen), Some(admin)) => {
            terminal::say(format_args!("node       up: events on http://{listen}, admin on http://{admin}"))
        }
        _ if status.running == Some(false) => terminal::say("node       not running"),
        _ => {
            let LogStatus { cluster, topic, brokers, group, processors_group } = &status.log;
            terminal::say(format_args!(
                "log        Kafka at {}, topic {topic} of cluster {cluster}",
                brokers.join(",")
            ));
            for group in [group, processors_group].into_iter().flatten() {
                terminal::say(format_args!("group      {group}"));
            }
            terminal::say(format_args!("lake       {}", status.lake));
        }
    }
    for (role, reason) in &status.not_ready {
        terminal::say(format_args!("not ready  {role}: {reason}"));
    }
    if let Some(error) = &status.lake_error {
        terminal::say(format_args!("lake can't be read: {error}"));
    }
    for (name, table) in [("events", &status.events), ("dead letters", &status.dead_letters)] {
        match table {
            Some(table) => terminal::say(format_args!("{name:<13}{}, version {}", table.held, table.version)),
            None if status.lake_error.is_some() => {}
            None => terminal::say(format_args!("{name:<13}no table yet")),
        }
    }
    for rollup in &status.rollups {
        let RollupStatus { name, closed_to, late_windows, table } = rollup;
        match (table, closed_to) {
            (Some(table), Some(closed_to)) => terminal::say(format_args!(
                "rollup       {name}: closed to {closed_to}, {table}, windows to be computed again: {late_windows}"
            )),
            _ if status.lake_error.is_some() => {}
            _ => terminal::say(format_args!("rollup       {name}: no window closed yet")),
        }
    }
    terminal::say("partition   log start     log end   lake next  lag (records)");
    for p in &status.partitions {
        terminal::say(format_args!(
            "{:>9} {:>11} {:>11} {:>11} {:>14}{}",
            p.partition,
            p.log_start,
            p.log_end,
            or_unknown(p.lake_next),
            or_unknown(p.lag_records),
            if p.lake_ahead { "  the lake is ahead of the log: `playhead audit` says more" } else { "" }
        ));
    }
}

fn or_unknown(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}
