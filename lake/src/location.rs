//! Where a table lives, and the store that reads and writes it.
use std::path::PathBuf;

/// A table's place. Object stores join as another variant with the Kafka issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine: every put is synced, file and folder, before it returns.
    Local(PathBuf),
}
