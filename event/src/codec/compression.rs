//! A payload as a whole, compressed: an Arrow stream in an LZ4 frame (header `content-encoding: lz4`).
//!
//! One frame a record, and not one a buffer as Arrow's own compression has it: an encoder costs some microseconds and
//! a record has up to two hundred buffers; and the metadata of a small record, which is most of it, shrinks too.
use super::stream::Stream;
use super::{content_encoding, header};
use crate::limits;
use crate::record::Record;
use bytes::Bytes;
use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::cmp::Ordering;
use std::io::{self, BufRead, Read};

/// What is set aside for a payload that does not say what it unfolds to: so many times its compressed bytes.
const RATIO_EXPECTED: usize = 4;
/// No lz4 block unfolds to more: 255 bytes for one of a length (LZ4 block format).
const RATIO_MAX: usize = 255;

/// Blocks of a frame: what both sides hold beside the payload stays in the processor's cache.
const BLOCK: BlockSize = BlockSize::Max64KB;

/// The stream as a payload, and its encoding: compressed, unless that makes it larger.
pub(super) fn compressed(stream: &Stream<'_>) -> io::Result<(&'static str, Vec<u8>)> {
    let plain_bytes = stream.bytes();
    // Readers set aside what it says, and no more: columns are slices of it for as long as they wait.
    let frame = FrameInfo::new().block_size(BLOCK).content_size(Some(plain_bytes as u64));
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::with_capacity(plain_bytes / 2));
    stream.write(&mut encoder)?;
    let compressed = encoder.finish()?;
    if compressed.len() < plain_bytes {
        return Ok((content_encoding::LZ4, compressed));
    }
    let mut plain = Vec::with_capacity(plain_bytes);
    stream.write(&mut plain)?;
    Ok((content_encoding::IDENTITY, plain))
}

/// A payload without its compression.
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    /// Bytes that it took beside the record's own: 0 of what was not compressed.
    pub(super) unfolded_bytes: usize,
}

/// A record's payload; at most `limits::DECODED_BYTES_MAX`, and twice that while it is unfolded, whatever it claims.
pub(super) fn payload(record: &Record) -> Result<Payload, String> {
    let plain = || Ok(Payload { bytes: record.payload.clone(), unfolded_bytes: 0 });
    let Some(encoding) = record.header(header::CONTENT_ENCODING) else { return plain() };
    let encoding = String::from_utf8_lossy(encoding);
    if encoding.eq_ignore_ascii_case(content_encoding::IDENTITY) {
        return plain();
    }
    if !encoding.eq_ignore_ascii_case(content_encoding::LZ4) {
        let encoding: String = encoding.chars().take(64).collect();
        return Err(format!("{} {encoding} is not supported: use lz4", header::CONTENT_ENCODING));
    }
    let bytes = Bytes::from(unfold(&record.payload)?);
    Ok(Payload { unfolded_bytes: bytes.len(), bytes })
}

/// What a frame says that it unfolds to: bit 3 of its flags, and then the eight bytes behind its descriptor (LZ4 frame
/// format). Its decoder holds it to that.
fn claimed(compressed: &[u8]) -> Option<usize> {
    const HAS_SIZE: u8 = 1 << 3;
    let size = compressed.get(6..14).filter(|_| compressed[4] & HAS_SIZE != 0)?;
    usize::try_from(u64::from_le_bytes(size.try_into().ok()?)).ok()
}

/// What one frame, the whole of `compressed`, unfolds to.
fn unfold(compressed: &[u8]) -> Result<Vec<u8>, String> {
    /// A frame that is cut off after a block looks like its end to the decoder, which would take these four bytes for
    /// the missing mark of the end; of a whole frame they are left over.
    const BEHIND: [u8; 4] = [0; 4];
    let max = limits::DECODED_BYTES_MAX;
    let broken = |cause: io::Error| format!("payload is no lz4 frame: {cause}");
    let mut decoder = FrameDecoder::new(compressed.chain(BEHIND.as_slice()));
    let expected = claimed(compressed).unwrap_or(compressed.len() * RATIO_EXPECTED);
    let mut plain = Vec::with_capacity(expected.min(compressed.len() * RATIO_MAX).min(max));
    loop {
        let block = decoder.fill_buf().map_err(broken)?;
        if block.is_empty() {
            break;
        }
        if plain.len() + block.len() > max {
            return Err(format!("the record takes more than {max} bytes when unfolded"));
        }
        plain.extend_from_slice(block);
        let bytes = block.len();
        decoder.consume(bytes);
    }
    let mut rest = Vec::new();
    // At most what there is of the record.
    decoder.into_inner().read_to_end(&mut rest).map_err(broken)?;
    match rest.len().cmp(&BEHIND.len()) {
        Ordering::Equal => Ok(plain),
        Ordering::Less => Err("payload is an lz4 frame that is cut off".to_owned()),
        Ordering::Greater => Err(format!("{} bytes follow the lz4 frame of the payload", rest.len() - BEHIND.len())),
    }
}
