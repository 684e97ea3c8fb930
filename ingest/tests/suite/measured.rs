//! What the edge counts, as the way to wait until it has taken something.
use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

/// Metrics of this thread. The runtime of such a test has one thread: everything of its node is counted here, and nothing
/// of other tests. Made before the node.
pub struct Measured {
    handle: PrometheusHandle,
    _installed: LocalRecorderGuard<'static>,
}

impl Measured {
    pub fn here() -> Measured {
        // Some kilobytes for each test: the guard can't live beside what it borrows.
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        Measured { handle: recorder.handle(), _installed: metrics::set_default_local_recorder(recorder) }
    }

    pub fn text(&self) -> String {
        self.handle.render()
    }

    /// Value of the series, its labels included; 0 while it was never set.
    pub fn value(&self, series: &str) -> f64 {
        let text = self.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until the series has at least this value.
    pub async fn reaches(&self, series: &str, wanted: usize) {
        for _ in 0..3_000 {
            if self.value(series) >= wanted as f64 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{series} does not reach {wanted}:\n{}", self.text());
    }

    /// Waits until bodies of as many bytes were taken in; those that are small wait in their batches then.
    pub async fn taken(&self, bytes: usize) {
        self.reaches("playhead_ingest_body_bytes_total", bytes).await;
    }

    /// Waits until as many appends are under way or over.
    pub async fn appends(&self, wanted: usize) {
        self.reaches("playhead_ingest_batch_rows_count", wanted).await;
    }
}
