//! What a broker says about rights (ACLs), in words that name the right and the command that grants it. Pure.
use super::client::code_words;
use super::{Options, properties};
use rdkafka::error::RDKafkaErrorCode;

/// What was asked for is told by the broker with this code when a right is missing.
pub(super) fn is_missing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed)
}

/// The right that is missing on the topic, e.g. `Write`.
pub(super) fn on_topic(options: &Options, right: &str, code: RDKafkaErrorCode) -> String {
    missing(options, right, "topic", &options.topic, code)
}

/// The right to take part in the consumer group of readers with this name.
pub(super) fn on_group(options: &Options, name: &str, code: RDKafkaErrorCode) -> String {
    missing(options, "Read", "group", &properties::group(options, name), code)
}

fn missing(options: &Options, right: &str, kind: &str, name: &str, code: RDKafkaErrorCode) -> String {
    // Who comes by a certificate is called by its subject.
    let user = options.properties.get("sasl.username").map_or("NAME", String::as_str);
    let broker = options.brokers.first().map_or("HOST:PORT", String::as_str);
    format!(
        "the right {right} on {kind} {name} is missing ({}); grant it: kafka-acls.sh --bootstrap-server {broker} --add \
         --allow-principal User:{user} --{kind} {name} --operation {right}",
        code_words(code)
    )
}
