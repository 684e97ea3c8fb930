//! Metrics as a test sees them.
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

type Values = Arc<Mutex<HashMap<Key, f64>>>;

/// Keeps gauges and counters.
#[derive(Default)]
pub struct Recorded(Values);

struct One(Key, Values);

impl Recorded {
    /// The value of a metric with these labels.
    pub fn value(&self, name: &'static str, labels: &[(&'static str, &'static str)]) -> Option<f64> {
        let labels: Vec<Label> = labels.iter().map(|(key, value)| Label::new(*key, *value)).collect();
        self.0.lock().unwrap().get(&Key::from_parts(name, labels)).copied()
    }
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.1.lock().unwrap().insert(self.0.clone(), value);
    }
}

impl CounterFn for One {
    fn increment(&self, more: u64) {
        *self.1.lock().unwrap().entry(self.0.clone()).or_default() += more as f64;
    }
    fn absolute(&self, value: u64) {
        self.1.lock().unwrap().insert(self.0.clone(), value as f64);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(One(key.clone(), self.0.clone())))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(One(key.clone(), self.0.clone())))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
