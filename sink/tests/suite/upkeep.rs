//! Upkeep beside ingestion: what it can't get over is no reason to refuse events.
use crate::harness::{Harness, eventually};
use lake::location::Location;
use lake::upkeep::Pace;
use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Values = Arc<Mutex<HashMap<Key, f64>>>;

/// Keeps the gauges.
#[derive(Default)]
struct Gauges(Values);

struct OneGauge(Key, Values);

impl Gauges {
    fn upkeep_stopped(&self, table: &'static str) -> Option<f64> {
        let key = Key::from_parts("playhead_sink_upkeep_stopped", &[("table", table)]);
        self.0.lock().unwrap().get(&key).copied()
    }
}

impl GaugeFn for OneGauge {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.1.lock().unwrap().insert(self.0.clone(), value);
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(OneGauge(key.clone(), self.0.clone())))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn a_missing_file_stops_the_upkeep_of_its_table_but_not_ingestion_and_heals_when_it_is_restored() {
    let gauges = Gauges::default();
    let _recorder = metrics::set_default_local_recorder(&gauges);
    let mut harness = Harness::new(1);
    for id in 1..=8 {
        harness.produce(0, &[id]).await;
        harness.drain().await;
    }
    let Location::Local(folder) = harness.lake().events else { panic!("the harness is local") };
    let files = harness.events().await.unwrap().files().await.unwrap();
    assert_eq!(files.len(), 8, "as many as a merge takes");
    let (lost, elsewhere) = (folder.join(&files[3].path), harness.dir.path().join("elsewhere"));
    fs::rename(&lost, &elsewhere).unwrap();

    harness.config.flush_rows = 1;
    harness.timing.pace =
        Pace { idle: Duration::from_millis(2), busy: Duration::from_millis(2), stopped: Duration::from_millis(20) };
    let running = harness.start();
    eventually("upkeep of events stops", async || gauges.upkeep_stopped("events") == Some(1.0)).await;
    assert_eq!(gauges.upkeep_stopped("dead_letters"), Some(0.0));
    harness.produce(0, &[9]).await;
    harness.committed(0, 8).await;
    assert_eq!(running.ready(), Ok(()));

    fs::rename(&elsewhere, &lost).unwrap();
    eventually("upkeep of events goes on", async || gauges.upkeep_stopped("events") == Some(0.0)).await;
    assert!(harness.events().await.unwrap().files().await.unwrap().len() < 9, "merged");
    running.stop().await;
    assert_eq!(harness.ids().await, (1..=9).collect::<Vec<_>>());
}
