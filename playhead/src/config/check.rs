//! What types can't say: bounds and combinations, each refusal with what to write instead.
use super::Config;
use super::kafka::APPEND_TIMEOUT_MS_MIN;
use lake::location::Location;

/// Most partitions: each costs a keyspace, a worker and a dedup window.
const PARTITIONS_MAX: u32 = 1_024;

/// Smallest log: some flushes of the sink; the journals take 64 MiB beside it anyway.
const LOG_BYTES_MIN: u64 = 16 << 20;
/// Most rows of all dedup windows together: 48 bytes each, 3 GiB.
const DEDUP_ROWS_MAX: u128 = 64 << 20;

/// `Err`: all that is wrong, a line each.
pub fn check(config: &Config) -> Result<(), String> {
    let mut wrong = Vec::new();
    positive(config, &mut wrong);
    // The edge knows its own settings, and refuses the same when it starts.
    wrong.extend(config.ingest.check(config.ingest.listen).err());
    if config.ingest.listen == config.admin.listen && config.admin.listen.port() != 0 {
        wrong.push(format!("ingest.listen and admin.listen are both {}: choose two", config.admin.listen));
    }
    if config.log.disk_bytes_max < LOG_BYTES_MIN {
        wrong.push(format!("log.disk_bytes_max = {}: at least {LOG_BYTES_MIN}", config.log.disk_bytes_max));
    }
    wrong.extend(places(config));
    if config.kafka.topic.is_empty()
        || !config.kafka.topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        wrong.push(format!("kafka.topic = {:?}: letters, digits, '.', '_' and '-' only", config.kafka.topic));
    }
    let dedup_rows = config.dedup.rows as u128 * u128::from(config.kafka.partitions);
    if dedup_rows > DEDUP_ROWS_MAX {
        wrong.push(format!(
            "dedup.rows = {} in {} partitions: {dedup_rows} rows of windows, 48 bytes each; at most {DEDUP_ROWS_MAX} in all",
            config.dedup.rows, config.kafka.partitions
        ));
    }
    if config.kafka.partitions > PARTITIONS_MAX {
        wrong.push(format!("kafka.partitions = {}: at most {PARTITIONS_MAX}", config.kafka.partitions));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Log and lake, as far as they can be judged without asking them.
fn places(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    if config.kafka.is_used() && config.ingest.append_timeout_ms < APPEND_TIMEOUT_MS_MIN {
        wrong.push(format!(
            "ingest.append_timeout_ms = {}: over Kafka at least {APPEND_TIMEOUT_MS_MIN}, since deliveries get 8/10 of it",
            config.ingest.append_timeout_ms
        ));
    } else if config.kafka.is_used() {
        // The derived group is always a right one.
        let group_id = Some(&config.kafka.group_id).filter(|given| !given.is_empty());
        let group_id = group_id.map_or("playhead", String::as_str).to_owned();
        wrong.extend(log::kafka::check(&config.kafka.options(group_id, config.ingest.append_timeout_ms)).err());
    }
    if !config.lake.url.is_empty() {
        let parsed = Location::parse(&config.lake.url, &config.lake.options);
        wrong.extend(parsed.err().map(|reason| format!("lake.url: {reason}")));
    } else if !config.lake.options.is_empty() {
        wrong.push("lake.options are for an object store, and lake.url is empty: set it, or leave them out".into());
    }
    wrong
}

fn positive(config: &Config, wrong: &mut Vec<String>) {
    let bounds: [(&str, u128); 10] = [
        ("events.past_max_s", config.events.past_max_s.into()),
        ("events.future_max_s", config.events.future_max_s.into()),
        ("dedup.rows", config.dedup.rows as u128),
        ("kafka.partitions", config.kafka.partitions.into()),
        ("kafka.retention_ms", config.kafka.retention_ms.into()),
        ("log.disk_bytes_max", config.log.disk_bytes_max.into()),
        ("log.retention_ms", config.log.retention_ms.into()),
        ("sink.flush_rows", config.sink.flush_rows as u128),
        ("sink.flush_bytes", config.sink.flush_bytes as u128),
        ("sink.flush_age_ms", config.sink.flush_age_ms.into()),
    ];
    wrong.extend(
        bounds.iter().filter(|(_, value)| *value == 0).map(|(name, _)| format!("{name} = 0: must be at least 1")),
    );
}
