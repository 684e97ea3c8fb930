//! The manifest: what the tables are made of, for an auditor who keeps it, and for comparing two tables.
use super::Tables;
use crate::outcome::Error;
use futures::TryStreamExt;
use lake::table::Table;
use maintenance::Content;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a line for each active file of the tables, and one for each table.
pub async fn write(tables: &Tables, file: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::from(format!("{}: {error}", file.display()));
    let mut lines = BufWriter::new(File::create(file).map_err(failed)?);
    for (name, table) in [("events", &tables.events), ("dead_letters", &tables.dead_letters)] {
        let Some(table) = table else { continue };
        let mut content = Content::default();
        let mut files = table.files().await?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        for held in &files {
            let mut batches = table.read_file(&held.path, None).await?;
            while let Some(batch) = batches.try_next().await? {
                content.add(&batch)?;
            }
            let line = json!({
                "table": name, "file": held.path, "bytes": held.bytes, "rows": held.rows,
                "sha256": sha256(table, &held.path).await?,
            });
            writeln!(lines, "{line}").map_err(failed)?;
        }
        let line = json!({
            "table": name, "id": table.id(), "version": table.version(), "files": files.len(), "rows": content.rows(),
            "content": format!("xxh3-{:032x}", content.sum()),
        });
        writeln!(lines, "{line}").map_err(failed)?;
    }
    lines.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)
}

async fn sha256(table: &Table, path: &str) -> Result<String, Error> {
    let (mut bytes, mut hash) = (table.file_chunks(path).await?, Sha256::new());
    while let Some(chunk) = bytes.try_next().await? {
        hash.update(&chunk);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
