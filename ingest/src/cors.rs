//! CORS on every answer, errors too: a player's page that can't read a refusal sends the same events again and again.
//!
//! The origin is echoed with credentials allowed, since `*` is refused by browsers for requests with credentials
//! (Fetch standard), which several trackers send. The edge keeps no cookies, so an echoed origin gives nothing away.
use crate::limits::{CORS_HEADER_NAME_BYTES_MAX, CORS_HEADERS_ECHOED_MAX};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

/// What a page may always send.
const ALLOWED_HEADERS: [&str; 5] = ["content-type", "authorization", "idempotency-key", "prefer", "content-encoding"];

/// Lets the page that sent the request read the answer.
pub fn expose(request: &HeaderMap, response: &mut HeaderMap) {
    response.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = request.get(header::ORIGIN) else { return };
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
}

/// The answer to `OPTIONS`, of any path: a page must be able to read the 404 of a wrong one.
pub fn preflight(request: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    if request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        if let Ok(allowed) = HeaderValue::try_from(allowed_headers(request)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
    }
    response
}

/// Our own headers and those that the page asks for, as far as they are names of headers.
fn allowed_headers(request: &HeaderMap) -> String {
    let mut allowed: Vec<String> = ALLOWED_HEADERS.iter().map(|name| (*name).to_owned()).collect();
    let values = request.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let asked = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for name in asked.map(|name| name.trim().to_ascii_lowercase()) {
        if allowed.len() == ALLOWED_HEADERS.len() + CORS_HEADERS_ECHOED_MAX {
            break;
        }
        let is_name = name.len() <= CORS_HEADER_NAME_BYTES_MAX && http::HeaderName::try_from(&name).is_ok();
        if is_name && !allowed.contains(&name) {
            allowed.push(name);
        }
    }
    allowed.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking_for(names: &str) -> HeaderMap {
        let mut request = HeaderMap::new();
        request.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_str(names).unwrap());
        request
    }

    #[test]
    fn a_vendor_header_is_echoed_and_what_is_no_name_is_left_out() {
        let allowed = allowed_headers(&asking_for("Content-Type, X-Vendor-Key, not a name, a@b"));
        assert_eq!(allowed, "content-type, authorization, idempotency-key, prefer, content-encoding, x-vendor-key");
    }

    #[test]
    fn the_echo_is_bounded() {
        let many: Vec<String> = (0..500).map(|number| format!("x-{number}")).collect();
        let allowed = allowed_headers(&asking_for(&many.join(",")));
        assert_eq!(allowed.split(", ").count(), ALLOWED_HEADERS.len() + CORS_HEADERS_ECHOED_MAX);
        let long = "x".repeat(CORS_HEADER_NAME_BYTES_MAX + 1);
        assert!(!allowed_headers(&asking_for(&long)).contains(&long));
    }
}
