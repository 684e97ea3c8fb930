//! What is wrong with an event, in words of bounded length.
use crate::limits::{REASON_BYTES_MAX, REASON_PROBLEMS_MAX, REASON_VALUE_BYTES_MAX};

/// The problems of one event: the first few in words, the others counted.
#[derive(Default)]
pub(super) struct Problems {
    reasons: Vec<String>,
    more: usize,
}

impl Problems {
    /// One more.
    pub(super) fn add(&mut self, reason: String) {
        if self.reasons.len() < REASON_PROBLEMS_MAX {
            self.reasons.push(reason);
        } else {
            self.more += 1;
        }
    }

    /// True while there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// All of them in one sentence; `None`: there is none.
    pub(super) fn into_reason(self) -> Option<String> {
        if self.reasons.is_empty() {
            return None;
        }
        let mut reason = self.reasons.join("; ");
        if self.more > 0 {
            reason.push_str(&format!("; and {} more", self.more));
        }
        debug_assert!(reason.len() <= REASON_BYTES_MAX, "{} bytes: {reason}", reason.len());
        Some(reason)
    }
}

/// What came, short enough for a reason: its first `REASON_VALUE_BYTES_MAX` bytes, control characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    let short = &text[..text.floor_char_boundary(REASON_VALUE_BYTES_MAX)];
    let mut excerpt = String::with_capacity(short.len() + 3);
    for symbol in short.chars() {
        if symbol.is_control() {
            excerpt.extend(symbol.escape_default());
        } else {
            excerpt.push(symbol);
        }
    }
    if short.len() < text.len() {
        excerpt.push_str("...");
    }
    excerpt
}

/// serde_json's message with the column only: an event has no lines of its own.
pub(super) fn syntax(error: &serde_json::Error) -> String {
    format!("not valid JSON: {} at column {}", message(error), error.column())
}

/// serde_json's message without its place.
pub(super) fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_never_splits_a_character() {
        let text = "\u{20ac}".repeat(REASON_VALUE_BYTES_MAX);
        let short = excerpt(&text);
        assert!(short.ends_with("\u{20ac}..."));
        assert!(short.len() <= REASON_VALUE_BYTES_MAX + 3);
        assert_eq!(excerpt("a\n\u{1b}[0m"), "a\\n\\u{1b}[0m");
    }

    #[test]
    fn many_problems_are_counted_not_listed() {
        let mut problems = Problems::default();
        for field in 0..10 {
            problems.add(format!("f{field}"));
        }
        assert_eq!(problems.into_reason().unwrap(), "f0; f1; f2; f3; and 6 more");
        assert_eq!(Problems::default().into_reason(), None);
    }
}
