//! An S3-compatible store (MinIO) with conditional puts, and the ways to hurt it.
use std::collections::BTreeMap;

/// A store of this test, with one bucket.
pub struct Store {}

impl Store {
    /// A fresh one, ready for requests. Ends when dropped, or with the process.
    pub fn start() -> Store {
        panic!("being built")
    }

    /// One for all tests of this process that do it no harm; use prefixes of their own.
    pub fn shared() -> &'static Store {
        panic!("being built")
    }

    /// `http://127.0.0.1:PORT`, the same after a restart.
    pub fn endpoint(&self) -> String {
        panic!("being built")
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        "lake"
    }

    /// Options for `lake.options` that reach it at `endpoint` (its own, or that of a proxy before it).
    pub fn options_at(&self, endpoint: &str) -> BTreeMap<String, String> {
        let _ = endpoint;
        BTreeMap::new()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {}

    /// Starts again on the same port and data.
    pub fn restart(&mut self) {}

    /// SIGSTOP.
    pub fn pause(&self) {}

    /// SIGCONT.
    pub fn resume(&self) {}
}
