//! The compare-and-swap: whatever happens to a commit, its rows are there once or not at all.
use crate::support::{DATE, Fault, Lake, append, flush, partition_rows, read_all, txn, write};
use lake::table::{Commit, Error, Outcome, Table};

crate::support::on_both! {
    a_commit_adds_its_rows_and_moves_its_txns_at_once
    of_two_on_one_snapshot_the_second_is_superseded
    two_that_want_the_same_values_are_told_apart
    a_fence_that_differs_before_the_build_is_superseded
    a_foreign_commit_in_between_only_costs_a_second_try
    a_lost_reply_is_found_to_be_a_commit
    a_lost_reply_of_a_commit_whose_fence_does_not_move_is_found_too
    a_put_that_failed_before_it_wrote_is_tried_again_with_the_same_files
    a_store_that_stays_away_is_unavailable_and_the_same_commit_goes_later
    a_commit_never_names_a_file_that_is_not_there
    what_is_active_is_never_discarded
    many_writers_of_different_partitions_all_get_through
}

async fn a_commit_adds_its_rows_and_moves_its_txns_at_once(lake: Lake) {
    let mut table = lake.table().await;
    let file = write(&table, DATE, &[(0, 0..5), (1, 0..7)]).await;
    assert_eq!(read_all(&table).await, [], "written is not committed");
    let commit = append(vec![file.clone()], vec![txn("p0", None, 4), txn("p1", None, 6)]);
    assert_eq!(table.commit(&commit).await.unwrap(), Outcome::Committed { version: 1 });
    for table in [table, lake.table().await] {
        assert_eq!((table.txn("p0").await.unwrap(), table.txn("p1").await.unwrap()), (Some(4), Some(6)));
        assert_eq!(table.txn("p2").await.unwrap(), None);
        let files = table.files().await.unwrap();
        assert_eq!((files.len(), files[0].rows, files[0].bytes), (1, Some(12), file.bytes));
        assert_eq!((&files[0].path, &files[0].partition_values), (&file.path, &file.partition_values));
        let rows = [partition_rows(0, 0..5), partition_rows(1, 0..7)].concat();
        assert_eq!(read_all(&table).await, rows);
    }
}

async fn of_two_on_one_snapshot_the_second_is_superseded(lake: Lake) {
    let (mut first, mut second) = (lake.table().await, lake.table().await);
    let files = [write(&first, DATE, &[(0, 0..5)]).await, write(&second, DATE, &[(0, 0..9)]).await];
    let commits = [
        append(vec![files[0].clone()], vec![txn("p0", None, 4)]),
        append(vec![files[1].clone()], vec![txn("p0", None, 8)]),
    ];
    assert_eq!(first.commit(&commits[0]).await.unwrap(), Outcome::Committed { version: 1 });
    assert_eq!(second.commit(&commits[1]).await.unwrap(), Outcome::Superseded);
    assert_eq!(second.txn("p0").await.unwrap(), Some(4), "the loser sees what won");
    second.discard(&commits[1].adds).await;
    assert_eq!(second.file_bytes(&files[1].path).await.unwrap(), None);
    assert_eq!(read_all(&second).await, partition_rows(0, 0..5));
}

async fn two_that_want_the_same_values_are_told_apart(lake: Lake) {
    let (mut first, mut second) = (lake.table().await, lake.table().await);
    let file = write(&first, DATE, &[(0, 0..5)]).await;
    first.commit(&append(vec![file], vec![txn("p0", None, 4)])).await.unwrap();
    // A zombie that read the same records wrote the same rows to a file of its own.
    let twin = write(&second, DATE, &[(0, 0..5)]).await;
    let commit = append(vec![twin], vec![txn("p0", None, 4)]);
    assert_eq!(second.commit(&commit).await.unwrap(), Outcome::Superseded);
    assert_eq!(read_all(&second).await, partition_rows(0, 0..5));
    let lease = Commit { txns: vec![txn("lease", None, 1)], ..Commit::default() };
    assert_eq!(first.commit(&lease).await.unwrap(), Outcome::Committed { version: 2 });
    assert_eq!(second.commit(&lease).await.unwrap(), Outcome::Superseded, "a lease has one owner");
}

async fn a_fence_that_differs_before_the_build_is_superseded(lake: Lake) {
    let mut table = lake.table().await;
    flush(&mut table, DATE, 0..5).await;
    let file = write(&table, DATE, &[(0, 5..9)]).await;
    for expected in [None, Some(3), Some(9)] {
        let commit = append(vec![file.clone()], vec![txn("p0", expected, 8)]);
        assert_eq!(table.commit(&commit).await.unwrap(), Outcome::Superseded, "{expected:?}");
    }
    // A mixture too: one partition moved, the other did not.
    let commit = append(vec![file], vec![txn("p0", Some(4), 8), txn("p1", Some(1), 2)]);
    assert_eq!(table.commit(&commit).await.unwrap(), Outcome::Superseded);
    assert_eq!(table.version(), 1);
}

async fn a_foreign_commit_in_between_only_costs_a_second_try(lake: Lake) {
    let (mut ours, mut other) = (lake.table().await, lake.table().await);
    for round in 0..3 {
        let foreign = write(&other, DATE, &[(1, round * 10..round * 10 + 10)]).await;
        other.reload().await.unwrap();
        let expected = other.txn("p1").await.unwrap();
        other.commit(&append(vec![foreign], vec![txn("p1", expected, round * 10 + 9)])).await.unwrap();
        assert!(matches!(flush(&mut ours, DATE, round * 5..round * 5 + 5).await, Outcome::Committed { .. }));
    }
    let rows = [partition_rows(0, 0..15), partition_rows(1, 0..30)].concat();
    assert_eq!(read_all(&ours).await, rows);
    assert_eq!((ours.txn("p0").await.unwrap(), ours.txn("p1").await.unwrap()), (Some(14), Some(29)));
}

async fn a_lost_reply_is_found_to_be_a_commit(lake: Lake) {
    let (store, mut table) = lake.faulty().await;
    store.order([Fault::LoseReply]);
    assert_eq!(flush(&mut table, DATE, 0..5).await, Outcome::Committed { version: 1 });
    assert_eq!(store.left(), 0);
    store.order([Fault::LoseReply]);
    assert_eq!(flush(&mut table, DATE, 5..9).await, Outcome::Committed { version: 2 });
    assert_eq!(read_all(&table).await, partition_rows(0, 0..9));
}

async fn a_lost_reply_of_a_commit_whose_fence_does_not_move_is_found_too(lake: Lake) {
    let (store, mut table) = lake.faulty().await;
    flush(&mut table, DATE, 0..5).await;
    store.order([Fault::LoseReply]);
    let file = write(&table, DATE, &[(1, 0..5)]).await;
    let commit = append(vec![file], vec![txn("p0", Some(4), 4)]);
    assert_eq!(table.commit(&commit).await.unwrap(), Outcome::Committed { version: 2 });
    assert_eq!(lake.table().await.version(), 2, "it was not committed twice");
    store.order([Fault::LoseReply]);
    let lease = Commit { txns: vec![txn("lease", None, 1)], ..Commit::default() };
    assert_eq!(table.commit(&lease).await.unwrap(), Outcome::Committed { version: 3 });
}

async fn a_put_that_failed_before_it_wrote_is_tried_again_with_the_same_files(lake: Lake) {
    let (store, mut table) = lake.faulty().await;
    store.order([Fault::Refuse, Fault::Refuse, Fault::LoseReply]);
    assert_eq!(flush(&mut table, DATE, 0..5).await, Outcome::Committed { version: 1 });
    assert_eq!(store.left(), 0);
    assert_eq!(read_all(&table).await, partition_rows(0, 0..5));
}

async fn a_store_that_stays_away_is_unavailable_and_the_same_commit_goes_later(lake: Lake) {
    let (store, mut table) = lake.faulty().await;
    let file = write(&table, DATE, &[(0, 0..5)]).await;
    let commit = append(vec![file], vec![txn("p0", None, 4)]);
    store.order([Fault::Refuse; 5]);
    assert!(matches!(table.commit(&commit).await, Err(Error::Unavailable(_))));
    assert_eq!(store.left(), 0);
    assert_eq!(table.commit(&commit).await.unwrap(), Outcome::Committed { version: 1 });
    assert_eq!(table.commit(&commit).await.unwrap(), Outcome::Committed { version: 1 }, "asked again, found again");
    assert_eq!(read_all(&table).await, partition_rows(0, 0..5));
}

async fn a_commit_never_names_a_file_that_is_not_there(lake: Lake) {
    let mut table = lake.table().await;
    let file = write(&table, DATE, &[(0, 0..5)]).await;
    let path = file.path.clone();
    let commit = append(vec![file], vec![txn("p0", None, 4)]);
    lake.put(&path, b"torn").await;
    assert!(matches!(table.commit(&commit).await, Err(Error::Broken { .. })));
    lake.delete(&path).await;
    assert!(matches!(table.commit(&commit).await, Err(Error::Broken { .. })));
    assert_eq!(lake.table().await.version(), 0);
}

async fn what_is_active_is_never_discarded(lake: Lake) {
    let mut table = lake.table().await;
    let stale = lake.table().await;
    let file = write(&table, DATE, &[(0, 0..5)]).await;
    table.commit(&append(vec![file.clone()], vec![txn("p0", None, 4)])).await.unwrap();
    stale.discard(&[file]).await;
    assert_eq!(read_all(&table).await, partition_rows(0, 0..5));
}

async fn many_writers_of_different_partitions_all_get_through(lake: Lake) {
    lake.table().await;
    let writers = (0..4).map(|partition| {
        let location = lake.location.clone();
        tokio::spawn(async move {
            let mut table = Table::open(&location).await.unwrap().unwrap();
            let app = format!("p{partition}");
            for round in 0..6 {
                let file = write(&table, DATE, &[(partition, round * 10..round * 10 + 10)]).await;
                let expected = table.txn(&app).await.unwrap();
                let outcome = table.commit(&append(vec![file], vec![txn(&app, expected, round * 10 + 9)])).await;
                assert!(matches!(outcome.unwrap(), Outcome::Committed { .. }));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let table = lake.table().await;
    assert_eq!(table.version(), 24);
    assert_eq!(read_all(&table).await, (0..4).flat_map(|p| partition_rows(p, 0..60)).collect::<Vec<_>>());
}
