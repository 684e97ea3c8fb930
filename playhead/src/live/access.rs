//! Who may look: with a token, who has it; without one, programs and pages of this machine.
use axum::http::{HeaderMap, StatusCode, header};
use std::net::{IpAddr, SocketAddr};

/// Headers by which a proxy says that somebody else asks.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// How a request is let in.
#[derive(Clone)]
pub struct Access {
    token: Option<String>,
    on_loopback: bool,
}

impl Access {
    /// With `token` (empty: none), for who connects to `address`.
    pub fn new(token: &str, address: SocketAddr) -> Access {
        let token = Some(token.to_owned()).filter(|token| !token.is_empty());
        Access { token, on_loopback: address.ip().is_loopback() }
    }

    /// For programs of this machine alone, whoever they are.
    pub fn of_this_machine() -> Access {
        Access { token: None, on_loopback: true }
    }

    /// `of_query`: the query's token, decoded. `Err`: the status to refuse with, and why.
    pub fn check(&self, headers: &HeaderMap, of_query: Option<&str>) -> Result<(), (StatusCode, &'static str)> {
        let Some(token) = &self.token else { return self.check_host(headers) };
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let of_header = header.and_then(|value| value.strip_prefix("Bearer "));
        // Who streams into a page can't set headers (EventSource).
        match of_header.or(of_query) {
            Some(given) if is_same(given.as_bytes(), token.as_bytes()) => Ok(()),
            Some(_) => Err((StatusCode::FORBIDDEN, "the token is not the one of live.token")),
            None => Err((StatusCode::UNAUTHORIZED, "send `Authorization: Bearer TOKEN`, or ?token=TOKEN")),
        }
    }

    /// A page of another site that has its name point to this machine (DNS rebinding) says that name here.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if !self.on_loopback {
            return Err((
                StatusCode::FORBIDDEN,
                "live.token is not set: figures are shown on this machine's loopback only",
            ));
        }
        if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
            return Err((
                StatusCode::FORBIDDEN,
                "a proxy's clients are not of this machine (live.token lets them look at /v1/live)",
            ));
        }
        if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
            return Err((
                StatusCode::FORBIDDEN,
                "pages of other sites may not ask (live.token lets them look at /v1/live)",
            ));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, port)| match port.parse::<u16>() {
            Ok(_) => name,
            Err(_) => host,
        });
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        match is_address || name.eq_ignore_ascii_case("localhost") {
            true => Ok(()),
            false => Err((StatusCode::FORBIDDEN, "ask by address, or as localhost (or with live.token, at /v1/live)")),
        }
    }
}

/// In a time that does not tell how much of it is right.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(access: &Access, headers: &[(header::HeaderName, &str)], query: Option<&str>) -> Option<u16> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        access.check(&headers, query).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn with_a_token_who_has_it_is_let_in_from_anywhere() {
        let access = Access::new("s3cret", "0.0.0.0:8080".parse().unwrap());
        assert_eq!(asked(&access, &[], None), Some(401));
        assert_eq!(asked(&access, &[(header::AUTHORIZATION, "Bearer s3cret")], None), None);
        assert_eq!(asked(&access, &[(header::AUTHORIZATION, "Bearer s3cre")], None), Some(403));
        assert_eq!(asked(&access, &[], Some("s3cret")), None);
        assert_eq!(asked(&access, &[], Some("other")), Some(403));
    }

    #[test]
    fn without_a_token_this_machine_alone_is_let_in_and_no_page_of_another_name() {
        let beyond = Access::new("", "0.0.0.0:8080".parse().unwrap());
        assert_eq!(asked(&beyond, &[(header::HOST, "127.0.0.1:8080")], None), Some(403));
        let here = Access::new("", "127.0.0.1:8080".parse().unwrap());
        for host in ["127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:8080", "[::1]"] {
            assert_eq!(asked(&here, &[(header::HOST, host)], None), None, "{host}");
        }
        let from = [(header::HOST, "127.0.0.1:8080"), (header::VIA, "1.1 nginx")];
        assert_eq!(asked(&here, &from, None), Some(403), "by a proxy");
        for host in ["evil.example:8080", "127.0.0.1.evil.example", ""] {
            assert_eq!(asked(&here, &[(header::HOST, host)], None), Some(403), "{host}");
        }
    }
}
