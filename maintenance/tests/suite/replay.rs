//! Replays: what they replace, what they leave, and what they refuse.
use crate::recorded::{BROKEN, MENDED, Order, Recorded, bring, letters, replay, replayer, takes, totals};
use crate::support::{DAY_US, Event, FIRST_DAY_US, Keeper, Lake, Told, all, batch, files, rewrites};
use event::decode::TimeBounds;
use futures::TryStreamExt;
use lake::table::{Commit, Outcome};
use maintenance::Bounds;
use maintenance::replay::{Asked, Error, Job, Kind, State};
use object_store::ObjectStore;
use std::collections::{BTreeMap, BTreeSet};

async fn replayed(lake: &Lake, log: &Recorded, told: &Told, bounds: TimeBounds, order: &Order) -> Result<Job, Error> {
    replay(&mut replayer(lake, log, told, bounds, lake.store.clone()).await?, order).await
}

/// Ten records in each partition, of two events each: one is on the first dates, one on the last.
fn recorded() -> (Recorded, Vec<Event>) {
    let (mut log, mut events) = (Recorded::default(), Vec::new());
    for number in 0..20u32 {
        let old = (2 * number, FIRST_DAY_US + i64::from(number) * 1_000_000);
        let new = (2 * number + 1, FIRST_DAY_US + 4 * DAY_US + i64::from(number) * 1_000_000);
        events.extend(log.append(number as usize % 2, &[old, new]));
    }
    events.sort();
    (log, events)
}

fn of<'a>(events: &'a [Event], which: impl Fn(&&Event) -> bool + 'a) -> Vec<Event> {
    events.iter().filter(which).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_mended_decoder_dead_letters_become_rows_and_their_windows_are_marked() {
    for (order, chunks) in [
        (Order::all(), 1),
        (Order { chunk_rows: 4, ..Order::all() }, 8),
        (Order { dead_letters_only: true, ..Order::all() }, 1),
        (Order { kind: Kind::Rebuild, chunk_rows: 1, ..Order::all() }, 1),
    ] {
        let ((log, events), lake, told) = (recorded(), Lake::new(), Told::default());
        bring(&lake, &log, BROKEN).await;
        let taken = of(&events, |event| takes(BROKEN, event));
        assert_eq!((all(&lake.table().await).await, letters(&lake).await.len()), (taken.clone(), 20));
        let job = replayed(&lake, &log, &told, MENDED, &order).await.unwrap();
        assert_eq!(all(&lake.table().await).await, events, "{order:?}");
        assert_eq!(letters(&lake).await, BTreeSet::new(), "{order:?}");
        assert_eq!((job.state, job.rows_before, job.rows_after), (State::Done, 20, 40), "{order:?}");
        assert_eq!((job.dead_letters_before, job.dead_letters_after, job.seconds_changed), (20, 0, 20));
        assert!(job.chunks.abs_diff(chunks) <= 3, "{order:?}: {} chunks", job.chunks);
        assert_eq!(totals(&lake).await, (40, 0), "{order:?}: what the audit goes by");
        let marks = told.marks.lock().unwrap().clone();
        let changed: BTreeSet<i64> =
            of(&events, |event| !takes(BROKEN, event)).iter().map(|event| event.time_us).collect();
        assert_eq!(marks.keys().copied().collect::<BTreeSet<_>>(), changed, "{order:?}: no window is marked in vain");
        let reached = rewrites(&lake.table().await).await;
        assert!(marks.values().all(|awaits| *awaits <= reached));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_what_is_right_leaves_the_files_as_they_are_and_a_rebuild_writes_them_anew() {
    let ((log, events), lake, told) = (recorded(), Lake::new(), Told::default());
    bring(&lake, &log, MENDED).await;
    Keeper::new(&lake, &told).await.compact().await;
    let paths = async || files(&lake.table().await).await.into_iter().map(|(path, _)| path).collect::<BTreeSet<_>>();
    let stored = async || {
        let listed: Vec<_> = lake.store.list(None).try_collect().await.unwrap();
        listed.iter().filter(|meta| meta.location.as_ref().contains("event_date=")).count()
    };
    let (before, stored_before) = (paths().await, stored().await);
    assert!(before.iter().all(|path| path.contains("/sorted-")), "{before:?}");
    for chunk_rows in [1_000, 3] {
        let order = Order { chunk_rows, ..Order::all() };
        let job = replayed(&lake, &log, &told, MENDED, &order).await.unwrap();
        assert_eq!((job.rows_before, job.rows_after, job.copies, job.seconds_changed), (40, 40, 0, 0));
        assert_eq!((paths().await, stored().await), (before.clone(), stored_before), "nor is anything left over");
    }
    let rebuild = Order { kind: Kind::Rebuild, ..Order::all() };
    let job = replayed(&lake, &log, &told, MENDED, &rebuild).await.unwrap();
    assert_eq!((job.rows_before, job.rows_after, job.seconds_changed), (40, 40, 0));
    assert!(before.is_disjoint(&paths().await));
    assert_eq!(all(&lake.table().await).await, events);
    assert!(told.marks.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_changed_or_lie_on_another_date_come_back_as_they_were() {
    for is_moved in [false, true] {
        let ((log, events), lake, told) = (recorded(), Lake::new(), Told::default());
        bring(&lake, &log, MENDED).await;
        let mut table = lake.table().await;
        let (path, mut rows) = files(&table).await.remove(0);
        let file = table.files().await.unwrap().into_iter().find(|file| file.path == path).unwrap();
        let mut values = file.partition_values.clone();
        let batches = if is_moved {
            values.insert("event_date".to_owned(), Some("2026-11-22".to_owned()));
            table.read_file(&path, None).await.unwrap().try_collect().await.unwrap()
        } else {
            rows.iter_mut().for_each(|event| event.title = Some("changed".to_owned()));
            vec![batch(&table, &rows)]
        };
        let new = table.write_file(values, vec![batches]).await.unwrap();
        let commit = Commit { adds: vec![new], removes: vec![file], data_change: true, ..Commit::default() };
        assert!(matches!(table.commit(&commit).await.unwrap(), Outcome::Committed { .. }));
        let job = replayed(&lake, &log, &told, MENDED, &Order::all()).await.unwrap();
        // Each file's rows are looked at for their date, too.
        assert_eq!(all(&lake.table().await).await, events);
        let changed = if is_moved { 0 } else { rows.len() };
        assert_eq!((job.rows_before, job.rows_after, job.seconds_changed), (40, 40, changed as u64));
        assert_eq!(told.marks.lock().unwrap().len(), changed, "their windows are marked, and no others");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_records_that_are_asked_for_are_replaced() {
    let asked = [
        (Asked::Offsets { partition: 1, from: 3, to: Some(5) }, BTreeSet::from([(1, 3), (1, 4), (1, 5)])),
        (Asked::Offsets { partition: 0, from: 8, to: None }, BTreeSet::from([(0, 8), (0, 9)])),
        (
            Asked::Times { from_us: crate::recorded::TAKEN_US + 2, to_us: Some(crate::recorded::TAKEN_US + 4) },
            BTreeSet::from([(0, 2), (0, 3), (1, 2), (1, 3)]),
        ),
    ];
    for (asked, records) in asked {
        // Of the records before what is asked for none has a dead letter.
        let (lake, told, mut log, mut events) = (Lake::new(), Told::default(), Recorded::default(), Vec::new());
        for number in 0..20u32 {
            let (partition, offset) = (number % 2, u64::from(number / 2));
            let is_before = records.iter().all(|(of, asked)| *of != partition as i32 || offset < *asked as u64);
            let day = if is_before { 4 } else { 0 };
            let more = (100 + number, FIRST_DAY_US + 4 * DAY_US);
            events.extend(log.append(partition as usize, &[(number, FIRST_DAY_US + day * DAY_US), more]));
        }
        events.sort();
        bring(&lake, &log, BROKEN).await;
        Keeper::new(&lake, &told).await.compact().await;
        let order = Order { asked, ..Order::all() };
        replayed(&lake, &log, &told, MENDED, &order).await.unwrap();
        let is_asked = |event: &Event| records.contains(&(event.place.0, event.place.1));
        let expected = of(&events, |event| takes(BROKEN, event) || is_asked(event));
        assert_eq!(all(&lake.table().await).await, expected, "{order:?}");
        let dead: BTreeSet<_> =
            of(&events, |event| !expected.contains(event)).iter().map(|event| event.place).collect();
        assert_eq!(letters(&lake).await, dead, "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_no_copy_of_what_is_a_dead_letter_as_yet_or_is_gone() {
    let (lake, told, mut log) = (Lake::new(), Told::default(), Recorded::default());
    log.append(0, &[(1, FIRST_DAY_US), (2, FIRST_DAY_US)]);
    log.append(0, &[(2, FIRST_DAY_US + 4 * DAY_US)]);
    bring(&lake, &log, BROKEN).await;
    let ids = async || -> Vec<u32> { all(&lake.table().await).await.iter().map(|event| event.id).collect() };
    let second = Order { asked: Asked::Offsets { partition: 0, from: 1, to: None }, ..Order::all() };
    replayed(&lake, &log, &told, MENDED, &second).await.unwrap();
    assert_eq!(ids().await, [2], "its copy before it is a dead letter");
    let dead = lake.try_letters_on(lake.store.clone()).await.unwrap();
    let gone = Commit { data_change: true, removes: dead.files().await.unwrap(), ..Commit::default() };
    assert!(matches!({ dead }.commit(&gone).await.unwrap(), Outcome::Committed { .. }));
    replayed(&lake, &log, &told, MENDED, &second).await.unwrap();
    assert_eq!(ids().await, [2], "that letter was deleted");
    replayed(&lake, &log, &told, MENDED, &Order::all()).await.unwrap();
    assert_eq!(ids().await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_the_window_had_dropped_stays_dropped_whatever_its_date() {
    let (lake, told, mut log) = (Lake::new(), Told::default(), Recorded::default());
    log.append(0, &[(1, FIRST_DAY_US)]);
    log.append(0, &[(1, FIRST_DAY_US + 4 * DAY_US)]);
    bring(&lake, &log, MENDED).await;
    let second = Order { asked: Asked::Offsets { partition: 0, from: 1, to: None }, ..Order::all() };
    let job = replayed(&lake, &log, &told, MENDED, &second).await.unwrap();
    assert_eq!((job.copies, job.rows_after), (1, 0));
    assert_eq!(all(&lake.table().await).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_has_no_more_is_refused_or_stays() {
    let ((mut log, events), lake, told) = (recorded(), Lake::new(), Told::default());
    bring(&lake, &log, BROKEN).await;
    log.start = [0, 2];
    let refused = replayed(&lake, &log, &told, MENDED, &Order::all()).await.unwrap_err().to_string();
    assert!(refused.contains("partition 1: offsets 0..2 can't be replayed: the log begins at 2"), "{refused}");
    assert!(refused.contains("--keep-missing"), "{refused}");
    assert_eq!(all(&lake.table().await).await.len(), 20, "nothing was changed");
    let order = Order { keep_missing: true, ..Order::all() };
    replayed(&lake, &log, &told, MENDED, &order).await.unwrap();
    let is_kept = |event: &Event| event.place.0 == 1 && event.place.1 < 2;
    let expected = of(&events, |event| takes(BROKEN, event) || !is_kept(event));
    assert_eq!(all(&lake.table().await).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_copies_than_can_be_removed_at_once_are_refused_before_anything_is_changed() {
    let (lake, told, mut log) = (Lake::new(), Told::default(), Recorded::default());
    let events = |from: u32| (from..from + 11).map(|id| (id, FIRST_DAY_US + 4 * DAY_US)).collect::<Vec<_>>();
    for from in [1, 50, 1] {
        log.append(0, &events(from));
    }
    bring(&lake, &log, MENDED).await;
    Keeper::new(&lake, &told).await.compact().await;
    let before = all(&lake.table().await).await;
    let few = Bounds { copies_max: 3, ..Bounds::default() };
    let first = replayer(&lake, &log, &told, MENDED, lake.store.clone()).await.unwrap();
    let order = Order { asked: Asked::Offsets { partition: 0, from: 2, to: None }, ..Order::all() };
    let refused = replay(&mut first.bounded(few), &order).await.unwrap_err().to_string();
    assert!(refused.contains("more than 3 copies elsewhere"), "{refused}");
    assert_eq!(all(&lake.table().await).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_copies_the_lowest_place_stays_whichever_is_replayed() {
    // The same event in three records, further apart than the window; the first of them was a dead letter.
    let (lake, told, mut log) = (Lake::new(), Told::default(), Recorded::default());
    let filler =
        |from: u32| -> Vec<(u32, i64)> { (from..from + 12).map(|id| (id, FIRST_DAY_US + 4 * DAY_US)).collect() };
    let copied = FIRST_DAY_US + 3 * DAY_US;
    log.append(0, &[(1, copied)]);
    bring(&lake, &log, BROKEN).await;
    for from in [100, 200] {
        log.append(0, &filler(from));
        log.append(0, &[(1, copied + DAY_US)]);
        log.append(1, &filler(from + 50));
    }
    bring(&lake, &log, BROKEN).await;
    let places = async || -> Vec<(i32, i64, i64)> {
        let held = all(&lake.table().await).await;
        held.iter().filter(|event| event.id == 1).map(|event| event.place).collect()
    };
    assert_eq!(places().await, [(0, 2, 0), (0, 4, 0)]);
    Keeper::new(&lake, &told).await.compact().await;
    assert_eq!(places().await, [(0, 2, 0)]);
    // A row is not brought back whose copy stands lower down.
    let last = Order { asked: Asked::Offsets { partition: 0, from: 4, to: None }, ..Order::all() };
    assert_eq!(replayed(&lake, &log, &told, MENDED, &last).await.unwrap().copies, 1);
    assert_eq!(places().await, [(0, 2, 0)]);
    // Copies higher up go with what comes.
    let first = Order { asked: Asked::Offsets { partition: 0, from: 0, to: Some(0) }, ..Order::all() };
    let job = replayed(&lake, &log, &told, MENDED, &first).await.unwrap();
    assert_eq!((job.copies, job.rows_before, job.rows_after), (1, 1, 1));
    assert_eq!(places().await, [(0, 0, 0)]);
    assert_eq!(totals(&lake).await, (all(&lake.table().await).await.len() as i64, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_replay_of_all_the_totals_say_what_is_there_whatever_others_had_done() {
    let ((log, events), lake, told) = (recorded(), Lake::new(), Told::default());
    bring(&lake, &log, MENDED).await;
    let mut table = lake.table().await;
    // Rows of the second record once more, and a file of others gone.
    let twice = of(&events, |event| event.place.1 == 1 && event.time_us < FIRST_DAY_US + DAY_US);
    let values = BTreeMap::from([("event_date".to_owned(), Some("2026-11-20".to_owned()))]);
    let file = table.write_file(values, vec![vec![batch(&table, &twice)]]).await.unwrap();
    let gone = table.files().await.unwrap().pop().unwrap();
    let damage = Commit { adds: vec![file], removes: vec![gone], data_change: true, ..Commit::default() };
    assert!(matches!(table.commit(&damage).await.unwrap(), Outcome::Committed { .. }));
    assert_ne!(all(&lake.table().await).await.len(), 40);
    replayed(&lake, &log, &told, MENDED, &Order { chunk_rows: 10, ..Order::all() }).await.unwrap();
    assert_eq!((all(&lake.table().await).await, totals(&lake).await), (events, (40, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_made_anew_is_refused() {
    let ((log, _), lake, told) = (recorded(), Lake::new(), Told::default());
    bring(&lake, &log, MENDED).await;
    let (mut other, mut shorter) = (log.clone(), log.clone());
    other.partitions[1][9][0].id += 1;
    shorter.partitions[0].pop();
    for (log, words) in [(other, "another record stands at offset 9"), (shorter, "it is not the log")] {
        let refused = replayed(&lake, &log, &told, MENDED, &Order::all()).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_marks_nothing_of_the_chunk_is_changed_and_the_next_run_goes_on() {
    let ((log, events), lake, told) = (recorded(), Lake::new(), Told::default());
    bring(&lake, &log, BROKEN).await;
    *told.no_room.lock().unwrap() = true;
    let first = replayer(&lake, &log, &told, MENDED, lake.store.clone()).await.unwrap();
    let refused = replay(&mut first.asking_for_room(1), &Order::all()).await.unwrap_err();
    assert!(matches!(refused, Error::NoRoom(20)), "{refused}");
    assert_eq!(all(&lake.table().await).await.len(), 20);
    *told.no_room.lock().unwrap() = false;
    let mut next = replayer(&lake, &log, &told, MENDED, lake.store.clone()).await.unwrap();
    let job = next.unfinished().await.unwrap().unwrap();
    assert_eq!((job.id, job.state), (1, State::Failed));
    assert!(job.failure.as_ref().unwrap().contains("no room to mark"), "{job:?}");
    next.finish(job, &|_, _, _| {}).await.unwrap();
    assert_eq!(all(&lake.table().await).await, events);
    assert_eq!(next.jobs().all().await.unwrap()[0].state, State::Done);
}
