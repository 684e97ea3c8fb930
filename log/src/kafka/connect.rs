//! Connecting: is the cluster there, is the topic, is it as it must be.
//!
//! ```text
//! a broker answers? ─▶ topic there? ─no─▶ make it ─▶ all partitions led, and taken up? ─▶ settings ─▶ judged
//! ```
use super::client::{Client, Closing, Context, code_words, words};
use super::topic::{self, Found};
use super::{OpenError, Options, properties, rights};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a broker may take to answer, and a new topic to get its leaders.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// One try within it.
const TRY_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// What to do when the topic is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Make,
    Refuse,
}

/// Gives the cluster's id.
pub(super) async fn connect(options: Arc<Options>, absent: Absent) -> Result<String, OpenError> {
    let looking = options.clone();
    let (mut connection, mut found) = blocking(move || {
        properties::check(&looking).map_err(OpenError::Refused)?;
        let connection = Connection::new(&looking)?;
        let found = connection.look(|_| true)?;
        Ok((connection, found))
    })
    .await?;
    let admin = Admin::new(&options)?;
    if found.is_none() {
        if absent == Absent::Refuse {
            return Err(OpenError::Refused(format!(
                "topic {0} is not there: `playhead ingest` or `playhead sink` makes it, or name another by kafka.topic",
                options.topic
            )));
        }
        admin.make(&options).await?;
        (connection, found) = blocking(move || {
            let found = connection.look(|topic| topic.is_some_and(is_led))?;
            connection.until_taken_up();
            Ok((connection, found))
        })
        .await?;
    }
    let Some(mut found) = found else {
        return Err(OpenError::Unavailable(format!(
            "topic {} was made, but the brokers don't show it yet",
            options.topic
        )));
    };
    found.settings = admin.describe(&options).await?;
    for warning in topic::judge(&options, &found).map_err(OpenError::Refused)? {
        tracing::warn!("{warning}");
    }
    let cluster = blocking(move || connection.cluster_id()).await?;
    tracing::info!(cluster, topic = options.topic, partitions = found.partitions, "Kafka answers");
    Ok(cluster)
}

/// librdkafka waits for answers in the calling thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(OpenError::Unavailable(format!("connecting was interrupted: {error}"))),
    }
}

fn refused(error: &rdkafka::error::KafkaError) -> OpenError {
    OpenError::Refused(format!("Kafka's client can't be made: {}", words(error)))
}

fn is_led(topic: &MetadataTopic) -> bool {
    !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
}

/// A client for looking.
struct Connection {
    consumer: Client<BaseConsumer<Context>>,
    options: Arc<Options>,
    brokers: String,
}

impl Connection {
    fn new(options: &Arc<Options>) -> Result<Self, OpenError> {
        let consumer = properties::admin(options).create_with_context(Context::default());
        let consumer = Client::new(consumer.map_err(|error| refused(&error))?, &Closing::default());
        Ok(Self { consumer, options: options.clone(), brokers: options.brokers.join(",") })
    }

    /// The topic, once `enough` of it is seen or the time is over; `None`: it is not there.
    fn look(&self, enough: impl Fn(Option<&MetadataTopic>) -> bool) -> Result<Option<Found>, OpenError> {
        let since = Instant::now();
        loop {
            let error = match self.consumer.fetch_metadata(Some(&self.options.topic), TRY_LIMIT) {
                Ok(metadata) => {
                    let shown = metadata.topics().iter().find(|topic| topic.name() == self.options.topic);
                    let there = self.there(shown)?;
                    if enough(there) || since.elapsed() >= CONNECT_LIMIT {
                        return Ok(there.map(|topic| found(topic, metadata.brokers().len())));
                    }
                    None
                }
                Err(error) => Some(words(&error)),
            };
            // Errors of connections are told when the client is polled.
            let _ = self.consumer.poll(PAUSE);
            self.denied()?;
            if let Some(error) = error.filter(|_| since.elapsed() >= CONNECT_LIMIT) {
                let reason = self.consumer.context().trouble().map_or(error, |(_, reason)| reason);
                let hint = if reason.contains("Disconnected") && reason.contains("SSL_HANDSHAKE") {
                    "; a PLAINTEXT listener closes a connection that begins with TLS: look at security.protocol of \
                     kafka.properties"
                } else if reason.contains("Disconnected") {
                    "; a broker that wants TLS or SASL there closes connections like this: look at security.protocol of \
                     kafka.properties"
                } else {
                    ""
                };
                return Err(OpenError::Unavailable(format!("{}: {reason}{hint}", self.brokers)));
            }
        }
    }

    /// Brokers show a new partition's leader a moment before that takes it up, and answers. Whoever needs one that does
    /// not in time will say so.
    fn until_taken_up(&self) {
        let since = Instant::now();
        for partition in 0..self.options.partitions {
            while let Err(error) = self.consumer.fetch_watermarks(&self.options.topic, partition as i32, TRY_LIMIT) {
                if since.elapsed() >= CONNECT_LIMIT || error.rdkafka_error_code().is_some_and(rights::is_missing) {
                    return;
                }
                let _ = self.consumer.poll(PAUSE);
            }
        }
    }

    /// The topic, if it is there and we may see it.
    fn there<'a>(&self, shown: Option<&'a MetadataTopic>) -> Result<Option<&'a MetadataTopic>, OpenError> {
        let Some(topic) = shown else { return Ok(None) };
        match topic.error().map(RDKafkaErrorCode::from) {
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(Some(topic)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) if rights::is_missing(code) => {
                Err(OpenError::Refused(rights::on_topic(&self.options, "Describe", code)))
            }
            Some(code) => Err(OpenError::Refused(format!("topic {}: {}", self.options.topic, code_words(code)))),
        }
    }

    /// An error that trying again won't help.
    fn denied(&self) -> Result<(), OpenError> {
        match self.consumer.context().trouble() {
            Some((RDKafkaErrorCode::Authentication, reason)) => Err(OpenError::Refused(format!(
                "Kafka refuses our credentials: {reason}; look at sasl.* and ssl.* of kafka.properties"
            ))),
            Some((RDKafkaErrorCode::SSL, reason)) if reason.contains("certificate") => Err(OpenError::Refused(
                format!("a certificate is refused: {reason}; look at ssl.* of kafka.properties"),
            )),
            _ => Ok(()),
        }
    }

    fn cluster_id(&self) -> Result<String, OpenError> {
        let id = self.consumer.client().fetch_cluster_id(CONNECT_LIMIT);
        id.ok_or_else(|| OpenError::Unavailable(format!("{}: the cluster's id is not known", self.brokers)))
    }
}

fn found(topic: &MetadataTopic, brokers: usize) -> Found {
    let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    let partitions = topic.partitions().len() as u32;
    Found { partitions, replicas, brokers, settings: BTreeMap::new() }
}

/// A client for making topics and reading their settings.
struct Admin(Client<AdminClient<DefaultClientContext>>);

impl Admin {
    fn new(options: &Options) -> Result<Self, OpenError> {
        let client = properties::admin(options).create().map_err(|error| refused(&error))?;
        Ok(Self(Client::new(client, &Closing::default())))
    }

    fn limits() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(CONNECT_LIMIT)).operation_timeout(Some(CONNECT_LIMIT))
    }

    async fn make(&self, options: &Options) -> Result<(), OpenError> {
        let settings = topic::made_with(options);
        let replication = options.replication_factor.map_or(-1, i32::from);
        let partitions = options.partitions as i32;
        let mut new = NewTopic::new(&options.topic, partitions, TopicReplication::Fixed(replication));
        for (name, value) in &settings {
            new = new.set(name, value);
        }
        let made = self.0.create_topics([&new], &Self::limits()).await;
        let code = match made {
            Err(error) => return Err(OpenError::Unavailable(format!("topic {}: {}", options.topic, words(&error)))),
            Ok(results) => results.into_iter().find_map(Result::err).map(|(_, code)| code),
        };
        match code {
            None => {
                tracing::info!(topic = options.topic, partitions, ?settings, "topic made");
                Ok(())
            }
            // Another process was quicker.
            Some(RDKafkaErrorCode::TopicAlreadyExists) => Ok(()),
            Some(code) if passes(code) => {
                Err(OpenError::Unavailable(format!("topic {} can't be made now: {}", options.topic, code_words(code))))
            }
            Some(code) => Err(OpenError::Refused(format!(
                "topic {} is not there and could not be made: {}; or make it: kafka-topics.sh --create --topic {0} \
                 --partitions {partitions} {}",
                options.topic,
                if rights::is_missing(code) { rights::on_topic(options, "Create", code) } else { code_words(code) },
                settings.iter().map(|(name, value)| format!("--config {name}={value}")).collect::<Vec<_>>().join(" ")
            ))),
        }
    }

    /// The topic's settings; none of them when we may not look.
    async fn describe(&self, options: &Options) -> Result<BTreeMap<String, String>, OpenError> {
        let topic = [ResourceSpecifier::Topic(&options.topic)];
        let described = self.0.describe_configs(&topic, &Self::limits()).await;
        let unreadable = |words: String| {
            OpenError::Unavailable(format!("settings of topic {} can't be read: {words}", options.topic))
        };
        let mut settings = BTreeMap::new();
        for resource in described.map_err(|error| unreadable(words(&error)))? {
            match resource {
                Ok(resource) => {
                    settings.extend(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
                }
                Err(code) if rights::is_missing(code) => {}
                Err(code) => return Err(unreadable(code_words(code))),
            }
        }
        Ok(settings)
    }
}

fn passes(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::RequestTimedOut | Code::OperationTimedOut | Code::NotController | Code::BrokerNotAvailable)
}
