//! Random histories of a table, with kills at any await, merges beside, and two owners: no row is ever lost or doubled, the
//! lowest place stays, and whatever went was told before.
use crate::support::{Event, Keeper, Lake, Told, all, append, event, rewrites};
use maintenance::Bounds;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::task::{Context, Poll, Waker};

/// Histories; `MODEL_SEEDS` for more.
#[allow(clippy::disallowed_methods, reason = "scripts/soak asks for more by a variable")]
pub fn seeds() -> u64 {
    std::env::var("MODEL_SEEDS").map_or(40, |seeds| seeds.parse().expect("MODEL_SEEDS is a number"))
}

/// A copy lies on the same date or the next.
fn random_event(rng: &mut StdRng, next: &mut [i64; 2]) -> Event {
    let (partition, id) = (rng.random_range(0..2_usize), rng.random_range(0..24_u32));
    let day = i64::from(id % 3) + rng.random_range(0..2);
    next[partition] += 1;
    event(partition as i32, next[partition], id, day)
}

/// Polls it so often, then drops it: a kill at an await.
pub async fn killed<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(done);
        }
        // Blocking threads encode meanwhile.
        tokio::time::sleep(std::time::Duration::from_micros(300)).await;
    }
    None
}

#[derive(Default)]
struct Model {
    appended: BTreeMap<(i32, i64, i64), Event>,
    /// Of what went, how many rewrites there were at least when it did.
    gone: BTreeMap<(i32, i64, i64), i64>,
    rewrites: i64,
}

impl Model {
    fn winners(&self) -> BTreeSet<(i32, i64, i64)> {
        let mut lowest: BTreeMap<u32, (i32, i64, i64)> = BTreeMap::new();
        for (place, event) in &self.appended {
            let held = lowest.entry(event.id).or_insert(*place);
            *held = (*held).min(*place);
        }
        lowest.into_values().collect()
    }

    async fn check(&mut self, lake: &Lake, told: &Told, what: &str) {
        let table = lake.table().await;
        let held = all(&table).await;
        let places: BTreeSet<_> = held.iter().map(|event| event.place).collect();
        assert_eq!(places.len(), held.len(), "{what}: a row is doubled");
        for event in &held {
            assert_eq!(self.appended.get(&event.place), Some(event), "{what}: a row that nobody appended");
        }
        let lost: Vec<_> = self.winners().difference(&places).copied().collect();
        assert!(lost.is_empty(), "{what}: lost {lost:?}");
        let (marks, before) = (told.marks.lock().unwrap().clone(), self.rewrites);
        self.rewrites = rewrites(&table).await;
        for (place, event) in self.appended.iter().filter(|(place, _)| !places.contains(place)) {
            let with = *self.gone.entry(*place).or_insert(before + 1);
            let awaits = marks.get(&event.time_us);
            assert!(
                awaits.is_some_and(|awaits| *awaits >= with),
                "{what}: {place:?} went with {with}, told: {awaits:?}"
            );
            assert!(with <= self.rewrites, "{what}: {place:?} went, and nothing tells that it did");
        }
    }
}

async fn history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (lake, told, mut model, mut next) = (Lake::new(), Told::default(), Model::default(), [0, 0]);
    let mut sink = lake.table().await;
    // So few at a time that one step takes several passes, leaves copies for the next one, or both.
    let few = Bounds { keys_at_once: 5, candidates_max: 3, copies_max: 2 };
    let bounds = if rng.random_bool(0.5) { Bounds::default() } else { few };
    let keeper = async || Keeper::new(&lake, &told).await.bounded(bounds.clone());
    let mut keepers = [keeper().await, keeper().await];
    for step in 0..rng.random_range(4..20) {
        let what = match rng.random_range(0..6) {
            0..3 => {
                let events: Vec<Event> =
                    (0..rng.random_range(1..12)).map(|_| random_event(&mut rng, &mut next)).collect();
                append(&mut sink, &events).await;
                model.appended.extend(events.into_iter().map(|event| (event.place, event)));
                "append"
            }
            3 => {
                let keeper = &mut keepers[rng.random_range(0..2)];
                keeper.step().await;
                "step"
            }
            4 => {
                let polls = rng.random_range(1..120);
                let at = rng.random_range(0..2);
                killed(polls, keepers[at].step()).await;
                keepers[at] = keeper().await;
                "killed step"
            }
            _ => {
                // One decides, the other overtakes it, the first goes on; merges go beside.
                let [one, other] = &mut keepers;
                let fence = one.upkeep.fence(&mut one.table, 0).await.unwrap().unwrap();
                other.upkeep.pass(&mut other.table, 0).await.unwrap();
                let taken = other.step().await;
                let slept = one.compaction.step(&mut one.table, &fence, 0).await.unwrap();
                assert!(!matches!(slept, maintenance::Step::Done(_)), "seed {seed}: {slept:?} after {taken:?}");
                "overtaken step"
            }
        };
        model.check(&lake, &told, &format!("seed {seed}, step {step}, {what}")).await;
    }
    let mut last = keeper().await;
    last.compact().await;
    model.check(&lake, &told, &format!("seed {seed}, end")).await;
    let held: BTreeSet<_> = all(&last.table).await.iter().map(|event| event.place).collect();
    assert_eq!(held, model.winners(), "seed {seed}: each event once, the first of its copies");
    let awaited = told.marks.lock().unwrap().values().max().copied().unwrap_or(0);
    assert!(awaited <= rewrites(&last.table).await, "seed {seed}: a mark awaits what nobody will commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_lose_and_double_nothing() {
    for seed in 0..seeds() {
        history(seed).await;
    }
}
