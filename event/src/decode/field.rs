//! One JSON value to one column's value, by the column's kind.
use super::problem::excerpt;
use super::time;
use crate::schema::{Column, Kind};
use crate::view_event::Value;
use std::borrow::Cow;

/// Up to here every integer is a double of its own.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// A column's value from the JSON text `raw`, which is not null. The error says what was expected and what came.
pub(super) fn read<'a>(column: Column, raw: &'a str) -> Result<Value<'a>, String> {
    match column.kind() {
        Kind::Text { bytes_max } | Kind::Dictionary { bytes_max } => text(column, bytes_max, raw).map(Value::Text),
        Kind::Int16 => integer(raw, i16::MIN.into(), i16::MAX.into()).map(Value::Int),
        Kind::Int32 => integer(raw, i32::MIN.into(), i32::MAX.into()).map(Value::Int),
        Kind::Int64 => integer(raw, i64::MIN, i64::MAX).map(Value::Int),
        Kind::Float32 => float(raw).map(Value::Float),
        Kind::Boolean => boolean(raw).map(Value::Bool),
        Kind::Time => time::read(raw).map(Value::Time),
        Kind::EventId | Kind::Custom => unreachable!("{} is not a plain value", column.name()),
    }
}

/// True for ids: clients number sessions, viewers and titles, so an integer's decimal text is taken for a string.
fn may_be_number(column: Column) -> bool {
    matches!(column.name(), "event_id" | "session_id" | "viewer_id" | "user_id" | "content_id")
}

/// A string of at most `bytes_max` bytes; ids may be integers.
pub(super) fn text(column: Column, bytes_max: usize, raw: &str) -> Result<Cow<'_, str>, String> {
    let text = if raw.starts_with('"') {
        unquote(raw)?
    } else if may_be_number(column) && is_integer(raw) {
        Cow::Borrowed(raw)
    } else {
        let or_integer = if may_be_number(column) { " or an integer" } else { "" };
        return Err(format!("expected a string{or_integer}, got {}", excerpt(raw)));
    };
    if text.len() > bytes_max {
        let bytes = text.len();
        return Err(format!("expected a string of at most {bytes_max} bytes, got {bytes} bytes: {}", excerpt(raw)));
    }
    Ok(text)
}

/// What a JSON string says. `quoted` is a whole JSON string with its quotes.
pub(super) fn unquote(quoted: &str) -> Result<Cow<'_, str>, String> {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(quoted);
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let text = serde_json::from_str::<String>(quoted);
    text.map(Cow::Owned).map_err(|_| format!("expected Unicode text, got half a surrogate pair: {}", excerpt(quoted)))
}

fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// True for the text of a JSON number; `raw` is valid JSON.
pub(super) fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn integer(raw: &str, min: i64, max: i64) -> Result<i64, String> {
    let whole = if is_integer(raw) { raw.parse().ok() } else { whole_float(raw) };
    let in_range = whole.filter(|value| (min..=max).contains(value));
    in_range.ok_or_else(|| format!("expected an integer from {min} to {max}, got {}", excerpt(raw)))
}

/// `12.0` and `1.2e1` are integers to clients whose only number is a double.
fn whole_float(raw: &str) -> Option<i64> {
    let value: f64 = if is_number(raw) { raw.parse().ok()? } else { return None };
    (value.fract() == 0.0 && value.abs() <= EXACT_INTEGER_MAX).then_some(value as i64)
}

fn float(raw: &str) -> Result<f32, String> {
    let value = if is_number(raw) { raw.parse::<f32>().ok() } else { None };
    let finite = value.filter(|value| value.is_finite());
    finite.ok_or_else(|| format!("expected a number of at most {:e} either way, got {}", f32::MAX, excerpt(raw)))
}

fn boolean(raw: &str) -> Result<bool, String> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("expected true or false, got {}", excerpt(raw))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_be_written_as_floats_without_fraction() {
        assert_eq!(integer("12", 0, 99), Ok(12));
        assert_eq!(integer("12.0", 0, 99), Ok(12));
        assert_eq!(integer("1.2e1", 0, 99), Ok(12));
        assert_eq!(integer("-0", 0, 99), Ok(0));
        assert_eq!(integer("-9223372036854775808", i64::MIN, i64::MAX), Ok(i64::MIN));
        for bad in ["12.5", "100", "1e2", "-1", "1e400", "9223372036854775808", "9e18", "\"12\"", "true", "[]", "{}"] {
            let reason = integer(bad, 0, 99).unwrap_err();
            assert!(reason.starts_with("expected an integer from 0 to 99, got "), "{bad}: {reason}");
        }
    }

    #[test]
    fn floats_are_finite() {
        assert_eq!(float("1.5"), Ok(1.5));
        assert_eq!(float("2"), Ok(2.0));
        for bad in ["1e39", "-1e400", "\"1\"", "false", "\"inf\"", "\"NaN\""] {
            assert!(float(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_ids_may_be_numbers() {
        assert_eq!(text(Column::SESSION_ID, 64, "-42"), Ok("-42".into()));
        assert!(text(Column::SESSION_ID, 64, "4.2").is_err());
        let cdn = Column::by_name("cdn").unwrap();
        assert_eq!(text(cdn, 64, "42"), Err("expected a string, got 42".to_owned()));
    }

    #[test]
    fn escapes_are_decoded_and_half_a_pair_is_refused() {
        assert_eq!(unquote(r#""a\u00e9\n\ud83d\ude00""#), Ok("a\u{e9}\n\u{1f600}".into()));
        assert!(matches!(unquote(r#""plain""#), Ok(Cow::Borrowed("plain"))));
        assert!(unquote(r#""\ud800""#).unwrap_err().contains("surrogate"));
    }

    #[test]
    fn a_string_may_be_as_long_as_its_column_says() {
        let exact = format!("\"{}\"", "x".repeat(64));
        assert_eq!(text(Column::SESSION_ID, 64, &exact).unwrap().len(), 64);
        let over = format!("\"{}\"", "x".repeat(65));
        assert!(text(Column::SESSION_ID, 64, &over).unwrap_err().contains("at most 64 bytes, got 65 bytes"));
    }
}
