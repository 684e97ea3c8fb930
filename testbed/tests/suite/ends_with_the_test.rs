//! A test that is killed leaves no server behind.
//!
//! The test runs its own binary as a second process, which starts a server, says its id, and waits to be killed.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use testbed::object_store::Store;

const ROLE: &str = "TESTBED_WAITS_TO_BE_KILLED";

#[test]
fn a_server_dies_with_a_test_process_that_is_killed() {
    if std::env::var_os(ROLE).is_some() {
        return wait_to_be_killed();
    }
    let name = "ends_with_the_test::a_server_dies_with_a_test_process_that_is_killed";
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", name, "--nocapture"]).env(ROLE, "yes").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut test = test.spawn().unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let server =
        lines.find_map(|line| Some(line.unwrap().split_once("server=")?.1.to_owned())).expect("the server's id");
    assert!(runs(&server), "the server is not there while its test is");

    test.kill().unwrap();
    test.wait().unwrap();

    for _ in 0..1_000 {
        if !runs(&server) {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("the server {server} lives on after its test");
}

fn wait_to_be_killed() {
    // From a thread that ends: the server must not end with it.
    let start = || (Store::start(), std::fs::canonicalize("/proc/thread-self").unwrap());
    let (store, thread) = std::thread::spawn(start).join().unwrap();
    while thread.exists() {
        std::thread::yield_now();
    }
    let mut stream = TcpStream::connect(store.endpoint().trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /minio/health/live HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 12]).expect("an answer of a server whose thread has ended");
    println!("server={}", store.pid());
    // As long as its parent holds the other end of stdin.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// A process that has ended but was not yet waited for counts as ended.
fn runs(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    stat.rsplit(") ").next().is_some_and(|state| !state.starts_with('Z'))
}
