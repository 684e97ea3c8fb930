//! Merging small files: the same rows in fewer files, whoever else is at work.
use crate::support::{DATE, Fault, Lake, date, events, flush, partition_rows, paths, read, read_all, txn, write};
use lake::table::{ActiveFile, Commit, Error, Outcome, Table};
use lake::upkeep::{Options, Upkeep};

crate::support::on_both! {
    eight_small_files_become_one_with_the_same_rows_in_log_order
    files_whose_offsets_interleave_come_out_in_order_too
    a_merge_and_appends_at_the_same_time_both_go_through
    of_two_mergers_on_one_snapshot_exactly_one_wins
    an_owner_that_slept_through_a_takeover_is_fenced
    a_merge_whose_reply_was_lost_is_not_done_twice_nor_thrown_away
    a_rewrite_that_would_change_the_number_of_rows_is_refused
}

fn options() -> Options {
    Options { checkpoint_commits: 1_000_000, ..Options::default() }
}

async fn eight_small_files_become_one_with_the_same_rows_in_log_order(lake: Lake) {
    let mut table = lake.table().await;
    for round in 0..8 {
        let groups = [(0, round * 10..round * 10 + 10), (1, round * 7..round * 7 + 7)];
        let file = write(&table, DATE, &groups).await;
        table.commit(&crate::support::append(vec![file], vec![])).await.unwrap();
    }
    let before = read_all(&table).await;
    let mut own = lake.table().await;
    let done = Upkeep::new(options()).pass(&mut own, 0).await.unwrap();
    assert_eq!((done.merged_from, done.merged_into, done.more), (8, 1, false));
    table.reload().await.unwrap();
    let files = table.files().await.unwrap();
    assert_eq!((files.len(), files[0].rows), (1, Some(136)));
    let rows = read(&table, &files[0].path).await;
    assert!(rows.is_sorted(), "one partition after the other, each in log order");
    assert_eq!(rows, before);
    let bytes = lake.bytes(&files[0].path).await;
    let footer = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    assert_eq!(footer.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [80, 56]);
}

async fn files_whose_offsets_interleave_come_out_in_order_too(lake: Lake) {
    let mut table = lake.table().await;
    for file in 0..8 {
        // Offsets file, file + 8, file + 16 ... and both partitions in one row group, as a foreign writer may do.
        let batches: Vec<_> = (0..20)
            .flat_map(|step| [0, 1].map(|partition| events(partition, step * 8 + file..step * 8 + file + 1)))
            .collect();
        let file = table.write_file(date(DATE), vec![batches]).await.unwrap();
        table.commit(&crate::support::append(vec![file], vec![])).await.unwrap();
    }
    Upkeep::new(options()).pass(&mut table, 0).await.unwrap();
    let files = table.files().await.unwrap();
    assert_eq!(files.len(), 1);
    let rows = [partition_rows(0, 0..160), partition_rows(1, 0..160)].concat();
    assert_eq!(read(&table, &files[0].path).await, rows);
}

async fn a_merge_and_appends_at_the_same_time_both_go_through(lake: Lake) {
    let mut table = lake.table().await;
    for round in 0..20 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    let location = lake.location.clone();
    let appender = tokio::spawn(async move {
        let mut table = Table::open(&location).await.unwrap().unwrap();
        for round in 20..60 {
            assert!(matches!(flush(&mut table, DATE, round * 5..round * 5 + 5).await, Outcome::Committed { .. }));
        }
    });
    let (mut upkeep, mut merged) = (Upkeep::new(options()), 0);
    while !appender.is_finished() {
        merged += upkeep.pass(&mut table, 0).await.unwrap().merged_from;
    }
    appender.await.unwrap();
    table.reload().await.unwrap();
    assert!(merged > 0);
    assert_eq!(table.txn("p0").await.unwrap(), Some(299));
    assert_eq!(read_all(&table).await, partition_rows(0, 0..300));
}

/// A rewrite of all files into one, by hand, decided on the table's snapshot.
async fn rewrite(table: &Table, epoch: i64) -> Commit {
    let removes: Vec<ActiveFile> = table.files().await.unwrap();
    let rows = removes.iter().filter_map(|file| file.rows).sum::<u64>() as i64;
    let file = write(table, DATE, &[(0, 0..rows)]).await;
    let fence = txn("maintenance/epoch", Some(epoch), epoch);
    Commit { adds: vec![file], removes, txns: vec![fence], ..Commit::default() }
}

async fn with_epoch(table: &mut Table, epoch: i64) {
    let expected = table.txn("maintenance/epoch").await.unwrap();
    let take = Commit { txns: vec![txn("maintenance/epoch", expected, epoch)], ..Commit::default() };
    assert!(matches!(table.commit(&take).await.unwrap(), Outcome::Committed { .. }));
}

async fn of_two_mergers_on_one_snapshot_exactly_one_wins(lake: Lake) {
    let mut first = lake.table().await;
    flush(&mut first, DATE, 0..20).await;
    flush(&mut first, DATE, 20..40).await;
    with_epoch(&mut first, 1).await;
    let mut second = lake.table().await;
    let commits = [rewrite(&first, 1).await, rewrite(&second, 1).await];
    let (one, two) = tokio::join!(first.commit(&commits[0]), second.commit(&commits[1]));
    let won = [one.unwrap(), two.unwrap()].iter().filter(|outcome| **outcome != Outcome::Superseded).count();
    assert_eq!(won, 1);
    assert_eq!(read_all(&lake.table().await).await, partition_rows(0, 0..40), "40 rows, not 80");
}

async fn an_owner_that_slept_through_a_takeover_is_fenced(lake: Lake) {
    let mut sleeper = lake.table().await;
    flush(&mut sleeper, DATE, 0..20).await;
    with_epoch(&mut sleeper, 1).await;
    let commit = rewrite(&sleeper, 1).await;
    let mut other = lake.table().await;
    with_epoch(&mut other, 2).await;
    assert_eq!(sleeper.commit(&commit).await.unwrap(), Outcome::Superseded);
    assert_eq!(paths(&lake.table().await.files().await.unwrap()), paths(&commit.removes));
}

async fn a_merge_whose_reply_was_lost_is_not_done_twice_nor_thrown_away(lake: Lake) {
    let (store, mut table) = lake.faulty().await;
    for round in 0..8 {
        flush(&mut table, DATE, round * 5..round * 5 + 5).await;
    }
    store.order([Fault::Pass, Fault::LoseReply]);
    let done = Upkeep::new(options()).pass(&mut table, 0).await.unwrap();
    assert_eq!((done.merged_from, store.left()), (8, 0));
    assert_eq!(read_all(&lake.table().await).await, partition_rows(0, 0..40));
}

async fn a_rewrite_that_would_change_the_number_of_rows_is_refused(lake: Lake) {
    let mut table = lake.table().await;
    flush(&mut table, DATE, 0..20).await;
    let mut commit = rewrite(&table, 1).await;
    commit.txns.clear();
    commit.adds[0].rows -= 1;
    assert!(matches!(table.commit(&commit).await, Err(Error::Broken { .. })));
    assert_eq!(read_all(&table).await, partition_rows(0, 0..20));
}
