//! What the edge measures. Labels come from closed sets: statuses, outcomes, names of problems.
use crate::problem::Kind;
use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Unit};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;

const REQUESTS: &str = "playhead_ingest_requests_total";
const REFUSED: &str = "playhead_ingest_refused_total";

/// Why a connection was refused: there are `ingest.connections_max` already.
pub const CONNECTION: &str = "connection";
/// Why a connection was refused: the limit of open files.
pub const NO_DESCRIPTORS: &str = "no-descriptors";
/// Why a connection was refused: anything else that `accept(2)` says.
pub const ACCEPT: &str = "accept";

/// Handles of the edge's metrics; made once, since looking one up costs more than counting.
pub struct Instruments {
    accepted: Counter,
    rejected: Counter,
    request_seconds: Histogram,
    body_bytes: Counter,
    connections: Gauge,
    batch_rows: Histogram,
    batch_bytes: Histogram,
    append_seconds: Histogram,
    ok: Counter,
    no_content: Counter,
}

impl Instruments {
    /// Describes all metrics and makes the handles, in the recorder that is installed now.
    pub fn new() -> Self {
        describe();
        begin_at_zero();
        Instruments {
            accepted: counter!("playhead_ingest_events_total", "outcome" => "accepted"),
            rejected: counter!("playhead_ingest_events_total", "outcome" => "rejected"),
            request_seconds: histogram!("playhead_ingest_request_seconds"),
            body_bytes: counter!("playhead_ingest_body_bytes_total"),
            connections: gauge!("playhead_ingest_connections"),
            batch_rows: histogram!("playhead_ingest_batch_rows"),
            batch_bytes: histogram!("playhead_ingest_batch_bytes"),
            append_seconds: histogram!("playhead_ingest_append_seconds"),
            ok: counter!(REQUESTS, "status" => "200"),
            no_content: counter!(REQUESTS, "status" => "204"),
        }
    }

    /// A request was answered.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        match status {
            StatusCode::OK => self.ok.increment(1),
            StatusCode::NO_CONTENT => self.no_content.increment(1),
            // Statuses come from `problem::Kind`: a closed set.
            other => counter!(REQUESTS, "status" => other.as_str().to_owned()).increment(1),
        }
        self.request_seconds.record(took.as_secs_f64());
    }

    /// A body came in, this large on the wire.
    pub fn received(&self, wire_bytes: usize) {
        self.body_bytes.increment(wire_bytes as u64);
    }

    /// Events were acknowledged.
    pub fn accepted(&self, events: usize) {
        self.accepted.increment(events as u64);
    }

    /// Events were rejected one by one.
    pub fn rejected(&self, events: usize) {
        self.rejected.increment(events as u64);
    }

    /// A request was refused.
    pub fn refused(&self, kind: Kind) {
        self.refused_because(kind.name());
    }

    /// A connection was refused.
    pub fn refused_because(&self, reason: &'static str) {
        counter!(REFUSED, "reason" => reason).increment(1);
    }

    /// A batch was encoded.
    pub fn encoded(&self, rows: usize, bytes: usize) {
        self.batch_rows.record(rows as f64);
        self.batch_bytes.record(bytes as f64);
    }

    /// An append came back.
    pub fn appended(&self, took: Duration) {
        self.append_seconds.record(took.as_secs_f64());
    }

    /// Counts a connection for as long as the result lives.
    pub fn connection(&self) -> OpenConnection {
        self.connections.increment(1.0);
        OpenConnection(self.connections.clone())
    }
}

/// An open connection; counted until dropped.
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Of what alerts go by: a counter that appears with its first value has not grown to Prometheus.
fn begin_at_zero() {
    let servers = [
        Kind::BatchNotEncodable,
        Kind::LogFull,
        Kind::LogUnavailable,
        Kind::AppendTimeout,
        Kind::Overloaded,
        Kind::Stopping,
    ];
    for kind in servers {
        counter!(REQUESTS, "status" => kind.status().as_str().to_owned()).increment(0);
    }
    for reason in servers.map(Kind::name).into_iter().chain([CONNECTION, NO_DESCRIPTORS, ACCEPT]) {
        counter!(REFUSED, "reason" => reason).increment(0);
    }
}

fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by status");
    describe_counter!("playhead_ingest_events_total", "Events acknowledged as durable, and events rejected");
    describe_counter!("playhead_ingest_body_bytes_total", Unit::Bytes, "Bytes of bodies as they came over the wire");
    describe_counter!(
        REFUSED,
        "Requests and connections refused, by the problem's name; no-descriptors: the limit of open files"
    );
    describe_gauge!("playhead_ingest_connections", "Open connections");
    describe_histogram!("playhead_ingest_request_seconds", Unit::Seconds, "From a request's headers to its answer");
    describe_histogram!("playhead_ingest_batch_rows", "Events in a record of the log");
    describe_histogram!("playhead_ingest_batch_bytes", Unit::Bytes, "Bytes of a record of the log with its headers");
    describe_histogram!("playhead_ingest_append_seconds", Unit::Seconds, "From an append to its acknowledgement");
}
