//! A real store behind a proxy that loses answers: how a commit ended is found out, never guessed.
use crate::support::{DATE, Lake, append, date, events, flush, partition_rows, read_all, txn, write};
use lake::table::{Error, Outcome, Table};
use lake::upkeep::{Options, Upkeep};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use testbed::object_store::Store;
use testbed::proxy::{Fault, Proxy};

/// Longer than a request may take in these tests.
const HANG: Duration = Duration::from_secs(4);

/// A lake behind a proxy of its own, where a request may take two seconds.
fn behind_proxy() -> (Lake, Proxy) {
    behind_proxy_within("2s")
}

fn behind_proxy_within(timeout: &str) -> (Lake, Proxy) {
    let store = Store::shared();
    let proxy = Proxy::before(&store.endpoint());
    let lake = Lake::below(store, &proxy.endpoint(), &[("timeout", timeout), ("connect_timeout", "2s")]);
    (lake, proxy)
}

fn commit_of(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// Everything that a request can meet.
const FAULTS: [Fault; 6] = [
    Fault::Status(503),
    Fault::Status(500),
    Fault::Status(408),
    Fault::LoseAnswer,
    Fault::HangAfter(HANG),
    Fault::Delay(Duration::from_millis(300)),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_the_put_of_a_commit_its_rows_are_there_once() {
    let (lake, proxy) = behind_proxy();
    let mut table = lake.table().await;
    let mut version = 0;
    for (round, fault) in (0..).zip(FAULTS) {
        version += 1;
        proxy.fail("PUT", &commit_of(version), 1, fault);
        let outcome = flush(&mut table, DATE, round * 5..round * 5 + 5).await;
        assert_eq!(outcome, Outcome::Committed { version }, "{fault:?}");
        assert_eq!(proxy.dealt(), u32::try_from(version).unwrap(), "{fault:?}");
    }
    let rounds = i64::try_from(FAULTS.len()).unwrap();
    let again = lake.table().await;
    assert_eq!(read_all(&again).await, partition_rows(0, 0..rounds * 5));
    assert_eq!((again.version(), again.txn("p0").await.unwrap()), (version, Some(rounds * 5 - 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_lost_one_after_the_other_do_not_commit_twice() {
    let (lake, proxy) = behind_proxy();
    let mut table = lake.table().await;
    // Each lost answer of the put, and then those of the listings that would tell how it ended.
    proxy.fail("PUT", &commit_of(1), 3, Fault::LoseAnswer);
    proxy.fail("GET", "list-type=2", 6, Fault::LoseAnswer);
    proxy.fail("GET", &commit_of(1), 2, Fault::Status(503));
    let file = write(&table, DATE, &[(0, 0..5)]).await;
    let commit = append(vec![file], vec![txn("p0", None, 4)]);
    let mut outcome = table.commit(&commit).await;
    while matches!(outcome, Err(Error::Unavailable(_))) {
        outcome = table.commit(&commit).await;
    }
    assert_eq!(outcome.unwrap(), Outcome::Committed { version: 1 });
    proxy.heal();
    assert_eq!(lake.table().await.version(), 1);
    assert_eq!(read_all(&table).await, partition_rows(0, 0..5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_arrives_after_it_was_given_up_is_found_and_not_doubled() {
    let (lake, proxy) = behind_proxy();
    let mut table = lake.table().await;
    // The put reaches the store only when its writer has long read that it is not there, and tried again.
    proxy.fail("PUT", &commit_of(1), 1, Fault::Delay(HANG));
    assert_eq!(flush(&mut table, DATE, 0..5).await, Outcome::Committed { version: 1 });
    tokio::time::sleep(HANG).await;
    assert_eq!(flush(&mut table, DATE, 5..9).await, Outcome::Committed { version: 2 });
    let again = lake.table().await;
    assert_eq!((again.version(), read_all(&again).await), (2, partition_rows(0, 0..9)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_that_comes_in_between_a_put_and_its_retry_costs_a_second_try() {
    let (lake, proxy) = behind_proxy();
    let (mut ours, mut other) = (lake.table().await, lake.table().await);
    // The first tries never reach the store; meanwhile another commits the same version.
    proxy.fail("PUT", &commit_of(1), 2, Fault::Status(503));
    let foreign = write(&other, DATE, &[(1, 0..10)]).await;
    let foreign = append(vec![foreign], vec![txn("p1", None, 9)]);
    let (mine, theirs) = tokio::join!(flush(&mut ours, DATE, 0..5), other.commit(&foreign));
    assert!(matches!((mine, theirs.unwrap()), (Outcome::Committed { .. }, Outcome::Committed { .. })));
    let again = lake.table().await;
    assert_eq!(again.version(), 2);
    assert_eq!(read_all(&again).await, [partition_rows(0, 0..5), partition_rows(1, 0..10)].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_a_data_file_or_a_read_of_the_log_is_got_over() {
    let (lake, proxy) = behind_proxy();
    let mut table = lake.table().await;
    let mut other = lake.table().await;
    for (round, fault) in (0..).zip(FAULTS) {
        proxy.fail("PUT", "part-", 1, fault);
        proxy.fail("HEAD", "part-", 1, fault);
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
        proxy.fail("GET", "list-type=2", 1, fault);
        proxy.fail("GET", &commit_of(u64::try_from(round).unwrap() + 1), 1, fault);
        other.reload().await.unwrap();
        assert_eq!(other.txn("p0").await.unwrap(), Some(round * 5 + 4), "{fault:?}");
        assert_eq!(proxy.dealt() % 4, 0, "each fault was met: {fault:?}");
    }
    assert_eq!(read_all(&other).await, partition_rows(0, 0..i64::try_from(FAULTS.len()).unwrap() * 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_goes_in_parts_and_each_may_fail() {
    let (lake, proxy) = behind_proxy_within("6s");
    let table = lake.table().await;
    for fault in [Fault::Status(503), Fault::LoseAnswer, Fault::HangAfter(2 * HANG)] {
        proxy.fail("POST", "?uploads", 1, Fault::Status(503));
        proxy.fail("PUT", "partNumber=2", 1, fault);
        let file = crate::files::large(&table).await;
        assert!(file.bytes > 20 << 20, "{} bytes", file.bytes);
        assert_eq!(table.file_bytes(&file.path).await.unwrap(), Some(file.bytes));
        assert_eq!(crate::support::read(&table, &file.path).await.len(), 15_000);
    }
    assert_eq!(proxy.dealt(), 6);
    // An upload whose end is lost is no file that anything names: the caller writes it anew.
    proxy.fail("POST", "uploadId=", 4, Fault::Status(503));
    let groups = crate::files::large_groups();
    let failed = table.write_file(date(DATE), groups).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_paused_makes_no_answer_and_then_goes_on() {
    let store = Store::start();
    let lake = Lake::below(&store, &store.endpoint(), &[("timeout", "2s")]);
    let mut table = lake.table().await;
    flush(&mut table, DATE, 0..5).await;
    let file = write(&table, DATE, &[(0, 5..9)]).await;
    let commit = append(vec![file], vec![txn("p0", Some(4), 8)]);
    store.pause();
    let paused = tokio::spawn(async move { (table.commit(&commit).await, table, commit) });
    // Longer than a request may take: several of them hang.
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.resume();
    let (mut outcome, mut table, commit) = paused.await.unwrap();
    while matches!(outcome, Err(Error::Unavailable(_))) {
        outcome = table.commit(&commit).await;
    }
    assert_eq!(outcome.unwrap(), Outcome::Committed { version: 2 });
    assert_eq!(read_all(&lake.table().await).await, partition_rows(0, 0..9));
}

/// Appends five rows of partition 0 at a time until it is told to stop, whatever the store does; counts how often.
async fn append_until(mut table: Table, stop: Arc<AtomicBool>, rounds: Arc<AtomicI64>) {
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        let rows = || vec![vec![events(0, round * 5..round * 5 + 5)]];
        let file = loop {
            match table.write_file(date(DATE), rows()).await {
                Err(Error::Unavailable(_)) => {}
                written => break written.unwrap(),
            }
        };
        let expected = (round > 0).then_some(round * 5 - 1);
        let commit = append(vec![file], vec![txn("p0", expected, round * 5 + 4)]);
        let outcome = loop {
            match table.commit(&commit).await {
                Err(Error::Unavailable(_)) => {}
                ended => break ended.unwrap(),
            }
        };
        round += 1;
        assert_eq!(outcome, Outcome::Committed { version: u64::try_from(round).unwrap() });
        rounds.store(round, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_killed_again_and_again_loses_no_commit_and_doubles_none() {
    let mut store = Store::start();
    let lake = Lake::below(&store, &store.endpoint(), &[("timeout", "2s")]);
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let writer = tokio::spawn(append_until(lake.table().await, stop.clone(), rounds.clone()));
    for kill in 0..4 {
        // The client has come back from its pause, and is somewhere in its next round.
        let before = rounds.load(Ordering::SeqCst);
        let moved = async {
            while rounds.load(Ordering::SeqCst) == before && !writer.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), moved).await.expect("nothing is written between the kills");
        tokio::time::sleep(Duration::from_millis(37 * kill)).await;
        tokio::task::block_in_place(|| store.kill());
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::block_in_place(|| store.restart());
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    let rounds = rounds.load(Ordering::SeqCst);
    assert!(rounds >= 4, "{rounds}");
    let again = lake.table().await;
    assert_eq!(again.version(), u64::try_from(rounds).unwrap());
    assert_eq!(read_all(&again).await, partition_rows(0, 0..rounds * 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_that_race_over_a_network_that_loses_answers_lose_no_commit() {
    let (lake, proxy) = behind_proxy();
    lake.table().await;
    for fault in [Fault::LoseAnswer, Fault::Status(503), Fault::HangAfter(HANG), Fault::LoseAnswer] {
        // Of any put of a commit, whoever's.
        proxy.fail("PUT", "_delta_log/", 1, fault);
    }
    let writers = (0..2).map(|partition| {
        let location = lake.location.clone();
        tokio::spawn(async move {
            let mut table = Table::open(&location).await.unwrap().unwrap();
            let app = format!("p{partition}");
            for round in 0..20 {
                let file = write(&table, DATE, &[(partition, round * 10..round * 10 + 10)]).await;
                let expected = table.txn(&app).await.unwrap();
                let commit = append(vec![file], vec![txn(&app, expected, round * 10 + 9)]);
                assert!(matches!(table.commit(&commit).await.unwrap(), Outcome::Committed { .. }));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(proxy.dealt(), 4);
    let table = lake.table().await;
    assert_eq!(table.version(), 40);
    assert_eq!(read_all(&table).await, [partition_rows(0, 0..200), partition_rows(1, 0..200)].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upkeep_whose_answers_are_lost_changes_no_row() {
    let (lake, proxy) = behind_proxy();
    let mut table = lake.table().await;
    for round in 0..8 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    // The lease is commit 9, the merge commit 10, a checkpoint between them.
    for version in [9, 10] {
        proxy.fail("PUT", &commit_of(version), 1, Fault::LoseAnswer);
    }
    proxy.fail("PUT", "checkpoint.parquet", 1, Fault::LoseAnswer);
    proxy.fail("PUT", "_last_checkpoint", 1, Fault::LoseAnswer);
    let mut upkeep = Upkeep::new(Options { checkpoint_commits: 5, ..Options::default() });
    let done = upkeep.pass(&mut table, 0).await.unwrap();
    assert_eq!((done.checkpoint, done.merged_from, done.merged_into), (Some(9), 8, 1));
    assert_eq!(proxy.dealt(), 4);
    let again = lake.table().await;
    assert_eq!((again.version(), again.txn("p0").await.unwrap()), (10, Some(39)));
    assert_eq!(read_all(&again).await, partition_rows(0, 0..40));
}
