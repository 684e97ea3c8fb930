//! An HTTP proxy between a client and a store that lets requests fail by order.
use std::time::Duration;

/// What happens to a request that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this status; the store never sees it.
    Status(u16),
    /// The store takes it and answers, but the client's connection closes without the answer.
    LoseAnswer,
    /// The store takes it and answers; the client gets no answer for this long, then the connection closes.
    HangAfter(Duration),
    /// Passed on after this long.
    Delay(Duration),
}

/// A proxy of this test.
pub struct Proxy {}

impl Proxy {
    /// Before `upstream`, `http://HOST:PORT`.
    pub fn before(upstream: &str) -> Proxy {
        let _ = upstream;
        panic!("being built")
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        panic!("being built")
    }

    /// The next `times` requests with this method whose path contains `path` get `fault`. `method` "*": any.
    pub fn fail(&self, method: &str, path: &str, times: u32, fault: Fault) {
        let _ = (method, path, times, fault);
    }

    /// No more faults.
    pub fn heal(&self) {}

    /// Faults dealt out so far.
    pub fn dealt(&self) -> u32 {
        0
    }
}
