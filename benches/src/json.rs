//! Writes JSON objects of known keys and plain values, without allocating: the generator must not be what is measured.
use uuid::Uuid;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a decimal integer.
pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes `value` right-aligned over `field`, which it must fill: no leading zeros in JSON.
pub(crate) fn patch_digits(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    debug_assert!(value == 0 && field.first() != Some(&b'0'), "the value does not fill the field");
}

/// Writes a UUID's 36 characters over `field`.
pub(crate) fn patch_uuid(field: &mut [u8], id: Uuid) {
    let mut at = 0;
    for (index, byte) in id.as_bytes().iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            field[at] = b'-';
            at += 1;
        }
        field[at] = HEX[usize::from(byte >> 4)];
        field[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
}

/// Appends a UUID's 36 characters.
pub(crate) fn push_uuid(out: &mut Vec<u8>, id: Uuid) {
    let at = out.len();
    out.resize(at + 36, 0);
    patch_uuid(&mut out[at..], id);
}

/// An object under way.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Writes a key, and gives the place where its value goes.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A text that needs no escapes.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        debug_assert!(value.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\'));
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }

    /// An integer.
    pub(crate) fn int(&mut self, key: &str, value: i64) {
        push_int(self.key(key), value);
    }

    /// A boolean.
    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A UUID.
    pub(crate) fn uuid(&mut self, key: &str, id: Uuid) {
        let out = self.key(key);
        out.push(b'"');
        push_uuid(out, id);
        out.push(b'"');
    }

    /// Members that were rendered before, without braces: `"a":1,"b":"x"`.
    pub(crate) fn members(&mut self, rendered: &[u8]) {
        if rendered.is_empty() {
            return;
        }
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.extend_from_slice(rendered);
    }

    /// Closes it.
    pub(crate) fn close(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_reads_back_as_it_was_written() {
        let id = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.uuid("id", id);
        object.int("least", i64::MIN);
        object.int("zero", 0);
        object.flag("yes", true);
        object.members(b"\"a\":\"b\"");
        object.close();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["id"], id.to_string());
        assert_eq!(value["least"], i64::MIN);
        assert_eq!(value["zero"], 0);
        assert_eq!(value["yes"], true);
        assert_eq!(value["a"], "b");
    }

    #[test]
    fn digits_are_patched_in_place() {
        let mut field = *b"0000";
        patch_digits(&mut field, 1207);
        assert_eq!(&field, b"1207");
    }
}
