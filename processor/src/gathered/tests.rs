//! What records come to that are folded together, against the same records folded one by one.
use super::*;
use crate::fold::{Bounds, WindowRows};
use crate::kept::{Counted, Kept, Position, Standing};
use crate::rollup::{Definition, Events, Plan};
use crate::watermark::Moment;
use arrow_cast::pretty::pretty_format_batches;
use event::batch::{Arrival, BatchBuilder};
use event::codec;
use event::decode::TimeBounds;
use event::schema::{Column, canonical};
use event::view_event::{Value, ViewEvent};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SECOND: i64 = 1_000_000;
/// A hundred days after the beginning of time, µs.
const START_US: i64 = 100 * 86_400 * SECOND;
const BOUNDS: TimeBounds = TimeBounds { past_max: 86_400 * SECOND, future_max: 86_400 * SECOND, skew_min: SECOND };
/// Later than every event.
const NOW: Moment = Moment { wall_us: START_US + 10_000 * SECOND, monotonic_us: 0 };
const TITLES: [&str; 3] = ["one", "two", "three"];

/// A record: the seconds of its events, and their titles.
type Sent = Vec<(i64, usize)>;

/// Where a rollup stood: S, how far P is above it, D below it, and W in seconds.
type Stood = (u64, u64, u64, Option<i64>);

/// What is done when the record before was read: `true` closes windows, else what was gathered is folded.
type Cuts = BTreeMap<usize, bool>;

/// Of events that are all copies nothing is left.
fn decoded(sent: &Sent, offset: u64) -> RecordBatch {
    if sent.is_empty() {
        return RecordBatch::new_empty(canonical());
    }
    let mut builder = BatchBuilder::new();
    for (number, (second, title)) in sent.iter().enumerate() {
        let title = Value::Text(TITLES[*title].into());
        let event = ViewEvent {
            event_id: (u128::from(offset) << 64 | number as u128).to_be_bytes(),
            event_time: START_US + second * SECOND,
            session_id: None,
            event_type: "heartbeat".into(),
            fields: vec![(Column::by_name("content_id").unwrap(), title)],
            custom: Vec::new(),
        };
        let arrival = Arrival { tenant: "default", source: "http", received_at: START_US + (second + 1) * SECOND };
        builder.append(arrival, &event);
    }
    let record = codec::encode(&builder.finish()).unwrap();
    let place = codec::Place { topic: "events", partition: 0, offset, timestamp: START_US };
    codec::decode(&record, place, BOUNDS).batch
}

fn read(sent: &Sent, offset: u64) -> Record {
    let start = |offset: u64| Start { offset, dedup: offset.saturating_sub(2) };
    let times = sent.iter().map(|(second, _)| START_US + second * SECOND);
    let times = times.map(|time| Times { latest: time, received: time + SECOND, received_first: time + SECOND });
    Record {
        partition: 0,
        start: start(offset),
        next: start(offset + 1),
        fingerprint: offset as i64 * 7 + 1,
        kept: decoded(sent, offset),
        times: times.reduce(Times::with),
        bytes: 100,
    }
}

/// Two rollups that stand at different places.
async fn rollups(stood: [Stood; 2]) -> Vec<Kept> {
    let mut rollups = Vec::new();
    for (slide_s, (safe, above, below, closed_to_s)) in [60, 20].into_iter().zip(stood) {
        let definition = Definition {
            name: "tried".to_owned(),
            window: Duration::from_secs(60),
            slide: Some(Duration::from_secs(slide_s)),
            allowed_lateness: Duration::from_secs(10),
            sql: "select content_id, count(*) as events, max(event_time) as last from events group by content_id"
                .to_owned(),
        };
        let plan = Arc::new(Plan::new(&definition).await.unwrap());
        let closed_to_us = closed_to_s.map_or(i64::MIN, |second| START_US + second * SECOND);
        let mut kept = Kept::new(plan, Bounds::default(), definition.allowed_lateness, closed_to_us);
        let (next, dedup) = (safe + above, safe.saturating_sub(below));
        kept.assign(0, Position { closed_to_us, next, safe, dedup, fingerprint: 3 });
        rollups.push(kept);
    }
    rollups
}

/// What can be seen of a rollup.
#[derive(Debug, PartialEq)]
struct Seen {
    counted: [u64; 4],
    late: BTreeMap<i64, u64>,
    rows: Vec<(i64, u64, String)>,
    positions: Standing,
}

fn rows(windows: Vec<WindowRows>) -> Vec<(i64, u64, String)> {
    let lines = |window: &WindowRows| {
        let text = pretty_format_batches(std::slice::from_ref(&window.rows)).unwrap().to_string();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    windows.iter().map(|window| (window.start_us, window.events, lines(window))).collect()
}

fn fold(gathered: &mut Option<Gathered>, rollups: &mut [Kept], counted: &mut [[u64; 4]]) {
    let Some((span, batches)) = gathered.take().map(Gathered::into_parts) else { return };
    let events = Events::new(batches).unwrap();
    for (kept, sums) in rollups.iter_mut().zip(counted) {
        let Counted { late, failed, beyond, new } = kept.take(&span, &events, NOW).unwrap();
        sums.iter_mut().zip([late, failed, beyond, new]).for_each(|(sum, more)| *sum += more);
    }
}

/// Reads all, and tells what is seen each time that windows are closed. Records are gathered until a cut, or each is folded
/// as it comes.
async fn told(records: &[Sent], stood: [Stood; 2], cuts: &Cuts, gathers: bool) -> Vec<Seen> {
    let mut rollups = rollups(stood).await;
    let mut told = Vec::new();
    let mut counted = vec![[0; 4]; rollups.len()];
    let mut gathered: Option<Gathered> = None;
    for (number, sent) in records.iter().enumerate() {
        let offset = number as u64;
        if gathered.as_ref().is_some_and(|gathered| gathered.ends_before(offset)) {
            fold(&mut gathered, &mut rollups, &mut counted);
        }
        let record = read(sent, offset);
        match &mut gathered {
            Some(gathered) => gathered.add(record),
            none => {
                let turns = rollups.iter().filter_map(|kept| kept.turns_at(0, offset));
                *none = Some(Gathered::new(record, turns.min()));
            }
        }
        let cut = cuts.get(&number);
        if !gathers || cut.is_some() || number + 1 == records.len() {
            fold(&mut gathered, &mut rollups, &mut counted);
        }
        if cut == Some(&true) || number + 1 == records.len() {
            for (kept, counted) in rollups.iter_mut().zip(&counted) {
                let watermark_us = kept.advance(NOW);
                let mut seen = rows(kept.look().unwrap());
                seen.extend(rows(kept.close(watermark_us).unwrap()));
                let positions = kept.positions(watermark_us);
                kept.settle(&positions);
                told.push(Seen { counted: *counted, late: kept.late().clone(), rows: seen, positions });
            }
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn records_that_are_folded_together_come_to_what_they_come_to_one_by_one(
        records in proptest::collection::vec(proptest::collection::vec((0_i64..400, 0_usize..3), 0..4), 1..40),
        stood in proptest::array::uniform2((0_u64..12, 0_u64..12, 0_u64..4, proptest::option::of(0_i64..200))),
        cuts in proptest::collection::btree_map(0_usize..40, any::<bool>(), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Players go on in time, and each is late at times.
        let records: Vec<Sent> = records.into_iter().enumerate()
            .map(|(number, sent)| sent.into_iter().map(|(s, title)| (number as i64 * 8 + s % 97 - 48 * (s % 2), title)).collect())
            .collect();
        let one_by_one = runtime.block_on(told(&records, stood, &cuts, false));
        let together = runtime.block_on(told(&records, stood, &cuts, true));
        prop_assert_eq!(one_by_one, together);
    }
}
