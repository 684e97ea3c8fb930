//! A log, two tables, and sinks that come and go.
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use event::batch::{Arrival, BatchBuilder};
use event::clock::{Clock, Micros};
use event::codec;
use event::decode::TimeBounds;
use event::view_event::ViewEvent;
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::Table;
use lake::tables::txn_names;
use lake::upkeep::Pace;
use log::{Log as _, Record, memory};
use sink::{Config, Error, Lake, Parts, Timing};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// 2026-11-22T12:00:00Z
pub const NOON: Micros = 1_795_348_800_000_000;
pub const HOUR: Micros = 3_600_000_000;
pub const DATE: &str = "2026-11-22";
pub const TOPIC: &str = "events";
/// Far longer than anything here takes: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct TestClock(pub AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Micros {
        self.0.load(Ordering::SeqCst)
    }
}

/// A row of `events`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub partition: i32,
    pub offset: i64,
    pub row: i64,
    pub id: u128,
    pub topic: String,
    pub date: String,
}

/// A row of `dead_letters`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadRow {
    pub partition: i32,
    pub offset: i64,
    pub row: Option<i64>,
    pub payload: Vec<u8>,
    pub reason: String,
    pub date: String,
}

/// What `events` says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub last: i64,
    pub dedup: i64,
    pub rows: i64,
    pub duplicates: i64,
    pub dead_letters: i64,
}

pub type Answers = Arc<Mutex<Vec<Result<(), String>>>>;

/// Why it was not ready at last.
pub fn words(answers: &Answers) -> String {
    answers.lock().unwrap().last().unwrap().clone().unwrap_err()
}

/// A sink that runs.
pub struct Running {
    pub task: JoinHandle<Result<(), Error>>,
    pub shutdown: CancellationToken,
    pub answers: Answers,
}

impl Running {
    pub fn ready(&self) -> Result<(), String> {
        self.answers.lock().unwrap().last().cloned().unwrap_or_else(|| Err("nothing was told yet".to_owned()))
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the drain ends").unwrap().unwrap();
    }

    /// Ends it wherever it is, as a crash does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub struct Harness {
    pub dir: TempDir,
    pub log: Arc<memory::Log>,
    pub clock: Arc<TestClock>,
    pub config: Config,
    pub dedup_rows: usize,
    /// By default no test sees a pass of upkeep.
    pub timing: Timing,
}

impl Harness {
    pub fn new(partitions: u32) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(NOON)));
        Harness {
            dir: tempfile::tempdir().unwrap(),
            log: memory::Log::new(TOPIC, partitions, clock.clone()),
            clock,
            // Only a drain or a full buffer flushes.
            config: Config { flush_age_ms: 3_600_000, ..Config::default() },
            dedup_rows: 1000,
            timing: Timing { pace: Pace { idle: Duration::from_secs(3600), ..Pace::default() }, ..Timing::default() },
        }
    }

    pub fn lake(&self) -> Lake {
        let place = |name| Location::Local(self.dir.path().join("lake").join(name));
        Lake { events: place("events"), dead_letters: place("dead_letters") }
    }

    pub fn start(&self) -> Running {
        self.start_on(self.log.clone())
    }

    /// A sink that reads another log.
    pub fn start_on(&self, log: Arc<dyn log::Log>) -> Running {
        let (shutdown, answers) = (CancellationToken::new(), Answers::default());
        let told = answers.clone();
        let parts = Parts {
            jobs: sink::Jobs::default(),
            log,
            lake: self.lake(),
            dedup_rows: self.dedup_rows,
            bounds: TimeBounds { past_max: 30 * 24 * HOUR, future_max: HOUR, skew_min: 5_000_000 },
            clock: self.clock.clone(),
            report: Arc::new(move |answer| told.lock().unwrap().push(answer)),
        };
        let task = tokio::spawn(sink::run_with(self.config.clone(), parts, self.timing, shutdown.clone()));
        Running { task, shutdown, answers }
    }

    /// A sink that is told to stop at once: it reads all that is there, flushes, and ends.
    pub async fn drain(&self) -> Answers {
        let running = self.start();
        let answers = running.answers.clone();
        running.stop().await;
        answers
    }

    /// A sink that must end with an error.
    pub async fn fail(&self) -> Error {
        let running = self.start();
        tokio::time::timeout(PATIENCE, running.task).await.expect("it ends").unwrap().unwrap_err()
    }

    // ---- the log ----

    pub async fn append(&self, partition: u32, record: Record) -> u64 {
        self.log.writer().append(partition, record).await.unwrap()
    }

    /// One record with an event for each id, at noon.
    pub async fn produce(&self, partition: u32, ids: &[u128]) -> u64 {
        let events: Vec<(u128, Micros)> = ids.iter().map(|id| (*id, NOON)).collect();
        self.append(partition, record(&events)).await
    }

    // ---- the tables ----

    pub async fn events(&self) -> Option<Table> {
        Table::open(&self.lake().events).await.unwrap()
    }

    pub async fn rows(&self) -> Vec<Row> {
        let columns = ["event_id", "_topic", "_partition", "_offset", "_row", "event_time"];
        let mut rows = Vec::new();
        for (date, batch) in read(self.events().await.expect("the table is there"), &columns, "event_date").await {
            let number = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
            let partitions = batch.column_by_name("_partition").unwrap().as_primitive::<Int32Type>();
            let ids = batch.column_by_name("event_id").unwrap().as_binary::<i32>();
            let topics = batch.column_by_name("_topic").unwrap().as_string::<i32>();
            for row in 0..batch.num_rows() {
                rows.push(Row {
                    partition: partitions.value(row),
                    offset: number("_offset").value(row),
                    row: number("_row").value(row),
                    id: u128::from_be_bytes(ids.value(row).try_into().unwrap()),
                    topic: topics.value(row).to_owned(),
                    date: date.clone(),
                });
            }
        }
        rows.sort();
        rows
    }

    /// `(partition, offset, row, id)` of all rows.
    pub async fn places(&self) -> Vec<(i32, i64, i64, u128)> {
        self.rows().await.into_iter().map(|row| (row.partition, row.offset, row.row, row.id)).collect()
    }

    pub async fn ids(&self) -> Vec<u128> {
        let mut ids: Vec<u128> = self.rows().await.into_iter().map(|row| row.id).collect();
        ids.sort();
        ids
    }

    pub async fn dead_rows(&self) -> Vec<DeadRow> {
        let table = Table::open(&self.lake().dead_letters).await.unwrap().expect("the table is there");
        let mut rows = Vec::new();
        for (date, batch) in read(table, &["_partition", "_offset", "_row", "payload", "reason"], "received_date").await
        {
            let partitions = batch.column_by_name("_partition").unwrap().as_primitive::<Int32Type>();
            let offsets = batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>();
            let numbers = batch.column_by_name("_row").unwrap().as_primitive::<Int64Type>();
            let payloads = batch.column_by_name("payload").unwrap().as_binary::<i32>();
            let reasons = batch.column_by_name("reason").unwrap().as_string::<i32>();
            for row in 0..batch.num_rows() {
                rows.push(DeadRow {
                    partition: partitions.value(row),
                    offset: offsets.value(row),
                    row: numbers.is_valid(row).then(|| numbers.value(row)),
                    payload: payloads.value(row).to_vec(),
                    reason: reasons.value(row).to_owned(),
                    date: date.clone(),
                });
            }
        }
        rows.sort();
        rows
    }

    pub async fn position(&self, partition: u32) -> Option<Position> {
        let table = self.events().await?;
        let names = txn_names(self.log.cluster(), TOPIC, partition);
        let last = table.txn(&names.offset).await.unwrap()?;
        Some(Position {
            last,
            dedup: table.txn(&names.dedup).await.unwrap().unwrap(),
            rows: table.txn(&names.rows).await.unwrap().unwrap(),
            duplicates: table.txn(&names.duplicates).await.unwrap().unwrap(),
            dead_letters: table.txn(&names.dead_letters).await.unwrap().unwrap(),
        })
    }

    /// The version of `dead_letters`: counts its commits.
    pub async fn dead_version(&self) -> u64 {
        Table::open(&self.lake().dead_letters).await.unwrap().map_or(0, |table| table.version())
    }

    /// Waits until a partition is committed up to `last`.
    pub async fn committed(&self, partition: u32, last: i64) {
        eventually("the partition is committed", async || {
            self.position(partition).await.is_some_and(|position| position.last >= last)
        })
        .await;
    }
}

/// Waits for something that must come.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

async fn read(table: Table, columns: &[&str], date_column: &str) -> Vec<(String, RecordBatch)> {
    let mut batches = Vec::new();
    for file in table.files().await.unwrap() {
        let date = file.partition_values[date_column].clone().unwrap();
        let stream = table.read_file(&file.path, Some(columns)).await.unwrap();
        let of_file: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        batches.extend(of_file.into_iter().map(|batch| (date.clone(), batch)));
    }
    batches
}

/// A record as the edge makes it.
pub fn record(events: &[(u128, Micros)]) -> Record {
    let mut builder = BatchBuilder::new();
    for (id, event_time) in events {
        let event = ViewEvent {
            event_id: id.to_be_bytes(),
            event_time: *event_time,
            session_id: Some("session-1".into()),
            event_type: "heartbeat".into(),
            fields: Vec::new(),
            custom: vec![("player".into(), "p1".into())],
        };
        builder.append(Arrival { tenant: "default", source: "http", received_at: NOON }, &event);
    }
    codec::encode(&builder.finish()).unwrap()
}

/// A record that another producer wrote.
pub fn ndjson(lines: &str) -> Record {
    let content_type = Bytes::from_static(codec::content_type::NDJSON.as_bytes());
    Record {
        headers: vec![(codec::header::CONTENT_TYPE.to_owned(), content_type)],
        payload: Bytes::copy_from_slice(lines.as_bytes()),
    }
}

/// A line that is an event.
pub fn line(id: u128) -> String {
    let id = uuid_text(id);
    format!(
        "{{\"event_id\":\"{id}\",\"event_type\":\"heartbeat\",\"event_time\":\"2026-11-22T11:59:59Z\",\"session_id\":\"s\"}}\n"
    )
}

fn uuid_text(id: u128) -> String {
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
