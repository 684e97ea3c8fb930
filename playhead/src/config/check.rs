//! What types can't say: bounds and combinations, each refusal with what to write instead.
use super::Config;

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
    if !config.kafka.brokers.is_empty() {
        wrong.push("kafka.brokers: this build has the embedded log only; leave it empty".into());
    }
    if !config.lake.url.is_empty() {
        wrong.push("lake.url: this build writes tables to DATA/lake only; leave it empty and set --data".into());
    }
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

fn positive(config: &Config, wrong: &mut Vec<String>) {
    let bounds: [(&str, u128); 9] = [
        ("events.past_max_s", config.events.past_max_s.into()),
        ("events.future_max_s", config.events.future_max_s.into()),
        ("dedup.rows", config.dedup.rows as u128),
        ("kafka.partitions", config.kafka.partitions.into()),
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
