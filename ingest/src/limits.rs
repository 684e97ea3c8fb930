//! Every bound of the edge that is not a setting, each with its arithmetic. Settings: [`crate::Config`].
//!
//! What the edge can hold in memory at most, with the default settings:
//!
//! | what                        | bound                                                            | bytes     |
//! |-----------------------------|------------------------------------------------------------------|-----------|
//! | idle connections            | `connections_max` 10,000 x 15 KiB (measured, of 5,000 at once)    | 150 MiB   |
//! | heads on their way          | `connections_max` 10,000 x [`READ_BUFFER_BYTES_MAX`] 32 KiB       | 320 MiB   |
//! | bodies, and the events that | `bodies_bytes_max`: one budget for all requests; charged as it    | 256 MiB   |
//! | are decoded from them       | grows, given back once the events stand in batches. Events are    |           |
//! |                             | charged when decoded: of large bodies that many at once as cores  |           |
//! | decompressors               | [`INFLATING_MAX`] 8 x 16 MiB (brotli's largest window)            | 128 MiB   |
//! | batches                     | partitions x ([`BATCHES_WAITING_MAX`] 2 + one that fills + one    | 4 MB a    |
//! |                             | under way) x `RECORD_BYTES_MAX`                                   | partition |
use std::time::Duration;

/// Request line and headers: players send below 1 KiB, a page with cookies a few times 4 KiB.
/// Over it the answer is 431, and the connection closes.
pub const HEADER_BYTES_MAX: usize = 16 << 10;

/// What one connection reads ahead: two of the largest heads, so that a body still flows in large pieces.
pub const READ_BUFFER_BYTES_MAX: usize = 2 * HEADER_BYTES_MAX;

/// `Idempotency-Key`: a UUID is 36, the common services take up to 255.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The largest zstd window, as a power of two: 8 MiB, what RFC 9659 allows for `Content-Encoding: zstd`.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bodies that are inflated at the same time; more wait. Inflating never waits for the network, so a turn is
/// short, and more turns than cores gain nothing.
pub const INFLATING_MAX: usize = 8;

/// Up to this size after inflation a body may have any ratio: a small batch of equal heartbeats shrinks a
/// hundredfold and harms nobody.
pub const RATIO_FREE_BYTES: usize = 64 << 10;

/// Inflated bytes between two yields to other connections: about a tenth of a millisecond.
pub const INFLATE_BYTES_PER_TURN: usize = 128 << 10;

/// Full batches of one partition that wait for the append under way. With one that fills this covers a stall of
/// three appends; longer ones are for the client's retry (the requests wait up to `append_timeout_ms` first).
pub const BATCHES_WAITING_MAX: usize = 2;

/// Events put into a batch under one hold of its lock: about a tenth of a millisecond.
pub const EVENTS_PER_LOCK: usize = 128;

/// Rejected events listed in a 422; the rest is a number. In a 200 all are listed: `events_max` bounds them, and they
/// are charged to the budget.
pub const REJECTED_LISTED_MAX: usize = 100;

/// Connections over `connections_max` that are answered 503 at the same time; what comes on top is closed unanswered.
pub const REFUSALS_MAX: usize = 256;

/// How long a connection over the cap is given to send its request and take its 503.
pub const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);

/// How long a refused body is read and thrown away, so that the client sees the answer and not a reset connection.
pub const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Names of headers in `Access-Control-Request-Headers` that are echoed; more are left out.
pub const CORS_HEADERS_ECHOED_MAX: usize = 32;

/// Bytes of one echoed header name.
pub const CORS_HEADER_NAME_BYTES_MAX: usize = 64;

/// Bodies and batches over this many bytes are decoded and encoded off the runtime's threads; those below take about
/// a millisecond, and moving them would cost as much as it spares.
pub const INLINE_BYTES_MAX: usize = 128 << 10;

/// After a failed append the edge counts as not ready for this long, unless one succeeds sooner: without requests
/// nobody would find out that the log is well again. Twice as long each time that this proved wrong, up to
/// [`UNREADY_TIME_MAX`].
pub const UNREADY_TIME: Duration = Duration::from_secs(5);

/// The longest that an edge without requests counts as not ready: a log that is full for hours costs a request or two
/// a minute, and one that has room again is used a minute later at most.
pub const UNREADY_TIME_MAX: Duration = Duration::from_secs(60);

/// No append is called hung before it took this long, however short `append_timeout_ms` is: a slow disk's fsync.
pub const STALL_TIME_MIN: Duration = Duration::from_millis(100);

/// Pause of the accept loop when the process has no file descriptor or memory left for a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// At shutdown the last batches have at least this long, however long the connections took.
pub const LAST_APPENDS_TIME_MIN: Duration = Duration::from_secs(1);

/// The longest `drain_timeout_ms`. A node that is told to stop gives the edge 14 s: these, [`ACCEPT_PAUSE`], twice
/// [`CUT_TIME_MAX`] and [`LAST_APPENDS_TIME_MIN`] are 13.6 s.
pub const DRAIN_TIMEOUT_MS_MAX: u64 = 12_000;

/// How long a task that is cut at shutdown may take to notice, at the end of what it computes; it is left behind then.
pub const CUT_TIME_MAX: Duration = Duration::from_millis(250);
