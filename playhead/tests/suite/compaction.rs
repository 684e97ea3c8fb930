//! Invariants 2 and 5: copies that come long after the dedup window go with a compaction, whatever is killed meanwhile, and
//! rollups that had counted them are corrected.
use super::node::{self, audit, pause, playhead, result, with_settings};
use super::roles::eventually;
use super::rollups::{TYPES, of_events, of_rollup, waiting};
use super::rounds::random;
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;
use testbed::scratch;

/// Copies come further apart than this window, and files are small.
pub const SETTINGS: &str = r#"
rollup_defaults = false
[dedup]
rows = 20
[kafka]
partitions = 2
[sink]
flush_age_ms = 200
"#;

const ROUNDS: usize = 8;
/// Events of a batch.
pub const BATCH: usize = 40;
/// A compaction of so little takes about this long.
const COMPACTION_MS: u64 = 250;

/// Events of the last seconds, of a few titles and sessions, as a body.
pub fn batch(rng: &mut impl Rng) -> String {
    let event = |_| {
        let back_ms = rng.random_range(0..1_500);
        json!({"event_id": node::id(), "event_type": "heartbeat", "content_id": format!("title-{}", rng.random_range(0..5)),
               "session_id": format!("s{}", rng.random_range(0..9)), "event_time": node::now_ms() as u64 - back_ms})
    };
    json!((0..BATCH).map(event).collect::<Vec<Value>>()).to_string()
}

#[test]
fn copies_go_with_compactions_that_are_killed_at_any_moment_and_rollups_forget_them() {
    let mut random = random("compactions killed");
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let ports = [scratch::port(), scratch::port()];
    let [listen, admin] = ports.each_ref().map(scratch::Port::address);
    let settings = format!("{SETTINGS}{TYPES}");
    let mut node = node::start(with_settings(&data, &settings), &listen, &admin);
    let mut sent: Vec<String> = Vec::new();
    let mut compact = playhead(&data);
    compact.args(["compact", "--json"]);
    for round in 0..ROUNDS {
        for _ in 0..3 {
            sent.push(batch(&mut random));
            assert_eq!(node.post("application/json", sent[sent.len() - 1].as_bytes()).0, 200);
        }
        // A client that was offline sends again what it sent long ago.
        let again = random.random_range(0..sent.len().saturating_sub(2));
        assert_eq!(node.post("application/json", sent[again].as_bytes()).0, 200);
        pause(Duration::from_millis(700));
        let mut compaction = node::spawn(&compact);
        pause(Duration::from_millis(random.random_range(0..COMPACTION_MS)));
        compaction.kill().unwrap();
        if round == ROUNDS / 2 {
            node.kill();
            node = node::start(with_settings(&data, &settings), &listen, &admin);
        }
    }
    let (_, before) = audit(&data, None);
    let (code, last) = result(&node::output(&compact));
    assert_eq!(code, 0, "{last}");
    let (code, after) = audit(&data, None);
    assert_eq!((code, &after["ok"], &after["duplicates"]), (0, &true.into(), &0.into()), "{after}");
    let distinct = sent.len() * BATCH;
    assert_eq!(after["rows"], distinct, "{after}");
    let removed: i64 = after["partitions"].as_array().unwrap().iter().map(|of| of["removed"].as_i64().unwrap()).sum();
    println!(
        "before the last: {} duplicates; {removed} copies were removed in all; the last: {last}",
        before["duplicates"]
    );
    assert!(removed > 0, "{after}");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lake = data.join("lake");
    let wanted = runtime.block_on(of_events(&lake));
    eventually("every window is what its SQL gives over the rows that stayed", || {
        let (held, _) = runtime.block_on(of_rollup(&lake));
        (held == wanted && runtime.block_on(waiting(&lake)) == 0).then_some(())
    });
    node.stop();
    let (code, nothing) = result(&node::output(&compact));
    assert_eq!((code, &nothing["copies"]), (0, &0.into()), "offline, too: {nothing}");
}
