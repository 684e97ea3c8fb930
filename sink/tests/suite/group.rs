//! A log whose readers are also told what a test orders, and that says how far they came.
use crate::harness::{Harness, eventually};
use async_trait::async_trait;
use event::clock::Micros;
use log::{AppendError, Log, Next, ReadError, Reader, Writer};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Which calls of a reader end only when the test says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Silence {
    #[default]
    None,
    /// `next`.
    Reads,
    /// `release`.
    Releases,
    /// `fingerprint_at`.
    Looks,
    /// All.
    All,
}

/// What becomes of a question about a partition whose leader is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It fails at once.
    Fails,
    /// It ends only when the partition is found again.
    Hangs,
}

/// What a test and the readers share.
#[derive(Default)]
struct State {
    orders: VecDeque<Next>,
    /// Handed out, but its reader has not come back for more.
    in_hand: Option<Next>,
    /// Orders that were taken and dealt with.
    obeyed: usize,
    /// For each partition the offset after the last record that was taken and dealt with.
    taken: BTreeMap<u32, u64>,
    /// For each partition, how often it was sought.
    seeks: BTreeMap<u32, usize>,
    /// Partitions are given by orders alone.
    standby: bool,
    silence: Silence,
    /// Partitions without a leader.
    lost: BTreeMap<u32, Lost>,
    /// So many looks at a record fail.
    looks_to_fail: usize,
}

/// The log. One reader at a time.
pub struct Group {
    log: Arc<dyn Log>,
    state: Arc<Mutex<State>>,
}

impl Group {
    pub fn over(harness: &Harness) -> Arc<Group> {
        Group::of(harness.log.clone())
    }

    pub fn of(log: Arc<dyn Log>) -> Arc<Group> {
        Arc::new(Group { log, state: Arc::default() })
    }

    /// The members get no partition but by order.
    pub fn standby(harness: &Harness) -> Arc<Group> {
        let group = Group::over(harness);
        group.state().standby = true;
        group
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Hands out `next`, and waits until it was dealt with.
    pub async fn order(&self, next: Next) {
        let obeyed = self.state().obeyed;
        self.order_later(next);
        self.obeyed(obeyed + 1).await;
    }

    /// Hands out `next` when the reader asks for something the next time.
    pub fn order_later(&self, next: Next) {
        self.state().orders.push_back(next);
    }

    /// Waits until so many orders were dealt with.
    pub async fn obeyed(&self, orders: usize) {
        eventually("the order is dealt with", async || self.state().obeyed >= orders).await;
    }

    /// Waits until every record of `partition` below `end` was dealt with.
    pub async fn read_up_to(&self, partition: u32, end: u64) {
        let far_enough = async || self.state().taken.get(&partition).is_some_and(|taken| *taken >= end);
        eventually("records are read", far_enough).await;
    }

    /// How often the reader was put somewhere in `partition`.
    pub fn seeks(&self, partition: u32) -> usize {
        self.state().seeks.get(&partition).copied().unwrap_or_default()
    }

    /// From now on these calls hang.
    pub fn silence(&self, silence: Silence) {
        self.state().silence = silence;
    }

    /// From now on no question about this partition is answered; records that were fetched still come.
    pub fn lose(&self, partition: u32, lost: Lost) {
        self.state().lost.insert(partition, lost);
    }

    /// It answers again.
    pub fn find(&self, partition: u32) {
        self.state().lost.remove(&partition);
    }

    /// The next `looks` looks at a record find the log unavailable.
    pub fn fail_looks(&self, looks: usize) {
        self.state().looks_to_fail = looks;
    }
}

struct Member {
    reader: Box<dyn Reader>,
    state: Arc<Mutex<State>>,
}

#[async_trait]
impl Log for Group {
    fn topic(&self) -> &str {
        self.log.topic()
    }
    fn cluster(&self) -> &str {
        self.log.cluster()
    }
    fn is_gapless(&self) -> bool {
        self.log.is_gapless()
    }
    fn writer(&self) -> Arc<dyn Writer> {
        self.log.writer()
    }
    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn Reader>, ReadError> {
        Ok(Box::new(Member { reader: self.log.reader(name).await?, state: self.state.clone() }))
    }
    async fn retain(&self) -> Result<(), ReadError> {
        self.log.retain().await
    }
    async fn close(&self) -> Result<(), AppendError> {
        self.log.close().await
    }
}

impl Member {
    /// Who asks for more has dealt with what came last. Hands out an order, if there is one.
    fn turn(&self) -> Option<Next> {
        let mut state = self.state.lock().unwrap();
        match state.in_hand.take() {
            Some(Next::Record(entry)) => {
                state.taken.insert(entry.partition, entry.offset + 1);
            }
            Some(_) => state.obeyed += 1,
            None => {}
        }
        let order = state.orders.pop_front();
        state.in_hand.clone_from(&order);
        order
    }

    /// Waits while calls of this kind hang.
    async fn answer(&mut self, kind: Silence) {
        let hangs = || {
            let silence = self.state.lock().unwrap().silence;
            silence == Silence::All || silence == kind
        };
        while hangs() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What becomes of a question about a partition.
    async fn answer_for(&mut self, partition: u32, kind: Silence) -> Result<(), ReadError> {
        self.answer(kind).await;
        loop {
            let lost = self.state.lock().unwrap().lost.get(&partition).copied();
            match lost {
                None => return Ok(()),
                Some(Lost::Fails) => return Err(ReadError::Unavailable(format!("no leader of {partition}"))),
                Some(Lost::Hangs) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }
}

#[async_trait]
impl Reader for Member {
    async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            if let Some(order) = self.turn() {
                return Ok(order);
            }
            self.answer(Silence::Reads).await;
            // Looks for orders now and then; `next` loses nothing when it is dropped.
            let Ok(next) = tokio::time::timeout(Duration::from_millis(2), self.reader.next()).await else { continue };
            let mut state = self.state.lock().unwrap();
            match &next {
                Ok(Next::Assigned(_)) if state.standby => continue,
                Ok(record @ Next::Record(_)) => state.in_hand = Some(record.clone()),
                _ => {}
            }
            return next;
        }
    }
    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.answer_for(partition, Silence::All).await?;
        self.reader.seek(partition, offset).await?;
        *self.state.lock().unwrap().seeks.entry(partition).or_default() += 1;
        Ok(())
    }
    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError> {
        self.answer_for(partition, Silence::All).await?;
        self.reader.bounds(partition).await
    }
    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        self.reader.offset_at(partition, time).await
    }
    async fn fingerprint_at(&mut self, partition: u32, offset: u64) -> Result<Option<i64>, ReadError> {
        self.answer_for(partition, Silence::Looks).await?;
        let fails = {
            let mut state = self.state.lock().unwrap();
            let fails = state.looks_to_fail > 0;
            state.looks_to_fail = state.looks_to_fail.saturating_sub(1);
            fails
        };
        if fails {
            return Err(ReadError::Unavailable("no look, by order".to_owned()));
        }
        self.reader.fingerprint_at(partition, offset).await
    }
    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.answer(Silence::Releases).await;
        self.reader.release(partition, offset).await
    }
}
