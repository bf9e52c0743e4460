//! Against a real server (`redis-server` of the distribution).

use super::*;
use crate::cache::remote::tls::TlsOptions;
use crate::testkit::cache_servers::CacheServer;

const NAME: &str = "test";

fn cache_of(addr: &str, change: impl FnOnce(&mut RedisOptions)) -> RedisCache {
    let mut options = RedisOptions {
        addr: addr.to_owned(),
        ..RedisOptions::default()
    };
    change(&mut options);
    RedisCache::new(NAME, options, RemoteMetrics::redis()).unwrap()
}

fn keys(of: &[&str]) -> Vec<String> {
    of.iter().map(|&key| key.to_owned()).collect()
}

fn put(cache: &RedisCache, key: &str, value: Bytes) {
    cache.put(key.to_owned(), value, Duration::from_secs(60));
}

async fn eventually(cache: &RedisCache, wanted: &[String]) -> Vec<Option<Bytes>> {
    let mut found = Vec::new();
    for _ in 0..400 {
        found = cache.get_many(wanted).await;
        if found.iter().all(Option::is_some) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    found
}

/// E-89, ST-24, ST-25, X-37: set and get of many values through a server with a password, in batches.
#[tokio::test]
async fn values_come_back() {
    let Some(server) = CacheServer::redis("secret") else {
        return;
    };
    let cache = cache_of(server.address(), |options| {
        options.password = "secret".to_owned();
        options.db = 3;
        options.prefix = "t:".to_owned();
        options.get_multi_batch_size = 7;
        options.set_multi_batch_size = 5;
    });
    let wanted: Vec<String> = (0..50).map(|i| format!("key {i}")).collect();
    let value = |i: usize| Bytes::from(format!("\r\n{i}\0").repeat(i));
    for (i, key) in wanted.iter().enumerate() {
        put(&cache, key, value(i));
    }
    for (i, found) in eventually(&cache, &wanted).await.into_iter().enumerate() {
        assert_eq!(found, Some(value(i)), "{i}");
    }
    let found = cache
        .get_many(&keys(&["absent", "key 1", "absent too"]))
        .await;
    assert_eq!(found, [None, Some(value(1)), None]);
    assert_eq!(cache.client.metrics.failures(Operation::GetMulti, NAME), 0);
    // Another prefix is another cache.
    let other = cache_of(server.address(), |options| {
        options.password = "secret".to_owned();
        options.db = 3;
    });
    assert_eq!(other.get_many(&keys(&["key 1"])).await, [None]);
    assert_eq!(other.get_many(&keys(&["t:key 1"])).await, [Some(value(1))]);
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_is_misses() {
    let Some(server) = CacheServer::redis("secret") else {
        return;
    };
    let cache = cache_of(server.address(), |_| ());
    put(&cache, "a", "1".into());
    assert_eq!(cache.get_many(&keys(&["a"])).await, [None]);
    assert!(cache.client.metrics.failures(Operation::GetMulti, NAME) > 0);
}

#[tokio::test]
async fn a_server_that_dies_is_misses_and_one_that_comes_back_is_used_again() {
    let Some(mut server) = CacheServer::redis("") else {
        return;
    };
    // The first address is nobody's.
    let addr = format!("127.0.0.1:1, {}", server.address());
    let cache = cache_of(&addr, |_| ());
    put(&cache, "a", "1".into());
    assert!(eventually(&cache, &keys(&["a"])).await[0].is_some());
    server.stop();
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(cache.get_many(&keys(&["a"])).await, [None]);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    server.restart();
    tokio::time::sleep(RECONNECT_INTERVAL).await;
    // The next to ask does not wait for the connection.
    assert_eq!(cache.get_many(&keys(&["a"])).await, [None]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    put(&cache, "a", "2".into());
    assert_eq!(eventually(&cache, &keys(&["a"])).await, [Some("2".into())]);
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let cache = cache_of(&address, |options| {
        options.dial_timeout = Duration::from_millis(200);
        options.read_timeout = Duration::from_millis(200);
    });
    let started = Instant::now();
    assert_eq!(cache.get_many(&keys(&["a", "b"])).await, [None, None]);
    assert!(started.elapsed() < Duration::from_secs(3));
}

/// A server that says it has a value of 16 exabytes, and one that sends more than it says: misses, and no memory.
#[tokio::test]
async fn a_server_that_answers_nonsense_is_misses() {
    for answer in [
        &b"*1\r\n$9223372036854775807\r\n"[..],
        b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*1\r\n$5\r\nab",
        b"\xff\xfe\r\n",
        b"*1\r\n:12\r\n",
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut some = [0; 512];
                while let Ok(read) = stream.read(&mut some).await {
                    let question = &some[..read];
                    if read == 0 {
                        break;
                    }
                    // The client says who it is, first.
                    let commands = question.iter().filter(|byte| **byte == b'*').count();
                    let is_get = question.windows(4).any(|word| word == b"MGET");
                    let said = if is_get {
                        answer.to_vec()
                    } else {
                        b"+OK\r\n".repeat(commands)
                    };
                    let _ = stream.write_all(&said).await;
                }
            }
        });
        let cache = cache_of(&address, |options| {
            options.read_timeout = Duration::from_millis(300);
        });
        let started = Instant::now();
        let found = cache.get_many(&keys(&["a"])).await;
        let is_number = answer.ends_with(b":12\r\n");
        assert!(found == [None] || is_number, "{found:?} for {answer:?}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn each_mistake_has_its_message() {
    let mut options = RedisOptions::default();
    let error = |options: &RedisOptions| options.validate().unwrap_err().to_string();
    assert!(error(&options).contains("no redis addr provided"));
    options.addr = "a:1".to_owned();
    options.tls_enabled = true;
    options.tls_config.cert_file = "c".to_owned();
    assert!(error(&options).contains("both client key and certificate must be provided"));
    options.tls_config = TlsOptions {
        min_version: "1.7".to_owned(),
        ..TlsOptions::default()
    };
    assert!(error(&options).contains("tls_config.min_version: invalid"));
    options.password = "canary".to_owned();
    assert!(!format!("{options:?}").contains("canary"));
}
