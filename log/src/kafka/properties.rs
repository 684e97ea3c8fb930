//! Librdkafka's properties: ours, the user's, and which of the user's would break a promise. Pure, but for the trial of
//! a client without brokers, by which librdkafka says what it does not know.
use super::client::{log_line, words};
use super::{Options, topic};
use event::limits::RECORD_BYTES_MAX;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

/// Kafka's default `max.message.bytes`, with room for the framing of the largest record: 48,588 bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 1_048_588;

const _: () = assert!(RECORD_BYTES_MAX + 40_000 < MESSAGE_BYTES_MAX);

/// Names that can't be set, and why. Aliases stand beside their names.
const REFUSED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "brokers are named by kafka.brokers"),
    (&["acks", "request.required.acks"], "an acknowledgement means all in-sync replicas"),
    (
        &["enable.idempotence", "enable.gapless.guarantee", "transactional.id", "queuing.strategy"],
        "records of a partition keep their order, and retries repeat none: the producer is idempotent",
    ),
    (&["retries", "message.send.max.retries"], "a record is tried until its time is over"),
    (&["delivery.report.only.error"], "an append waits for its report"),
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        "a record that is delivered after it was reported as failed would come as a surprise: its time follows from how \
         long a request waits",
    ),
    (
        &["group.id", "group.instance.id", "group.protocol", "group.protocol.type", "group.remote.assignor"],
        "groups are named by kafka.group_id, and this process in them by kafka.group_instance_id",
    ),
    (&["partition.assignment.strategy"], "partitions move one by one: cooperative-sticky"),
    (
        &["enable.auto.commit", "auto.commit.enable", "auto.commit.interval.ms", "enable.auto.offset.store"],
        "positions come from the tables",
    ),
    (&["offset.store.method", "offset.store.path", "offset.store.sync.interval.ms"], "positions come from the tables"),
    (&["auto.offset.reset"], "a position that the topic does not have must stop its partition, not jump"),
    (&["enable.partition.eof", "check.crcs"], "readers rely on it"),
    (&["isolation.level"], "records of a transaction that was aborted are not events"),
    (
        &["allow.auto.create.topics"],
        "a topic that is made by itself has the broker's defaults: times by producers' clocks",
    ),
    (
        &["message.max.bytes", "fetch.message.max.bytes", "max.partition.fetch.bytes"],
        "records have up to 1,000,000 bytes",
    ),
    (
        &["client.rack"],
        "records and their end come from a partition's leader: a follower may have less, and its end is none",
    ),
    (&["test.mock.num.brokers", "test.mock.broker.rtt"], "a cluster in memory keeps nothing"),
];

/// Numbers that are bounded, and why; aliases stand together.
const BOUNDED: &[(&[&str], RangeInclusive<u64>, &str)] = &[
    (&["max.in.flight.requests.per.connection", "max.in.flight"], 1..=5, "with more, records lose their order"),
    (&["queue.buffering.max.kbytes"], 2_048..=2_097_151, "room for two records at least, 2 GiB of memory at most"),
    (&["queue.buffering.max.messages"], 2..=1_000_000, "room for two records at least, and no more than fit in memory"),
    (&["queued.max.messages.kbytes"], 1_024..=1_048_576, "a record at least, 1 GiB of memory at most"),
    (&["fetch.max.bytes"], 0..=MEMORY_OF_ANSWER, "each broker's answer is held in memory: 100 MB at most"),
    (
        &["receive.message.max.bytes"],
        MEMORY_OF_ANSWER_LEAST..=MEMORY_OF_ANSWER + 512,
        "an answer to a fetch at least (50 MiB), 100 MB of memory at most",
    ),
];

/// What librdkafka takes of an answer, if nothing else is said.
const MEMORY_OF_ANSWER: u64 = 100_000_000;
/// librdkafka wants it to be at least its default `fetch.max.bytes` and 512.
const MEMORY_OF_ANSWER_LEAST: u64 = (50 << 20) + 512;

/// Properties that mean nothing to a producer. (librdkafka's CONFIGURATION.md, 2.12; without those that are refused)
const CONSUMER_ONLY: &[&str] = &[
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "coordinator.query.interval.ms",
    "max.poll.interval.ms",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "fetch.wait.max.ms",
    "fetch.queue.backoff.ms",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.error.backoff.ms",
    "consume.callback.max.messages",
];

/// Properties that mean nothing to a consumer.
const PRODUCER_ONLY: &[&str] = &[
    "transaction.timeout.ms",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.ms",
    "linger.ms",
    "queue.buffering.backpressure.threshold",
    "compression.codec",
    "compression.type",
    "compression.level",
    "batch.num.messages",
    "batch.size",
    "sticky.partitioning.linger.ms",
    "request.timeout.ms",
    "produce.offset.report",
    "partitioner",
];

/// Names of ours that the user may give by another name.
const ALIASES: &[(&str, &str)] = &[("linger.ms", "queue.buffering.max.ms"), ("compression.type", "compression.codec")];

/// Without a scheme, and with a port: librdkafka would take `host:99999` and wait for ever.
fn is_host_and_port(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else { return false };
    let host_is_one = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
    };
    host_is_one && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What can't work, in words.
pub(super) fn check(options: &Options) -> Result<(), String> {
    if options.brokers.is_empty() {
        return Err("kafka.brokers is empty: name at least one, HOST:PORT".into());
    }
    for broker in &options.brokers {
        if !is_host_and_port(broker) {
            return Err(format!("kafka.brokers: {broker:?} is no HOST:PORT (such as kafka-1:9092, or [::1]:9092)"));
        }
    }
    topic::check_name(&options.topic)?;
    if options.partitions == 0 || i32::try_from(options.partitions).is_err() {
        return Err(format!("kafka.partitions is {}: at least 1", options.partitions));
    }
    if options.replication_factor == Some(0) {
        return Err("kafka.replication_factor is 0: at least 1".into());
    }
    if options.group_id.is_empty() {
        return Err("kafka.group_id is empty: it names the consumer groups".into());
    }
    if !options.group_instance_id.is_empty() {
        // Kafka's rule for them is that for topics (JoinGroupRequest.java, validateGroupInstanceId).
        topic::check_name(&options.group_instance_id)
            .map_err(|_| "kafka.group_instance_id: at most 249 of a-z, A-Z, 0-9, `.`, `_` and `-`".to_owned())?;
    }
    if options.delivery_timeout_ms == 0 || i32::try_from(options.delivery_timeout_ms).is_err() {
        return Err(format!("a delivery timeout of {} ms can't be", options.delivery_timeout_ms));
    }
    options.properties.iter().try_for_each(|(name, value)| check_property(name, value))?;
    try_out(options)
}

fn check_property(name: &str, value: &str) -> Result<(), String> {
    if let Some((_, why)) = REFUSED.iter().find(|(names, _)| names.contains(&name)) {
        return Err(format!("kafka.properties: {name} can't be set: {why}"));
    }
    if let Some((_, range, why)) = BOUNDED.iter().find(|(names, ..)| names.contains(&name))
        && value.parse().is_ok_and(|number| !range.contains(&number))
    {
        let (least, most) = (range.start(), range.end());
        return Err(format!("kafka.properties: {name} is {value}: {least} to {most} can be ({why})"));
    }
    Ok(())
}

/// Says nothing: what it would say is in the error.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(RDKafkaLogLevel::Debug, facility, line);
    }
}

impl ConsumerContext for Silent {}

/// Lets librdkafka look at names, values and files (certificates), by clients that know no broker.
fn try_out(options: &Options) -> Result<(), String> {
    let refused = |error| format!("kafka.properties: {}", words(&error));
    producer(options).create_native_config().map_err(refused)?;
    let mut consumer = membership(options, "check");
    consumer.remove("bootstrap.servers");
    consumer.remove("group.id");
    let tried: Result<BaseConsumer<Silent>, _> = consumer.create_with_context(Silent);
    tried.map(drop).map_err(refused)
}

fn base(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    // What is written is decided by the process's own filter.
    config.set_log_level(RDKafkaLogLevel::Info);
    config.set("client.id", "playhead").set("allow.auto.create.topics", "false");
    // A broker that is back is found within two seconds.
    config.set("reconnect.backoff.max.ms", "2000");
    config.set("bootstrap.servers", options.brokers.join(","));
    config
}

fn with_users(mut config: ClientConfig, options: &Options, without: &[&str]) -> ClientConfig {
    for (name, value) in options.properties.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
        if let Some((ours, _)) = ALIASES.iter().find(|(_, alias)| alias == name) {
            config.remove(ours);
        }
        config.set(name, value);
    }
    config
}

/// Looks at topics and makes them.
pub(super) fn admin(options: &Options) -> ClientConfig {
    with_users(base(options), options, &[CONSUMER_ONLY, PRODUCER_ONLY].concat())
}

/// Each partition has one batch of the edge's under way, and may have the next one waiting: so much for each, and 64 MiB
/// at least. Records are copied into it.
fn queue_kbytes(partitions: u32) -> u32 {
    (partitions.saturating_mul(2 * 1_024)).clamp(64 * 1_024, 2_097_151)
}

pub(super) fn producer(options: &Options) -> ClientConfig {
    let mut config = base(options);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", options.delivery_timeout_ms.to_string())
        .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
        // The edge clocks its batches itself, and they are compressed already.
        .set("linger.ms", "0")
        .set("compression.type", "none")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", queue_kbytes(options.partitions).to_string());
    with_users(config, options, CONSUMER_ONLY)
}

fn consumer(options: &Options, name: &str) -> ClientConfig {
    let mut config = base(options);
    config
        // librdkafka assigns nothing without one, not even by hand.
        .set("group.id", group(options, name))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        // A broker that hangs is given up after this, and asked again.
        .set("socket.timeout.ms", "10000")
        .set("session.timeout.ms", "15000")
        .set("max.poll.interval.ms", "300000");
    config
}

/// The consumer group of readers of this name.
pub(super) fn group(options: &Options, name: &str) -> String {
    format!("{}-{name}", options.group_id)
}

/// A member of a group that reads nothing.
pub(super) fn membership(options: &Options, name: &str) -> ClientConfig {
    let mut config = consumer(options, name);
    if !options.group_instance_id.is_empty() {
        config.set("group.instance.id", &options.group_instance_id);
    }
    with_users(config, options, PRODUCER_ONLY)
}

/// Reads partitions and offsets given by hand. It holds 32 MiB of records over all partitions, and one answer of each
/// broker beside them: 16 MiB, or one record if that is more.
pub(super) fn fetcher(options: &Options, name: &str) -> ClientConfig {
    let mut config = consumer(options, name);
    config
        .set("queued.max.messages.kbytes", (32 * 1_024).to_string())
        .set("fetch.max.bytes", (16 << 20).to_string())
        .set("fetch.message.max.bytes", MESSAGE_BYTES_MAX.to_string())
        // A full queue is looked at again soon: it empties within milliseconds.
        .set("fetch.queue.backoff.ms", "10")
        // How late the end of a quiet partition is noticed; a record is never held back by it.
        .set("fetch.wait.max.ms", "100");
    with_users(config, options, PRODUCER_ONLY)
}

/// Asks, and reads single records: the broker answers with one batch, whatever its size.
pub(super) fn queries(options: &Options, name: &str) -> ClientConfig {
    let mut config = consumer(options, name);
    config.set("queued.min.messages", "1").set("fetch.message.max.bytes", "1").set("fetch.wait.max.ms", "10");
    with_users(config, options, &[CONSUMER_ONLY, PRODUCER_ONLY].concat())
}

#[cfg(test)]
mod tests;
