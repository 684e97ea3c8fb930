//! A test that is killed leaves no server behind, and no program that it started.
//!
//! The test runs its own binary as a second process, which starts both, says their ids, and waits to be killed.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use testbed::object_store::Store;
use testbed::process::{Running, bound_copy};

const ROLE: &str = "TESTBED_WAITS_TO_BE_KILLED";

#[test]
fn servers_and_programs_die_with_a_test_process_that_is_killed() {
    if std::env::var_os(ROLE).is_some() {
        return wait_to_be_killed();
    }
    let name = "ends_with_the_test::servers_and_programs_die_with_a_test_process_that_is_killed";
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", name, "--nocapture"]).env(ROLE, "yes").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut test = test.spawn().unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let mut id = |name: &str| -> String {
        let of = |line: &str| Some(line.split_once(name)?.1.to_owned());
        lines.find_map(|line| of(&line.unwrap())).expect("the id of what was started")
    };
    let started = [id("server="), id("program=")];
    assert!(started.iter().all(|pid| runs(pid)), "not there while the test is: {started:?}");

    test.kill().unwrap();
    test.wait().unwrap();

    for _ in 0..1_000 {
        if !started.iter().any(|pid| runs(pid)) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("one of {started:?} lives on after its test");
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
    let mut sleeper = Command::new("sleep");
    sleeper.arg("86400").env("TZ", "UTC").current_dir("/");
    let program = Running::start(bound_copy(&sleeper));
    // Until it is what it is to be: between fork and setpriv's own call nothing binds it yet.
    while std::fs::read_to_string(format!("/proc/{}/comm", program.id())).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    println!("program={}", program.id());
    // As long as its parent holds the other end of stdin.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// A process that has ended but was not yet waited for counts as ended.
fn runs(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    stat.rsplit(") ").next().is_some_and(|state| !state.starts_with('Z'))
}

#[test]
fn a_program_is_its_original_in_all_but_its_end() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $GIVEN ${HOME-none} $PWD; echo trouble >&2; exit 3"]);
    command.env("GIVEN", "one two").env_remove("HOME").current_dir("/usr");
    let output = testbed::process::output(&command, Duration::from_secs(60));
    assert_eq!(
        (output.status.code(), &*output.stdout, &*output.stderr),
        (Some(3), &b"one two none /usr\n"[..], &b"trouble\n"[..])
    );
}

#[test]
fn a_program_that_does_not_end_in_time_is_ended() {
    let mut command = Command::new("sleep");
    command.arg("86400");
    assert!(Running::start(bound_copy(&command)).output(Duration::from_millis(100)).is_none());
}

#[test]
#[should_panic(expected = "did not print what it should")]
fn a_line_that_does_not_come_is_not_waited_for_without_end() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo another line; exec sleep 86400"]);
    let mut command = bound_copy(&command);
    command.stdout(Stdio::piped());
    Running::start(command).line(Duration::from_millis(500), |line| line == "the line");
}
