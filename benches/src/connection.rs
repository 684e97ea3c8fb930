//! Keep-alive HTTP/1.1 connections to one target: one request at a time on each, no pipelining.
use crate::options::{Error, Format, Target};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// A collector on the same continent connects in far less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// An answer that takes longer is taken for lost, and its request tried again.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A receipt that rejects 10,000 events with 400 bytes each.
const ANSWER_BYTES_MAX: usize = 4_000_000;

/// Where requests go, taken apart once.
#[derive(Debug)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    path: Uri,
    headers: HeaderMap,
    /// Resolved at the start: a resolver must not be what is measured.
    addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// Takes `target` apart, and says in words what is wrong with it.
    pub(crate) fn new(target: &Target) -> Result<Endpoint, Error> {
        let refuse = |why: &str| Error::Target(format!("--url {}: {why}", target.url));
        let uri: Uri = target.url.parse().map_err(|error| refuse(&format!("not a URL: {error}")))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(refuse("must be http://HOST:PORT (there is no TLS in the load generator)"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse("must end with the port: the path goes in --path"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("has no host"))?;
        let path: PathAndQuery = target
            .path
            .parse()
            .ok()
            .filter(|_| target.path.starts_with('/'))
            .ok_or_else(|| Error::Target(format!("--path {:?}: must be a path that begins with /", target.path)))?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| refuse("the host can't go in a header"))?;
        Ok(Endpoint {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: Uri::from(path),
            headers: headers(target, host)?,
            addresses: Vec::new(),
        })
    }

    /// Looks the host up.
    pub(crate) async fn resolve(&mut self) -> Result<(), Error> {
        let name = (self.host.as_str(), self.port);
        let failed = |why: String| Error::Target(format!("the host {} can't be looked up: {why}", self.host));
        self.addresses = tokio::net::lookup_host(name).await.map_err(|error| failed(error.to_string()))?.collect();
        if self.addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(()) }
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn headers(target: &Target, host: HeaderValue) -> Result<HeaderMap, Error> {
    let content_type = match target.format {
        Format::Ndjson => "application/x-ndjson",
        Format::Json => "application/json",
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("playhead-load"));
    for (name, value) in &target.headers {
        let refuse = |why: String| Error::Target(format!("--header '{name}: {value}': {why}"));
        let known: HeaderName = name.trim().parse().map_err(|_| refuse("not a header's name".to_owned()))?;
        if matches!(known, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION) {
            return Err(refuse("the connection sets this one itself".to_owned()));
        }
        headers.insert(known, value.trim().parse().map_err(|_| refuse("not a header's value".to_owned()))?);
    }
    Ok(headers)
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A connection; dropping it closes it.
pub(crate) struct Connection {
    requests: http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects. Needs a `LocalSet`: the connection's own work runs beside its requests, on their thread.
    pub(crate) async fn open(endpoint: &Endpoint) -> io::Result<Connection> {
        let connect = TcpStream::connect(endpoint.addresses.as_slice());
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // How it ends is told to the request that is under way; one without a request may end in peace.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Connection { requests })
    }

    /// Whether the next request can go. False when the server has closed it meanwhile.
    pub(crate) async fn ready(&mut self) -> bool {
        self.requests.ready().await.is_ok()
    }

    /// Posts a body and reads the answer to its end.
    ///
    /// # Errors
    /// The connection was lost, or the answer is no HTTP or too long: in each case the events' fate is not known.
    pub(crate) async fn post(&mut self, endpoint: &Endpoint, body: Bytes) -> Result<Answer, String> {
        let response = self.requests.send_request(endpoint.request(body)).await.map_err(|error| in_full(&error))?;
        let (parts, body) = response.into_parts();
        let body = if parts.status == StatusCode::NO_CONTENT {
            Bytes::new()
        } else {
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| in_full(&*error))?;
            body.to_bytes()
        };
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// An error with its causes: hyper's own words alone don't say why.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, path: &str, headers: &[(&str, &str)]) -> Target {
        Target {
            url: url.to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            format: Format::Ndjson,
        }
    }

    #[test]
    fn an_endpoint_is_taken_apart() {
        let endpoint = Endpoint::new(&target("http://[::1]:8080", "/v1/events?x=1", &[("Prefer", " return=minimal")]));
        let endpoint = endpoint.unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 8080));
        let request = endpoint.request(Bytes::new());
        assert_eq!(request.uri(), "/v1/events?x=1");
        assert_eq!(request.headers()["host"], "[::1]:8080");
        assert_eq!(request.headers()["prefer"], "return=minimal");
        assert_eq!(request.headers()["content-type"], "application/x-ndjson");
    }

    #[test]
    fn a_header_of_the_user_replaces_ours() {
        let target = target("http://collector", "/", &[("content-type", "text/plain")]);
        let endpoint = Endpoint::new(&target).unwrap();
        assert_eq!(endpoint.headers.get_all("content-type").iter().collect::<Vec<_>>(), ["text/plain"]);
        assert_eq!(endpoint.port, 80);
    }

    #[test]
    fn what_cannot_be_reached_is_refused_in_words() {
        for (url, path, headers, says) in [
            ("https://host", "/", vec![], "no TLS"),
            ("host:80", "/", vec![], "must be http://"),
            ("http://host/v1", "/", vec![], "--path"),
            ("http://host", "v1", vec![], "begins with /"),
            ("http://host", "/", vec![("a b", "c")], "header's name"),
            ("http://host", "/", vec![("Content-Length", "5")], "sets this one itself"),
        ] {
            let error = Endpoint::new(&target(url, path, &headers)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
