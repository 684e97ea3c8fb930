//! Making and opening tables.
use crate::support::{DATE, Lake, flush, partition_rows, read_all, spec};
use arrow_array::Array as _;
use arrow_schema::{DataType, Field, Schema};
use futures::StreamExt as _;
use lake::location::Location;
use lake::table::{Error, Outcome, Spec, Table};
use lake::tables;
use std::sync::Arc;

crate::support::on_both! {
    a_new_table_has_the_columns_and_properties_of_its_spec
    a_table_that_is_there_is_opened_and_keeps_its_properties
    opening_what_is_not_there_is_none_and_makes_nothing
    of_many_that_make_a_table_at_once_one_does_and_all_have_it
    a_table_without_a_column_or_with_another_type_is_refused_in_words
    a_table_of_an_older_version_gets_the_new_columns_beside_who_writes_it_and_keeps_its_rows
    a_table_with_more_columns_than_the_spec_is_opened
    data_without_a_log_is_no_new_table
}

async fn a_new_table_has_the_columns_and_properties_of_its_spec(lake: Lake) {
    let table = lake.table().await;
    assert_eq!(table.version(), 0);
    let spec = spec();
    for field in spec.schema.fields() {
        let held = table.schema().field_with_name(field.name()).unwrap().clone();
        assert_eq!((held.data_type(), held.is_nullable()), (field.data_type(), field.is_nullable()), "{field}");
    }
    assert_eq!(table.property(tables::PARTITIONS).as_deref(), Some("2"));
    assert_eq!(table.property(tables::DEDUP_ROWS).as_deref(), Some("1000"));
    assert_eq!(table.property("no.such.property"), None);
}

async fn a_table_that_is_there_is_opened_and_keeps_its_properties(lake: Lake) {
    let mut table = lake.table().await;
    flush(&mut table, DATE, 0..10).await;
    let again = Table::open_or_create(&lake.location, &tables::events(9, 77)).await.unwrap();
    assert_eq!(again.version(), 1);
    assert_eq!(again.property(tables::PARTITIONS).as_deref(), Some("2"));
    assert_eq!(again.txn("p0").await.unwrap(), Some(9));
    assert_eq!(read_all(&again).await, partition_rows(0, 0..10));
}

async fn opening_what_is_not_there_is_none_and_makes_nothing(lake: Lake) {
    assert!(Table::open(&lake.location).await.unwrap().is_none());
    assert_eq!(std::fs::read_dir(lake.folder.path()).unwrap().count(), 0);
    assert_eq!(lake.names(None).await, [""; 0]);
}

async fn of_many_that_make_a_table_at_once_one_does_and_all_have_it(lake: Lake) {
    let makers = (0..8).map(|_| {
        let location = lake.location.clone();
        tokio::spawn(async move { Table::open_or_create(&location, &spec()).await })
    });
    let mut ids = Vec::new();
    for maker in makers.collect::<Vec<_>>() {
        let table = maker.await.unwrap().unwrap();
        assert_eq!(table.version(), 0);
        ids.push(format!("{:?}", table.schema()));
    }
    assert_eq!(ids.len(), 8);
    assert_eq!(lake.names(None).await.len(), 1, "one commit, no temp file, no probe");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_a_blank_and_an_umlaut_in_its_name_is_a_place_like_any() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Local(folder.path().join("mein Größtes").join("events"));
    let mut table = Table::open_or_create(&location, &spec()).await.unwrap();
    assert_eq!(flush(&mut table, DATE, 0..3).await, Outcome::Committed { version: 1 });
    let again = Table::open(&location).await.unwrap().unwrap();
    assert_eq!(read_all(&again).await, partition_rows(0, 0..3));
}

fn with_column(field: Field) -> Spec {
    let mut spec = spec();
    let mut fields = spec.schema.fields().to_vec();
    fields.retain(|held| held.name() != field.name());
    fields.push(Arc::new(field));
    spec.schema = Arc::new(Schema::new(fields));
    spec
}

async fn a_table_without_a_column_or_with_another_type_is_refused_in_words(lake: Lake) {
    lake.table().await;
    for (field, words) in [
        (Field::new("new_metric", DataType::Int64, false), "column new_metric is missing"),
        (Field::new("content_id", DataType::Int64, true), "column content_id is Utf8 there and Int64 here"),
    ] {
        let Err(Error::Incompatible { reason, .. }) = Table::open_or_create(&lake.location, &with_column(field)).await
        else {
            panic!("opened")
        };
        assert!(reason.contains(words), "{reason}");
    }
}

async fn a_table_of_an_older_version_gets_the_new_columns_beside_who_writes_it_and_keeps_its_rows(lake: Lake) {
    let mut older = lake.table().await;
    flush(&mut older, DATE, 0..3).await;
    let wider = with_column(Field::new("new_metric", DataType::Int64, true));
    let openers = (0..4).map(|_| {
        let (location, wider) = (lake.location.clone(), wider.clone());
        tokio::spawn(async move { Table::open_or_create(&location, &wider).await.unwrap() })
    });
    let mut newer = None;
    for opener in openers.collect::<Vec<_>>() {
        newer = Some(opener.await.unwrap());
    }
    let newer = newer.unwrap();
    assert_eq!(newer.version(), 2, "of four that add the column one does");
    let file = &newer.files().await.unwrap()[0];
    let batches: Vec<_> = newer.read_file(&file.path, Some(&["new_metric"])).await.unwrap().collect().await;
    assert!(batches.into_iter().all(|batch| batch.unwrap().column(0).null_count() == 3));
    assert_eq!(flush(&mut older, DATE, 3..6).await, Outcome::Committed { version: 3 });
    assert_eq!(read_all(&older).await, partition_rows(0, 0..6));
    let conflicting = with_column(Field::new("new_metric", DataType::Utf8, true));
    assert!(matches!(Table::open_or_create(&lake.location, &conflicting).await, Err(Error::Incompatible { .. })));
    assert_eq!(older.property(tables::PARTITIONS).as_deref(), Some("2"), "what else the table says is kept");
}

async fn a_table_with_more_columns_than_the_spec_is_opened(lake: Lake) {
    let wider = with_column(Field::new("new_metric", DataType::Int64, true));
    Table::open_or_create(&lake.location, &wider).await.unwrap();
    let mut table = lake.table().await;
    assert_eq!(flush(&mut table, DATE, 0..3).await, Outcome::Committed { version: 1 });
}

async fn data_without_a_log_is_no_new_table(lake: Lake) {
    let mut table = lake.table().await;
    flush(&mut table, DATE, 0..3).await;
    for commit in lake.names(Some("_delta_log")).await {
        lake.delete(&commit).await;
    }
    let Err(Error::Broken { reason, .. }) = Table::open_or_create(&lake.location, &spec()).await else {
        panic!("a table was made over the rows of another")
    };
    assert!(reason.contains("the log was lost"), "{reason}");
    let gone = table.reload().await;
    assert!(matches!(gone, Err(Error::Broken { .. })), "a table in use notices too: {gone:?}");
}
