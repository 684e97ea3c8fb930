//! Data files: what is written is what is read.
use crate::support::{DATE, Lake, NOON_MICROS, date, events, partition_rows, read, write};
use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, Int64Array, RecordBatch};
use arrow_schema::DataType;
use futures::{StreamExt as _, TryStreamExt as _};
use lake::table::{Commit, DataFile, Error, Layout, Table};
use parquet::basic::Encoding;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use std::collections::BTreeSet;
use std::sync::Arc;

crate::support::on_both! {
    a_file_reads_back_as_it_was_written
    the_statistics_bound_the_rows
    files_are_found_by_the_times_of_their_rows
    each_group_becomes_a_row_group_of_its_own
    a_sorted_file_has_smaller_groups_and_bounds_of_pages_where_it_is_sorted
    a_file_of_many_chunks_is_whole
    a_column_that_the_table_does_not_have_is_refused_and_leaves_no_file
    a_missing_file_has_no_size_and_breaks_the_read
}

async fn a_file_reads_back_as_it_was_written(lake: Lake) {
    let table = lake.table().await;
    let file = write(&table, DATE, &[(0, 0..3), (1, 100..105)]).await;
    assert_eq!(file.rows, 8);
    assert!(file.path.starts_with("event_date=2026-11-22/part-") && file.path.ends_with(".zstd.parquet"));
    let batches: Vec<RecordBatch> = table.read_file(&file.path, None).await.unwrap().try_collect().await.unwrap();
    let batch = arrow_select::concat::concat_batches(&table.data_schema(), &batches).unwrap();
    assert_eq!(batch.schema(), table.data_schema());
    let id = batch.column_by_name("event_id").unwrap().as_binary::<i32>().value(3).to_owned();
    assert_eq!(id, (1_i128 << 64 | 100).to_be_bytes());
    let time = batch.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>().value(1);
    assert_eq!(time, NOON_MICROS + 1001);
    assert_eq!(batch.column_by_name("event_type").unwrap().data_type(), &DataType::Utf8);
    let custom = batch.column_by_name("custom").unwrap().as_map();
    assert_eq!(custom.value(4).column(1).as_string::<i32>().value(0), "arm-101");
    assert!(batch.column_by_name("user_id").unwrap().is_null(0), "a column that the batch did not have");
    let mut expected = partition_rows(0, 0..3);
    expected.extend(partition_rows(1, 100..105));
    assert_eq!(read(&table, &file.path).await, expected);
}

async fn the_statistics_bound_the_rows(lake: Lake) {
    let table = lake.table().await;
    let file = write(&table, DATE, &[(0, 0..3), (1, 100..105)]).await;
    let stats: serde_json::Value = serde_json::from_str(&file.stats).unwrap();
    assert_eq!(stats["numRecords"], 8);
    assert_eq!((&stats["minValues"]["_offset"], &stats["maxValues"]["_offset"]), (&0.into(), &104.into()));
    assert_eq!((&stats["minValues"]["_partition"], &stats["maxValues"]["_partition"]), (&0.into(), &1.into()));
    assert_eq!(stats["minValues"]["event_time"], "2026-11-22T12:00:00.000Z");
    assert_eq!(stats["maxValues"]["event_time"], "2026-11-22T12:00:00.105Z");
    assert_eq!(stats["maxValues"]["content_id"], "title-6");
    assert_eq!(stats["nullCount"]["content_id"], 0);
}

async fn files_are_found_by_the_times_of_their_rows(lake: Lake) {
    let mut table = lake.table().await;
    // Rows of offset n are n ms after noon.
    let (early, late) = (write(&table, DATE, &[(0, 0..3)]).await, write(&table, DATE, &[(0, 100..105)]).await);
    let commit = Commit { adds: vec![early.clone(), late.clone()], data_change: true, ..Commit::default() };
    table.commit(&commit).await.unwrap();
    for open_anew in [false, true] {
        if open_anew {
            table = lake.table().await;
        }
        let found = async |column: &str, ranges: &[(i64, i64)]| {
            let ranges: Vec<_> = ranges.iter().map(|(from, to)| NOON_MICROS + from..NOON_MICROS + to).collect();
            let files = table.files_within(column, &ranges).await.unwrap();
            files.into_iter().map(|file| file.path).collect::<BTreeSet<_>>()
        };
        let paths = |files: &[&DataFile]| files.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>();
        assert_eq!(found("event_time", &[(0, 1)]).await, paths(&[&early]));
        assert_eq!(found("event_time", &[(2_000, 2_001)]).await, paths(&[&early]), "the last row's time is in it");
        assert_eq!(found("event_time", &[(5_000, 100_000)]).await, paths(&[]));
        assert_eq!(found("event_time", &[(-9, -1), (104_000, 200_000)]).await, paths(&[&late]));
        assert_eq!(found("event_time", &[(0, 1), (104_000, 200_000)]).await, paths(&[&early, &late]));
        assert_eq!(found("received_at", &[(0, 1)]).await, paths(&[&early, &late]), "without statistics all may be");
    }
}

async fn each_group_becomes_a_row_group_of_its_own(lake: Lake) {
    let table = lake.table().await;
    let file = write(&table, DATE, &[(0, 0..3), (1, 100..105)]).await;
    let bytes = lake.bytes(&file.path).await;
    assert_eq!(bytes.len() as u64, file.bytes);
    let metadata = ParquetMetaDataReader::new();
    let metadata = metadata.parse_and_finish(&bytes).unwrap();
    assert_eq!(metadata.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [3, 5]);
    let arrow = metadata.file_metadata().key_value_metadata();
    assert!(arrow.is_none_or(|pairs| pairs.iter().all(|pair| pair.key != "ARROW:schema")), "dictionary types leak");
    let id = metadata.row_group(0).column(0);
    assert_eq!(id.column_path().string(), "event_id");
    assert!(id.dictionary_page_offset().is_none(), "ids are distinct: a dictionary of them is a waste");
}

async fn a_sorted_file_has_smaller_groups_and_bounds_of_pages_where_it_is_sorted(lake: Lake) {
    const GROUP_ROWS: i64 = 256 << 10;
    let table = lake.table().await;
    let batches = (0..=GROUP_ROWS / 8192).map(|at| Ok(Some(events(0, at * 8192..(at + 1) * 8192))));
    let rows = futures::stream::iter(batches).boxed();
    let file = table.write_stream(date(DATE), Layout::Sorted, rows).await.unwrap();
    assert!(file.path.contains("/sorted-"), "{}", file.path);
    let bytes = lake.bytes(&file.path).await;
    let metadata = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = metadata.parse_and_finish(&bytes).unwrap();
    assert_eq!(metadata.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [GROUP_ROWS, 8192]);
    let columns = metadata.row_group(0).columns();
    let with_bounds = columns.iter().filter(|column| column.column_index_offset().is_some());
    let mut names: Vec<_> = with_bounds.map(|column| column.column_path().string()).collect();
    names.sort();
    assert_eq!(names, ["content_id", "event_time", "session_id"]);
    assert!(
        columns.iter().all(|column| column.offset_index_offset().is_some()),
        "whoever skips pages, skips them in all"
    );
    let deltas = columns.iter().filter(|column| column.encodings().any(|of| of == Encoding::DELTA_BINARY_PACKED));
    assert!(deltas.map(|column| column.column_path().string()).any(|name| name == "event_time"));
}

async fn a_file_of_many_chunks_is_whole(lake: Lake) {
    let table = lake.table().await;
    let file = large(&table).await;
    assert!(file.bytes > 20 << 20, "{} bytes: one chunk is no test", file.bytes);
    assert_eq!(table.file_bytes(&file.path).await.unwrap(), Some(file.bytes));
    assert_eq!(read(&table, &file.path).await.len(), 15_000);
}

/// A file of 15,000 rows and about 30 MB, four chunks.
pub async fn large(table: &Table) -> DataFile {
    table.write_file(date(DATE), large_groups()).await.unwrap()
}

/// Its rows, in three groups. Random payloads do not compress.
pub fn large_groups() -> Vec<Vec<RecordBatch>> {
    let batch = |number: i64| with_noise(events(0, number * 1000..number * 1000 + 1000), number.unsigned_abs());
    (0..3).map(|group| (group * 5..group * 5 + 5).map(batch).collect()).collect()
}

/// The batch with 2 KiB of noise in each row's content_title.
fn with_noise(batch: RecordBatch, seed: u64) -> RecordBatch {
    use rand::{Rng as _, SeedableRng as _};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let titles: arrow_array::StringArray = (0..batch.num_rows())
        .map(|_| Some((0..2048).map(|_| char::from(random.random_range(b' '..b'~'))).collect::<String>()))
        .collect();
    let mut fields = batch.schema().fields().to_vec();
    fields.push(Arc::new(arrow_schema::Field::new("content_title", DataType::Utf8, true)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(titles));
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).unwrap()
}

async fn a_column_that_the_table_does_not_have_is_refused_and_leaves_no_file(lake: Lake) {
    let table = lake.table().await;
    let stray = Int64Array::from_iter_values(0..3);
    let batch = RecordBatch::try_from_iter([("no_such_column", Arc::new(stray) as _)]).unwrap();
    let refused = table.write_file(date(DATE), vec![vec![batch]]).await;
    assert!(matches!(&refused, Err(Error::Incompatible { reason, .. }) if reason.contains("no_such_column")));
    let missing = events(0, 0..3).project(&[0, 1]).unwrap();
    let refused = table.write_file(date(DATE), vec![vec![missing]]).await;
    assert!(matches!(refused, Err(Error::Incompatible { .. })), "a required column is missing");
    assert!(lake.names(Some("event_date=2026-11-22")).await.is_empty());
}

async fn a_missing_file_has_no_size_and_breaks_the_read(lake: Lake) {
    let table = lake.table().await;
    assert_eq!(table.file_bytes("event_date=2026-11-22/no.parquet").await.unwrap(), None);
    let read = table.read_file("event_date=2026-11-22/no.parquet", None).await;
    assert!(matches!(read.err(), Some(Error::Broken { .. })));
}
