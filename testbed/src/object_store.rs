//! An S3-compatible store (MinIO) with conditional puts, and the ways to hurt it.
use crate::installed;
use crate::process::{Process, bound, poll};
use crate::scratch::{self, Port};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

const BUCKET: &str = "lake";
const REGION: &str = "us-east-1";
const ACCESS_KEY: &str = "playhead-test";
const SECRET_KEY: &str = "not-a-secret-of-anything";
const START_LIMIT: Duration = Duration::from_secs(60);
/// Somebody else may take the port between our look and the server's bind.
const STARTS_MAX: u32 = 5;

/// A store of this test, with one bucket.
pub struct Store {
    // Dropped first: the process ends before its data goes.
    process: Process,
    port: Port,
    dir: TempDir,
}

impl Store {
    /// A fresh one, ready for requests. Ends when dropped, or with the process.
    pub fn start() -> Store {
        for _ in 1..STARTS_MAX {
            if let Some(store) = Store::try_start() {
                return store;
            }
        }
        Store::try_start().unwrap_or_else(|| panic!("the store met a taken port {STARTS_MAX} times"))
    }

    /// `None`: the port was taken in between.
    fn try_start() -> Option<Store> {
        let port = scratch::port();
        let dir = scratch::dir("store-");
        // A folder of the data is a bucket.
        fs::create_dir_all(dir.path().join("data").join(BUCKET)).expect("the store's data");
        let process = spawn(dir.path(), port.number);
        let mut store = Store { process, port, dir };
        match store.wait_until_ready() {
            Ok(()) => Some(store),
            Err(_) if store.process.printed().contains("already in use") => None,
            Err(why) => store.fail(&why),
        }
    }

    /// One for all tests of this process that do it no harm; use prefixes of their own.
    pub fn shared() -> &'static Store {
        static SHARED: OnceLock<Store> = OnceLock::new();
        SHARED.get_or_init(Store::start)
    }

    /// `http://127.0.0.1:PORT`, the same after a restart.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        BUCKET
    }

    /// Options for `lake.options` that reach it at `endpoint` (its own, or that of a proxy before it).
    pub fn options_at(&self, endpoint: &str) -> BTreeMap<String, String> {
        let options = [
            ("aws_endpoint", endpoint),
            ("aws_access_key_id", ACCESS_KEY),
            ("aws_secret_access_key", SECRET_KEY),
            ("aws_region", REGION),
            ("aws_allow_http", "true"),
        ];
        options.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same port and data; ready when it returns. One that still runs is killed first.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.dir.path(), self.port.number);
        if let Err(why) = self.wait_until_ready() {
            self.fail(&why);
        }
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let at = SocketAddr::from(([127, 0, 0, 1], self.port.number));
        let process = &mut self.process;
        let answer = poll(START_LIMIT, || match process.ended() {
            Some(status) => Some(Err(format!("the store ended: {status}"))),
            None => is_ready(at).then_some(Ok(())),
        });
        answer.unwrap_or_else(|| Err(format!("the store was not ready within {} s", START_LIMIT.as_secs())))
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}; it printed:\n{}", self.process.printed())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the store at {} printed:\n{}", self.endpoint(), self.process.printed());
        }
    }
}

fn spawn(dir: &Path, port: u16) -> Process {
    let mut command = bound(&installed::minio());
    command.args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")]).arg(dir.join("data"));
    // No console, no look for updates; its configuration lies in the data.
    let settings = [
        ("MINIO_ROOT_USER", ACCESS_KEY),
        ("MINIO_ROOT_PASSWORD", SECRET_KEY),
        ("MINIO_REGION", REGION),
        ("MINIO_BROWSER", "off"),
        ("MINIO_UPDATE", "off"),
    ];
    command.envs(settings).env("HOME", dir);
    Process::start(command, dir.join("output"))
}

/// MinIO's own check: with 200 it writes and reads.
fn is_ready(at: SocketAddr) -> bool {
    let limit = Duration::from_secs(5);
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&at, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"GET /minio/health/cluster HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
