//! The database: fjall, set up as a log.
//!
//! Records only ever come at the end of a keyspace and go from its start. So tables are written once and dropped
//! whole ("FIFO" compaction, without a limit of its own): nothing is rewritten, and keys and values stay together.
//! The limits below bound memory; `docs/decisions/0001-embedded-log.md` has the arithmetic.
use super::{folders, layout};
use crate::{Entry, ReadError};
use event::clock::Micros;
use fjall::compaction::Fifo;
use fjall::config::{BlockSizePolicy, FilterPolicy, PinningPolicy};
use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, UserKey, UserValue,
};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

const CACHE_BYTES: u64 = 8 << 20;
/// fjall allows no less; sealed journals beyond it make it write out whichever keyspace holds the oldest one.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;
/// What all partitions gather in memory before a table is written, and a partition's share of it.
const MEMTABLES_BYTES: u64 = 24 << 20;
const MEMTABLE_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(8 << 20);
const META_MEMTABLE_BYTES: u64 = 1 << 20;
const BLOCK_BYTES: u32 = 64 << 10;
const FILES_OPEN_MAX: usize = 128;
const WORKERS: usize = 2;
/// With this many memtables of one keyspace waiting to be written, appends wait. fjall itself sleeps at four, for
/// ever if its worker has died: we look before, and see that.
const SEALED_MEMTABLES_MAX: usize = 2;
const FLUSH_POLL: Duration = Duration::from_millis(2);
/// A worker that panicked leaves no other trace.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

/// The database of one log. Records come from one thread; every commit is synced before the next one is written.
pub(super) struct Store {
    database: Database,
    meta: Keyspace,
    partitions: Vec<Keyspace>,
}

/// Writes of one commit.
pub(super) struct Commit<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
}

impl Commit<'_> {
    pub(super) fn record(&mut self, partition: u32, offset: u64, value: Vec<u8>) {
        self.batch.insert(&self.store.partitions[partition as usize], layout::offset_key(offset), value);
    }

    pub(super) fn meta(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.batch.insert(&self.store.meta, key, value);
    }

    pub(super) fn remove_meta(&mut self, key: Vec<u8>) {
        self.batch.remove(&self.store.meta, key);
    }

    /// Writes all or nothing to the journal, fsyncs it, and only then shows it to reads.
    pub(super) fn sync(self) -> fjall::Result<()> {
        self.batch.durability(Some(PersistMode::SyncAll)).commit()
    }
}

impl Store {
    /// Makes the database, which must not be there. It is not durable yet.
    pub(super) fn make(path: &Path, partitions: u32) -> Result<Self, String> {
        let store = Self::keyspaces(Self::database(path)?, partitions)?;
        store.check_folders()?;
        Ok(store)
    }

    /// Opens the database, which must be whole: see [`folders::check`]. What an earlier process wrote but did not fsync
    /// is durable when this returns: nothing is read before.
    pub(super) fn open(path: &Path, partitions: u32) -> Result<Self, String> {
        let database = Self::database(path)?;
        let mut names = (0..partitions).map(folders::partition_name).chain([folders::META.to_owned()]);
        if let Some(name) = names.find(|name| !database.keyspace_exists(name)) {
            return Err(format!("keyspace {name} is gone from the database: put the directory back from a copy"));
        }
        let store = Self::keyspaces(database, partitions)?;
        store.check_folders()?;
        let memtable_bytes = memtable_bytes(partitions);
        for keyspace in &store.partitions {
            if keyspace.tree.active_memtable().size() > memtable_bytes {
                keyspace.rotate_memtable().map_err(|error| error.to_string())?;
            }
        }
        Ok(store)
    }

    fn database(path: &Path) -> Result<Database, String> {
        let builder = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .max_cached_files(Some(FILES_OPEN_MAX))
            .worker_threads(WORKERS);
        let database = builder.open().map_err(|error| error.to_string())?;
        database.persist(PersistMode::SyncAll).map_err(|error| error.to_string())?;
        Ok(database)
    }

    /// Those that are there, or new ones; `meta` is the first, then come the partitions in order.
    fn keyspaces(database: Database, partitions: u32) -> Result<Self, String> {
        let failed = |error: fjall::Error| error.to_string();
        let meta_options = || KeyspaceCreateOptions::default().max_memtable_size(META_MEMTABLE_BYTES);
        let meta = database.keyspace(folders::META, meta_options).map_err(failed)?;
        let memtable_bytes = memtable_bytes(partitions);
        let partitions = (0..partitions)
            .map(|partition| database.keyspace(&folders::partition_name(partition), || record_options(memtable_bytes)))
            .collect::<fjall::Result<Vec<_>>>()
            .map_err(failed)?;
        Ok(Self { database, meta, partitions })
    }

    /// Each keyspace is in the folder where the next opening looks for it.
    fn check_folders(&self) -> Result<(), String> {
        let keyspaces = [&self.meta].into_iter().chain(&self.partitions);
        for (keyspace, expected) in keyspaces.zip(folders::FIRST..) {
            let found = keyspace.path().file_name().and_then(|name| name.to_str()?.parse().ok());
            if found != Some(expected) {
                let path = keyspace.path().display();
                return Err(format!("a keyspace is in {path}, not in the folder {expected}: a broken invariant"));
            }
        }
        Ok(())
    }

    pub(super) fn commit(&self) -> Commit<'_> {
        Commit { store: self, batch: self.database.batch() }
    }

    /// Waits until fjall keeps up with writing tables; an error says why it never will.
    pub(super) fn wait_for_room(&self) -> Result<(), String> {
        let behind = || {
            let mut keyspaces = self.partitions.iter().chain([&self.meta]);
            keyspaces.any(|keyspace| keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX)
        };
        let began = Instant::now();
        while behind() {
            // Writes nothing; fails when a worker has died of an error.
            self.database.persist(PersistMode::Buffer).map_err(|error| error.to_string())?;
            if began.elapsed() > FLUSH_PATIENCE {
                return Err(format!("no table was written for {FLUSH_PATIENCE:?}"));
            }
            std::thread::park_timeout(FLUSH_POLL);
        }
        Ok(())
    }

    pub(super) fn meta(&self, key: &[u8]) -> fjall::Result<Option<UserValue>> {
        self.meta.get(key)
    }

    pub(super) fn meta_prefix(&self, prefix: &[u8]) -> fjall::Result<Vec<(UserKey, UserValue)>> {
        self.meta.prefix(prefix).map(fjall::Guard::into_inner).collect()
    }

    /// The last offset that has a record.
    pub(super) fn last_offset(&self, partition: u32) -> fjall::Result<Option<u64>> {
        let Some(last) = self.partitions[partition as usize].last_key_value() else { return Ok(None) };
        Ok(layout::offset_of_key(&last.key()?))
    }

    /// Records of `partition` in order, with their offsets; those of `offsets` that are there.
    pub(super) fn values(
        &self,
        partition: u32,
        offsets: Range<u64>,
    ) -> impl Iterator<Item = Result<(u64, UserValue), ReadError>> + 'static {
        let keys = layout::offset_key(offsets.start)..layout::offset_key(offsets.end.max(offsets.start));
        self.partitions[partition as usize].range(keys).map(move |item| {
            let (key, value) = item.into_inner().map_err(|error| read_error(partition, &error))?;
            let offset = layout::offset_of_key(&key)
                .ok_or_else(|| ReadError::Corrupt(format!("partition {partition} has a key that is no offset")))?;
            Ok((offset, value))
        })
    }

    /// Records from the start of `offsets`, without gaps, until they have `bytes_max`; one at least.
    /// Empty: the first one is not there.
    pub(super) fn read(&self, partition: u32, offsets: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for (expected, value) in (offsets.start..).zip(self.values(partition, offsets)) {
            let (offset, value) = value?;
            if offset != expected {
                break;
            }
            let entry = layout::decode_record(partition, offset, &value)
                .map_err(|reason| bad_record(partition, offset, &reason))?;
            bytes += value.len();
            entries.push(entry);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(entries)
    }

    /// The timestamp of one record; `None`: it is not there.
    pub(super) fn timestamp(&self, partition: u32, offset: u64) -> Result<Option<Micros>, ReadError> {
        let Some(value) = self.values(partition, offset..offset + 1).next() else { return Ok(None) };
        let (_, value) = value?;
        layout::timestamp_of_value(&value).map(Some).map_err(|reason| bad_record(partition, offset, &reason))
    }

    /// Lets go of the tables whose records are all below `start`; `false`: there are none. The newest table stays, since
    /// it says how far the journals have been written out: without it the next opening would replay all of them.
    pub(super) fn drop_tables_below(&self, partition: u32, start: u64) -> fjall::Result<bool> {
        let tree = &self.partitions[partition as usize].tree;
        let version = tree.current_version();
        let ranges = version.iter_tables().map(|table| &table.metadata.key_range);
        let offsets =
            ranges.filter_map(|range| Some((layout::offset_of_key(range.min())?, layout::offset_of_key(range.max())?)));
        let offsets: Vec<_> = offsets.collect();
        let below = offsets.iter().map(|(first, _)| *first).max().unwrap_or(0).min(start);
        let some = offsets.iter().any(|(_, last)| *last < below);
        if some {
            tree.drop_range(..layout::offset_key(below))?;
        }
        Ok(some)
    }

    /// Files of dropped tables are deleted when no version of a tree refers to them. Rotating any memtable makes fjall
    /// forget the versions of all keyspaces that are older than the last write: so there must be one first.
    pub(super) fn delete_dropped_files(&self) -> fjall::Result<()> {
        let mut commit = self.commit();
        commit.meta(layout::SWEEP_KEY.to_vec(), Vec::new());
        commit.sync()?;
        self.meta.rotate_memtable().map(|_| ())
    }

    /// Bytes of tables and journals (those are made 64 MiB long at once, and filled later).
    pub(super) fn disk_bytes(&self) -> fjall::Result<u64> {
        self.database.disk_space()
    }
}

fn memtable_bytes(partitions: u32) -> u64 {
    (MEMTABLES_BYTES / u64::from(partitions.max(1))).clamp(*MEMTABLE_BYTES.start(), *MEMTABLE_BYTES.end())
}

/// Blocks are few and large and looked up by range only: no filters, and indexes only in the bounded cache.
fn record_options(memtable_bytes: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .compaction_strategy(std::sync::Arc::new(Fifo::new(u64::MAX, None)))
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .filter_policy(FilterPolicy::disabled())
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .index_block_pinning_policy(PinningPolicy::all(false))
}

fn bad_record(partition: u32, offset: u64, reason: &str) -> ReadError {
    ReadError::Corrupt(format!("partition {partition}, offset {offset}: {reason}"))
}

/// An operating system's error passes, perhaps; bytes that aren't what was written don't.
pub(super) fn read_error(partition: u32, error: &fjall::Error) -> ReadError {
    let io = match error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => Some(io),
        _ => None,
    };
    match io {
        Some(io) if io.kind() != std::io::ErrorKind::UnexpectedEof => {
            ReadError::Unavailable(format!("partition {partition}: {io}"))
        }
        _ => ReadError::Corrupt(format!("partition {partition}: {error}")),
    }
}
