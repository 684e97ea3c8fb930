//! A payload as a whole, compressed: an LZ4 frame (header `content-encoding: lz4`), whatever is in it.
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

/// What is set aside for an unfolded payload before it is known: so many times its compressed bytes.
const RATIO_EXPECTED: usize = 4;

/// Blocks of a frame: what both sides hold beside the payload stays in the processor's cache.
const BLOCK: BlockSize = BlockSize::Max64KB;

/// The stream as a payload, and its encoding: compressed, unless that makes it larger.
pub(super) fn compressed(stream: &Stream<'_>) -> io::Result<(&'static str, Vec<u8>)> {
    let plain_bytes = stream.bytes();
    let frame = FrameInfo::new().block_size(BLOCK);
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

/// A record's payload without its compression; memory stays within `limits::DECODED_BYTES_MAX`, whatever it claims.
pub(super) fn payload(record: &Record) -> Result<Bytes, String> {
    let Some(encoding) = record.header(header::CONTENT_ENCODING) else { return Ok(record.payload.clone()) };
    let encoding = String::from_utf8_lossy(encoding);
    if encoding.eq_ignore_ascii_case(content_encoding::IDENTITY) {
        return Ok(record.payload.clone());
    }
    if !encoding.eq_ignore_ascii_case(content_encoding::LZ4) {
        let encoding: String = encoding.chars().take(64).collect();
        return Err(format!("{} {encoding} is not supported: use lz4", header::CONTENT_ENCODING));
    }
    unfold(&record.payload).map(Bytes::from)
}

/// What one frame, the whole of `compressed`, unfolds to.
fn unfold(compressed: &[u8]) -> Result<Vec<u8>, String> {
    /// A frame that is cut off after a block looks like its end to the decoder, which would take these four bytes for
    /// the missing mark of the end; of a whole frame they are left over.
    const BEHIND: [u8; 4] = [0; 4];
    let max = limits::DECODED_BYTES_MAX;
    let broken = |cause: io::Error| format!("payload is no lz4 frame: {cause}");
    let mut decoder = FrameDecoder::new(compressed.chain(BEHIND.as_slice()));
    let mut plain = Vec::with_capacity((compressed.len() * RATIO_EXPECTED).min(max));
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
