//! A role as a process of its own: started, hurt, looked at, ended. It listens on the same ports for its whole life.
use super::node::{answer, pause, signal};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use testbed::process::{Running, bound_copy};
use testbed::scratch::Port;

/// A stop takes at most this.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is shown of a process's log when its test fails.
const LOG_BYTES_SHOWN: usize = 20_000;

/// A running, stopped or killed role. Dropping it kills it, and shows the end of its log if the test failed.
pub struct Process {
    name: String,
    command: Command,
    child: Running,
    log: PathBuf,
    pub listen: String,
    pub admin: String,
    /// Its own also while it is dead.
    _ports: (Option<Port>, Port),
}

impl Process {
    /// Starts `command` with `--listen` (if it takes events) and `--admin`; its words go to the file `log`. Does not wait.
    pub fn start(name: &str, mut command: Command, listen: Option<Port>, admin: Port, log: PathBuf) -> Process {
        let address = listen.as_ref().map(Port::address).unwrap_or_default();
        if listen.is_some() {
            command.args(["--listen", &address]);
        }
        command.args(["--admin", &admin.address()]);
        let child = spawn(&command, &log);
        let (name, admin_address) = (name.to_owned(), admin.address());
        Process { name, command, child, log, listen: address, admin: admin_address, _ports: (listen, admin) }
    }

    /// SIGKILL: no instruction of ours runs any more.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after a kill or an end. Does not wait.
    pub fn restart(&mut self) {
        self.child = spawn(&self.command, &self.log);
    }

    /// SIGSTOP: it holds what it holds, and answers nothing.
    pub fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }

    /// SIGTERM; what comes of it within 30 s.
    pub fn end(&mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < STOP_MAX, "{} is still there 30 s after SIGTERM", self.name);
            pause(LOOK_EVERY);
        }
    }

    /// SIGTERM; the exit must be clean.
    pub fn stop(&mut self) {
        let status = self.end();
        assert!(status.success(), "{} after SIGTERM: {status}", self.name);
    }

    /// Fails the test if it ended by itself.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended by itself: {ended:?}", self.name);
    }

    /// The answer of /readyz, `None` when there is none.
    pub fn readiness(&self) -> Option<(bool, Value)> {
        let (status, body) = get(&self.admin, "/readyz")?;
        Some((status == 200, serde_json::from_str(&body).ok()?))
    }

    /// Waits until it answers, ready or not: from then on SIGTERM ends it in order.
    pub fn wait_up(&mut self, limit: Duration) {
        let since = Instant::now();
        while self.readiness().is_none() {
            self.assert_alive();
            assert!(since.elapsed() < limit, "{} is not up after {limit:?}", self.name);
            pause(LOOK_EVERY);
        }
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&mut self, limit: Duration) {
        let since = Instant::now();
        loop {
            let answer = self.readiness();
            if matches!(answer, Some((true, _))) {
                return;
            }
            self.assert_alive();
            assert!(since.elapsed() < limit, "{} is not ready after {limit:?}: {answer:?}", self.name);
            pause(LOOK_EVERY);
        }
    }

    /// Waits until it says that it is not ready, for a reason that `wanted` accepts; the reason.
    pub fn wait_unready(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let since = Instant::now();
        loop {
            let answer = self.readiness();
            if let Some((false, answer)) = &answer
                && wanted(&answer["not_ready"].to_string())
            {
                return answer["not_ready"].to_string();
            }
            self.assert_alive();
            assert!(since.elapsed() < limit, "{} does not tell it within {limit:?}: {answer:?}", self.name);
            pause(LOOK_EVERY);
        }
    }

    /// Sum of a metric over its labels; 0 while it was never set.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = get(&self.admin, "/metrics").unwrap_or_else(|| panic!("{} shows no metrics", self.name));
        text.lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// POSTs one NDJSON body; status and body, `None` when no answer came.
    pub fn post(&self, events: &[String]) -> Option<(u16, String)> {
        let body = events.join("\n");
        let mut stream = connect(&self.listen)?;
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
        whole_answer(stream)
    }

    /// Resident memory in bytes, from /proc.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Open files and sockets, from /proc.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read(&self.log).unwrap_or_default();
            let end = &log[log.len().saturating_sub(LOG_BYTES_SHOWN)..];
            println!("---- the end of {}'s log ----\n{}", self.name, String::from_utf8_lossy(end));
        }
    }
}

/// Each life of the process writes on in the same file.
fn spawn(command: &Command, log: &Path) -> Running {
    let file = File::options().create(true).append(true).open(log).unwrap();
    let mut command = bound_copy(command);
    command.stdout(file.try_clone().unwrap()).stderr(file);
    Running::start(command)
}

fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    whole_answer(stream)
}

fn connect(address: &str) -> Option<TcpStream> {
    let address: SocketAddr = address.parse().unwrap();
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    Some(stream)
}

/// `None`: the connection closed, or hangs, without an answer.
fn whole_answer(stream: TcpStream) -> Option<(u16, String)> {
    let mut first = [0];
    matches!(stream.peek(&mut first), Ok(1)).then(|| answer(stream))
}
