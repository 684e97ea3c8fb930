//! Days that are kept as rows: what their windows come to, also after corrections and kills.
use crate::harness::{Harness, Running, eventually, rollup, rows_of};
use crate::late::event;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use lake::table::Table;
use lake::upkeep::Pace;
use processor::live::Live;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

const SESSIONS: &str =
    "select device_type, count(*) as n, approx_distinct(session_id) as sessions from events group by device_type";
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const TODAY: &str = "2026-11-22";
const TOMORROW: &str = "2026-11-23";

/// One whose tables are looked after all the time.
fn harness(sql: &str) -> Harness {
    let mut harness = Harness::new(1, vec![rollup("devices", sql)]);
    let pace = Duration::from_millis(5);
    harness.pace = Pace { idle: pace, busy: pace, stopped: pace };
    harness
}

fn of_session(id: u128, seconds: i64, device: &str, session: &str) -> Value {
    let mut event = event(id, seconds, device);
    event["session_id"] = session.into();
    event
}

/// Produces each event when it happens.
async fn happen(harness: &Harness, events: &[(i64, Value)]) {
    for (seconds, event) in events {
        harness.at(*seconds);
        harness.produce(0, std::slice::from_ref(event)).await;
    }
}

async fn table(harness: &Harness) -> Option<Table> {
    Table::open(&harness.lake().days.join("devices")).await.unwrap()
}

type Day = BTreeMap<(String, String), (i64, i64)>;

/// By date and device: events and sessions. No group stands twice.
async fn days(harness: &Harness) -> Day {
    let mut days = Day::new();
    let Some(table) = table(harness).await else { return days };
    for file in table.files().await.unwrap() {
        let date = file.partition_values["window_date"].clone().unwrap();
        for batch in rows_of(&table, &file.path).await {
            let numbers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
            let (n, sessions) = (numbers("n"), numbers("sessions"));
            let devices = batch.column_by_name("device_type").unwrap().as_string::<i32>();
            for row in 0..batch.num_rows() {
                let group = (date.clone(), devices.value(row).to_owned());
                assert_eq!(days.insert(group, (n.value(row), sessions.value(row))), None, "a group stands twice");
            }
        }
    }
    days
}

fn day(of: &[(&str, &str, i64, i64)]) -> Day {
    of.iter().map(|(date, device, n, sessions)| (((*date).to_owned(), (*device).to_owned()), (*n, *sessions))).collect()
}

/// Waits for the days, while time goes on from `seconds`; when it is then.
async fn become_days(harness: &Harness, mut seconds: i64, wanted: &Day) -> i64 {
    let are_there = async || {
        seconds += 10;
        harness.at(seconds);
        days(harness).await == *wanted
    };
    eventually("the days are there", are_there).await;
    seconds
}

/// A rollup beside, whose days show that its tables were looked after.
fn with_a_sign(mut harness: Harness) -> Harness {
    harness.config.rollups.push(rollup("sign", SESSIONS));
    harness.live = Live::new(&harness.config.rollups);
    harness
}

/// Waits until the sign has so many days, while time goes on.
async fn looked_after(harness: &Harness, mut seconds: i64, days: usize) -> i64 {
    let sign = harness.lake().days.join("sign");
    let is_kept = async || {
        seconds += 10;
        harness.at(seconds);
        match Table::open(&sign).await.unwrap() {
            Some(table) => table.files().await.unwrap().len() == days,
            None => false,
        }
    };
    eventually("the sign is kept", is_kept).await;
    seconds
}

/// Every day that is said to be kept is what the newest revisions of its windows come to; the rollup's table is looked at first,
/// as who reads does.
async fn believed_days_are_right(harness: &Harness, seed: u64) {
    let (Some(rollup), Some(of_days)) = (harness.table("devices").await, table(harness).await) else { return };
    let mut newest = BTreeMap::<i64, (i32, i64)>::new();
    for file in rollup.files().await.unwrap() {
        for batch in rows_of(&rollup, &file.path).await {
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let (starts, revisions, n) = (column("window_start"), column("revision"), column("n"));
            let (starts, n) = (starts.as_primitive::<TimestampMicrosecondType>(), n.as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let revision = revisions.as_primitive::<Int32Type>().value(row);
                let held = newest.entry(starts.value(row)).or_insert((revision, 0));
                match held.0.cmp(&revision) {
                    Ordering::Less => *held = (revision, n.value(row)),
                    Ordering::Equal => held.1 += n.value(row),
                    Ordering::Greater => {}
                }
            }
        }
    }
    let kept = processor::days::kept("devices", &rollup, &of_days).await.unwrap();
    let is_kept = |start: &i64| kept.iter().any(|time| time.contains(start));
    let by_windows: i64 = newest.iter().filter(|(start, _)| is_kept(start)).map(|(_, (_, n))| n).sum();
    let mut by_days = 0;
    for file in of_days.files().await.unwrap() {
        for batch in rows_of(&of_days, &file.path).await {
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let (starts, n) = (column("window_start"), column("n"));
            let rows = starts
                .as_primitive::<TimestampMicrosecondType>()
                .values()
                .iter()
                .zip(n.as_primitive::<Int64Type>().values());
            by_days += rows.filter(|(start, _)| is_kept(start)).map(|(_, n)| n).sum::<i64>();
        }
    }
    assert_eq!(by_days, by_windows, "seed {seed}: {kept:?}");
}

/// How many of the days that are kept are as the rollup's table says.
async fn kept(harness: &Harness) -> usize {
    let (rollup, days) = (harness.table("devices").await.unwrap(), table(harness).await.unwrap());
    processor::days::kept("devices", &rollup, &days).await.unwrap().len()
}

#[tokio::test]
async fn a_day_that_is_over_becomes_rows_and_todays_does_not() {
    let harness = harness(SESSIONS);
    let running = harness.start();
    happen(
        &harness,
        &[
            (0, of_session(1, 0, "tv", "a")),
            (HOUR, of_session(2, HOUR, "tv", "a")),
            (2 * HOUR, of_session(3, 2 * HOUR, "tv", "b")),
            (2 * HOUR, of_session(4, 2 * HOUR, "web", "c")),
            (13 * HOUR, of_session(5, 13 * HOUR, "tv", "a")),
        ],
    )
    .await;
    let wanted = day(&[(TODAY, "tv", 3, 2), (TODAY, "web", 1, 1)]);
    let now = become_days(&harness, 13 * HOUR, &wanted).await;
    assert_eq!(kept(&harness).await, 1);
    // It stays so, and is not computed again.
    let version = table(&harness).await.unwrap().version();
    become_days(&harness, now + 10 * MINUTE, &wanted).await;
    assert_eq!(table(&harness).await.unwrap().version(), version);
    running.stop().await;
}

#[tokio::test]
async fn a_correction_makes_its_day_old_and_then_anew() {
    let harness = harness(SESSIONS);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    let events = [
        (0, of_session(1, 0, "tv", "a")),
        (20 * HOUR, of_session(2, 20 * HOUR, "tv", "b")),
        (37 * HOUR, of_session(3, 37 * HOUR, "tv", "a")),
    ];
    happen(&harness, &events).await;
    let first = day(&[(TODAY, "tv", 1, 1), (TOMORROW, "tv", 1, 1)]);
    let now = become_days(&harness, 37 * HOUR, &first).await;
    assert_eq!(kept(&harness).await, 1, "two days that are neighbours");
    harness.produce(0, &[of_session(4, 20 * HOUR + 1, "tv", "c")]).await;
    let corrected =
        async || {
            harness.rows("devices").await.iter().any(|batch| {
                batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>().values().contains(&2)
            })
        };
    eventually("its window is corrected", corrected).await;
    assert_eq!(days(&harness).await, first, "late events come in swarms: it waits");
    let (rollup, of_days) = (harness.table("devices").await.unwrap(), table(&harness).await.unwrap());
    let kept_now = processor::days::kept("devices", &rollup, &of_days).await.unwrap();
    assert_eq!(kept_now.iter().map(|time| time.end - time.start).sum::<i64>(), lake::tables::DAY_US, "the other one");
    become_days(&harness, now, &day(&[(TODAY, "tv", 1, 1), (TOMORROW, "tv", 2, 2)])).await;
    assert_eq!(kept(&harness).await, 1);
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn killed_at_any_moment_no_day_is_doubled_or_lost() {
    for seed in 0..4 {
        killed_again_and_again(seed).await;
    }
}

async fn killed_again_and_again(seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let harness = harness(SESSIONS);
    let sink = harness.start_sink(5);
    let mut wanted = Day::new();
    let mut running: Running = harness.start();
    let (mut id, mut now) = (0, 0);
    for round in 0..20 {
        now += 6 * HOUR;
        harness.at(now);
        // Events of more than a day ago are not taken.
        let late = if round > 4 { 20 * HOUR } else { 0 };
        for at in [now, now - late] {
            id += 1;
            harness.produce(0, &[of_session(id, at, "tv", &format!("s{id}"))]).await;
            let date = if at < 12 * HOUR { 22 } else { 23 + (at - 12 * HOUR) / (24 * HOUR) };
            let group = wanted.entry((format!("2026-11-{date}"), "tv".to_owned())).or_default();
            *group = (group.0 + 1, group.1 + 1);
        }
        for _ in 0..chance.random_range(0..40) {
            now += 2;
            harness.at(now);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        believed_days_are_right(&harness, seed).await;
        running.kill().await;
        believed_days_are_right(&harness, seed).await;
        running = harness.start();
    }
    now += 30 * HOUR;
    harness.at(now);
    harness.produce(0, &[of_session(0xffff, now, "web", "last")]).await;
    let now = become_days(&harness, now, &wanted).await;
    eventually("nothing is marked any more", async || harness.marks().await == 0).await;
    become_days(&harness, now, &wanted).await;
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn of_a_rollup_whose_windows_cant_be_put_together_no_days_are_kept() {
    let harness = with_a_sign(harness("select device_type, avg(playhead_ms) as n from events group by device_type"));
    let running = harness.start();
    happen(&harness, &[(0, event(1, 0, "tv")), (13 * HOUR, event(2, 13 * HOUR, "tv"))]).await;
    looked_after(&harness, 13 * HOUR, 1).await;
    assert!(table(&harness).await.is_none());
    running.stop().await;
}

#[tokio::test]
async fn a_day_within_which_no_window_tiles_time_is_empty_and_holds_up_no_other() {
    let mut harness = with_a_sign(harness(SESSIONS));
    (harness.config.rollups[0].window, harness.config.rollups[0].slide) =
        (Duration::from_secs(3_600), Some(Duration::from_secs(300)));
    harness.live = Live::new(&harness.config.rollups);
    let running = harness.start();
    // Only windows that begin before midnight and don't tile time have it on the first day.
    let after_midnight = 12 * HOUR + 10 * MINUTE;
    let events = [(after_midnight, event(1, after_midnight, "tv")), (38 * HOUR, event(2, 38 * HOUR, "tv"))];
    happen(&harness, &events).await;
    become_days(&harness, 38 * HOUR, &day(&[(TOMORROW, "tv", 1, 1)])).await;
    // A day later it has been looked at again and again.
    happen(&harness, &[(62 * HOUR, event(3, 62 * HOUR, "tv"))]).await;
    let now = looked_after(&harness, 62 * HOUR, 2).await;
    become_days(&harness, now, &day(&[(TOMORROW, "tv", 1, 1), ("2026-11-24", "tv", 1, 1)])).await;
    let commits = table(&harness).await.unwrap().version();
    assert!(commits <= 3, "days that have no window of its own are not computed: {commits} commits");
    running.stop().await;
}

#[tokio::test]
async fn days_of_another_table_of_the_rollup_are_left_as_they_are() {
    let harness = with_a_sign(harness(SESSIONS));
    let running = harness.start();
    let events = [
        (0, of_session(1, 0, "tv", "a")),
        (13 * HOUR, of_session(2, 13 * HOUR, "tv", "b")),
        (37 * HOUR, of_session(3, 37 * HOUR, "tv", "c")),
    ];
    happen(&harness, &events[..2]).await;
    let first = day(&[(TODAY, "tv", 1, 1)]);
    become_days(&harness, 13 * HOUR, &first).await;
    running.stop().await;
    std::fs::remove_dir_all(harness.dir.path().join("lake/rollups/devices")).unwrap();
    let running = harness.start();
    eventually("it is made anew", async || !harness.rows("devices").await.is_empty()).await;
    happen(&harness, &events[2..]).await;
    looked_after(&harness, 37 * HOUR, 2).await;
    assert_eq!(days(&harness).await, first);
    assert_eq!(kept(&harness).await, 0, "who reads does not take them for this table's");
    running.stop().await;
}
