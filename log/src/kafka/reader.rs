//! The trait's reader: what is ours, what was fetched, what is wrong, in this order.
use super::fetcher::{Fetched, Fetcher};
use super::membership::{Change, Membership};
use super::places::{Asked, Places, Verdict};
use super::queries::Queries;
use super::{Shared, telemetry};
use crate::{Entry, Next, ReadError};
use async_trait::async_trait;
use event::clock::Micros;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Between two errors: nobody is to be kept busy by what does not pass.
const ERROR_PAUSE: Duration = Duration::from_millis(200);
/// A batch that is broken each time it is fetched is broken where it is stored.
const BROKEN_MAX: u32 = 3;
/// Groups of readers without a name: librdkafka wants one, nobody joins it.
const BYSTANDER: &str = "bystander";

type Look = JoinHandle<Vec<(Asked, Result<Range<u64>, ReadError>)>>;

pub(super) struct Reader {
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
    /// `None`: a bystander, who has all partitions.
    membership: Option<Membership>,
    held: BTreeSet<u32>,
    announced: bool,
    fetcher: Fetcher,
    queries: Queries,
    places: Places,
    /// Kept here, so that a `next` that is dropped while it waits loses no work.
    look: Option<Look>,
    errors: VecDeque<ReadError>,
    error_after: Instant,
}

/// What a round of waiting brought.
enum Came {
    Closed,
    Group(Option<String>),
    Looked(Vec<(Asked, Result<Range<u64>, ReadError>)>),
    Fetched(Fetched),
    Time,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, name: Option<&str>) -> Result<Self, ReadError> {
        let closed = shared.closed.subscribe();
        let (options, group, closing) = (shared.options.clone(), name.unwrap_or(BYSTANDER), shared.closing.clone());
        let fetcher = Fetcher::new(options.clone(), group, &closing)?;
        let membership = name.map(|name| Membership::join(options.clone(), name, &closing)).transpose()?;
        let queries = Queries::new(options, group, &closing);
        Ok(Self {
            shared,
            closed,
            membership,
            held: BTreeSet::new(),
            announced: false,
            fetcher,
            queries,
            places: Places::default(),
            look: None,
            errors: VecDeque::new(),
            error_after: Instant::now(),
        })
    }

    fn known(&self, partition: u32) -> Result<(), ReadError> {
        if partition < self.shared.options.partitions { Ok(()) } else { Err(crate::unknown_partition(partition)) }
    }

    // ---- What is ours ----

    fn next_change(&mut self) -> Option<Next> {
        if self.membership.is_none() {
            return self.all_are_ours();
        }
        loop {
            match self.membership.as_ref()?.change()? {
                Change::Assigned(partitions) => {
                    self.held.extend(&partitions);
                    // A member that gets none is told so once: it has joined.
                    if !std::mem::replace(&mut self.announced, true) || !partitions.is_empty() {
                        return Some(Next::Assigned(partitions));
                    }
                }
                Change::Revoked(mut partitions) => {
                    partitions.retain(|partition| self.held.contains(partition));
                    if let Some(revoked) = self.revoke(partitions) {
                        return Some(revoked);
                    }
                }
                Change::Lost => {
                    let all = self.held.iter().copied().collect();
                    if let Some(revoked) = self.revoke(all) {
                        return Some(revoked);
                    }
                }
            }
        }
    }

    fn revoke(&mut self, partitions: Vec<u32>) -> Option<Next> {
        for partition in &partitions {
            self.held.remove(partition);
            self.fetcher.stop(*partition);
            self.places.remove(*partition);
            forget(&mut self.errors, *partition);
        }
        (!partitions.is_empty()).then_some(Next::Revoked(partitions))
    }

    fn all_are_ours(&mut self) -> Option<Next> {
        if std::mem::replace(&mut self.announced, true) {
            return None;
        }
        let all: Vec<u32> = (0..self.shared.options.partitions).collect();
        self.held.extend(&all);
        Some(Next::Assigned(all))
    }

    // ---- What is wrong ----

    fn next_error(&mut self, now: Instant) -> Option<ReadError> {
        if now < self.error_after {
            return None;
        }
        let error = self.errors.pop_front()?;
        self.error_after = now + ERROR_PAUSE;
        telemetry::read_error(match error {
            ReadError::OutOfRange { .. } => "out_of_range",
            ReadError::Unavailable(_) => "unavailable",
            ReadError::Corrupt(_) => "corrupt",
        });
        Some(error)
    }

    /// One at a time of this kind: the next one would say the same.
    fn trouble(&mut self, words: String) {
        if !self.errors.iter().any(|error| matches!(error, ReadError::Unavailable(_))) {
            self.errors.push_back(ReadError::Unavailable(words));
        }
    }

    fn doubt(&mut self, words: Option<String>, broken: bool) {
        let times = self.places.doubt_all(broken, Instant::now());
        if times < BROKEN_MAX {
            return words.into_iter().for_each(|words| self.trouble(words));
        }
        if !self.errors.iter().any(|error| matches!(error, ReadError::Corrupt(_))) {
            let words = words.unwrap_or_default();
            self.errors.push_back(ReadError::Corrupt(format!("{words} (fetched {times} times)")));
        }
    }

    // ---- Looking at bounds ----

    fn look_at(&self) -> Option<Instant> {
        if self.look.is_some() { None } else { self.places.look_at() }
    }

    fn begin_look(&mut self, now: Instant) {
        let asked = self.places.to_ask(now);
        let queries = self.queries.clone();
        self.look = Some(tokio::task::spawn_blocking(move || {
            let mut answers = Vec::new();
            for asked in asked {
                let answer = queries.bounds_now(asked.partition);
                // A broker that does not answer one may not answer the next: they are due at the next look.
                let unanswered = answer.is_err();
                answers.push((asked, answer));
                if unanswered {
                    break;
                }
            }
            answers
        }));
    }

    fn looked(&mut self, answers: Vec<(Asked, Result<Range<u64>, ReadError>)>) {
        let now = Instant::now();
        for (asked, answer) in answers {
            let partition = asked.partition;
            let bounds = match answer {
                Ok(bounds) => bounds,
                Err(error) => {
                    self.places.unanswered(asked, now);
                    match error {
                        ReadError::Unavailable(words) => self.trouble(words),
                        error => self.errors.push_back(error),
                    }
                    continue;
                }
            };
            match self.places.verify(asked, &bounds, now) {
                Verdict::Leave => {}
                Verdict::OutOfRange { offset } => {
                    self.fetcher.stop(partition);
                    forget(&mut self.errors, partition);
                    let Range { start, end } = bounds;
                    self.errors.push_back(ReadError::OutOfRange { partition, offset, start, end });
                }
                Verdict::Fetch { .. } if self.places.is_in_vain(partition) => self.renew_fetcher(now),
                Verdict::Fetch { offset } => {
                    telemetry::refetch();
                    if let Err(error) = self.fetcher.start(partition, offset) {
                        self.places.doubt_all(false, now);
                        self.trouble(error.to_string());
                    }
                }
            }
        }
    }

    /// The brokers have what a fetcher does not bring, and it meets no error: another client takes its place.
    fn renew_fetcher(&mut self, now: Instant) {
        telemetry::fetcher();
        tracing::warn!(
            topic = self.shared.options.topic,
            "nothing is fetched of what the brokers have: by another client now"
        );
        match self.fetcher.renewed(&self.shared.closing) {
            Ok(fetcher) => self.fetcher = fetcher,
            Err(error) => return self.trouble(error.to_string()),
        }
        for (partition, offset) in self.places.begin_anew(now) {
            if let Err(error) = self.fetcher.start(partition, offset) {
                self.places.doubt_all(false, now);
                self.trouble(error.to_string());
            }
        }
    }

    // ---- Waiting ----

    async fn wait(&mut self) -> Came {
        let error_at = (!self.errors.is_empty()).then_some(self.error_after);
        let wake = [self.look_at(), error_at].into_iter().flatten().min();
        let (membership, look) = (&self.membership, &mut self.look);
        tokio::select! {
            // The group before records: what was revoked is not handed out.
            biased;
            _ = self.closed.wait_for(|closed| *closed) => Came::Closed,
            trouble = async { membership.as_ref()?.take_part().await }, if membership.is_some() => Came::Group(trouble),
            answers = async { look.as_mut()?.await.ok() }, if look.is_some() => Came::Looked(answers.unwrap_or_default()),
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Came::Time,
            fetched = self.fetcher.next() => Came::Fetched(fetched),
        }
    }

    fn fetched(&mut self, fetched: Fetched) -> Option<Next> {
        match fetched {
            Fetched::Entry(entry) => self.record(entry),
            Fetched::End(partition) => {
                let position =
                    if self.places.wants_position(partition) { self.fetcher.position(partition) } else { None };
                let end = self.places.end(partition, position, Instant::now())?;
                Some(Next::CaughtUp { partition, end })
            }
            Fetched::Doubt { words, broken } => {
                self.doubt(words, broken);
                None
            }
            Fetched::Trouble(words) => {
                self.trouble(words);
                None
            }
            Fetched::Nothing => None,
        }
    }

    fn record(&mut self, entry: Entry) -> Option<Next> {
        if !self.held.contains(&entry.partition) || !self.places.record(entry.partition, entry.offset, Instant::now()) {
            return None;
        }
        Some(Next::Record(entry))
    }
}

/// A partition that is sought anew, or given back, is not wrong any more.
fn forget(errors: &mut VecDeque<ReadError>, of: u32) {
    errors.retain(|error| !matches!(error, ReadError::OutOfRange { partition, .. } if *partition == of));
}

#[async_trait]
impl crate::Reader for Reader {
    async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            if *self.closed.borrow() {
                return Err(ReadError::Unavailable("log is closed".into()));
            }
            if let Some(next) = self.next_change() {
                return Ok(next);
            }
            let now = Instant::now();
            if let Some(error) = self.next_error(now) {
                return Err(error);
            }
            if self.look_at().is_some_and(|at| at <= now) {
                self.begin_look(now);
            }
            match self.wait().await {
                Came::Group(Some(words)) => self.trouble(words),
                Came::Looked(answers) => {
                    self.look = None;
                    self.looked(answers);
                }
                Came::Fetched(fetched) => {
                    if let Some(next) = self.fetched(fetched) {
                        return Ok(next);
                    }
                }
                Came::Closed | Came::Group(None) | Came::Time => {}
            }
        }
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.known(partition)?;
        let Range { start, end } = self.queries.bounds(partition).await?;
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { partition, offset, start, end });
        }
        self.fetcher.start(partition, offset)?;
        self.places.seek(partition, offset, end, Instant::now());
        forget(&mut self.errors, partition);
        Ok(())
    }

    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError> {
        self.known(partition)?;
        let bounds = self.queries.bounds(partition).await?;
        self.places.saw_end(partition, bounds.end, Instant::now());
        Ok(bounds)
    }

    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        self.known(partition)?;
        self.queries.offset_at(partition, time).await
    }

    async fn fingerprint_at(&mut self, partition: u32, offset: u64) -> Result<Option<i64>, ReadError> {
        self.known(partition)?;
        let record = self.queries.record_at(partition, offset).await?;
        Ok(record.map(|record| record.fingerprint()))
    }

    /// Advisory: the group is told for lag tools, when there is somebody to tell.
    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.known(partition)?;
        let Some(membership) = &self.membership else { return Err(crate::nameless_release()) };
        if offset > self.places.end_known(partition) {
            match self.queries.bounds(partition).await {
                Ok(Range { start, end }) if offset > end => {
                    return Err(ReadError::OutOfRange { partition, offset, start, end });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(partition, offset, %error, "the group is not told how far the lake is");
                    return Ok(());
                }
            }
        }
        if self.held.contains(&partition) {
            membership.commit(partition, offset);
        }
        Ok(())
    }
}
