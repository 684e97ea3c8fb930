//! Bad input gets a clear answer, costs no memory, and harms no neighbour. (What each bad body is answered is tested in
//! `ingest`; here the whole process is watched.)
use super::node::{self, Node, audit, pause};
use super::roles::eventually;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;
use std::time::Duration;
use testbed::process::Running;

/// Resident memory that thousands of bad requests may add.
const GROWTH_BYTES_MAX: u64 = 100 << 20;
const IDLE_CONNECTIONS: usize = 3_000;
/// Open files of a node that has to do with few.
const FILES_FEW: usize = 640;
/// The client has made its connections within this.
const CONNECTED_MAX: Duration = Duration::from_secs(120);

/// Not a test of its own: the client of the next one, in a process of its own so that its sockets don't count here.
#[test]
#[ignore = "run by the test of idle connections, as its client"]
#[allow(clippy::disallowed_methods, reason = "the parent says where to connect")]
fn client_of_idle_connections() {
    let Ok(address) = std::env::var("IDLE_CLIENT_ADDRESS") else { return };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    // Those over the server's cap are closed by it; here they are just held.
    let connections: Vec<_> = (0..IDLE_CONNECTIONS).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    println!("\nconnected {}", connections.len());
    std::io::stdout().flush().unwrap();
    // Until it is killed.
    loop {
        pause(Duration::from_secs(60));
    }
}

/// A process of its own that has opened the idle connections, all of them, and holds them until it is dropped.
fn idle_connections(listen: &str) -> Running {
    let mut client = Command::new(std::env::current_exe().unwrap());
    client.args(["--ignored", "--nocapture", "--exact", "bad_input::client_of_idle_connections"]);
    let mut client = node::spawn(client.env("IDLE_CLIENT_ADDRESS", listen));
    let line = client.line(CONNECTED_MAX, |line| line.starts_with("connected"));
    assert_eq!(line, format!("connected {IDLE_CONNECTIONS}"));
    client
}

/// What the node counts of a metric, over all labels.
fn metric(node: &Node, name: &str) -> f64 {
    let (_, text) = node.admin("/metrics");
    let values = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    values.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn thousands_of_idle_connections_leave_a_neighbour_served_and_memory_flat() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::new(&temp.path().join("data"));
    let before = node.resident_bytes();
    let client = idle_connections(&node.listen);
    eventually("the node holds the connections", || {
        (metric(&node, "playhead_ingest_connections") >= IDLE_CONNECTIONS as f64).then_some(())
    });
    let (status, body) = node.post("application/json", node::event(&node::id(), "s1").as_bytes());
    assert_eq!(status, 200, "{body}");
    let grown = node.resident_bytes().saturating_sub(before);
    drop(client);
    assert!(grown < GROWTH_BYTES_MAX, "{IDLE_CONNECTIONS} idle connections took {grown} bytes");
    node.stop();
}

#[test]
fn idle_connections_never_take_the_descriptors_that_log_and_lake_need() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    // A shell sets the limit, and becomes the node.
    let mut command = Command::new("bash");
    command.args(["-c", &format!("ulimit -n {FILES_FEW} && exec \"$0\" \"$@\""), node::PLAYHEAD, "--data"]).arg(&data);
    node::without_settings(&mut command);
    command.env("RUST_LOG", "error").env("PLAYHEAD_SINK__FLUSH_AGE_MS", "100").current_dir(temp.path());
    let node = node::start(command, "127.0.0.1:0", "127.0.0.1:0");
    let kept = std::net::TcpStream::connect(&node.listen).unwrap();
    let client = idle_connections(&node.listen);
    // More than it has files for: it has refused some, and holds what it may.
    eventually("the node refuses connections", || (metric(&node, "playhead_ingest_refused_total") > 0.0).then_some(()));
    assert!((1.0..FILES_FEW as f64).contains(&metric(&node, "playhead_ingest_connections")));
    // One connection that was there before goes on writing to log and lake.
    let mut kept = BufReader::new(kept);
    for _ in 0..100 {
        let body = node::event(&node::id(), "s1");
        let head = format!("POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len());
        kept.get_mut().write_all((head + &body).as_bytes()).unwrap();
        assert!(answer_head(&mut kept).starts_with("HTTP/1.1 200"));
        pause(Duration::from_millis(20));
    }
    assert_eq!(node.admin("/readyz").0, 200);
    drop(client);
    node.stop();
    let (code, report) = audit(&data, None);
    assert_eq!((code, &report["rows"]), (0, &100.into()), "{report}");
}

/// Reads one answer of a connection that stays; returns its head.
fn answer_head(stream: &mut BufReader<std::net::TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "closed after {head:?}");
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    stream.read_exact(&mut body).unwrap();
    head
}

#[test]
fn a_storm_of_bad_bodies_is_refused_with_memory_flat_and_neighbours_kept() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let node = Node::new(&data);
    let deep = "[".repeat(200_000);
    let huge = vec![b' '; 5 << 20];
    let storm: [(&str, &[u8], u16); 6] = [
        ("application/json", b"", 400),
        ("application/json", deep.as_bytes(), 400),
        ("application/json", &huge, 413),
        ("application/json", b"{\"event_type\":\"play\"", 400),
        ("application/json", b"\xff\xfe\x00", 400),
        ("application/json", br#"{"event_type":7,"event_time":"yesterday"}"#, 422),
    ];
    let bad_round = || {
        for (content_type, body, expected) in storm {
            let (status, words) = node.post(content_type, body);
            assert_eq!(status, expected, "{words}");
            assert!(words.contains("\"type\""), "no problem details: {words}");
        }
    };
    bad_round();
    let before = node.resident_bytes();
    let mut good = Vec::new();
    for _ in 0..30 {
        bad_round();
        let id = node::id();
        let body = format!("{}\nnot json\n{}", node::event(&id, "s1"), r#"{"event_type":"play"}"#);
        let (status, answer) = node.post("application/x-ndjson", body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["accepted"], answer["rejected"].as_array().unwrap().len()), (&1.into(), 2), "{answer}");
        good.push(id);
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "180 bad bodies took {grown} bytes");
    node.stop();
    let acked = temp.path().join("acked.txt");
    std::fs::write(&acked, good.join("\n") + "\n").unwrap();
    let (code, report) = audit(&data, Some(&acked));
    assert_eq!((code, &report["rows"], &report["missing"]), (0, &30.into(), &0.into()), "{report}");
}
