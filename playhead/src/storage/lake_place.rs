//! Where the tables are, under a name that is the same for every process that writes them and for no other lake.
//!
//! From that name comes the consumer group: sinks of one lake share the topic's partitions. Were two lakes fed by one
//! group, each would get some of the partitions and lack the others, and nothing would look wrong.
use crate::config;
use crate::data_dir::DataDir;
use lake::location::Location;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Options with one of these in their names say which store it is, beyond the URL's bucket.
const STORE_WORDS: [&str; 2] = ["endpoint", "account_name"];

/// The lake.
#[derive(Debug, Clone)]
pub struct LakePlace {
    root: Location,
}

impl LakePlace {
    /// As `[lake]` says; `DATA/lake` when it says nothing. `Err`: what is wrong with the URL.
    pub fn of(settings: &config::Lake, data: &DataDir) -> Result<LakePlace, String> {
        let root = match settings.url.as_str() {
            "" => Location::Local(data.lake()),
            url => Location::parse(url, &settings.options)?,
        };
        Ok(LakePlace { root })
    }

    /// The tables.
    pub fn tables(&self) -> sink::Lake {
        sink::Lake { events: self.root.join("events"), dead_letters: self.root.join("dead_letters") }
    }

    /// The tables that rollups are written to and corrected from.
    pub fn rollups(&self) -> processor::Lake {
        let at = |name| self.root.join(name);
        processor::Lake {
            rollups: at("rollups"),
            days: at("days"),
            partials: at("partials"),
            late_windows: at("late_windows"),
            events: at("events"),
        }
    }

    /// All tables, to be read.
    pub fn queried(&self) -> query::Lake {
        let at = |name| self.root.join(name);
        query::Lake { tables: query::LAKE_TABLES.map(at), rollups: at("rollups"), days: at("days") }
    }

    /// Path or URL, for people.
    pub fn name(&self) -> String {
        self.root.to_string()
    }

    /// Path or URL of the table `events`, for people and engines.
    pub fn events_name(&self) -> String {
        self.root.join("events").to_string()
    }

    /// The consumer group's prefix when none is set: `playhead-{topic}-{16 hex digits}`.
    pub fn group_id(&self, topic: &str) -> String {
        format!("playhead-{topic}-{:016x}", xxh3_64(self.identity().as_bytes()))
    }

    /// The lake's canonical URL. Of a local one with the machine's name: a folder of the same name elsewhere is
    /// another lake.
    fn identity(&self) -> String {
        match &self.root {
            Location::Local(folder) => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                format!("file://{host}{}", resolved(folder).display())
            }
            Location::Store { url, options } => {
                let mut identity = url.as_str().to_owned();
                for (name, value) in options {
                    let name = name.to_lowercase();
                    if STORE_WORDS.iter().any(|word| name.contains(word)) {
                        identity.push_str(&format!("\n{name}={}", value.trim_end_matches('/')));
                    }
                }
                identity
            }
        }
    }
}

/// The absolute path with its links followed, also while the last folders of it are yet to be made.
fn resolved(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    for above in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), absolute.strip_prefix(above)) {
            return real.components().chain(rest.components()).collect();
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn store(url: &str, options: &[(&str, &str)]) -> LakePlace {
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        LakePlace::of(&config::Lake { url: url.into(), options }, &DataDir::named(Path::new("unused"))).unwrap()
    }

    fn local(data: &Path) -> LakePlace {
        LakePlace::of(&config::Lake::default(), &DataDir::named(data)).unwrap()
    }

    #[test]
    fn two_lakes_never_share_a_group_and_one_lake_always_does() {
        let endpoint = ("aws_endpoint", "http://127.0.0.1:9000");
        let one = store("s3://lake/media", &[endpoint]).group_id("events");
        let same = store("s3://lake/media/", &[("aws_secret_access_key", "x"), endpoint]).group_id("events");
        assert_eq!(one, same);
        assert_ne!(one, store("s3://lake/music", &[endpoint]).group_id("events"));
        assert_ne!(one, store("s3://lake/media", &[("aws_endpoint", "http://10.0.0.1:9000")]).group_id("events"));
        assert_ne!(one, store("s3://lake/media", &[endpoint]).group_id("events-2"));
    }

    #[test]
    fn a_local_lake_has_one_group_by_whatever_path_it_is_named_and_before_it_is_made() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        let before = local(&data).group_id("events");
        std::fs::create_dir_all(data.join("lake")).unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let by_url = store(&format!("file://{}", data.join("lake").display()), &[]);
        for again in [local(&data), local(&link), by_url] {
            assert_eq!(again.group_id("events"), before);
        }
        assert_ne!(local(&temp.path().join("other")).group_id("events"), before);
    }

    #[test]
    fn the_tables_lie_below_the_lake() {
        let place = store("s3://lake/media", &[]);
        assert_eq!(place.events_name(), "s3://lake/media/events");
        let Location::Store { url, .. } = place.tables().dead_letters else { panic!("not a store") };
        assert_eq!(url.as_str(), "s3://lake/media/dead_letters");
    }
}
