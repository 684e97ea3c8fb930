//! What a compaction leaves.
use crate::support::{Event, FIRST_DAY_US, Keeper, Lake, Told, all, append, event, files, rewrites};
use lake::table::Outcome;
use lake::tables::txn_names;
use maintenance::{Config, Step};

#[tokio::test]
async fn what_lay_unsorted_is_one_file_a_date_sorted_by_title_hour_session_and_time() {
    let (lake, told) = (Lake::new(), Told::default());
    let mut table = lake.table().await;
    let mut events = Vec::new();
    for flush in 0..5_i64 {
        let of_flush: Vec<Event> = (0..40)
            .map(|at| event(at % 2, flush * 100 + i64::from(at), (flush * 40) as u32 + at as u32, i64::from(at) % 3))
            .map(|event| Event { time_us: event.time_us + i64::from(event.id % 3) * 3_600_000_000, ..event })
            .collect();
        append(&mut table, &of_flush).await;
        events.extend(of_flush);
    }
    events.push(Event { title: None, ..event(0, 900, 250, 1) });
    append(&mut table, &events[200..]).await;
    assert_eq!(Keeper::new(&lake, &told).await.compact().await, 0);
    table.reload().await.unwrap();
    events.sort();
    assert_eq!(all(&table).await, events);
    let files = files(&table).await;
    assert_eq!(files.len(), 3);
    for (path, events) in files {
        assert!(path.contains("/sorted-"), "{path}");
        assert!(events.is_sorted_by_key(Event::order), "{events:?}");
    }
    assert_eq!((rewrites(&table).await, told.marks.lock().unwrap().len()), (0, 0), "no row changed");
}

#[tokio::test]
async fn of_copies_the_one_with_the_lowest_place_stays_whichever_date_it_is_on() {
    let (lake, told) = (Lake::new(), Told::default());
    let mut table = lake.table().await;
    // 1: on one date; 2: the next date's place is lower; 3: the day before's; 4: two days apart are not compared.
    append(&mut table, &[event(0, 10, 1, 0), event(0, 11, 2, 0), event(0, 12, 3, 0), event(0, 13, 4, 0)]).await;
    append(&mut table, &[event(0, 50, 1, 0), event(0, 5, 2, 1), event(0, 51, 3, 1), event(0, 52, 4, 2)]).await;
    assert_eq!(Keeper::new(&lake, &told).await.compact().await, 3);
    table.reload().await.unwrap();
    let left: Vec<_> = all(&table).await.iter().map(|event| (event.id, event.place.1)).collect();
    assert_eq!(left, [(2, 5), (1, 10), (3, 12), (4, 13), (4, 52)]);
    let removed = [event(0, 50, 1, 0), event(0, 11, 2, 0), event(0, 51, 3, 1)].map(|event| event.time_us);
    let marked: Vec<i64> = told.marks.lock().unwrap().keys().copied().collect();
    assert!(removed.iter().all(|time| marked.contains(time)), "{marked:?}");
    let names = txn_names("cluster", "events", 0);
    let total = async |app: &str| table.txn(app).await.unwrap();
    assert_eq!((total(&names.rows).await, total(&names.removed).await), (Some(8), Some(3)));
}

#[tokio::test]
async fn a_copy_that_comes_long_after_its_date_was_compacted_goes_with_the_next_compaction() {
    let (lake, told) = (Lake::new(), Told::default());
    let mut table = lake.table().await;
    append(&mut table, &[event(1, 10, 1, 0), event(1, 11, 2, 0)]).await;
    let mut keeper = Keeper::new(&lake, &told).await;
    assert_eq!(keeper.compact().await, 0);
    // Of another partition, and lower: the row that was there is the copy.
    append(&mut table, &[event(0, 3, 1, 0), event(1, 20, 2, 0)]).await;
    assert_eq!(keeper.compact().await, 2);
    let left: Vec<_> = all(&keeper.table).await.iter().map(|event| event.place).collect();
    assert_eq!(left, [(0, 3, 0), (1, 11, 0)]);
    assert_eq!(files(&keeper.table).await.len(), 1, "drops do not stay files");
}

#[tokio::test]
async fn of_rows_that_claim_one_place_one_stays() {
    let (lake, told) = (Lake::new(), Told::default());
    let mut table = lake.table().await;
    append(&mut table, &[event(0, 10, 1, 0)]).await;
    append(&mut table, &[event(0, 10, 1, 0), event(0, 11, 2, 0)]).await;
    let mut keeper = Keeper::new(&lake, &told).await;
    assert_eq!(keeper.compact().await, 1);
    assert_eq!(all(&keeper.table).await, [event(0, 10, 1, 0), event(0, 11, 2, 0)]);
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_spilled_and_comes_out_in_order_over_several_files() {
    let (lake, told, spill) = (Lake::new(), Told::default(), tempfile::tempdir().unwrap());
    let mut table = lake.table().await;
    let events: Vec<Event> = (0..60_000_i64)
        .map(|at| {
            let mixed = (at * 7_919) % 60_000;
            let title = Some(format!("title-{:05}", mixed % 1_000));
            Event { place: (0, at, 0), id: at as u32, time_us: FIRST_DAY_US + mixed * 1_000_000, title }
        })
        .collect();
    append(&mut table, &events).await;
    let bytes = table.files().await.unwrap()[0].bytes;
    let config = Config { memory_bytes: 24 << 20, file_bytes: bytes / 3 + 1, ..Config::default() };
    let mut keeper = Keeper::with(&lake, &told, config, spill.path()).await;
    assert_eq!(keeper.compact().await, 0);
    let files = files(&keeper.table).await;
    assert!((3..=4).contains(&files.len()), "{} files", files.len());
    let mut ranges: Vec<_> = files
        .iter()
        .map(|(_, events)| {
            assert!(events.is_sorted_by_key(Event::order));
            (events.first().map(Event::order), events.last().map(Event::order))
        })
        .collect();
    ranges.sort();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "each file is a range of its own");
    assert_eq!(files.iter().map(|(_, events)| events.len()).sum::<usize>(), events.len());
    assert!(!spill.path().exists(), "nothing stays where rows were spilled");
}

#[tokio::test]
async fn without_room_for_marks_no_copy_goes() {
    let (lake, told) = (Lake::new(), Told::default());
    let mut table = lake.table().await;
    append(&mut table, &[event(0, 10, 1, 0), event(0, 11, 1, 0)]).await;
    let mut keeper = Keeper::new(&lake, &told).await;
    *told.no_room.lock().unwrap() = true;
    assert_eq!(keeper.step().await, Step::NoRoom);
    assert_eq!(all(&keeper.table).await.len(), 2);
    *told.no_room.lock().unwrap() = false;
    assert_eq!(keeper.compact().await, 1);
}

#[tokio::test]
async fn an_owner_that_slept_through_a_takeover_changes_nothing() {
    let (lake, told) = (Lake::new(), Told::default());
    let mut table = lake.table().await;
    append(&mut table, &[event(0, 10, 1, 0), event(0, 11, 1, 0), event(0, 12, 2, 0)]).await;
    let mut slept = Keeper::new(&lake, &told).await;
    let fence = slept.upkeep.fence(&mut slept.table, 0).await.unwrap().unwrap();
    let mut other = Keeper::new(&lake, &told).await;
    assert!(other.upkeep.fence(&mut other.table, 0).await.unwrap().is_some());
    assert_eq!(slept.compaction.step(&mut slept.table, &fence, 0).await.unwrap(), Step::Superseded);
    table.reload().await.unwrap();
    assert_eq!(all(&table).await.len(), 3);
    // Its marks await what the other one commits, or sets where there is nothing to be done.
    assert_eq!(other.compact().await, 1);
    assert!(rewrites(&other.table).await >= *told.marks.lock().unwrap().values().max().unwrap());
}

#[tokio::test]
async fn what_marks_await_whose_compaction_never_came_is_reached_by_the_next_owner() {
    let (lake, told) = (Lake::new(), Told::default());
    let mut table = lake.table().await;
    append(&mut table, &[event(0, 10, 1, 0)]).await;
    // Who marked these was killed, and its copies are gone otherwise.
    told.marks.lock().unwrap().insert(event(0, 11, 1, 0).time_us, 3);
    let mut keeper = Keeper::new(&lake, &told).await;
    assert_eq!(keeper.compact().await, 0);
    assert_eq!(rewrites(&keeper.table).await, 3);
    assert_eq!(all(&keeper.table).await, [event(0, 10, 1, 0)]);
}

#[tokio::test]
async fn what_a_sink_commits_meanwhile_stays() {
    let (lake, told) = (Lake::new(), Told::default());
    let (mut table, mut keeper) = (lake.table().await, Keeper::new(&lake, &told).await);
    append(&mut table, &[event(0, 10, 1, 0), event(0, 11, 1, 0)]).await;
    let fence = keeper.upkeep.fence(&mut keeper.table, 0).await.unwrap().unwrap();
    // The keeper's snapshot is older than this.
    assert!(matches!(append(&mut table, &[event(0, 12, 1, 0), event(0, 13, 3, 0)]).await, Outcome::Committed { .. }));
    assert!(matches!(keeper.compaction.step(&mut keeper.table, &fence, 0).await.unwrap(), Step::Done(_)));
    assert_eq!(all(&keeper.table).await.iter().map(|event| event.place.1).collect::<Vec<_>>(), [10, 12, 13]);
    assert_eq!(keeper.compact().await, 1);
    assert_eq!(all(&keeper.table).await.iter().map(|event| event.place.1).collect::<Vec<_>>(), [10, 13]);
}
