//! Rollups as they are now: once, and as a stream.
use super::node::{self, Node, playhead};
use super::roles::eventually;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// From an event's answer to its figure on the stream, in a test's unoptimised build on a busy machine.
const SEEN_MAX: Duration = Duration::from_secs(10);

fn get(address: &str, path: &str, headers: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// Status and body of an answer that ends.
fn answer(address: &str, path: &str, headers: &str) -> (u16, Value) {
    let (status, body) = node::answer(get(address, path, headers).into_inner());
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn play(node: &Node, content_id: &str, session: &str) {
    let event = json!({"event_type": "play", "event_time": node::now_ms() as u64, "session_id": session, "content_id": content_id});
    assert_eq!(node.post("application/json", event.to_string().as_bytes()).0, 200);
}

/// Rows of all windows, by title: how many plays.
fn plays(view: &Value, content_id: &str) -> u64 {
    let windows = view["windows"].as_array().unwrap().iter();
    let rows = windows.flat_map(|window| window["rows"].as_array().unwrap());
    rows.filter(|row| row["content_id"] == content_id).map(|row| row["plays"].as_u64().unwrap()).sum()
}

#[test]
fn what_was_just_posted_is_on_the_screen_before_its_window_is_closed() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::new(&temp.path().join("data"));
    let mut lines = get(&node.listen, "/v1/live/audience/stream?content_id=m1", "").lines().map(Result::unwrap);
    for (session, content_id) in [("s1", "m1"), ("s2", "m1"), ("s3", "m2")] {
        play(&node, content_id, session);
    }
    let since = Instant::now();
    let data = lines.find_map(|line| {
        let view: Value = serde_json::from_str(line.strip_prefix("data: ")?).unwrap();
        (plays(&view, "m1") == 2).then_some(view)
    });
    let view = data.unwrap();
    assert!(since.elapsed() < SEEN_MAX, "it took {:?}", since.elapsed());
    assert_eq!((plays(&view, "m2"), &view["windows"][0]["open"]), (0, &true.into()), "{view}");

    let (status, now) = answer(&node.listen, "/v1/live/audience?top=1&by=plays", "");
    assert_eq!((status, plays(&now, "m1"), plays(&now, "m2")), (200, 2, 0), "the largest alone: {now}");
    // A player whose clock is ahead does not take the place of what is under way.
    let ahead = json!({"event_type": "play", "event_time": node::now_ms() as u64 + 3_000_000, "session_id": "s4", "content_id": "m4"});
    assert_eq!(node.post("application/json", ahead.to_string().as_bytes()).0, 200);
    play(&node, "m3", "s3");
    eventually("the newest window is the one that has begun", || {
        let (_, newest) = answer(&node.listen, "/v1/live/audience?windows=1", "");
        assert_eq!(plays(&newest, "m4"), 0, "{newest}");
        (plays(&newest, "m3") == 1).then_some(())
    });
    let (status, names) = answer(&node.listen, "/v1/live", "");
    assert_eq!((status, names["rollups"].as_array().unwrap().len()), (200, 4), "{names}");
    for (path, wanted, words) in [
        ("/v1/live/audiences", 404, "audience"),
        ("/v1/live/audience?by=color", 400, "content_id"),
        ("/v1/live/audience?top=0", 400, "1 to 1000"),
    ] {
        let (status, problem) = answer(&node.listen, path, "");
        assert_eq!(status, wanted, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{path}: {problem}");
    }
    // A page of another site may not read it: no CORS header.
    let mut text = String::new();
    get(&node.listen, "/v1/live/audience", "origin: https://evil.example\r\n").read_to_string(&mut text).unwrap();
    assert!(!text.to_lowercase().contains("access-control-allow-origin"), "{text}");

    // The stream is open still: it does not hold up the end.
    let stopping = Instant::now();
    node.stop();
    assert!(stopping.elapsed() < Duration::from_secs(8), "a stream held up the end: {:?}", stopping.elapsed());
    assert!(lines.all(|line| !line.starts_with("event: problem")), "and it ends");
}

#[test]
fn with_a_token_nobody_else_may_look_but_everybody_may_post() {
    let temp = tempfile::tempdir().unwrap();
    let mut up = playhead(&temp.path().join("data"));
    up.env("PLAYHEAD_LIVE__TOKEN", "s3cret");
    let node = node::start(up, "127.0.0.1:0", "127.0.0.1:0");
    play(&node, "m1", "s1");
    assert_eq!(answer(&node.listen, "/v1/live/audience", "").0, 401);
    assert_eq!(answer(&node.listen, "/v1/live/audience?token=other", "").0, 403);
    eventually("its figure is there", || {
        let (status, view) = answer(&node.listen, "/v1/live/audience", "authorization: Bearer s3cret\r\n");
        assert_eq!(status, 200, "{view}");
        (plays(&view, "m1") == 1).then_some(())
    });
    node.stop();
}
