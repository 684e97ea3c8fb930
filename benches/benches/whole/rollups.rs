//! Rollups of a node under load: how soon an event is on the screen, a window in the lake, and both after a kill.
use super::load::Load;
use super::roles::{Process, pause};
use super::table::{Fact, Table};
use processor::rollup::Definition;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// About half of what `up` takes on two cores with the load beside it.
const HALF_OF_SATURATION: u32 = 100_000;
/// Of the log, unless it is configured.
const PARTITIONS: usize = 4;
/// Events whose way to the screen is measured, in each run.
const PROBES: u64 = 120;
/// The title that they are of, which no other event has.
const TITLE: &str = "probe";

/// The default rollups with other windows.
fn settings(dir: &Path, window_s: u64, lateness_s: u64) -> PathBuf {
    let rollups = Definition::defaults().into_iter().map(|rollup| Definition {
        window: Duration::from_secs(window_s),
        allowed_lateness: Duration::from_secs(lateness_s),
        ..rollup
    });
    let file = dir.join("rollups.toml");
    let text = rollups.fold("rollup_defaults = false\n".to_owned(), |text, Definition { name, sql, .. }| {
        format!("{text}[[rollup]]\nname = \"{name}\"\nwindow = \"{window_s}s\"\nallowed_lateness = \"{lateness_s}s\"\nsql = \"\"\"{sql}\"\"\"\n")
    });
    std::fs::write(&file, text).expect("a file");
    file
}

fn open(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a connection");
    stream.write_all(request.as_bytes()).expect("a request");
    stream
}

/// The stream's answers, one after the other: how many plays of the title are on the screen.
fn plays_shown(process: &Process) -> impl Iterator<Item = u64> {
    let request =
        format!("GET /v1/live/audience/stream?content_id={TITLE} HTTP/1.1\r\nHost: {}\r\n\r\n", process.listen);
    let lines = BufReader::new(open(&process.listen, &request)).lines().map_while(Result::ok);
    lines.filter_map(|line| {
        let shown: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
        let windows = shown["windows"].as_array()?.iter();
        let rows = windows.filter_map(|window| window["rows"].as_array()).flatten();
        Some(rows.filter_map(|row| row["plays"].as_u64()).sum())
    })
}

#[allow(clippy::disallowed_methods, reason = "a bench has no other clock")]
fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn post(process: &Process, session: u64) {
    let event = json!({"event_type": "play", "event_time": now_ms(), "session_id": format!("probe {session}"), "content_id": TITLE});
    let body = event.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        process.path,
        process.listen,
        body.len()
    );
    let mut answer = String::new();
    open(&process.listen, &(head + &body)).read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The value that a share of a histogram's values is not above, as far as its buckets say: the bound of a bucket.
fn at_share(buckets: &[(f64, f64)], share: f64) -> f64 {
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    buckets.iter().find(|(_, count)| *count >= share * all).map_or(f64::NAN, |(bound, _)| *bound)
}

/// From an event's answer to its figure on the stream, and from when a window was due to its rows in the lake.
pub fn fresh(runs: u32, table: &mut Table) {
    let (mut p50, mut p99, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let config = settings(dir.path(), 10, 5);
        let up = Process::role("up", dir.path(), &[("PLAYHEAD_CONFIG", config.to_str().expect("a path"))]);
        // Ten closed windows are shown: until then none of the probes has left the screen.
        let load = Load { events_per_s: HALF_OF_SATURATION, batch: 100, connections: 16, seconds: 90 };
        let mut took_s: Vec<f64> = std::thread::scope(|scope| {
            let loading = scope.spawn(|| load.on(&up));
            pause(Duration::from_secs(5));
            let mut shown = plays_shown(&up);
            let took = (1..=PROBES).map(|number| {
                post(&up, number);
                let since = Instant::now();
                shown.find(|plays| *plays >= number).expect("the stream goes on");
                let took = since.elapsed().as_secs_f64();
                pause(Duration::from_millis(number * 37 % 250));
                took
            });
            let took = took.take_while(|_| !loading.is_finished()).collect();
            loading.join().expect("a load");
            took
        });
        took_s.sort_by(f64::total_cmp);
        p50.push(took_s[took_s.len() / 2]);
        p99.push(took_s[took_s.len() * 99 / 100]);
        closed.push(at_share(&up.buckets("playhead_processor_close_delay_seconds"), 0.99));
        up.stop();
    }
    let fact = |what: &str, values, at_most| Fact { what: what.into(), unit: "s", values, at_most };
    table.fact(fact("event to screen at 100,000 events/s: from its answer to the stream, p50", p50, None));
    table.fact(fact("the same, p99", p99, Some(2.0)));
    table.fact(fact(
        "window to lake: from its end and lateness to its rows, p99 (bound of a bucket)",
        closed,
        Some(5.0),
    ));
}

/// A node that was killed at 50,000 events/s with windows of a minute: until its open windows are whole again.
pub fn restart(runs: u32, table: &mut Table) {
    let mut took_s = Vec::new();
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let config = settings(dir.path(), 60, 60);
        let settings = [("PLAYHEAD_CONFIG", config.to_str().expect("a path"))];
        let up = Process::role("up", dir.path(), &settings);
        let load = Load { events_per_s: 50_000, batch: 100, connections: 16, seconds: 150 };
        let all = load.on(&up).acknowledged;
        up.wait_metric("playhead_processor_events_total", all);
        up.kill();
        let since = Instant::now();
        let up = Process::role("up", dir.path(), &settings);
        up.wait_read(PARTITIONS);
        took_s.push(since.elapsed().as_secs_f64());
        up.stop();
    }
    table.fact(Fact {
        what: "restart after a kill at 50,000 events/s, windows of a minute: until they are open again".into(),
        unit: "s",
        values: took_s,
        at_most: Some(10.0),
    });
}
