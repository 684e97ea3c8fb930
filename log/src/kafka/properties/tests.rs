use super::*;

fn options(properties: &[(&str, &str)]) -> Options {
    let properties = properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Options { properties, ..crate::kafka::options() }
}

#[test]
fn every_name_that_breaks_a_promise_is_refused_in_words() {
    for name in REFUSED.iter().flat_map(|(names, _)| *names) {
        let words = check(&options(&[(name, "1")])).unwrap_err();
        assert!(words.contains(name) && words.contains("can't be set"), "{words}");
    }
}

#[test]
fn numbers_that_would_take_all_memory_or_the_order_are_refused_with_their_bounds() {
    for (name, range, why) in
        BOUNDED.iter().flat_map(|(names, range, why)| names.iter().map(move |name| (name, range, why)))
    {
        let refused = [range.start().checked_sub(1), Some(range.end() + 1)];
        for value in refused.into_iter().flatten().map(|value| value.to_string()) {
            let words = check(&options(&[(name, &value)])).unwrap_err();
            assert!(words.contains(name) && words.contains(&value) && words.contains(why), "{words}");
        }
    }
    for allowed in
        [("max.in.flight", "1"), ("queue.buffering.max.kbytes", "2048"), ("receive.message.max.bytes", "52429312")]
    {
        check(&options(&[allowed])).unwrap();
    }
}

#[test]
fn names_and_values_that_librdkafka_does_not_know_are_refused_in_its_words() {
    let words = check(&options(&[("security.protocoll", "ssl")])).unwrap_err();
    assert!(words.contains("security.protocoll"), "{words}");
    let words = check(&options(&[("security.protocol", "secret")])).unwrap_err();
    assert!(words.contains("security.protocol"), "{words}");
    let words = check(&options(&[("security.protocol", "ssl"), ("ssl.ca.location", "/not/there")])).unwrap_err();
    assert!(words.contains("ssl.ca.location"), "{words}");
    let words = check(&options(&[("session.timeout.ms", "600000")])).unwrap_err();
    assert!(words.contains("max.poll.interval.ms"), "{words}");
}

#[test]
fn tls_sasl_and_timeouts_pass_through_to_those_they_concern() {
    let properties = [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "playhead"),
        ("sasl.password", "secret"),
        ("session.timeout.ms", "6000"),
        ("queue.buffering.max.ms", "3"),
    ];
    let options = options(&properties);
    check(&options).unwrap();
    for config in [producer(&options), membership(&options, "sink"), queries(&options, "sink"), admin(&options)] {
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
    }
    assert_eq!(membership(&options, "sink").get("session.timeout.ms"), Some("6000"));
    assert_eq!(producer(&options).get("session.timeout.ms"), None, "not a producer's");
    assert_eq!(producer(&options).get("linger.ms"), None, "the user gave it by its other name");
    assert_eq!(fetcher(&options, "sink").get("queue.buffering.max.ms"), None, "not a consumer's");
    assert!(!format!("{options:?}").contains("secret"), "{options:?}");
}

#[test]
fn what_can_not_be_is_said_before_a_broker_is_asked() {
    type Change = fn(&mut Options);
    let changes: [(Change, &str); 8] = [
        (|options| options.brokers.clear(), "kafka.brokers"),
        (|options| options.brokers = vec!["a:1,b:2".into()], "kafka.brokers"),
        (|options| options.topic = "an event".into(), "kafka.topic"),
        (|options| options.partitions = 0, "kafka.partitions"),
        (|options| options.replication_factor = Some(0), "kafka.replication_factor"),
        (|options| options.group_id.clear(), "kafka.group_id"),
        (|options| options.group_instance_id = "two words".into(), "kafka.group_instance_id"),
        (|options| options.delivery_timeout_ms = 0, "delivery timeout"),
    ];
    for (change, named) in changes {
        let mut options = options(&[]);
        change(&mut options);
        let words = check(&options).unwrap_err();
        assert!(words.contains(named), "{words}");
    }
    check(&options(&[])).unwrap();
}

#[test]
fn a_broker_is_a_host_and_a_port() {
    for broker in ["kafka-1:9092", "10.0.0.7:1", "[::1]:65535", "my_broker.internal.:9092"] {
        check(&Options { brokers: vec![broker.into()], ..options(&[]) }).unwrap();
    }
    for broker in
        ["kafka-1", "kafka-1:", "kafka-1:0", "kafka-1:99999", "kafka://kafka-1:9092", ":9092", "::1:9092", "a b:1"]
    {
        let words = check(&Options { brokers: vec![broker.into()], ..options(&[]) }).unwrap_err();
        assert!(words.contains(broker) && words.contains("HOST:PORT"), "{words}");
    }
}
