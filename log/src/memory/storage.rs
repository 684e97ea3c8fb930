//! What a log in memory holds, and what an order does to it. No waiting here: callers lock, change, look again.
use super::Options;
use crate::retention::{Expired, Held, Rule};
use crate::{AppendError, Entry, ReadError, Record};
use event::clock::Micros;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

/// What a record costs beyond its own bytes, so that a budget bounds many small records too.
const OVERHEAD_BYTES: u64 = 64;

/// What was ordered for one append.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Obey,
    LoseReply,
    Delay(Duration),
}

/// What becomes of an append.
#[derive(Debug, Clone)]
enum Fate {
    /// The log hangs; the record waits before it is written.
    Held,
    Written {
        partition: u32,
        offset: u64,
    },
    Failed(AppendError),
}

/// Orders that wait for their append or read, by how many come before it.
#[derive(Default)]
pub(super) struct Orders {
    pub refuse: BTreeMap<u64, AppendError>,
    pub refuse_all: Option<AppendError>,
    pub replies: BTreeMap<u64, Order>,
    pub reads: BTreeMap<u64, ReadError>,
    pub appends_held: bool,
    pub sync_held: bool,
}

#[derive(Default)]
pub(super) struct Partition {
    start: u64,
    durable: u64,
    entries: VecDeque<Entry>,
    /// Of the newest record ever written: timestamps never go below it.
    timestamp: Micros,
    index: u32,
}

impl Partition {
    pub(super) fn bounds(&self) -> Range<u64> {
        self.start..self.durable
    }

    fn written(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    pub(super) fn offset_at(&self, time: Micros) -> Option<u64> {
        let offset = self.start + self.entries.partition_point(|entry| entry.timestamp < time) as u64;
        (offset < self.durable).then_some(offset)
    }

    fn drop_below(&mut self, start: u64) {
        while self.start < start && self.entries.pop_front().is_some() {
            self.start += 1;
        }
    }

    fn cut(&mut self, end: u64) {
        self.entries.truncate(end.saturating_sub(self.start) as usize);
        self.durable = self.durable.min(self.written());
    }
}

fn bytes(record: &Record) -> u64 {
    record.bytes() as u64 + OVERHEAD_BYTES
}

pub(super) struct Storage {
    pub partitions: Vec<Partition>,
    releases: BTreeMap<String, Vec<u64>>,
    rule: Rule,
    pub orders: Orders,
    appends: u64,
    reads: u64,
    held: VecDeque<(u64, u32, Record, Micros)>,
    fates: BTreeMap<u64, Fate>,
    pub under_way: u64,
    pub closed: bool,
}

impl Storage {
    pub(super) fn new(options: &Options) -> Self {
        let partitions = (0..options.partitions).map(|index| Partition { index, ..Partition::default() }).collect();
        let mut storage = Self {
            partitions,
            releases: BTreeMap::new(),
            rule: Rule { retention_ms: options.retention_ms, bytes_max: options.bytes_max },
            orders: Orders::default(),
            appends: 0,
            reads: 0,
            held: VecDeque::new(),
            fates: BTreeMap::new(),
            under_way: 0,
            closed: false,
        };
        options.readers.iter().for_each(|name| storage.register(name));
        storage
    }

    /// Takes an append: refuses it, holds it, or writes it. Its ticket asks for the outcome.
    pub(super) fn append(&mut self, partition: u32, record: Record, now: Micros) -> Result<(u64, Order), AppendError> {
        if self.closed {
            return Err(AppendError::Stopped("log is closed".into()));
        }
        if self.partitions.get(partition as usize).is_none() {
            return Err(crate::no_such_partition(partition, self.partitions.len() as u32));
        }
        let ticket = self.appends;
        self.appends += 1;
        let refused = self.orders.refuse.remove(&ticket);
        if let Some(error) = refused.or_else(|| self.orders.refuse_all.clone()) {
            return Err(error);
        }
        if self.used() + bytes(&record) > self.rule.bytes_max {
            return Err(crate::over_budget(self.used(), self.rule.bytes_max));
        }
        let order = self.orders.replies.remove(&ticket).unwrap_or(Order::Obey);
        if self.orders.appends_held {
            self.held.push_back((ticket, partition, record, now));
            self.fates.insert(ticket, Fate::Held);
        } else {
            self.write(ticket, partition, record, now);
        }
        self.under_way += 1;
        Ok((ticket, order))
    }

    fn write(&mut self, ticket: u64, partition: u32, record: Record, now: Micros) {
        let sync_held = self.orders.sync_held;
        let place = &mut self.partitions[partition as usize];
        let offset = place.written();
        place.timestamp = place.timestamp.max(now);
        place.entries.push_back(Entry { partition, offset, timestamp: place.timestamp, record });
        if !sync_held {
            place.durable = place.written();
        }
        self.fates.insert(ticket, Fate::Written { partition, offset });
    }

    /// The outcome of an append, once it has one; asked until then.
    pub(super) fn outcome(&mut self, ticket: u64) -> Option<Result<u64, AppendError>> {
        let outcome = match self.fates.get(&ticket)? {
            Fate::Held => return None,
            Fate::Written { partition, offset } if self.partitions[*partition as usize].durable <= *offset => {
                return None;
            }
            Fate::Written { offset, .. } => Ok(*offset),
            Fate::Failed(error) => Err(error.clone()),
        };
        self.fates.remove(&ticket);
        Some(outcome)
    }

    pub(super) fn write_held(&mut self) {
        self.orders.appends_held = false;
        while let Some((ticket, partition, record, now)) = self.held.pop_front() {
            self.write(ticket, partition, record, now);
        }
    }

    pub(super) fn sync(&mut self) {
        self.partitions.iter_mut().for_each(|partition| partition.durable = partition.written());
    }

    pub(super) fn close(&mut self) {
        self.write_held();
        self.sync();
        self.closed = true;
    }

    /// Cuts a partition off at `end`; appends whose records go with it have an unknown outcome.
    pub(super) fn cut(&mut self, partition: u32, end: u64) {
        self.partitions[partition as usize].cut(end);
        for fate in self.fates.values_mut() {
            if matches!(fate, Fate::Written { partition: of, offset } if *of == partition && *offset >= end) {
                *fate = Fate::Failed(AppendError::Unknown("record was cut off, by order".into()));
            }
        }
        for releases in self.releases.values_mut() {
            releases[partition as usize] = releases[partition as usize].min(end);
        }
    }

    pub(super) fn power_loss(&mut self) {
        for partition in 0..self.partitions.len() as u32 {
            self.cut(partition, self.partitions[partition as usize].durable);
        }
    }

    pub(super) fn wipe(&mut self) {
        for partition in 0..self.partitions.len() as u32 {
            self.cut(partition, 0);
            self.partitions[partition as usize] = Partition { index: partition, ..Partition::default() };
        }
        self.releases.values_mut().for_each(|releases| releases.fill(0));
    }

    pub(super) fn drop_below(&mut self, partition: u32, start: u64) {
        self.partitions[partition as usize].drop_below(start);
    }

    pub(super) fn next_append(&self) -> u64 {
        self.appends
    }

    pub(super) fn next_read(&self) -> u64 {
        self.reads
    }

    pub(super) fn read_fault(&mut self) -> Option<ReadError> {
        let read = self.reads;
        self.reads += 1;
        self.orders.reads.remove(&read)
    }

    pub(super) fn partition(&self, partition: u32) -> Result<&Partition, ReadError> {
        self.partitions.get(partition as usize).ok_or_else(|| crate::unknown_partition(partition))
    }

    pub(super) fn entry(&self, partition: u32, offset: u64) -> Result<Entry, ReadError> {
        let place = self.partition(partition)?;
        let entry = offset.checked_sub(place.start).and_then(|index| place.entries.get(index as usize));
        entry.cloned().ok_or_else(|| ReadError::Corrupt(format!("partition {partition} has no offset {offset}")))
    }

    pub(super) fn register(&mut self, name: &str) {
        let partitions = self.partitions.len();
        self.releases.entry(name.to_owned()).or_insert_with(|| vec![0; partitions]);
    }

    pub(super) fn released(&self, name: &str, partition: u32) -> Option<u64> {
        self.releases.get(name)?.get(partition as usize).copied()
    }

    pub(super) fn release(&mut self, name: &str, partition: u32, offset: u64) -> Result<(), ReadError> {
        let Range { start, end } = self.partition(partition)?.bounds();
        if offset > end {
            return Err(ReadError::OutOfRange { partition, offset, start, end });
        }
        if let Some(release) = self.releases.get_mut(name).and_then(|all| all.get_mut(partition as usize)) {
            *release = offset.max(*release);
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        let written = self.partitions.iter().flat_map(|partition| &partition.entries).map(|entry| bytes(&entry.record));
        written.sum::<u64>() + self.held.iter().map(|(_, _, record, _)| bytes(record)).sum::<u64>()
    }

    pub(super) fn retain(&mut self, now: Micros) {
        let used = self.used();
        let shown = self.partitions.iter().map(|partition| {
            let releases = self.releases.values().map(|all| all[partition.index as usize]);
            let floor = releases.min().unwrap_or(partition.durable).min(partition.durable);
            partition.entries.iter().take_while(move |entry| entry.offset < floor).map(|entry| {
                let (offset, timestamp) = (entry.offset, entry.timestamp);
                Ok::<_, Infallible>(Held { offset, timestamp, bytes: bytes(&entry.record) })
            })
        });
        let expired: Vec<_> = Expired::new(self.rule, now, used, shown).flatten().collect();
        for (partition, held) in expired {
            self.drop_below(partition, held.offset + 1);
        }
    }
}
