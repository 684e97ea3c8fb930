//! The lake on an object store of which each call takes its time, as over a network: what the sink, a replay and a compaction
//! make of it, beside the same store at once. Both are behind a proxy, which takes a request whole before it passes it on, so
//! "at once" is slower than the store itself.
use super::edge::{as_text, over};
use super::load::Load;
use super::roles::{Process, binary};
use super::table::{Fact, Row, Table};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testbed::kafka::Broker;
use testbed::object_store::Store;
use testbed::proxy::{Fault, Proxy};

const LATENCY: Duration = Duration::from_millis(50);

/// Seconds a million events, and calls of the store in all.
#[derive(Clone, Copy)]
struct Took {
    sink_s: f64,
    replay_s: f64,
    compaction_s: f64,
    calls: [u32; 3],
}

/// Two million events from Kafka, run by run into a lake of their own, with and without that latency.
pub fn latency(runs: u32, table: &mut Table) {
    let (broker, store) = (Broker::start(), Store::start());
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = over(&broker, 4);
    let ingest = Process::role("ingest", dir.path(), &as_text(&settings));
    let load = Load { events_per_s: 100_000, batch: 100, connections: 8, seconds: 20 };
    let events = load.on(&ingest).acknowledged;
    ingest.stop();
    let proxy = Proxy::before(&store.endpoint());
    for (key, value) in store.options_at(&proxy.endpoint()) {
        // In quotes: "true" would be no text.
        settings.push((option(&key), format!("\"{value}\"")));
    }
    let took: Vec<[Took; 2]> = (0..runs)
        .map(|run| {
            // Each is the first in every other run.
            let late_first = run % 2 == 1;
            let order = if late_first { [LATENCY, Duration::ZERO] } else { [Duration::ZERO, LATENCY] };
            let mut took = order.map(|latency| {
                proxy.heal();
                // A fault without time, too: the proxy takes requests with one in whole before it passes them on.
                proxy.fail("*", "", u32::MAX, Fault::Delay(latency));
                let lake = format!("s3://{}/{run}-{}", store.bucket(), latency.as_millis());
                let settings = [as_text(&settings), vec![("PLAYHEAD_LAKE__URL", lake.as_str())]].concat();
                took(&settings, dir.path(), events, &proxy)
            });
            if late_first {
                took.reverse();
            }
            took
        })
        .collect();
    let mut row = |step: &str, seconds: fn(&Took) -> f64| {
        table.row(Row {
            step: format!("{step}, a lake with 50 ms a call"),
            limit: "the same lake at once".into(),
            unit: "s a million events",
            pairs: took.iter().map(|[at_once, late]| (seconds(at_once), seconds(late))).collect(),
            goal: None,
        });
    };
    row("sink from Kafka, from its start", |took| took.sink_s);
    row("replay of all", |took| took.replay_s);
    row("compaction", |took| took.compaction_s);
    for (number, step) in ["the sink", "the replay", "the compaction"].into_iter().enumerate() {
        let calls = took.iter().map(|[_, late]| f64::from(late.calls[number]));
        let what = format!("calls of the object store by {step} of {events} events");
        table.fact(Fact { what, unit: "calls", values: calls.collect(), at_most: None });
    }
}

/// The name of the variable for an option of the store.
fn option(key: &str) -> &'static str {
    match key {
        "aws_endpoint" => "PLAYHEAD_LAKE__OPTIONS__AWS_ENDPOINT",
        "aws_access_key_id" => "PLAYHEAD_LAKE__OPTIONS__AWS_ACCESS_KEY_ID",
        "aws_secret_access_key" => "PLAYHEAD_LAKE__OPTIONS__AWS_SECRET_ACCESS_KEY",
        "aws_region" => "PLAYHEAD_LAKE__OPTIONS__AWS_REGION",
        "aws_allow_http" => "PLAYHEAD_LAKE__OPTIONS__AWS_ALLOW_HTTP",
        other => panic!("no variable for {other}"),
    }
}

fn took(settings: &[(&str, &str)], dir: &Path, events: f64, proxy: &Proxy) -> Took {
    let mut calls = [0; 3];
    let mut timed = |number: usize, work: &mut dyn FnMut()| {
        let (before, since) = (proxy.dealt(), Instant::now());
        work();
        let took_s = since.elapsed().as_secs_f64();
        calls[number] = proxy.dealt() - before;
        took_s * 1e6 / events
    };
    let mut sink = None;
    let sink_s = timed(0, &mut || {
        let sink = sink.insert(Process::role("sink", dir, settings));
        sink.wait_metric("playhead_sink_rows_total", events);
    });
    sink.into_iter().for_each(Process::stop);
    let command = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("--data").arg(dir.join("data")).args(arguments).envs(settings.iter().copied()).current_dir(dir);
        let status = command.env("RUST_LOG", "error").stdout(Stdio::null()).status().expect("playhead");
        assert!(status.success(), "{arguments:?}: {status}");
    };
    let replay_s = timed(1, &mut || command(&["replay", "--all"]));
    let compaction_s = timed(2, &mut || command(&["compact"]));
    Took { sink_s, replay_s, compaction_s, calls }
}
