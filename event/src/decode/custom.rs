//! Keys without a column: a bounded map of strings.
//!
//! A string is kept as it is; a number or a boolean as its JSON text; an object or an array as its JSON text
//! without the white space between tokens; null is dropped. Bounds are in [`crate::limits`]; past one the event is
//! rejected, never cut short.
use super::field::unquote;
use super::object::{self, Member};
use super::problem::{Problems, excerpt};
use crate::limits::{
    CUSTOM_BYTES_MAX, CUSTOM_DEPTH_MAX, CUSTOM_KEY_BYTES_MAX, CUSTOM_KEYS_MAX, CUSTOM_VALUE_BYTES_MAX,
};
use std::borrow::Cow;

/// The custom keys of one event.
#[derive(Default)]
pub(super) struct Custom<'a> {
    /// Every key seen; those whose value is null are not in `entries`.
    keys: Vec<Cow<'a, str>>,
    entries: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    bytes: usize,
}

impl<'a> Custom<'a> {
    /// Keys and values, in the order sent.
    pub(super) fn into_entries(self) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        self.entries
    }

    /// Adds the members of the object `raw`, the value of the key `custom`.
    pub(super) fn add_all(&mut self, raw: &'a str, problems: &mut Problems) {
        let mut members = Vec::new();
        if let Err(problem) = object::members(raw, CUSTOM_KEYS_MAX, &mut members) {
            problems.add(format!("custom: {problem}"));
        }
        for Member { key, value } in members {
            self.add(key, value, problems);
        }
    }

    /// Adds one key with its value's JSON text.
    pub(super) fn add(&mut self, key: Cow<'a, str>, raw: &'a str, problems: &mut Problems) {
        match self.check(&key).and_then(|()| value(raw)) {
            Ok(None) => self.keys.push(key),
            Ok(Some(value)) => {
                self.bytes += key.len() + value.len();
                if self.bytes > CUSTOM_BYTES_MAX {
                    problems.add(format!("{}: custom keys and values pass {CUSTOM_BYTES_MAX} bytes", excerpt(&key)));
                    return;
                }
                self.keys.push(key.clone());
                self.entries.push((key, value));
            }
            Err(problem) => problems.add(format!("{}: {problem}", excerpt(&key))),
        }
    }

    fn check(&self, key: &str) -> Result<(), String> {
        if key.is_empty() {
            Err("a key must not be empty".to_owned())
        } else if key.starts_with('_') {
            Err("names that begin with _ are Playhead's own: leave it out".to_owned())
        } else if key.len() > CUSTOM_KEY_BYTES_MAX {
            Err(format!("expected a key of at most {CUSTOM_KEY_BYTES_MAX} bytes, got {}", key.len()))
        } else if self.keys.len() == CUSTOM_KEYS_MAX {
            Err(format!("more than {CUSTOM_KEYS_MAX} keys that have no column"))
        } else if self.keys.iter().any(|seen| seen == key) {
            // Few and short: a scan is quicker than a set of them for each event.
            Err("given twice".to_owned())
        } else {
            Ok(())
        }
    }
}

fn value(raw: &str) -> Result<Option<Cow<'_, str>>, String> {
    if raw == "null" {
        return Ok(None);
    }
    let depth = depth(raw);
    if depth > CUSTOM_DEPTH_MAX {
        return Err(format!("expected at most {CUSTOM_DEPTH_MAX} levels of nesting, got {depth}"));
    }
    let text = text(raw)?;
    if text.len() > CUSTOM_VALUE_BYTES_MAX {
        let bytes = text.len();
        return Err(format!("expected a value of at most {CUSTOM_VALUE_BYTES_MAX} bytes, got {bytes} bytes"));
    }
    Ok(Some(text))
}

/// A value as a string: what a string says, else its JSON text without white space between tokens.
pub(super) fn text(raw: &str) -> Result<Cow<'_, str>, String> {
    if raw.starts_with('"') { unquote(raw) } else { Ok(compact(raw)) }
}

/// Calls `token` for each byte that is not within a string, with its position. No recursion.
fn outside_strings(raw: &str, mut token: impl FnMut(usize, u8)) {
    let (mut within, mut escaped) = (false, false);
    for (at, byte) in raw.bytes().enumerate() {
        if within {
            within = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            within = byte == b'"';
            token(at, byte);
        }
    }
}

/// Levels of objects and arrays.
fn depth(raw: &str) -> usize {
    if !raw.starts_with(['[', '{']) {
        return 0;
    }
    let (mut depth, mut deepest) = (0usize, 0);
    outside_strings(raw, |_, byte| match byte {
        b'[' | b'{' => {
            depth += 1;
            deepest = deepest.max(depth);
        }
        b']' | b'}' => depth -= 1,
        _ => {}
    });
    deepest
}

fn compact(raw: &str) -> Cow<'_, str> {
    if !raw.starts_with(['[', '{']) {
        return Cow::Borrowed(raw);
    }
    let (mut kept, mut from) = (String::new(), 0);
    outside_strings(raw, |at, byte| {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            kept.push_str(&raw[from..at]);
            from = at + 1;
        }
    });
    if from == 0 {
        return Cow::Borrowed(raw);
    }
    kept.push_str(&raw[from..]);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_strings() {
        let as_text = |raw| value(raw).unwrap().map(String::from);
        assert_eq!(as_text(r#""a b""#).as_deref(), Some("a b"));
        assert_eq!(as_text("1.50").as_deref(), Some("1.50"));
        assert_eq!(as_text("true").as_deref(), Some("true"));
        assert_eq!(as_text("null"), None);
        assert_eq!(as_text(r#"{ "a" : [1, "x \" y", {} ] }"#).as_deref(), Some(r#"{"a":[1,"x \" y",{}]}"#));
        assert!(matches!(text("[1,2]"), Ok(Cow::Borrowed("[1,2]"))));
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        assert_eq!(depth("1"), 0);
        assert_eq!(depth(r#"["[[[", "\"[[", []]"#), 2);
        let most = format!("{}{}", "[".repeat(CUSTOM_DEPTH_MAX), "]".repeat(CUSTOM_DEPTH_MAX));
        assert!(value(&most).is_ok());
        assert!(value(&format!("[{most}]")).unwrap_err().contains("levels of nesting"));
    }

    #[test]
    fn keys_of_ours_and_empty_or_repeated_ones_are_refused() {
        let mut custom = Custom::default();
        let mut problems = Problems::default();
        custom.add("a".into(), "null", &mut problems);
        custom.add("a".into(), "1", &mut problems);
        custom.add("".into(), "1", &mut problems);
        custom.add("_offset".into(), "1", &mut problems);
        let reason = problems.into_reason().unwrap();
        for part in ["a: given twice", "a key must not be empty", "_offset: names that begin with _"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(custom.into_entries().is_empty());
    }
}
