//! Content-Encoding: which one, and inflating within bounds that are checked while bytes come out, never after.
//!
//! ```text
//! compressed ─▶ decoder ─▶ [limit: bytes_max, and ratio_max x compressed] ─▶ [budget, as the buffer grows] ─▶ body
//! ```
use crate::budget::Reserved;
use crate::limits::{INFLATE_BYTES_PER_TURN, RATIO_FREE_BYTES, ZSTD_WINDOW_LOG_MAX};
use crate::problem::{Kind, Problem};
use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use http::header::{self, HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Smallest step by which the buffer of an inflated body grows.
const GROWTH_BYTES_MIN: usize = 16 << 10;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// `gzip`, `x-gzip` (RFC 1952).
    Gzip,
    /// `deflate`: zlib (RFC 1950), or the raw deflate (RFC 1951) that some clients send under this name.
    Deflate,
    /// `zstd` (RFC 8878), windows up to 8 MiB (RFC 9659).
    Zstd,
    /// `br` (RFC 7932).
    Brotli,
}

impl Encoding {
    /// The request's encoding. Stacked ones are refused: nobody sends them but who looks for trouble.
    pub fn of(headers: &HeaderMap) -> Result<Encoding, Problem> {
        let mut found = Encoding::Identity;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let value = value.to_str().map_err(|_| unsupported("a Content-Encoding that is no text"))?;
            for name in value.split(',').map(str::trim) {
                let encoding = Encoding::named(name)?;
                if encoding != Encoding::Identity && found != Encoding::Identity {
                    return Err(unsupported("more than one Content-Encoding"));
                }
                if encoding != Encoding::Identity {
                    found = encoding;
                }
            }
        }
        Ok(found)
    }

    fn named(name: &str) -> Result<Encoding, Problem> {
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "deflate" => Ok(Encoding::Deflate),
            "zstd" => Ok(Encoding::Zstd),
            "br" => Ok(Encoding::Brotli),
            _ => Err(unsupported(&format!("Content-Encoding {:?}", name.chars().take(40).collect::<String>()))),
        }
    }
}

fn unsupported(what: &str) -> Problem {
    let detail = format!("{what} is not supported: send gzip, deflate, zstd, br or none, once");
    Problem::new(Kind::UnsupportedEncoding, detail)
        .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, zstd, br, identity"))
}

/// What an inflated body may come to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes.
    pub bytes_max: usize,
    /// Bytes for each compressed one; [`RATIO_FREE_BYTES`] are always allowed.
    pub ratio_max: usize,
}

impl Bounds {
    /// The bound of a body of `compressed` bytes.
    fn limit(self, compressed: usize) -> usize {
        compressed.saturating_mul(self.ratio_max).max(RATIO_FREE_BYTES).min(self.bytes_max)
    }
}

/// Why a body was not inflated.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is over `limit` bytes; `inflated` were made before it was given up.
    TooLarge { limit: usize, inflated: usize },
    /// It is not what its label says.
    Malformed(String),
    /// The budget of all requests is used up.
    NoRoom,
}

/// Inflates `compressed`. Never makes more than one byte over the limit, and yields to other tasks now and then.
pub async fn inflate(
    encoding: Encoding,
    compressed: &[u8],
    bounds: Bounds,
    reserved: &mut Reserved,
) -> Result<Vec<u8>, Refused> {
    let limit = bounds.limit(compressed.len());
    match encoding {
        Encoding::Identity => Ok(compressed.to_vec()),
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(compressed);
            decoder.multiple_members(true);
            read_all(&mut decoder, limit, reserved).await
        }
        Encoding::Zstd => {
            let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
            let mut decoder = ZstdDecoder::with_params(compressed, &[window]);
            decoder.multiple_members(true);
            read_all(&mut decoder, limit, reserved).await
        }
        Encoding::Deflate if is_zlib(compressed) => {
            let mut decoder = ZlibDecoder::new(compressed);
            let inflated = read_all(&mut decoder, limit, reserved).await?;
            nothing_after(decoder.get_ref(), inflated)
        }
        Encoding::Deflate => {
            let mut decoder = DeflateDecoder::new(compressed);
            let inflated = read_all(&mut decoder, limit, reserved).await?;
            nothing_after(decoder.get_ref(), inflated)
        }
        Encoding::Brotli => {
            let mut decoder = BrotliDecoder::new(compressed);
            let inflated = read_all(&mut decoder, limit, reserved).await?;
            nothing_after(decoder.get_ref(), inflated)
        }
    }
}

/// A zlib header: method 8, a window of at most 32 KiB, and a check that 31 divides (RFC 1950). A raw stream that
/// looks like it would begin with a stored block whose padding is not zero, which no encoder writes.
fn is_zlib(compressed: &[u8]) -> bool {
    let [method, flags, ..] = compressed else { return false };
    method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
}

/// Bytes behind the end of the stream would be events that nobody reads: refused rather than lost.
fn nothing_after(rest: &[u8], inflated: Vec<u8>) -> Result<Vec<u8>, Refused> {
    if rest.is_empty() {
        return Ok(inflated);
    }
    Err(Refused::Malformed(format!("{} bytes follow the end of the compressed stream", rest.len())))
}

async fn read_all(
    decoder: &mut (impl AsyncRead + Unpin),
    limit: usize,
    reserved: &mut Reserved,
) -> Result<Vec<u8>, Refused> {
    let mut bounded = decoder.take(limit as u64 + 1);
    let mut inflated = Vec::new();
    let mut since_yield = 0;
    loop {
        if inflated.len() == inflated.capacity() {
            let growth = inflated.len().max(GROWTH_BYTES_MIN).min(limit + 1 - inflated.len().min(limit));
            reserved.add(growth).map_err(|_| Refused::NoRoom)?;
            inflated.reserve_exact(growth);
        }
        let read = bounded.read_buf(&mut inflated).await.map_err(|error| Refused::Malformed(error.to_string()))?;
        if inflated.len() > limit {
            return Err(Refused::TooLarge { limit, inflated: inflated.len() });
        }
        if read == 0 {
            return Ok(inflated);
        }
        since_yield += read;
        if since_yield >= INFLATE_BYTES_PER_TURN {
            since_yield = 0;
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use async_compression::tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};

    const BOUNDS: Bounds = Bounds { bytes_max: 4 << 20, ratio_max: 100 };

    async fn read<R: AsyncRead + Unpin>(mut encoder: R) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoder.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    async fn inflated(encoding: Encoding, compressed: &[u8]) -> Result<Vec<u8>, Refused> {
        inflate(encoding, compressed, BOUNDS, &mut Budget::new(64 << 20).reserve()).await
    }

    #[tokio::test]
    async fn every_encoding_comes_back_as_it_was() {
        let body = br#"{"event_type":"play"}"#.repeat(5_000);
        let each = [
            (Encoding::Gzip, read(GzipEncoder::new(&body[..])).await),
            (Encoding::Deflate, read(ZlibEncoder::new(&body[..])).await),
            (Encoding::Deflate, read(DeflateEncoder::new(&body[..])).await),
            (Encoding::Zstd, read(ZstdEncoder::new(&body[..])).await),
            (Encoding::Brotli, read(BrotliEncoder::new(&body[..])).await),
        ];
        for (encoding, compressed) in each {
            let bounds = Bounds { ratio_max: 100_000, ..BOUNDS };
            let mut reserved = Budget::new(64 << 20).reserve();
            assert_eq!(inflate(encoding, &compressed, bounds, &mut reserved).await.unwrap(), body, "{encoding:?}");
            let cut = &compressed[..compressed.len() - 1];
            let refused = inflate(encoding, cut, bounds, &mut reserved).await.unwrap_err();
            assert!(matches!(refused, Refused::Malformed(_)), "{encoding:?} cut short: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_given_up_one_byte_over_the_limit() {
        let zeros = vec![0; 64 << 20];
        let bomb = read(GzipEncoder::new(&zeros[..])).await;
        assert!(bomb.len() < 100 << 10, "{}", bomb.len());
        let refused = inflated(Encoding::Gzip, &bomb).await.unwrap_err();
        assert_eq!(refused, Refused::TooLarge { limit: 4 << 20, inflated: (4 << 20) + 1 });
    }

    #[tokio::test]
    async fn while_bombs_of_every_encoding_are_inflated_no_more_than_a_body_is_held() {
        let zeros = vec![0; 64 << 20];
        let each = [
            (Encoding::Gzip, read(GzipEncoder::new(&zeros[..])).await),
            (Encoding::Deflate, read(ZlibEncoder::new(&zeros[..])).await),
            (Encoding::Deflate, read(DeflateEncoder::new(&zeros[..])).await),
            (Encoding::Zstd, read(ZstdEncoder::new(&zeros[..])).await),
            (Encoding::Brotli, read(BrotliEncoder::new(&zeros[..])).await),
        ];
        for (encoding, bomb) in each {
            let budget = Budget::new(64 << 20);
            let bounds = Bounds { ratio_max: usize::MAX, ..BOUNDS };
            let refused = inflate(encoding, &bomb, bounds, &mut budget.reserve()).await;
            assert!(matches!(refused, Err(Refused::TooLarge { .. })), "{encoding:?}");
            // One byte over the bound tells that there is more.
            let peak = budget.peak();
            assert!((1..=BOUNDS.bytes_max + 1).contains(&peak), "{encoding:?}: {peak} bytes were held");
        }
    }

    #[tokio::test]
    async fn what_is_inflated_is_charged_with_its_spare_room() {
        let compressed = read(GzipEncoder::new(&b"{}".repeat(100_000)[..])).await;
        let budget = Budget::new(64 << 20);
        let bounds = Bounds { ratio_max: usize::MAX, ..BOUNDS };
        let inflated = inflate(Encoding::Gzip, &compressed, bounds, &mut budget.reserve()).await.unwrap();
        assert!(inflated.capacity() <= budget.peak(), "{} of {}", inflated.capacity(), budget.peak());
    }

    #[tokio::test]
    async fn a_body_of_a_high_ratio_is_given_up_before_the_limit_of_bytes() {
        let bomb = read(ZstdEncoder::new(&vec![0; 3 << 20][..])).await;
        let limit = (bomb.len() * 100).max(RATIO_FREE_BYTES);
        assert!(limit < 1 << 20, "{limit}");
        let refused = inflated(Encoding::Zstd, &bomb).await.unwrap_err();
        assert_eq!(refused, Refused::TooLarge { limit, inflated: limit + 1 });
    }

    #[tokio::test]
    async fn the_budget_of_all_requests_bounds_inflating() {
        let compressed = read(GzipEncoder::new(&vec![b'x'; 60 << 10][..])).await;
        let mut reserved = Budget::new(32 << 10).reserve();
        let refused = inflate(Encoding::Gzip, &compressed, BOUNDS, &mut reserved).await.unwrap_err();
        assert_eq!(refused, Refused::NoRoom);
    }

    #[tokio::test]
    async fn a_zstd_window_over_8_mib_is_refused_before_it_is_allocated() {
        // Magic, a frame header without content size, a window descriptor of 2^(10+20) bytes (RFC 8878, 3.1.1.1).
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0x01, 0x00, 0x00];
        assert!(matches!(inflated(Encoding::Zstd, &frame).await, Err(Refused::Malformed(_))));
    }

    #[tokio::test]
    async fn bytes_after_the_end_are_refused_and_further_gzip_members_are_read() {
        let mut deflated = read(ZlibEncoder::new(&b"[]"[..])).await;
        deflated.extend_from_slice(b"tail");
        assert!(matches!(inflated(Encoding::Deflate, &deflated).await, Err(Refused::Malformed(_))));
        let mut members = read(GzipEncoder::new(&b"one"[..])).await;
        members.extend(read(GzipEncoder::new(&b"two"[..])).await);
        assert_eq!(inflated(Encoding::Gzip, &members).await.unwrap(), b"onetwo");
    }

    #[test]
    fn labels_are_read_leniently_and_stacked_ones_refused() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            Encoding::of(&headers).map_err(|problem| problem.kind())
        };
        assert_eq!(of("GZIP"), Ok(Encoding::Gzip));
        assert_eq!(of("identity, br"), Ok(Encoding::Brotli));
        assert_eq!(of(""), Ok(Encoding::Identity));
        assert_eq!(of("gzip, gzip"), Err(Kind::UnsupportedEncoding));
        assert_eq!(of("compress"), Err(Kind::UnsupportedEncoding));
    }
}
