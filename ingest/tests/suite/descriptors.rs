//! A process without file descriptors: it waits, says so, and goes on. In a process of its own, since all tests of this
//! one share theirs.
use crate::measured::Measured;
use crate::node::{Node, event};
use ingest::Config;
use std::fs::File;
use std::process::Stdio;
use std::time::Instant;

const REFUSED: &str = r#"playhead_ingest_refused_total{reason="no-descriptors"}"#;
const INNER: &str = "descriptors::in_a_process_of_few_descriptors";

#[tokio::test]
async fn without_file_descriptors_the_edge_pauses_and_goes_on_when_there_are_some() {
    let binary = std::env::current_exe().unwrap();
    let output = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$0\" --exact \"$1\" --ignored --nocapture"])
        .arg(binary)
        .arg(INNER)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "run by the test above, in a process that has 100 file descriptors"]
async fn in_a_process_of_few_descriptors() {
    let measured = Measured::here();
    let node = Node::start(Config::default(), 1).await;
    let mut before = node.client().await;
    assert_eq!(before.post(event(1)).await.status, 200);

    // Nothing is awaited from here until all are taken: the kernel completes the connection, the edge can't accept it.
    let stream = std::net::TcpStream::connect(node.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut waiting = crate::client::Client::over(tokio::net::TcpStream::from_std(stream).unwrap());
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        assert!(files.len() < 100, "this process has more descriptors than it should");
        files.push(file);
    }
    let since = Instant::now();
    waiting.request("POST", "/v1/events", &[], event(2).to_string().as_bytes()).await;
    measured.reaches(REFUSED, 3).await;
    let (refused, most) = (measured.value(REFUSED), since.elapsed().as_millis() as f64 / 100.0 + 1.0);
    assert!(refused <= most, "it pauses 100 ms after each: {refused} of at most {most}");
    assert_eq!(before.post(event(3)).await.status, 200, "who is connected is served");
    drop(files);
    assert_eq!(waiting.answer().await.status, 200);
    assert_eq!(node.client().await.post(event(4)).await.status, 200);
}
