//! Another program that takes events by HTTP and brings them to Kafka, beside ours in one run: the same broker, the same
//! load, by turns the one first and the other.
use super::edge::{as_text, cost, over};
use super::load::{Load, SATURATION};
use super::roles::Process;
use super::table::{Fact, Row, Table};
use testbed::kafka::Broker;

/// Events a request, and a rate that nothing here keeps up with.
const LOADS: [(u32, u32); 2] = [(100, SATURATION), (1, SATURATION / 4)];
const SECONDS: u32 = 10;

/// `BENCH_OTHER`: its command, for a shell, which finds `KAFKA_BROKERS` and `KAFKA_TOPIC` in its environment;
/// `BENCH_OTHER_URL`: where it takes posts of NDJSON, `http://HOST:PORT/PATH`.
pub fn compare(runs: u32, table: &mut Table) {
    let (Some(command), Some(url)) =
        (super::setting::<String>("BENCH_OTHER"), super::setting::<String>("BENCH_OTHER_URL"))
    else {
        eprintln!("    left out: BENCH_OTHER and BENCH_OTHER_URL name the other program");
        return;
    };
    let broker = Broker::start();
    for (batch, events_per_s) in LOADS {
        let load = Load { events_per_s, batch, connections: 64, seconds: SECONDS };
        let (mut pairs, mut theirs, mut ours, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for run in 0..runs {
            let dir = tempfile::tempdir().expect("a folder");
            let settings = over(&broker, 4);
            let ingest = Process::role("ingest", dir.path(), &as_text(&settings));
            let topic = format!("{}-other", settings[1].1);
            broker.create_topic(&topic, 4, &[]);
            let other = Process::other(
                &command,
                &url,
                dir.path(),
                &[("KAFKA_BROKERS", &settings[0].1), ("KAFKA_TOPIC", &topic)],
            );
            let ((other_cost, other_load), (our_cost, our_load)) =
                in_turn(run, || cost(&other, &load), || cost(&ingest, &load));
            // Latencies of both at a rate that both keep: at saturation they would be the generator's queue.
            let slower = other_load.events_per_s.min(our_load.events_per_s);
            let half = Load { events_per_s: (slower / 2.0) as u32, ..load };
            p99.push(in_turn(run, || half.on(&other).p99_ms, || half.on(&ingest).p99_ms));
            other.stop();
            ingest.stop();
            pairs.push((other_cost, our_cost));
            theirs.push(other_load.events_per_s / 1e3);
            ours.push(our_load.events_per_s / 1e3);
        }
        let step = format!("ingest over Kafka, {batch} events a request, 64 connections");
        let fact = |what: String, values| Fact { what, unit: "k events/s", values, at_most: None };
        table.fact(fact(format!("{step}, at saturation, the other program"), theirs));
        table.fact(fact(format!("{step}, at saturation"), ours));
        let row = |step, unit, pairs| Row { step, limit: "the other program".into(), unit, pairs, goal: None };
        table.row(row(step.clone(), "CPU-s a million events", pairs));
        table.row(row(format!("{step}, p99 at half of what the slower takes"), "ms", p99));
    }
}

/// Both measured, every other run ours first; always theirs and ours.
fn in_turn<T>(run: u32, theirs: impl FnOnce() -> T, ours: impl FnOnce() -> T) -> (T, T) {
    if run.is_multiple_of(2) {
        let theirs = theirs();
        return (theirs, ours());
    }
    let ours = ours();
    (theirs(), ours)
}
