//! Membership of a consumer group: which partitions are ours. It reads no records.
//!
//! Promise: a partition is given back to the group in the same poll in which the reader is told of it, so that nothing of
//! it is handed out after another member may have it; partitions that are neither given nor taken stay as they are
//! (cooperative rebalancing). A process that does not call `next` for `max.poll.interval.ms`, or that stands still for
//! `session.timeout.ms`, loses its partitions, and is told so when it goes on. One that has a name in its group
//! (`group.instance.id`) keeps them for so long while it is away.
use super::client::{self, Client, Closing, code_words, lock, words};
use super::{Options, properties, rights, telemetry};
use crate::ReadError;
use futures::StreamExt;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What ended the client is told again and again.
const FATAL_PAUSE: Duration = Duration::from_secs(1);

/// A change of what is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Assigned(Vec<u32>),
    Revoked(Vec<u32>),
    /// All that was ours: nobody called `next` for too long, or the client is dead.
    Lost,
}

/// Hears the group's changes; they happen while the member is polled.
#[derive(Debug, Default)]
pub(super) struct Group {
    client: client::Context,
    changes: Mutex<VecDeque<Change>>,
}

impl Group {
    fn change(&self, change: Change) {
        lock(&self.changes).push_back(change);
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.client.log(level, facility, line);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, member: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = partitions(list);
        let assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let confirmed = if assigned { take(member, list) } else { member.incremental_unassign(list) };
        if let Err(error) = &confirmed {
            tracing::error!(error = words(error), ?partitions, assigned, "the group's change could not be confirmed");
        }
        if !assigned {
            let lost = member.assignment_lost();
            telemetry::rebalance(if lost { "lost" } else { "revoked" });
            tracing::info!(?partitions, lost, "partitions revoked");
            self.change(Change::Revoked(partitions));
        } else if confirmed.is_ok() {
            telemetry::rebalance("assigned");
            tracing::info!(?partitions, "partitions assigned");
            self.change(Change::Assigned(partitions));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            telemetry::commit_error();
            tracing::debug!(
                error = words(&error),
                "the group was not told how far the lake is; the next commit tells it"
            );
        }
    }
}

/// Agrees to have the partitions, and fetches nothing of them.
fn take(member: &BaseConsumer<Group>, list: &mut TopicPartitionList) -> KafkaResult<()> {
    // From the end, where nothing is, until they are paused. Positions never come from the group.
    list.set_all_offsets(Offset::End)?;
    member.incremental_assign(list)?;
    if list.count() > 0
        && let Err(error) = member.pause(list)
    {
        tracing::warn!(error = words(&error), "partitions are not paused: what is fetched of them is dropped");
    }
    Ok(())
}

fn partitions(list: &TopicPartitionList) -> Vec<u32> {
    let mut partitions: Vec<u32> =
        list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
    partitions.sort_unstable();
    partitions
}

/// Notices that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// One member.
pub(super) struct Membership {
    member: Client<StreamConsumer<Group>>,
    options: Arc<Options>,
    name: String,
    /// When it was told last that the client is dead; before that, when it was made.
    fatal_told_at: Mutex<Instant>,
}

impl Membership {
    /// Joins the group of readers named `name`.
    pub(super) fn join(options: Arc<Options>, name: &str, closing: &Closing) -> Result<Self, ReadError> {
        let unavailable = |error: &KafkaError| {
            ReadError::Unavailable(format!(
                "group {} can't be joined: {}",
                properties::group(&options, name),
                words(error)
            ))
        };
        let member = properties::membership(&options, name).create_with_context(Group::default());
        let member: StreamConsumer<Group> = member.map_err(|error| unavailable(&error))?;
        member.subscribe(&[&options.topic]).map_err(|error| unavailable(&error))?;
        let member = Client::new(member, closing);
        Ok(Self { member, options, name: name.to_owned(), fatal_told_at: Mutex::new(Instant::now()) })
    }

    /// The next change that has happened.
    pub(super) fn change(&self) -> Option<Change> {
        lock(&self.member.context().changes).pop_front()
    }

    /// Takes part in the group until something changes (`None`) or is wrong (in words). All that has happened is taken in
    /// before it waits, and of what went wrong only the last is told: a member that was gone for a while, or that looks
    /// seldom because Kafka was down, learns what it has before it reads on, and not one old error at a time.
    pub(super) async fn take_part(&self) -> Option<String> {
        if let Some((code, _)) = self.member.client().fatal_error() {
            // The client is dead: nothing comes any more. Whoever waits here may begin anew at any time.
            let due = *lock(&self.fatal_told_at) + FATAL_PAUSE;
            sleep_until(due).await;
            *lock(&self.fatal_told_at) = Instant::now();
            self.member.context().change(Change::Lost);
            return Some(self.fatal(code));
        }
        let mut events = self.member.stream();
        let mut wrong = None;
        poll_fn(|context| {
            loop {
                // The stream is pending also after it consumed an event (a change, a line for the log), and then wakes
                // who polled it at once.
                let woken = Arc::new(Woken::default());
                let polled = events.poll_next_unpin(&mut Context::from_waker(&Waker::from(woken.clone())));
                if let Poll::Ready(Some(Err(error))) = &polled {
                    wrong = self.trouble(error).or(wrong.take());
                }
                if polled.is_pending() && !woken.0.load(Ordering::Acquire) {
                    break;
                }
            }
            if !lock(&self.member.context().changes).is_empty() {
                return Poll::Ready(None);
            }
            if wrong.is_some() {
                return Poll::Ready(wrong.take());
            }
            match events.poll_next_unpin(context) {
                Poll::Ready(Some(Err(error))) => Poll::Ready(self.trouble(&error)),
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending if lock(&self.member.context().changes).is_empty() => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            }
        })
        .await
    }

    fn trouble(&self, error: &KafkaError) -> Option<String> {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code()?;
        match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                Some(format!("topic {} is not there: {}", self.options.topic, code_words(code)))
            }
            Code::PollExceeded => {
                telemetry::rebalance("lost");
                tracing::warn!(
                    "`next` was not called for max.poll.interval.ms: the group gives our partitions to others"
                );
                self.member.context().change(Change::Lost);
                None
            }
            Code::Fatal | Code::FencedInstanceId => {
                telemetry::rebalance("fenced");
                // Why is told after it.
                self.member.context().change(Change::Lost);
                None
            }
            Code::GroupAuthorizationFailed => Some(rights::on_group(&self.options, &self.name, code)),
            Code::TopicAuthorizationFailed => Some(rights::on_topic(&self.options, "Describe", code)),
            Code::AllBrokersDown | Code::Authentication | Code::SSL | Code::InconsistentGroupProtocol => {
                Some(format!("of the group: {}", code_words(code)))
            }
            _ => {
                tracing::debug!(error = code_words(code), "of the group");
                None
            }
        }
    }

    fn fatal(&self, code: RDKafkaErrorCode) -> String {
        match code {
            RDKafkaErrorCode::FencedInstanceId => format!(
                "another process has joined group {} as {}: give each its own kafka.group_instance_id, and start this one again",
                properties::group(&self.options, &self.name),
                self.options.group_instance_id
            ),
            code => format!("of the group: {}", code_words(code)),
        }
    }

    /// Tells the group, for lag tools, that all below `offset` is done; nobody waits for it.
    pub(super) fn commit(&self, partition: u32, offset: u64) {
        let mut list = TopicPartitionList::with_capacity(1);
        let told = list
            .add_partition_offset(&self.options.topic, partition as i32, Offset::Offset(offset as i64))
            .and_then(|()| self.member.commit(&list, CommitMode::Async));
        if let Err(error) = told {
            telemetry::commit_error();
            tracing::debug!(partition, error = words(&error), "the group was not told how far the lake is");
        }
    }
}
