//! Invariant 6 over time: at saturation neither memory nor open files grow.
//!
//! It takes the whole machine, so it is not run with the other tests. CI runs it for half a minute (`scripts/test steady`),
//! which shows descriptors that leak and memory without a bound; a slow leak takes `scripts/soak memory`, ten minutes.
use super::cluster::{Cluster, RECOVERY_MAX, Setup};
use super::node::pause;
use super::process::Process;
use super::rounds::setting;
use std::time::{Duration, Instant};
use testbed::kafka::Broker;

const SECONDS_DEFAULT: u64 = 30;
/// Resident memory that a role may take: over twice what was seen at saturation on two cores, debug build, settings as
/// shipped (74 MiB of ingest, 290 MiB of the sink).
const INGEST_BYTES_MAX: f64 = 200.0 * MIB;
const SINK_BYTES_MAX: f64 = 700.0 * MIB;
const MIB: f64 = 1_048_576.0;
/// From here on the slope of memory is judged: before, buffers and windows still fill.
const JUDGED_FROM: u64 = 300;
/// Growth of memory in the last half, in percent of its mean per ten minutes.
const GROWTH_PERCENT_MAX: f64 = 10.0;
/// More events a second than a node on a small machine takes: it is never idle.
const RATE: u32 = 1_000_000;
/// Files and sockets of one role: the runtime's, a few for each broker and each connection of the store, those of
/// ingest's clients (16), and tables' files while they are read.
const FILES_MAX: usize = 200;
/// Files that come and go with requests.
const FILES_SLACK: usize = 20;

/// Memory and files of a process over time.
#[derive(Default)]
struct Samples {
    seconds: Vec<f64>,
    bytes: Vec<f64>,
    files: Vec<usize>,
}

impl Samples {
    fn take(&mut self, at: Duration, process: &Process) {
        self.seconds.push(at.as_secs_f64());
        self.bytes.push(process.resident_bytes() as f64);
        self.files.push(process.open_files());
    }

    /// Least-squares slope of the last half, in percent of its mean per ten minutes.
    fn growth_percent(&self) -> f64 {
        let half = self.seconds.len() / 2;
        let (seconds, bytes) = (&self.seconds[half..], &self.bytes[half..]);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (time, memory) = (mean(seconds), mean(bytes));
        let both: f64 = seconds.iter().zip(bytes).map(|(s, b)| (s - time) * (b - memory)).sum();
        let alone: f64 = seconds.iter().map(|s| (s - time).powi(2)).sum();
        both / alone * 600.0 / memory * 100.0
    }

    /// Most files open in the first and in the last half.
    fn files_max(&self) -> (usize, usize) {
        let (first, last) = self.files.split_at(self.files.len() / 2);
        let most = |files: &[usize]| files.iter().copied().max().unwrap_or(0);
        (most(first), most(last))
    }
}

#[test]
#[ignore = "takes the whole machine: scripts/test steady"]
fn at_saturation_memory_is_flat_and_open_files_are_bounded() {
    let seconds = setting("SOAK_MEMORY_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let every = Duration::from_secs((seconds / 30).clamp(1, 10));
    let cluster = Cluster::new(&Setup { flush_age_ms: 2_000, ..Setup::on(Broker::shared().bootstrap()) });
    let (mut ingest, mut sink) = cluster.start();
    let load = cluster.load_of(&ingest, RATE, 500, "/dev/null".into());
    let (mut of_ingest, mut of_sink) = (Samples::default(), Samples::default());
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(seconds) {
        pause(every);
        of_ingest.take(since.elapsed(), &ingest);
        of_sink.take(since.elapsed(), &sink);
    }
    let (report, _) = load.stop();
    println!("load: {report}");
    let acknowledged = report["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 1_000 && acknowledged < u64::from(RATE) * seconds, "it was idle: {report}");
    for (name, samples, bytes_max) in [("ingest", &of_ingest, INGEST_BYTES_MAX), ("sink", &of_sink, SINK_BYTES_MAX)] {
        let (first, last) = samples.files_max();
        let mib: Vec<u64> = samples.bytes.iter().map(|bytes| (bytes / MIB) as u64).collect();
        println!("{name}: files at most {first}, in the last half {last}; resident MiB {mib:?}");
        assert!(last <= first + FILES_SLACK && last < FILES_MAX, "{name} holds {first}, later {last} open files");
        assert!(samples.bytes.iter().all(|bytes| *bytes < bytes_max), "{name} takes too much memory");
        if seconds >= JUDGED_FROM {
            let growth = samples.growth_percent();
            println!("{name}: {growth:+.1} % of memory per ten minutes in the last half");
            assert!(growth < GROWTH_PERCENT_MAX, "{name} grows by {growth:.1} % in ten minutes");
        }
    }
    // What saturates ingest need not be what the sink writes at once.
    cluster.wait_caught_up(RECOVERY_MAX + Duration::from_secs(4 * seconds));
    sink.stop();
    ingest.stop();
}
