//! The manifest of a bucket between two store gateways: one publishes it, the other one goes by it.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use thanos_bucket::manifest::MANIFEST_OBJECT;
use thanos_bucket::testkit::servers::ObjectServer;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::Store;

const LOADED: &str = "thanos_bucket_store_blocks_loaded";
const READS: &str = "thanos_blocks_meta_manifest_reads_total";
const IGNORED: &str = "thanos_blocks_meta_manifest_ignored_total";
const WRITES: &str = "thanos_blocks_meta_manifest_writes_total";

/// All objects but the manifest, and which contents they have.
fn others(outside: &Outside) -> BTreeMap<String, Option<String>> {
    let listing = outside.bucket.objects_after("").try_collect::<Vec<_>>();
    let objects = outside.runtime.block_on(listing).unwrap();
    objects
        .iter()
        .filter(|object| object.name != MANIFEST_OBJECT)
        .map(|object| {
            let tag = object.version.e_tag().map(str::to_owned);
            (object.name.clone(), tag)
        })
        .collect()
}

/// Goals 7 and 10: a store that publishes leaves one object in the bucket and changes no other; another store serves what
/// that object names. A damaged one is ignored by readers and written anew by the publisher.
#[test]
fn one_store_publishes_the_manifest_and_another_goes_by_it() {
    let server = ObjectServer::s3();
    let yaml = server.config("blocks", "");
    let outside = Outside::open(&yaml);
    let upload =
        |replica: &str| outside.upload(&[("a", "1")], Kind::Float, &[("replica", replica)], OLD_MS);
    upload("1");
    upload("2");
    let untouched = others(&outside);

    let publisher = Store::over(&yaml, &["--store.manifest=publish"]);
    metrics::wait_for(&publisher.http, WRITES, &[], 1.0);
    let reader = Store::over(&yaml, &[]);
    metrics::wait_until(&reader.http, READS, &[], |reads| reads >= 2.0);
    assert_eq!(metrics::sum(&reader.http, LOADED, &[]), 2.0);
    assert_eq!(metrics::sum(&reader.http, IGNORED, &[]), 0.0);
    assert_eq!(others(&outside), untouched);

    upload("3");
    metrics::wait_for(&publisher.http, WRITES, &[], 2.0);
    metrics::wait_for(&reader.http, LOADED, &[], 3.0);

    let damaged = outside.bucket.put(MANIFEST_OBJECT, "damaged".into());
    outside.runtime.block_on(damaged).unwrap();
    metrics::wait_for(&publisher.http, WRITES, &[], 3.0);
    let reads = metrics::sum(&reader.http, READS, &[]);
    metrics::wait_until(&reader.http, READS, &[], |more| more > reads);
    assert_eq!(metrics::sum(&reader.http, LOADED, &[]), 3.0);

    let without = Store::over(&yaml, &["--store.manifest=off"]);
    metrics::wait_for(&without.http, LOADED, &[], 3.0);
    assert_eq!(metrics::sum(&without.http, READS, &[]), 0.0);
}
