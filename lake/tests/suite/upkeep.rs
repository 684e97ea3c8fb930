//! Checkpoints, log cleanup, the lease, deletion of what was merged.
use crate::support::{DATE, Lake, flush, partition_rows, paths, read_all};
use lake::table::Table;
use lake::upkeep::{EPOCH, Options, Upkeep};
use std::fs;

crate::support::on_both! {
    a_checkpoint_is_made_when_due_and_a_reopened_table_is_the_same
    a_second_owner_takes_the_lease_and_the_first_one_waits
    a_job_keeps_the_lease_from_nodes_that_start_while_it_lives_and_is_followed_by_another_job_at_once
    merged_files_are_deleted_a_day_later_and_nothing_else_is
    files_that_no_commit_names_are_deleted_when_they_are_days_old
}

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn a_checkpoint_is_made_when_due_and_a_reopened_table_is_the_same(lake: Lake) {
    let mut table = lake.table().await;
    let mut upkeep = Upkeep::new(Options { checkpoint_commits: 12, ..Options::default() });
    let mut own = lake.table().await;
    for round in 0..5 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    assert_eq!(upkeep.pass(&mut own, 0).await.unwrap().checkpoint, None, "six commits and the lease");
    for round in 5..11 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    let done = upkeep.pass(&mut own, 0).await.unwrap();
    assert_eq!((done.checkpoint, done.merged_from), (Some(12), 11));
    let again = lake.table().await;
    own.reload().await.unwrap();
    assert_eq!(again.version(), 13);
    assert_eq!(again.txn("p0").await.unwrap(), Some(54));
    assert_eq!(again.txn(EPOCH).await.unwrap(), Some(1));
    assert_eq!(paths(&again.files().await.unwrap()), paths(&own.files().await.unwrap()));
    assert_eq!(read_all(&again).await, partition_rows(0, 0..55));
    // A table opened before the checkpoint goes on over it.
    flush(&mut table, DATE, 55..60).await;
    assert_eq!(read_all(&table).await, partition_rows(0, 0..60));
    assert_eq!(upkeep.pass(&mut own, 0).await.unwrap().checkpoint, None, "not due again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_older_than_the_retention_go_once_a_checkpoint_stands_for_them() {
    let lake = Lake::new();
    let mut table = lake.table().await;
    for round in 0..11 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    let log = lake.path().join("_delta_log");
    let days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
    for version in 0..=11 {
        let commit = fs::File::options().write(true).open(log.join(format!("{version:020}.json"))).unwrap();
        commit.set_modified(days_ago).unwrap();
    }
    let options = Options { checkpoint_commits: 5, merge_files_min: 1000, ..Options::default() };
    let mut own = lake.table().await;
    assert_eq!(Upkeep::new(options).pass(&mut own, 0).await.unwrap().checkpoint, Some(12));
    assert!(!log.join("00000000000000000003.json").exists());
    let again = lake.table().await;
    assert_eq!((again.version(), again.txn("p0").await.unwrap()), (12, Some(54)));
    assert_eq!(read_all(&again).await, partition_rows(0, 0..55));
    flush(&mut table, DATE, 55..60).await;
    assert_eq!(read_all(&lake.table().await).await, partition_rows(0, 0..60), "a sink with an old snapshot goes on");
}

async fn a_second_owner_takes_the_lease_and_the_first_one_waits(lake: Lake) {
    let (mut first, mut second) = (Upkeep::new(Options::default()), Upkeep::new(Options::default()));
    let (mut a, mut b) = (lake.table().await, lake.table().await);
    assert!(!first.pass(&mut a, 0).await.unwrap().not_owner);
    assert!(!second.pass(&mut b, 1).await.unwrap().not_owner);
    assert_eq!(b.txn(EPOCH).await.unwrap(), Some(2));
    assert!(first.pass(&mut a, 2).await.unwrap().not_owner);
    assert!(first.pass(&mut a, 3).await.unwrap().not_owner);
    assert!(!second.pass(&mut b, 4).await.unwrap().not_owner, "it was left in peace");
    assert!(!first.pass(&mut a, HOUR_MS).await.unwrap().not_owner, "long after, the other may be gone");
    assert_eq!(a.txn(EPOCH).await.unwrap(), Some(3));
}

async fn a_job_keeps_the_lease_from_nodes_that_start_while_it_lives_and_is_followed_by_another_job_at_once(lake: Lake) {
    let node = || Upkeep::new(Options::default());
    let job = || Upkeep::new(Options { held_ms: 1_000, ..Options::default() });
    let (mut a, mut b) = (lake.table().await, lake.table().await);
    let mut first = node();
    assert!(first.fence(&mut a, 0).await.unwrap().is_some());
    let mut killed = job();
    assert!(killed.fence(&mut b, 1).await.unwrap().is_some());
    assert!(node().fence(&mut a, 2).await.unwrap().is_none(), "a node that starts waits");
    assert!(first.fence(&mut a, 3).await.unwrap().is_none(), "and so does the one that had it");
    let seen = b.version();
    assert!(killed.fence(&mut b, 400).await.unwrap().is_some());
    assert_eq!(b.version(), seen, "nothing is said anew before half of the time is over");
    assert!(killed.fence(&mut b, 600).await.unwrap().is_some());
    assert!(node().fence(&mut a, 1_500).await.unwrap().is_none(), "it was said anew");
    let mut second = job();
    assert!(second.fence(&mut a, 1_501).await.unwrap().is_some(), "a killed one is gone on with at once");
    assert!(killed.fence(&mut b, 1_502).await.unwrap().is_none(), "which wakes up, and changes nothing");
    second.release(&mut a).await.unwrap();
    let mut third = node();
    assert!(third.fence(&mut b, 1_503).await.unwrap().is_some(), "nobody holds it");
    let mut last = job();
    assert!(last.fence(&mut a, 2_000).await.unwrap().is_some());
    assert!(node().fence(&mut b, 2_999).await.unwrap().is_none());
    assert!(
        node().fence(&mut b, 3_001).await.unwrap().is_some(),
        "one that was killed holds it no longer than it said"
    );
    let year_ms = 365 * 24 * HOUR_MS;
    assert!(job().fence(&mut a, year_ms).await.unwrap().is_some());
    assert!(node().fence(&mut b, 4_000).await.unwrap().is_some(), "what a wrong clock said holds nothing");
}

async fn merged_files_are_deleted_a_day_later_and_nothing_else_is(lake: Lake) {
    let mut table = lake.table().await;
    for round in 0..8 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    let small = paths(&table.files().await.unwrap());
    let stray = crate::support::write(&table, DATE, &[(1, 0..3)]).await;
    let mut upkeep = Upkeep::new(Options { checkpoint_commits: 1, ..Options::default() });
    assert_eq!(upkeep.pass(&mut table, now_ms()).await.unwrap().merged_from, 8);
    flush(&mut table, DATE, 40..45).await;
    assert_eq!(upkeep.pass(&mut table, now_ms() + HOUR_MS).await.unwrap().retired, 0, "readers may need them");
    for path in &small {
        assert!(lake.exists(path).await);
    }
    flush(&mut table, DATE, 45..50).await;
    assert_eq!(upkeep.pass(&mut table, now_ms() + 25 * HOUR_MS).await.unwrap().retired, 8);
    for path in &small {
        assert!(!lake.exists(path).await);
    }
    assert!(lake.exists(&stray.path).await, "no commit ever named it");
    assert_eq!(read_all(&Table::open(&lake.location).await.unwrap().unwrap()).await, partition_rows(0, 0..50));
}

async fn files_that_no_commit_names_are_deleted_when_they_are_days_old(lake: Lake) {
    // Days are a second here: a store tells times that nobody can set.
    let aged = async || tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    let options = Options { checkpoint_commits: 1_000, orphan_ms: 1_000, ..Options::default() };
    let upkeep = || Upkeep::new(options.clone());
    let mut table = lake.table().await;
    for round in 0..8 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    let stray = crate::support::write(&table, DATE, &[(1, 0..3)]).await;
    let foreign = format!("event_date={DATE}/part-00000-of-another-engine.c000.snappy.parquet");
    lake.put(&foreign, b"PAR1").await;
    let mut first = upkeep();
    assert_eq!(first.pass(&mut table, now_ms()).await.unwrap().vacuumed, 0, "a writer may be about to commit it");
    let of_date = async || lake.names(Some(&format!("event_date={DATE}"))).await.len();
    assert_eq!(of_date().await, 8 + 1 + 1 + 1, "and what was merged is there for readers");
    aged().await;
    assert_eq!(first.pass(&mut table, now_ms() + 80 * HOUR_MS).await.unwrap().vacuumed, 0, "only this clock is ahead");
    flush(&mut table, DATE, 40..45).await;
    let mut later = upkeep();
    assert_eq!(later.pass(&mut table, now_ms()).await.unwrap().vacuumed, 1);
    assert!(!lake.exists(&stray.path).await);
    assert!(lake.exists(&foreign).await, "it is not ours");
    assert_eq!(of_date().await, 8 + 1 + 1 + 1, "the log still tells of those that were merged");
    crate::support::write(&table, DATE, &[(1, 0..3)]).await;
    aged().await;
    flush(&mut table, DATE, 45..50).await;
    assert_eq!(later.pass(&mut table, now_ms()).await.unwrap().vacuumed, 0, "once a day");
    assert_eq!(later.pass(&mut table, now_ms() + 25 * HOUR_MS).await.unwrap().vacuumed, 1);
    assert_eq!(read_all(&Table::open(&lake.location).await.unwrap().unwrap()).await, partition_rows(0, 0..50));
}
