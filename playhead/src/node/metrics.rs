//! Prometheus metrics of the whole process: one recorder, rendered by the admin server. What the kernel says of the
//! process (descriptors, memory, processor time) is read at each scrape, under the names that all Prometheus clients use.
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use std::sync::OnceLock;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Bucket bounds of everything measured in seconds: 100 us to five minutes.
const SECONDS: [f64; 19] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 120.0,
    300.0,
];
/// Bucket bounds of row and event counts.
const ROWS: [f64; 8] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0, 10_000_000.0];
/// Bucket bounds of sizes: 256 B to 64 MiB.
const BYTES: [f64; 10] =
    [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0];
/// How often the recorder folds its histograms, which bounds what it holds between scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What `/metrics` shows.
#[derive(Clone)]
pub struct Exposition {
    recorder: PrometheusHandle,
    process: Collector,
}

impl Exposition {
    /// All metrics in Prometheus' text format. Reads `/proc`, one entry for each open descriptor: some ms with many.
    pub fn render(&self) -> String {
        self.process.collect();
        self.recorder.render()
    }
}

static INSTALLED: OnceLock<Option<Exposition>> = OnceLock::new();

/// The process's metrics; their recorder is installed at the first call. `None`: another recorder is in place.
pub fn install(stop: CancellationToken) -> Option<Exposition> {
    let exposition =
        INSTALLED.get_or_init(|| build().inspect_err(|error| tracing::error!(%error, "no metrics")).ok()).clone()?;
    let upkept = exposition.recorder.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            upkept.run_upkeep();
        }
    });
    Some(exposition)
}

fn build() -> Result<Exposition, metrics_exporter_prometheus::BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_rows".into()), &ROWS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES)?
        .install_recorder()?;
    let process = Collector::default();
    process.describe();
    Ok(Exposition { recorder, process })
}
