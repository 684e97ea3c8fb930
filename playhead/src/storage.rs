//! Which log and which tables belong to a data directory.
use crate::clock::SystemClock;
use crate::config::Config;
use crate::data_dir::DataDir;
use lake::location::Location;
use log::embedded::{self, OpenError};
use std::sync::Arc;

/// The reader name that the log's retention waits for.
const SINK_READER: &str = "sink";
/// The embedded log's name in the tables' `txn`s.
pub const CLUSTER: &str = "embedded";

/// Opens the log of `data` as `config` says, or makes it.
pub async fn open_log(config: &Config, data: &DataDir) -> Result<Arc<dyn log::Log>, OpenError> {
    embedded::open(options(config, data), Arc::new(SystemClock)).await
}

/// The same for commands that only look: what is not there is not made.
pub async fn open_existing_log(config: &Config, data: &DataDir) -> Result<Arc<dyn log::Log>, OpenError> {
    embedded::open_existing(options(config, data), Arc::new(SystemClock)).await
}

fn options(config: &Config, data: &DataDir) -> embedded::Options {
    embedded::Options {
        dir: data.log(),
        topic: config.kafka.topic.clone(),
        partitions: config.kafka.partitions,
        disk_bytes_max: config.log.disk_bytes_max,
        retention_ms: config.log.retention_ms,
        readers: vec![SINK_READER.to_owned()],
    }
}

/// The tables of `data`.
pub fn lake_of(data: &DataDir) -> sink::Lake {
    sink::Lake {
        events: Location::Local(data.table("events")),
        dead_letters: Location::Local(data.table("dead_letters")),
    }
}
