//! One Apache Kafka broker (KRaft), with the ways to hurt it.
//!
//! The node is broker and controller, and forgets nothing when it is killed: its data stays until it is dropped. Topics
//! are not made by themselves. Ready means that it answered a metadata request and stands in the answer.
use crate::installed;
use crate::process::{Process, bound, poll, spawn_bound_to_this_process};
use crate::scratch::{self, Port};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

pub mod secured;

const PROPERTIES: &str = include_str!("server.properties");
/// A start takes 1 to 3 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);
const TOOL_LIMIT: Duration = Duration::from_secs(120);
/// Somebody else may take a port between our look and the broker's bind.
const STARTS_MAX: u32 = 5;
/// Small, and quick to start rather than quick for ever: the first compiler only.
const JVM: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m"];

/// A broker of this test.
pub struct Broker {
    // Dropped first: the process ends before its data goes.
    process: Process,
    port: Port,
    _controller_port: Port,
    dir: TempDir,
}

impl Broker {
    /// A fresh one, a cluster of its own; ready for clients when it returns. Ends when dropped, or with the process.
    pub fn start() -> Broker {
        for _ in 1..STARTS_MAX {
            if let Some(broker) = Broker::try_start() {
                return broker;
            }
        }
        Broker::try_start().unwrap_or_else(|| panic!("the broker met a taken port {STARTS_MAX} times"))
    }

    /// `None`: a port was taken in between.
    fn try_start() -> Option<Broker> {
        let template = installed::kafka().join("formatted");
        Broker::launch(scratch::dir("kafka-"), "", |dir| format(&template, &dir.join("data")))
    }

    /// In `dir`: writes `server.properties` with these `additions`, which win over what is there, lets `format` make
    /// `data`, and starts.
    fn launch(dir: TempDir, additions: &str, format: impl FnOnce(&Path)) -> Option<Broker> {
        let (port, controller_port) = (scratch::port(), scratch::port());
        let properties = format!("{PROPERTIES}{additions}")
            .replace("@PORT@", &port.number.to_string())
            .replace("@CONTROLLER_PORT@", &controller_port.number.to_string())
            .replace("@DATA@", &dir.path().join("data").to_string_lossy());
        fs::write(dir.path().join("server.properties"), properties).expect("the broker's configuration");
        format(dir.path());
        let process = spawn(dir.path());
        let mut broker = Broker { process, port, _controller_port: controller_port, dir };
        match broker.wait_until_ready() {
            Ok(()) => Some(broker),
            Err(_) if broker.process.printed().contains("Address already in use") => None,
            Err(why) => broker.fail(&why),
        }
    }

    /// One for all tests of this process that do it no harm; use topics of their own.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::start)
    }

    /// `127.0.0.1:PORT`, the same after a restart.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// The cluster's id, different for each broker, the same after a restart.
    pub fn cluster_id(&self) -> String {
        let meta = fs::read_to_string(self.dir.path().join("data/meta.properties")).expect("meta.properties");
        meta.lines().find_map(|line| line.strip_prefix("cluster.id=")).expect("a cluster id").to_owned()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same ports and data; ready when it returns. One that still runs is killed first.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.dir.path());
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

    /// Runs one of Kafka's own tools by class, e.g. `org.apache.kafka.tools.TopicCommand`, with `--bootstrap-server` set,
    /// `stdin` piped in. What the tool logs is in `stderr`.
    pub fn tool(&self, class: &str, args: &[&str], stdin: &str) -> Output {
        run(tool(class, &self.bootstrap(), args), stdin)
    }

    /// Makes a topic by Kafka's own tool; `configs` are `name=value`. Fails the test when the broker refuses.
    pub fn create_topic(&self, topic: &str, partitions: u32, configs: &[&str]) {
        let partitions = partitions.to_string();
        let mut args = vec!["--create", "--topic", topic, "--partitions", &partitions];
        configs.iter().for_each(|config| args.extend(["--config", config]));
        self.expect_tool("org.apache.kafka.tools.TopicCommand", &args, "");
    }

    /// As [`Broker::tool`], but its stdout; fails the test when the tool does.
    pub fn expect_tool(&self, class: &str, args: &[&str], stdin: &str) -> String {
        let output = self.tool(class, args, stdin);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{class} {args:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout.into_owned()
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let at = SocketAddr::from(([127, 0, 0, 1], self.port.number));
        let process = &mut self.process;
        let answer = poll(START_LIMIT, || match process.ended() {
            Some(status) => Some(Err(format!("the broker ended: {status}"))),
            None => answers(at).is_ok_and(|brokers| brokers == 1).then_some(Ok(())),
        });
        answer.unwrap_or_else(|| Err(format!("the broker did not answer within {} s", START_LIMIT.as_secs())))
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}; it printed:\n{}", self.process.printed())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the broker on {} printed:\n{}", self.bootstrap(), self.process.printed());
        }
    }
}

fn tool(class: &str, bootstrap: &str, args: &[&str]) -> Command {
    let mut command = java(&["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
    command.arg(class).args(["--bootstrap-server", bootstrap]).args(args);
    command
}

/// Runs a command (made by [`bound`]) to its end, with `stdin` piped in.
fn run(mut command: Command, stdin: &str) -> Output {
    let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let scratch = scratch::dir("tool-");
    let file = |name: &str| scratch.path().join(name);
    fs::write(file("stdin"), stdin).expect("a tool's input");
    command.stdin(File::open(file("stdin")).expect("a tool's input"));
    command.stdout(File::create(file("stdout")).expect("a file for a tool's output"));
    command.stderr(File::create(file("stderr")).expect("a file for a tool's output"));
    let mut child = spawn_bound_to_this_process(command).expect("setpriv and java start");
    let ended = poll(TOOL_LIMIT, || child.try_wait().expect("the state of a child"));
    if ended.is_none() {
        child.kill().expect("SIGKILL to a child");
        child.wait().expect("the end of a child");
    }
    let read = |name| fs::read(file(name)).expect("a tool's output");
    let output = |status| Output { status, stdout: read("stdout"), stderr: read("stderr") };
    ended.map(output).unwrap_or_else(|| panic!("{what} did not end: {}", String::from_utf8_lossy(&read("stderr"))))
}

/// A copy of the formatted, empty log directory, as a cluster that no other broker is.
fn format(template: &Path, data: &Path) {
    fs::create_dir(data).expect("the broker's data");
    for entry in fs::read_dir(template).expect("the formatted log directory").flatten() {
        fs::copy(entry.path(), data.join(entry.file_name())).expect("a copy of the formatted log directory");
    }
    let path = data.join("meta.properties");
    let meta = fs::read_to_string(&path).expect("meta.properties");
    let own = |line: &str| match line.split_once('=') {
        Some((key @ "cluster.id", _)) => format!("{key}={}\n", cluster_id(data)),
        _ => format!("{line}\n"),
    };
    fs::write(&path, meta.lines().map(own).collect::<String>()).expect("meta.properties");
}

/// 22 characters of base64, by hashes whose keys are random: different for each broker. None begins with a dash, which
/// Kafka's tools would take for an option: ids of their own making never do (Uuid.java, `randomUuid`).
fn cluster_id(data: &Path) -> String {
    use std::hash::{BuildHasher, RandomState};
    const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let half = || RandomState::new().hash_one(data);
    let bits = ((u128::from(half()) << 64) | u128::from(half())) >> 1;
    // The last character holds the 2 bits that are left of 128.
    let character = |at: u32| BASE64[usize::try_from(bits.checked_shl(6 * at).unwrap_or(0) >> 122).expect("6 bits")];
    (0..22).map(|at| char::from(character(at))).collect()
}

fn java(options: &[&str]) -> Command {
    let installed = installed::kafka();
    let mut command = bound(Path::new("java"));
    command.args(JVM).args(options);
    let archive = installed.join("classes.jsa");
    if archive.exists() {
        // Classes as the JVM has them in memory: the start takes half as long. Of another JVM it is ignored.
        command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        command.args(["-Xlog:disable", "-Xlog:all=error:stderr"]);
    }
    command.arg("-cp").arg(installed.join("libs/*"));
    command.stdin(Stdio::null());
    command
}

fn spawn(dir: &Path) -> Process {
    // Without the list of all settings, thrice.
    let mut command = java(&["-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn"]);
    command.arg("kafka.Kafka").arg(dir.join("server.properties"));
    Process::start(command, dir.join("output"))
}

/// How many brokers of the cluster live, by a metadata request (key 3, version 5) for no topic.
fn answers(at: SocketAddr) -> io::Result<i32> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&at, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut request: Vec<u8> = Vec::new();
    request.extend([0, 3, 0, 5]);
    // Correlation id, client id.
    request.extend([0, 0, 0, 1]);
    request.extend([0, 7]);
    request.extend(b"testbed");
    // Topics: none; no automatic topics.
    request.extend([0, 0, 0, 0, 0]);
    let length = u32::try_from(request.len()).expect("some bytes");
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&request)?;
    // Length, correlation id, throttle time, number of brokers.
    let mut answer = [0; 16];
    stream.read_exact(&mut answer)?;
    let [.., a, b, c, d] = answer;
    Ok(i32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cluster_ids_are_different_and_none_looks_like_an_option() {
        let ids: BTreeSet<String> = (0..1000).map(|_| cluster_id(Path::new("data"))).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert!(id.len() == 22 && !id.starts_with('-'), "{id}");
        }
    }
}
