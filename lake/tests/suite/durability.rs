//! What is committed survives a power loss: the order of fsyncs, what a crash leaves, a failed fsync.
use crate::support::{DATE, Lake, append, partition_rows, read_all, spec, txn, write};
use futures::TryStreamExt as _;
use lake::durable::{Disk, DurableFileSystem};
use lake::table::{Error, Table};
use lake::upkeep::{Options, Upkeep};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use url::Url;

/// Notes every fsync, and whether the final name was visible by then; can be told to fail.
#[derive(Debug, Default)]
struct NotedDisk {
    noted: Mutex<Vec<String>>,
    failing: AtomicBool,
}

impl NotedDisk {
    fn note(&self, what: &str, path: &Path) -> io::Result<()> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(io::Error::other("I/O error"));
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (name, staged) = name.split_once('#').map_or((name.as_str(), false), |(name, _)| (name, true));
        let kind = if name.starts_with("part-") { "data" } else { name };
        let visible = path.with_file_name(name).exists() && staged;
        self.noted.lock().unwrap().push(format!("{what} {kind}{}", if visible { " too late" } else { "" }));
        Ok(())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.noted.lock().unwrap())
    }
}

impl Disk for NotedDisk {
    fn sync_file(&self, _file: &File, path: &Path) -> io::Result<()> {
        self.note("file", path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.note("folder", folder)
    }
}

async fn on_noted_disk(lake: &Lake) -> (Arc<NotedDisk>, Table) {
    fs::create_dir_all(lake.folder.path().join("events")).unwrap();
    let disk = Arc::new(NotedDisk::default());
    let store = Arc::new(DurableFileSystem::with_disk(lake.path(), disk.clone()));
    let url = Url::from_directory_path(lake.path()).unwrap();
    let table = Table::open_or_create_with_store(store, url, &spec()).await.unwrap();
    (disk, table)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_synced_before_their_name_and_the_name_before_the_commit() {
    let lake = Lake::new();
    let (disk, mut table) = on_noted_disk(&lake).await;
    disk.take();
    let file = write(&table, DATE, &[(0, 0..5)]).await;
    assert_eq!(disk.take(), ["folder events", "file data", "folder event_date=2026-11-22"]);
    table.commit(&append(vec![file], vec![txn("p0", None, 4)])).await.unwrap();
    assert_eq!(disk.take(), ["file 00000000000000000001.json", "folder _delta_log"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_fsync_nothing_more_is_written() {
    let lake = Lake::new();
    let (disk, mut table) = on_noted_disk(&lake).await;
    let file = write(&table, DATE, &[(0, 0..5)]).await;
    let commit = append(vec![file], vec![txn("p0", None, 4)]);
    disk.failing.store(true, Ordering::SeqCst);
    let broken = table.commit(&commit).await;
    assert!(matches!(&broken, Err(Error::NotDurable { reason, .. }) if reason.contains("fsync failed")), "{broken:?}");
    disk.failing.store(false, Ordering::SeqCst);
    assert!(matches!(table.commit(&commit).await, Err(Error::NotDurable { .. })), "a second fsync proves nothing");
    let refused = table.write_file(crate::support::date(DATE), vec![vec![crate::support::events(0, 5..6)]]).await;
    assert!(matches!(refused, Err(Error::NotDurable { .. })));
    assert_eq!(lake.table().await.version(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fsync_of_upkeep_is_told_from_a_table_that_only_it_finds_broken() {
    let lake = Lake::new();
    let (disk, mut table) = on_noted_disk(&lake).await;
    for round in 0..8 {
        crate::support::flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    let mut upkeep = Upkeep::new(Options { checkpoint_commits: 1000, ..Options::default() });
    let lost = table.files().await.unwrap()[3].path.clone();
    fs::rename(lake.path().join(&lost), lake.path().join("elsewhere")).unwrap();
    assert!(matches!(upkeep.pass(&mut table, 0).await, Err(Error::Broken { reason, .. }) if reason.contains(&lost)));
    fs::rename(lake.path().join("elsewhere"), lake.path().join(&lost)).unwrap();
    disk.failing.store(true, Ordering::SeqCst);
    assert!(matches!(upkeep.pass(&mut table, 0).await, Err(Error::NotDurable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_syncs_the_commits_that_a_killed_writer_left() {
    let lake = Lake::new();
    let mut table = lake.table().await;
    for round in 0..3 {
        crate::support::flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    let disk = Arc::new(NotedDisk::default());
    DurableFileSystem::with_disk(lake.path(), disk.clone()).recover().await.unwrap();
    let mut noted = disk.take();
    assert_eq!(noted.pop().as_deref(), Some("folder _delta_log"));
    noted.sort();
    let commits: Vec<_> = (0..4).map(|version| format!("file {version:020}.json")).collect();
    assert_eq!(noted, commits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temp_files_of_a_crash_are_not_seen_and_old_ones_are_deleted_at_opening() {
    let lake = Lake::new();
    let mut table = lake.table().await;
    crate::support::flush(&mut table, DATE, 0..5).await;
    let old = lake.path().join("_delta_log/00000000000000000002.json#77");
    let new = lake.path().join("event_date=2026-11-22/part-0.zstd.parquet#78");
    for path in [&old, &new] {
        fs::write(path, b"{torn").unwrap();
    }
    let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
    File::options().write(true).open(&old).unwrap().set_modified(hours_ago).unwrap();
    let table = lake.table().await;
    assert_eq!(table.version(), 1);
    assert_eq!(read_all(&table).await, partition_rows(0, 0..5));
    assert!(!old.exists(), "nobody writes to it any more");
    assert!(new.exists(), "its writer may be alive");
}

async fn store() -> (tempfile::TempDir, DurableFileSystem, StorePath) {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().canonicalize().unwrap();
    let root = StorePath::from_absolute_path(&base).unwrap();
    (folder, DurableFileSystem::new(base), root)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_fails_when_the_name_is_taken_and_an_overwrite_does_not() {
    let (folder, store, root) = store().await;
    let path = root.clone().join("a").join("b.json");
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&path, "one".into(), create()).await.unwrap();
    let taken = store.put_opts(&path, "two".into(), create()).await;
    assert!(matches!(taken, Err(object_store::Error::AlreadyExists { .. })), "{taken:?}");
    assert_eq!(fs::read(folder.path().join("a/b.json")).unwrap(), b"one");
    store.put(&path, "three".into()).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
    assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1, "no temp file stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creates_at_once_exactly_one_succeeds() {
    let (_folder, store, root) = store().await;
    let path = root.join("a.json");
    let tries = (0..16).map(|writer| {
        let (store, path) = (store.clone(), path.clone());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        tokio::spawn(async move { store.put_opts(&path, format!("{writer}").into(), options).await.is_ok() })
    });
    let mut won = 0;
    for tried in tries.collect::<Vec<_>>() {
        won += u32::from(tried.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_in_parts_is_visible_only_when_it_is_complete() {
    let (folder, store, root) = store().await;
    let path = root.join("big.parquet");
    let mut upload = store.put_multipart(&path).await.unwrap();
    let (first, second) = (upload.put_part(vec![1; 1000].into()), upload.put_part(vec![2; 500].into()));
    second.await.unwrap();
    first.await.unwrap();
    assert!(store.head(&path).await.is_err());
    upload.complete().await.unwrap();
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!((bytes.len(), bytes[999], bytes[1000]), (1500, 1, 2));
    let mut torn = store.put_multipart(&path).await.unwrap();
    drop(torn.put_part(vec![3; 10].into()));
    assert!(torn.complete().await.is_err(), "a part was never written");
    drop(store.put_multipart(&path).await.unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temp file stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_was_deleted_is_made_again() {
    let (folder, store, root) = store().await;
    let path = root.join("day").join("a");
    store.put(&path, "one".into()).await.unwrap();
    fs::remove_dir_all(folder.path().join("day")).unwrap();
    store.put(&path, "two".into()).await.unwrap();
    let copy = StorePath::from(path.as_ref().to_owned() + "-copy");
    store.copy(&path, &copy).await.unwrap();
    store.rename(&copy, &path).await.unwrap();
    assert!(store.head(&copy).await.is_err());
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_lists_its_end_as_the_plain_store_does_and_without_reading_its_folder() {
    let (_folder, store, root) = store().await;
    let log = root.clone().join("_delta_log");
    let put =
        async |name: &str, text: &str| drop(store.put(&log.clone().join(name), text.to_owned().into()).await.unwrap());
    let commit = |version: u64| format!("{version:020}.json");
    for version in 9..=11 {
        put(&commit(version), "{}").await;
    }
    put(&format!("{:020}.checkpoint.parquet", 10), "x").await;
    put("_last_checkpoint", r#"{"version":10}"#).await;
    let plain = object_store::local::LocalFileSystem::new();
    let names = async |store: &dyn ObjectStore, after: u64| {
        let listed = store.list_with_offset(Some(&log), &log.clone().join(format!("{after:020}")));
        let names = listed.map_ok(|meta| meta.location.filename().unwrap().to_owned());
        let mut names: Vec<String> = names.try_collect().await.unwrap();
        names.sort();
        names
    };
    let versions = |names: Vec<String>| names.into_iter().filter(|name| !name.starts_with('_')).collect::<Vec<_>>();
    assert_eq!(names(&store, 10).await, names(&plain, 10).await, "the first time its folder is read");
    // Each of what comes then is found, by whomever it was written.
    for version in 12..20 {
        let by_name = names(&store, 10).await;
        assert!(!by_name.contains(&"_last_checkpoint".to_owned()), "its folder is not read");
        for after in [10, version - 1, version] {
            assert_eq!(names(&store, after).await, versions(names(&plain, after).await), "after {after}");
        }
        let path = format!("/{}/{}", log, commit(version));
        fs::write(path, "{}").unwrap();
        assert_eq!(names(&store, version).await, [commit(version)]);
    }
    // One is lost: what is after it is shown.
    fs::remove_file(format!("/{}/{}", log, commit(18))).unwrap();
    assert_eq!(names(&store, 17).await, names(&plain, 17).await);
    // And one that was never seen.
    put(&commit(21), "{}").await;
    assert_eq!(names(&store, 19).await, names(&plain, 19).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_a_log_lists_from_an_offset_as_the_plain_store_does() {
    let (folder, store, root) = store().await;
    let log = root.clone().join("_delta_log");
    // A checkpoint that can't be read has its folder read.
    for name in
        ["00000000000000000009.json", "00000000000000000010.json", "00000000000000000011.json", "_last_checkpoint"]
    {
        store.put(&log.clone().join(name), name.into()).await.unwrap();
    }
    fs::write(folder.path().join("_delta_log/00000000000000000012.json#5"), b"torn").unwrap();
    let plain = object_store::local::LocalFileSystem::new();
    for with_folder in [false, true] {
        if with_folder {
            store.put(&log.clone().join("_sidecars").join("a.parquet"), "x".into()).await.unwrap();
        }
        for offset in [log.clone(), log.clone().join("00000000000000000010.json"), log.clone().join("_z")] {
            let listed = |store: &dyn ObjectStore| {
                store
                    .list_with_offset(Some(&log), &offset)
                    .map_ok(|meta| (meta.location, meta.size, meta.last_modified))
            };
            let mut ours: Vec<_> = listed(&store).try_collect().await.unwrap();
            let mut theirs: Vec<_> = listed(&plain).try_collect().await.unwrap();
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs, "after {offset}");
        }
    }
    let missing = root.join("elsewhere").join("_delta_log");
    let none: Vec<_> = store.list_with_offset(Some(&missing), &missing).try_collect().await.unwrap();
    assert!(none.is_empty());
}
