//! Every answer that is not 2xx: RFC 9457 problem details with a stable `type`.
//!
//! `type` is `urn:playhead:problem:NAME`. Clients may rely on the names and statuses of this table:
//!
//! | name                   | status | what it means, and what the client does                                   |
//! |------------------------|--------|---------------------------------------------------------------------------|
//! | `malformed-body`       | 400    | the body is no JSON or NDJSON of events; nothing was taken; mend it        |
//! | `malformed-encoding`   | 400    | the body is not what `Content-Encoding` says; mend it                      |
//! | `malformed-header`     | 400    | a header can't be used; `detail` names it                                  |
//! | `not-found`            | 404    | no such path; `detail` says where to post                                  |
//! | `method-not-allowed`   | 405    | see `Allow`                                                                |
//! | `request-timeout`      | 408    | the body did not arrive in time; send it again                             |
//! | `body-too-large`       | 413    | over a bound of bytes or ratio; send smaller bodies                        |
//! | `too-many-events`      | 413    | over the bound of events; split the body                                   |
//! | `unsupported-encoding` | 415    | see `Accept-Encoding`                                                      |
//! | `all-rejected`         | 422    | every event is invalid; `rejected` says why; mend them                     |
//! | `batch-not-encodable`  | 500    | a bug of ours: a batch could not be written; please report it              |
//! | `log-full`             | 503    | nothing was written; try again after `Retry-After`                         |
//! | `log-unavailable`      | 503    | perhaps written; try again, events with ids or sessions are deduplicated   |
//! | `append-timeout`       | 503    | perhaps written; try again, as above                                       |
//! | `overloaded`           | 503    | no room for the request now; try again after `Retry-After`                 |
//! | `stopping`             | 503    | this node stops; try again, elsewhere if there is an elsewhere             |
//!
//! What HTTP itself forbids (a request line that is none, heads over 16 KiB) is answered 400 or 431 without a body,
//! and the connection closes.
use crate::receipt::Rejected;
use bytes::Bytes;
use event::decode::Rejection;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// A kind of problem: a line of the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 400
    MalformedBody,
    /// 400
    MalformedEncoding,
    /// 400
    MalformedHeader,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 413
    BodyTooLarge,
    /// 413
    TooManyEvents,
    /// 415
    UnsupportedEncoding,
    /// 422
    AllRejected,
    /// 500
    BatchNotEncodable,
    /// 503
    LogFull,
    /// 503
    LogUnavailable,
    /// 503
    AppendTimeout,
    /// 503
    Overloaded,
    /// 503
    Stopping,
}

impl Kind {
    /// Its name, status, and title.
    fn describe(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Kind::MalformedBody => ("malformed-body", StatusCode::BAD_REQUEST, "The body can't be read"),
            Kind::MalformedEncoding => {
                ("malformed-encoding", StatusCode::BAD_REQUEST, "The body is not what Content-Encoding says")
            }
            Kind::MalformedHeader => ("malformed-header", StatusCode::BAD_REQUEST, "A header can't be used"),
            Kind::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is nothing here"),
            Kind::MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "This path takes other methods")
            }
            Kind::RequestTimeout => ("request-timeout", StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time"),
            Kind::BodyTooLarge => ("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Kind::TooManyEvents => ("too-many-events", StatusCode::PAYLOAD_TOO_LARGE, "The body has too many events"),
            Kind::UnsupportedEncoding => {
                ("unsupported-encoding", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The Content-Encoding is not supported")
            }
            Kind::AllRejected => {
                ("all-rejected", StatusCode::UNPROCESSABLE_ENTITY, "Every event of the body is invalid")
            }
            Kind::BatchNotEncodable => {
                ("batch-not-encodable", StatusCode::INTERNAL_SERVER_ERROR, "The events could not be written")
            }
            Kind::LogFull => ("log-full", StatusCode::SERVICE_UNAVAILABLE, "The log is full"),
            Kind::LogUnavailable => {
                ("log-unavailable", StatusCode::SERVICE_UNAVAILABLE, "The log did not acknowledge the events")
            }
            Kind::AppendTimeout => {
                ("append-timeout", StatusCode::SERVICE_UNAVAILABLE, "The log did not acknowledge the events in time")
            }
            Kind::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "No room for the request now"),
            Kind::Stopping => ("stopping", StatusCode::SERVICE_UNAVAILABLE, "This node is stopping"),
        }
    }

    /// The name, as in `type` and in the label `reason` of `playhead_ingest_refused_total`.
    pub fn name(self) -> &'static str {
        self.describe().0
    }

    /// The status.
    pub fn status(self) -> StatusCode {
        self.describe().1
    }

    /// `Retry-After` in seconds: longer where retention has to free the disk first.
    fn retry_after_s(self) -> Option<u32> {
        match self {
            Kind::LogFull => Some(5),
            Kind::LogUnavailable | Kind::AppendTimeout | Kind::Overloaded | Kind::Stopping => Some(2),
            _ => None,
        }
    }
}

/// A problem with what happened in this case.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    rejected: Vec<Rejection>,
}

/// The body: RFC 9457's members, and for `all-rejected` the list.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Rejected<'a>>,
    /// Rejected events that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_more: Option<usize>,
}

impl Problem {
    /// A problem; `detail` says what happened and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem { kind, detail: detail.into(), headers: Vec::new(), rejected: Vec::new() }
    }

    /// Every event was rejected.
    pub fn all_rejected(rejected: Vec<Rejection>) -> Self {
        let detail = format!("all {} events of the body are invalid, none was taken: see `rejected`", rejected.len());
        Problem { rejected, ..Problem::new(Kind::AllRejected, detail) }
    }

    /// With a further header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Events rejected one by one.
    pub fn rejected(&self) -> usize {
        self.rejected.len()
    }

    /// The answer.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let (name, status, title) = self.kind.describe();
        let listed = self.rejected.len().min(crate::limits::REJECTED_LISTED_MAX);
        let document = Document {
            kind: format!("urn:playhead:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            accepted: (self.kind == Kind::AllRejected).then_some(0),
            rejected: self.rejected[..listed].iter().map(Rejected::from).collect(),
            rejected_more: (listed < self.rejected.len()).then(|| self.rejected.len() - listed),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.kind.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers.extend(self.headers);
        response
    }
}
