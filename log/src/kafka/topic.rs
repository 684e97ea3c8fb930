//! What a topic must be: its name, how it is made, and what is said about one that is there. Pure.
use super::Options;
use super::properties::MESSAGE_BYTES_MAX;
use std::collections::BTreeMap;

/// As Kafka has them.
const NAME_BYTES_MAX: usize = 249;

/// Kafka's rule for names.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name == "." || name == ".." || !name.bytes().all(good) {
        return Err(format!(
            "kafka.topic: {name:?} is no name of a topic: 1 to {NAME_BYTES_MAX} letters, digits, '.', '_' or '-'"
        ));
    }
    Ok(())
}

/// Settings that the topic is made with.
pub(super) fn made_with(options: &Options) -> [(&'static str, String); 4] {
    [
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", i64::try_from(options.retention_ms).unwrap_or(-1).to_string()),
        ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
    ]
}

/// A topic as the cluster shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) partitions: u32,
    /// Of the partition with the fewest.
    pub(super) replicas: usize,
    pub(super) brokers: usize,
    /// Name and value; empty: we may not look.
    pub(super) settings: BTreeMap<String, String>,
}

impl Found {
    fn number(&self, name: &str) -> Option<i64> {
        self.settings.get(name)?.parse().ok()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.settings.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    }
}

/// `Ok`: warnings, in words. `Err`: why the topic can't be used, and what to do.
pub(super) fn judge(options: &Options, found: &Found) -> Result<Vec<String>, String> {
    let refusals = refusals(options, found);
    if refusals.is_empty() { Ok(warnings(options, found)) } else { Err(refusals.join("; ")) }
}

/// The command that sets `setting` of the topic.
fn command(options: &Options, setting: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config {setting}",
        options.brokers.first().map_or("HOST:PORT", String::as_str),
        options.topic
    )
}

fn refusals(options: &Options, found: &Found) -> Vec<String> {
    let topic = &options.topic;
    let mut refusals = Vec::new();
    if found.partitions != options.partitions {
        refusals.push(format!(
            "topic {topic} has {0} partitions, but kafka.partitions is {1}: with another number a session's retries go \
             to other partitions; set kafka.partitions = {0}, or name another topic by kafka.topic",
            found.partitions, options.partitions
        ));
    }
    if found.settings.contains_key("message.timestamp.type") && !found.is("message.timestamp.type", "LogAppendTime") {
        refusals.push(format!(
            "topic {topic} takes its records' times from producers' clocks (message.timestamp.type=CreateTime); mend it: {}",
            command(options, "message.timestamp.type=LogAppendTime")
        ));
    }
    if found.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        refusals.push(format!(
            "topic {topic} is compacted (cleanup.policy): that drops events; mend it: {}",
            command(options, "cleanup.policy=delete")
        ));
    }
    if found.number("max.message.bytes").is_some_and(|bytes| bytes < MESSAGE_BYTES_MAX as i64) {
        refusals.push(format!(
            "topic {topic} takes records of {} bytes at most (max.message.bytes), ours have up to 1,000,000; mend it: {}",
            found.settings.get("max.message.bytes").map_or("few", String::as_str),
            command(options, &format!("max.message.bytes={MESSAGE_BYTES_MAX}"))
        ));
    }
    refusals
}

fn warnings(options: &Options, found: &Found) -> Vec<String> {
    let topic = &options.topic;
    let mut warnings = Vec::new();
    if found.settings.is_empty() {
        warnings.push(format!(
            "the settings of topic {topic} were not checked: grant DescribeConfigs on it, or see to it that it has \
             message.timestamp.type=LogAppendTime and cleanup.policy=delete"
        ));
    }
    let wanted = i64::try_from(options.retention_ms).unwrap_or(i64::MAX);
    if let Some(retention_ms) = found.number("retention.ms").filter(|ms| (0..wanted).contains(ms)) {
        warnings.push(format!(
            "topic {topic} keeps records for {retention_ms} ms (retention.ms), less than kafka.retention_ms = {wanted}: \
             a sink that stands still for longer loses events; mend it: {}",
            command(options, &format!("retention.ms={wanted}"))
        ));
    }
    if let Some(bytes) = found.number("retention.bytes").filter(|bytes| *bytes >= 0) {
        warnings.push(format!(
            "topic {topic} keeps {bytes} bytes of a partition (retention.bytes), whether the lake has them or not; \
             mend it: {}",
            command(options, "retention.bytes=-1")
        ));
    }
    if found.brokers > 1 && found.replicas == 1 {
        warnings.push(format!(
            "topic {topic} has one replica of each partition on {} brokers: the loss of one broker loses events; \
             raise it by kafka-reassign-partitions.sh",
            found.brokers
        ));
    }
    if found.brokers > 1 && found.number("min.insync.replicas") == Some(1) {
        warnings.push(format!(
            "topic {topic} acknowledges records that one broker has (min.insync.replicas=1): its loss loses them; \
             with three replicas mend it: {}",
            command(options, "min.insync.replicas=2")
        ));
    }
    if found.is("unclean.leader.election.enable", "true") {
        warnings.push(format!(
            "topic {topic} may be led by a replica that lacks acknowledged records (unclean.leader.election.enable); \
             mend it: {}",
            command(options, "unclean.leader.election.enable=false")
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::options;

    fn found(change: &[(&str, &str)]) -> Found {
        let mut settings: BTreeMap<String, String> =
            made_with(&options()).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        settings.insert("retention.bytes".into(), "-1".into());
        settings.insert("min.insync.replicas".into(), "2".into());
        settings.insert("unclean.leader.election.enable".into(), "false".into());
        settings.extend(change.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        Found { partitions: 4, replicas: 3, brokers: 3, settings }
    }

    #[test]
    fn a_topic_as_we_make_it_is_neither_refused_nor_warned_of() {
        assert_eq!(judge(&options(), &found(&[])), Ok(Vec::new()));
        assert_eq!(judge(&options(), &found(&[("retention.ms", "-1")])), Ok(Vec::new()), "for ever");
    }

    #[test]
    fn what_breaks_a_promise_is_refused_with_the_command_that_mends_it() {
        for (name, value, mends) in [
            ("message.timestamp.type", "CreateTime", "--add-config message.timestamp.type=LogAppendTime"),
            ("cleanup.policy", "compact,delete", "--add-config cleanup.policy=delete"),
            ("max.message.bytes", "1000000", "--add-config max.message.bytes=1048588"),
        ] {
            let words = judge(&options(), &found(&[(name, value)])).unwrap_err();
            assert!(words.contains(name) && words.contains(mends) && words.contains("kafka:9092"), "{words}");
        }
        let words = judge(&options(), &Found { partitions: 8, ..found(&[]) }).unwrap_err();
        assert!(words.contains("kafka.partitions = 8"), "{words}");
        let all = found(&[("message.timestamp.type", "CreateTime"), ("cleanup.policy", "compact")]);
        let words = judge(&options(), &all).unwrap_err();
        assert!(words.contains("CreateTime") && words.contains("compact"), "all at once: {words}");
    }

    #[test]
    fn what_risks_events_is_warned_of() {
        for (name, value) in [
            ("retention.ms", "999"),
            ("retention.bytes", "1000000"),
            ("min.insync.replicas", "1"),
            ("unclean.leader.election.enable", "true"),
        ] {
            let warnings = judge(&options(), &found(&[(name, value)])).unwrap();
            assert!(warnings.len() == 1 && warnings[0].contains(name), "{warnings:?}");
        }
        let warnings = judge(&options(), &Found { replicas: 1, ..found(&[]) }).unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("one replica"), "{warnings:?}");
        let one_broker = Found { brokers: 1, replicas: 1, ..found(&[("min.insync.replicas", "1")]) };
        assert_eq!(judge(&options(), &one_broker), Ok(Vec::new()), "there is no other broker");
        let hidden = Found { settings: BTreeMap::new(), ..found(&[]) };
        let warnings = judge(&options(), &hidden).unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("DescribeConfigs"), "{warnings:?}");
    }

    #[test]
    fn names_that_kafka_would_refuse_are_refused_here() {
        for name in ["", ".", "..", "an event", "^events", "a/b", &"x".repeat(250)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        check_name("events.v1_a-B").unwrap();
    }
}
