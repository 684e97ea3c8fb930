//! Random histories of a log, a sink with one decoder or the other, compactions, and replays with the better one, killed at any
//! await: against a model that knows of each record which decoder read it last.
use crate::model::{killed, seeds};
use crate::recorded::{self, BROKEN, MENDED, Order, Recorded, bring, letters, replay, takes, totals};
use crate::support::{DAY_US, Event, FIRST_DAY_US, Keeper, Lake, Told, all, rewrites};
use maintenance::replay::{Asked, Kind, Replay};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// Few enough that copies are common; a copy lies on the same date or the next.
fn random_record(rng: &mut StdRng) -> Vec<(u32, i64)> {
    let event = |rng: &mut StdRng| {
        let id = rng.random_range(0..40_u32);
        let day = i64::from(id % 4) + rng.random_range(0..2);
        (id, FIRST_DAY_US + day * DAY_US + i64::from(id) * 1_000_000)
    };
    let events: Vec<(u32, i64)> = (0..rng.random_range(1..5)).map(|_| event(rng)).collect();
    // One that never came before fills the window.
    let next = rng.random_range(1_000..u32::MAX);
    [events, vec![(next, FIRST_DAY_US + 4 * DAY_US)]].concat()
}

fn random_order(rng: &mut StdRng, log: &Recorded) -> Order {
    let asked = match rng.random_range(0..3) {
        0 => Asked::All,
        1 => {
            let partition = rng.random_range(0..2_u32);
            let end = log.ends()[partition as usize].max(1);
            let from = rng.random_range(0..end);
            Asked::Offsets { partition, from, to: rng.random_bool(0.7).then(|| from + rng.random_range(0..4)) }
        }
        _ => {
            let from_us = recorded::TAKEN_US + rng.random_range(0..6);
            Asked::Times { from_us, to_us: rng.random_bool(0.7).then(|| from_us + rng.random_range(0..6)) }
        }
    };
    let kind = if asked == Asked::All && rng.random_bool(0.3) { Kind::Rebuild } else { Kind::Replay };
    let dead_letters_only = kind == Kind::Replay && rng.random_bool(0.3);
    Order { asked, kind, dead_letters_only, chunk_rows: rng.random_range(1..12), keep_missing: false }
}

#[derive(Default)]
struct Model {
    events: BTreeMap<(i32, i64, i64), Event>,
    /// Up to where a sink has brought each partition.
    brought: [u64; 2],
    /// What was there at the last look, and how many rewrites.
    held: BTreeSet<Event>,
    rewrites: i64,
}

impl Model {
    async fn check(&mut self, lake: &Lake, told: &Told, by_sink: bool, what: &str) {
        let table = lake.table().await;
        let (rows, dead) = (all(&table).await, letters(lake).await);
        let held: BTreeSet<Event> = rows.iter().cloned().collect();
        assert_eq!(held.len(), rows.len(), "{what}: a row is doubled");
        let by_id: BTreeSet<u32> = held.iter().map(|event| event.id).collect();
        // A row may be a copy of one that was a dead letter.
        let dead_ids: BTreeSet<u32> = dead.iter().map(|place| self.events[place].id).collect();
        let gone = self.held.iter().find(|event| !by_id.contains(&event.id));
        assert_eq!(gone, None, "{what}: it was a row");
        for (place, event) in &self.events {
            if (place.1 as u64) < self.brought[place.0 as usize] {
                let is_there = by_id.contains(&event.id) || dead_ids.contains(&event.id);
                assert!(is_there, "{what}: {event:?} is nowhere");
                assert!(!takes(BROKEN, event) || !dead.contains(place), "{what}: {event:?} is no dead letter");
            }
        }
        assert!(held.iter().all(|event| self.events.get(&event.place) == Some(event)), "{what}: a row from nowhere");
        let before = std::mem::replace(&mut self.rewrites, rewrites(&table).await);
        if !by_sink {
            let marks = told.marks.lock().unwrap().clone();
            for event in self.held.symmetric_difference(&held) {
                let awaits = marks.get(&event.time_us).copied();
                assert!(
                    awaits.is_some_and(|awaits| awaits > before),
                    "{what}: {event:?} came or went, told: {awaits:?}"
                );
            }
        }
        self.held = held;
    }

    fn winners(&self) -> BTreeSet<(i32, i64, i64)> {
        let mut lowest: BTreeMap<u32, (i32, i64, i64)> = BTreeMap::new();
        for (place, event) in &self.events {
            let held = lowest.entry(event.id).or_insert(*place);
            *held = (*held).min(*place);
        }
        lowest.into_values().collect()
    }
}

async fn replayer<'a>(lake: &Lake, log: &'a Recorded, told: &Told) -> Replay<'a> {
    recorded::replayer(lake, log, told, MENDED, lake.store.clone()).await.unwrap()
}

async fn history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (lake, told, mut model, mut log) = (Lake::new(), Told::default(), Model::default(), Recorded::default());
    bring(&lake, &log, BROKEN).await;
    for step in 0..rng.random_range(4..14) {
        let mut by_sink = false;
        let what = match rng.random_range(0..7) {
            0..3 => {
                for _ in 0..rng.random_range(1..8) {
                    let events = log.append(rng.random_range(0..2), &random_record(&mut rng));
                    model.events.extend(events.into_iter().map(|event| (event.place, event)));
                }
                bring(&lake, &log, if rng.random_bool(0.6) { BROKEN } else { MENDED }).await;
                (model.brought, by_sink) = (log.ends(), true);
                "sink".to_owned()
            }
            3 => {
                Keeper::new(&lake, &told).await.step().await;
                "compaction".to_owned()
            }
            4 | 5 => {
                let order = random_order(&mut rng, &log);
                let done = replay(&mut replayer(&lake, &log, &told).await, &order).await;
                format!("{order:?}: {done:?}")
            }
            _ => {
                let (order, polls) = (random_order(&mut rng, &log), rng.random_range(1..400));
                let mut first = replayer(&lake, &log, &told).await;
                let died = killed(polls, replay(&mut first, &order)).await.is_none();
                format!("{order:?}, killed: {died}")
            }
        };
        model.check(&lake, &told, by_sink, &format!("seed {seed}, step {step}, {what}")).await;
    }
    replay(&mut replayer(&lake, &log, &told).await, &Order::all()).await.unwrap();
    model.check(&lake, &told, false, &format!("seed {seed}, the last replay")).await;
    assert_eq!(letters(&lake).await, BTreeSet::new(), "seed {seed}");
    Keeper::new(&lake, &told).await.compact().await;
    model.check(&lake, &told, false, &format!("seed {seed}, the last compaction")).await;
    let held: BTreeSet<_> = model.held.iter().map(|event| event.place).collect();
    assert_eq!(held, model.winners(), "seed {seed}: each event once, the first of its copies");
    assert_eq!(totals(&lake).await, (held.len() as i64, 0), "seed {seed}: what the audit goes by");
    let awaited = told.marks.lock().unwrap().values().max().copied().unwrap_or(0);
    assert!(awaited <= model.rewrites, "seed {seed}: a mark awaits what nobody will commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_with_replays_lose_and_double_nothing() {
    // Each history is as long as four without replays.
    for seed in 0..seeds().div_ceil(4) {
        history(seed).await;
    }
}
