//! The lake's own tables: the newest snapshot, files that can't match, nothing written.
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use lake::location::Location;
use lake::table::{Commit, Spec, Table};
use processor::rollup::Definition;
use query::{LAKE_TABLES, Lake, OpenWindows, Query};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

pub const HOUR_US: i64 = 3_600_000_000;

#[derive(Debug)]
struct NoNode;

#[async_trait]
impl OpenWindows for NoNode {
    async fn rows(&self, _rollup: &str) -> Result<Vec<RecordBatch>, String> {
        Err("no node runs".to_owned())
    }
}

pub fn query(root: &Path) -> Query {
    let at = |name: &str| Location::Local(root.join(name));
    let lake = Lake { tables: LAKE_TABLES.map(at), rollups: at("rollups"), days: at("days") };
    Query::new(lake, vec![Definition { name: "kept".to_owned(), ..Definition::defaults().remove(0) }], Arc::new(NoNode))
        .unwrap()
}

/// The one number that a statement answers.
pub async fn number(query: &Query, sql: &str) -> i64 {
    let batches = query.plan(sql).await.unwrap().collect().await.unwrap();
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (1, 1), "{sql}");
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

pub async fn refused(query: &Query, sql: &str) -> String {
    match query.plan(sql).await {
        Err(error) => error.to_string(),
        Ok(plan) => plan.collect().await.unwrap_err().to_string(),
    }
}

pub fn times(us: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(us).with_timezone("UTC"))
}

/// Makes a table, or opens it, and commits one file of these rows.
pub async fn write(at: &Path, properties: &[(&str, String)], partition: Option<(&str, &str)>, rows: &RecordBatch) {
    let mut fields = rows.schema().fields().to_vec();
    fields.extend(partition.map(|(name, _)| Arc::new(Field::new(name, DataType::Date32, true))));
    let spec = Spec {
        schema: Arc::new(Schema::new(fields)),
        partition_columns: partition.iter().map(|(name, _)| (*name).to_owned()).collect(),
        properties: properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        statistics_columns: vec!["event_time".to_owned(), "window_start".to_owned(), "content_id".to_owned()],
    };
    let mut table = Table::open_or_create(&Location::Local(at.to_owned()), &spec).await.unwrap();
    let values: BTreeMap<_, _> =
        partition.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    let file = table.write_file(values, vec![vec![rows.clone()]]).await.unwrap();
    table.commit(&Commit { adds: vec![file], data_change: true, ..Commit::default() }).await.unwrap();
}

/// Events of one hour of 2026-11-22, one a title.
async fn write_hour(root: &Path, hour: i64, titles: &[&str]) {
    let start = 1_795_305_600_000_000 + hour * HOUR_US;
    let events = RecordBatch::try_from_iter([
        ("event_time", times((0..titles.len() as i64).map(|event| start + event))),
        ("content_id", Arc::new(StringArray::from(titles.to_vec())) as ArrayRef),
        ("playhead_ms", Arc::new(Int64Array::from_iter_values(0..titles.len() as i64)) as ArrayRef),
    ]);
    write(&root.join("events"), &[], Some(("event_date", "2026-11-22")), &events.unwrap()).await;
}

#[tokio::test]
async fn a_statement_sees_what_was_committed_before_it() {
    let temp = TempDir::new().unwrap();
    let query = query(temp.path());
    assert!(refused(&query, "select * from events").await.contains("its first rows make it"));
    write_hour(temp.path(), 0, &["a", "b"]).await;
    assert_eq!(number(&query, "select count(*) from events").await, 2);
    write_hour(temp.path(), 1, &["c"]).await;
    assert_eq!(number(&query, "select count(*) from events").await, 3);
    assert_eq!(number(&query, "select count(*) from events where content_id in ('a', 'c')").await, 2);
}

#[tokio::test]
async fn files_whose_statistics_say_that_no_row_matches_are_not_read() {
    let temp = TempDir::new().unwrap();
    for (hour, titles) in [(0, ["a", "b"]), (1, ["c", "d"]), (2, ["e", "f"])] {
        write_hour(temp.path(), hour, &titles).await;
    }
    let folder = temp.path().join("events/event_date=2026-11-22");
    let query = query(temp.path());
    let files = |sql: &'static str| {
        let query = &query;
        async move {
            let plan = query.plan(sql).await.unwrap().create_physical_plan().await.unwrap();
            let shown = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
            shown.matches(".parquet").count()
        }
    };
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
    assert_eq!(files("select * from events").await, 3);
    assert_eq!(files("select * from events where content_id = 'c'").await, 1);
    assert_eq!(files("select * from events where event_time >= '2026-11-22T01:00:00Z'").await, 2);
    assert_eq!(files("select * from events where event_date = '2026-11-22'").await, 3);
    assert_eq!(files("select * from events where event_date > '2026-11-22'").await, 0);
    // What has no statistics can't be left out.
    assert_eq!(files("select * from events where playhead_ms > 100").await, 3);
    assert_eq!(
        number(&query, "select count(*) from events where event_time >= '2026-11-22T01:00:00.000001Z'").await,
        3
    );
}

#[tokio::test]
async fn the_largest_time_of_a_file_may_be_later_than_its_statistics_say() {
    let temp = TempDir::new().unwrap();
    let late = RecordBatch::try_from_iter([("event_time", times([1_000_999])), ("content_id", titles(1))]).unwrap();
    write(&temp.path().join("events"), &[], None, &late).await;
    // As others write it, who cut what is below a millisecond.
    let log = temp.path().join("events/_delta_log/00000000000000000001.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let cut = text.replace("1970-01-01T00:00:01.001Z", "1970-01-01T00:00:01.000Z");
    assert_ne!(text, cut, "{text}");
    std::fs::write(&log, cut).unwrap();
    let query = query(temp.path());
    let later = "select count(*) from events where event_time > '1970-01-01T00:00:01.000500Z'";
    assert_eq!(number(&query, later).await, 1);
}

fn titles(rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("title-{row}"))))
}

#[tokio::test]
async fn nothing_can_be_written_and_a_wrong_name_is_told_with_the_right_ones() {
    let temp = TempDir::new().unwrap();
    write_hour(temp.path(), 0, &["a"]).await;
    let query = query(temp.path());
    for sql in [
        "insert into events select * from events",
        "create table copies as select * from events",
        "copy events to 'copies.parquet'",
        "set datafusion.execution.batch_size = 1",
        "drop table events",
    ] {
        assert!(refused(&query, sql).await.contains("nothing can be written"), "{sql}: {}", refused(&query, sql).await);
    }
    assert!(refused(&query, "select * from evnts").await.contains("there are: lake.events, "));
    assert!(refused(&query, "select 1; select 2").await.contains("one at a time"));
    assert!(refused(&query, "select * from live.kept").await.contains("no node runs"));
    assert_eq!(number(&query, "select count(*) from events").await, 1);
}

#[tokio::test]
async fn an_id_is_bytes_that_compare_with_its_text() {
    let temp = TempDir::new().unwrap();
    let query = query(temp.path());
    let id = "6ea6a914-9f62-4880-8729-6741b60f09c6";
    let same = format!("select cast(bin_to_uuid(uuid_to_bin('{id}')) = '{id}' as bigint)");
    assert_eq!(number(&query, &same).await, 1);
    assert_eq!(number(&query, &format!("select cast(length(encode(uuid_to_bin('{id}'), 'hex')) as bigint)")).await, 32);
    for same in [format!("uuid_to_bin('{id}') = '{id}'"), format!("'{id}' = uuid_to_bin('{id}')")] {
        assert_eq!(number(&query, &format!("select cast({same} as bigint)")).await, 1);
    }
    assert_eq!(number(&query, &format!("select cast(uuid_to_bin('{id}') <> '{id}' as bigint)")).await, 0);
    assert!(refused(&query, &format!("select uuid_to_bin('{id}') = 'x'")).await.contains("is no UUID"));
    assert!(refused(&query, "select uuid_to_bin('none')").await.contains("is no UUID"));
}
