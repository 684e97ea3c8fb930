//! Metrics of the log in Kafka. What an append takes is the edge's to measure, how far a reader is the sink's.
use metrics::{counter, describe_counter};

const APPEND_ERRORS: &str = "playhead_kafka_append_errors_total";
const PRODUCERS: &str = "playhead_kafka_producers_total";
const READ_ERRORS: &str = "playhead_kafka_read_errors_total";
const REBALANCES: &str = "playhead_kafka_rebalances_total";
const COMMIT_ERRORS: &str = "playhead_kafka_commit_errors_total";
const FETCHERS: &str = "playhead_kafka_fetchers_renewed_total";
const REFETCHES: &str = "playhead_kafka_refetches_total";

/// Says what each metric is, and begins at 0 what counts trouble: a counter that appears with its first value has not
/// grown to Prometheus.
pub(super) fn describe() {
    for kind in ["full", "unknown", "too_large"] {
        counter!(APPEND_ERRORS, "kind" => kind).increment(0);
    }
    for kind in ["out_of_range", "unavailable", "corrupt"] {
        counter!(READ_ERRORS, "kind" => kind).increment(0);
    }
    for name in [COMMIT_ERRORS, FETCHERS, REFETCHES] {
        counter!(name).increment(0);
    }
    describe_counter!(APPEND_ERRORS, "Records that Kafka did not acknowledge, by kind: full, unknown, too_large");
    describe_counter!(PRODUCERS, "Producers made: one, and one more after each fatal error");
    describe_counter!(READ_ERRORS, "Errors that readers were told of, by kind: out_of_range, unavailable, corrupt");
    describe_counter!(
        REBALANCES,
        "Changes of the partitions of this process's readers, by kind: assigned, revoked, lost"
    );
    describe_counter!(COMMIT_ERRORS, "Commits to the consumer group that failed; only lag tools miss them");
    describe_counter!(FETCHERS, "Fetching clients replaced because they brought nothing of what the brokers had");
    describe_counter!(REFETCHES, "Partitions fetched anew from where the reader stands, because of doubt");
}

pub(super) fn append_error(kind: &'static str) {
    counter!(APPEND_ERRORS, "kind" => kind).increment(1);
}

pub(super) fn producer() {
    counter!(PRODUCERS).increment(1);
}

pub(super) fn read_error(kind: &'static str) {
    counter!(READ_ERRORS, "kind" => kind).increment(1);
}

pub(super) fn rebalance(kind: &'static str) {
    counter!(REBALANCES, "kind" => kind).increment(1);
}

pub(super) fn commit_error() {
    counter!(COMMIT_ERRORS).increment(1);
}

pub(super) fn fetcher() {
    counter!(FETCHERS).increment(1);
}

pub(super) fn refetch() {
    counter!(REFETCHES).increment(1);
}
