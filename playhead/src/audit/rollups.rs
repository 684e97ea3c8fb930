//! The rollups against the table `events`: each closed window is what its SQL gives.
use super::repairs::{merged, offsets_within};
use super::{FINDINGS_MAX, Report, files};
use crate::clock::rfc3339;
use crate::outcome::Error;
use lake::table::Table;
use processor::audit::{Audited, NOTHING_CLOSED, audit, rollups};
use processor::fold::Bounds;
use std::time::Duration;

/// Compares every rollup that is kept, into the report. `patience`: how long to wait for a lake that lacks what a rollup has
/// counted.
pub async fn compare(
    lake: &processor::Lake,
    groups: Bounds,
    patience: Duration,
    report: &mut Report,
) -> Result<(), Error> {
    let events_are_whole = report.files_wrong == 0;
    let (mut times, mut again) = (Vec::new(), Vec::new());
    for (name, definition) in rollups(lake).await? {
        let wrong_before = report.files_wrong;
        if let Some(table) = Table::open(&lake.rollups.join(&name)).await? {
            files::check(&table, report).await?;
        }
        let audited = match events_are_whole && report.files_wrong == wrong_before {
            false if events_are_whole => Audited::not_compared(&name, "files of its table are wrong"),
            false => Audited::not_compared(&name, "files of events or dead_letters are wrong"),
            // What is wrong with one keeps nobody from hearing of the others.
            true => audit(lake, &definition, groups, patience)
                .await
                .unwrap_or_else(|error| Audited::not_compared(&name, error)),
        };
        if let Some(why) = audited.not_compared.as_ref().filter(|why| *why != NOTHING_CLOSED) {
            report.find(format!("rollup {name} was not compared: {why}"));
        }
        for (start_us, words) in audited.different.iter().take(FINDINGS_MAX) {
            report.find(format!("rollup {name}, window {}: {words}", rfc3339(*start_us).unwrap_or_default()));
        }
        let length_us = definition.window.as_micros() as i64;
        let wrong: Vec<_> = audited.different.keys().map(|start| *start..start.saturating_add(length_us)).collect();
        if let Some((first, last)) = wrong.first().zip(wrong.last()) {
            let (from, to) = (rfc3339(first.start).unwrap_or_default(), rfc3339(last.end).unwrap_or_default());
            again.push(format!("playhead replay --table rollups/{name} --from-time {from} --to-time {to} --wait"));
        }
        times.extend(wrong);
        report.windows_wrong += audited.wrong;
        report.rollups.push(audited);
    }
    if let Some(events) = Table::open(&lake.events).await?.filter(|_| !times.is_empty()) {
        for (partition, (first, last)) in offsets_within(&events, &merged(times)).await? {
            let offsets = format!("--from-offset {first} --to-offset {last}");
            report.repairs.push(format!("playhead replay --partition {partition} {offsets}"));
        }
    }
    report.repairs.append(&mut again);
    Ok(())
}
