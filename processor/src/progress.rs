//! How far rollups are, by what their tables say: for who looks from outside.
use crate::Lake;
use crate::late::marks;
use crate::table::reached;
use event::clock::Micros;
use lake::table::{ActiveFile, Error, Table};

/// One rollup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Its name.
    pub name: String,
    /// Windows that end at or before this are in its table, µs; `None`: nothing was committed yet.
    pub closed_to: Option<Micros>,
    /// Its table's files; `None`: there is no table yet.
    pub files: Option<Vec<ActiveFile>>,
    /// Windows that wait to be computed again.
    pub late_windows: usize,
}

/// How far these are.
pub async fn progress(lake: &Lake, names: impl IntoIterator<Item = String>) -> Result<Vec<Progress>, Error> {
    let marks = marks(&lake.late_windows).await?;
    let mut found = Vec::new();
    for name in names {
        let table = Table::open(&lake.rollups.join(&name)).await?;
        let (closed_to, files) = match &table {
            Some(table) => {
                (reached(&name, table).await?.map(|(watermark_us, _)| watermark_us), Some(table.files().await?))
            }
            None => (None, None),
        };
        let late_windows = marks.keys().filter(|(of, _)| *of == name).count();
        found.push(Progress { name, closed_to, files, late_windows });
    }
    Ok(found)
}
