//! What is open is seen as it grows, and what was closed just now.
use crate::harness::{Harness, NOON, SECOND, rollup};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use processor::live::{Shown, Watcher};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

fn event(id: u128, seconds: i64) -> Value {
    json!({"event_id": Uuid::from_u128(id), "event_type": "heartbeat", "event_time": (NOON + seconds * SECOND) / 1_000, "session_id": "s"})
}

/// `(seconds after noon at which the window begins, n, whether it is open)`.
pub fn counts(shown: &Shown) -> Vec<(i64, i64, bool)> {
    let of = |window: &processor::live::Window| {
        let n = window.rows.rows.column(1).as_primitive::<Int64Type>().value(0);
        ((window.rows.start_us - NOON) / SECOND, n, window.is_open)
    };
    shown.windows.iter().map(of).collect()
}

/// What is shown next, until it is this.
pub async fn becomes(watcher: &mut Watcher, wanted: &[(i64, i64, bool)]) {
    let mut last = Vec::new();
    let seen = async {
        while last != wanted {
            last = counts(watcher.next().await.as_ref());
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(30), seen).await;
    assert!(seen.is_ok(), "{last:?} is shown, not {wanted:?}");
}

#[tokio::test]
async fn a_window_is_seen_while_it_grows_and_after_it_was_closed() {
    let harness =
        Harness::new(1, vec![rollup("types", "select event_type, count(*) as n from events group by event_type")]);
    assert!(harness.live.watch("nothing").is_none());
    let running = harness.start();
    let mut watcher = harness.live.watch("types").unwrap();
    assert!(watcher.next().await.windows.is_empty(), "at first there is nothing, and that is told");
    harness.at(5);
    harness.produce(0, &[event(1, 1), event(2, 2)]).await;
    becomes(&mut watcher, &[(0, 2, true)]).await;
    harness.produce(0, &[event(3, 3)]).await;
    becomes(&mut watcher, &[(0, 3, true)]).await;
    harness.at(11);
    harness.produce(0, &[event(4, 11)]).await;
    becomes(&mut watcher, &[(0, 3, false), (10, 1, true)]).await;
    // Who comes now sees the same at once, though nothing changes.
    becomes(&mut harness.live.watch("types").unwrap(), &[(0, 3, false), (10, 1, true)]).await;
    running.stop().await;
}
