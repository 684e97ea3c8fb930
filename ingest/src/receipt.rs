//! The answer to events that were taken: how many, where they stand in the log, and which were rejected.
use bytes::Bytes;
use event::decode::Rejection;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use log::Ack;
use serde::Serialize;

/// Where some of a request's events stand: in the record at `offset` of `partition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Partition.
    pub partition: u32,
    /// Offset of the record; other requests' events may be in it too.
    pub offset: u64,
    /// Events of this request in it.
    pub count: usize,
}

/// A rejected event, as it is written.
#[derive(Debug, Serialize)]
pub struct Rejected<'a> {
    index: u32,
    event_id: Option<&'a str>,
    reason: &'a str,
}

impl<'a> From<&'a Rejection> for Rejected<'a> {
    fn from(rejection: &'a Rejection) -> Self {
        Rejected { index: rejection.index, event_id: rejection.event_id.as_deref(), reason: &rejection.reason }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    accepted: usize,
    rejected: Vec<Rejected<'a>>,
    ack: &'static str,
    receipts: &'a [Receipt],
}

/// The answer once every accepted event is durable: 200 with the receipts, or 204 where the client prefers that and
/// nothing was rejected.
pub fn answer(receipts: &[Receipt], rejected: &[Rejection], ack: Ack, minimal: bool) -> Response<Full<Bytes>> {
    if minimal && rejected.is_empty() {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let applied = HeaderName::from_static("preference-applied");
        response.headers_mut().insert(applied, HeaderValue::from_static("return=minimal"));
        return response;
    }
    let document = Document {
        accepted: receipts.iter().map(|receipt| receipt.count).sum(),
        rejected: rejected.iter().map(Rejected::from).collect(),
        ack: match ack {
            Ack::Disk => "disk",
            Ack::Kafka => "kafka",
        },
        receipts,
    };
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// True when the client asks for `Prefer: return=minimal` (RFC 7240).
pub fn prefers_minimal(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';']));
    preferences.any(|preference| {
        let Some((name, value)) = preference.split_once('=') else { return false };
        name.trim().eq_ignore_ascii_case("return") && value.trim().trim_matches('"').eq_ignore_ascii_case("minimal")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preference_is_found_among_others() {
        let prefers = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(value));
            prefers_minimal(&headers)
        };
        assert!(prefers("return=minimal"));
        assert!(prefers("respond-async, wait=10, Return = \"minimal\""));
        assert!(!prefers("return=representation"));
        assert!(!prefers("minimal"));
        assert!(!prefers_minimal(&HeaderMap::new()));
    }
}
