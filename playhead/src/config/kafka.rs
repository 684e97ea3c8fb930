//! `[kafka]`: the topic of either log, and how a cluster is reached.
use log::kafka::Options;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A record's fate must be known before the answer that its request gives up with: else an event that was answered
/// 503 would appear in the log later. So Kafka's client tries for this part of `ingest.append_timeout_ms`.
const DELIVERY_PART: (u64, u64) = (8, 10);
/// The least of `ingest.append_timeout_ms` over Kafka: within less not even one slow answer could be waited out.
pub const APPEND_TIMEOUT_MS_MIN: u64 = 1_000;

/// Settings `[kafka]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap brokers, `HOST:PORT` each; empty: the embedded log. A string of several, with commas, will do.
    #[serde(deserialize_with = "brokers")]
    pub brokers: Vec<String>,
    /// Topic, also of the embedded log.
    pub topic: String,
    /// Partitions; pinned when log and tables are made.
    pub partitions: u32,
    /// Replicas that a topic is made with; 0: the broker's default.
    pub replication_factor: u16,
    /// How long the topic keeps its records; used when it is made, and a shorter one of a topic is warned about.
    pub retention_ms: u64,
    /// Prefix of the consumer groups; empty: derived from topic and lake.
    pub group_id: String,
    /// What this process is called in its consumer groups (`group.instance.id`); empty: a new member each time.
    pub group_instance_id: String,
    /// librdkafka's own properties.
    pub properties: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: Vec::new(),
            topic: "events".into(),
            partitions: 4,
            replication_factor: 0,
            retention_ms: 7 * 24 * 3_600_000,
            group_id: String::new(),
            group_instance_id: String::new(),
            properties: BTreeMap::new(),
        }
    }
}

impl Kafka {
    /// Whether the log is Kafka; else it is the embedded one.
    pub fn is_used(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// What the log is opened with. `group_id`: the prefix of its consumer groups; `append_timeout_ms`: how long a
    /// request waits.
    pub fn options(&self, group_id: String, append_timeout_ms: u64) -> Options {
        let (part, whole) = DELIVERY_PART;
        Options {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            partitions: self.partitions,
            replication_factor: (self.replication_factor > 0).then_some(self.replication_factor),
            retention_ms: self.retention_ms,
            group_id,
            group_instance_id: self.group_instance_id.clone(),
            delivery_timeout_ms: append_timeout_ms.saturating_mul(part) / whole,
            properties: self.properties.clone(),
        }
    }
}

/// A list, or one string with commas: what `PLAYHEAD_KAFKA__BROKERS=a:9092,b:9092` gives.
fn brokers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Brokers;

    impl<'de> Visitor<'de> for Brokers {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of HOST:PORT")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(text.split(',').map(str::trim).filter(|broker| !broker.is_empty()).map(str::to_owned).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut brokers = Vec::new();
            while let Some(broker) = list.next_element()? {
                brokers.push(broker);
            }
            Ok(brokers)
        }
    }

    deserializer.deserialize_any(Brokers)
}

#[cfg(test)]
#[allow(clippy::result_large_err, reason = "figment's Jail wants its own error type")]
mod tests {
    use super::*;
    use crate::config::load;
    use figment::Jail;

    fn from_environment(variables: &[(&str, &str)]) -> Result<crate::config::Config, String> {
        let mut loaded = Err(String::new());
        Jail::expect_with(|jail| {
            variables.iter().for_each(|(name, value)| jail.set_env(name, value));
            loaded = load(None).map_err(|error| error.to_string());
            Ok(())
        });
        loaded
    }

    #[test]
    fn brokers_come_from_the_environment_as_a_list_or_with_commas() {
        for text in [r#"["a:9092", "b:9092"]"#, "a:9092,b:9092", "a:9092, b:9092,"] {
            let config = from_environment(&[("PLAYHEAD_KAFKA__BROKERS", text)]).unwrap();
            assert_eq!(config.kafka.brokers, ["a:9092", "b:9092"], "{text}");
        }
        assert!(!from_environment(&[("PLAYHEAD_KAFKA__BROKERS", "")]).unwrap().kafka.is_used());
        let words = from_environment(&[("PLAYHEAD_KAFKA__BROKERS", "9092")]).unwrap_err();
        assert!(words.contains("a list of HOST:PORT") && words.contains("PLAYHEAD_KAFKA__BROKERS"), "{words}");
    }

    #[test]
    fn a_variable_with_one_underscore_too_few_is_told() {
        let words = from_environment(&[("PLAYHEAD_KAFKA_BROKERS", "a:9092")]).unwrap_err();
        assert!(words.contains("PLAYHEAD_KAFKA__BROKERS"), "{words}");
    }

    #[test]
    fn properties_with_dots_in_their_names_come_from_the_environment() {
        let text = r#"{"sasl.username"="u", "sasl.password"="p,\"=}"}"#;
        let config = from_environment(&[("PLAYHEAD_KAFKA__PROPERTIES", text)]).unwrap();
        let expected = [("sasl.password", "p,\"=}"), ("sasl.username", "u")];
        assert_eq!(config.kafka.properties, BTreeMap::from(expected.map(|(name, value)| (name.into(), value.into()))));
    }

    #[test]
    fn a_secret_that_looks_like_a_number_is_refused_and_not_printed() {
        for (name, value) in [
            ("PLAYHEAD_LAKE__OPTIONS__AWS_SECRET_ACCESS_KEY", "12345"),
            ("PLAYHEAD_KAFKA__PROPERTIES", r#"{"sasl.password"=12345}"#),
        ] {
            let words = from_environment(&[(name, value)]).unwrap_err();
            assert!(words.contains("in quotes") && !words.contains("found"), "{words}");
        }
        let variables = [
            ("PLAYHEAD_LAKE__URL", "s3://lake/media"),
            ("PLAYHEAD_LAKE__OPTIONS__AWS_SECRET_ACCESS_KEY", "\"012345\""),
        ];
        assert_eq!(from_environment(&variables).unwrap().lake.options["aws_secret_access_key"], "012345");
    }

    #[test]
    fn a_secret_in_a_table_that_is_none_is_not_printed() {
        for name in ["PLAYHEAD_KAFKA__PROPERTIES", "PLAYHEAD_LAKE__OPTIONS", "PLAYHEAD_KAFKA", "PLAYHEAD_LAKE"] {
            for value in ["sasl.password=hunter2", r#"{"sasl.password"="hunter2"#] {
                let words = from_environment(&[(name, value)]).unwrap_err();
                assert!(words.contains(name) && !words.contains("hunter"), "{words}");
            }
        }
        Jail::expect_with(|jail| {
            jail.create_file("playhead.toml", "[kafka.properties]\n\"sasl.password\" = hunter2\n")?;
            let words = load(None).unwrap_err().to_string();
            assert!(words.contains("line 2") && !words.contains("hunter"), "{words}");
            Ok(())
        });
    }

    #[test]
    fn a_wait_too_short_for_a_delivery_is_refused() {
        let variables = [("PLAYHEAD_KAFKA__BROKERS", "a:9092"), ("PLAYHEAD_INGEST__APPEND_TIMEOUT_MS", "999")];
        let words = from_environment(&variables).unwrap_err();
        assert!(words.contains("ingest.append_timeout_ms = 999"), "{words}");
    }

    #[test]
    fn a_store_s_options_come_from_the_environment_one_by_one() {
        let variables =
            [("PLAYHEAD_LAKE__URL", "s3://lake/media"), ("PLAYHEAD_LAKE__OPTIONS__AWS_REGION", "eu-central-1")];
        let config = from_environment(&variables).unwrap();
        assert_eq!(config.lake.options["aws_region"], "eu-central-1");
    }

    #[test]
    fn a_record_s_fate_is_known_before_its_request_gives_up() {
        let kafka = Kafka { replication_factor: 3, ..Kafka::default() };
        let options = kafka.options("g".into(), 10_000);
        assert_eq!((options.delivery_timeout_ms, options.replication_factor), (8_000, Some(3)));
        assert_eq!(Kafka::default().options("g".into(), u64::MAX).replication_factor, None);
    }
}
