//! A real S3-compatible store, by the client that the lake uses.
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};
use std::time::Duration;
use testbed::object_store::Store;

/// At the store itself; gives up soon.
pub fn client(store: &Store, endpoint: &str) -> AmazonS3 {
    let options =
        store.options_at(endpoint).into_iter().map(|(key, value)| (key.parse().expect("a key of S3's"), value));
    let retry = RetryConfig { max_retries: 0, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() };
    options
        .fold(AmazonS3Builder::new().with_bucket_name(store.bucket()), |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .with_retry(retry)
        .build()
        .expect("a client")
}

pub async fn read(client: &AmazonS3, path: &str) -> Result<Vec<u8>, Error> {
    Ok(client.get(&Path::from(path)).await?.bytes().await?.to_vec())
}

#[tokio::test]
async fn of_two_conditional_puts_to_a_path_the_second_is_refused() {
    let store = Store::shared();
    let client = client(store, &store.endpoint());
    let path = Path::from("conditional/_delta_log/0.json");
    client.put_opts(&path, "first".into(), PutMode::Create.into()).await.unwrap();
    let second = client.put_opts(&path, "second".into(), PutMode::Create.into()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(read(&client, path.as_ref()).await.unwrap(), b"first");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_conditional_puts_at_the_same_time_one_is_taken() {
    let store = Store::shared();
    let client = client(store, &store.endpoint());
    for round in 0..10 {
        let path = Path::from(format!("race/{round}"));
        let put = |writer: usize| {
            let (client, path) = (client.clone(), path.clone());
            async move { client.put_opts(&path, vec![b'x'; writer + 1].into(), PutMode::Create.into()).await.is_ok() }
        };
        let puts = (0..8).map(|writer| tokio::spawn(put(writer)));
        let taken = futures::future::join_all(puts).await;
        let winners: Vec<usize> = (0..8).filter(|&writer| *taken[writer].as_ref().unwrap()).collect();
        let [winner] = winners[..] else { panic!("round {round}: {winners:?} were taken") };
        assert_eq!(read(&client, path.as_ref()).await.unwrap().len(), winner + 1);
    }
}

#[tokio::test]
async fn what_was_put_is_there_after_a_kill() {
    let mut store = Store::start();
    let client = client(&store, &store.endpoint());
    client.put(&Path::from("events/part-0.parquet"), "rows".into()).await.unwrap();
    let (endpoint, pid) = (store.endpoint(), store.pid());

    store.kill();
    read(&client, "events/part-0.parquet").await.unwrap_err();
    store.restart();

    assert_eq!(store.endpoint(), endpoint);
    assert_ne!(store.pid(), pid);
    assert_eq!(read(&client, "events/part-0.parquet").await.unwrap(), b"rows");
    let listed: Vec<_> = client.list(None).collect().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
}

#[tokio::test]
async fn a_paused_store_answers_when_it_is_resumed() {
    let store = Store::start();
    let client = client(&store, &store.endpoint());
    store.pause();
    let path = Path::from("late");
    let put = client.put(&path, "x".into());
    tokio::pin!(put);
    tokio::time::timeout(Duration::from_secs(2), &mut put).await.expect_err("a paused store answered");
    store.resume();
    put.await.unwrap();
}
