//! Processes that die with the test process, whatever ends that: programs of a test, and servers, which can be killed,
//! paused and resumed, and keep what they printed.
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of what a server printed, this much is shown when a test fails.
const SHOWN_LINES_MAX: usize = 60;

/// A running process, or one that was killed.
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
}

/// A program beside a test. It is killed when this is dropped, and when the test process ends, by SIGKILL, too.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts `command` (made by [`bound_copy`]).
    pub fn start(command: Command) -> Running {
        Running { child: started(command) }
    }

    /// The first line of its stdout (which must be a pipe) that `wanted` accepts. All that it prints there is read, also
    /// after that. Fails the test when there is none within `limit`.
    pub fn line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool + Send + 'static) -> String {
        let mut stdout = BufReader::new(self.child.stdout.take().expect("stdout is a pipe, and was not taken"));
        let (found, line) = sync_channel(1);
        std::thread::spawn(move || {
            let first = stdout.by_ref().lines().map_while(Result::ok).find(|line| wanted(line));
            let _ = found.send(first);
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
        let line = line.recv_timeout(limit);
        let id = self.child.id();
        let line = line.unwrap_or_else(|_| panic!("process {id} did not print what it should within {limit:?}"));
        line.unwrap_or_else(|| panic!("process {id} closed its output without the line: {:?}", self.child.wait()))
    }

    /// Waits for its end, and returns what it printed to those of stdout and stderr that are pipes; `None` after `limit`:
    /// then it is killed.
    pub fn output(mut self, limit: Duration) -> Option<Output> {
        let (stdout, stderr) = (read_all(self.child.stdout.take()), read_all(self.child.stderr.take()));
        let status = poll(limit, || self.child.try_wait().expect("the state of a child"));
        // A pipe ends with the last process that holds it.
        drop(self);
        let (stdout, stderr) = (stdout.join().expect("a reader"), stderr.join().expect("a reader"));
        status.map(|status| Output { status, stdout, stderr })
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end; fails the test when that takes longer than `limit`.
pub fn output(command: &Command, limit: Duration) -> Output {
    let mut copy = bound_copy(command);
    copy.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(copy).output(limit).unwrap_or_else(|| panic!("{command:?} did not end within {limit:?}"))
}

/// The same program, arguments, variables and folder as a command that ends with the process that spawns it. (What it
/// does with stdin, stdout and stderr can't be read from a command: set that on the copy.)
pub fn bound_copy(command: &Command) -> Command {
    let mut copy = bound(Path::new(command.get_program()));
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        copy.current_dir(dir);
    }
    copy
}

/// Reads in a thread, so that a full pipe holds nobody up.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

type Spawned = io::Result<Child>;

/// Spawns by a thread that lives as long as this process. The kernel kills the child when *that thread* ends
/// (`PR_SET_PDEATHSIG` is of the thread), so a test's own thread would not do: it ends with its test.
pub(crate) fn spawn_bound_to_this_process(command: Command) -> Spawned {
    static KEEPER: OnceLock<SyncSender<(Command, SyncSender<Spawned>)>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = sync_channel::<(Command, SyncSender<Spawned>)>(16);
        let keep = move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("testbed-keeper".into()).spawn(keep).expect("a thread");
        orders
    });
    let (answer, spawned) = sync_channel(1);
    keeper.send((command, answer)).expect("the keeper never ends");
    spawned.recv().expect("the keeper answers each order")
}

fn started(command: Command) -> Child {
    spawn_bound_to_this_process(command)
        .unwrap_or_else(|error| panic!("setpriv (Debian's util-linux) did not start: {error}"))
}

/// A command that the kernel kills with its parent thread.
pub(crate) fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

impl Process {
    /// Starts `command` (made by [`bound`]); what it prints is added to the file `output`.
    pub(crate) fn start(mut command: Command, output: PathBuf) -> Process {
        let file = File::options().create(true).append(true).open(&output).expect("a file for a server's output");
        let stderr = file.try_clone().expect("a second handle of a file");
        command.stdin(Stdio::null()).stdout(file).stderr(stderr);
        Process { child: started(command), output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None`: it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// SIGKILL; it is gone when this returns. Does nothing to a process that has ended.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("SIGKILL to a child");
        self.child.wait().expect("the end of a child");
    }

    /// SIGSTOP; it stands still when this returns.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.pid());
        poll(Duration::from_secs(10), || {
            let stat = fs::read_to_string(&stat).expect("the state of a child");
            // `PID (NAME) STATE ...`, and a name may hold anything.
            stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T')).then_some(())
        })
        .unwrap_or_else(|| panic!("process {} did not stop", self.pid()));
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal to a child");
    }

    /// The end of what it printed.
    pub(crate) fn printed(&self) -> String {
        let text = fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer; `None` after `limit`.
pub(crate) fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        #[allow(clippy::disallowed_methods, reason = "polls another process, from a plain thread")]
        std::thread::sleep(Duration::from_millis(20));
    }
}
