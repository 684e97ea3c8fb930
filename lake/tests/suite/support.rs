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
use lake::durable::DurableFileSystem;
use lake::location::Location;
use lake::table::{ActiveFile, Commit, DataFile, Spec, Table, Txn};
use lake::tables;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use testbed::object_store::Store;
use url::Url;

pub const DATE: &str = "2026-11-22";
pub const NOON_MICROS: i64 = 1_795_348_800_000_000;

/// Where a row came from.
pub type Row = (i32, i64, i64);

pub fn spec() -> Spec {
    tables::events(2, 1000)
}

/// Runs each promise, an `async fn(Lake)`, on a folder of this machine and on an object store.
macro_rules! on_both {
    ($($promise:ident)*) => {
        mod on_a_folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::support::Lake::new()).await
            })*
        }
        mod on_a_store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::support::Lake::on_a_store()).await
            })*
        }
    };
}
pub(crate) use on_both;

/// A place of a test's own for one table.
pub struct Lake {
    pub folder: TempDir,
    pub location: Location,
}

impl Lake {
    /// On a folder of this machine.
    pub fn new() -> Lake {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Local(folder.path().join("events"));
        Lake { folder, location }
    }

    /// On the store that all tests share, below a prefix of its own.
    pub fn on_a_store() -> Lake {
        let store = Store::shared();
        Lake::below(store, &store.endpoint(), &[])
    }

    /// On `store`, reached at `endpoint`, with further options.
    pub fn below(store: &Store, endpoint: &str, further: &[(&str, &str)]) -> Lake {
        let folder = tempfile::tempdir().unwrap();
        let mut options = store.options_at(endpoint);
        options.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let url = format!("s3://{}/{}", store.bucket(), uuid::Uuid::new_v4());
        let location = Location::parse(&url, &options).unwrap().join("events");
        Lake { folder, location }
    }

    pub async fn table(&self) -> Table {
        Table::open_or_create(&self.location, &spec()).await.unwrap()
    }

    /// Where it is on the disk.
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().canonicalize().unwrap().join("events")
    }

    /// The plain store, rooted where the URL is, and the table's URL.
    pub fn store(&self) -> (Arc<dyn ObjectStore>, Url) {
        match &self.location {
            Location::Local(_) => {
                std::fs::create_dir_all(self.path()).unwrap();
                let url = Url::from_directory_path(self.path()).unwrap();
                (Arc::new(DurableFileSystem::new(self.path())), url)
            }
            Location::Store { url, options } => {
                (object_store::parse_url_opts(url, options).unwrap().0.into(), url.clone())
            }
        }
    }

    /// The table on a store whose commits go as ordered.
    pub async fn faulty(&self) -> (Arc<Faulty>, Table) {
        let (store, url) = self.store();
        let store = Faulty::new(store);
        let table = Table::open_or_create_with_store(store.clone(), url, &spec()).await.unwrap();
        (store, table)
    }

    /// What is below the table, behind its back.
    pub fn objects(&self) -> PrefixStore<Arc<dyn ObjectStore>> {
        let (store, url) = self.store();
        PrefixStore::new(store, Path::from_url_path(url.path()).unwrap())
    }

    pub async fn names(&self, below: Option<&str>) -> Vec<String> {
        let listed: Vec<ObjectMeta> = self.objects().list(below.map(Path::from).as_ref()).try_collect().await.unwrap();
        listed.into_iter().map(|meta| meta.location.to_string()).collect()
    }

    pub async fn exists(&self, path: &str) -> bool {
        self.objects().head(&Path::from(path)).await.is_ok()
    }

    pub async fn bytes(&self, path: &str) -> bytes::Bytes {
        self.objects().get(&Path::from(path)).await.unwrap().bytes().await.unwrap()
    }

    pub async fn put(&self, path: &str, bytes: &'static [u8]) {
        self.objects().put(&Path::from(path), bytes.into()).await.unwrap();
    }

    pub async fn delete(&self, path: &str) {
        self.objects().delete(&Path::from(path)).await.unwrap();
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
