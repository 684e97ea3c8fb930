//! Every active file is there, and of the size that the table says.
use super::Report;
use crate::outcome::Error;
use lake::table::Table;

/// Checks all files of `table`.
pub async fn check(table: &Table, report: &mut Report) -> Result<(), Error> {
    for file in table.files().await? {
        report.files += 1;
        let there = table.file_bytes(&file.path).await?;
        if there == Some(file.bytes) {
            continue;
        }
        report.files_wrong += 1;
        report.find(match there {
            Some(bytes) => format!("{} has {bytes} bytes, the table says {}", file.path, file.bytes),
            None => format!("{} is not there", file.path),
        });
    }
    Ok(())
}
