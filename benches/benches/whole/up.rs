//! The whole way: HTTP to the lake.
use super::edge::{as_text, over};
use super::load::{Load, SATURATION};
use super::roles::{Process, pause};
use super::sink::lake_url;
use super::table::{Fact, Table};
use std::time::Duration;
use testbed::kafka::Broker;

/// Ingest and sink over Kafka, at a rate that both keep.
pub fn whole_way(runs: u32, table: &mut Table) {
    let broker = Broker::start();
    let (mut both, mut edge, mut sinks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let mut settings = over(&broker, 4);
        settings.push(("PLAYHEAD_LAKE__URL", lake_url(dir.path())));
        let ingest = Process::role("ingest", dir.path(), &as_text(&settings));
        let sink = Process::role("sink", dir.path(), &as_text(&settings));
        let load = Load { events_per_s: 100_000, batch: 100, connections: 8, seconds: 5 };
        let warm = load.on(&ingest).acknowledged;
        sink.wait_metric("playhead_sink_rows_total", warm);
        let before = (ingest.usage().cpu_s, sink.usage().cpu_s);
        let events = Load { seconds: 15, ..load }.on(&ingest).acknowledged;
        sink.wait_metric("playhead_sink_rows_total", warm + events);
        let of = |after: f64, before: f64| (after - before) * 1e6 / events;
        edge.push(of(ingest.usage().cpu_s, before.0));
        sinks.push(of(sink.usage().cpu_s, before.1));
        both.push(edge[edge.len() - 1] + sinks[sinks.len() - 1]);
        ingest.stop();
        sink.stop();
    }
    let fact =
        |what: &str, values, at_most| Fact { what: what.into(), unit: "CPU-s a million events", values, at_most };
    table.fact(fact("HTTP to lake over Kafka, 100 events a request: ingest and sink", both, Some(3.5)));
    table.fact(fact("of these, ingest", edge, None));
    table.fact(fact("of these, sink", sinks, None));
}

/// What some runs of `up` at saturation came to.
#[derive(Default)]
struct Saturated {
    rates: Vec<f64>,
    lake: Vec<f64>,
    cost: Vec<f64>,
    share: Vec<f64>,
    idle: Vec<f64>,
    peak: Vec<f64>,
}

/// `up` with the load beside it, as much as it takes: with the default rollups, and without any.
pub fn saturated(runs: u32, table: &mut Table) {
    let [mut with, mut without] = [Saturated::default(), Saturated::default()];
    for _ in 0..runs {
        with.run(&[]);
        without.run(&[("PLAYHEAD_ROLLUP_DEFAULTS", "false".into())]);
    }
    with.tell("`up`", table);
    without.tell("`up` without rollups", table);
}

impl Saturated {
    fn run(&mut self, settings: &[(&'static str, String)]) {
        let dir = tempfile::tempdir().expect("a folder");
        let up = Process::role("up", dir.path(), &as_text(settings));
        pause(Duration::from_secs(2));
        self.idle.push(up.usage().resident_mb);
        let before = up.usage().cpu_s;
        let load = Load { events_per_s: SATURATION, batch: 100, connections: 16, seconds: 20 };
        let outcome = load.on(&up);
        let (after, rows) = (up.usage(), up.metric("playhead_sink_rows_total"));
        self.rates.push(outcome.events_per_s / 1e3);
        self.lake.push(outcome.events_per_s / 1e3 * rows / outcome.acknowledged);
        self.share.push(outcome.cpu_s / (outcome.cpu_s + after.cpu_s - before));
        self.peak.push(after.resident_mb);
        // What sink and processor have still to do is part of what an event costs.
        up.wait_metric("playhead_sink_rows_total", outcome.acknowledged);
        if settings.is_empty() {
            up.wait_metric("playhead_processor_events_total", outcome.acknowledged);
        }
        self.cost.push((up.usage().cpu_s - before) * 1e6 / outcome.acknowledged);
        up.stop();
    }

    fn tell(self, name: &str, table: &mut Table) {
        let mut fact = |what: String, unit, values, at_most| table.fact(Fact { what, unit, values, at_most });
        fact(format!("{name} at saturation, 100 events a request"), "k events/s", self.rates, None);
        fact("of these, into the lake meanwhile".into(), "k events/s", self.lake, None);
        fact(format!("{name}: until all is in the lake and counted"), "CPU-s a million events", self.cost, None);
        fact("of the CPU, the load generator's share".into(), "", self.share, None);
        fact(format!("memory of {name}, idle"), "MB", self.idle, Some(120.0));
        fact(format!("memory of {name}, after 20 s at saturation"), "MB", self.peak, Some(500.0));
    }
}

/// Memory of `up` over ten minutes at saturation: how much it grows from its first half to its second.
pub fn slope(_runs: u32, table: &mut Table) {
    const WARM_UP_S: u32 = 60;
    const MEASURED_S: u32 = 600;
    const EVERY: Duration = Duration::from_secs(2);
    let dir = tempfile::tempdir().expect("a folder");
    let up = Process::role("up", dir.path(), &[]);
    let seconds = WARM_UP_S + MEASURED_S;
    let load = Load { events_per_s: SATURATION, batch: 100, connections: 16, seconds };
    let resident_mb: Vec<f64> = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load.on(&up));
        let mut samples = Vec::new();
        while !loading.is_finished() {
            pause(EVERY);
            samples.push(up.usage().resident_mb);
        }
        samples.into_iter().skip(WARM_UP_S as usize / EVERY.as_secs() as usize).collect()
    });
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    let (first, second) = resident_mb.split_at(resident_mb.len() / 2);
    // Half of the time lies between the middles of the halves: in all of it twice as much.
    let growth = 200.0 * (mean(second) / mean(first) - 1.0);
    let fact = |what: &str, unit, value, at_most| Fact { what: what.into(), unit, values: vec![value], at_most };
    table.fact(fact("memory of `up`, mean of ten minutes at saturation", "MB", mean(&resident_mb), Some(500.0)));
    table.fact(fact("its growth in these ten minutes", "%", growth, Some(1.0)));
    up.stop();
}
