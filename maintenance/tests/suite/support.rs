//! Tables with a few events, in memory or on disk, and windows that remember what they were told.
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BinaryArray, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow_schema::DataType;
use async_trait::async_trait;
use futures::TryStreamExt;
use lake::table::{Commit, Error, Outcome, Spec, Table, Txn};
use lake::tables::{LOG, REWRITES, dead_letters, events, txn_names};
use lake::upkeep::{Options, Upkeep};
use maintenance::{Bounds, Compaction, Config, Scope, Step, Windows};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub const DAY_US: i64 = 86_400_000_000;
/// 2026-11-20T00:00:00Z
pub const FIRST_DAY_US: i64 = 1_795_132_800_000_000;

/// An event of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub place: (i32, i64, i64),
    pub id: u32,
    pub time_us: i64,
    pub title: Option<String>,
}

/// The same, more briefly: at `offset` of `partition`, on `day` (0 is 2026-11-20).
pub fn event(partition: i32, offset: i64, id: u32, day: i64) -> Event {
    let title = Some(format!("title-{}", id % 5));
    Event { place: (partition, offset, 0), id, time_us: FIRST_DAY_US + day * DAY_US + i64::from(id) * 1_000_000, title }
}

impl Event {
    /// Its session: one of seven.
    pub fn session(&self) -> String {
        format!("session-{}", self.id % 7)
    }

    /// What compacted files are sorted by.
    pub fn order(&self) -> impl Ord + use<> {
        (
            self.title.is_none(),
            self.title.clone(),
            self.time_us / 3_600_000_000,
            self.session(),
            self.time_us,
            self.place,
        )
    }
}

pub fn date(time_us: i64) -> String {
    format!("2026-11-{}", 20 + (time_us - FIRST_DAY_US).div_euclid(DAY_US))
}

/// A lake of one table `events`, which several processes open.
#[derive(Clone)]
pub struct Lake {
    pub store: Arc<InMemory>,
}

impl Lake {
    pub fn new() -> Lake {
        Lake { store: Arc::new(InMemory::new()) }
    }

    /// One that begins as this one is.
    pub fn fork(&self) -> Lake {
        Lake { store: Arc::new(self.store.fork()) }
    }

    pub async fn table(&self) -> Table {
        self.table_on(self.store.clone()).await
    }

    /// Through a store that lies over this one.
    pub async fn table_on(&self, store: Arc<dyn ObjectStore>) -> Table {
        self.try_table_on(store).await.unwrap()
    }

    pub async fn try_table_on(&self, store: Arc<dyn ObjectStore>) -> Result<Table, Error> {
        Lake::opened(store, "events", events(2, 10)).await
    }

    /// The table `dead_letters` beside it.
    pub async fn try_letters_on(&self, store: Arc<dyn ObjectStore>) -> Result<Table, Error> {
        Lake::opened(store, "dead_letters", dead_letters(2)).await
    }

    async fn opened(store: Arc<dyn ObjectStore>, name: &str, mut spec: Spec) -> Result<Table, Error> {
        spec.properties.insert(LOG.to_owned(), "cluster/events".to_owned());
        let url = url::Url::parse(&format!("memory:///{name}")).unwrap();
        Table::open_or_create_with_store(store, url, &spec).await
    }
}

pub fn id(number: u32) -> [u8; 16] {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    id
}

/// Appends events as a sink does: a file for each date, one commit, with the totals that the audit checks.
pub async fn append(table: &mut Table, events: &[Event]) -> Outcome {
    let mut dates: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        dates.entry(date(event.time_us)).or_default().push(event.clone());
    }
    let mut commit = Commit { data_change: true, ..Commit::default() };
    for (date, mut events) in dates {
        events.sort();
        let groups = events.chunk_by(|a, b| a.place.0 == b.place.0).map(|group| vec![batch(table, group)]).collect();
        let values = BTreeMap::from([("event_date".to_owned(), Some(date))]);
        commit.adds.push(table.write_file(values, groups).await.unwrap());
    }
    for partition in 0..2 {
        let kept = events.iter().filter(|event| event.place.0 == partition).count() as i64;
        let app = txn_names("cluster", "events", partition.unsigned_abs()).rows;
        let expected = table.txn(&app).await.unwrap();
        commit.txns.push(Txn { app, expected, new: expected.unwrap_or(0) + kept });
    }
    table.commit(&commit).await.unwrap()
}

/// Rows of the table.
pub fn batch(table: &Table, events: &[Event]) -> RecordBatch {
    let schema = table.data_schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "event_id" => Arc::new(BinaryArray::from_iter_values(events.iter().map(|event| id(event.id)))),
            "event_time" => Arc::new(
                TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.time_us))
                    .with_data_type(field.data_type().clone()),
            ),
            "content_id" => Arc::new(events.iter().map(|event| event.title.clone()).collect::<StringArray>()),
            "session_id" => Arc::new(StringArray::from_iter_values(events.iter().map(Event::session))),
            "_partition" => Arc::new(Int32Array::from_iter_values(events.iter().map(|event| event.place.0))),
            "_offset" => Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.place.1))),
            "_row" => Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.place.2))),
            _ if field.is_nullable() => new_null_array(field.data_type(), events.len()),
            _ => match field.data_type() {
                DataType::Utf8 => Arc::new(StringArray::from_iter_values(events.iter().map(|_| "default"))),
                DataType::Timestamp(..) => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.time_us))
                        .with_data_type(field.data_type().clone()),
                ),
                DataType::Int16 => Arc::new(events.iter().map(|_| Some(1)).collect::<Int16Array>()),
                other => panic!("{}: {other}", field.name()),
            },
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

/// The events of each file, in its order.
pub async fn files(table: &Table) -> Vec<(String, Vec<Event>)> {
    let mut found = Vec::new();
    for file in table.files().await.unwrap() {
        let mut events = Vec::new();
        let columns = ["event_id", "event_time", "content_id", "_partition", "_offset", "_row"];
        let batches: Vec<_> = table.read_file(&file.path, Some(&columns)).await.unwrap().try_collect().await.unwrap();
        for batch in batches {
            let of = |name: &str| batch.column_by_name(name).unwrap();
            let (ids, titles) = (of("event_id").as_binary::<i32>(), of("content_id").as_string::<i32>());
            let times = of("event_time").as_primitive::<TimestampMicrosecondType>();
            let (offsets, rows) = (of("_offset").as_primitive::<Int64Type>(), of("_row").as_primitive::<Int64Type>());
            let partitions = of("_partition").as_primitive::<Int32Type>();
            events.extend((0..batch.num_rows()).map(|row| Event {
                place: (partitions.value(row), offsets.value(row), rows.value(row)),
                id: u32::from_be_bytes(ids.value(row)[..4].try_into().unwrap()),
                time_us: times.value(row),
                title: titles.iter().nth(row).unwrap().map(str::to_owned),
            }));
        }
        assert_eq!(file.rows, Some(events.len() as u64));
        let of_date = file.partition_values["event_date"].clone().unwrap();
        assert!(events.iter().all(|event| date(event.time_us) == of_date), "{}", file.path);
        found.push((file.path, events));
    }
    found
}

/// All events, by their place.
pub async fn all(table: &Table) -> Vec<Event> {
    let mut events: Vec<Event> = files(table).await.into_iter().flat_map(|(_, events)| events).collect();
    events.sort();
    events
}

/// What was told of windows.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub marks: Arc<Mutex<BTreeMap<i64, i64>>>,
    pub no_room: Arc<Mutex<bool>>,
}

#[async_trait]
impl Windows for Told {
    async fn mark(&mut self, times_us: &[i64], awaits: i64) -> Result<bool, Error> {
        tokio::task::yield_now().await;
        if *self.no_room.lock().unwrap() {
            return Ok(false);
        }
        let mut marks = self.marks.lock().unwrap();
        for time in times_us {
            let held = marks.entry(*time).or_insert(awaits);
            *held = awaits.max(*held);
        }
        Ok(true)
    }

    async fn awaited(&mut self) -> Result<Option<i64>, Error> {
        Ok(self.marks.lock().unwrap().values().max().copied())
    }
}

/// As each process has one: it is deleted after each step.
fn own_spill_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("playhead-maintenance-{}-{number}", std::process::id()))
}

/// A process that keeps the table.
pub struct Keeper {
    pub table: Table,
    pub upkeep: Upkeep,
    pub compaction: Compaction,
}

impl Keeper {
    pub async fn new(lake: &Lake, told: &Told) -> Keeper {
        Keeper::with(lake, told, Config::default(), &own_spill_dir()).await
    }

    /// With other bounds.
    pub fn bounded(self, bounds: Bounds) -> Keeper {
        Keeper { compaction: self.compaction.bounded(bounds), ..self }
    }

    /// Of a table that was opened before.
    pub fn on(table: Table, told: &Told) -> Keeper {
        Keeper::of(table, told, Config::default(), &own_spill_dir())
    }

    pub async fn with(lake: &Lake, told: &Told, config: Config, spill_dir: &Path) -> Keeper {
        Keeper::of(lake.table().await, told, config, spill_dir)
    }

    fn of(table: Table, told: &Told, config: Config, spill_dir: &Path) -> Keeper {
        // As a job: it takes the lease also from a replay, which must be as safe.
        let options = Options { lease_retry_ms: 0, held_ms: 1, merge_files_min: 3, ..Options::default() };
        let compaction = Compaction::new(config, Scope::Asked(None), spill_dir.to_owned(), Box::new(told.clone()));
        Keeper { table, upkeep: Upkeep::new(options), compaction }
    }

    /// Under the lease, which it takes.
    pub async fn step(&mut self) -> Step {
        let fence = self.upkeep.fence(&mut self.table, 0).await.unwrap().unwrap();
        self.compaction.step(&mut self.table, &fence, 0).await.unwrap()
    }

    /// Until nothing is left to be done.
    pub async fn compact(&mut self) -> u64 {
        let mut copies = 0;
        loop {
            match self.step().await {
                Step::Done(done) => copies += done.copies,
                Step::Nothing => return copies,
                other => panic!("{other:?}"),
            }
        }
    }
}

pub async fn rewrites(table: &Table) -> i64 {
    table.txn(REWRITES).await.unwrap().unwrap_or(0)
}
