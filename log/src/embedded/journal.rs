//! Looks at fjall's journals before fjall does.
//!
//! fjall ends a replay at the first entry that it can't read and cuts the file off there. That is right for the batch
//! that a power loss tore; the same bytes broken anywhere else would take all acknowledged records behind them, in
//! silence, and give their offsets to others. And a torn batch whose lengths are whole but whose content is not is an
//! error to fjall, for ever. We can tell them apart, because each batch is fsynced before the next one is written: only
//! the last batch of the last journal can be torn. So: a broken batch with nothing whole behind it is cut off, with a
//! warning; any other broken one stops the opening.
//!
//! What was read must be on the disk before anybody acts on it. After a failed fsync the kernel calls the lost pages
//! clean: they can be read until they are evicted, and syncing them again does nothing. So the content of the last
//! journal is copied to a new file, which is fsynced and takes its place.
//!
//! ```text
//! batch:  start | item* | end            (fjall 3 journal, little-endian)
//! start:  1 | items u32 | seqno u64
//! item:   2 | value type u8 | compression u8 = 0 | keyspace u64 | key length u16 | length u32 | length u32 | key | value
//! clear:  4 | keyspace u64
//! end:    3 | xxh3 of the items u64 | "FJL" 3
//! ```
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tracing::warn;
use xxhash_rust::xxh3::Xxh3;

const TRAILER: &[u8; 4] = b"FJL\x03";
const READ_BYTES: usize = 256 << 10;
/// Not a journal's name to fjall.
const COPY: &str = "journal.new";
/// A batch takes one number and 47 bytes at least, so a journal of 64 MiB has 1.4 million; flushes take a few more.
const SEQNOS_A_JOURNAL_MAX: u64 = 1 << 24;

/// Why a log must not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// Acknowledged bytes are broken.
    #[error(
        "journal {path} is broken at byte {at}, and {what}: acknowledged records would be lost. Put the directory back from a copy, or move it away and decide what to do about the gap"
    )]
    Broken { path: String, at: u64, what: &'static str },
    /// Disk trouble.
    #[error("journal {path} can't be read: {error}")]
    Io { path: String, error: io::Error },
}

/// Checks all journals under `database`, cuts off what a power loss tore, and makes durable what is left.
pub(super) fn check(database: &Path) -> Result<(), JournalError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| JournalError::Io { path, error }
    };
    let journals = journals(database).map_err(failed(database))?;
    let mut last_seqno = None;
    let mut contents = Vec::with_capacity(journals.len());
    for (index, path) in journals.iter().enumerate() {
        let content = scan(path).map_err(failed(path))?;
        last_seqno = content.last_seqno.or(last_seqno);
        let at = content.whole_bytes;
        contents.push((path, at));
        if !content.broken {
            continue;
        }
        let broken = |what| JournalError::Broken { path: path.display().to_string(), at, what };
        if index + 1 < journals.len() {
            return Err(broken("it is not the last journal"));
        }
        if whole_batch_after(path, at, last_seqno).map_err(failed(path))? {
            return Err(broken("whole batches follow"));
        }
        warn!(path = %path.display(), at, "the last batch of the journal is torn (it was never acknowledged): cut off");
    }
    // The batch whose fsync failed is the last one; a journal that was begun after it is empty.
    for (path, bytes) in contents.into_iter().rev() {
        write_anew(path, bytes).map_err(failed(path))?;
        if bytes > 0 {
            break;
        }
    }
    File::open(database).and_then(|folder| folder.sync_all()).map_err(failed(database))
}

/// Paths in the order in which they were written.
pub(super) fn journals(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for file in std::fs::read_dir(database)? {
        let path = file?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        numbered.extend(number.map(|number| (number, path)));
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// Replaces the journal by a durable copy of its first `bytes`; the folder is not synced yet. Read and written here:
/// `io::copy` would have the kernel share the blocks of the old file, which are the ones that may be wrong.
fn write_anew(path: &Path, bytes: u64) -> io::Result<()> {
    let unfinished = path.with_file_name(COPY);
    let mut content = File::open(path)?;
    let mut copy = File::create(&unfinished)?;
    let mut chunk = vec![0; READ_BYTES];
    let mut left = bytes;
    while left > 0 {
        let part = &mut chunk[..left.min(READ_BYTES as u64) as usize];
        content.read_exact(part)?;
        copy.write_all(part)?;
        left -= part.len() as u64;
    }
    copy.sync_all()?;
    std::fs::rename(unfinished, path)
}

/// What a journal holds.
struct Content {
    /// Bytes of the whole batches at its beginning.
    whole_bytes: u64,
    /// Sequence number of the last of them.
    last_seqno: Option<u64>,
    /// Something other than the zeros of a preallocated file follows.
    broken: bool,
}

fn scan(path: &Path) -> io::Result<Content> {
    let mut reader = BufReader::with_capacity(READ_BYTES, File::open(path)?);
    let (mut whole_bytes, mut last_seqno) = (0, None);
    while let Some(batch) = whole_batch(&mut reader)? {
        whole_bytes += batch.bytes;
        last_seqno = Some(batch.seqno);
    }
    reader.seek(SeekFrom::Start(whole_bytes))?;
    Ok(Content { whole_bytes, last_seqno, broken: !only_zeros(&mut reader)? })
}

fn only_zeros(reader: &mut impl Read) -> io::Result<bool> {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(true),
            bytes if chunk[..bytes].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// Whether a whole batch that came after `last_seqno` begins behind any trailer after `at`. Within a record's payload
/// there may be a trailer, and a whole batch too: of a copied journal, say, which has numbers of another time.
fn whole_batch_after(path: &Path, at: u64, last_seqno: Option<u64>) -> io::Result<bool> {
    let mut rest = Vec::new();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.read_to_end(&mut rest)?;
    let plausible = |seqno: u64| last_seqno.is_none_or(|last| seqno > last && seqno - last <= SEQNOS_A_JOURNAL_MAX);
    for (position, _) in rest.windows(TRAILER.len()).enumerate().filter(|(_, window)| window == TRAILER) {
        let mut behind = &rest[position + TRAILER.len()..];
        if whole_batch(&mut behind)?.is_some_and(|batch| plausible(batch.seqno)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A batch whose checksum is right.
struct Batch {
    bytes: u64,
    seqno: u64,
}

/// The batch that `reader` is at; `None`: there is no whole one.
fn whole_batch(reader: &mut impl Read) -> io::Result<Option<Batch>> {
    match read_batch(reader) {
        Ok(batch) => Ok(batch),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_batch(reader: &mut impl Read) -> io::Result<Option<Batch>> {
    let start: [u8; 13] = read(reader)?;
    let [1, i0, i1, i2, i3, seqno @ ..] = start else { return Ok(None) };
    let mut bytes = start.len() as u64;
    let mut hash = Xxh3::new();
    for _ in 0..u32::from_le_bytes([i0, i1, i2, i3]) {
        let Some(item_bytes) = read_item(reader, &mut hash)? else { return Ok(None) };
        bytes += item_bytes;
    }
    let end: [u8; 13] = read(reader)?;
    let [3, sum @ .., b'F', b'J', b'L', 3] = end else { return Ok(None) };
    let batch = Batch { bytes: bytes + end.len() as u64, seqno: u64::from_le_bytes(seqno) };
    Ok((u64::from_le_bytes(sum) == hash.digest()).then_some(batch))
}

fn read_item(reader: &mut impl Read, hash: &mut Xxh3) -> io::Result<Option<u64>> {
    let [tag] = read(reader)?;
    hash.update(&[tag]);
    match tag {
        4 => {
            let keyspace: [u8; 8] = read(reader)?;
            hash.update(&keyspace);
            Ok(Some(9))
        }
        2 => {
            let head: [u8; 20] = read(reader)?;
            hash.update(&head);
            let [_, compression, .., k0, k1, _, _, _, _, v0, v1, v2, v3] = head;
            if compression != 0 {
                return Ok(None);
            }
            let content = u64::from(u16::from_le_bytes([k0, k1])) + u64::from(u32::from_le_bytes([v0, v1, v2, v3]));
            hash_content(reader, content, hash)?;
            Ok(Some(21 + content))
        }
        _ => Ok(None),
    }
}

fn hash_content(reader: &mut impl Read, mut bytes: u64, hash: &mut Xxh3) -> io::Result<()> {
    let mut chunk = [0; 8192];
    while bytes > 0 {
        let part = &mut chunk[..bytes.min(8192) as usize];
        reader.read_exact(part)?;
        hash.update(part);
        bytes -= part.len() as u64;
    }
    Ok(())
}

fn read<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut field = [0; N];
    reader.read_exact(&mut field)?;
    Ok(field)
}
