//! The one typed configuration: defaults, then `playhead.toml`, then the environment; checked before anything starts.
//!
//! `PLAYHEAD_SINK__FLUSH_ROWS=5000` overrides `sink.flush_rows`: the prefix, then the path with two underscores.
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use processor::rollup::Definition;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

mod check;
mod hint;
mod kafka;
mod rollups;
mod show;

pub use kafka::Kafka;
pub use rollups::{Live, Processor};
pub use show::{shown, to_toml};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "playhead.toml";
/// Settings of the command line that clap reads from the environment itself.
const COMMAND_LINE_VARIABLES: [&str; 2] = ["CONFIG", "DATA"];

/// All settings. Each field has a default; unknown ones are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the rollups that everybody has are kept.
    pub rollup_defaults: bool,
    /// The event edge.
    pub ingest: ingest::Config,
    /// Health, readiness, metrics.
    pub admin: Admin,
    /// Accepted event times.
    pub events: Events,
    /// The dedup window.
    pub dedup: Dedup,
    /// The log, whichever kind.
    pub kafka: Kafka,
    /// The embedded log's disk.
    pub log: Log,
    /// The sink.
    pub sink: sink::Config,
    /// Sorting of what the sink wrote, and removal of copies.
    pub compaction: maintenance::Config,
    /// Dates that end.
    pub retention: maintenance::retention::Config,
    /// The lake.
    pub lake: Lake,
    /// What all rollups have in common.
    pub processor: Processor,
    /// Who may see rollups as they are now.
    pub live: Live,
    /// Further rollups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollup: Vec<Definition>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rollup_defaults: true,
            ingest: ingest::Config::default(),
            admin: Admin::default(),
            events: Events::default(),
            dedup: Dedup::default(),
            kafka: Kafka::default(),
            log: Log::default(),
            sink: sink::Config::default(),
            compaction: maintenance::Config::default(),
            retention: maintenance::retention::Config::default(),
            lake: Lake::default(),
            processor: Processor::default(),
            live: Live::default(),
            rollup: Vec::new(),
        }
    }
}

/// `[admin]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of /healthz, /readyz and /metrics. Loopback: it has no keys.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { listen: SocketAddr::from(([127, 0, 0, 1], 8081)) }
    }
}

/// `[events]`: bounds of event_time around the time of arrival.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Older events are rejected.
    pub past_max_s: u64,
    /// Events further ahead are rejected.
    pub future_max_s: u64,
    /// A difference of sent and received up to this is network latency, not clock skew.
    pub skew_min_ms: u64,
}

impl Default for Events {
    fn default() -> Self {
        Events { past_max_s: 30 * 86_400, future_max_s: 3_600, skew_min_ms: 5_000 }
    }
}

impl Events {
    /// The same in the decoder's units.
    pub fn bounds(&self) -> event::decode::TimeBounds {
        let micros = |value: u64, unit: i64| i64::try_from(value).unwrap_or(i64::MAX).saturating_mul(unit);
        event::decode::TimeBounds {
            past_max: micros(self.past_max_s, 1_000_000),
            future_max: micros(self.future_max_s, 1_000_000),
            skew_min: micros(self.skew_min_ms, 1_000),
        }
    }
}

/// `[dedup]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dedup {
    /// Rows of one partition within which a copy is found at once. Stored with the table; about 48 bytes of memory
    /// each. 250,000 rows in 4 partitions are a million events: at 1,000 events/s some 17 minutes of retries.
    pub rows: usize,
}

impl Default for Dedup {
    fn default() -> Self {
        Dedup { rows: 250_000 }
    }
}

/// `[log]`: the embedded log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Disk budget. When it is full of records that the lake does not have yet, events are refused with 503.
    pub disk_bytes_max: u64,
    /// Records that the lake has are kept this long, for replay.
    pub retention_ms: u64,
}

impl Default for Log {
    fn default() -> Self {
        Log { disk_bytes_max: 10 << 30, retention_ms: 24 * 3_600_000 }
    }
}

/// `[lake]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lake {
    /// Where the tables are: `s3://`, `gs://`, `az://` or `file://`; empty: DATA/lake.
    pub url: String,
    /// The object store's own options.
    pub options: BTreeMap<String, String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named file is not there.
    #[error("configuration file {0} does not exist")]
    Absent(String),
    /// A value is of the wrong type, or a field is unknown.
    #[error("{0}")]
    Invalid(String),
}

/// Reads defaults, file and environment, and checks what came out.
pub fn load(file: Option<&Path>) -> Result<Config, Error> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    match file {
        Some(path) if !path.is_file() => return Err(Error::Absent(path.display().to_string())),
        Some(path) => figment = figment.merge(Toml::file_exact(path)),
        None if Path::new(DEFAULT_FILE).is_file() => figment = figment.merge(Toml::file_exact(DEFAULT_FILE)),
        None => {}
    }
    let environment = Env::prefixed("PLAYHEAD_").ignore(&COMMAND_LINE_VARIABLES);
    let environment = environment.filter(|name| !is_service_link(name.as_str())).split("__");
    let config: Config = figment.merge(environment).extract().map_err(|error| Error::Invalid(hint::explain(&error)))?;
    check(&config)?;
    Ok(config)
}

/// Whether a variable is one that Kubernetes gives every container of a namespace for a Service named `playhead` or
/// `playhead-...`: `PLAYHEAD_SERVICE_HOST`, `PLAYHEAD_INGEST_PORT_8080_TCP`. Settings have a section and two underscores.
fn is_service_link(name: &str) -> bool {
    let is = |word: &str, other: &str| word.eq_ignore_ascii_case(other);
    !name.contains("__") && name.split('_').any(|word| is(word, "SERVICE") || is(word, "PORT"))
}

/// Checks what types can't say; for settings that the command line changed after `load`.
pub fn check(config: &Config) -> Result<(), Error> {
    check::check(config).map_err(Error::Invalid)
}

#[cfg(test)]
#[allow(clippy::result_large_err, reason = "figment's Jail wants its own error type")]
mod tests {
    use super::*;
    use figment::Jail;

    fn failure(toml: &str) -> String {
        let mut text = String::new();
        Jail::expect_with(|jail| {
            jail.create_file("playhead.toml", toml)?;
            text = load(None).expect_err("must be refused").to_string();
            Ok(())
        });
        text
    }

    #[test]
    fn no_file_and_no_environment_gives_the_defaults() {
        Jail::expect_with(|_| {
            let config = load(None).unwrap();
            assert_eq!(config.sink.flush_age_ms, 10_000);
            assert_eq!(config.ingest.listen.to_string(), "127.0.0.1:8080");
            Ok(())
        });
    }

    #[test]
    fn the_environment_overrides_the_file() {
        Jail::expect_with(|jail| {
            jail.create_file("playhead.toml", "[sink]\nflush_rows = 10\nflush_age_ms = 77\n")?;
            jail.set_env("PLAYHEAD_SINK__FLUSH_ROWS", "5000");
            let config = load(None).unwrap();
            assert_eq!((config.sink.flush_rows, config.sink.flush_age_ms), (5_000, 77));
            Ok(())
        });
    }

    #[test]
    fn variables_of_a_kubernetes_service_are_no_settings() {
        Jail::expect_with(|jail| {
            for name in ["PORT", "SERVICE_HOST", "PORT_8080_TCP_ADDR", "INGEST_SERVICE_PORT_HTTP", "INGEST_PORT"] {
                jail.set_env(format!("PLAYHEAD_{name}"), "tcp://10.0.0.1:8080");
            }
            load(None).unwrap();
            jail.set_env("PLAYHEAD_INGEST__PORT", "1");
            assert!(load(None).unwrap_err().to_string().contains("PLAYHEAD_INGEST__PORT"));
            Ok(())
        });
    }

    #[test]
    fn an_unknown_field_is_refused_with_a_hint() {
        let text = failure("[sink]\nflush_row = 10\n");
        assert!(text.contains("sink.flush_row") && text.contains("did you mean `flush_rows`"), "{text}");
        assert!(text.contains("playhead.toml"), "{text}");
    }

    #[test]
    fn windows_that_no_memory_holds_are_refused_before_a_table_is_made_with_them() {
        let text = failure("[dedup]\nrows = 5000000000\n");
        assert!(text.contains("dedup.rows"), "{text}");
    }

    #[test]
    fn what_the_edge_would_refuse_at_its_start_is_refused_before() {
        let text = failure("[ingest]\nlinger_ms = 20000\n");
        assert!(text.contains("ingest.linger_ms"), "{text}");
    }

    #[test]
    fn own_rollups_come_after_those_that_everybody_has_or_instead_of_them() {
        let own = "[[rollup]]\nname = \"plays\"\nwindow = \"5m\"\nsql = \"select count(*) as n from events\"\n";
        let names = |toml: &str| {
            let mut names = Vec::new();
            Jail::expect_with(|jail| {
                jail.create_file("playhead.toml", toml)?;
                names = load(None).unwrap().rollups().rollups.into_iter().map(|of| of.name).collect();
                Ok(())
            });
            names
        };
        assert_eq!(names(own), ["audience", "quality", "errors", "ads", "plays"]);
        assert_eq!(names(&format!("rollup_defaults = false\n{own}")), ["plays"]);
    }

    #[test]
    fn a_rollup_that_no_table_can_be_of_is_named() {
        let sql = "sql = \"select count(*) as n from events\"\n";
        let text = failure(&format!("[[rollup]]\nname = \"Plays\"\nwindow = \"5m\"\n{sql}"));
        assert!(text.contains("rollup Plays"), "{text}");
        let text = failure(&format!("[[rollup]]\nname = \"audience\"\nwindow = \"5m\"\n{sql}"));
        assert!(text.contains("two rollups are named audience"), "{text}");
        let text = failure(&format!("[[rollup]]\nname = \"plays\"\nwindow = \"5 minuets\"\n{sql}"));
        assert!(text.contains("minuets"), "{text}");
    }

    #[test]
    fn processors_that_could_not_be_asked_are_refused() {
        for (live, words) in [
            ("peers = [\"http://processor:8082\"]\ntoken = \"t\"", "HOST:PORT"),
            ("peers = [\"processor\"]\ntoken = \"t\"", "HOST:PORT"),
            ("peers = [\"processor:8082\"]", "live.token is empty"),
            ("token = \"two words\"", "live.token has spaces"),
        ] {
            let text = failure(&format!("[live]\n{live}\n"));
            assert!(text.contains(words), "{text}");
        }
        Jail::expect_with(|jail| {
            jail.create_file(
                "playhead.toml",
                "[live]\npeers = [\"127.0.0.1:8082\", \"localhost:8083\", \"[::1]:8084\"]\n",
            )?;
            assert_eq!(load(None).unwrap().live.peers.len(), 3);
            Ok(())
        });
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_field_and_file() {
        let text = failure("[sink]\nflush_rows = \"many\"\n");
        assert!(text.contains("sink.flush_rows") && text.contains("playhead.toml"), "{text}");
    }

    #[test]
    fn a_misspelt_variable_of_the_environment_is_refused_too() {
        Jail::expect_with(|jail| {
            jail.set_env("PLAYHEAD_SINK__FLUSH_ROW", "1");
            let text = load(None).expect_err("must be refused").to_string();
            assert!(text.contains("PLAYHEAD_SINK__FLUSH_ROW"), "{text}");
            Ok(())
        });
    }

    #[test]
    fn listening_to_the_world_without_keys_must_be_asked_for() {
        let text = failure("[ingest]\nlisten = \"0.0.0.0:8080\"\n");
        assert!(text.contains("ingest.allow_anonymous"), "{text}");
        Jail::expect_with(|jail| {
            jail.create_file("playhead.toml", "[ingest]\nlisten = \"0.0.0.0:8080\"\nallow_anonymous = true\n")?;
            load(None).unwrap();
            Ok(())
        });
    }

    #[test]
    fn a_place_that_no_lake_can_be_is_refused_before_anything_starts() {
        let text = failure("[lake]\nurl = \"lake/media\"\n");
        assert!(text.contains("lake.url") && text.contains("lake/media"), "{text}");
        let text = failure("[lake.options]\naws_region = \"eu-central-1\"\n");
        assert!(text.contains("lake.url is empty"), "{text}");
    }

    #[test]
    fn every_bound_of_zero_is_refused() {
        for field in [
            "sink.flush_rows",
            "sink.flush_bytes",
            "ingest.body_bytes_max",
            "kafka.partitions",
            "kafka.retention_ms",
            "log.disk_bytes_max",
        ] {
            let (section, name) = field.split_once('.').unwrap();
            let text = failure(&format!("[{section}]\n{name} = 0\n"));
            assert!(text.contains(field), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_and_hides_secrets() {
        Jail::expect_with(|jail| {
            jail.create_file(
                "playhead.toml",
                "[live]\ntoken = \"hunter5\"\n[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n\"sasl.username\" = \"u\"\n\
                 [lake]\nurl = \"s3://lake/media\"\n\
                 [lake.options]\naws_secret_access_key = \"hunter3\"\naws_region = \"eu-central-1\"\n\
                 proxy_url = \"http://me:hunter4@proxy:3128\"\n",
            )?;
            let shown = to_toml(&load(None).unwrap());
            assert!(!shown.contains("hunter"), "{shown}");
            assert!(shown.contains("\"u\"") && shown.contains("eu-central-1"), "{shown}");
            jail.create_file("again.toml", &shown)?;
            load(Some(Path::new("again.toml"))).unwrap();
            Ok(())
        });
    }
}
