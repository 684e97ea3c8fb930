//! An edge on a free port of loopback, over a log in memory with faults by order.
use crate::client::Client;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use event::clock::{Clock, Micros};
use event::codec::{self, Place};
use event::decode::TimeBounds;
use ingest::{Config, Error, Parts};
use log::memory::{Faults, Log};
use log::{Entry, Log as _, Next};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// When everything happens.
pub const NOW: Micros = 1_790_000_000_000_000;

pub const BOUNDS: TimeBounds =
    TimeBounds { past_max: 30 * 86_400_000_000, future_max: 3_600_000_000, skew_min: 5_000_000 };

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Micros {
        NOW
    }
}

/// A row in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    pub partition: u32,
    pub offset: u64,
    /// As 32 hexadecimal digits.
    pub event_id: String,
    pub event_type: String,
    pub session_id: Option<String>,
}

pub struct Node {
    pub address: SocketAddr,
    pub log: Arc<Log>,
    pub stop: CancellationToken,
    /// What was reported, in order.
    pub reports: Arc<Mutex<Vec<Result<(), String>>>>,
    running: JoinHandle<Result<(), Error>>,
}

/// Short enough to wait for, and long enough for a good request on a machine that has other things to do.
pub const DEADLINE_MS: u64 = 1_500;

/// Settings with deadlines short enough to wait for.
pub fn quick() -> Config {
    Config {
        header_timeout_ms: DEADLINE_MS,
        body_timeout_ms: DEADLINE_MS,
        idle_timeout_ms: DEADLINE_MS,
        append_timeout_ms: DEADLINE_MS,
        drain_timeout_ms: 2_000,
        ..Config::default()
    }
}

impl Node {
    pub async fn start(config: Config, partitions: u32) -> Node {
        let ids = AtomicU64::new(1);
        let random_id = move || u128::from(ids.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
        Node::start_with(config, partitions, Arc::new(random_id)).await
    }

    /// `random_id` is called while a body is decoded.
    pub async fn start_with(
        config: Config,
        partitions: u32,
        random_id: Arc<dyn Fn() -> [u8; 16] + Send + Sync>,
    ) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Log::new("events", partitions, Arc::new(StoppedClock));
        let reports = Arc::new(Mutex::new(Vec::new()));
        let parts = Parts {
            listener,
            writer: log.writer(),
            bounds: BOUNDS,
            clock: Arc::new(StoppedClock),
            random_id,
            pages: None,
            report: {
                let reports = reports.clone();
                Arc::new(move |ready| reports.lock().unwrap().push(ready))
            },
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(ingest::run(config, parts, stop.clone()));
        Node { address, log, stop, reports, running }
    }

    pub async fn one_partition() -> Node {
        Node::start(Config::default(), 1).await
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub fn faults(&self) -> Faults {
        self.log.faults()
    }

    /// Waits until the last report satisfies `expected`.
    pub async fn reports(&self, expected: impl Fn(&Result<(), String>) -> bool) {
        for _ in 0..500 {
            if self.reports.lock().unwrap().last().is_some_and(&expected) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("only this is reported: {:?}", self.reports.lock().unwrap());
    }

    /// What `run` returned, once it does.
    pub async fn ended(self) -> Result<(), Error> {
        self.running.await.unwrap()
    }

    /// Everything durable in the log.
    pub async fn entries(&self) -> Vec<Entry> {
        let mut reader = self.log.reader(None).await.unwrap();
        let (mut entries, mut open) = (Vec::new(), 0);
        loop {
            match reader.next().await.unwrap() {
                Next::Assigned(partitions) => {
                    open = partitions.len();
                    for partition in partitions {
                        reader.seek(partition, 0).await.unwrap();
                    }
                }
                Next::Record(entry) => entries.push(entry),
                Next::CaughtUp { .. } => {
                    open -= 1;
                    if open == 0 {
                        return entries;
                    }
                }
                Next::Revoked(_) => {}
            }
        }
    }

    /// Every event in the log.
    pub async fn rows(&self) -> Vec<Row> {
        self.entries().await.iter().flat_map(rows_of).collect()
    }
}

fn rows_of(entry: &Entry) -> Vec<Row> {
    let place = Place { topic: "events", partition: entry.partition, offset: entry.offset, timestamp: entry.timestamp };
    let decoded = codec::decode(&entry.record, place, BOUNDS);
    assert_eq!(decoded.dead, []);
    let ids = decoded.batch.column_by_name("event_id").unwrap().as_fixed_size_binary();
    let text =
        |name: &str| arrow_cast::cast(decoded.batch.column_by_name(name).unwrap(), &arrow_schema::DataType::Utf8);
    let (types, sessions) = (text("event_type").unwrap(), text("session_id").unwrap());
    let (types, sessions) = (types.as_string::<i32>(), sessions.as_string::<i32>());
    (0..decoded.batch.num_rows())
        .map(|row| Row {
            partition: entry.partition,
            offset: entry.offset,
            event_id: ids.value(row).iter().map(|byte| format!("{byte:02x}")).collect(),
            event_type: types.value(row).to_owned(),
            session_id: sessions.is_valid(row).then(|| sessions.value(row).to_owned()),
        })
        .collect()
}

/// The `number`th event: its id is `number` as a UUID.
pub fn event(number: u64) -> Value {
    json!({
        "event_id": uuid::Uuid::from_u128(number.into()).to_string(),
        "event_type": "heartbeat",
        "event_time": NOW / 1_000,
        "session_id": format!("session-{}", number % 97),
    })
}

/// The id of the `number`th event, as in [`Row`].
pub fn id(number: u64) -> String {
    format!("{number:032x}")
}
