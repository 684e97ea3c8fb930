//! A server's process: dies with the test process, can be killed, paused and resumed, and keeps what it printed.
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Of what a server printed, this much is shown when a test fails.
const SHOWN_LINES_MAX: usize = 60;

/// A running process, or one that was killed.
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
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
        let child = spawn_bound_to_this_process(command)
            .unwrap_or_else(|error| panic!("setpriv (Debian's util-linux) did not start: {error}"));
        Process { child, output }
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
