//! Which log and which tables a configuration means, and how the log is opened.
//!
//! ```text
//! kafka.brokers  empty: DATA/log (embedded, owned by one process)    else: a topic of that cluster, for any number
//! lake.url       empty: DATA/lake                                    else: a folder or an object store
//! ```
use crate::clock::SystemClock;
use crate::config::Config;
use crate::data_dir::{self, DataDir};
use crate::roles::Roles;
use log::{Log, embedded, kafka};
use std::path::Path;
use std::sync::Arc;

mod lake_place;

pub use lake_place::LakePlace;

/// The reader name that the embedded log's retention waits for, and that its consumer group ends with in Kafka.
const SINK_READER: &str = "sink";
/// The processor's, in the embedded log; in Kafka it has no group.
const PROCESSOR_READER: &str = "processor";

/// Log and lake.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The log.
    pub log: LogPlace,
    /// The tables.
    pub lake: LakePlace,
}

/// Where the log is.
#[derive(Debug, Clone)]
pub enum LogPlace {
    /// On this machine's disk.
    Embedded {
        /// The directory that it is in.
        data: DataDir,
        /// What it is opened with.
        options: embedded::Options,
    },
    /// In Kafka.
    Kafka(kafka::Options),
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The embedded one.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] kafka::OpenError),
}

/// Why log and lake can't be named.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] data_dir::Error),
    /// The setting `lake.url`.
    #[error("lake.url: {0}")]
    LakeUrl(String),
}

impl Storage {
    /// For a command that only looks: a data directory that is needed must be there.
    pub fn look(config: &Config, root: &Path) -> Result<Storage, Error> {
        if !config.kafka.is_used() || config.lake.url.is_empty() {
            DataDir::open(root)?;
        }
        Storage::new(config, root)
    }

    /// The log alone, for a command that does not look at the lake.
    pub fn look_at_log(config: &Config, root: &Path) -> Result<LogPlace, Error> {
        if !config.kafka.is_used() {
            DataDir::open(root)?;
        }
        Ok(Storage::new(config, root)?.log)
    }

    /// For a node with these roles: a data directory that they need is made.
    pub fn make(config: &Config, root: &Path, roles: Roles) -> Result<Storage, Error> {
        if !config.kafka.is_used() || (roles.write_lake() && config.lake.url.is_empty()) {
            DataDir::open_or_create(root)?;
        }
        Storage::new(config, root)
    }

    fn new(config: &Config, root: &Path) -> Result<Storage, Error> {
        let data = DataDir::named(root);
        let lake = LakePlace::of(&config.lake, &data).map_err(Error::LakeUrl)?;
        let log = if config.kafka.is_used() {
            let given = Some(&config.kafka.group_id).filter(|given| !given.is_empty());
            let group_id = given.cloned().unwrap_or_else(|| lake.group_id(&config.kafka.topic));
            LogPlace::Kafka(config.kafka.options(group_id, config.ingest.append_timeout_ms))
        } else {
            LogPlace::Embedded { options: embedded_options(config, &data), data }
        };
        Ok(Storage { log, lake })
    }
}

impl LogPlace {
    /// The directory that one process owns; `None`: the log is nobody's.
    pub fn owned(&self) -> Option<&DataDir> {
        match self {
            LogPlace::Embedded { data, .. } => Some(data),
            LogPlace::Kafka(_) => None,
        }
    }

    /// The consumer group that sinks join.
    pub fn group(&self) -> Option<String> {
        self.group_of(SINK_READER)
    }

    /// The consumer group that processors join.
    pub fn processors_group(&self) -> Option<String> {
        self.group_of(PROCESSOR_READER)
    }

    fn group_of(&self, reader: &str) -> Option<String> {
        match self {
            LogPlace::Embedded { .. } => None,
            LogPlace::Kafka(options) => Some(format!("{}-{reader}", options.group_id)),
        }
    }

    /// Opens the log, or makes it.
    pub async fn open(&self) -> Result<Arc<dyn Log>, OpenError> {
        Ok(match self {
            LogPlace::Embedded { options, .. } => embedded::open(options.clone(), Arc::new(SystemClock)).await?,
            LogPlace::Kafka(options) => kafka::open(options.clone()).await?,
        })
    }

    /// The same for commands that only look: what is not there is not made.
    pub async fn open_existing(&self) -> Result<Arc<dyn Log>, OpenError> {
        Ok(match self {
            LogPlace::Embedded { options, .. } => {
                embedded::open_existing(options.clone(), Arc::new(SystemClock)).await?
            }
            LogPlace::Kafka(options) => kafka::open_existing(options.clone()).await?,
        })
    }
}

fn embedded_options(config: &Config, data: &DataDir) -> embedded::Options {
    embedded::Options {
        dir: data.log(),
        topic: config.kafka.topic.clone(),
        partitions: config.kafka.partitions,
        disk_bytes_max: config.log.disk_bytes_max,
        retention_ms: config.log.retention_ms,
        readers: readers(config),
    }
}

/// A reader that never comes would keep everything: without rollups there is no processor.
fn readers(config: &Config) -> Vec<String> {
    let processor = (!config.rollups().rollups.is_empty()).then_some(PROCESSOR_READER);
    [SINK_READER].into_iter().chain(processor).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka_with_store() -> Config {
        let mut config = Config::default();
        config.kafka.brokers = vec!["127.0.0.1:9".into()];
        config.lake.url = "s3://lake/media".into();
        config
    }

    #[test]
    fn over_kafka_and_a_store_no_data_directory_is_needed_nor_made() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        let config = kafka_with_store();
        let storage = Storage::look(&config, &root).unwrap();
        assert!(storage.log.owned().is_none());
        Storage::make(&config, &root, Roles::ALL).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn a_sink_with_a_local_lake_makes_the_directory_and_an_edge_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        let mut config = kafka_with_store();
        config.lake.url.clear();
        assert!(matches!(Storage::look(&config, &root), Err(Error::Data(data_dir::Error::Absent(_)))));
        Storage::look_at_log(&config, &root).unwrap();
        Storage::make(&config, &root, Roles::INGEST).unwrap();
        assert!(!root.exists());
        Storage::make(&config, &root, Roles::SINK).unwrap();
        Storage::look(&config, &root).unwrap();
    }

    #[test]
    fn a_group_that_is_named_is_taken_as_it_is() {
        let mut config = kafka_with_store();
        let derived = Storage::look(&config, Path::new("nowhere")).unwrap().log.group().unwrap();
        assert!(derived.starts_with("playhead-events-") && derived.ends_with("-sink"), "{derived}");
        config.kafka.group_id = "media".into();
        assert_eq!(Storage::look(&config, Path::new("nowhere")).unwrap().log.group().as_deref(), Some("media-sink"));
    }
}
