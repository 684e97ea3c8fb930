//! A replay that is killed before and after each of its writes, one after the other, and each write refused, or done without an
//! answer: between its chunks the tables are whole, and the next run brings them where an undisturbed one does.
use crate::faulty::{Fault, Faulty};
use crate::recorded::{
    BAD_US, BROKEN, MENDED, Order, Recorded, bring, finish, letters, replay, replayer, takes, totals,
};
use crate::support::{DAY_US, Event, FIRST_DAY_US, Keeper, Lake, Told, all, rewrites};
use maintenance::replay::{Kind, State};
use std::collections::BTreeSet;

/// Half of the events are dead letters to the first decoder; one has a copy on the next date, which was compacted away.
async fn filled() -> (Lake, (Recorded, Vec<Event>)) {
    let (lake, mut log, mut events) = (Lake::new(), Recorded::default(), Vec::new());
    for number in 0..8u32 {
        let old = (2 * number, FIRST_DAY_US + i64::from(number) * 1_000_000);
        let new = (2 * number + 1, FIRST_DAY_US + 4 * DAY_US + i64::from(number) * 1_000_000);
        events.extend(log.append(number as usize % 2, &[old, new]));
    }
    // Bad to both decoders, so they stay dead letters.
    for (partition, ids) in [(0, [90, 91]), (1, [92, 93])] {
        events.extend(log.append(partition, &[(ids[0], BAD_US)]));
        events.extend(log.append(partition, &[(ids[1], BAD_US), (ids[1] + 10, FIRST_DAY_US + 4 * DAY_US)]));
    }
    // 1 lies at (0, 0, 1).
    log.append(1, &[(1, FIRST_DAY_US + 4 * DAY_US + 7_000_000)]);
    bring(&lake, &log, BROKEN).await;
    Keeper::new(&lake, &Told::default()).await.compact().await;
    events.sort();
    (lake, (log, events))
}

/// Whatever has happened: nothing doubled, nothing from nowhere, and each event a row or a dead letter.
async fn check(lake: &Lake, events: &[Event], what: &str) {
    let (held, dead) = (all(&lake.table().await).await, letters(lake).await);
    let distinct: BTreeSet<&Event> = held.iter().collect();
    assert_eq!(distinct.len(), held.len(), "{what}: a row is doubled");
    for event in events {
        let (is_row, is_dead) = (distinct.contains(event), dead.contains(&event.place));
        assert!(is_row || is_dead, "{what}: {event:?} is nowhere");
        assert!(is_row || !takes(BROKEN, event), "{what}: {event:?} was a row");
    }
    assert!(held.iter().all(|event| events.contains(event)), "{what}: a row that is none of the events");
}

async fn check_end(lake: &Lake, events: &[Event], told: &Told, what: &str) {
    let (good, bad): (Vec<Event>, Vec<Event>) = events.iter().cloned().partition(|event| takes(MENDED, event));
    assert_eq!(all(&lake.table().await).await, good, "{what}");
    let places: BTreeSet<_> = bad.iter().map(|event| event.place).collect();
    assert_eq!(letters(lake).await, places, "{what}");
    assert_eq!(totals(lake).await, (good.len() as i64, bad.len() as i64), "{what}: what the audit goes by");
    let events = &good;
    let marks = told.marks.lock().unwrap().clone();
    let changed = events.iter().filter(|event| !takes(BROKEN, event));
    assert!(changed.clone().all(|event| marks.contains_key(&event.time_us)), "{what}: a window was not marked");
    let reached = rewrites(&lake.table().await).await;
    assert!(marks.values().all(|awaits| *awaits <= reached), "{what}: a mark awaits what nobody will commit");
}

fn orders() -> [Order; 3] {
    [
        Order { chunk_rows: 12, ..Order::all() },
        Order { dead_letters_only: true, ..Order::all() },
        Order { kind: Kind::Rebuild, ..Order::all() },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_or_after_any_write_it_is_finished_by_the_next_run() {
    let (lake, (log, events)) = filled().await;
    for order in orders() {
        let mut phases = BTreeSet::new();
        for at in 1.. {
            let mut ended = 0;
            for death in [Fault::Before(at), Fault::After(at)] {
                let (lake, told) = (lake.fork(), Told::default());
                let store = Faulty::over(lake.store.clone(), death);
                let life = async {
                    let mut first = replayer(&lake, &log, &told, MENDED, store.clone()).await.unwrap();
                    replay(&mut first, &order).await.unwrap();
                };
                let killed = tokio::select! {
                    () = store.died.notified() => true,
                    () = life => false,
                };
                let what = format!("{order:?}, {death:?}");
                check(&lake, &events, &what).await;
                let mut next = replayer(&lake, &log, &told, MENDED, lake.store.clone()).await.unwrap();
                finish(&mut next, &order).await;
                check_end(&lake, &events, &told, &what).await;
                assert!(next.jobs().all().await.unwrap().iter().all(|job| job.state == State::Done), "{what}");
                ended += usize::from(!killed);
                let last = store.writes.lock().unwrap().last().cloned().unwrap_or_default();
                phases.insert(
                    last.rsplit('/').next().unwrap_or_default().split('-').next().unwrap_or_default().to_owned(),
                );
            }
            if ended == 2 {
                println!("{order:?}: {at} writes, {phases:?}");
                assert!(at > 10, "{at}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_or_not_answered_stops_it_at_most_and_the_next_run_finishes_it() {
    let (lake, (log, events)) = filled().await;
    for order in &orders()[..1] {
        for at in 1.. {
            let mut undisturbed = 0;
            for fault in [Fault::Refused(at), Fault::Unanswered(at)] {
                let (lake, told) = (lake.fork(), Told::default());
                let store = Faulty::over(lake.store.clone(), fault);
                // What an opening writes is not this test's.
                let Ok(mut first) = replayer(&lake, &log, &told, MENDED, store.clone()).await else { continue };
                let stopped = replay(&mut first, order).await.is_err();
                let what = format!("{order:?}, {fault:?}, stopped: {stopped}");
                check(&lake, &events, &what).await;
                let mut next = replayer(&lake, &log, &told, MENDED, lake.store.clone()).await.unwrap();
                finish(&mut next, order).await;
                check_end(&lake, &events, &told, &what).await;
                undisturbed += usize::from(store.writes.lock().unwrap().len() < at);
            }
            if undisturbed == 2 {
                assert!(at > 10, "{at}");
                break;
            }
        }
    }
}
