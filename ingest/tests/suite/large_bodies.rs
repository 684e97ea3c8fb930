//! Large bodies are decoded beside the others, not before them.
use crate::node::{NOW, Node, event};
use ingest::Config;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Holds up decoding where it asks for a random id, as a body does that takes long.
#[derive(Default)]
struct Gate {
    entered: AtomicUsize,
    /// Nobody opened it in time.
    given_up: AtomicBool,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) -> [u8; 16] {
        self.entered.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        let waited = self.opened.wait_timeout_while(open, Duration::from_secs(10), |open| !*open).unwrap();
        self.given_up.fetch_or(waited.1.timed_out(), Ordering::SeqCst);
        drop(waited);
        [9; 16]
    }

    /// Waits until `count` bodies are being decoded.
    async fn entered(&self, count: usize) {
        for _ in 0..1_000 {
            if self.entered.load(Ordering::SeqCst) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no body is decoded");
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// One event without id and session, and so many others that the body is over 128 KiB.
fn large_body() -> String {
    let mut events: Vec<_> = (1..2_000).map(event).collect();
    events.insert(0, json!({"event_type": "play", "content_id": "m1", "event_time": NOW / 1_000}));
    json!(events).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn while_a_large_body_is_decoded_others_are_answered() {
    let gate = Arc::new(Gate::default());
    let passing = gate.clone();
    let node = Node::start_with(Config::default(), 2, Arc::new(move || passing.pass())).await;
    let mut large = node.client().await;
    let mut small = node.client().await;
    assert!(large_body().len() > 128 << 10);
    large.request("POST", "/v1/events", &[], large_body().as_bytes()).await;
    gate.entered(1).await;
    assert_eq!(small.post(event(5_000)).await.status, 200);
    assert!(!gate.given_up.load(Ordering::SeqCst), "the small body was only answered after the large one was decoded");
    gate.open();
    assert_eq!(large.answer().await.json()["accepted"], 2_000);
    assert_eq!(node.rows().await.len(), 2_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_that_find_no_turn_in_time_are_503_and_give_their_room_back() {
    let gate = Arc::new(Gate::default());
    let passing = gate.clone();
    // Room for a few: what the refused ones kept would be missing at the end.
    let config = Config { append_timeout_ms: 3_000, bodies_bytes_max: 20 << 20, ..Config::default() };
    let node = Node::start_with(config, 2, Arc::new(move || passing.pass())).await;
    let turns = std::thread::available_parallelism().unwrap().get().saturating_sub(1).max(1);
    let mut decoding = Vec::new();
    for _ in 0..turns.min(8) {
        let mut client = node.client().await;
        client.request("POST", "/v1/events", &[], large_body().as_bytes()).await;
        decoding.push(client);
    }
    gate.entered(decoding.len()).await;
    if turns <= 8 {
        node.client().await.post(large_body()).await.assert_problem(503, "overloaded");
    }
    gate.open();
    for client in &mut decoding {
        client.answer().await;
    }
    for _ in 0..30 {
        assert_eq!(node.client().await.post(large_body()).await.status, 200);
    }
    assert!(!gate.given_up.load(Ordering::SeqCst));
}
