//! A log of JSON records, a sink that brings them to the tables, and replays of them. A "mended decoder" is one with wider
//! bounds of time: what it takes, the other one makes a dead letter of.
use crate::support::{DAY_US, Event, FIRST_DAY_US, Lake, Told, id};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use async_trait::async_trait;
use bytes::Bytes;
use event::clock::Clock;
use event::decode::TimeBounds;
use futures::TryStreamExt;
use lake::table::{Commit, Outcome, Table, Txn};
use lake::tables::txn_names;
use log::{Entry, Record};
use maintenance::replay::{Asked, Error, Job, Kind, Parts, Records, Replay};
use object_store::ObjectStore;
use sink::staging::Staging;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// When every record was taken: 2026-11-25T00:00:00Z.
pub const TAKEN_US: i64 = FIRST_DAY_US + 5 * DAY_US;

/// All events pass.
pub const MENDED: TimeBounds = TimeBounds { past_max: 30 * DAY_US, future_max: DAY_US, skew_min: DAY_US };

/// Events of the first three dates do not.
pub const BROKEN: TimeBounds = TimeBounds { past_max: DAY_US + 1_000_000, future_max: DAY_US, skew_min: DAY_US };

/// An event that no decoder takes.
pub const BAD_US: i64 = TAKEN_US - 60 * DAY_US;

/// Whether a decoder takes an event.
pub fn takes(bounds: TimeBounds, event: &Event) -> bool {
    event.time_us >= TAKEN_US - bounds.past_max
}

/// A log of two partitions; `start`: the first offset that it holds.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    pub partitions: [Vec<Vec<Event>>; 2],
    pub start: [u64; 2],
}

impl Recorded {
    /// Appends a record with these events (their ids and times); returns them with their places.
    pub fn append(&mut self, partition: usize, events: &[(u32, i64)]) -> Vec<Event> {
        let offset = self.partitions[partition].len() as i64;
        let of = |(row, (id, time_us)): (usize, &(u32, i64))| Event {
            place: (partition as i32, offset, row as i64),
            id: *id,
            time_us: *time_us,
            title: Some(format!("title-{}", id % 5)),
        };
        let events: Vec<Event> = events.iter().enumerate().map(of).collect();
        self.partitions[partition].push(events.clone());
        events
    }

    pub fn ends(&self) -> [u64; 2] {
        [self.partitions[0].len() as u64, self.partitions[1].len() as u64]
    }

    fn entry(&self, partition: u32, offset: u64) -> Entry {
        let line = |event: &Event| {
            serde_json::json!({
                "event_type": "heartbeat", "event_id": uuid_of(event.id), "session_id": "s", "content_id": event.title,
                "event_time": event.time_us / 1000,
            })
            .to_string()
        };
        let lines: Vec<String> = self.partitions[partition as usize][offset as usize].iter().map(line).collect();
        let headers = vec![("content-type".to_owned(), Bytes::from_static(b"application/x-ndjson"))];
        let record = Record { headers, payload: Bytes::from(lines.join("\n")) };
        // A microsecond apart: a chunk ends at a time.
        Entry { partition, offset, timestamp: TAKEN_US + offset as i64, record }
    }
}

fn uuid_of(number: u32) -> String {
    let hex: String = id(number).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[async_trait(?Send)]
impl Records for Recorded {
    async fn bounds(&self) -> Result<Vec<Range<u64>>, Error> {
        Ok((0..2).map(|of| self.start[of]..self.ends()[of]).collect())
    }

    /// Three at a time.
    async fn read(&self, partition: u32, offset: u64) -> Result<Vec<Entry>, Error> {
        tokio::task::yield_now().await;
        let (start, end) = (self.start[partition as usize], self.ends()[partition as usize]);
        if offset < start {
            return Err(Error::Log(format!("offset {offset} is below {start}")));
        }
        Ok((offset..end.min(offset + 3)).map(|offset| self.entry(partition, offset)).collect())
    }
}

/// Brings what the tables do not have yet, as a sink with this decoder does.
pub async fn bring(lake: &Lake, log: &Recorded, bounds: TimeBounds) {
    let mut events = lake.table().await;
    let mut letters = lake.try_letters_on(lake.store.clone()).await.unwrap();
    let mut staging = Staging::new(&events, &letters, "events", bounds).unwrap();
    let (mut of_events, mut of_letters) = (Commit::default(), Commit::default());
    let mut next = [0; 2];
    for partition in 0..2_u32 {
        let last = events.txn(&txn_names("cluster", "events", partition).offset).await.unwrap();
        next[partition as usize] = last.map_or(0, |last| last as u64 + 1);
        for offset in 0..next[partition as usize] {
            staging.take(&log.entry(partition, offset)).unwrap();
        }
    }
    // What is there already has only filled the windows.
    staging.staged().unwrap();
    for partition in 0..2 {
        let names = txn_names("cluster", "events", partition);
        let (end, mut rows, mut dead, mut last) = (log.ends()[partition as usize], 0, 0, None);
        for offset in next[partition as usize]..end {
            let entry = log.entry(partition, offset);
            rows += staging.take(&entry).unwrap() as i64;
            let of_record = &log.partitions[partition as usize][offset as usize];
            dead += of_record.iter().filter(|event| !takes(bounds, event)).count() as i64;
            last = Some((offset as i64, entry.record.fingerprint()));
        }
        let Some((last, fingerprint)) = last else { continue };
        for (commit, table, values) in [
            (&mut of_events, &events, vec![(&names.rows, rows), (&names.dead_letters, dead)]),
            (&mut of_letters, &letters, vec![(&names.dead_letters, dead)]),
        ] {
            for (app, new) in [(&names.offset, last), (&names.fingerprint, fingerprint)] {
                let expected = table.txn(app).await.unwrap();
                commit.txns.push(Txn { app: app.clone(), expected, new });
            }
            for (app, more) in values {
                let expected = table.txn(app).await.unwrap();
                commit.txns.push(Txn { app: app.clone(), expected, new: expected.unwrap_or(0) + more });
            }
        }
    }
    if of_events.txns.is_empty() {
        return;
    }
    let staged = staging.staged().unwrap();
    for (table, commit, dates, column) in [
        (&mut letters, &mut of_letters, staged.dead_letters, "received_date"),
        (&mut events, &mut of_events, staged.events, "event_date"),
    ] {
        commit.data_change = true;
        for (date, groups) in dates {
            let values = BTreeMap::from([(column.to_owned(), Some(date))]);
            commit.adds.push(table.write_file(values, groups).await.unwrap());
        }
        assert!(matches!(table.commit(commit).await.unwrap(), Outcome::Committed { .. }));
    }
}

/// The places of all dead letters.
pub async fn letters(lake: &Lake) -> BTreeSet<(i32, i64, i64)> {
    let table = lake.try_letters_on(lake.store.clone()).await.unwrap();
    let mut places = BTreeSet::new();
    for file in table.files().await.unwrap() {
        let columns = ["_partition", "_offset", "_row"];
        let batches: Vec<_> = table.read_file(&file.path, Some(&columns)).await.unwrap().try_collect().await.unwrap();
        for batch in batches {
            let (partitions, offsets) =
                (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int64Type>());
            let rows = batch.column(2).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let place = (partitions.value(row), offsets.value(row), rows.value(row));
                assert!(places.insert(place), "the dead letter at {place:?} is doubled");
            }
        }
    }
    places
}

/// What the audit goes by: rows that sinks brought, less what was removed; the same of dead letters.
pub async fn totals(lake: &Lake) -> (i64, i64) {
    let (events, dead) = (lake.table().await, lake.try_letters_on(lake.store.clone()).await.unwrap());
    let (mut rows, mut letters) = (0, 0);
    for partition in 0..2 {
        let names = txn_names("cluster", "events", partition);
        let of = async |table: &Table, app: &str| table.txn(app).await.unwrap().unwrap_or(0);
        rows += of(&events, &names.rows).await - of(&events, &names.removed).await;
        letters += of(&events, &names.dead_letters).await - of(&dead, &names.removed).await;
    }
    (rows, letters)
}

/// Each process begins a day after the one before: by then whoever is silent has died.
struct Day(i64);

impl Day {
    fn next() -> Arc<dyn Clock> {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        Arc::new(Day(TAKEN_US + NEXT.fetch_add(1, Ordering::Relaxed) * DAY_US))
    }
}

impl Clock for Day {
    fn now(&self) -> i64 {
        self.0
    }
}

/// A process that replays.
pub async fn replayer<'a>(
    lake: &Lake,
    log: &'a Recorded,
    told: &Told,
    bounds: TimeBounds,
    store: Arc<dyn ObjectStore>,
) -> Result<Replay<'a>, Error> {
    let events = lake.try_table_on(store.clone()).await?;
    let dead_letters = lake.try_letters_on(store).await?;
    let windows = Box::new(told.clone());
    let (cluster, topic) = ("cluster".to_owned(), "events".to_owned());
    Replay::new(Parts {
        events,
        dead_letters,
        records: log,
        cluster,
        topic,
        bounds,
        windows,
        clock: Day::next(),
        process: "a test".to_owned(),
    })
    .await
}

/// What is asked for, and how.
#[derive(Debug, Clone)]
pub struct Order {
    pub asked: Asked,
    pub kind: Kind,
    pub dead_letters_only: bool,
    pub chunk_rows: u64,
    pub keep_missing: bool,
}

impl Order {
    pub fn all() -> Order {
        Order {
            asked: Asked::All,
            kind: Kind::Replay,
            dead_letters_only: false,
            chunk_rows: 1_000,
            keep_missing: false,
        }
    }
}

/// Finishes what was left unfinished, then does what is asked for.
pub async fn replay(replay: &mut Replay<'_>, order: &Order) -> Result<Job, Error> {
    let nothing = |_: &Job, _: u64, _: u64| {};
    if let Some(job) = replay.unfinished().await? {
        replay.finish(job, &nothing).await?;
    }
    let limits = (order.chunk_rows, order.keep_missing);
    let plan = replay.plan(&order.asked, order.kind, order.dead_letters_only, limits).await?;
    replay.begin(&plan, &nothing).await
}

/// Only finishes what was left unfinished; does what is asked for if nothing of it was begun.
pub async fn finish(replay: &mut Replay<'_>, order: &Order) {
    match replay.unfinished().await.unwrap() {
        Some(job) => drop(replay.finish(job, &|_, _, _| {}).await.unwrap()),
        None if replay.jobs().all().await.unwrap().is_empty() => drop(self::replay(replay, order).await.unwrap()),
        None => {}
    }
}
