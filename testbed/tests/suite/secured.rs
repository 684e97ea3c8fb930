//! The secured listener, looked at by Kafka's own tools: who gets in, and what they may.
use std::fs;
use std::process::Output;
use testbed::kafka::secured::{MECHANISMS, Secured, password};

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";

/// Produces one line as a user, by Kafka's own client.
fn produce(secured: &Secured, mechanism: &str, password: &str, topic: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let properties = secured.properties(mechanism, "guest");
    let module = if mechanism == "PLAIN" { "plain.PlainLoginModule" } else { "scram.ScramLoginModule" };
    let text = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism={mechanism}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         sasl.jaas.config=org.apache.kafka.common.security.{module} required username=\"guest\" password={password:?};\n",
        properties["ssl.ca.location"],
    );
    let file = dir.path().join("client.properties");
    fs::write(&file, text).unwrap();
    let file = file.to_string_lossy();
    secured.tool(PRODUCER, &["--producer.config", &file, "--topic", topic], "one\n")
}

fn records(secured: &Secured, topic: &str) -> String {
    secured.broker.expect_tool(OFFSETS, &["--topic", topic], "").trim().to_owned()
}

#[test]
fn who_has_the_password_and_the_right_gets_in_by_either_mechanism() {
    let secured = Secured::shared();
    secured.broker.create_topic("granted", 1, &[]);
    let refused = produce(secured, "PLAIN", &password("guest"), "granted");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Authorization"), "{refused:?}");
    assert_eq!(records(secured, "granted"), "granted:0:0");

    secured.grant("--allow-principal User:guest --topic granted --operation Write --operation Describe");
    for mechanism in MECHANISMS {
        produce(secured, mechanism, &password("guest"), "granted");
    }
    assert_eq!(records(secured, "granted"), "granted:0:2");

    let refused = produce(secured, "SCRAM-SHA-512", "wrong", "granted");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("invalid credentials"), "{refused:?}");
    assert_eq!(records(secured, "granted"), "granted:0:2");
}
