//! Tables with a few rows, and stores that fail by order.
use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder, StringDictionaryBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use lake::location::Location;
use lake::table::{ActiveFile, Commit, DataFile, Spec, Table, Txn};
use lake::tables;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

pub const DATE: &str = "2026-11-22";
pub const NOON_MICROS: i64 = 1_795_348_800_000_000;

/// Where a row came from.
pub type Row = (i32, i64, i64);

pub fn spec() -> Spec {
    tables::events(2, 1000)
}

pub struct Lake {
    pub folder: TempDir,
    pub location: Location,
}

impl Lake {
    pub fn new() -> Lake {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Local(folder.path().join("events"));
        Lake { folder, location }
    }

    pub async fn table(&self) -> Table {
        Table::open_or_create(&self.location, &spec()).await.unwrap()
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().canonicalize().unwrap().join("events")
    }
}

pub fn date(date: &str) -> BTreeMap<String, Option<String>> {
    BTreeMap::from([("event_date".to_owned(), Some(date.to_owned()))])
}

/// One event an offset, as a sink has them: dictionaries, ids of 16 bytes, only some columns.
pub fn events(partition: i32, offsets: Range<i64>) -> RecordBatch {
    let ids: Vec<[u8; 16]> =
        offsets.clone().map(|o| (i128::from(partition) << 64 | i128::from(o)).to_be_bytes()).collect();
    let times = || TimestampMicrosecondArray::from_iter_values(offsets.clone().map(|o| NOON_MICROS + o * 1000 + 1));
    let content: StringArray = offsets.clone().map(|o| Some(format!("title-{}", o % 7))).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event_id", Arc::new(FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap())),
        ("tenant_id", dictionary("default", &offsets)),
        ("source", dictionary("http", &offsets)),
        ("event_type", dictionary("heartbeat", &offsets)),
        ("event_time", Arc::new(times().with_timezone("UTC"))),
        ("received_at", Arc::new(times().with_timezone("UTC"))),
        ("content_id", Arc::new(content)),
        ("custom", custom(&offsets)),
        ("schema_version", Arc::new(Int16Array::from_iter_values(offsets.clone().map(|_| 1)))),
        ("_topic", Arc::new(StringArray::from_iter_values(offsets.clone().map(|_| "events")))),
        ("_partition", Arc::new(Int32Array::from_iter_values(offsets.clone().map(|_| partition)))),
        ("_offset", Arc::new(Int64Array::from_iter_values(offsets.clone()))),
        ("_row", Arc::new(Int64Array::from_iter_values(offsets.map(|_| 0)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn dictionary(value: &str, offsets: &Range<i64>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    offsets.clone().for_each(|_| builder.append_value(value));
    Arc::new(builder.finish())
}

fn custom(offsets: &Range<i64>) -> ArrayRef {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for offset in offsets.clone() {
        builder.keys().append_value("experiment");
        builder.values().append_value(format!("arm-{offset}"));
        builder.append(true).unwrap();
    }
    Arc::new(builder.finish())
}

pub async fn write(table: &Table, day: &str, groups: &[(i32, Range<i64>)]) -> DataFile {
    let groups = groups.iter().map(|(partition, offsets)| vec![events(*partition, offsets.clone())]).collect();
    table.write_file(date(day), groups).await.unwrap()
}

pub fn txn(app: &str, expected: Option<i64>, new: i64) -> Txn {
    Txn { app: app.to_owned(), expected, new }
}

pub fn append(adds: Vec<DataFile>, txns: Vec<Txn>) -> Commit {
    Commit { adds, txns, data_change: true, ..Commit::default() }
}

/// Appends `offsets` of partition 0 under the txn `p0`, as a sink does.
pub async fn flush(table: &mut Table, day: &str, offsets: Range<i64>) -> lake::table::Outcome {
    let file = write(table, day, &[(0, offsets.clone())]).await;
    let expected = table.txn("p0").await.unwrap();
    table.commit(&append(vec![file], vec![txn("p0", expected, offsets.end - 1)])).await.unwrap()
}

pub async fn read(table: &Table, path: &str) -> Vec<Row> {
    let stream = table.read_file(path, Some(&["_partition", "_offset", "_row"])).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let rows = batches.iter().flat_map(|batch| {
        let partitions = batch.column(0).as_primitive::<Int32Type>().values().to_vec();
        let offsets = batch.column(1).as_primitive::<Int64Type>().values().to_vec();
        let rows = batch.column(2).as_primitive::<Int64Type>().values().to_vec();
        partitions.into_iter().zip(offsets).zip(rows).map(|((p, o), r)| (p, o, r))
    });
    rows.collect()
}

/// Every row of the table, in log order: twice if it is there twice.
pub async fn read_all(table: &Table) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in table.files().await.unwrap() {
        rows.extend(read(table, &file.path).await);
    }
    rows.sort_unstable();
    rows
}

pub fn partition_rows(partition: i32, offsets: Range<i64>) -> Vec<Row> {
    offsets.map(|offset| (partition, offset, 0)).collect()
}

pub fn paths(files: &[ActiveFile]) -> Vec<String> {
    let mut paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
    paths.sort();
    paths
}

/// What happens to the next put of a commit.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It is done, but the answer is an error.
    LoseReply,
    /// It is not done, and the answer is an error.
    Refuse,
    /// It is done as it should be.
    Pass,
}

/// A store whose commits go as ordered; everything else passes through.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<VecDeque<Fault>>,
}

impl Faulty {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Arc<Faulty> {
        Arc::new(Faulty { inner, faults: Mutex::default() })
    }

    pub fn order(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub fn left(&self) -> usize {
        self.faults.lock().unwrap().len()
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

fn trouble() -> object_store::Error {
    object_store::Error::Generic { store: "Faulty", source: Box::new(std::io::Error::other("connection reset")) }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_commit = location.as_ref().contains("_delta_log/0") && location.as_ref().ends_with(".json");
        let fault = if is_commit { self.faults.lock().unwrap().pop_front() } else { None };
        match fault.unwrap_or(Fault::Pass) {
            Fault::Pass => self.inner.put_opts(location, payload, options).await,
            Fault::Refuse => Err(trouble()),
            Fault::LoseReply => {
                self.inner.put_opts(location, payload, options).await?;
                Err(trouble())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
