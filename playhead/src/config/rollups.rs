//! `[processor]` and `[live]`, and which rollups there are.
use super::Config;
use processor::fold::Bounds;
use processor::limits::{GROUPS_MAX, OPEN_BYTES_MAX, OPEN_WINDOWS_MAX};
use processor::rollup::Definition;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

impl Config {
    /// All rollups that are kept: those that everybody has, unless they are left out, then one's own.
    pub fn rollups(&self) -> processor::Config {
        let defaults = if self.rollup_defaults { Definition::defaults() } else { Vec::new() };
        let rollups = defaults.into_iter().chain(self.rollup.iter().cloned()).collect();
        let bounds = Bounds { groups_max: self.processor.groups_max, windows_max: self.processor.open_windows_max };
        processor::Config { rollups, bounds, open_bytes_max: self.processor.open_bytes_max }
    }
}

/// `[processor]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Processor {
    /// Groups of a window at most; of more, the smallest are put together as `(other)`.
    pub groups_max: usize,
    /// Open windows of a rollup at most; events of more are counted when their window is corrected.
    pub open_windows_max: usize,
    /// Memory of all open windows, bytes; of more, the smallest groups of the largest window are put together.
    pub open_bytes_max: usize,
}

impl Default for Processor {
    fn default() -> Self {
        Processor { groups_max: GROUPS_MAX, open_windows_max: OPEN_WINDOWS_MAX, open_bytes_max: OPEN_BYTES_MAX }
    }
}

/// `[live]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Live {
    /// Address of /v1/live in `playhead process`; `up` serves it where events go.
    pub listen: SocketAddr,
    /// Who has it may look; empty: this machine alone.
    pub token: String,
    /// Where the other processors listen that share the partitions, `HOST:PORT`; of a name all of its addresses.
    pub peers: Vec<String>,
}

impl Default for Live {
    fn default() -> Self {
        Live { listen: SocketAddr::from(([127, 0, 0, 1], 8082)), token: String::new(), peers: Vec::new() }
    }
}
