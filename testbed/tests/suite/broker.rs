//! A real Kafka broker, looked at by Kafka's own tools.
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use testbed::kafka::Broker;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";

fn address(broker: &Broker) -> SocketAddr {
    broker.bootstrap().parse().expect("an address")
}

/// Anything at all, for one byte of a request that asks for nothing.
fn answers(broker: &Broker) -> bool {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect_timeout(&address(broker), Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // ApiVersions (18), version 0, correlation id 7, no client id.
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255]).unwrap();
    stream.read_exact(&mut [0; 4]).is_ok()
}

#[test]
fn what_was_produced_is_there_after_a_kill() {
    let mut broker = Broker::start();
    broker.create_topic("events", 2, &["retention.ms=-1"]);
    broker.expect_tool(PRODUCER, &["--topic", "events"], "one\ntwo\nthree\n");
    let (bootstrap, pid) = (broker.bootstrap(), broker.pid());

    broker.kill();
    assert!(TcpStream::connect(address(&broker)).is_err(), "a killed broker still listens");
    broker.restart();

    assert_eq!(broker.bootstrap(), bootstrap);
    assert_ne!(broker.pid(), pid);
    let ends = broker.expect_tool(OFFSETS, &["--topic", "events"], "");
    let counts = ends.lines().map(|line| line.rsplit(':').next().unwrap().parse::<u32>().unwrap());
    assert_eq!(counts.sum::<u32>(), 3, "{ends}");
    let args = ["--topic", "events", "--from-beginning", "--max-messages", "3", "--timeout-ms", "60000"];
    let consumed = broker.expect_tool(CONSUMER, &args, "");
    let mut records: Vec<&str> = consumed.lines().collect();
    records.sort_unstable();
    assert_eq!(records, ["one", "three", "two"]);
}

#[test]
fn a_paused_broker_takes_connections_and_answers_nothing_until_it_is_resumed() {
    let broker = Broker::start();
    assert!(answers(&broker));
    broker.pause();
    assert!(!answers(&broker));
    broker.resume();
    broker.create_topic("after-the-pause", 1, &[]);
    assert!(answers(&broker));
}

#[test]
fn the_shared_broker_makes_no_topic_by_itself_and_says_when_a_tool_fails() {
    let broker = Broker::shared();
    broker.create_topic("shared-here", 3, &[]);
    let described = broker.expect_tool(TOPICS, &["--describe", "--topic", "shared-here"], "");
    assert!(described.contains("PartitionCount: 3"), "{described}");

    let missing = broker.tool(TOPICS, &["--describe", "--topic", "nobody-made-this"], "");
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stdout).contains("does not exist"), "{missing:?}");
    assert_eq!(Broker::shared().pid(), broker.pid());
}

#[test]
fn two_brokers_are_two_clusters() {
    let (one, other) = (Broker::start(), Broker::shared());
    assert_ne!(one.bootstrap(), other.bootstrap());
    let status = |broker: &Broker| {
        broker.expect_tool("org.apache.kafka.tools.MetadataQuorumCommand", &["describe", "--status"], "")
    };
    assert_ne!(one.cluster_id(), other.cluster_id());
    for broker in [&one, other] {
        assert!(status(broker).contains(&broker.cluster_id()), "{}", status(broker));
    }
}
