//! One event's object, read key by key. What is wrong is noted and reading goes on, so that the answer can name the
//! event's id and every field that is wrong, not only the first.
use super::custom::{self, Custom};
use super::object::{self, Member};
use super::problem::Problems;
use super::{field, framing, time, vocabulary};
use crate::clock::Micros;
use crate::limits::{EVENT_BYTES_MAX, EVENT_ID_BYTES_MAX, EVENT_KEYS_MAX};
use crate::schema::{COLUMNS, Column, Origin};
use crate::view_event::Value;
use std::borrow::Cow;

const _: () = assert!(COLUMNS.len() <= 128, "a set of columns is a u128");

/// What an event says, before it has an id and a place in time.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub given_id: Option<Cow<'a, str>>,
    pub event_type: Option<Cow<'a, str>>,
    pub event_time: Option<Micros>,
    pub sent_at: Option<Micros>,
    pub session_id: Option<Cow<'a, str>>,
    pub fields: Vec<(Column, Value<'a>)>,
    pub custom: Custom<'a>,
    pub problems: Problems,
    /// Bit n: the key of column n was there, be it null.
    seen: u128,
}

/// The columns of the last event's keys, in their order: encoders keep it, so that one look at a name is enough.
#[derive(Default)]
pub(super) struct KeyOrder(Vec<Option<Column>>);

impl KeyOrder {
    /// The column of the key at `position`, of [`EVENT_KEYS_MAX`] at most.
    fn column(&mut self, position: usize, key: &str) -> Option<Column> {
        if let Some(Some(column)) = self.0.get(position)
            && column.name() == key
        {
            return Some(*column);
        }
        if self.0.len() <= position {
            self.0.resize(position + 1, None);
        }
        self.0[position] = Column::by_name(key);
        self.0[position]
    }
}

impl<'a> Draft<'a> {
    /// Reads the object `text`; its members are left in `members`.
    pub(super) fn read(text: &'a str, members: &mut Vec<Member<'a>>, order: &mut KeyOrder) -> Self {
        members.clear();
        let mut draft = Draft::default();
        if text.len() > EVENT_BYTES_MAX {
            let bytes = text.len();
            draft.problems.add(format!("expected an event of at most {EVENT_BYTES_MAX} bytes of JSON, got {bytes}"));
            return draft;
        }
        if let Err(problem) = object::members(text, EVENT_KEYS_MAX, members) {
            draft.problems.add(problem);
        }
        draft.fields.reserve(members.len());
        for (position, Member { key, value }) in members.iter().enumerate() {
            let value: &'a str = value;
            match order.column(position, key) {
                Some(column) => draft.column(column, value),
                None => draft.custom.add(key.clone(), value, &mut draft.problems),
            }
        }
        draft
    }

    fn column(&mut self, column: Column, raw: &'a str) {
        let bit = 1u128 << column.index();
        let set = if self.seen & bit != 0 {
            Err("given twice".to_owned())
        } else if raw == "null" {
            Ok(())
        } else if column.spec().origin == Origin::Playhead {
            Err("set by Playhead, not by clients: leave it out".to_owned())
        } else {
            self.set(column, raw)
        };
        self.seen |= bit;
        if let Err(problem) = set {
            self.problems.add(format!("{}: {problem}", column.name()));
        }
    }

    fn set(&mut self, column: Column, raw: &'a str) -> Result<(), String> {
        match column {
            Column::EVENT_ID => self.given_id = Some(not_empty(field::text(column, EVENT_ID_BYTES_MAX, raw)?)?),
            Column::EVENT_TIME => self.event_time = Some(time::read(raw)?),
            Column::SENT_AT => self.sent_at = Some(time::read(raw)?),
            Column::CUSTOM => self.custom.add_all(raw, &mut self.problems),
            _ => match (column, field::read(column, raw)?) {
                (Column::SESSION_ID, Value::Text(session_id)) => self.session_id = Some(not_empty(session_id)?),
                (Column::EVENT_TYPE, Value::Text(event_type)) => {
                    vocabulary::check(&event_type)?;
                    self.event_type = Some(event_type);
                }
                (_, value) => self.fields.push((column, value)),
            },
        }
        Ok(())
    }

    /// Notes what is required and not there. A key that was there with a bad value is noted already.
    pub(super) fn require(&mut self) {
        if !self.problems.is_empty() {
            return;
        }
        if self.event_type.is_none() {
            self.problems.add("event_type: missing, every event has one".to_owned());
        }
        if self.event_time.is_none() {
            self.problems.add("event_time: missing, every event has one".to_owned());
        }
        if self.event_type.as_deref() == Some(vocabulary::PLAY) && !self.has_content() {
            self.problems.add("content_id: missing, an event of type play says what is played".to_owned());
        }
    }

    fn has_content(&self) -> bool {
        let content = self.fields.iter().find(|(column, _)| *column == Column::CONTENT_ID);
        content.is_some_and(|(_, value)| *value != Value::Text("".into()))
    }
}

/// An empty id is a client's variable that was never set: taken as an id, it would make all such events one.
fn not_empty(id: Cow<'_, str>) -> Result<Cow<'_, str>, String> {
    if id.is_empty() { Err("must not be empty: leave the key out".to_owned()) } else { Ok(id) }
}

/// The fields that a content hash is over, sorted by key: all but `sent_at`, which a retry may change, and nulls.
/// Only for events without problems: then every value has a text.
pub(super) fn content<'m>(members: &'m mut [Member<'_>]) -> impl Iterator<Item = (&'m str, Cow<'m, str>)> {
    members.sort_unstable_by(|left, right| left.key.as_bytes().cmp(right.key.as_bytes()));
    let sent = members.iter().filter(|member| member.value != "null" && member.key != Column::SENT_AT.name());
    sent.map(|member| {
        let Ok(text) = custom::text(member.value) else { unreachable!("a draft without problems has only text") };
        (member.key.as_ref(), text)
    })
}

/// The rejection of an event that is no UTF-8, with its id where that can be read all the same.
pub(super) fn not_utf8(bytes: &[u8]) -> (Option<String>, String) {
    let valid = std::str::from_utf8(bytes).err().map_or(bytes.len(), |error| error.valid_up_to());
    let reason = format!("not valid UTF-8 at byte {valid} of the event");
    if bytes.len() > EVENT_BYTES_MAX {
        return (None, reason);
    }
    let copy = framing::masked(bytes);
    let mut members = Vec::new();
    let event_id = Draft::read(&copy, &mut members, &mut KeyOrder::default()).given_id;
    // An id that has a byte masked is not the client's.
    let event_id = event_id.map(String::from).filter(|id| bytes.windows(id.len()).any(|part| part == id.as_bytes()));
    (event_id, reason)
}
