use super::*;

async fn index_error(yaml: &str) -> String {
    let opened = match IndexCacheConfig::from_yaml(yaml) {
        Ok(config) => config.open(&CacheMetrics::default()).await.map(drop),
        Err(error) => Err(error),
    };
    opened.unwrap_err().to_string()
}

async fn bucket_error(yaml: &str) -> String {
    let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new()));
    let opened = match CachingBucketConfig::from_yaml(yaml, "") {
        Ok(config) => config
            .open(bucket, &CacheMetrics::default())
            .await
            .map(drop),
        Err(error) => Err(error),
    };
    opened.unwrap_err().to_string()
}

/// ST-24, ST-25: what Thanos refuses, in its words, and what we do not have.
#[tokio::test]
async fn each_mistake_has_its_message() {
    for (yaml, expected) in [
        (
            "type: FLOPPY",
            "index cache with type FLOPPY is not supported",
        ),
        (
            "type: GROUPCACHE",
            "index cache with type GROUPCACHE is not supported",
        ),
        (
            "type: IN-MEMORY\nenabled_items: [Foo]",
            "unsupported item type Foo",
        ),
        ("type: IN-MEMORY\nttll: 1h", "ttll"),
        ("type: IN-MEMORY\nttl: 1x", "1x"),
        ("type: IN-MEMORY\nconfig: {max_sizee: 1MB}", "max_sizee"),
        (
            "type: IN-MEMORY\nconfig: {max_size: 1MB, max_item_size: 2MB}",
            "max item size (2097152)",
        ),
    ] {
        let error = index_error(yaml).await;
        assert!(error.contains(expected), "{yaml}: {error}");
    }
    for (yaml, expected) in [
        ("type: FLOPPY", "unsupported cache type: FLOPPY"),
        ("type: GROUPCACHE", "GROUPCACHE is not supported"),
        (
            "type: IN-MEMORY\nchunk_subrange_size: 0",
            "chunk_subrange_size",
        ),
        ("type: IN-MEMORY\nblocks_iter_tl: 1m", "blocks_iter_tl"),
    ] {
        let error = bucket_error(yaml).await;
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

/// ST-25: the defaults of the caching bucket, and what tells listings apart.
#[test]
fn defaults_and_hash_are_those_of_thanos() {
    let path = "/etc/thanos/cache.yaml";
    let config = CachingBucketConfig::from_yaml("type: IN-MEMORY\n", path).unwrap();
    let options = config.options();
    let expected = CachingStoreOptions {
        // Of Go's cespare/xxhash over the same text.
        listing_hash: "13014657067377926493".to_owned(),
        ..CachingStoreOptions::default()
    };
    assert_eq!(options, expected);
    let yaml = "type: in-memory\nmax_chunks_get_range_requests: -1\nmetafile_max_size: 2MiB\nblocks_iter_ttl: 1m30s\n";
    let options = CachingBucketConfig::from_yaml(yaml, "").unwrap().options();
    assert_eq!(options.range_requests_max, 0);
    assert_eq!(options.content_bytes_max, 2 << 20);
    assert_eq!(options.iter_ttl, Duration::from_secs(90));
}

/// ST-23 to ST-26: the names of all that Thanos counts (pkg/store/cache, pkg/cache, pkg/cacheutil).
#[tokio::test]
async fn metrics_have_the_names_of_thanos() {
    let metrics = CacheMetrics::default();
    // Some show only once something happened.
    let cache = IndexCacheConfig::in_memory(1 << 20);
    let cache = cache.open(&metrics).await.unwrap();
    let block = "01M81JDC7R8JKP7SEW1VN2HAQ9".parse().unwrap();
    let (postings, compute) = (Arc::default(), crate::compute::Compute::new(1));
    let stored = cache.store_expanded(block, &[], postings, "t", &compute);
    assert!(stored.await.unwrap().is_some());
    cache.expanded(block, &[], 1, "t", &compute).await.unwrap();
    #[cfg(feature = "memcached")]
    metrics.memcached.start("test", Vec::new());
    #[cfg(feature = "redis")]
    metrics.redis.start("test", Vec::new());
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let index = "requests hits stored_data_size_bytes fetch_duration_seconds items_evicted items_added items_overflowed \
                 items items_size_bytes total_size_bytes max_size_bytes max_item_size_bytes";
    let memory = "items_evicted items_added requests hits_on_expired_data items_overflowed hits items items_size_bytes \
                  total_size_bytes max_size_bytes max_item_size_bytes";
    let bucket = "getrange_requested_bytes getrange_fetched_bytes getrange_refetched_bytes operation_requests \
                  operation_hits";
    let remote = "client_info operations operation_failures operation_skipped operation_duration_seconds \
                  operation_data_size_bytes";
    let mut areas = vec![
        ("thanos_store_index_cache", index),
        ("thanos_cache_inmemory", memory),
        ("thanos_store_bucket_cache", bucket),
    ];
    #[cfg(feature = "memcached")]
    areas.extend([
        ("thanos_memcached", remote),
        ("thanos_cache_memcached", "requests hits"),
    ]);
    #[cfg(feature = "redis")]
    areas.push(("thanos_redis", "operation_duration_seconds"));
    for (area, names) in areas {
        for name in names.split_whitespace() {
            let line = format!("# TYPE {area}_{name} ");
            assert!(text.contains(&line), "{line}is not in\n{text}");
        }
    }
    let _ = remote;
}

/// ST-24 to ST-26: each setting that Thanos knows is read; one that it does not know is an error.
#[cfg(all(feature = "memcached", feature = "redis"))]
#[test]
fn every_setting_of_thanos_is_read() {
    use super::super::memcached::MemcachedOptions;
    use super::super::redis::RedisOptions;

    fn read<T: DeserializeOwned + Default>(yaml: &str) -> T {
        backend_config(parse::<Value>("test", yaml).unwrap()).unwrap()
    }
    let memcached: MemcachedOptions = read(
        "addresses: [\"a:1\"]\ntimeout: 1s\nmax_idle_connections: 2\nmax_async_concurrency: 3\n\
         max_async_buffer_size: 4\nmax_get_multi_concurrency: 5\nmax_item_size: 6KiB\n\
         max_get_multi_batch_size: 7\ndns_provider_update_interval: 8s\nauto_discovery: true\n\
         set_async_circuit_breaker_config: {enabled: true, half_open_max_requests: 9, open_duration: 10s, \
         min_requests: 11, consecutive_failures: 12, failure_percent: 0.5}\n",
    );
    let shown = format!("{memcached:?}");
    for number in [
        "1s", "2", "3", "4", "5", "6144", "7", "8s", "true", "9", "10s", "11", "12", "0.5",
    ] {
        assert!(shown.contains(number), "{number} is not in {shown}");
    }
    let redis: RedisOptions = read(
        "addr: a:1\nprefix: p\nusername: u\npassword: w\ndb: 1\ndial_timeout: 2s\nread_timeout: 3s\n\
         write_timeout: 4s\nmax_get_multi_concurrency: 5\nget_multi_batch_size: 6\n\
         max_set_multi_concurrency: 7\nset_multi_batch_size: 8\ntls_enabled: true\n\
         tls_config: {ca_file: c, cert_file: e, key_file: k, server_name: s, insecure_skip_verify: true, \
         min_version: '1.3'}\ncache_size: 9KiB\nmaster_name: m\nmax_async_buffer_size: 10\n\
         max_async_concurrency: 11\nset_async_circuit_breaker_config: {enabled: false}\n",
    );
    assert_eq!(redis.validate().err().map(|error| error.to_string()), None);
    assert_eq!(
        (redis.db, redis.max_async_concurrency, redis.cache_size),
        (1, 11, ByteSize(9 << 10))
    );
    let memory: InMemoryConfig = read("max_size: 1MB\nmax_item_size: 2KB\n");
    assert_eq!(
        (memory.max_size, memory.max_item_size),
        (ByteSize(1 << 20), ByteSize(2 << 10))
    );
    let bucket = CachingBucketConfig::from_yaml(
        "type: REDIS\nconfig: {addr: a:1}\nchunk_subrange_size: 1\nmax_chunks_get_range_requests: 2\n\
         metafile_max_size: 3KB\nchunk_object_attrs_ttl: 4s\nchunk_subrange_ttl: 5s\nblocks_iter_ttl: 6s\n\
         metafile_exists_ttl: 7s\nmetafile_doesnt_exist_ttl: 8s\nmetafile_content_ttl: 9s\n",
        "",
    );
    let options = bucket.unwrap().options();
    let seconds = [
        options.attributes_ttl,
        options.subrange_ttl,
        options.iter_ttl,
        options.exists_ttl,
        options.absent_ttl,
        options.content_ttl,
    ];
    assert_eq!(seconds, [4, 5, 6, 7, 8, 9].map(Duration::from_secs));
    assert_eq!(
        (
            options.subrange_bytes,
            options.range_requests_max,
            options.content_bytes_max
        ),
        (1, 2, 3 << 10)
    );
}

#[tokio::test]
async fn a_cache_in_memory_needs_no_settings() {
    let metrics = CacheMetrics::default();
    let config = IndexCacheConfig::from_yaml("type: in-memory\nttl: 1h\n").unwrap();
    let cache = config.open(&metrics).await.unwrap();
    assert!(ItemType::ALL.into_iter().all(|item| cache.keeps(item)));
    assert!(
        IndexCacheConfig::in_memory(1 << 20)
            .open(&metrics)
            .await
            .is_ok()
    );
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("thanos_store_index_cache_max_size_bytes 1048576"),
        "{text}"
    );
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert_eq!(
            text.matches(&format!("# TYPE {name}\n")).count(),
            1,
            "{name} twice"
        );
    }
}

#[cfg(feature = "memcached")]
#[tokio::test]
async fn settings_of_servers_are_checked() {
    for (yaml, expected) in [
        ("type: MEMCACHED", "no memcached addresses provided"),
        (
            "type: MEMCACHED\nconfig: {addresses: [a]}",
            "a host and a port are expected",
        ),
        (
            "type: MEMCACHED\nconfig: {addresses: ['a:1'], max_async_concurrency: 0}",
            "max async concurrency must be positive",
        ),
        (
            "type: MEMCACHED\nconfig: {addresses: ['a:1'], dns_provider_update_interval: 0s}",
            "DNS provider update interval must be positive",
        ),
        (
            "type: MEMCACHED\nconfig: {addresses: ['a:1'], set_async_circuit_breaker_config: {enabled: true, failure_percent: 2}}",
            "failure percent must be in range (0,1]",
        ),
    ] {
        let error = index_error(yaml).await;
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_password_is_not_shown() {
    let error = index_error("type: REDIS\nconfig: {password: canary, addrr: x}").await;
    assert!(
        error.contains("addrr") && !error.contains("canary"),
        "{error}"
    );
    let config =
        IndexCacheConfig::from_yaml("type: REDIS\nconfig: {password: canary, addr: 'a:1'}");
    let cache = config
        .unwrap()
        .open(&CacheMetrics::default())
        .await
        .unwrap();
    assert!(!format!("{cache:?}").contains("canary"));
}
