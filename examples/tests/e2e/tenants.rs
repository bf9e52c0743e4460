//! Tenants, from the header of a query to what the store gateway counts, and what they may see.

use serde_json::Value;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, querier};

const TOUCHED: &str = "thanos_bucket_store_series_data_touched_count";

fn as_tenant(peer: &Peer, header: &str, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
    let answer = peer.query_with(path, parameters, &[header]);
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// Q-31, ST-34: the tenant that a query names is the one that the store gateway counts it for.
#[test]
fn the_tenant_of_a_query_reaches_the_store() {
    let directory = TempDir::new("e2e-tenants");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    outside.upload(&[("a", "1")], Kind::Float, &[("replica", "1")], OLD_MS);
    let store = Store::over(&yaml, &[]);
    let flags = [
        "--query.tenant-header=X-Team",
        "--query.default-tenant-id=nobody",
    ];
    let querier = querier(&[&store.grpc_address], &flags);
    let time = outside.query_time();
    let parameters = [("query", "{a=\"1\"}"), ("time", &time)];
    for (header, tenant) in [
        ("X-Team: team-a", "team-a"),
        ("THANOS-TENANT: team-b", "team-b"),
        ("X-Team: ", "nobody"),
    ] {
        let (status, body) = as_tenant(&querier, header, "/api/v1/query", &parameters);
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["data"]["result"][0]["metric"]["a"], "1", "{body}");
        let label = format!("tenant=\"{tenant}\"");
        metrics::wait_until(&store.http, TOUCHED, &[&label], |count| count > 0.0);
    }
    let label = ["tenant=\"default-tenant\""];
    assert_eq!(metrics::sum(&store.http, TOUCHED, &label), 0.0);

    let (status, body) = as_tenant(&querier, "X-Team: ../a", "/api/v1/query", &parameters);
    let text = body["error"].as_str().unwrap();
    assert!(
        status == 400 && text.contains("tenant name not valid"),
        "{body}"
    );
}

/// with enforced tenancy nobody sees the series of another tenant, however the query is written.
#[test]
fn tenants_cannot_see_each_other() {
    let directory = TempDir::new("e2e-tenancy");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    for tenant in ["a", "b"] {
        let external = [("tenant_id", tenant)];
        outside.upload(
            &[("__name__", "x"), ("of", tenant)],
            Kind::Float,
            &external,
            OLD_MS,
        );
    }
    let store = Store::over(&yaml, &[]);
    let querier = querier(&[&store.grpc_address], &["--query.enforce-tenancy"]);
    let time = outside.query_time();
    for query in [
        "x",
        "x{tenant_id=\"b\"}",
        "x{tenant_id=~\".*\"}",
        "x{tenant_id!=\"a\"}",
        "x or x{tenant_id=\"b\"}",
        "max_over_time(x{tenant_id=\"b\"}[3h])",
    ] {
        let parameters = [("query", query), ("time", &time)];
        let (_, body) = as_tenant(&querier, "THANOS-TENANT: a", "/api/v1/query", &parameters);
        let found = body["data"]["result"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{query}: {body}");
        assert_eq!(found[0]["metric"]["of"], "a", "{query}: {body}");
    }
    let all = [
        ("match[]", "x{tenant_id=\"b\"}"),
        ("start", "0"),
        ("end", "9999999999"),
    ];
    for (path, parameters, expected) in [
        (
            "/api/v1/series",
            &all[..],
            "{\"__name__\":\"x\",\"of\":\"a\",\"tenant_id\":\"a\"}",
        ),
        ("/api/v1/label/of/values", &all[1..], "\"a\""),
        ("/api/v1/label/tenant_id/values", &all[..], "\"a\""),
    ] {
        let (_, body) = as_tenant(&querier, "THANOS-TENANT: a", path, parameters);
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(
            body["data"],
            serde_json::json!([expected]),
            "{path}: {body}"
        );
    }
    let parameters = [("query", "x"), ("time", &*time)];
    let (_, body) = as_tenant(&querier, "Accept: */*", "/api/v1/query", &parameters);
    assert_eq!(body["data"]["result"], serde_json::json!([]), "{body}");
}
