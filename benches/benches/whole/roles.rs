//! Processes that are measured: roles of the release build, started on ports of their own and ended with this one.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testbed::process::{Running, bound_copy};
use testbed::scratch;

/// Kernel ticks a second, of `/proc/PID/stat` (proc(5)).
const TICKS_PER_S: f64 = 100.0;
/// Where Playhead takes posts.
const PATH: &str = "/v1/events";
const READY_MAX: Duration = Duration::from_secs(60);

/// The release build.
#[allow(clippy::disallowed_methods, reason = "a bench is told by variables")]
pub fn binary() -> PathBuf {
    std::env::var_os("BENCH_BINARY")
        .map(PathBuf::from)
        .expect("BENCH_BINARY names the release build: run scripts/bench")
}

/// A running process.
pub struct Process {
    running: Running,
    /// Where events are posted.
    pub listen: String,
    pub path: String,
    admin: String,
    _ports: Vec<scratch::Port>,
}

/// CPU and memory of a process at a moment.
#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu_s: f64,
    pub resident_mb: f64,
}

impl Process {
    /// `playhead ROLE` with these settings, ready.
    pub fn role(role: &str, dir: &Path, settings: &[(&str, &str)]) -> Process {
        let ports = [scratch::port(), scratch::port()];
        let [listen, admin] = ports.each_ref().map(scratch::Port::address);
        let mut command = Command::new(binary());
        command.arg("--data").arg(dir.join("data")).arg(role).args(["--admin", &admin]).current_dir(dir);
        if role != "sink" {
            command.args(["--listen", &listen]);
        }
        command.env("RUST_LOG", "error").envs(settings.iter().copied());
        let mut command = bound_copy(&command);
        let log = std::fs::File::create(dir.join(format!("{role}.log"))).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let process =
            Process { running: Running::start(command), listen, path: PATH.into(), admin, _ports: ports.into() };
        process.wait(READY_MAX, || process.get("/readyz").starts_with("HTTP/1.1 200"));
        process
    }

    /// This program again, as one of [`super::child`].
    pub fn child(arguments: &[&str]) -> Process {
        let ports = [scratch::port(), scratch::port()];
        let [listen, admin] = ports.each_ref().map(scratch::Port::address);
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("--child").args(arguments).arg(&listen);
        let mut command = bound_copy(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process =
            Process { running: Running::start(command), listen, path: PATH.into(), admin, _ports: ports.into() };
        process.wait(READY_MAX, || std::net::TcpStream::connect(&process.listen).is_ok());
        process
    }

    /// A program that is none of ours, by a command for a shell: it posts nowhere but to `url`.
    pub fn other(command: &str, url: &str, dir: &Path, settings: &[(&str, &str)]) -> Process {
        let address = url.strip_prefix("http://").expect("BENCH_OTHER_URL begins with http://");
        let (listen, path) = address.split_once('/').unwrap_or((address, ""));
        let mut shell = Command::new("sh");
        // So that its process is the program's own, and not a shell's.
        shell.args(["-c", &format!("exec {command}")]).current_dir(dir).envs(settings.iter().copied());
        let mut shell = bound_copy(&shell);
        let log = std::fs::File::create(dir.join("other.log")).expect("a log");
        shell.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let (listen, path) = (listen.to_owned(), format!("/{path}"));
        let process =
            Process { running: Running::start(shell), listen, path, admin: String::new(), _ports: Vec::new() };
        process.wait(READY_MAX, || std::net::TcpStream::connect(&process.listen).is_ok());
        process
    }

    fn wait(&self, limit: Duration, done: impl Fn() -> bool) {
        let since = Instant::now();
        while !done() {
            assert!(since.elapsed() < limit, "process {} was not ready in time", self.running.id());
            pause(Duration::from_millis(50));
        }
    }

    /// The answer of the admin server, headers and all; empty: none.
    fn get(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect(&self.admin) else { return String::new() };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        match stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)) {
            Ok(_) => answer,
            Err(_) => String::new(),
        }
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        self.values(name).iter().sum()
    }

    /// The values of a metric, one for each of its labels.
    fn values(&self, name: &str) -> Vec<f64> {
        let text = self.get("/metrics");
        let of = |line: &str| line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' '])).map(str::to_owned);
        text.lines().filter_map(of).filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).collect()
    }

    /// Waits until the processor has read each of these partitions to its end.
    pub fn wait_read(&self, partitions: usize) {
        let is_read = |lags: Vec<f64>| lags.len() == partitions && lags.iter().all(|lag| *lag == 0.0);
        self.wait(Duration::from_secs(300), || is_read(self.values("playhead_processor_lag_records")));
    }

    /// Waits until a metric reaches `value`.
    pub fn wait_metric(&self, name: &str, value: f64) {
        self.wait(Duration::from_secs(300), || self.metric(name) >= value);
    }

    pub fn usage(&self) -> Usage {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.running.id())).expect("a running process");
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let field =
            |number: usize| fields.split_whitespace().nth(number).expect("a field").parse::<f64>().expect("a number");
        // utime and stime are fields 14 and 15, rss (pages) is 24; the name is the second.
        Usage { cpu_s: (field(11) + field(12)) / TICKS_PER_S, resident_mb: field(21) * 4096.0 / 1e6 }
    }

    /// The buckets of a histogram: upper bound, and how many values are at or below it.
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let text = self.get("/metrics");
        let of = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
        };
        text.lines().filter_map(of).collect()
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.running.kill().expect("it runs");
    }

    /// Ends it by SIGTERM.
    pub fn stop(mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.running.id().to_string()]).status();
        let since = Instant::now();
        while self.running.try_wait().expect("the state of a child").is_none() && since.elapsed() < READY_MAX {
            pause(Duration::from_millis(20));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a bench waits for other processes, in a plain thread")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
