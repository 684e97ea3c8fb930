//! Bad input gets a clear answer, costs no memory, and harms no neighbour. (What each bad body is answered is tested in
//! `ingest`; here the whole process is watched.)
use super::node::{self, Node, audit, pause, signal};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Resident memory that thousands of bad requests may add.
const GROWTH_BYTES_MAX: u64 = 100 << 20;
const IDLE_CONNECTIONS: usize = 3_000;

/// Not a test of its own: the client of the next one, in a process of its own so that its sockets don't count here.
#[test]
#[ignore = "run by the test of idle connections, as its client"]
#[allow(clippy::disallowed_methods, reason = "the parent says where to connect")]
fn client_of_idle_connections() {
    let Ok(address) = std::env::var("IDLE_CLIENT_ADDRESS") else { return };
    let connections: Vec<_> = (0..IDLE_CONNECTIONS).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    println!("\nconnected {}", connections.len());
    std::io::stdout().flush().unwrap();
    pause(Duration::from_secs(60));
}

#[test]
fn thousands_of_idle_connections_leave_a_neighbour_served_and_memory_flat() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::new(&temp.path().join("data"));
    let before = node.resident_bytes();
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", "bad_input::client_of_idle_connections"])
        .env("IDLE_CLIENT_ADDRESS", &node.listen)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(client.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).find(|line| line.starts_with("connected")).expect("the client connects");
    let (status, body) = node.post("application/json", node::event(&node::id(), "s1").as_bytes());
    assert_eq!(status, 200, "{body}");
    let grown = node.resident_bytes().saturating_sub(before);
    signal(client.id(), "KILL");
    client.wait().unwrap();
    assert!(grown < GROWTH_BYTES_MAX, "{IDLE_CONNECTIONS} idle connections took {grown} bytes");
    node.stop();
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
