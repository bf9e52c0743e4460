//! Against real servers (`memcached` of the distribution), and against servers that misbehave.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::cache::config::ByteSize;
use crate::testkit::cache_servers::CacheServer;

const NAME: &str = "test";

async fn cache_of(
    addresses: &[&str],
    change: impl FnOnce(&mut MemcachedOptions),
) -> MemcachedCache {
    let mut options = MemcachedOptions {
        addresses: addresses
            .iter()
            .map(|&address| address.to_owned())
            .collect(),
        ..MemcachedOptions::default()
    };
    change(&mut options);
    MemcachedCache::new(NAME, options, RemoteMetrics::memcached())
        .await
        .unwrap()
}

fn keys(of: &[&str]) -> Vec<String> {
    of.iter().map(|&key| key.to_owned()).collect()
}

fn put(cache: &dyn Backend, key: &str, value: Bytes) {
    cache.put(key.to_owned(), value, Duration::from_secs(60));
}

/// Waits until the cache has the values, which are written behind our back.
async fn eventually(cache: &dyn Backend, wanted: &[String]) -> Vec<Option<Bytes>> {
    let mut found = Vec::new();
    for _ in 0..200 {
        found = cache.get_many(wanted).await;
        if found.iter().all(Option::is_some) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    found
}

/// ST-24, ST-25, X-36: values survive a memcached server, whatever bytes they are.
#[tokio::test]
async fn values_come_back_from_several_servers() {
    let (Some(first), Some(second)) = (CacheServer::memcached(), CacheServer::memcached()) else {
        return;
    };
    let cache = cache_of(&[first.address(), second.address()], |options| {
        options.max_get_multi_batch_size = 3;
    })
    .await;
    let wanted: Vec<String> = (0..50)
        .map(|i| format!("subrange:b/chunks/000001:{i}:{}", i + 1))
        .collect();
    let value = |i: usize| Bytes::from(format!("\r\nEND\r\n{i}\0").repeat(i));
    for (i, key) in wanted.iter().enumerate() {
        put(&cache, key, value(i));
    }
    let found = eventually(&cache, &wanted).await;
    for (i, found) in found.into_iter().enumerate() {
        assert_eq!(found, Some(value(i)), "{i}");
    }
    assert_eq!(cache.get_many(&keys(&["absent"])).await, [None]);
    // Each server has a part of the keys, and a client of one server misses those of the other.
    let alone = cache_of(&[first.address()], |_| ()).await;
    let found = alone.get_many(&wanted).await.into_iter().flatten().count();
    assert!(0 < found && found < wanted.len(), "{found}");
    assert_eq!(cache.client.metrics.failures(Operation::GetMulti, NAME), 0);
}

///
#[tokio::test]
async fn what_servers_do_not_take_is_not_sent() {
    let Some(server) = CacheServer::memcached() else {
        return;
    };
    let cache = cache_of(&[server.address()], |options| {
        options.max_item_size = ByteSize(10)
    })
    .await;
    put(&cache, "large", Bytes::from_static(&[1; 11]));
    put(&cache, "a b", Bytes::from_static(b"1"));
    put(&cache, "last", Bytes::from_static(&[1; 10]));
    eventually(&cache, &keys(&["last"])).await;
    assert_eq!(cache.get_many(&keys(&["large", "a b"])).await, [None, None]);
    assert_eq!(cache.client.metrics.skips(Skip::MaxItemSize, NAME), 1);
    assert_eq!(cache.client.metrics.failures(Operation::Set, NAME), 1);
}

#[tokio::test]
async fn values_go_when_their_time_is_over() {
    let Some(server) = CacheServer::memcached() else {
        return;
    };
    let cache = cache_of(&[server.address()], |_| ()).await;
    cache.put("short".to_owned(), "1".into(), Duration::from_secs(1));
    put(&cache, "long", "1".into());
    eventually(&cache, &keys(&["long"])).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(
        cache.get_many(&keys(&["short", "long"])).await,
        [None, Some("1".into())]
    );
}

#[tokio::test]
async fn a_server_that_dies_is_misses_and_one_that_comes_back_is_used_again() {
    let Some(mut server) = CacheServer::memcached() else {
        return;
    };
    let cache = cache_of(&[server.address()], |_| ()).await;
    put(&cache, "a", "1".into());
    eventually(&cache, &keys(&["a"])).await;
    server.stop();
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(cache.get_many(&keys(&["a"])).await, [None]);
        put(&cache, "a", "1".into());
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(cache.client.metrics.failures(Operation::GetMulti, NAME) >= 3);
    server.restart();
    tokio::time::sleep(pool::AWAY_INTERVAL).await;
    // Who finds out that it is back is the only one to ask.
    assert_eq!(cache.get_many(&keys(&["a"])).await, [None]);
    put(&cache, "a", "2".into());
    assert!(eventually(&cache, &keys(&["a"])).await[0].is_some());
}

/// Accepts connections and lets `talk` have them.
async fn listen<F>(talk: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_timeout() {
    let address = listen(|mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await;
    let cache = cache_of(&[&address], |options| {
        options.timeout = Duration::from_millis(100)
    })
    .await;
    let started = Instant::now();
    assert_eq!(cache.get_many(&keys(&["a", "b"])).await, [None, None]);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(cache.client.metrics.failures(Operation::GetMulti, NAME), 1);
}

/// A server that hangs costs some timeouts, and then one now and then, however many ask.
#[tokio::test]
async fn a_server_that_hangs_is_left_alone() {
    let address = listen(|mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await;
    let cache = cache_of(&[&address], |options| {
        options.timeout = Duration::from_millis(100)
    })
    .await;
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(cache.get_many(&keys(&["a"])).await, [None]);
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        cache.client.metrics.failures(Operation::GetMulti, NAME),
        100
    );
}

#[tokio::test]
async fn a_server_that_answers_nonsense_is_misses() {
    let answers: [&[u8]; 4] = [
        b"VALUE a 0 999999999999\r\n",
        b"VALUE other 0 1\r\nx\r\nEND\r\n",
        b"\xff\xfe\r\n",
        b"VALUE a 0 3\r\nab",
    ];
    for answer in answers {
        let address = listen(move |mut stream| async move {
            let mut some = [0; 64];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(answer).await;
        })
        .await;
        let cache = cache_of(&[&address], |_| ()).await;
        assert_eq!(cache.get_many(&keys(&["a"])).await, [None]);
    }
}

///
#[tokio::test]
async fn what_finds_no_room_in_the_queue_is_dropped() {
    let address = listen(|mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await;
    let cache = cache_of(&[&address], |options| {
        options.max_async_buffer_size = 2;
        options.max_async_concurrency = 1;
    })
    .await;
    for _ in 0..10 {
        put(&cache, "a", "1".into());
    }
    assert!(cache.client.metrics.skips(Skip::QueueFull, NAME) >= 6);
}

///
#[tokio::test]
async fn servers_can_be_discovered() {
    let Some(server) = CacheServer::memcached() else {
        return;
    };
    let (_, port) = server.address().rsplit_once(':').unwrap();
    let config = format!("1\nlocalhost|127.0.0.1|{port}\n");
    let answer = format!("CONFIG cluster 0 {}\r\n{config}\r\nEND\r\n", config.len());
    let address = listen(move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut some = [0; 64];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let cache = cache_of(&[&address], |options| options.auto_discovery = true).await;
    put(&cache, "a", "1".into());
    assert!(eventually(&cache, &keys(&["a"])).await[0].is_some());
}

#[tokio::test]
async fn without_any_server_there_is_no_cache() {
    let options = MemcachedOptions {
        addresses: vec!["dns+no-such-host.invalid:1".to_owned()],
        ..MemcachedOptions::default()
    };
    let made = MemcachedCache::new(NAME, options, RemoteMetrics::memcached()).await;
    let error = made.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no server address resolved for test"),
        "{error}"
    );
    let made = MemcachedCache::new(
        NAME,
        MemcachedOptions::default(),
        RemoteMetrics::memcached(),
    )
    .await;
    assert!(
        made.unwrap_err()
            .to_string()
            .contains("no memcached addresses provided")
    );
}
