//! Delta tables: create, read positions, write files, commit by compare-and-swap, upkeep.
//!
//! The promise: a commit is all or nothing, it goes only on the snapshot that its caller decided from, and when it
//! returns, it survives a power loss (or is what the store calls durable). How a commit ended is found out, never guessed.
//!
//! ```text
//!  sink ──▶ Table::write_file ──▶ Parquet, synced       (not yet part of the table)
//!       └─▶ Table::commit ──────▶ _delta_log/N.json     (adds, txns; create-if-absent of version N is the swap)
//!  upkeep ─▶ plan ─▶ merge ─────▶ the same commit       (removes and adds, under the maintenance epoch)
//!        └─▶ checkpoint, log cleanup, merged files deleted
//!
//!  table ─▶ commit, write, read ─┬▶ durable (local disk: temp file, fsync, link, fsync of the folder)
//!                                └▶ store   (S3, GCS, Azure: puts with a condition, bounded requests)
//! ```
//!
//! Not for queries: any engine that reads Delta does that, `query/` with DataFusion. Not a table format of our own, nor a catalog.
mod commit;
pub mod durable;
mod error;
mod file;
pub mod location;
mod read;
mod stats;
mod store;
pub mod table;
pub mod tables;
pub mod upkeep;
mod write;
