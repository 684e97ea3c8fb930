//! What an answer says about the events of a request.
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use std::time::Duration;

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All accepted but those at these positions: ascending, each once.
    Accepted { rejected: Vec<u32> },
    /// None accepted, and trying again won't help.
    Refused,
    /// Not now.
    Again { after: Option<Duration> },
    /// A 2xx whose figures don't add up: what became of the events can't be told.
    Contradictory,
}

/// The part of a collector's answer that is looked at.
#[derive(Deserialize)]
struct Receipt {
    accepted: Option<u64>,
    rejected: Vec<Rejection>,
}

#[derive(Deserialize)]
struct Rejection {
    index: u32,
}

/// Reads the answer to a request of `events` events.
///
/// A 2xx whose body is not `{accepted, rejected: [{index}]}` is some other collector's: all accepted. Where it is, each
/// event must be either accepted or rejected.
pub(crate) fn verdict(status: StatusCode, headers: &HeaderMap, body: &[u8], events: u64) -> Verdict {
    match status {
        StatusCode::NO_CONTENT => Verdict::Accepted { rejected: Vec::new() },
        _ if status.is_success() => match serde_json::from_slice::<Receipt>(body) {
            Ok(receipt) => receipt_verdict(receipt, events),
            Err(_) => Verdict::Accepted { rejected: Vec::new() },
        },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Verdict::Again { after: retry_after(headers) },
        _ if status.is_server_error() => Verdict::Again { after: retry_after(headers) },
        _ => Verdict::Refused,
    }
}

fn receipt_verdict(receipt: Receipt, events: u64) -> Verdict {
    let mut rejected: Vec<u32> = receipt.rejected.into_iter().map(|rejection| rejection.index).collect();
    rejected.sort_unstable();
    let distinct = rejected.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = rejected.last().is_none_or(|&last| u64::from(last) < events);
    let adds_up = receipt.accepted.is_none_or(|accepted| accepted + rejected.len() as u64 == events);
    if distinct && inside && adds_up { Verdict::Accepted { rejected } } else { Verdict::Contradictory }
}

/// Retry-After in seconds. (Its other form, a date, would need a wall clock: our own backoff is taken then.)
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Verdict {
        verdict(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), 3)
    }

    fn all() -> Verdict {
        Verdict::Accepted { rejected: vec![] }
    }

    #[test]
    fn a_receipt_names_the_rejected_by_position() {
        let body = r#"{"accepted":1,"rejected":[{"index":2,"reason":"x"},{"index":0,"event_id":null}],"ack":"disk"}"#;
        assert_eq!(of(200, body), Verdict::Accepted { rejected: vec![0, 2] });
        assert_eq!(of(200, r#"{"accepted":3,"rejected":[]}"#), all());
    }

    #[test]
    fn another_collectors_2xx_accepts_all() {
        for body in ["", "ok", "{}", "[]", r#"{"status":"success"}"#, r#"{"rejected":7}"#] {
            assert_eq!(of(200, body), all(), "{body}");
        }
        assert_eq!(of(204, ""), all());
        assert_eq!(of(202, ""), all());
    }

    #[test]
    fn a_receipt_that_does_not_add_up_says_nothing() {
        for body in [
            r#"{"accepted":3,"rejected":[{"index":0}]}"#,
            r#"{"accepted":1,"rejected":[]}"#,
            r#"{"rejected":[{"index":3}]}"#,
            r#"{"accepted":1,"rejected":[{"index":1},{"index":1}]}"#,
        ] {
            assert_eq!(of(200, body), Verdict::Contradictory, "{body}");
        }
    }

    #[test]
    fn what_may_pass_later_is_tried_again_and_what_is_wrong_is_not() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(of(status, ""), Verdict::Again { after: None }, "{status}");
        }
        for status in [301, 400, 401, 403, 404, 413, 415, 422] {
            assert_eq!(of(status, ""), Verdict::Refused, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "2".parse().unwrap());
        let two_seconds = Some(Duration::from_secs(2));
        assert_eq!(verdict(StatusCode::TOO_MANY_REQUESTS, &headers, b"", 1), Verdict::Again { after: two_seconds });
    }
}
