//! A log in memory whose readers share its partitions, as the test says who has which.
use async_trait::async_trait;
use event::clock::Micros;
use log::{AppendError, Log, Next, ReadError, Reader, Writer, memory};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Who has which partitions.
pub struct Group {
    log: Arc<memory::Log>,
    held: Mutex<Vec<BTreeSet<u32>>>,
    /// What is said next of where a partition ends, since it was asked for a while ago.
    outdated: Mutex<VecDeque<Range<u64>>>,
    changes: watch::Sender<()>,
}

impl Group {
    pub fn new(log: Arc<memory::Log>, members: usize) -> Arc<Group> {
        let (held, outdated) = (Mutex::new(vec![BTreeSet::new(); members]), Mutex::default());
        Arc::new(Group { log, held, outdated, changes: watch::Sender::new(()) })
    }

    /// The next one who asks where a partition ends is told this.
    pub fn outdated(&self, bounds: Range<u64>) {
        self.outdated.lock().unwrap().push_back(bounds);
    }

    /// The log as this member has it.
    pub fn member(self: &Arc<Self>, number: usize) -> Arc<dyn Log> {
        Arc::new(Member { group: self.clone(), number })
    }

    /// From now on this member has these, whatever the others have: two may have one for a while, as where one does not
    /// know yet that it has lost it.
    pub fn assign(&self, member: usize, partitions: &[u32]) {
        self.held.lock().unwrap()[member] = partitions.iter().copied().collect();
        self.changes.send_replace(());
    }
}

struct Member {
    group: Arc<Group>,
    number: usize,
}

#[async_trait]
impl Log for Member {
    fn topic(&self) -> &str {
        self.group.log.topic()
    }
    fn cluster(&self) -> &str {
        self.group.log.cluster()
    }
    fn is_shared(&self) -> bool {
        true
    }
    fn writer(&self) -> Arc<dyn Writer> {
        self.group.log.writer()
    }
    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn Reader>, ReadError> {
        let (reader, changes) = (self.group.log.reader(name).await?, self.group.changes.subscribe());
        let (group, number) = (self.group.clone(), self.number);
        let (told, sought) = (BTreeSet::new(), BTreeSet::new());
        Ok(Box::new(Share { reader, group, number, changes, told, sought, has_joined: false }))
    }
    async fn retain(&self) -> Result<(), ReadError> {
        self.group.log.retain().await
    }
    async fn close(&self) -> Result<(), AppendError> {
        Ok(())
    }
}

struct Share {
    reader: Box<dyn Reader>,
    group: Arc<Group>,
    number: usize,
    changes: watch::Receiver<()>,
    told: BTreeSet<u32>,
    sought: BTreeSet<u32>,
    has_joined: bool,
}

impl Share {
    fn change(&mut self) -> Option<Next> {
        let held = self.group.held.lock().unwrap()[self.number].clone();
        let gone: Vec<u32> = self.told.difference(&held).copied().collect();
        let new: Vec<u32> = held.difference(&self.told).copied().collect();
        if !gone.is_empty() {
            self.told.retain(|partition| held.contains(partition));
            self.sought.retain(|partition| held.contains(partition));
            return Some(Next::Revoked(gone));
        }
        self.told = held;
        let has_joined = std::mem::replace(&mut self.has_joined, true);
        (!new.is_empty() || !has_joined).then_some(Next::Assigned(new))
    }
}

#[async_trait]
impl Reader for Share {
    async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            self.changes.borrow_and_update();
            if let Some(change) = self.change() {
                return Ok(change);
            }
            tokio::select! {
                _ = self.changes.changed() => {}
                next = self.reader.next() => match next? {
                    Next::Record(entry) if self.sought.contains(&entry.partition) => return Ok(Next::Record(entry)),
                    Next::CaughtUp { partition, end } if self.sought.contains(&partition) => {
                        return Ok(Next::CaughtUp { partition, end });
                    }
                    // Of all partitions, which the reader below has.
                    _ => {}
                },
            }
        }
    }
    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.reader.seek(partition, offset).await?;
        self.sought.insert(partition);
        Ok(())
    }
    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError> {
        let outdated = self.group.outdated.lock().unwrap().pop_front();
        match outdated {
            Some(bounds) => Ok(bounds),
            None => self.reader.bounds(partition).await,
        }
    }
    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        self.reader.offset_at(partition, time).await
    }
    async fn fingerprint_at(&mut self, partition: u32, offset: u64) -> Result<Option<i64>, ReadError> {
        self.reader.fingerprint_at(partition, offset).await
    }
    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.reader.release(partition, offset).await
    }
}
