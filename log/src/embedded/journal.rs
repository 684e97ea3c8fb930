//! Looks at fjall's journals before fjall does.
//!
//! fjall ends a replay at the first entry that it can't read and cuts the file off there. That is right for the batch
//! that a power loss tore; the same bytes broken anywhere else would take all acknowledged records behind them, in
//! silence, and give their offsets to others. And a torn batch whose lengths are whole but whose content is not is an
//! error to fjall, for ever. We can tell them apart, because each batch is fsynced before the next one is written: only
//! the last batch of the last journal can be torn. So: a broken batch with nothing whole behind it is cut off, with a
//! warning; any other broken one stops the opening.
//!
//! ```text
//! batch:  start | item* | end            (fjall 3 journal, little-endian)
//! start:  1 | items u32 | seqno u64
//! item:   2 | value type u8 | compression u8 = 0 | keyspace u64 | key length u16 | length u32 | length u32 | key | value
//! clear:  4 | keyspace u64
//! end:    3 | xxh3 of the items u64 | "FJL" 3
//! ```
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tracing::warn;
use xxhash_rust::xxh3::Xxh3;

const TRAILER: &[u8; 4] = b"FJL\x03";
const READ_BYTES: usize = 256 << 10;

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

/// Checks all journals under `database`, and cuts off what a power loss tore. Nothing there: nothing to check.
pub(super) fn check(database: &Path) -> Result<(), JournalError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| JournalError::Io { path, error }
    };
    if !database.try_exists().map_err(failed(database))? {
        return Ok(());
    }
    let journals = journals(database).map_err(failed(database))?;
    for (index, path) in journals.iter().enumerate() {
        let Some(at) = first_broken(path).map_err(failed(path))? else { continue };
        let broken = |what| JournalError::Broken { path: path.display().to_string(), at, what };
        if index + 1 < journals.len() {
            return Err(broken("it is not the last journal"));
        }
        if whole_batch_after(path, at).map_err(failed(path))? {
            return Err(broken("whole batches follow"));
        }
        warn!(path = %path.display(), at, "the last batch of the journal is torn (it was never acknowledged): cut off");
        cut(path, at).map_err(failed(path))?;
    }
    Ok(())
}

/// Paths in the order in which they were written.
fn journals(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for file in std::fs::read_dir(database)? {
        let path = file?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        numbered.extend(number.map(|number| (number, path)));
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn cut(path: &Path, at: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()
}

/// Where the first batch begins that is not whole; `None`: all are, and nothing but the zeros of a preallocated file
/// follows.
fn first_broken(path: &Path) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(READ_BYTES, File::open(path)?);
    let mut whole_bytes = 0;
    while let Some(bytes) = batch_bytes(&mut reader)? {
        whole_bytes += bytes;
    }
    reader.seek(SeekFrom::Start(whole_bytes))?;
    Ok((!only_zeros(&mut reader)?).then_some(whole_bytes))
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

/// Whether a whole batch begins behind any trailer after `at`. A trailer within a record's payload is no more than a
/// place to look.
fn whole_batch_after(path: &Path, at: u64) -> io::Result<bool> {
    let mut rest = Vec::new();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.read_to_end(&mut rest)?;
    for (position, _) in rest.windows(TRAILER.len()).enumerate().filter(|(_, window)| window == TRAILER) {
        let mut behind = &rest[position + TRAILER.len()..];
        if batch_bytes(&mut behind)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Bytes of the batch that `reader` is at; `None`: there is no whole one.
fn batch_bytes(reader: &mut impl Read) -> io::Result<Option<u64>> {
    match read_batch(reader) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_batch(reader: &mut impl Read) -> io::Result<Option<u64>> {
    let start: [u8; 13] = read(reader)?;
    if start[0] != 1 {
        return Ok(None);
    }
    let items = u32::from_le_bytes([start[1], start[2], start[3], start[4]]);
    let mut bytes = start.len() as u64;
    let mut hash = Xxh3::new();
    for _ in 0..items {
        let Some(item_bytes) = read_item(reader, &mut hash)? else { return Ok(None) };
        bytes += item_bytes;
    }
    let end: [u8; 13] = read(reader)?;
    let [3, sum @ .., b'F', b'J', b'L', 3] = end else { return Ok(None) };
    Ok((u64::from_le_bytes(sum) == hash.digest()).then_some(bytes + end.len() as u64))
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
