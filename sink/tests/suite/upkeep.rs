//! Upkeep beside ingestion: what it can't get over is no reason to refuse events.
use crate::harness::{Harness, eventually};
use crate::recorder::Recorded;
use lake::location::Location;
use lake::upkeep::Pace;
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn a_missing_file_stops_the_upkeep_of_its_table_but_not_ingestion_and_heals_when_it_is_restored() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let upkeep_stopped = |table| recorded.value("playhead_lake_upkeep_stopped", &[("table", table)]);
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
    eventually("upkeep of events stops", async || upkeep_stopped("events") == Some(1.0)).await;
    assert_eq!(upkeep_stopped("dead_letters"), Some(0.0));
    harness.produce(0, &[9]).await;
    harness.committed(0, 8).await;
    assert_eq!(running.ready(), Ok(()));

    fs::rename(&elsewhere, &lost).unwrap();
    eventually("upkeep of events goes on", async || upkeep_stopped("events") == Some(0.0)).await;
    assert!(harness.events().await.unwrap().files().await.unwrap().len() < 9, "merged");
    running.stop().await;
    assert_eq!(harness.ids().await, (1..=9).collect::<Vec<_>>());
}
