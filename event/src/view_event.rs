//! One event, decoded and checked, before it becomes a row.
use crate::clock::Micros;
use crate::schema::Column;
use std::borrow::Cow;

/// A value of a column. Kinds and ranges are the column's ([`Column::kind`]).
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Utf8 and dictionary columns.
    Text(Cow<'a, str>),
    /// Int16, Int32 and Int64 columns, already in range.
    Int(i64),
    /// Float32 columns, finite.
    Float(f32),
    /// Boolean columns.
    Bool(bool),
    /// Timestamp columns.
    Time(Micros),
}

/// One valid event. `fields` holds the optional columns that are present, in any order, each once.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewEvent<'a> {
    /// The dedup key within the tenant (`identity`).
    pub event_id: [u8; 16],
    /// Client's time after the correction of its skew.
    pub event_time: Micros,
    /// The session, if it has one: what the event is routed by.
    pub session_id: Option<Cow<'a, str>>,
    /// `event_type`.
    pub event_type: Cow<'a, str>,
    /// Every other client column, and `event_time_raw` where the client's clock was corrected.
    pub fields: Vec<(Column, Value<'a>)>,
    /// Unknown keys, in the order sent.
    pub custom: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> ViewEvent<'a> {
    /// The value of an optional column, if the event has one. (`event_id`, `event_time`, `session_id`, `event_type`
    /// and `custom` have fields of their own.)
    pub fn field(&self, column: Column) -> Option<&Value<'a>> {
        self.fields.iter().find(|(present, _)| *present == column).map(|(_, value)| value)
    }
}
