//! Faults between a client and a store.
use crate::store::{client, read};
use object_store::path::Path;
use object_store::{Error, ObjectStore, PutMode};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use testbed::object_store::Store;
use testbed::proxy::{Fault, Proxy};

/// Answers each request, in turn, with 200 and `echo`; hands out what it read.
fn server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (seen, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = whole_request(&mut stream);
            if seen.send(request).is_err() {
                return;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\necho").unwrap();
        }
    });
    (at, requests)
}

/// The next request that the server saw.
fn arrived(requests: &Receiver<String>) -> String {
    requests.recv_timeout(Duration::from_secs(60)).expect("the server sees the request")
}

/// Of a request whose body ends with a full stop.
fn whole_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.ends_with(b".") {
        let length = stream.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "the request breaks off");
        request.extend(&buffer[..length]);
    }
    String::from_utf8(request).unwrap()
}

/// A PUT of `body.` by hand: what comes back until the connection closes.
fn put(proxy: &Proxy, path: &str) -> String {
    let mut stream = TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).unwrap();
    let request = format!("PUT {path} HTTP/1.1\r\nHost: signed.example:1\r\nX-Amz-Date: today\r\nIf-None-Match: *\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(b"Connection: close\r\nContent-Length: 5\r\n\r\nbody.").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn without_an_order_requests_and_answers_go_through_unchanged() {
    let (at, requests) = server();
    let proxy = Proxy::before(&format!("http://{at}"));
    let answer = put(&proxy, "/lake/a%20b?x=1%2F2");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\necho"), "{answer}");
    let request = arrived(&requests);
    assert!(request.starts_with("PUT /lake/a%20b?x=1%2F2 HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nbody."), "{request}");
    for header in ["host: signed.example:1", "x-amz-date: today", "if-none-match: *", "content-length: 5"] {
        assert_eq!(request.to_lowercase().matches(header).count(), 1, "{header}: {request}");
    }
    assert_eq!(proxy.dealt(), 0);
}

#[test]
fn a_fault_meets_as_many_requests_as_ordered_and_only_those_that_match() {
    let (at, requests) = server();
    let proxy = Proxy::before(&format!("http://{at}"));
    proxy.fail("PUT", "/_delta_log/", 2, Fault::Status(503));
    proxy.fail("GET", "/", 9, Fault::Status(500));
    let statuses: Vec<String> = ["/lake/part", "/lake/_delta_log/1", "/lake/_delta_log/1", "/lake/_delta_log/1"]
        .map(|path| put(&proxy, path)[9..12].to_owned())
        .into();
    assert_eq!(statuses, ["200", "503", "503", "200"]);
    assert_eq!(proxy.dealt(), 2);
    assert_eq!(requests.try_iter().count(), 2, "the server saw a request that was to be refused");

    proxy.fail("*", "part", 9, Fault::Status(500));
    proxy.heal();
    assert!(put(&proxy, "/lake/part").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_lost_answer_is_of_a_request_that_the_server_took() {
    let (at, requests) = server();
    let proxy = Proxy::before(&format!("http://{at}"));
    proxy.fail("*", "", 1, Fault::LoseAnswer);
    assert_eq!(put(&proxy, "/lake/x"), "");
    assert!(arrived(&requests).starts_with("PUT /lake/x "));
    proxy.fail("*", "", 1, Fault::HangAfter(Duration::from_millis(50)));
    assert_eq!(put(&proxy, "/lake/y"), "");
    assert!(arrived(&requests).starts_with("PUT /lake/y "));
}

#[test]
fn a_delayed_request_arrives_though_its_client_has_given_up() {
    let (at, requests) = server();
    let proxy = Proxy::before(&format!("http://{at}"));
    proxy.fail("*", "", 1, Fault::Delay(Duration::from_millis(500)));
    let mut stream = TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).unwrap();
    stream.write_all(b"PUT /late HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nbody.").unwrap();
    while proxy.dealt() == 0 {
        std::thread::yield_now();
    }
    drop(stream);
    assert!(arrived(&requests).starts_with("PUT /late "));
}

#[test]
fn a_held_request_arrives_when_it_is_released_though_its_client_has_given_up() {
    let (at, requests) = server();
    let proxy = Proxy::before(&format!("http://{at}"));
    proxy.fail("PUT", "/held", 1, Fault::Hold);
    let mut stream = TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).unwrap();
    stream.write_all(b"PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nbody.").unwrap();
    while proxy.dealt() == 0 {
        std::thread::yield_now();
    }
    drop(stream);
    // What comes later goes through, and the first to arrive.
    assert!(put(&proxy, "/later").starts_with("HTTP/1.1 200"));
    assert!(arrived(&requests).starts_with("PUT /later "));
    assert_eq!(proxy.settled(), 0);
    proxy.release();
    assert!(arrived(&requests).starts_with("PUT /held "));
    while proxy.settled() == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn while_the_server_is_gone_connections_close_without_an_answer() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(put(&Proxy::before(&format!("http://{gone}")), "/lake/x"), "");
}

#[tokio::test]
async fn signed_requests_reach_a_real_store_and_a_lost_answer_leaves_the_object() {
    let store = Store::shared();
    let proxy = Proxy::before(&store.endpoint());
    let client = client(store, &proxy.endpoint());
    proxy.fail("PUT", "/proxied/one", 1, Fault::LoseAnswer);
    let path = Path::from("proxied/one");
    client.put_opts(&path, "mine".into(), PutMode::Create.into()).await.unwrap_err();
    let again = client.put_opts(&path, "mine".into(), PutMode::Create.into()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(read(&client, "proxied/one").await.unwrap(), b"mine");
    assert_eq!(proxy.dealt(), 1);
}
