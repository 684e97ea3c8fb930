//! Folders and ports of this test process, which no other process takes, and which the next one cleans up after a kill.
//!
//! `$TMPDIR/playhead-testbed-UID/` holds `runs/`, a folder for each test process, and `ports/`, a file for each port.
//! Both are owned by an `flock`, which ends with its process, whatever ends that.
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Below the ports that the kernel gives to clients and to `bind` on port 0 (from 32768): while a server of ours is
/// dead, nobody gets its port by chance.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// A port of loopback that is ours while this value lives.
pub struct Port {
    /// Its number.
    pub number: u16,
    file: PathBuf,
    _lock: File,
}

impl Port {
    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// `None`: another process has it.
    fn take(number: u16, file: PathBuf) -> Option<Port> {
        let lock = File::create(&file).expect("a lock of a port");
        flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        // Its last owner may have removed the file after we opened it: then the lock that counts is another file's.
        let (ours, there) = (lock.metadata().expect("the state of a lock"), fs::metadata(&file).ok()?);
        (ours.ino() == there.ino() && ours.dev() == there.dev()).then_some(Port { number, file, _lock: lock })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // While the lock is held: what another process has opened meanwhile is no lock any more, and it sees that.
        let _ = fs::remove_file(&self.file);
    }
}

/// Folder of this process; never dropped, so that its lock stays.
struct Run {
    dir: PathBuf,
    _lock: File,
}

/// A new folder, removed when dropped.
pub(crate) fn dir(prefix: &str) -> TempDir {
    static RUN: OnceLock<Run> = OnceLock::new();
    let run = RUN.get_or_init(new_run);
    tempfile::Builder::new().prefix(prefix).tempdir_in(&run.dir).expect("a folder for a server")
}

/// A port on which nobody listens, and which no other test process has.
pub fn port() -> Port {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ports = base().join("ports");
    fs::create_dir_all(&ports).expect("a folder for locks of ports");
    // Processes begin at different places, and a port is not taken twice in a row.
    let start = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = PORTS.start + start.wrapping_add(step) % (PORTS.end - PORTS.start);
        let number = u16::try_from(number).expect("the range is of ports");
        let Some(port) = Port::take(number, ports.join(number.to_string())) else { continue };
        if TcpListener::bind(("127.0.0.1", number)).is_ok() && TcpListener::bind(("0.0.0.0", number)).is_ok() {
            return port;
        }
    }
    panic!("none of the ports {PORTS:?} is free")
}

fn base() -> PathBuf {
    std::env::temp_dir().join(format!("playhead-testbed-{}", rustix::process::getuid().as_raw()))
}

fn new_run() -> Run {
    let runs = base().join("runs");
    fs::create_dir_all(&runs).expect("a folder for servers");
    // Nobody sweeps between the making of a folder and its lock.
    let sweeping = File::create(base().join("sweeping")).expect("a lock");
    flock(&sweeping, FlockOperation::LockExclusive).expect("a lock on the folder of servers");
    sweep(&runs);
    let dir = tempfile::Builder::new().prefix("").tempdir_in(&runs).expect("a folder for servers").keep();
    let lock = File::open(&dir).expect("the folder just made");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("a lock on the folder just made");
    Run { dir, _lock: lock }
}

/// Removes what processes that are no more left behind.
fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).expect("the folder of servers").flatten() {
        let Ok(dir) = File::open(entry.path()) else { continue };
        if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // A server that is just being ended may still write: then the next sweep has it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
