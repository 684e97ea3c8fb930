//! Reads a log as a bystander: bounds, and batches of one partition's records.
use super::Bounds;
use log::{Entry, Log, Next, ReadError, Reader};
use std::time::Duration;

/// Payload bytes after which a read returns what it has: a few records of the largest size.
const BATCH_BYTES: usize = 4 << 20;
/// A log that has a record and does not hand it out within this is taken for hung.
pub(super) const RECORD_TIMEOUT: Duration = Duration::from_secs(20);

/// Bounds of all partitions.
pub async fn bounds(log: &dyn Log) -> Result<Bounds, ReadError> {
    let mut reader = log.reader(None).await?;
    let mut bounds = Vec::new();
    for partition in 0..log.writer().partitions() {
        bounds.push(reader.bounds(partition).await?);
    }
    Ok(bounds)
}

/// Records from `offset` on, at least one while there is one, about [`BATCH_BYTES`] of them.
pub async fn read(log: &dyn Log, partition: u32, offset: u64) -> Result<Vec<Entry>, ReadError> {
    read_on(log, &mut None, partition, offset).await
}

/// The same with a reader that is kept for the next read, which goes on where this one ended: making one costs a few
/// connections in Kafka.
pub async fn read_on(
    log: &dyn Log,
    kept: &mut Option<Cursor>,
    partition: u32,
    offset: u64,
) -> Result<Vec<Entry>, ReadError> {
    let mut cursor = match kept.take() {
        Some(cursor) if cursor.partition == partition && cursor.next == offset => cursor,
        _ => match Cursor::at(log, partition, offset).await? {
            Some(cursor) => cursor,
            None => return Ok(Vec::new()),
        },
    };
    let (entries, more) = cursor.batch().await?;
    *kept = more.then_some(cursor);
    Ok(entries)
}

/// A reader within one partition.
pub struct Cursor {
    reader: Box<dyn Reader>,
    partition: u32,
    next: u64,
    /// The log's end when the cursor was made: it reads no further.
    end: u64,
}

impl Cursor {
    /// `None`: the log ends there.
    async fn at(log: &dyn Log, partition: u32, offset: u64) -> Result<Option<Cursor>, ReadError> {
        let mut reader = log.reader(None).await?;
        let end = reader.bounds(partition).await?.end;
        if offset == end {
            return Ok(None);
        }
        reader.seek(partition, offset).await?;
        Ok(Some(Cursor { reader, partition, next: offset, end }))
    }

    /// The next records, and whether there are more of them.
    async fn batch(&mut self) -> Result<(Vec<Entry>, bool), ReadError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES && self.next < self.end {
            match self.step().await? {
                Next::Record(entry) if entry.partition == self.partition => {
                    bytes += entry.record.bytes();
                    self.next = entry.offset + 1;
                    entries.push(entry);
                }
                // The last offsets may be taken by no record.
                Next::CaughtUp { partition, .. } if partition == self.partition => return Ok((entries, false)),
                Next::Record(_) | Next::CaughtUp { .. } | Next::Assigned(_) | Next::Revoked(_) => {}
            }
        }
        Ok((entries, self.next < self.end))
    }

    async fn step(&mut self) -> Result<Next, ReadError> {
        tokio::time::timeout(RECORD_TIMEOUT, self.reader.next()).await.unwrap_or_else(|_| {
            Err(ReadError::Unavailable(format!(
                "partition {}: nothing came at offset {} within {} s, and the log goes to {}",
                self.partition,
                self.next,
                RECORD_TIMEOUT.as_secs(),
                self.end
            )))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::record::Record;
    use log::memory;
    use std::sync::Arc;

    /// Seven records a batch.
    const RECORD_BYTES: usize = 600_000;

    async fn log_of(records: usize) -> Arc<memory::Log> {
        let log = memory::Log::new("events", 2, Arc::new(crate::clock::SystemClock));
        for _ in 0..records {
            let record = Record { payload: vec![b' '; RECORD_BYTES].into(), ..Record::default() };
            log.writer().append(1, record).await.unwrap();
        }
        log
    }

    #[tokio::test]
    async fn a_partition_is_read_from_any_offset_to_its_end_each_record_once() {
        let log = log_of(20).await;
        let (mut kept, mut next, mut batches) = (None, 3, 0);
        loop {
            let entries = read_on(log.as_ref(), &mut kept, 1, next).await.unwrap();
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                assert_eq!((entry.partition, entry.offset), (1, next));
                next += 1;
            }
            batches += 1;
            assert_eq!(kept.is_some(), next < 20, "the reader is kept while there is more");
        }
        assert_eq!((next, batches), (20, 3));
    }

    #[tokio::test]
    async fn a_reader_that_was_kept_is_not_used_for_another_place() {
        let log = log_of(20).await;
        let mut kept = None;
        read_on(log.as_ref(), &mut kept, 1, 0).await.unwrap();
        assert_eq!(read_on(log.as_ref(), &mut kept, 1, 2).await.unwrap()[0].offset, 2);
        assert!(read_on(log.as_ref(), &mut kept, 0, 0).await.unwrap().is_empty());
    }
}
