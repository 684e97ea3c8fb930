//! `playhead sql` and `rollup backfill`, as a shell runs them.
use super::node::{self, Node, output, result, with_settings};
use super::roles::eventually;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const SETTINGS: &str = r#"
rollup_defaults = false

[[rollup]]
name = "types"
window = "2s"
allowed_lateness = "1s"
sql = "select event_type, count(*) as n, approx_distinct(session_id) as sessions from events group by event_type"

[[rollup]]
name = "hourly"
window = "1h"
allowed_lateness = "1h"
sql = "select event_type, count(*) as n, approx_distinct(session_id) as sessions from events group by event_type"
"#;

const ID: &str = "6ea6a914-9f62-4880-8729-6741b60f09c6";

fn started(data: &Path) -> Node {
    node::start(with_settings(data, SETTINGS), "127.0.0.1:0", "127.0.0.1:0")
}

fn sql(data: &Path, statement: &str, format: &str) -> Output {
    let mut command = with_settings(data, SETTINGS);
    command.args(["sql", "--format", format, statement]);
    output(&command)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Why a statement is refused.
fn refusal(data: &Path, statement: &str) -> String {
    let refused = sql(data, statement, "table");
    assert_eq!(refused.status.code(), Some(2), "{statement}");
    String::from_utf8(refused.stderr).unwrap()
}

/// The rows of a statement.
fn rows(data: &Path, statement: &str) -> Vec<Value> {
    text(&sql(data, statement, "json")).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn post(node: &Node, id: &str, session: &str) {
    let event = json!({"event_id": id, "event_type": "seek", "event_time": node::now_ms() as u64, "session_id": session,
                       "mood": "good, or better"});
    assert_eq!(node.post("application/json", event.to_string().as_bytes()).0, 200);
}

#[test]
fn what_was_posted_is_found_whichever_way_it_is_printed() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let node = started(&data);
    post(&node, ID, "s1");
    let wanted = format!("select event_id, session_id, custom from events where event_id = uuid_to_bin('{ID}')");
    let row = json!({"event_id": ID, "session_id": "s1", "custom": {"mood": "good, or better"}});
    eventually("it is in the lake", || {
        let found = sql(&data, &wanted, "json");
        (found.status.success() && serde_json::from_slice::<Value>(&found.stdout).ok()? == row).then_some(())
    });
    let csv = text(&sql(&data, &wanted, "csv"));
    assert_eq!(csv, format!("event_id,session_id,custom\n{ID},s1,\"{{mood: good, or better}}\"\n"));
    let table = text(&sql(&data, &wanted, "table"));
    assert!(table.contains(&format!("| {ID} | s1 ")) && table.ends_with("(1 row)\n"), "{table}");
    assert!(sql(&data, &wanted, "parquet").stdout.ends_with(b"PAR1"));
    // What no row matches has a header, and is no error.
    let count = |wanted: &str| {
        let query = format!("select count(*) as n from events where {wanted}");
        rows(&data, &query)[0]["n"].as_u64().unwrap()
    };
    let all = count("true");
    let other = "00000000-0000-4000-8000-000000000000";
    let of_ids = [format!("= '{ID}'"), format!("in ('{ID}')"), format!("in ('{other}', '{ID}')")];
    assert_eq!(of_ids.map(|wanted| count(&format!("event_id {wanted}"))), [1, 1, 1]);
    let list = (0..9).map(|n| format!("'00000000-0000-4000-8000-00000000000{n}'")).collect::<Vec<_>>().join(", ");
    assert_eq!(count(&format!("event_id in ({list}, '{ID}')")), 1, "a list that is no disjunction");
    assert_eq!(count(&format!("event_id not in ('{other}', '{ID}')")), all - 1);
    assert_eq!(text(&sql(&data, "select seq from events where seq = 7", "csv")), "seq\n");
    assert_eq!(text(&sql(&data, "select seq from events where seq = 7", "json")), "");
    // A map of numbers has JSON too.
    eventually("its window is closed", || {
        let found = rows(&data, "select positions, n from rollups.types where event_type = 'seek'");
        let row = found.first()?;
        (row["n"] == 1 && row["positions"].is_object()).then_some(())
    });
    assert!(refusal(&data, "select * from rollups.nope").contains("there are: lake.events"));
    assert!(refusal(&data, "drop table events").contains("nothing can be written"));
    node.stop();
}

#[test]
fn open_windows_are_read_from_the_node_that_holds_them() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let node = started(&data);
    post(&node, &node::id(), "s1");
    post(&node, &node::id(), "s2");
    eventually("events are counted before the lake has their window", || {
        let found = sql(&data, "select sum(n) as n, sum(sessions) as sessions from live.hourly", "json");
        let row: Value = serde_json::from_slice(&found.stdout).ok()?;
        (row == json!({"n": 2, "sessions": 2})).then_some(())
    });
    assert!(refusal(&data, "select * from live.nope").contains("not found"));
    node.stop();
    assert!(refusal(&data, "select * from live.hourly").contains("no such node runs here"));
    assert!(!rows(&data, "describe live.hourly").is_empty(), "its columns are known without one");
}

#[test]
fn a_backfill_says_what_it_does_and_ends_when_all_is_computed() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let backfill = |options: &[&str]| {
        let mut command = with_settings(&data, SETTINGS);
        command.args(["rollup", "backfill", "--json"]).args(options);
        output(&command)
    };
    let node = started(&data);
    post(&node, &node::id(), "s1");
    eventually("a window is closed", || (!rows(&data, "select * from rollups.types").is_empty()).then_some(()));
    let refused = backfill(&["nope", "--since", "2026-11-22"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains("no rollup is named nope in this configuration; there are: types")
    );
    let refused = backfill(&["types", "--since", "2020-01-01"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("do it in parts"), "{refused:?}");
    let hour_ago = format!("{}", (node::now_ms() / 1_000 - 3_600) * 1_000);
    let since = rows(&data, &format!("select cast(to_timestamp_millis({hour_ago}) as varchar) || 'Z' as since"));
    let since = since[0]["since"].as_str().unwrap().to_owned();
    let (code, planned) = result(&backfill(&["types", "--since", &since, "--dry-run"]));
    assert_eq!((code, &planned["marked"]), (0, &json!(false)), "{planned}");
    assert!((1_700..=1_801).contains(&planned["windows"].as_i64().unwrap()), "{planned}");
    let (code, done) = result(&backfill(&["types", "--since", &since, "--wait"]));
    assert_eq!((code, &done["marked"]), (0, &json!(true)), "{done}");
    assert!(rows(&data, "select * from late_windows").is_empty());
    let counted = rows(&data, "select sum(n) as n, max(revision) as revision from revisions.types");
    assert_eq!(counted, [json!({"n": 1, "revision": 1})], "what was there stays");
    node.stop();
}
