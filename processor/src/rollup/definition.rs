//! One `[[rollup]]` of the configuration, and those that everybody has.
use super::Refused;
use crate::limits::{LATENESS_MAX, NAME_BYTES_MAX, SQL_BYTES_MAX, WINDOW_MAX, WINDOW_MIN, WINDOWS_OF_EVENT_MAX};
use crate::windows::Windows;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A rollup: SQL over `events`, window by window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Names its table: lower-case letters, digits and underscores, a letter first.
    pub name: String,
    /// Length of a window, e.g. `1m`.
    #[serde(serialize_with = "to_text", deserialize_with = "from_text")]
    pub window: Duration,
    /// A window begins this often; without it windows do not overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "to_text_if_any", deserialize_with = "from_text_if_any")]
    pub slide: Option<Duration>,
    /// Events that are so much later than the latest are still counted before their window closes.
    #[serde(default = "lateness_default", serialize_with = "to_text", deserialize_with = "from_text")]
    pub allowed_lateness: Duration,
    /// `select ... from events where ... group by ...`
    pub sql: String,
}

fn lateness_default() -> Duration {
    Duration::from_secs(60)
}

impl Definition {
    /// Its windows; refused are a name, lengths and a text that no rollup can have.
    pub fn windows(&self) -> Result<Windows, Refused> {
        let named = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '_');
        let begins = self.name.starts_with(|first: char| first.is_ascii_lowercase());
        if !begins || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(named) {
            return Err(Refused::new(
                "its name is the name of a table",
                format!("take lower-case letters, digits and underscores, a letter first, {NAME_BYTES_MAX} at most"),
            ));
        }
        let slide = self.slide.unwrap_or(self.window);
        let lengths = [
            ("window", self.window, WINDOW_MIN, WINDOW_MAX),
            ("slide", slide, WINDOW_MIN, self.window),
            ("allowed_lateness", self.allowed_lateness, Duration::ZERO, LATENESS_MAX),
        ];
        for (what, length, least, most) in lengths {
            if length < least || length > most {
                return Err(Refused::new(
                    format!("{what} is {}", humantime::format_duration(length)),
                    format!(
                        "it must be from {} to {}; what is longer is merged from shorter windows when it is read",
                        humantime::format_duration(least),
                        humantime::format_duration(most)
                    ),
                ));
            }
        }
        if !self.window.as_micros().is_multiple_of(slide.as_micros()) || self.window > slide * WINDOWS_OF_EVENT_MAX {
            return Err(Refused::new(
                "slide does not divide window, or more than 60 times",
                "take a slide that window is 1 to 60 times as long as",
            ));
        }
        if self.sql.len() > SQL_BYTES_MAX {
            return Err(Refused::new(
                format!("its SQL has {} bytes", self.sql.len()),
                format!("at most {SQL_BYTES_MAX}"),
            ));
        }
        Ok(Windows::new(self.window, slide))
    }
}

fn to_text<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*length))
}

fn to_text_if_any<S: Serializer>(length: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match length {
        Some(length) => to_text(length, serializer),
        None => serializer.serialize_none(),
    }
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!("{text:?} is no length of time such as \"30s\" or \"1m\": {error}"))
    })
}

fn from_text_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    from_text(deserializer).map(Some)
}

/// Name and SQL of the rollups that everybody has, unless `rollup_defaults = false`; their windows are a minute.
const DEFAULTS: [(&str, &str); 4] = [
    (
        "audience",
        "select content_id, device_type, max(content_title) as content_title, count(*) as events, \
         count(*) filter (where event_type = 'play') as plays, \
         approx_distinct(session_id) as sessions, approx_distinct(viewer_id) as viewers \
         from events where content_id is not null group by content_id, device_type",
    ),
    (
        "quality",
        "select cdn, country, device_type, player_version, approx_distinct(session_id) as sessions, \
         count(*) filter (where event_type = 'play') as plays, \
         count(startup_ms) as startups, approx_percentile(startup_ms, 0.5) as startup_ms_p50, \
         approx_percentile(startup_ms, 0.95) as startup_ms_p95, \
         count(*) filter (where event_type = 'rebuffer_start') as rebuffers, sum(rebuffer_ms) as rebuffer_ms, \
         approx_percentile(bitrate_kbps, 0.5) as bitrate_kbps_p50, \
         count(*) filter (where event_type = 'error') as errors, \
         count(*) filter (where event_type = 'error' and error_fatal) as fatal_errors \
         from events group by cdn, country, device_type, player_version",
    ),
    (
        "errors",
        "select error_code, cdn, device_type, player_version, count(*) as errors, \
         count(*) filter (where error_fatal) as fatal_errors, approx_distinct(session_id) as sessions \
         from events where event_type = 'error' group by error_code, cdn, device_type, player_version",
    ),
    (
        "ads",
        "select ad_id, ad_position, count(*) filter (where event_type = 'ad_start') as impressions, \
         count(*) filter (where event_type = 'ad_end') as completions, \
         count(*) filter (where event_type = 'ad_skip') as skips, \
         count(*) filter (where event_type = 'ad_click') as clicks, \
         count(*) filter (where event_type = 'ad_error') as errors, approx_distinct(session_id) as sessions \
         from events where event_type in ('ad_start', 'ad_end', 'ad_skip', 'ad_click', 'ad_error') \
         group by ad_id, ad_position",
    ),
];

impl Definition {
    /// The rollups that everybody has.
    pub fn defaults() -> Vec<Definition> {
        let of = |(name, sql): (&str, &str)| Definition {
            name: name.to_owned(),
            window: Duration::from_secs(60),
            slide: None,
            allowed_lateness: lateness_default(),
            sql: sql.to_owned(),
        };
        DEFAULTS.map(of).to_vec()
    }
}
