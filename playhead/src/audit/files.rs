//! Every active file is there, and of the size that the table says.
use super::Report;
use crate::outcome::Error;
use lake::table::Table;
use lake::upkeep::orphans;

/// Checks all files of `table`, and counts those that it does not name.
pub async fn check(table: &Table, report: &mut Report) -> Result<(), Error> {
    for file in table.files().await? {
        report.files += 1;
        let there = table.file_bytes(&file.path).await?;
        if there == Some(file.bytes) {
            continue;
        }
        report.files_wrong += 1;
        report.find(match there {
            Some(bytes) => {
                format!("{}: {} has {bytes} bytes, the table says {}", table.name(), file.path, file.bytes)
            }
            None => format!("{}: {} is not there", table.name(), file.path),
        });
    }
    let (orphans, _) = orphans(table).await?;
    report.orphans += orphans.len() as u64;
    report.orphan_bytes += orphans.iter().map(|file| file.bytes).sum::<u64>();
    Ok(())
}
