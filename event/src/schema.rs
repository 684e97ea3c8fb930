//! The canonical columns, once: names, types, bounds, who sets them.
//!
//! Everything that knows a column knows it from here: the JSON decoder its range, the batch builder its builder,
//! the codec its type, the lake its table column. Evolution only adds columns, at the end of [`COLUMNS`] or beside
//! their kin, always nullable, and raises [`SCHEMA_VERSION`]; readers fill what a record does not have with nulls.
//!
//! Not for table-only columns: `event_date`, `_topic`, `_partition`, `_offset` and `_row` are the lake's.
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use hashbrown::HashMap;
use std::sync::{Arc, LazyLock};

/// Version of the canonical schema; evolution only adds columns.
pub const SCHEMA_VERSION: i16 = 1;

/// Time zone of every timestamp column.
pub const TIME_ZONE: &str = "UTC";

/// Bytes of an event id.
pub const EVENT_ID_BYTES: usize = 16;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Utf8 of high cardinality, at most this many bytes.
    Text {
        /// Longest value accepted, bytes.
        bytes_max: usize,
    },
    /// Utf8 of low cardinality, at most this many bytes: Dictionary(Int32, Utf8).
    Dictionary {
        /// Longest value accepted, bytes.
        bytes_max: usize,
    },
    /// 16-bit signed integer.
    Int16,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// 32-bit float, finite.
    Float32,
    /// True or false.
    Boolean,
    /// Timestamp(Microsecond, "UTC").
    Time,
    /// FixedSizeBinary(16).
    EventId,
    /// Map<Utf8, Utf8> of the keys that have no column.
    Custom,
}

impl Kind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Text { .. } => DataType::Utf8,
            Kind::Dictionary { .. } => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Kind::Int16 => DataType::Int16,
            Kind::Int32 => DataType::Int32,
            Kind::Int64 => DataType::Int64,
            Kind::Float32 => DataType::Float32,
            Kind::Boolean => DataType::Boolean,
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(TIME_ZONE.into())),
            Kind::EventId => DataType::FixedSizeBinary(EVENT_ID_BYTES as i32),
            Kind::Custom => DataType::Map(CUSTOM_ENTRIES.clone(), false),
        }
    }

    /// Longest value of a string column, bytes; `None` for every other kind.
    pub const fn bytes_max(self) -> Option<usize> {
        match self {
            Kind::Text { bytes_max } | Kind::Dictionary { bytes_max } => Some(bytes_max),
            _ => None,
        }
    }
}

/// Who sets a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The client's JSON key of the same name.
    Client,
    /// Playhead; a client's key of this name is no value of this column.
    Playhead,
}

/// One canonical column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Column name, and the JSON key where the client sets it.
    pub name: &'static str,
    /// Type and bounds.
    pub kind: Kind,
    /// False: every row has a value.
    pub nullable: bool,
    /// Who sets it.
    pub origin: Origin,
    /// One line, with the unit.
    pub doc: &'static str,
}

/// Names of the map's parts as Parquet and Delta write them.
static CUSTOM_ENTRIES: LazyLock<Arc<Field>> = LazyLock::new(|| {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    Arc::new(Field::new("key_value", DataType::Struct(entry), false))
});

/// The field of `custom`'s entries: `key_value`, a struct of `key` (never null) and `value`.
pub fn custom_entries() -> Arc<Field> {
    CUSTOM_ENTRIES.clone()
}

const fn client(name: &'static str, kind: Kind, doc: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, nullable: true, origin: Origin::Client, doc }
}

const fn ours(name: &'static str, kind: Kind, doc: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, nullable: true, origin: Origin::Playhead, doc }
}

const fn required(spec: ColumnSpec) -> ColumnSpec {
    ColumnSpec { nullable: false, ..spec }
}

const fn text(bytes_max: usize) -> Kind {
    Kind::Text { bytes_max }
}

const fn dictionary(bytes_max: usize) -> Kind {
    Kind::Dictionary { bytes_max }
}

/// The canonical columns, in the order of the schema.
pub const COLUMNS: &[ColumnSpec] = &[
    required(client("event_id", Kind::EventId, "id of the event: the dedup key within the tenant")),
    required(ours("tenant_id", dictionary(64), "whose event it is; the write key says")),
    required(ours("source", dictionary(32), "the way it came in, e.g. http, kafka")),
    required(client("event_type", dictionary(64), "what happened, e.g. play, heartbeat; custom types begin with x-")),
    required(client("event_time", Kind::Time, "when it happened, the client's clock with its skew corrected, us UTC")),
    ours("event_time_raw", Kind::Time, "when it happened as the client's clock said, where that was corrected, us UTC"),
    client("sent_at", Kind::Time, "when the client sent it, by the client's clock, us UTC"),
    required(ours("received_at", Kind::Time, "when Playhead took it in, us UTC")),
    client("session_id", text(64), "the playback session; an event's partition follows from it"),
    client("seq", Kind::Int64, "the client's counter within the session"),
    client("viewer_id", text(128), "pseudonymous viewer or device"),
    client("user_id", text(128), "signed-in account, pseudonymous"),
    client("content_id", text(256), "what is played"),
    client("content_title", text(512), "its title, for people"),
    client("content_duration_ms", Kind::Int64, "length of the content, ms"),
    client("stream_type", dictionary(16), "vod, live or ll (low latency)"),
    client("stream_format", dictionary(32), "packaging, e.g. hls, dash"),
    client("player_state", dictionary(32), "state after the event, e.g. starting, playing, rebuffering, paused"),
    client("playhead_ms", Kind::Int64, "position in the content, ms; live: ms since 1970"),
    client("playback_rate", Kind::Float32, "speed, 1.0 is normal"),
    client("bitrate_kbps", Kind::Int32, "bitrate of the video rendition, kbit/s"),
    client("audio_bitrate_kbps", Kind::Int32, "bitrate of the audio rendition, kbit/s"),
    client("top_bitrate_kbps", Kind::Int32, "highest bitrate of the manifest, kbit/s"),
    client("throughput_kbps", Kind::Int32, "throughput as the player measured it, kbit/s"),
    client("buffer_ms", Kind::Int32, "media buffered ahead, ms"),
    client("live_latency_ms", Kind::Int64, "distance to the live edge, ms"),
    client("startup_ms", Kind::Int32, "from the intent to play to the first frame, ms"),
    client("rebuffer_ms", Kind::Int64, "length of this rebuffering, ms"),
    client("rebuffer_count_total", Kind::Int64, "rebufferings of the session so far"),
    client("rebuffer_ms_total", Kind::Int64, "time spent rebuffering in the session so far, ms"),
    client("width", Kind::Int16, "width of the video, pixels"),
    client("height", Kind::Int16, "height of the video, pixels"),
    client("player_width", Kind::Int16, "width of the player, pixels"),
    client("player_height", Kind::Int16, "height of the player, pixels"),
    client("dropped_frames_total", Kind::Int64, "frames dropped in the session so far"),
    client("error_code", text(256), "the player's code of an error"),
    client("error_fatal", Kind::Boolean, "true: playback ended by the error"),
    client("ad_id", text(256), "the ad"),
    client("ad_break_id", text(256), "the break that the ad is in"),
    client("ad_position", dictionary(32), "place of the break, e.g. preroll, midroll, postroll"),
    client("muted", Kind::Boolean, "no sound"),
    client("backgrounded", Kind::Boolean, "the player's page or app is in the background"),
    client("fullscreen", Kind::Boolean, "fills the screen"),
    client("not_rendered", Kind::Boolean, "plays without being shown"),
    client("device_type", dictionary(64), "e.g. tv, mobile, web, console"),
    client("os", dictionary(64), "operating system"),
    client("os_version", dictionary(64), "its version"),
    client("app", dictionary(128), "the app that holds the player"),
    client("app_version", dictionary(64), "its version"),
    client("player_name", dictionary(64), "the player's software"),
    client("player_version", dictionary(64), "its version"),
    client("connection_type", dictionary(32), "e.g. wifi, cellular, ethernet"),
    client("isp", dictionary(128), "internet service provider"),
    client("country", dictionary(16), "ISO 3166-1 alpha-2"),
    client("region", dictionary(64), "ISO 3166-2 subdivision, or its name"),
    client("asn", Kind::Int32, "number of the autonomous system"),
    client("cdn", dictionary(64), "content delivery network"),
    client("host", dictionary(256), "host that served the media"),
    client("resp_url", text(2048), "URL of a response that the event is about"),
    client("resp_code", Kind::Int16, "its HTTP status"),
    client("ttfb_ms", Kind::Int32, "its time to the first byte, ms"),
    client("ttlb_ms", Kind::Int32, "its time to the last byte, ms"),
    client("custom", Kind::Custom, "keys that have no column, as strings"),
    required(ours("schema_version", Kind::Int16, "version of this schema that the row was written with")),
];

static BY_NAME: LazyLock<HashMap<&'static str, Column>> =
    LazyLock::new(|| Column::all().map(|column| (column.name(), column)).collect());

static CANONICAL: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(Column::all().map(Column::field).collect::<Vec<_>>())));

/// A canonical column, by its position in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column(pub u8);

impl Column {
    /// `event_id`
    pub const EVENT_ID: Column = Column::named("event_id");
    /// `tenant_id`
    pub const TENANT_ID: Column = Column::named("tenant_id");
    /// `source`
    pub const SOURCE: Column = Column::named("source");
    /// `event_type`
    pub const EVENT_TYPE: Column = Column::named("event_type");
    /// `event_time`
    pub const EVENT_TIME: Column = Column::named("event_time");
    /// `event_time_raw`
    pub const EVENT_TIME_RAW: Column = Column::named("event_time_raw");
    /// `sent_at`
    pub const SENT_AT: Column = Column::named("sent_at");
    /// `received_at`
    pub const RECEIVED_AT: Column = Column::named("received_at");
    /// `session_id`
    pub const SESSION_ID: Column = Column::named("session_id");
    /// `content_id`
    pub const CONTENT_ID: Column = Column::named("content_id");
    /// `custom`
    pub const CUSTOM: Column = Column::named("custom");
    /// `schema_version`
    pub const SCHEMA_VERSION: Column = Column::named("schema_version");

    /// For constants: a name that is no column does not compile.
    const fn named(name: &str) -> Column {
        let mut index = 0;
        while index < COLUMNS.len() {
            if same(COLUMNS[index].name.as_bytes(), name.as_bytes()) {
                return Column(index as u8);
            }
            index += 1;
        }
        panic!("no such column")
    }

    /// All columns, in the order of the schema.
    pub fn all() -> impl ExactSizeIterator<Item = Column> {
        (0..COLUMNS.len()).map(|index| Column(index as u8))
    }

    /// The column named `name`.
    pub fn by_name(name: &str) -> Option<Column> {
        BY_NAME.get(name).copied()
    }

    /// Its specification. Only made by [`Column::by_name`], [`Column::all`] and the constants, a column is in range;
    /// any other number panics.
    pub fn spec(self) -> &'static ColumnSpec {
        &COLUMNS[self.index()]
    }

    /// Its position in the schema.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Its kind.
    pub fn kind(self) -> Kind {
        self.spec().kind
    }

    /// Its Arrow field.
    pub fn field(self) -> Field {
        let spec = self.spec();
        Field::new(spec.name, spec.kind.data_type(), spec.nullable)
    }
}

/// `==` of bytes, in constants.
const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The canonical Arrow schema (dictionaries, event_id FixedSizeBinary(16), custom Map): what `codec::decode` yields.
/// Built once; cheap to call.
pub fn canonical() -> SchemaRef {
    CANONICAL.clone()
}

const _: () = assert!(COLUMNS.len() <= 256, "a column's number is a u8");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_found_by_its_name() {
        for column in Column::all() {
            assert_eq!(Column::by_name(column.name()), Some(column), "a name is there twice: {}", column.name());
        }
        assert_eq!(Column::by_name("no_such_column"), None);
    }

    #[test]
    fn the_canonical_schema_has_the_columns_in_their_order() {
        let schema = canonical();
        assert_eq!(schema.fields().len(), COLUMNS.len());
        for column in Column::all() {
            let field = schema.field(column.index());
            assert_eq!(field.name(), column.name());
            assert_eq!(field.is_nullable(), column.spec().nullable);
        }
    }

    #[test]
    fn what_every_row_needs_is_what_identity_and_order_rest_on() {
        let required: Vec<_> = COLUMNS.iter().filter(|spec| !spec.nullable).map(|spec| spec.name).collect();
        let expected = ["event_id", "tenant_id", "source", "event_type", "event_time", "received_at", "schema_version"];
        assert_eq!(required, expected);
    }

    #[test]
    fn a_client_can_not_set_what_is_ours() {
        for name in ["tenant_id", "source", "received_at", "schema_version", "event_time_raw"] {
            assert_eq!(Column::by_name(name).unwrap().spec().origin, Origin::Playhead, "{name}");
        }
    }
}
