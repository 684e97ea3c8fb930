//! Killed before and after each write of a compaction, one after the other, and each write refused, or done without an answer:
//! whatever the phase, nothing is lost or doubled, and in the end there is what an undisturbed compaction ends with.
use crate::faulty::{Fault, Faulty};
use crate::support::{Event, Keeper, Lake, Told, all, append, event, rewrites};
use lake::table::Table;
use maintenance::Step;
use std::collections::BTreeSet;

/// Three dates, each with a copy of the first one's events.
async fn filled(lake: &Lake) -> Table {
    let mut table = lake.table().await;
    append(&mut table, &[event(0, 1, 1, 0), event(0, 2, 2, 0), event(1, 1, 3, 1)]).await;
    append(&mut table, &[event(0, 3, 1, 1), event(0, 4, 4, 1), event(1, 2, 5, 2)]).await;
    append(&mut table, &[event(0, 5, 2, 0), event(0, 6, 3, 2), event(1, 3, 5, 2)]).await;
    table
}

fn winners() -> Vec<Event> {
    let mut stay = vec![event(0, 1, 1, 0), event(0, 2, 2, 0), event(0, 4, 4, 1), event(0, 6, 3, 2), event(1, 2, 5, 2)];
    stay.sort();
    stay
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_or_after_any_write_loses_and_doubles_nothing() {
    let mut phases = BTreeSet::new();
    for at in 1.. {
        let mut ended = 0;
        for death in [Fault::Before(at), Fault::After(at)] {
            let (lake, told) = (Lake::new(), Told::default());
            let appended: BTreeSet<Event> = all(&filled(&lake).await).await.into_iter().collect();
            let store = Faulty::over(lake.store.clone(), death);
            let life = async { Keeper::on(lake.table_on(store.clone()).await, &told).compact().await };
            let killed = tokio::select! {
                () = store.died.notified() => true,
                _ = life => false,
            };
            let held = all(&lake.table().await).await;
            let distinct: BTreeSet<Event> = held.iter().cloned().collect();
            assert_eq!(distinct.len(), held.len(), "{death:?}: a row is doubled");
            assert!(distinct.is_subset(&appended), "{death:?}: a row from nowhere");
            assert!(winners().iter().all(|event| distinct.contains(event)), "{death:?}: a row is lost");
            let mut next = Keeper::new(&lake, &told).await;
            next.compact().await;
            assert_eq!(all(&next.table).await, winners(), "{death:?}");
            let marks = told.marks.lock().unwrap().clone();
            assert!(
                appended
                    .iter()
                    .filter(|event| !winners().contains(event))
                    .all(|event| marks.contains_key(&event.time_us))
            );
            let reached = rewrites(&next.table).await;
            assert!(
                marks.values().all(|awaits| *awaits <= reached),
                "{death:?}: a mark awaits what nobody will commit"
            );
            assert_eq!(next.step().await, Step::Nothing);
            ended += usize::from(!killed);
            let last = store.writes.lock().unwrap().last().cloned().unwrap_or_default();
            phases.insert(format!(
                "{death:?} {}",
                last.rsplit('/').next().unwrap_or_default().split('-').next().unwrap_or_default()
            ));
        }
        if ended == 2 {
            println!("{phases:#?}");
            assert!(at > 8, "a lease, and a file and a commit for each date: {at}");
            return;
        }
    }
}

/// As upkeep does it: what fails is tried again.
async fn compacts_in_the_end(keeper: &mut Keeper) {
    for _ in 0..20 {
        let Ok(Some(fence)) = keeper.upkeep.fence(&mut keeper.table, 0).await else { continue };
        if keeper.compaction.step(&mut keeper.table, &fence, 0).await.is_ok_and(|step| step == Step::Nothing) {
            return;
        }
    }
    panic!("it does not come to an end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_or_not_answered_loses_and_doubles_nothing() {
    for at in 1.. {
        let mut undisturbed = 0;
        for fault in [Fault::Refused(at), Fault::Unanswered(at)] {
            let (lake, told) = (Lake::new(), Told::default());
            filled(&lake).await;
            let store = Faulty::over(lake.store.clone(), fault);
            // What an opening writes (its probe of the store) is not this test's.
            let Ok(table) = lake.try_table_on(store.clone()).await else { continue };
            compacts_in_the_end(&mut Keeper::on(table, &told)).await;
            assert_eq!(all(&lake.table().await).await, winners(), "{fault:?}");
            undisturbed += usize::from(store.writes.lock().unwrap().len() < at);
        }
        if undisturbed == 2 {
            assert!(at > 8, "{at}");
            return;
        }
    }
}
