//! What types can't say: bounds and combinations, each refusal with what to write instead.
use super::Config;
use super::kafka::APPEND_TIMEOUT_MS_MIN;
use lake::location::Location;
use processor::rollup::Definition;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

/// Most partitions: each costs a keyspace, a worker and a dedup window.
const PARTITIONS_MAX: u128 = 1_024;
/// More replicas than any cluster has brokers.
const REPLICAS_MAX: u128 = 1_024;

/// Smallest log: some flushes of the sink; the journals take 64 MiB beside it anyway.
const LOG_BYTES_MIN: u128 = 16 << 20;
/// Most rows of all dedup windows together: 48 bytes each, 3 GiB.
const DEDUP_ROWS_MAX: u128 = 64 << 20;

/// `Err`: all that is wrong, a line each.
pub fn check(config: &Config) -> Result<(), String> {
    let mut wrong = Vec::new();
    numbers(config, &mut wrong);
    // The edge knows its own settings, and refuses the same when it starts.
    wrong.extend(config.ingest.check(config.ingest.listen).err());
    if config.ingest.listen == config.admin.listen && config.admin.listen.port() != 0 {
        wrong.push(format!("ingest.listen and admin.listen are both {}: choose two", config.admin.listen));
    }
    wrong.extend(places(config));
    wrong.extend(rollups(config));
    let spill_dir = &config.compaction.spill_dir;
    if !spill_dir.is_empty() && !Path::new(spill_dir).is_dir() {
        wrong.push(format!(
            "compaction.spill_dir = {spill_dir:?}: there is no such folder; make it, or leave the setting out"
        ));
    }
    if !config.live.listen.ip().is_loopback() && config.live.token.is_empty() {
        wrong.push(format!(
            "live.listen is {}, beyond this machine, and live.token is empty: anybody could see the figures. Listen on \
             127.0.0.1, or set a token",
            config.live.listen
        ));
    }
    if !config.live.token.bytes().all(|byte| byte.is_ascii_graphic()) {
        wrong.push(
            "live.token has spaces or characters beyond ASCII, which no header can have: choose others".to_owned(),
        );
    }
    for peer in config.live.peers.iter().filter(|peer| !is_host_and_port(peer)) {
        wrong.push(format!("live.peers: {peer:?} is not HOST:PORT, as processors-0.example:8082 is"));
    }
    let is_elsewhere = |peer: &String| is_host_and_port(peer) && !is_here(peer);
    if config.live.token.is_empty() && config.live.peers.iter().any(is_elsewhere) {
        let words =
            "live.peers names other machines, and live.token is empty: they answer only those who have the token";
        wrong.push(words.to_owned());
    }
    let dedup_rows = config.dedup.rows as u128 * u128::from(config.kafka.partitions);
    if dedup_rows > DEDUP_ROWS_MAX {
        wrong.push(format!(
            "dedup.rows = {} in {} partitions: {dedup_rows} rows of windows, 48 bytes each; at most {DEDUP_ROWS_MAX} in all",
            config.dedup.rows, config.kafka.partitions
        ));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn is_host_and_port(text: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@']);
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Of this machine, as far as the text says.
fn is_here(peer: &str) -> bool {
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Log and lake, as far as they can be judged without asking them.
fn places(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    if config.kafka.is_used() && config.ingest.append_timeout_ms < APPEND_TIMEOUT_MS_MIN {
        wrong.push(format!(
            "ingest.append_timeout_ms = {}: over Kafka at least {APPEND_TIMEOUT_MS_MIN}, since deliveries get 8/10 of it",
            config.ingest.append_timeout_ms
        ));
    } else if !config.kafka.is_used() {
        // The embedded log's topic may go to Kafka one day.
        wrong.extend(log::kafka::check_topic(&config.kafka.topic).err());
    } else {
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
    let (days, past_max_s) = (u64::from(config.retention.events_days), config.events.past_max_s);
    if days > 0 && days.saturating_mul(86_400) <= past_max_s {
        wrong.push(format!(
            "retention.events_days = {days}: events up to {} days old are taken (events.past_max_s), and would be gone at once; keep \
             more days, or take no such events",
            past_max_s.div_ceil(86_400)
        ));
    }
    wrong
}

/// Names and lengths; what the SQL is, `playhead rollup check` says, and every start.
fn rollups(config: &Config) -> Vec<String> {
    let rollups = config.rollups().rollups;
    let twice =
        rollups.iter().enumerate().filter(|(number, of)| rollups[..*number].iter().any(|other| other.name == of.name));
    let twice = twice.map(|(_, of)| processor::Error::Twice(of.name.clone()).to_string());
    let refused = |of: &Definition| of.windows().err().map(|reason| format!("rollup {}: {reason}", of.name));
    rollups.iter().filter_map(refused).chain(twice).collect()
}

/// An hour.
const HOUR_MS: u128 = 3_600_000;
/// A century.
const CENTURY_S: u128 = 100 * 366 * 86_400;

/// Numbers, each with its least and most. A flush is held in memory: 4 GiB are more than one file should have.
fn numbers(config: &Config, wrong: &mut Vec<String>) {
    let (events, kafka, sink, compaction) = (&config.events, &config.kafka, &config.sink, &config.compaction);
    let bounds: [(&str, u128, RangeInclusive<u128>); 19] = [
        ("compaction.after_ms", compaction.after_ms.into(), 1_000..=u128::from(u64::MAX)),
        ("compaction.bytes_min", compaction.bytes_min.into(), 1 << 20..=u128::from(u64::MAX)),
        ("compaction.file_bytes", compaction.file_bytes.into(), 1 << 20..=4 << 30),
        ("compaction.memory_bytes", compaction.memory_bytes as u128, 64 << 20..=1 << 40),
        ("compaction.spill_bytes_max", compaction.spill_bytes_max.into(), 1 << 30..=u128::from(u64::MAX)),
        ("events.past_max_s", events.past_max_s.into(), 1..=CENTURY_S),
        ("events.future_max_s", events.future_max_s.into(), 1..=CENTURY_S),
        ("dedup.rows", config.dedup.rows as u128, 1..=DEDUP_ROWS_MAX),
        ("kafka.partitions", kafka.partitions.into(), 1..=PARTITIONS_MAX),
        ("kafka.replication_factor", kafka.replication_factor.into(), 0..=REPLICAS_MAX),
        ("kafka.retention_ms", kafka.retention_ms.into(), 1..=i64::MAX as u128),
        ("log.disk_bytes_max", config.log.disk_bytes_max.into(), LOG_BYTES_MIN..=u128::from(u64::MAX)),
        ("log.retention_ms", config.log.retention_ms.into(), 1..=u128::from(u64::MAX)),
        ("processor.groups_max", config.processor.groups_max as u128, 2..=10_000_000),
        ("processor.open_bytes_max", config.processor.open_bytes_max as u128, 1 << 20..=1 << 40),
        ("processor.open_windows_max", config.processor.open_windows_max as u128, 120..=1_000_000),
        ("sink.flush_rows", sink.flush_rows as u128, 1..=50_000_000),
        ("sink.flush_bytes", sink.flush_bytes as u128, 1..=4 << 30),
        ("sink.flush_age_ms", sink.flush_age_ms.into(), 1..=HOUR_MS),
    ];
    wrong.extend(bounds.iter().filter(|(_, value, range)| !range.contains(value)).map(|(name, value, range)| {
        if value < range.start() {
            format!("{name} = {value}: must be at least {}", range.start())
        } else {
            format!("{name} = {value}: at most {}", range.end())
        }
    }));
}
