//! Retention: whole dates end, and nothing else does.
use crate::recorded::{self, MENDED, Order, Recorded, bring, replay, totals};
use crate::support::{DAY_US, Event, FIRST_DAY_US, Lake, Told, all};
use lake::table::{Commit, Outcome, Txn};
use lake::tables::{EVENT_DATE, EXPIRED, RECEIVED_DATE, txn_names};
use lake::upkeep::{Job, Options, Upkeep};
use maintenance::retention::Retention;

/// An event on each of the five first dates, in one record each.
async fn filled() -> (Lake, Recorded, Vec<Event>) {
    let (lake, mut log, mut events) = (Lake::new(), Recorded::default(), Vec::new());
    for day in 0..5 {
        events.extend(log.append(day as usize % 2, &[(day as u32, FIRST_DAY_US + day * DAY_US)]));
    }
    bring(&lake, &log, MENDED).await;
    (lake, log, events)
}

fn days(events: &[Event]) -> Vec<i64> {
    let mut days: Vec<i64> = events.iter().map(|event| (event.time_us - FIRST_DAY_US) / DAY_US).collect();
    days.sort_unstable();
    days
}

/// Long after: the days count from the newest date, which is day 4.
const NOW_MS: i64 = recorded::TAKEN_US / 1000 + 365 * DAY_US / 1000;

async fn pass(lake: &Lake, kept: u32, now_ms: i64) -> Vec<i64> {
    let mut table = lake.table().await;
    let mut upkeep = Upkeep::new(Options { lease_retry_ms: 0, ..Options::default() });
    let fence = upkeep.fence(&mut table, now_ms).await.unwrap().unwrap();
    while Retention::new(EVENT_DATE, kept).pass(&mut table, &fence, now_ms).await.unwrap() {}
    days(&all(&lake.table().await).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_that_are_old_enough_end_and_a_replay_does_not_bring_them_back() {
    let (lake, log, _) = filled().await;
    assert_eq!(pass(&lake, 4, NOW_MS).await, [0, 1, 2, 3, 4]);
    assert_eq!(lake.table().await.txn(EXPIRED).await.unwrap(), None, "nothing has ended");
    assert_eq!(pass(&lake, 2, NOW_MS).await, [2, 3, 4]);
    assert_eq!(totals(&lake).await, (3, 0), "what the audit goes by");
    assert_eq!(lake.table().await.txn(EXPIRED).await.unwrap(), Some(FIRST_DAY_US / DAY_US + 2));
    let told = Told::default();
    let mut replayer = recorded::replayer(&lake, &log, &told, MENDED, lake.store.clone()).await.unwrap();
    let job = replay(&mut replayer, &Order::all()).await.unwrap();
    assert_eq!((job.rows_before, job.rows_after, job.seconds_changed), (3, 3, 0));
    assert_eq!(days(&all(&lake.table().await).await), [2, 3, 4]);
    assert!(told.marks.lock().unwrap().is_empty(), "no window is computed from a remnant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_days_and_by_a_clock_that_jumped_nothing_ends() {
    let (lake, _, _) = filled().await;
    assert_eq!(pass(&lake, 0, NOW_MS).await.len(), 5);
    assert_eq!(pass(&lake, 4, NOW_MS).await.len(), 5, "a year ahead of the newest date");
    // Behind it the days count from today, or an event of the future would end others.
    assert_eq!(pass(&lake, 3, recorded::TAKEN_US / 1000 - 2 * DAY_US / 1000).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_have_ended_do_not_come_back() {
    let (lake, mut log) = (Lake::new(), Recorded::default());
    log.append(0, &[(1, FIRST_DAY_US), (2, recorded::BAD_US)]);
    bring(&lake, &log, MENDED).await;
    assert_eq!(recorded::letters(&lake).await.len(), 1);
    let mut dead = lake.try_letters_on(lake.store.clone()).await.unwrap();
    let now_ms = recorded::TAKEN_US / 1000 + 3 * DAY_US / 1000;
    let mut upkeep = Upkeep::new(Options { lease_retry_ms: 0, ..Options::default() });
    let fence = upkeep.fence(&mut dead, now_ms).await.unwrap().unwrap();
    Retention::new(RECEIVED_DATE, 1).pass(&mut dead, &fence, now_ms).await.unwrap();
    assert_eq!(recorded::letters(&lake).await.len(), 1, "the newest date of a table never ends");
    let expired = Txn { app: EXPIRED.to_owned(), expected: None, new: recorded::TAKEN_US / DAY_US + 1 };
    let removed = Txn { app: txn_names("cluster", "events", 0).removed, expected: None, new: 1 };
    let removes = dead.files().await.unwrap();
    let ended = Commit { data_change: true, removes, txns: vec![expired, removed], ..Commit::default() };
    assert!(matches!(dead.commit(&ended).await.unwrap(), Outcome::Committed { .. }));
    let told = Told::default();
    let mut replayer = recorded::replayer(&lake, &log, &told, MENDED, lake.store.clone()).await.unwrap();
    replay(&mut replayer, &Order::all()).await.unwrap();
    assert_eq!((recorded::letters(&lake).await.len(), totals(&lake).await), (0, (1, 0)));
}
