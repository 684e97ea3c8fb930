//! Views of rollups: newest revisions, windows put together.
use super::lake_tables::{HOUR_US, number, query, refused, times, write};
use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::physical_plan::displayable;
use lake::location::Location;
use lake::table::{Commit, Table, Txn};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const MINUTE_US: i64 = 60_000_000;
const PLAYS: &str = "select device_type, count(*) as plays, min(startup_ms) as least from events group by device_type";

/// A row: start of its window (µs), revision, device, plays.
type Row = (i64, i32, &'static str, i64);

async fn write_rollup(root: &Path, sql: &str, (window_us, slide_us): (i64, i64), rows: &[Row]) {
    let rows = RecordBatch::try_from_iter([
        ("window_start", times(rows.iter().map(|row| row.0))),
        ("window_end", times(rows.iter().map(|row| row.0 + window_us))),
        ("revision", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1))) as ArrayRef),
        ("device_type", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2)))),
        ("plays", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3)))),
        ("least", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3 as f64)))),
    ]);
    let properties = [
        ("playhead.rollup.sql", sql.to_owned()),
        ("playhead.rollup.window_us", window_us.to_string()),
        ("playhead.rollup.slide_us", slide_us.to_string()),
    ];
    write(&root.join("rollups/plays"), &properties, None, &rows.unwrap()).await;
}

#[tokio::test]
async fn of_each_window_the_newest_revision_is_shown_whichever_file_it_is_in() {
    let temp = TempDir::new().unwrap();
    let minutes = (MINUTE_US, MINUTE_US);
    write_rollup(temp.path(), PLAYS, minutes, &[(0, 1, "tv", 10), (0, 1, "web", 1), (MINUTE_US, 1, "tv", 5)]).await;
    write_rollup(temp.path(), PLAYS, minutes, &[(0, 2, "tv", 20), (2 * MINUTE_US, 1, "tv", 7)]).await;
    let query = query(temp.path());
    assert_eq!(number(&query, "select sum(plays) from revisions.plays").await, 43);
    assert_eq!(number(&query, "select sum(plays) from rollups.plays").await, 32);
    let plan = query.plan("select * from rollups.plays").await.unwrap().create_physical_plan().await.unwrap();
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    // What is held in memory is the first input of a join.
    let (join, rest) = shown.split_once("HashJoinExec").unwrap();
    assert!(!join.contains("DataSourceExec") && rest.contains("RightSemi"), "{shown}");
    assert_eq!(number(&query, "select count(*) from rollups.plays where device_type = 'web'").await, 0);
    assert_eq!(number(&query, "select count(*) from rollups.plays where window_start > '2026-01-01'").await, 0);
    assert_eq!(number(&query, "select plays from rollups.plays where window_start = '1970-01-01T00:00:00Z'").await, 20);
}

#[tokio::test]
async fn windows_are_put_together_to_hours_and_days_by_their_aggregates() {
    let temp = TempDir::new().unwrap();
    let rows = [(0, 1, "tv", 10), (MINUTE_US, 1, "tv", 5), (HOUR_US, 1, "tv", 3), (24 * HOUR_US, 1, "tv", 1)];
    write_rollup(temp.path(), PLAYS, (MINUTE_US, MINUTE_US), &rows).await;
    write_rollup(temp.path(), PLAYS, (MINUTE_US, MINUTE_US), &[(MINUTE_US, 2, "tv", 6)]).await;
    let query = query(temp.path());
    assert_eq!(number(&query, "select count(*) from hours.plays").await, 3);
    assert_eq!(number(&query, "select plays from hours.plays order by window_start limit 1").await, 16);
    assert_eq!(number(&query, "select plays from days.plays order by window_start limit 1").await, 19);
    assert_eq!(number(&query, "select cast(least as bigint) from days.plays order by window_start limit 1").await, 3);
    assert_eq!(number(&query, "select plays from days.plays order by window_start desc limit 1").await, 1);
    let first =
        "select count(*) from (select device_type from days.plays where window_start = '1970-01-01T00:00:00Z' limit 1)";
    assert_eq!(number(&query, first).await, 1);
    let rows = "select window_start from days.plays where window_start = '1970-01-01' limit 1";
    let rows = query.plan(rows).await.unwrap().collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

#[tokio::test]
async fn days_that_are_kept_are_taken_so_while_no_window_of_them_was_corrected_since() {
    let temp = TempDir::new().unwrap();
    let rows = [(0, 1, "tv", 10), (24 * HOUR_US, 1, "tv", 5), (48 * HOUR_US, 1, "tv", 3)];
    write_rollup(temp.path(), PLAYS, (MINUTE_US, MINUTE_US), &rows).await;
    let rollup = Location::Local(temp.path().join("rollups/plays"));
    set(&rollup, &[("processor//plays", 50 * HOUR_US)]).await;
    let query = query(temp.path());
    let days = "select cast(sum(plays * pow(100, date_part('epoch', window_start) / 86400)) as bigint) from days.plays";
    assert_eq!(number(&query, days).await, 3_05_10);

    // Other numbers than the windows', so that it shows which are taken.
    let id = Table::open(&rollup).await.unwrap().unwrap().id();
    for (date, start, plays) in [("1970-01-01", 0, 90), ("1970-01-02", 24 * HOUR_US, 80)] {
        let rows = RecordBatch::try_from_iter([
            ("window_start", times([start])),
            ("window_end", times([start + 24 * HOUR_US])),
            ("closed_at", times([start + 24 * HOUR_US])),
            ("device_type", Arc::new(StringArray::from_iter_values(["tv"])) as ArrayRef),
            ("plays", Arc::new(Int64Array::from_iter_values([plays]))),
            ("least", Arc::new(Float64Array::from_iter_values([1.0]))),
        ]);
        let properties = [("playhead.days.of", id.clone())];
        write(&temp.path().join("days/plays"), &properties, Some(("window_date", date)), &rows.unwrap()).await;
    }
    assert_eq!(number(&query, days).await, 3_05_10, "they are not said to be of these windows");
    let kept = Location::Local(temp.path().join("days/plays"));
    set(&kept, &[("processor//plays/day/0", 0), ("processor//plays/day/1", 0)]).await;
    assert_eq!(number(&query, days).await, 3_80_90);
    assert_eq!(number(&query, "select plays from days.plays where window_start = '1970-01-02T00:00:00Z'").await, 80);
    set(&rollup, &[("processor//plays/day/0", 7)]).await;
    assert_eq!(number(&query, days).await, 3_80_10, "a window of the first was corrected");
    set(&kept, &[("processor//plays/day/0", 7)]).await;
    assert_eq!(number(&query, days).await, 3_80_90);
}

/// Sets `txn`s.
async fn set(at: &Location, values: &[(&str, i64)]) {
    let mut table = Table::open(at).await.unwrap().unwrap();
    let mut txns = Vec::new();
    for (app, new) in values {
        txns.push(Txn { app: (*app).to_owned(), expected: table.txn(app).await.unwrap(), new: *new });
    }
    table.commit(&Commit { txns, ..Commit::default() }).await.unwrap();
}

#[tokio::test]
async fn of_windows_that_overlap_those_that_tile_time_are_put_together() {
    let temp = TempDir::new().unwrap();
    // Ten minutes, one each five: an event of minute 7 is in two of them.
    let rows = [(-5, 1, "tv", 1), (0, 1, "tv", 3), (5, 1, "tv", 4), (10, 1, "tv", 2)]
        .map(|(minute, revision, device, plays)| (minute * MINUTE_US, revision, device, plays));
    write_rollup(temp.path(), PLAYS, (10 * MINUTE_US, 5 * MINUTE_US), &rows).await;
    let query = query(temp.path());
    assert_eq!(number(&query, "select sum(plays) from days.plays").await, 5);
}

#[tokio::test]
async fn a_rollup_whose_columns_cant_be_merged_is_refused_with_what_to_select_instead() {
    for (sql, words) in [
        (
            "select device_type, avg(startup_ms) as plays, 1.0 as least from events group by device_type",
            "counts and sums",
        ),
        (
            "select device_type, count(*) as plays, min(startup_ms) as least from events group by device_type having count(*) > 1",
            "leave out the HAVING",
        ),
    ] {
        let temp = TempDir::new().unwrap();
        write_rollup(temp.path(), sql, (MINUTE_US, MINUTE_US), &[(0, 1, "tv", 1)]).await;
        let query = query(temp.path());
        let told = refused(&query, "select * from days.plays").await;
        assert!(told.contains("can't be put together") && told.contains(words), "{told}");
        assert_eq!(number(&query, "select count(*) from rollups.plays").await, 1);
    }
}
