//! Identity: where an event's id comes from. The dedup key is (tenant, event_id), everywhere.
//!
//! | the event has | its id |
//! |---|---|
//! | `event_id` that is a UUID | that UUID (hyphenated, simple, braced or a URN; either case) |
//! | any other `event_id` | [`given`]: a hash of the tenant and the text |
//! | no `event_id`, a `session_id` | [`of_content`]: a hash of the tenant and of all that the client sent for it |
//! | the same, with an `Idempotency-Key` | [`salted`]: that hash with the key and the ordinal among equal events |
//! | neither, at the edge | [`random`]: can't be deduplicated |
//! | neither, in a record of others | [`of_place`]: a hash of topic, partition, offset and row |
//!
//! So that others can compute them, each hash is the first 16 bytes of SHA-256 over a row of *netstrings*: for each
//! part its length in bytes as decimal digits, `:`, its UTF-8 bytes, `,`. (`abc` is `3:abc,`; the empty text is
//! `0:,`.) A netstring says where it ends, so no two rows of parts give the same bytes. The parts are:
//!
//! - given: `playhead.event_id.given`, tenant, event_id
//! - content: `playhead.event_id.content`, tenant, then key and value of each field, sorted by the keys' bytes.
//!   Fields are what the client sent in the event's own object, without `sent_at` (a retry has another) and without
//!   those that are null; nothing of the envelope, nothing of ours. A value is what a string says; of anything else
//!   the JSON text as sent, without white space between tokens. Keys are decoded, strings too, numbers are not
//!   (`12` and `12.0` differ).
//! - salted: `playhead.event_id.salted`, the content hash as 32 lower-case hexadecimal digits, the Idempotency-Key,
//!   the ordinal (0, 1, ...) of the event among those of the request with the same content hash
//! - place: `playhead.event_id.place`, topic, partition, offset, row; the numbers as decimal digits
//!
//! Without an Idempotency-Key two events of equal content are one event, in one body or in two.
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A row of netstrings under SHA-256.
struct Row(Sha256);

impl Row {
    fn new(domain: &str, scope: &str) -> Self {
        let mut row = Row(Sha256::new());
        row.part(domain);
        row.part(scope);
        row
    }

    fn part(&mut self, text: &str) {
        self.number(text.len() as u64, b":");
        self.0.update(text);
        self.0.update(b",");
    }

    fn part_number(&mut self, number: u64) {
        let digits = number.checked_ilog10().unwrap_or(0) + 1;
        self.number(digits.into(), b":");
        self.number(number, b",");
    }

    /// Decimal digits and what ends them, without a trip to the heap.
    fn number(&mut self, mut number: u64, end: &[u8; 1]) {
        let mut digits = [0; 20];
        let mut from = digits.len();
        loop {
            from -= 1;
            digits[from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.update(&digits[from..]);
        self.0.update(end);
    }

    fn id(self) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0.finalize()[..16]);
        id
    }
}

/// The id of an event whose client gave one.
pub fn given(tenant: &str, event_id: &str) -> [u8; 16] {
    if let Ok(uuid) = Uuid::try_parse(event_id) {
        return uuid.into_bytes();
    }
    let mut row = Row::new("playhead.event_id.given", tenant);
    row.part(event_id);
    row.id()
}

/// The id of an event with a session and no id: the same for each retry. `fields` are sorted by their keys' bytes.
pub fn of_content<K: AsRef<str>, V: AsRef<str>>(tenant: &str, fields: impl Iterator<Item = (K, V)>) -> [u8; 16] {
    let mut row = Row::new("playhead.event_id.content", tenant);
    for (key, value) in fields {
        row.part(key.as_ref());
        row.part(value.as_ref());
    }
    row.id()
}

/// The id of an event with the content hash `content` in a request that has an `Idempotency-Key`.
pub fn salted(content: &[u8; 16], idempotency_key: &str, ordinal: u32) -> [u8; 16] {
    let mut hex = Uuid::encode_buffer();
    let mut row = Row::new("playhead.event_id.salted", Uuid::from_bytes(*content).simple().encode_lower(&mut hex));
    row.part(idempotency_key);
    row.part_number(ordinal.into());
    row.id()
}

/// The id of an event with neither id nor session in a record that others produced: every reader agrees on it.
pub fn of_place(topic: &str, partition: u32, offset: u64, row: u32) -> [u8; 16] {
    let mut hash = Row::new("playhead.event_id.place", topic);
    hash.part_number(partition.into());
    hash.part_number(offset);
    hash.part_number(row.into());
    hash.id()
}

/// The id of an event with neither id nor session at the edge: a random (version 4) UUID of these bits.
pub fn random(bits: [u8; 16]) -> [u8; 16] {
    uuid::Builder::from_random_bytes(bits).into_uuid().into_bytes()
}

#[cfg(test)]
mod tests {
    //! The expected values are computed in Python:
    //! ```python
    //! def row(*parts):
    //!     parts = [str(part).encode() for part in parts]
    //!     return b"".join(b"%d:%s," % (len(part), part) for part in parts)
    //! def event_id(*parts):
    //!     return hashlib.sha256(row(*parts)).hexdigest()[:32]
    //! ```
    use super::*;

    fn hex(id: [u8; 16]) -> String {
        Uuid::from_bytes(id).simple().to_string()
    }

    const FIELDS: [(&str, &str); 4] = [
        ("event_time", "1795298871914"),
        ("event_type", "heartbeat"),
        ("session_id", "s\u{e9}ance"),
        ("tags", r#"["a b",1]"#),
    ];

    #[test]
    fn a_uuid_is_used_as_it_is_in_every_spelling() {
        let id = 0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8_u128.to_be_bytes();
        for text in [
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67E55044-10B1-426F-9247-BB680E5FE0C8",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
        ] {
            assert_eq!(given("any", text), id, "{text}");
        }
    }

    #[test]
    fn hashes_are_as_published() {
        // event_id("playhead.event_id.given", "default", "order-42")
        assert_eq!(hex(given("default", "order-42")), "70d104f01695ba8b38b17898bd25ac52");
        // event_id("playhead.event_id.content", "default", "event_time", "1795298871914", "event_type",
        //          "heartbeat", "session_id", "s\u00e9ance", "tags", '["a b",1]')
        let content = of_content("default", FIELDS.into_iter());
        assert_eq!(hex(content), "29a2a605066b285a0e689993c798b8f4");
        // event_id("playhead.event_id.salted", <the one before>, "req-7", 0), and with 12
        assert_eq!(hex(salted(&content, "req-7", 0)), "12df72397c6045ff733633848eac6bfe");
        assert_eq!(hex(salted(&content, "req-7", 12)), "6b49f1fc6c94975be6c7d57f76c31802");
        // event_id("playhead.event_id.place", "events", 0, 18446744073709551615, 7)
        assert_eq!(hex(of_place("events", 0, u64::MAX, 7)), "51c73d51c7b4c72deb3d9c2536e26a37");
    }

    #[test]
    fn tenants_do_not_share_hashed_ids() {
        assert_ne!(given("a", "1"), given("b", "1"));
        assert_ne!(of_content("a", FIELDS.into_iter()), of_content("b", FIELDS.into_iter()));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(given("a", "bc"), given("ab", "c"));
        let (one, other) = ([("a", "b"), ("c", "d")], [("a", "b,1:c,1:d")]);
        assert_ne!(of_content("t", one.into_iter()), of_content("t", other.into_iter()));
    }

    #[test]
    fn random_bits_make_a_version_4_uuid() {
        let id = Uuid::from_bytes(random([0xff; 16]));
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
