//! A `playhead up` of its own for a test: started on free ports, ended by signal.
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use testbed::process::{Running, bound_copy};

/// The program under test.
pub const PLAYHEAD: &str = env!("CARGO_BIN_EXE_playhead");
/// A test waits this long for a start.
const START_MAX: Duration = Duration::from_secs(120);
/// And this long for a command that ends by itself.
const COMMAND_MAX: Duration = Duration::from_secs(300);

/// A running node. Dropping it kills it.
pub struct Node {
    child: Running,
    pub listen: String,
    pub admin: String,
}

/// The program without any setting of the surroundings.
pub fn program() -> Command {
    let mut command = Command::new(PLAYHEAD);
    without_settings(&mut command);
    command
}

/// Takes out of a command what the surroundings could set for Playhead.
pub fn without_settings(command: &mut Command) {
    command.env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PLAYHEAD_")) {
        command.env_remove(name);
    }
}

/// A command with everything that the surroundings could change taken out.
pub fn playhead(data: &Path) -> Command {
    let mut command = program();
    command.arg("--data").arg(data);
    quickly(&mut command, data);
    command
}

/// The same with a configuration of its own, beside the data.
pub fn with_settings(data: &Path, settings: &str) -> Command {
    let file = data.parent().unwrap().join("settings.toml");
    std::fs::write(&file, settings).unwrap();
    let mut command = playhead(data);
    command.arg("--config").arg(file);
    command
}

/// Flushes soon, and logs what is wrong.
pub fn quickly(command: &mut Command, data: &Path) {
    command.env("RUST_LOG", "warn").env("PLAYHEAD_SINK__FLUSH_AGE_MS", "300").current_dir(data.parent().unwrap());
}

/// Runs a command to its end.
pub fn output(command: &Command) -> Output {
    testbed::process::output(command, COMMAND_MAX)
}

/// Starts a command beside the test, its stdout a pipe.
pub fn spawn(command: &Command) -> Running {
    let mut command = bound_copy(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Running::start(command)
}

/// The first line that a role prints with `--json`.
pub fn first_line(child: &mut Running, limit: Duration) -> Value {
    let line = child.line(limit, |_| true);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: first line was {line:?}"))
}

/// Starts `command up` on the given addresses and waits until it is ready.
pub fn start(command: Command, listen: &str, admin: &str) -> Node {
    start_within(command, listen, admin, START_MAX)
}

pub fn start_within(mut command: Command, listen: &str, admin: &str, limit: Duration) -> Node {
    command.args(["up", "--json", "--listen", listen, "--admin", admin]);
    let mut child = spawn(&command);
    let line = first_line(&mut child, limit);
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    Node { child, listen: text("listening"), admin: text("admin") }
}

impl Node {
    /// A node on free ports.
    pub fn new(data: &Path) -> Node {
        start(playhead(data), "127.0.0.1:0", "127.0.0.1:0")
    }

    /// SIGKILL: no instruction of ours runs any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit must be clean and within 30 s.
    pub fn stop(mut self) {
        let started = Instant::now();
        signal(self.child.id(), "TERM");
        while started.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "exit after SIGTERM: {status}");
                return;
            }
            pause(Duration::from_millis(20));
        }
        panic!("still there 30 s after SIGTERM");
    }

    /// Waits for an end that somebody else brings about.
    pub fn wait(self) {
        let status = self.end();
        assert!(status.success(), "{status}");
    }

    /// Waits for the end, whatever it is.
    pub fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// POSTs one body; status and body of the answer.
    pub fn post(&self, content_type: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.listen).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The answer may come, and the connection close, before all of a refused body is sent.
        let _ = stream.write_all(body);
        answer(stream)
    }

    /// GETs from the admin address.
    pub fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        answer(stream)
    }

    /// Resident memory in bytes, from /proc.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// Reads a whole HTTP/1.1 answer of a connection that closes.
pub fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no HTTP answer in {text:?}")), body)
}

/// Sends a signal by name to a process of this test.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success());
}

#[allow(clippy::disallowed_methods, reason = "a test that watches other processes has nothing to await")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The last line of stdout as JSON, and the exit code.
pub fn result(output: &Output) -> (i32, Value) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default();
    let value = serde_json::from_str(last).unwrap_or_else(|error| {
        panic!("{error}: stdout {stdout:?}, stderr {:?}", String::from_utf8_lossy(&output.stderr))
    });
    (output.status.code().unwrap(), value)
}

/// `playhead audit --json`, with the acknowledged ids if there are any.
pub fn audit(data: &Path, acked: Option<&Path>) -> (i32, Value) {
    let mut command = playhead(data);
    command.args(["audit", "--json"]);
    if let Some(acked) = acked {
        command.arg("--acked").arg(acked);
    }
    result(&output(&command))
}

/// A valid event as JSON, with the id and the session.
pub fn event(id: &str, session: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","event_type":"heartbeat","event_time":{},"session_id":"{session}","content_id":"m1","playhead_ms":1000,"note":"custom"}}"#,
        now_ms()
    )
}

#[allow(clippy::disallowed_methods, reason = "events of a test happen now")]
pub fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

/// A fresh id.
#[allow(clippy::disallowed_methods, reason = "a test needs ids that nobody had before")]
pub fn id() -> String {
    uuid::Uuid::new_v4().to_string()
}
