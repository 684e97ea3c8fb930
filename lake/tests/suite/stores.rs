//! What only object stores can do to a table: refuse us, ignore a condition, cost a request each.
use crate::support::{DATE, Lake, flush, partition_rows, read_all, spec};
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use lake::location::Location;
use lake::table::{Error, Table};
use lake::upkeep::{Options, Upkeep};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use testbed::object_store::Store;
use url::Url;

/// Notes each request; may ignore the conditions of puts.
#[derive(Debug)]
struct Noted {
    inner: Arc<dyn ObjectStore>,
    ignores_conditions: bool,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Noted {
    fn over(inner: Arc<dyn ObjectStore>) -> Noted {
        Noted { inner, ignores_conditions: false, requests: Arc::default() }
    }

    fn note(&self, what: &str, path: Option<&Path>) {
        let name = path.and_then(Path::filename).unwrap_or_default();
        let digits = name.trim_start_matches('0');
        self.requests.lock().unwrap().push(format!("{what} {digits}"));
    }

    /// The requests since the last call, as `put 7.json`.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

impl std::fmt::Display for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Noted({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Noted {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.note("put", Some(location));
        if self.ignores_conditions {
            options.mode = PutMode::Overwrite;
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.note("upload", Some(location));
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.note(if options.head { "head" } else { "get" }, Some(location));
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.note("delete", None);
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note("list", None);
        self.inner.list(prefix).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note("list", None);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.note("list", None);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.note("copy", Some(to));
        self.inner.copy_opts(from, to, options).await
    }
}

async fn noted(lake: &Lake) -> (Arc<Noted>, Table) {
    let (store, url) = lake.store();
    let store = Arc::new(Noted::over(store));
    let table = Table::open_or_create_with_store(store.clone(), url, &spec()).await.unwrap();
    (store, table)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ignores_conditions_is_refused_before_anything_is_made() {
    let url = Url::parse("s3://bucket/lake/events").unwrap();
    let memory = Arc::new(InMemory::new());
    let careless = Noted { ignores_conditions: true, ..Noted::over(memory.clone()) };
    let opened = Table::open_or_create_with_store(Arc::new(careless), url.clone(), &spec()).await;
    let Err(Error::Incompatible { reason, table }) = opened else { panic!("opened: {opened:?}") };
    assert!(reason.contains("ignores the condition of a put"), "{reason}");
    assert_eq!(table, "s3://bucket/lake/events");
    assert_eq!(memory.list(None).count().await, 0, "nothing stays, the probe least of all");
    Table::open_or_create_with_store(memory, url, &spec()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operation_costs_in_requests_is_known() {
    let lake = Lake::on_a_store();
    let (store, mut table) = noted(&lake).await;
    assert_eq!(store.take().iter().filter(|request| request.contains("probe")).count(), 2, "and a delete");
    flush(&mut table, DATE, 0..5).await;
    store.take();
    flush(&mut table, DATE, 5..9).await;
    let flushed = store.take();
    let data = |request: &String| request.contains("part-");
    assert_eq!(flushed.iter().filter(|r| data(r)).count(), 2, "a put and a look: {flushed:?}");
    let log: Vec<_> = flushed.iter().filter(|r| !data(r)).map(String::as_str).collect();
    assert_eq!(log, ["put 2.json", "list "]);
    table.reload().await.unwrap();
    assert_eq!(store.take(), ["list "], "nothing new");
    let mut other = lake.table().await;
    flush(&mut other, DATE, 9..12).await;
    table.reload().await.unwrap();
    let mut news = store.take();
    news.sort();
    assert_eq!(news, ["get 3.json", "list ", "list "]);
    assert_eq!(table.txn("p0").await.unwrap(), Some(11));
    assert_eq!(store.take(), [""; 0], "txns are kept up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_txns_of_a_table_are_read_in_one_pass_over_its_checkpoint_and_the_commits_after_it() {
    let lake = Lake::on_a_store();
    let mut table = lake.table().await;
    for partition in 0..20 {
        let app = format!("p{partition}");
        table.commit(&crate::support::append(vec![], vec![crate::support::txn(&app, None, partition)])).await.unwrap();
    }
    let options = Options { checkpoint_commits: 10, ..Options::default() };
    assert_eq!(Upkeep::new(options).pass(&mut table, 0).await.unwrap().checkpoint, Some(21));
    for partition in 10..12 {
        let moved = crate::support::txn(&format!("p{partition}"), Some(partition), 100 + partition);
        table.commit(&crate::support::append(vec![], vec![moved])).await.unwrap();
    }
    let (store, again) = noted(&lake).await;
    store.take();
    for partition in 0..20 {
        let expected = if (10..12).contains(&partition) { 100 + partition } else { partition };
        assert_eq!(again.txn(&format!("p{partition}")).await.unwrap(), Some(expected));
    }
    assert_eq!(again.txn("nobody's").await.unwrap(), None);
    let requests = store.take();
    assert!(requests.len() <= 6, "_last_checkpoint, its size and parts; the commits are known: {requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_at_the_opening_says_what_to_do() {
    let store = Store::shared();
    let open = |bucket: &str, further: &[(&str, &str)]| {
        let mut options = store.options_at(&store.endpoint());
        options.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let location = Location::parse(&format!("s3://{bucket}/lake"), &options).unwrap().join("events");
        async move { (Table::open_or_create(&location, &spec()).await, Table::open(&location).await) }
    };
    for (bucket, further, words) in [
        ("no-such-bucket", vec![], "make the bucket"),
        (store.bucket(), vec![("aws_secret_access_key", "wrong")], "access was denied"),
        (store.bucket(), vec![("aws_access_key_id", "nobody")], "access was denied"),
        (store.bucket(), vec![("aws_allow_http", "false")], "aws_allow_http"),
    ] {
        let (written, read) = open(bucket, &further).await;
        for refused in [written.map(drop), read.map(drop)] {
            let Err(Error::Refused { reason, .. } | Error::Incompatible { reason, .. }) = refused else {
                panic!("{bucket} {further:?}: {refused:?}")
            };
            assert!(reason.contains(words) && !reason.contains("wrong"), "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_not_there_is_passing_trouble() {
    let store = Store::shared();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let lake = Lake::below(store, &endpoint, &[]);
    let opened = Table::open_or_create(&lake.location, &spec()).await;
    assert!(matches!(opened, Err(Error::Unavailable(_))), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_shows_when_a_table_or_its_place_is_printed() {
    let lake = Lake::on_a_store();
    let table = lake.table().await;
    let Location::Store { options, .. } = &lake.location else { panic!("it is on a store") };
    let secret = &options["aws_secret_access_key"];
    let shown = format!("{table:?} {table:#?} {:?}", lake.location);
    assert!(shown.contains("s3://") && !shown.contains(secret.as_str()), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_at_the_root_of_a_bucket_is_a_table_like_any() {
    let url = Url::parse("s3://bucket/").unwrap();
    let memory = Arc::new(InMemory::new());
    let mut table = Table::open_or_create_with_store(memory.clone(), url.clone(), &spec()).await.unwrap();
    flush(&mut table, DATE, 0..5).await;
    let again = Table::open_or_create_with_store(memory, url, &spec()).await.unwrap();
    assert_eq!(read_all(&again).await, partition_rows(0, 0..5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_option_that_no_store_has_is_refused_when_the_place_is_named() {
    let options = BTreeMap::from([("aws_regoin".to_owned(), "eu-1".to_owned())]);
    assert!(Location::parse("s3://bucket/lake", &options).unwrap_err().contains("aws_regoin"));
}
