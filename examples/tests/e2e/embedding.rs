//! The embedding stories that need a server, run inside this process.

use thanos_bucket::testkit::servers::ObjectServer;
use thanos_promql::Value;
use thanos_promql::value::SampleValue;

use crate::blocks::{Kind, OLD_MS, Outside};

/// The example itself; its `main` is not called.
#[expect(dead_code, reason = "an example is a program")]
#[path = "../../embed/query_a_bucket.rs"]
mod query_a_bucket;

/// The promise of the README.
const LINES_MAX: usize = 30;

#[test]
fn promql_over_an_s3_bucket_takes_thirty_lines() {
    let lines = include_str!("../../embed/query_a_bucket.rs")
        .lines()
        .count();
    assert!(lines <= LINES_MAX, "{lines} lines");

    let server = ObjectServer::s3();
    let yaml = server.config("blocks", "");
    let outside = Outside::open(&yaml);
    for replica in ["1", "2"] {
        let external = [("replica", replica)];
        outside.upload(&[("__name__", "x")], Kind::Float, &external, OLD_MS);
    }
    let time = outside.query_time();
    let answer = query_a_bucket::answer(&yaml, "count(x)", &time);
    let Value::Vector(samples) = outside.runtime.block_on(answer).unwrap() else {
        panic!("not a vector");
    };
    let [sample] = &samples[..] else {
        panic!("{samples:?}");
    };
    assert_eq!(sample.value, SampleValue::Float(2.0));
}
