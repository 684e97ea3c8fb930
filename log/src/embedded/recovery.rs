//! Opening: own the directory, make the database or check it and open it, find each partition's bounds.
//!
//! Refuses in words what would make an acknowledged record disappear, or give its offset to another.
use super::core::{Core, Found, Releases};
use super::directory::Directory;
use super::partition::{Partition, Segment, Tail};
use super::store::Store;
use super::{OpenError, Options, folders, journal, layout};
use event::clock::{Clock, Micros};
use std::sync::Arc;

/// Opens the log; blocks. With `existing` it makes none.
pub(super) fn open(options: &Options, clock: Arc<dyn Clock>, existing: bool) -> Result<Arc<Core>, OpenError> {
    if options.partitions == 0 {
        return Err(OpenError::Incompatible("a log needs at least one partition".into()));
    }
    let mut directory = Directory::own(&options.dir, &options.topic, options.partitions, existing)?;
    let broken = |reason: String| OpenError::io(&options.dir, reason);
    let store = if directory.is_made() {
        open_store(&directory, options.partitions)
    } else {
        make_store(&mut directory, options.partitions)
    };
    let store = store.map_err(broken)?;
    let partitions = (0..options.partitions)
        .map(|partition| find_partition(&store, partition))
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    let releases = find_releases(&store, options, &partitions).map_err(broken)?;
    Core::start(options, clock, directory, Found { store, partitions, releases })
}

/// Looks at all that fjall would throw away in silence, before fjall can.
fn open_store(directory: &Directory, partitions: u32) -> Result<Store, String> {
    let database = directory.database();
    folders::check(&database, partitions)?;
    journal::check(&database).map_err(|error| error.to_string())?;
    let store = Store::open(&database, partitions)?;
    directory.sync().map_err(|error| error.to_string())?;
    Ok(store)
}

fn make_store(directory: &mut Directory, partitions: u32) -> Result<Store, String> {
    let failed = |error: std::io::Error| error.to_string();
    directory.begin().map_err(failed)?;
    let store = Store::make(&directory.database(), partitions)?;
    directory.finish().map_err(failed)?;
    Ok(store)
}

fn find_partition(store: &Store, partition: u32) -> Result<Partition, String> {
    let words = |error: fjall::Error| format!("partition {partition}: {error}");
    let corrupt = |what: &str| format!("partition {partition}: {what} can't be understood");
    let (start, dropped_newest) = match store.meta(&layout::start_key(partition)).map_err(words)? {
        Some(value) => layout::decode_start(&value).ok_or_else(|| corrupt("its start"))?,
        None => (0, Micros::MIN),
    };
    let mut closed: Vec<Segment> = Vec::new();
    for (key, value) in store.meta_prefix(&layout::segment_prefix(partition)).map_err(words)? {
        let segment = layout::decode_segment(&key, &value).ok_or_else(|| corrupt("a segment"))?;
        if closed.last().is_some_and(|last| last.end != segment.start) {
            return Err(format!("partition {partition}: there is a gap before the segment at {}", segment.start));
        }
        closed.push(segment);
    }
    let tail_start = closed.last().map_or(start, |last| last.end.max(start));
    let newest = closed.last().map_or(dropped_newest, |last| last.newest.max(dropped_newest));
    let end = store.last_offset(partition).map_err(words)?.map_or(0, |last| last + 1);
    if end < tail_start && closed.last().is_some_and(|last| last.end > start) {
        return Err(format!(
            "partition {partition}: records up to offset {tail_start} were durable, but those from {end} on are missing"
        ));
    }
    let tail = find_tail(store, partition, tail_start, end.max(tail_start), newest)?;
    Ok(Partition::new(start, closed, tail))
}

/// Counts the records after the last closed segment: a segment's worth at most.
fn find_tail(store: &Store, partition: u32, start: u64, end: u64, newest: Micros) -> Result<Tail, String> {
    let mut tail = Tail::new(start, newest);
    let mut expected = start;
    for value in store.values(partition, start..end) {
        let (offset, value) = value.map_err(|error| error.to_string())?;
        let timestamp = layout::timestamp_of_value(&value)
            .map_err(|reason| format!("partition {partition}, offset {offset}: {reason}"))?;
        if offset != expected {
            return Err(format!("partition {partition}: offsets {expected} to {offset} are missing"));
        }
        expected += 1;
        // A segment that this closes was closed in the same commit as its last record, so it is not counted twice.
        let (_, _, closed) = tail.append(timestamp, layout::stored_bytes_of_value(&value));
        if closed.is_some() {
            return Err(format!("partition {partition}: the segment that ends at {expected} is missing"));
        }
    }
    if expected != end {
        return Err(format!("partition {partition}: offsets {expected} to {end} are missing"));
    }
    Ok(tail)
}

fn find_releases(store: &Store, options: &Options, partitions: &[Partition]) -> Result<Releases, String> {
    let mut releases = Releases::new();
    for reader in &options.readers {
        let mut offsets = Vec::with_capacity(partitions.len());
        for (index, partition) in partitions.iter().enumerate() {
            let key = layout::release_key(index as u32, reader);
            let offset = match store.meta(&key).map_err(|error| error.to_string())? {
                Some(value) => layout::decode_release(&value)
                    .ok_or_else(|| format!("partition {index}: the release of {reader:?} can't be understood"))?,
                None => 0,
            };
            let end = partition.bounds().end;
            if offset > end {
                return Err(format!(
                    "partition {index}: {reader:?} has read and released records below {offset}, but the log ends at {end}"
                ));
            }
            offsets.push(offset);
        }
        releases.insert(reader.clone(), offsets);
    }
    Ok(releases)
}
