//! `playhead load` as a process of its own.
use super::roles::{Process, binary};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// What is sent: distinct events of 480 bytes, 20 fields, every id random.
pub struct Load {
    pub events_per_s: u32,
    pub batch: u32,
    pub connections: u32,
    pub seconds: u32,
}

/// A rate that nothing here keeps up with: the load is what is taken.
pub const SATURATION: u32 = 1_000_000;

/// What came of it.
pub struct Outcome {
    pub acknowledged: f64,
    pub events_per_s: f64,
    pub cpu_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
}

impl Load {
    /// Runs to its end.
    pub fn on(&self, process: &Process) -> Outcome {
        let mut command = Command::new(binary());
        command.args(["load", "--json", "--url", &format!("http://{}", process.listen), "--path", &process.path]);
        for (option, value) in [
            ("--rate", self.events_per_s),
            ("--batch", self.batch),
            ("--connections", self.connections),
            ("--seconds", self.seconds),
        ] {
            command.args([option, &value.to_string()]);
        }
        let limit = Duration::from_secs(u64::from(self.seconds) + 60);
        let output = testbed::process::output(&command, limit);
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("no report ({error}): {text} {}", String::from_utf8_lossy(&output.stderr)));
        let number = |name: &str| report[name].as_f64().expect("a number of the report");
        let latency = |name: &str| report["latency_ms"][name].as_f64().expect("a latency");
        assert!(number("acknowledged") > 0.0, "nothing was acknowledged: {report}");
        Outcome {
            acknowledged: number("acknowledged"),
            events_per_s: number("events_per_s"),
            cpu_s: number("cpu_seconds"),
            p50_ms: latency("p50"),
            p99_ms: latency("p99"),
            p999_ms: latency("p999"),
        }
    }
}
