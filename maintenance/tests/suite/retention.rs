//! Retention: whole dates end, and nothing else does.
use crate::recorded::{self, MENDED, Order, Recorded, bring, replay, totals};
use crate::support::{DAY_US, Event, FIRST_DAY_US, Lake, Told, all};
use lake::tables::{EVENT_DATE, EXPIRED};
use lake::upkeep::{Job, Options, Upkeep};
use maintenance::retention::Retention;

/// When the store wrote the files, ms: the system's clock.
async fn written_ms(lake: &Lake) -> i64 {
    lake.table().await.files().await.unwrap().iter().map(|file| file.modification_time).max().unwrap()
}

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

/// What is left when the first kept date is that day; kept are so many days before the system's date.
async fn after(lake: &Lake, day: i64) -> Vec<i64> {
    let now_ms = written_ms(lake).await;
    let today = now_ms.div_euclid(DAY_US / 1000);
    let kept = today - (FIRST_DAY_US / DAY_US + day);
    // The dates of these events may lie ahead of the machine's clock: then nothing can be too old for it.
    let (now_ms, kept) = if kept > 0 { (now_ms, kept) } else { (now_ms + (1 - kept) * DAY_US / 1000, 1) };
    pass(lake, kept as u32, now_ms).await
}

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
    assert_eq!(after(&lake, 0).await, [0, 1, 2, 3, 4]);
    assert_eq!(lake.table().await.txn(EXPIRED).await.unwrap(), None, "nothing has ended");
    assert_eq!(after(&lake, 2).await, [2, 3, 4]);
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
    let now_ms = written_ms(&lake).await;
    assert_eq!(pass(&lake, 0, now_ms).await.len(), 5);
    assert_eq!(pass(&lake, 1, now_ms + 365 * DAY_US / 1000).await.len(), 5, "a year ahead of the newest file");
}
