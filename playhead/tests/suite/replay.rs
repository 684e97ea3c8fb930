//! Invariants 2 and 5 with replays: rows that were damaged are made again from the log, whatever is killed meanwhile, while
//! events come in; rollups follow.
use super::compaction::{BATCH, SETTINGS, batch};
use super::node::{self, audit, pause, playhead, result, with_settings};
use super::roles::eventually;
use super::rollups::{TYPES, of_events, of_rollup, waiting};
use super::rounds::random;
use lake::location::Location;
use lake::table::{Commit, Outcome, Table};
use rand::Rng;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testbed::scratch;

const ROUNDS: usize = 8;
/// A replay of so little takes about this long.
const REPLAY_MS: u64 = 400;

/// Somebody deletes a file's rows from the table `events`, as other engines do; how many.
async fn damage(lake: &Path, rng: &mut impl Rng) -> u64 {
    let location = Location::parse(&format!("file://{}", lake.join("events").display()), &Default::default()).unwrap();
    let mut table = Table::open(&location).await.unwrap().unwrap();
    loop {
        let files = table.files().await.unwrap();
        let gone = files[rng.random_range(0..files.len())].clone();
        let rows = gone.rows.unwrap();
        let commit = Commit { data_change: true, removes: vec![gone], ..Commit::default() };
        if matches!(table.commit(&commit).await, Ok(Outcome::Committed { .. })) {
            return rows;
        }
        table.reload().await.unwrap();
    }
}

fn replay(data: &Path) -> Command {
    let mut replay = playhead(data);
    replay.args(["replay", "--all", "--chunk-rows", "300", "--json"]);
    replay
}

#[test]
fn damaged_rows_come_back_with_replays_that_are_killed_at_any_moment_and_rollups_stay_true() {
    let mut random = random("replays killed");
    let temp = tempfile::tempdir().unwrap();
    let (data, runtime) = (temp.path().join("data"), tokio::runtime::Runtime::new().unwrap());
    let lake = data.join("lake");
    let ports = [scratch::port(), scratch::port()];
    let [listen, admin] = ports.each_ref().map(scratch::Port::address);
    let settings = format!("{SETTINGS}{TYPES}");
    let mut node = node::start(with_settings(&data, &settings), &listen, &admin);
    let (mut sent, mut damaged) = (0, 0);
    for round in 0..ROUNDS {
        for _ in 0..3 {
            assert_eq!(node.post("application/json", batch(&mut random).as_bytes()).0, 200);
            sent += BATCH;
        }
        pause(Duration::from_millis(700));
        damaged += runtime.block_on(damage(&lake, &mut random));
        let mut replaying = node::spawn(&replay(&data));
        pause(Duration::from_millis(random.random_range(0..REPLAY_MS)));
        replaying.kill().unwrap();
        replaying.wait().unwrap();
        if round == ROUNDS / 2 {
            node.kill();
            node = node::start(with_settings(&data, &settings), &listen, &admin);
        }
    }
    assert!(damaged > 0);
    let (code, last) = result(&node::output(&replay(&data)));
    assert_eq!((code, &last["state"]), (0, &"done".into()), "{last}");
    let (code, after) = audit(&data, None);
    assert_eq!((code, &after["ok"]), (0, &true.into()), "{damaged} rows were damaged: {after}");
    assert_eq!(after["rows"], sent, "{after}");
    let (code, listed) = result(&node::output(playhead(&data).args(["jobs", "--json"])));
    let states: Vec<&Value> = listed["jobs"].as_array().unwrap().iter().map(|job| &job["state"]).collect();
    assert!(code == 0 && states.iter().all(|state| **state == json!("done")), "none is left unfinished: {listed}");
    println!("{damaged} rows damaged, {} jobs; the last: {last}", states.len());

    let wanted = runtime.block_on(of_events(&lake));
    eventually("every window is what its SQL gives over the rows that are there", || {
        let (held, _) = runtime.block_on(of_rollup(&lake));
        (held == wanted && runtime.block_on(waiting(&lake)) == 0).then_some(())
    });
    node.stop();
    let mut rebuild = with_settings(&data, &settings);
    rebuild.args(["rebuild", "--json"]);
    let (code, rebuilt) = result(&node::output(&rebuild));
    assert_eq!(
        (code, &rebuilt["rows_after"], &rebuilt["seconds_changed"]),
        (0, &sent.into(), &0.into()),
        "offline: {rebuilt}"
    );
    let mut proof = with_settings(&data, &settings);
    let (code, after) = result(&node::output(proof.args(["audit", "--json"])));
    assert_eq!((code, &after["rows"]), (0, &sent.into()), "{after}");
    let rollups = after["rollups"].as_array().unwrap();
    let compared: u64 = rollups.iter().map(|rollup| rollup["windows"].as_u64().unwrap()).sum();
    assert!(compared > 0 && after["windows_wrong"] == 0, "{after}");
}
