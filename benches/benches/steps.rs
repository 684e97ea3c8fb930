//! The pure steps of an event's way, each beside the least that it can take. `cargo bench -p playhead-benches --bench steps`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a bench")]
#[path = "limits/parsing.rs"]
mod parsing;
#[path = "limits/partial.rs"]
mod partial;

use arrow_array::RecordBatch;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_ipc::{CompressionType, reader::StreamReader};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::batch::{Arrival, BatchBuilder};
use event::codec::{self, Place};
use event::decode::{AnonymousId, Context, decode};
use event::dedup::{Key, Verdict, Window, verdicts};
use parsing::{BOUNDS, START_MS, bodies, parse_to_arrow};
use partial::Partials;
use processor::fold::{Bounds, Fold};
use processor::rollup::{Definition, Evaluated, Events, Plan};
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events of a record under load: what fits into a megabyte is some 7,000.
const RECORD_EVENTS: u32 = 2_000;

/// Events of a record at low load, where each goes as soon as the one before it is durable.
const SMALL_RECORD_EVENTS: u32 = 25;

/// What the edge does with a body before it waits for the log.
fn batch_of(bodies: &[bytes::Bytes]) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    let arrival = Arrival { tenant: "default", source: "http", received_at: START_MS * 1_000 };
    for body in bodies {
        let mut context = Context {
            tenant: "default",
            received_at: START_MS * 1_000,
            idempotency_key: None,
            anonymous: AnonymousId::Random(&mut || [0; 16]),
            bounds: BOUNDS,
            events_max: 10_000,
        };
        let rejected = decode(event::decode::Format::Ndjson, body, &mut context, &mut |_, event| {
            builder.append(arrival, &event);
        });
        assert!(rejected.unwrap().is_empty());
    }
    builder.finish()
}

fn decoding(criterion: &mut Criterion) {
    let bodies = bodies(RECORD_EVENTS);
    let mut group = criterion.benchmark_group("body to batch");
    group.throughput(Throughput::Elements(RECORD_EVENTS.into()));
    group.bench_function("limit: serde_json to Arrow", |bench| {
        bench.iter(|| bodies.iter().map(|body| parse_to_arrow(body).num_rows()).sum::<usize>());
    });
    group.bench_function("decode and batch", |bench| bench.iter(|| batch_of(&bodies).num_rows()));
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    codec_of(criterion, RECORD_EVENTS, "");
    codec_of(criterion, SMALL_RECORD_EVENTS, ", small");
}

fn codec_of(criterion: &mut Criterion, events: u32, suffix: &str) {
    let batch = batch_of(&bodies(events.max(100))).slice(0, events as usize);
    let options = || IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let bare = || {
        let mut writer =
            StreamWriter::try_new_with_options(Vec::with_capacity(1 << 20), &batch.schema(), options()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    let mut group = criterion.benchmark_group(format!("batch to record{suffix}"));
    group.throughput(Throughput::Elements(events.into()));
    group.bench_function("limit: IPC, lz4", |bench| bench.iter(|| black_box(bare()).len()));
    group.bench_function("encode", |bench| bench.iter(|| codec::encode(&batch).unwrap().payload.len()));
    group.finish();

    let (stream, record) = (bare(), codec::encode(&batch).unwrap());
    let mut group = criterion.benchmark_group(format!("record to batch{suffix}"));
    group.throughput(Throughput::Elements(events.into()));
    group.bench_function("limit: IPC, lz4", |bench| {
        bench.iter(|| {
            let reader = StreamReader::try_new(stream.as_slice(), None).unwrap();
            reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>()
        });
    });
    group.bench_function("decode", |bench| {
        bench.iter(|| {
            let place = Place { topic: "events", partition: 0, offset: 0, timestamp: START_MS };
            codec::decode(&record, place, BOUNDS).batch.num_rows()
        });
    });
    group.finish();
}

fn dedup(criterion: &mut Criterion) {
    const ROWS: usize = 250_000;
    let keys: Vec<Key> = (0..ROWS as u64)
        .map(|row| {
            Key::new("default", &uuid::Uuid::from_u64_pair(row.wrapping_mul(0x9e37_79b9_7f4a_7c15), row).into_bytes())
        })
        .collect();
    let mut group = criterion.benchmark_group("dedup");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("limit: a set of ids", |bench| {
        bench.iter(|| keys.iter().map(|key| key.id).collect::<HashSet<u128>>().len());
    });
    group.bench_function("window", |bench| {
        bench.iter(|| {
            let mut window = Window::new(ROWS);
            keys.iter().filter(|key| window.observe(0, **key)).count()
        });
    });
    group.finish();
}

/// The default rollups together, from the log's record on: each event is decoded, looked up in the dedup window, and
/// folded into open windows. The limit does the same, but for windows: it runs DataFusion's own Partial aggregate of each
/// SQL over the batch, and throws its state away.
fn folding(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let definitions = Definition::defaults();
    let record = codec::encode(&batch_of(&bodies(RECORD_EVENTS))).unwrap();
    let place = Place { topic: "events", partition: 0, offset: 0, timestamp: START_MS };
    let read = |window: &mut Window| {
        let batch = codec::decode(&record, place, BOUNDS).batch;
        let copies = verdicts(&batch, 0, window).unwrap().iter().filter(|verdict| **verdict == Verdict::Copy).count();
        assert_eq!(copies, 0, "ids of a record are distinct");
        Events::new(vec![batch]).unwrap()
    };
    let mut group = criterion.benchmark_group("record to rollups");
    group.throughput(Throughput::Elements(RECORD_EVENTS.into()));
    let partials = runtime.block_on(Partials::new(&definitions));
    group.bench_function("limit: decode, dedup, a bare Partial for each", |bench| {
        bench.iter(|| {
            let batch = codec::decode(&record, place, BOUNDS).batch;
            let mut window = Window::new(250_000);
            black_box(verdicts(&batch, 0, &mut window).unwrap().len());
            runtime.block_on(partials.run(&batch))
        });
    });
    let plans: Vec<Arc<Plan>> =
        definitions.iter().map(|of| Arc::new(runtime.block_on(Plan::new(of)).unwrap())).collect();
    let mut folds: Vec<Fold> =
        plans.iter().map(|plan| Fold::new(plan.clone(), Bounds { groups_max: 100_000, ..Bounds::default() })).collect();
    group.bench_function("decode, dedup, fold", |bench| {
        bench.iter(|| {
            let events = read(&mut Window::new(250_000));
            for (plan, fold) in plans.iter().zip(&mut folds) {
                fold.fold(&plan.evaluate(&events).unwrap(), |_, _| true).unwrap();
            }
            folds.iter().map(Fold::held).sum::<usize>()
        });
    });
    group.finish();
}

/// Events of these titles and times (ms), as a rollup has them.
fn evaluated(plan: &Plan, events: impl Iterator<Item = (usize, i64)>) -> Evaluated {
    let body = |(title, time): (usize, i64)| {
        let event = format!(
            r#"{{"event_type":"heartbeat","event_time":{time},"session_id":"s","content_id":"title {title}","bitrate_kbps":800}}"#
        );
        bytes::Bytes::from(event)
    };
    let record = codec::encode(&batch_of(&events.map(body).collect::<Vec<_>>())).unwrap();
    let place = Place { topic: "events", partition: 0, offset: 0, timestamp: START_MS };
    plan.evaluate(&Events::new(vec![codec::decode(&record, place, BOUNDS).batch]).unwrap()).unwrap()
}

fn plan_of(window: Duration) -> Arc<Plan> {
    let sql = "select content_id, count(*) as events, sum(bitrate_kbps) as kbps, max(playhead_ms) as furthest, \
               min(event_time) as first from events group by content_id";
    let definition = Definition { sql: sql.to_owned(), window, ..Definition::defaults().remove(0) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Arc::new(runtime.block_on(Plan::new(&definition)).unwrap())
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// What an event costs when many groups, or many windows, are open: the limit is the same with few.
fn growth(criterion: &mut Criterion) {
    let (record, bounds) = (RECORD_EVENTS as usize, Bounds { groups_max: 2_000_000, windows_max: 10_000 });
    let mut folded = |group: &str, name: String, plan: &Arc<Plan>, batches: Vec<Evaluated>| {
        let (before, mut fold) = (resident_bytes(), Fold::new(plan.clone(), bounds));
        batches.iter().for_each(|batch| fold.fold(batch, |_, _| true).unwrap());
        let (held, took) = (fold.bytes() as f64 / 1e6, (resident_bytes() - before) as f64 / 1e6);
        eprintln!(
            "{name}: {} groups in {} windows, {held:.0} MB by their own word, {took:.0} MB resident",
            fold.held(),
            fold.windows()
        );
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(RECORD_EVENTS.into()));
        let mut next = batches.iter().cycle();
        group.bench_function(name, |bench| bench.iter(|| fold.fold(next.next().unwrap(), |_, _| true).unwrap()));
        group.finish();
    };
    let hour = plan_of(Duration::from_secs(3_600));
    for (name, groups) in [("limit: 100,000 groups", 100_000), ("1,000,000 groups", 1_000_000)] {
        // In an order that no cache likes.
        let title = |event: usize| event.wrapping_mul(7_919) % groups;
        let batch = |of: usize| evaluated(&hour, (0..record).map(|event| (title(of * record + event), START_MS)));
        folded("open groups", name.to_owned(), &hour, (0..groups / record).map(batch).collect());
    }
    let second = plan_of(Duration::from_secs(1));
    for (name, windows) in [("limit: 1 window", 1), ("1,000 windows", 1_000)] {
        let batch = |of: usize| {
            evaluated(&second, (0..record).map(|event| (event % 100, START_MS + (of % windows) as i64 * 1_000)))
        };
        folded("open windows", name.to_owned(), &second, (0..windows.max(50)).map(batch).collect());
    }
}

criterion_group! {
    name = steps;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = decoding, codec, dedup, folding, growth
}
criterion_main!(steps);
