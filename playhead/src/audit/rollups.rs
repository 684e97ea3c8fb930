//! The rollups against the table `events`: each closed window is what its SQL gives.
use super::{FINDINGS_MAX, Report, files};
use crate::clock::rfc3339;
use crate::outcome::Error;
use lake::table::Table;
use processor::audit::{Audited, audit, rollups};
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
    for (name, definition) in rollups(lake).await? {
        if let Some(table) = Table::open(&lake.rollups.join(&name)).await? {
            files::check(&table, report).await?;
        }
        let audited = match report.files_wrong > 0 {
            true => Audited {
                rollup: name.clone(),
                not_compared: Some("files of tables are wrong".to_owned()),
                ..Audited::default()
            },
            false => audit(lake, &definition, groups, patience).await?,
        };
        for (start_us, words) in audited.different.iter().take(FINDINGS_MAX) {
            report.find(format!("rollup {name}, window {}: {words}", rfc3339(*start_us).unwrap_or_default()));
        }
        report.windows_wrong += audited.wrong;
        report.rollups.push(audited);
    }
    Ok(())
}
