//! Reads durable records, a block ahead.
use super::core::{Core, closed};
use super::handle::Handle;
use crate::cursor::{Cursor, Step};
use crate::{Entry, Next, ReadError};
use async_trait::async_trait;
use event::clock::Micros;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a reader holds over all partitions (one record more of each at most), and the least a partition reads at once.
const AHEAD_BYTES: usize = 4 << 20;
const BLOCK_BYTES_MIN: usize = 128 << 10;

struct Block {
    partition: u32,
    offset: u64,
    read: JoinHandle<Result<Vec<Entry>, ReadError>>,
}

pub(super) struct Reader {
    handle: Arc<Handle>,
    name: Option<String>,
    cursor: Cursor,
    changes: watch::Receiver<u64>,
    /// Read, not handed out; from the cursor's position on, or of no use.
    ahead: Vec<VecDeque<Entry>>,
    /// Kept here, so that a `next` that is dropped while it waits loses no work.
    reading: Option<Block>,
}

impl Reader {
    pub(super) fn new(handle: Arc<Handle>, name: Option<&str>) -> Self {
        let partitions = handle.core.count();
        Self {
            name: name.map(str::to_owned),
            cursor: Cursor::new(partitions),
            changes: handle.core.subscribe(),
            ahead: (0..partitions).map(|_| VecDeque::new()).collect(),
            reading: None,
            handle,
        }
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    fn take_ahead(&mut self, partition: u32, offset: u64) -> Option<Entry> {
        let ahead = &mut self.ahead[partition as usize];
        if ahead.front().is_some_and(|entry| entry.offset != offset) {
            ahead.clear();
        }
        ahead.pop_front()
    }

    /// Reads a block that begins with `offset`. Nothing is in it when retention took that meanwhile: the next step
    /// finds the position out of range.
    async fn fetch(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        let wanted = |block: &Block| block.partition == partition && block.offset == offset;
        if !self.reading.as_ref().is_some_and(wanted) {
            let core = self.core().clone();
            let bytes = (AHEAD_BYTES / self.ahead.len()).max(BLOCK_BYTES_MIN);
            let read = tokio::task::spawn_blocking(move || read_block(&core, partition, offset, bytes));
            self.reading = Some(Block { partition, offset, read });
        }
        let Some(block) = &mut self.reading else { return Ok(()) };
        let read = (&mut block.read).await;
        self.reading = None;
        let entries = read.map_err(|error| ReadError::Corrupt(format!("a read of the log panicked: {error}")))??;
        self.ahead[partition as usize] = entries.into();
        Ok(())
    }

    /// Runs a blocking read.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Core) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let core = self.core().clone();
        let done = tokio::task::spawn_blocking(move || read(&core)).await;
        done.map_err(|error| ReadError::Corrupt(format!("a read of the log panicked: {error}")))?
    }
}

fn read_block(core: &Core, partition: u32, offset: u64, bytes: usize) -> Result<Vec<Entry>, ReadError> {
    let end = core.bounds(partition).end;
    let entries = core.with_store(|store| store.read(partition, offset..end, bytes))?;
    if entries.is_empty() && core.bounds(partition).start <= offset {
        return Err(ReadError::Corrupt(format!(
            "partition {partition} has no record at offset {offset} below its end {end}"
        )));
    }
    Ok(entries)
}

/// Binary search over the records of the one segment that may hold `time`.
fn offset_at(core: &Core, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
    let (Range { start: mut low, end: mut high }, end) = {
        let state = core.partition(partition);
        (state.span_at(time), state.bounds().end)
    };
    core.with_store(|store| {
        while low < high {
            let middle = low + (high - low) / 2;
            // Not there: retention took it meanwhile, and all before it.
            if store.timestamp(partition, middle)?.is_none_or(|timestamp| timestamp < time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok((low < end).then_some(low))
    })
}

#[async_trait]
impl crate::Reader for Reader {
    async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            self.changes.borrow_and_update();
            if self.core().queue.is_closed() {
                return Err(closed());
            }
            let core = self.handle.core.clone();
            match self.cursor.step(|partition| core.bounds(partition)) {
                Step::Assign => return Ok(Next::Assigned((0..core.count()).collect())),
                Step::Read { partition, offset } => {
                    if let Some(entry) = self.take_ahead(partition, offset) {
                        self.cursor.advance(partition);
                        return Ok(Next::Record(entry));
                    }
                    self.fetch(partition, offset).await?;
                }
                Step::CaughtUp { partition, end } => return Ok(Next::CaughtUp { partition, end }),
                Step::OutOfRange { partition, offset, start, end } => {
                    return Err(ReadError::OutOfRange { partition, offset, start, end });
                }
                Step::Wait => {
                    if self.changes.changed().await.is_err() {
                        return Err(closed());
                    }
                }
            }
        }
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        let Range { start, end } = self.bounds(partition).await?;
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { partition, offset, start, end });
        }
        self.cursor.seek(partition, offset);
        self.ahead[partition as usize].clear();
        Ok(())
    }

    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError> {
        self.core().check(partition)?;
        Ok(self.core().bounds(partition))
    }

    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        self.core().check(partition)?;
        self.read(move |core| offset_at(core, partition, time)).await
    }

    async fn fingerprint_at(&mut self, partition: u32, offset: u64) -> Result<Option<i64>, ReadError> {
        self.core().check(partition)?;
        let found = self
            .read(move |core| {
                let end = core.bounds(partition).end;
                core.with_store(|store| store.read(partition, offset..end.min(offset + 1), 1))
            })
            .await?;
        Ok(found.first().filter(|entry| entry.offset == offset).map(|entry| entry.record.fingerprint()))
    }

    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        let Some(name) = &self.name else { return Err(crate::nameless_release()) };
        self.core().check(partition)?;
        let Range { start, end } = self.core().bounds(partition);
        if offset > end {
            return Err(ReadError::OutOfRange { partition, offset, start, end });
        }
        let mut releases = super::lock(&self.core().releases);
        if let Some(release) = releases.get_mut(name).and_then(|offsets| offsets.get_mut(partition as usize)) {
            *release = offset.max(*release);
        }
        Ok(())
    }
}
