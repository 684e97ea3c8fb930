//! The log over TLS and SASL, by users who have some rights and lack others: what is missing is said in words, with the
//! command that mends it.
use crate::harness::{Kafka, append, reader_at, record, soon, texts_from};
use crate::warnings::Warnings;
use log::kafka::{OpenError, Options, open};
use log::{AppendError, Log, Next, ReadError, Reader};
use std::sync::Arc;
use testbed::kafka::secured::{MECHANISMS, Secured};

const SCRAM: &str = "SCRAM-SHA-512";

/// A topic of its own, and who comes to it.
fn options(mechanism: &str, user: &str) -> Options {
    let secured = Secured::shared();
    let properties = secured.properties(mechanism, user);
    Options { brokers: vec![secured.bootstrap()], properties, ..Kafka::options(&secured.broker, 1) }
}

/// The same with a property of one's own.
fn with(options: &Options, name: &str, value: &str) -> Options {
    let mut options = options.clone();
    options.properties.insert(name.to_owned(), value.to_owned());
    options
}

fn make(options: &Options) {
    let settings = ["message.timestamp.type=LogAppendTime"];
    Secured::shared().broker.create_topic(&options.topic, options.partitions, &settings);
}

fn grant(options: &Options, operations: &[&str]) {
    let operations: String = operations.iter().map(|operation| format!(" --operation {operation}")).collect();
    let user = &options.properties["sasl.username"];
    Secured::shared().grant(&format!("--allow-principal User:{user} --topic {}{operations}", options.topic));
}

/// Runs the command that is in the words.
fn mend(words: &str) {
    let command = words.split("kafka-acls.sh ").nth(1).unwrap_or_else(|| panic!("no command in: {words}"));
    let rights = command[command.find("--allow-principal").unwrap()..].split([';', ')']).next().unwrap();
    Secured::shared().grant(rights);
}

/// A machine that stands still may let a handshake run out of time: only what the broker answers is judged.
async fn refusal(options: &Options) -> String {
    soon(async {
        loop {
            match open(options.clone()).await {
                Err(OpenError::Refused(words)) => return words,
                Err(OpenError::Unavailable(words)) => println!("asked again: {words}"),
                Ok(_) => panic!("opened"),
            }
        }
    })
    .await
}

async fn unavailability(options: &Options) -> String {
    match soon(open(options.clone())).await {
        Err(OpenError::Unavailable(words)) => words,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

fn assert_says(words: &str, all: &[&str]) {
    for wanted in all {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
}

/// Why an append is not acknowledged.
async fn not_appended(log: &Arc<dyn Log>) -> String {
    match soon(log.writer().append(0, record("a"))).await {
        Err(AppendError::Full(words) | AppendError::Unknown(words)) => words,
        other => panic!("{other:?}"),
    }
}

/// The first trouble of a reader.
async fn trouble(reader: &mut Box<dyn Reader>) -> String {
    soon(async {
        loop {
            match reader.next().await {
                Err(ReadError::Unavailable(words)) => return words,
                Err(other) => panic!("{other}"),
                Ok(Next::Assigned(_)) => {}
                Ok(other) => panic!("{other:?}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_and_come_over_tls_by_either_mechanism() {
    let scram = options(SCRAM, "guest");
    grant(&scram, &["Create", "Describe", "DescribeConfigs", "Read", "Write"]);
    for mechanism in MECHANISMS {
        let properties = Secured::shared().properties(mechanism, "guest");
        let log = open(Options { properties, ..scram.clone() }).await.unwrap();
        assert_eq!(log.cluster(), Secured::shared().broker.cluster_id());
        append(&log, 0, &[mechanism]).await;
    }
    let log = open(scram).await.unwrap();
    assert_eq!(texts_from(&log, 0, 0).await, MECHANISMS);
    let mut reader = log.reader(None).await.unwrap();
    assert!(reader.fingerprint_at(0, 1).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_in_words() {
    for mechanism in MECHANISMS {
        let words = refusal(&with(&options(mechanism, "guest"), "sasl.password", "wrong")).await;
        assert_says(&words, &["credentials", "sasl.*", "kafka.properties"]);
        assert!(!words.contains("wrong"), "{words}");
    }
    let words = refusal(&with(&options(SCRAM, "guest"), "sasl.username", "nobody")).await;
    assert_says(&words, &["credentials"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mechanism_that_the_broker_does_not_offer_is_refused_with_those_that_it_does() {
    let words = refusal(&with(&options(SCRAM, "guest"), "sasl.mechanism", "SCRAM-SHA-256")).await;
    assert_says(&words, &["SCRAM-SHA-256", "SCRAM-SHA-512"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused_in_words() {
    let another = Secured::shared().another_authority();
    let words = refusal(&with(&options(SCRAM, "guest"), "ssl.ca.location", &another.to_string_lossy())).await;
    assert_says(&words, &["certificate", "ssl.ca.location"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_side_with_tls_and_the_other_without_is_told() {
    let secured = options(SCRAM, "guest");
    let words = unavailability(&with(&secured, "security.protocol", "sasl_plaintext")).await;
    assert_says(&words, &["security.protocol", &secured.brokers[0]]);
    let open_listener = Options { brokers: vec![Secured::shared().broker.bootstrap()], ..secured };
    let words = unavailability(&open_listener).await;
    assert_says(&words, &["SSL", "PLAINTEXT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_are_not_known_and_files_that_are_not_there_are_refused_before_a_broker_is_asked() {
    let options = options(SCRAM, "guest");
    for (name, value) in [
        ("ssl.ca.file", "/etc/ssl/ca.pem"),
        ("ssl.ca.location", "/not/there.pem"),
        ("sasl.mechanism", "GSSAPI"),
        ("security.protocol", "sasl_tls"),
    ] {
        let options = Options { brokers: vec!["127.0.0.1:9".into()], ..with(&options, name, value) };
        let words = log::kafka::check(&options).unwrap_err();
        assert_says(&words, &["kafka.properties", if name == "sasl.mechanism" { value } else { name }]);
        assert_eq!(refusal(&options).await, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_or_make_a_topic_is_told_which_right_is_missing() {
    let options = options(SCRAM, "guest");
    let words = refusal(&options).await;
    assert_says(&words, &["Describe", &options.topic, "User:guest"]);
    mend(&words);
    let words = refusal(&options).await;
    assert_says(&words, &["Create", &options.topic, "User:guest", "kafka-topics.sh --create"]);
    mend(&words);
    open(options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_see_its_settings_a_topic_is_used_with_a_warning() {
    let options = options(SCRAM, "guest");
    make(&options);
    grant(&options, &["Describe", "Read", "Write"]);
    let warnings = Warnings::default();
    // Of this thread alone, and a test's own future runs on no other.
    let guard = tracing::subscriber::set_default(warnings.clone());
    let log = open(options.clone()).await.unwrap();
    drop(guard);
    let said = warnings.said();
    assert!(said.iter().any(|words| words.contains("DescribeConfigs") && words.contains(&options.topic)), "{said:?}");
    append(&log, 0, &["a"]).await;
    assert_eq!(texts_from(&log, 0, 0).await, ["a"]);
}

/// `playhead-audit` may write nowhere, and gets no producer's identity; `playhead-ingest` may, but not here.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_without_the_right_says_so_and_works_once_it_is_granted() {
    let elsewhere = options(SCRAM, "playhead-ingest");
    make(&elsewhere);
    grant(&elsewhere, &["Write"]);
    for user in ["playhead-audit", "playhead-ingest"] {
        let options = options(SCRAM, user);
        make(&options);
        grant(&options, &["Describe", "DescribeConfigs"]);
        let log = open(options.clone()).await.unwrap();
        for _ in 0..3 {
            assert_says(&not_appended(&log).await, &["Write", &options.topic, user]);
        }
        mend(&not_appended(&log).await);
        soon(async { while log.writer().append(0, record("b")).await.is_err() {} }).await;
        soon(log.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_without_the_right_on_the_topic_says_so_and_reads_once_it_is_granted() {
    let options = options(SCRAM, "playhead-sink");
    make(&options);
    grant(&options, &["Describe", "DescribeConfigs", "Write"]);
    let log = open(options.clone()).await.unwrap();
    append(&log, 0, &["a"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    let words = trouble(&mut reader).await;
    assert_says(&words, &["Read", &options.topic, "playhead-sink"]);
    let at = reader.fingerprint_at(0, 0).await.unwrap_err().to_string();
    assert_says(&at, &["Read", &options.topic, "playhead-sink"]);
    mend(&words);
    assert_eq!(texts_from(&log, 0, 0).await, ["a"]);
    let record = soon(async {
        loop {
            if let Ok(next) = reader.next().await {
                return next;
            }
        }
    });
    assert!(matches!(record.await, Next::Record(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_without_the_right_on_the_group_says_so_and_joins_once_it_is_granted() {
    let options = options(SCRAM, "member");
    make(&options);
    grant(&options, &["Describe", "DescribeConfigs", "Read"]);
    let log = open(options.clone()).await.unwrap();
    let mut reader = log.reader(Some("sink")).await.unwrap();
    let words = trouble(&mut reader).await;
    assert_says(&words, &["Read", &format!("group {}-sink", options.group_id), "User:member"]);
    mend(&words);
    let assigned = soon(async {
        loop {
            if let Ok(next) = reader.next().await {
                return next;
            }
        }
    });
    assert!(matches!(assigned.await, Next::Assigned(partitions) if partitions == [0]));
}
