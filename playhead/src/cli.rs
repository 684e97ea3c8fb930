//! The command line: names, defaults and the help that teaches them.
use chrono::{DateTime, NaiveDate, NaiveTime};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

mod maintenance;

use maintenance::{COMPACT_HELP, REBUILD_HELP, REPLAY_HELP};
pub use maintenance::{Compact, Jobs, Rebuild, Replay};

const EXAMPLES: &str = "\
Examples:
  playhead demo                                   see the whole way once: audience, lake, proof
  playhead up                                     take events on 127.0.0.1:8080, write ./playhead-data/lake
  curl -d '{\"event_type\":\"play\",\"event_time\":\"'$(date -u +%FT%TZ)'\",\"session_id\":\"s1\",\"content_id\":\"m1\"}' \\
       http://127.0.0.1:8080/v1/events
  playhead tail                                   watch events as they come
  playhead audit                                  prove that the lake holds each event once

Exit codes: 0 done and right; 1 done and wrong (an audit that finds something); 2 could not run.";

/// Telemetry pipeline for media platforms: view events over HTTP into Delta tables, each exactly once.
#[derive(Debug, Parser)]
#[command(name = "playhead", version, about, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Configuration file [default: playhead.toml if it is there].
    #[arg(long, global = true, value_name = "FILE", env = "PLAYHEAD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where log and lake live [default: ./playhead-data; demo: a new one in the temporary folder].
    #[arg(long, global = true, value_name = "DIR", env = "PLAYHEAD_DATA")]
    pub data: Option<PathBuf>,
    /// Print the result as one JSON object, the last line of stdout.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take events and bring them to the lake: all roles in one process, over the embedded log (or Kafka).
    #[command(after_help = UP_HELP)]
    Up(Serve),
    /// Take events and append them to Kafka: one role, as many processes as wanted.
    #[command(after_help = INGEST_HELP)]
    Ingest(Serve),
    /// Bring Kafka's records to the lake: one role, as many processes as wanted; they share the partitions.
    #[command(after_help = SINK_HELP)]
    Sink(Sink),
    /// Keep rollups of Kafka's records: windows of SQL aggregates, into the lake when they are complete.
    #[command(after_help = PROCESS_HELP)]
    Process(Sink),
    /// Check the configured rollups, or show how they are computed.
    Rollup {
        /// What to do with them.
        #[command(subcommand)]
        action: RollupAction,
    },
    /// Put load on an event collector and measure it: open loop, latencies from when a request was due.
    #[command(after_help = LOAD_HELP)]
    Load(Load),
    /// Show the whole way on this machine: an audience over real HTTP, then the proof that nothing is lost or doubled.
    Demo(Demo),
    /// Prove that the lake holds each event of the log exactly once; exit code 1 if it does not.
    #[command(after_help = AUDIT_HELP)]
    Audit(Audit),
    /// Sort what lies unsorted in the table events, and remove copies of events, also those that came days apart.
    #[command(after_help = COMPACT_HELP)]
    Compact(Compact),
    /// Make rows of the lake again from the log, chunk by chunk: after a decoder was mended, or rows were damaged.
    #[command(after_help = REPLAY_HELP)]
    Replay(Replay),
    /// Make all of the tables events and dead_letters again from the log, in one commit.
    #[command(after_help = REBUILD_HELP)]
    Rebuild(Rebuild),
    /// List replays and rebuilds: what runs, ran, died or failed; or give one up.
    Jobs(Jobs),
    /// Print events from the log as JSON, one a line, as they come.
    Tail(Tail),
    /// Query the lake, its rollups and the windows that are open, in SQL; without a statement a prompt.
    #[command(after_help = SQL_HELP)]
    Sql(Sql),
    /// Show how far log and lake are, and whether the node that owns the log runs and is ready.
    Status,
    /// Check or print the configuration.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print a completion script, e.g. `playhead completions bash > /etc/bash_completion.d/playhead`.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

const UP_HELP: &str = "\
SIGTERM and Ctrl-C: stop accepting, answer what was accepted, bring it to the lake, exit (within 30 s).
SIGKILL is safe at any moment: what was acknowledged is durable and reaches the lake after the next start.

Addresses: events go to --listen; /healthz, /readyz and /metrics are on --admin. Port 0 takes a free one; with --json
the first line, which comes when it is ready, says which.";

const INGEST_HELP: &str = "\
Example:
  PLAYHEAD_KAFKA__BROKERS=kafka:9092 playhead ingest --listen 0.0.0.0:8080      (with ingest.allow_anonymous = true)

Needs kafka.brokers, and no data directory. While Kafka does not answer, /readyz on --admin says so, and events are not
listened for. SIGTERM and Ctrl-C: stop accepting, answer what was accepted, exit (within 30 s).";

const SINK_HELP: &str = "\
Example:
  PLAYHEAD_KAFKA__BROKERS=kafka:9092 PLAYHEAD_LAKE__URL=s3://lake/media playhead sink

Needs kafka.brokers. Sinks of one lake share the topic's partitions, as one consumer group (kafka.group_id); a further
one than there are partitions waits for its turn. SIGTERM and Ctrl-C: bring what is in the log to the lake, leave the
group, exit (within 30 s). SIGKILL is safe at any moment: another sink goes on from what the lake has.";

const PROCESS_HELP: &str = "\
Example:
  PLAYHEAD_KAFKA__BROKERS=kafka:9092 PLAYHEAD_LAKE__URL=s3://lake/media playhead process

Needs kafka.brokers. Processors of one lake share the topic's partitions, as one consumer group (kafka.group_id); a
further one than there are partitions waits for its turn. Each shows what all have open, where live.peers names them.
SIGTERM and Ctrl-C: close the windows that are complete, exit (within 30 s). SIGKILL is safe at any moment: whoever gets
the partitions reads them again from where open windows began.";

/// Options of `up` and `ingest`.
#[derive(Debug, Clone, Args, Default)]
pub struct Serve {
    /// Address that takes events [default: ingest.listen, 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of health, readiness and metrics [default: admin.listen, 127.0.0.1:8081].
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
}

/// Options of `sink` and `process`.
#[derive(Debug, Clone, Args, Default)]
pub struct Sink {
    /// Address of health, readiness and metrics [default: admin.listen, 127.0.0.1:8081].
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
}

impl From<Sink> for Serve {
    fn from(sink: Sink) -> Self {
        Serve { listen: None, admin: sink.admin }
    }
}

const LOAD_HELP: &str = "\
Examples:
  playhead load --url http://127.0.0.1:8080 --rate 20000 --batch 100 --seconds 30
  playhead load --url http://127.0.0.1:8080 --viewers 5000 --seconds 120 --acked acked.txt

With --rate every event is valid and distinct; with --viewers an audience plays, with late, doubled and bad events. A
refused connection, 429 or 5xx is tried again with the same ids until it is answered or the time is over, and 10 s more.
What is due and can't go waits in a queue of 128 MiB; beyond it events are not sent, and are told as such: then the latencies
are the queue's. Every 2xx counts as an acknowledgement, but for events that a Playhead's answer rejects.";

/// Options of `load`.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Where the collector is, http://HOST:PORT.
    #[arg(long)]
    pub url: String,
    /// Path that takes events.
    #[arg(long, default_value = "/v1/events")]
    pub path: String,
    /// Events per second, all valid and distinct [default: 1000, unless --viewers is given].
    #[arg(long, value_name = "EVENTS_PER_S", conflicts_with = "viewers")]
    pub rate: Option<f64>,
    /// An audience of this many concurrent viewers.
    #[arg(long, value_name = "N")]
    pub viewers: Option<u64>,
    /// With --viewers: seconds of the audience's life in one second of the run.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "viewers")]
    pub speed: f64,
    /// Most events a request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,
    /// Same seed, same traffic; ids differ from run to run, so that a second run is no copy of the first.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// How bodies are framed.
    #[arg(long, value_enum, default_value_t = LoadFormat::Ndjson)]
    pub format: LoadFormat,
    /// A further header; may be given several times.
    #[arg(long = "header", value_name = "K: V")]
    pub headers: Vec<String>,
    /// Write the ids that were acknowledged, one UUID a line, over what the file has; `playhead audit --acked FILE` reads it.
    #[arg(long, value_name = "FILE")]
    pub acked: Option<PathBuf>,
}

/// Body formats of `load`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LoadFormat {
    /// One event a line.
    Ndjson,
    /// An array.
    Json,
}

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// How long the audience plays.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Concurrent viewers.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub viewers: u64,
    /// Same seed, same audience.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

const AUDIT_HELP: &str = "\
Checks, for each partition: offsets without gap or repeat (duplicates dropped and dead letters counted), the table's
positions against its files, each (tenant, event_id) once, every file there and of the size that the table says; and
for each record that the log still holds, that its rows are in the lake. With --acked: every id of the file is there,
or went with a date that retention ended.
Events of the log that the lake has not yet are pending, as after a kill: not exact until a node has brought them there.
Runs beside `playhead up` (through its admin address) or offline. Over Kafka it reads the topic itself, from anywhere
that reaches brokers and lake; offsets that no record took (markers of transactions) are not called gaps.

Then each closed window of the rollups: computed again from `events`, it must be what the newest revision says. The table
`rollup, windows, rows, waiting, wrong` counts windows that were compared (those without rows too), their rows, windows that
wait for a correction or for what the rollup has not read yet and are not judged, and those that are wrong.

With --manifest it also writes what the tables `events` and `dead_letters` consist of. Tables of equal `content` have equal rows: before and after a
compaction, or a replay that changed nothing. Files that no commit names (a kill leaves them) are told, and are no fault: a
vacuum deletes them after three days.";

/// Options of `audit`.
#[derive(Debug, Clone, Args, Default)]
pub struct Audit {
    /// Ids that must be in the lake, one UUID a line, as `playhead load --acked` writes them.
    #[arg(long, value_name = "FILE")]
    pub acked: Option<PathBuf>,
    /// Write what the tables are made of, as JSON, one a line: each active file with its rows, size and SHA-256, each table with a
    /// sum over its rows that is the same however these lie in files. Every file is read.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Beside a running node, and over Kafka: wait this long for the lake to reach the log's end as of now.
    #[arg(long, default_value_t = 60)]
    pub wait_s: u64,
}

/// Options of `tail`.
#[derive(Debug, Clone, Args)]
pub struct Tail {
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<u32>,
    /// Start at the oldest record that the log holds, not at its end.
    #[arg(long)]
    pub from_start: bool,
    /// Stop after this many events.
    #[arg(short = 'n', long, value_name = "N")]
    pub events: Option<u64>,
    /// Stop at the end of the log instead of waiting for more (so it is when no node runs).
    #[arg(long)]
    pub no_follow: bool,
}

const SQL_HELP: &str = "\
Examples:
  playhead sql \"select content_title, plays, viewers from rollups.audience order by window_start desc, viewers desc limit 10\"
  playhead sql \"select window_start, cdn, sum(errors) from days.quality group by 1, 2\" --format csv
  playhead sql --format parquet \"select * from events where event_date = '2026-11-22'\" > day.parquet

Tables: events, dead_letters, late_windows; of each rollup rollups.NAME (of each window the newest revision), revisions.NAME
(all), hours.NAME and days.NAME (windows put together), live.NAME (what is open now, of the node of this machine).
SQL is DataFusion's, and nothing can be written. event_id is shown as a UUID, and may be compared with one.";

/// Options of `sql`.
#[derive(Debug, Clone, Args)]
pub struct Sql {
    /// The statement; without it standard input is read, on a terminal line by line.
    #[arg(value_name = "STATEMENT")]
    pub statement: Option<String>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// With a header.
    Csv,
    /// One object a line.
    Json,
    /// A file.
    Parquet,
}

/// What to do with the rollups.
#[derive(Debug, Clone, Subcommand)]
pub enum RollupAction {
    /// Say of each whether it can be kept, and if not, what to write instead; exit code 1 if one can't.
    Check,
    /// Print how it is computed: windows, columns, and the plan that DataFusion made of the SQL.
    Explain {
        /// Its name; all of them without one.
        name: Option<String>,
    },
    /// Compute windows from before a rollup began, from the table events; whoever keeps the rollup does it.
    #[command(after_help = BACKFILL_HELP)]
    Backfill(Backfill),
}

const BACKFILL_HELP: &str = "\
Example:
  playhead rollup backfill plays_by_country --since 2026-11-01 --wait

Windows that the rollup holds already stay as they are. What is asked for is kept in the lake (table
late_windows): it goes on after a stop, and may be asked for twice.";

/// Options of `rollup backfill`.
#[derive(Debug, Clone, Args)]
pub struct Backfill {
    /// The rollup's name.
    pub name: String,
    /// Windows that begin at or after this: a date (UTC), or a time with its zone (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time_us, required_unless_present = "cancel")]
    pub since: Option<i64>,
    /// Windows that end at or before this [default: all that are closed].
    #[arg(long, value_name = "TIME", value_parser = time_us)]
    pub until: Option<i64>,
    /// Only say which windows.
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Return when all are computed.
    #[arg(long)]
    pub wait: bool,
    /// Take back what was asked for before and is not computed yet.
    #[arg(long, conflicts_with_all = ["since", "until", "dry_run", "wait"])]
    pub cancel: bool,
}

fn date(text: &str) -> Result<NaiveDate, String> {
    text.parse().map_err(|_| "write a date as 2026-11-22".to_owned())
}

/// A date or a time as µs since 1970.
fn time_us(text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
    let date = || text.parse::<NaiveDate>().ok().map(|date| date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    time.ok().or_else(date).ok_or_else(|| "write a date, 2026-11-22, or a time, 2026-11-22T06:00:00Z".to_owned())
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigAction {
    /// Read it, check it, say what is wrong.
    Check,
    /// Print all of it as TOML, defaults and overrides included, secrets hidden.
    Show,
}
