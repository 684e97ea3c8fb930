//! Another program that takes events by HTTP and brings them to Kafka, beside ours in one run: the same broker, the same
//! load, in turns.
use super::edge::{as_text, cost, over};
use super::load::{Load, SATURATION};
use super::roles::Process;
use super::table::{Fact, Row, Table};
use testbed::kafka::Broker;

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
    for batch in [100, 1] {
        let load = Load { events_per_s: SATURATION / 4, batch, connections: 64, seconds: 10 };
        let (mut pairs, mut theirs, mut ours, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
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
            let (other_cost, other_load) = cost(&other, &load);
            other.stop();
            let (our_cost, our_load) = cost(&ingest, &load);
            ingest.stop();
            pairs.push((other_cost, our_cost));
            theirs.push(other_load.events_per_s / 1e3);
            ours.push(our_load.events_per_s / 1e3);
            p99.push((other_load.p99_ms, our_load.p99_ms));
        }
        let step = format!("ingest over Kafka, {batch} events a request, 64 connections");
        let fact = |what: String, values| Fact { what, unit: "k events/s", values, at_most: None };
        table.fact(fact(format!("{step}, the other program"), theirs));
        table.fact(fact(step.clone(), ours));
        let row = |step, unit, pairs| Row { step, limit: "the other program".into(), unit, pairs, goal: None };
        table.row(row(step.clone(), "CPU-s a million events", pairs));
        table.row(row(format!("{step}, p99 at saturation"), "ms", p99));
    }
}
