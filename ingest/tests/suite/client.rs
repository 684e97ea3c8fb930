//! A raw HTTP/1.1 client: it can send what a proper one would not.
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing in these tests takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Asserts that it is a problem of this name and status.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, name: &str) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:playhead:problem:{name}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(self.header("retry-after").is_some(), status == 503, "{self:?}");
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(stream: TcpStream) -> Client {
        Client { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request without waiting for the answer.
    pub async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: edge\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes).await;
    }

    pub async fn post_with(&mut self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.request("POST", "/v1/events", headers, body).await;
        self.answer().await
    }

    pub async fn post(&mut self, body: impl ToString) -> Answer {
        self.post_with(&[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the connection was closed without an answer")
    }

    /// The next answer, or `None` when the connection is closed without one.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        self.answer_to(false).await
    }

    /// The answer to a HEAD request: without a body, whatever its length says.
    pub async fn answer_to_head(&mut self) -> Option<Answer> {
        self.answer_to(true).await
    }

    async fn answer_to(&mut self, head_only: bool) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read_more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..head_end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = if head_only { 0 } else { length.map_or(0, |(_, value)| value.parse().unwrap()) };
        while self.buffer.len() < length {
            assert!(self.read_more().await, "the answer was cut short: {head}");
        }
        let body = self.buffer.drain(..length).collect();
        Some(Answer { status, headers, body })
    }

    /// Reads something; false when the connection is closed or reset.
    async fn read_more(&mut self) -> bool {
        let read = timeout(HANGS, self.stream.read_buf(&mut self.buffer)).await.expect("neither answered nor closed");
        read.is_ok_and(|bytes| bytes > 0)
    }

    /// True when the server closes the connection without sending anything more.
    pub async fn is_closed(&mut self) -> bool {
        !self.read_more().await
    }

    /// True when nothing comes for a while.
    pub async fn hears_nothing(&mut self) -> bool {
        let patience = Duration::from_millis(150);
        self.buffer.is_empty() && timeout(patience, self.stream.read_buf(&mut self.buffer)).await.is_err()
    }
}
