//! Objects as most encoders write them: no escapes, no nesting, no white space but blanks. One pass over the bytes.
//!
//! Promise: what is taken here is what [`super::object`] would have made of it, member for member; anything else, right or
//! wrong, is left to it, which also says what is wrong. A property test holds both together.
use super::object::Member;
use memchr::memchr;
use std::borrow::Cow;

/// Appends the members of the object `text`, as long as `members` holds at most `members_max`. False: this is none of
/// ours, and `members` is as it was.
pub(super) fn members<'a>(text: &'a str, members_max: usize, members: &mut Vec<Member<'a>>) -> bool {
    let before = members.len();
    let taken = is_plain(text.as_bytes()) && Scanner { text, at: 0 }.object(members_max, members).is_some();
    if !taken {
        members.truncate(before);
    }
    taken
}

/// No escapes, and nothing that JSON forbids in strings: then a string ends at the next quote. (A fold without an early
/// end: the compiler makes it look at 16 or 32 bytes at once.)
fn is_plain(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |odd, &byte| odd | (byte < 0x20) | (byte == b'\\'))
}

/// Stands between two tokens. `None` from any step: not ours.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The whole text as one object.
    fn object(mut self, members_max: usize, members: &mut Vec<Member<'a>>) -> Option<()> {
        self.text.strip_prefix('{')?;
        self.at = 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return self.end();
        }
        loop {
            self.peek().filter(|first| *first == b'"')?;
            let key = Cow::Borrowed(self.string()?.strip_prefix('"')?.strip_suffix('"')?);
            self.expect(b':')?;
            let value = self.value()?;
            if members.len() == members_max {
                return None;
            }
            members.push(Member { key, value });
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return self.end();
                }
                _ => return None,
            }
        }
    }

    fn end(mut self) -> Option<()> {
        self.skip_blanks();
        (self.at == self.text.len()).then_some(())
    }

    fn skip_blanks(&mut self) {
        while self.text.as_bytes().get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        self.skip_blanks();
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, token: u8) -> Option<()> {
        self.peek().filter(|next| *next == token)?;
        self.at += 1;
        Some(())
    }

    /// A string with its quotes; its first one is next.
    fn string(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let end = memchr(b'"', rest.as_bytes().get(1..)?)? + 2;
        self.at += end;
        rest.get(..end)
    }

    /// A string, a number, true, false or null, as it stands.
    fn value(&mut self) -> Option<&'a str> {
        match self.peek()? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => None,
        }
    }

    fn word(&mut self, word: &'static str) -> Option<&'a str> {
        let there = self.text.get(self.at..self.at + word.len()).filter(|there| *there == word)?;
        self.at += word.len();
        Some(there)
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?` (RFC 8259, section 6)
    fn number(&mut self) -> Option<&'a str> {
        let from = self.at;
        self.skip(|byte| byte == b'-', 1);
        let whole = self.at;
        let digits = self.skip(|byte| byte.is_ascii_digit(), usize::MAX);
        if digits == 0 || (digits > 1 && self.text.as_bytes()[whole] == b'0') {
            return None;
        }
        if self.skip(|byte| byte == b'.', 1) == 1 && self.skip(|byte| byte.is_ascii_digit(), usize::MAX) == 0 {
            return None;
        }
        if self.skip(|byte| matches!(byte, b'e' | b'E'), 1) == 1 {
            self.skip(|byte| matches!(byte, b'+' | b'-'), 1);
            if self.skip(|byte| byte.is_ascii_digit(), usize::MAX) == 0 {
                return None;
            }
        }
        self.text.get(from..self.at)
    }

    /// Goes on over at most `most` bytes of a kind; returns how many there were.
    fn skip(&mut self, kind: impl Fn(u8) -> bool, most: usize) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let there = rest.iter().take(most).take_while(|byte| kind(**byte)).count();
        self.at += there;
        there
    }
}

#[cfg(test)]
mod tests {
    use super::super::object;
    use super::*;
    use proptest::prelude::*;

    /// Keys and values.
    type Read = Vec<(String, String)>;

    /// Members by both ways; `None` in the first: left to the other.
    fn both(text: &str, members_max: usize) -> (Option<Read>, Result<Read, String>) {
        let told = |members: &[Member<'_>]| {
            members.iter().map(|member| (member.key.to_string(), member.value.to_owned())).collect::<Read>()
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let taken = members(text, members_max, &mut ours);
        assert!(taken || ours.is_empty(), "what was not taken leaves nothing behind");
        let read = object::members_of_any(text, members_max, &mut theirs);
        (taken.then(|| told(&ours)), read.map(|()| told(&theirs)))
    }

    #[test]
    fn an_object_as_encoders_write_it_is_taken() {
        for text in [
            "{}",
            r#"{"a":1}"#,
            r#"{ "a" : "b" , "c" : null , "d" : true , "e" : false } "#,
            r#"{"a":-0,"b":0.5,"c":1e9,"d":-12.50E-3,"e":12345678901234567890}"#,
            r#"{"":"","é":"日本"}"#,
        ] {
            let (ours, theirs) = both(text, 10);
            assert_eq!(ours.unwrap(), theirs.unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_odd_or_wrong_is_left_to_the_other_reader() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "{}}",
            "{} x",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{a:1}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":-}"#,
            r#"{"a":+1}"#,
            r#"{"a":nul}"#,
            r#"{"a":truee}"#,
            r#"{"a":"b}"#,
            r#"{"a":"b\n"}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"["a"]"#,
            r#""a""#,
            "{\t\"a\":1}",
            "{\"a\":\"\u{1}\"}",
            r#"{"a":1 "b":2}"#,
            r#"{"a" 1}"#,
            r#"{"a":1,"b":2,"c":3}"#,
        ] {
            assert_eq!(both(text, 2).0, None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_the_other_reader_makes_of_it(
            text in r#"\{("[a-cé]{0,3}" ?: ?("[a-z ,:é]{0,4}"|-?[0-9]{1,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?|true|null|\[\]) ?,? ?){0,4}\} ?"#,
            members_max in 0usize..5,
        ) {
            if let (Some(ours), theirs) = both(&text, members_max) {
                prop_assert_eq!(Ok(ours), theirs);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{}\":,0-9a-eE+.\\-\\\\ \u{e9}\u{1f600}\n]{0,40}") {
            if let (Some(ours), theirs) = both(&text, 8) {
                prop_assert_eq!(Ok(ours), theirs);
            }
        }
    }
}
