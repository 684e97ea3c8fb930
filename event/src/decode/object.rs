//! An object's members as they stand: keys decoded, values as JSON text, nothing interpreted.
//!
//! Values are skipped over, not parsed (serde_json does that without recursion), so depth costs no stack.
use super::field::unquote;
use super::plain;
use super::problem::{excerpt, syntax};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// One member of an object.
pub(super) struct Member<'a> {
    /// Its key, decoded.
    pub key: Cow<'a, str>,
    /// Its value's JSON text.
    pub value: &'a str,
}

/// Appends the members of the object `text` to `members`, at most `members_max`, and says what is wrong with it.
/// Where the text breaks, the members before that are there.
pub(super) fn members<'a>(text: &'a str, members_max: usize, members: &mut Vec<Member<'a>>) -> Result<(), String> {
    if plain::members(text, members_max, members) { Ok(()) } else { members_of_any(text, members_max, members) }
}

/// The same by serde_json, whatever the text.
pub(super) fn members_of_any<'a>(
    text: &'a str,
    members_max: usize,
    members: &mut Vec<Member<'a>>,
) -> Result<(), String> {
    if !text.starts_with('{') {
        return Err(format!("expected a JSON object, got {}", excerpt(text)));
    }
    let mut problem = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_map(Members { members_max, members, problem: &mut problem });
    read.and_then(|()| json.end()).map_err(|error| syntax(&error))?;
    problem.map_or(Ok(()), Err)
}

struct Members<'m, 'a> {
    members_max: usize,
    members: &'m mut Vec<Member<'a>>,
    problem: &'m mut Option<String>,
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        // A key is read as raw text first: one that is no Unicode must not hide the members after it.
        while let Some((key, value)) = map.next_entry::<&'a RawValue, &'a RawValue>()? {
            if self.members.len() == self.members_max {
                *self.problem = Some(format!("more than {} keys", self.members_max));
                continue;
            }
            match unquote(key.get()) {
                Ok(key) => self.members.push(Member { key, value: value.get() }),
                Err(problem) => *self.problem = Some(format!("key {}: {problem}", excerpt(key.get()))),
            }
        }
        Ok(())
    }
}
