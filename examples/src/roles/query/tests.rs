//! The command line of `thanos query` takes what Thanos' takes.

use clap::{ArgMatches, Args, Command, FromArgMatches};
use thanos_core::labels::Labels;

use super::*;
use crate::flags::{LogFlags, TracingFlags, with_negations};

fn parse(arguments: &[&str]) -> Result<ArgMatches, clap::Error> {
    let role = QueryFlags::augment_args(Command::new("query"));
    let global = TracingFlags::augment_args(LogFlags::augment_args(role));
    with_negations(global).try_get_matches_from(["query"].iter().chain(arguments))
}

/// Every flag of Thanos is known with a value that it may have there. Source: Thanos `cmd/thanos/query.go` and
/// `config.go`.
#[test]
fn every_flag_of_thanos_is_taken() {
    let flags = "--alert.query-url=http://q --auto-gomemlimit.ratio=0.5 --deduplication.func=chain --enable-auto-gomemlimit \
        --enable-feature=promql-at-modifier --endpoint=a:1 --endpoint-group=a:1 --endpoint-group-strict=a:1 \
        --endpoint-strict=a:1 --endpoint.info-timeout=1s --endpoint.sd-config=x --endpoint.sd-config-file=x \
        --endpoint.sd-config-reload-interval=1m --exemplar.partial-response --no-exemplar.partial-response \
        --grpc-address=a:1 --grpc-client-server-name=a --grpc-client-tls-ca=x --grpc-client-tls-cert=x \
        --grpc-client-tls-key=x --grpc-client-tls-min-version=1.3 --grpc-client-tls-secure \
        --grpc-client-tls-skip-verify --grpc-compression=snappy --grpc-grace-period=1m \
        --grpc-server-max-connection-age=1m --grpc-server-tls-cert=x --grpc-server-tls-ciphers=x \
        --grpc-server-tls-client-ca=x --grpc-server-tls-curves=x --grpc-server-tls-key=x \
        --grpc-server-tls-min-version=1.2 --grpc.proxy-strategy=lazy --http-address=a:1 --http-grace-period=1m \
        --http.config=x --inject-test-addresses=a:1 --log.format=json --log.level=debug \
        --metric-metadata.partial-response --no-metric-metadata.partial-response --query.active-query-path=x \
        --query.auto-downsampling --query.conn-metric.label=ip_port --query.default-evaluation-interval=1m \
        --query.default-step=1s --query.default-tenant-id=a --query.disable-fallback \
        --query.distributed-with-overlapping-interval --query.dynamic-lookback-delta \
        --no-query.dynamic-lookback-delta --query.enable-x-functions --query.enforce-tenancy \
        --query.instant.default.max_source_resolution=1h --query.lazy-retrieval-max-buffered-responses=9 \
        --query.lookback-delta=1m --query.max-concurrent=0 --query.max-concurrent-select=0 \
        --query.metadata.default-time-range=1h --query.mode=distributed --query.partial-response \
        --no-query.partial-response --query.partition-label=a --query.promql-engine=thanos --query.replica-label=a,b \
        --query.telemetry.request-duration-seconds-quantiles=1 --query.telemetry.request-samples-quantiles=1 \
        --query.telemetry.request-series-seconds-quantiles=1 --query.tenant-certificate-field=commonName \
        --query.tenant-header=a --query.tenant-label-name=a --query.timeout=1m --request.logging-config=x \
        --request.logging-config-file=x --rule.partial-response --no-rule.partial-response --selector-label=a=\"b\" \
        --selector.relabel-config=x --selector.relabel-config-file=x --status.partial-response \
        --no-status.partial-response --store.limits.request-samples=1 --store.limits.request-series=1 \
        --store.response-timeout=1s --store.sd-dns-interval=1s --store.sd-dns-resolver=golang --store.sd-files=x \
        --store.sd-interval=1s --store.unhealthy-timeout=1s --target.partial-response --no-target.partial-response \
        --tracing.config=x --tracing.config-file=x --web.disable-cors --web.external-prefix=/a --web.prefix-header=X-Forwarded-Prefix --web.route-prefix=/b \
        --debug.name=x";
    let refused: Vec<String> = flags
        .split_whitespace()
        .filter_map(|flag| parse(&[flag]).err().map(|error| format!("{flag}: {error}")))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(parse(&["--query.no-such-flag"]).is_err());
}

/// What has no meaning here is refused with a reason.
#[tokio::test]
async fn flags_without_meaning_are_refused() {
    let found = parse(&["--inject-test-addresses=a:1"]).unwrap();
    let flags = QueryFlags::from_arg_matches(&found).unwrap();
    let config = flags.grpc_client.config();
    let base = flags.grpc_client.settings().unwrap();
    let discovery = flags
        .endpoints
        .discovery(&config, &base, EndpointMetrics::default());
    let error = discovery.unwrap_err();
    assert!(
        error.to_string().contains("--inject-test-addresses"),
        "{error}"
    );
}

/// an address without a port or a kind of query ends the process at its start, as in Thanos.
#[tokio::test]
async fn addresses_of_flags_are_checked_at_the_start() {
    let discovery = |flag: &str| {
        let found = parse(&[flag]).unwrap();
        let flags = QueryFlags::from_arg_matches(&found).unwrap();
        let (config, base) = (flags.grpc_client.config(), flags.grpc_client.settings());
        let endpoints = flags.endpoints;
        endpoints.discovery(&config, &base.unwrap(), EndpointMetrics::default())
    };
    for flag in ["endpoint", "endpoint-strict", "endpoint-group"] {
        for address in ["", "host"] {
            let error = discovery(&format!("--{flag}={address}")).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("<host>:<port>"), "{flag}: {message}");
        }
    }
    assert!(discovery("--endpoint=host:10901").is_ok());
    assert!(discovery("--endpoint=dnssrv+_grpc._tcp.host").is_ok());
}

/// rules choose databases by their external labels; rules that would change labels are refused.
#[test]
fn relabelling_rules_choose_databases() {
    let selector = |yaml: &str| {
        let flag = format!("--selector.relabel-config={yaml}");
        let found = parse(&[&flag]).unwrap();
        QueryFlags::from_arg_matches(&found)
            .unwrap()
            .proxy
            .selector()
    };
    let keeps = |selector: &thanos_storeapi::proxy::TsdbSelector, value: &str| {
        selector.keeps(&Labels::from_pairs([("replica", value)]))
    };
    let kept = selector("[{action: keep, source_labels: [replica], regex: a}]").unwrap();
    assert!(keeps(&kept, "a") && !keeps(&kept, "b"));
    let dropped = selector("[{action: drop, source_labels: [replica], regex: a}]").unwrap();
    assert!(!keeps(&dropped, "a") && keeps(&dropped, "b"));

    let share = |shard: u8| {
        selector(&format!(
            "[{{action: hashmod, source_labels: [replica], target_label: shard, modulus: 2}}, \
             {{action: keep, source_labels: [shard], regex: {shard}}}]"
        ))
        .unwrap()
    };
    let shares = [share(0), share(1)];
    for value in ["a", "b", "c", "d", "e"] {
        let holders = shares.iter().filter(|share| keeps(share, value));
        assert_eq!(holders.count(), 1, "{value}");
    }

    let error = selector("[{action: labeldrop, regex: a}]").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("unsupported relabel action: labeldrop"),
        "{error}"
    );
}
