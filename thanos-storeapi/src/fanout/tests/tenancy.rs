//! Every tenant sees its own.

use super::*;

const LABEL: &str = "tenant_id";

/// What a component of `tenants` says.
async fn component(tenants: &[&str], apis: FixedApis) -> Arc<Endpoint> {
    let tsdb = |tenant: &&str| TsdbInfo {
        external_labels: labels(&[(LABEL, tenant)]),
        range: TimeRange::ALL,
    };
    let info = StoreInfo {
        component: "receive".into(),
        tsdbs: tenants.iter().map(tsdb).collect(),
        offers: everything(),
        ..StoreInfo::default()
    };
    let name = tenants.join("+");
    let endpoint = Endpoint::remote_component(&name, Arc::new(Component(info)), apis.apis());
    endpoint.refresh(None).await.unwrap();
    endpoint
}

fn answers(tenant: &str) -> FixedApis {
    let pairs = [(LABEL, tenant), ("__name__", "m")];
    let of = |health| ActiveTarget {
        labels: labels(&pairs),
        ..active("x", health, 1)
    };
    let metadata = MetricMetadata {
        metric_type: "gauge".into(),
        help: format!("of {tenant}"),
        unit: String::new(),
    };
    let rules = vec![
        recording("of everybody", &[], 1),
        recording(tenant, &pairs[..1], 1),
    ];
    FixedApis {
        rules: vec![group("g", tenant, rules)],
        targets: Targets {
            active: vec![of(TargetHealth::Up)],
            dropped: vec![DroppedTarget {
                discovered_labels: labels(&pairs[..1]),
            }],
        },
        metadata: [("m".to_owned(), vec![metadata])].into(),
        exemplars: vec![SeriesExemplars {
            labels: labels(&pairs),
            exemplars: vec![exemplar(tenant, 1)],
        }],
        statistics: [(tenant.to_owned(), TsdbStatistics::default())].into(),
        ..FixedApis::default()
    }
}

/// E-56, Q-31: whatever a component says, only what is labelled as the tenant's is told; what has no labels is told if all
/// of its component is the tenant's, and named as missing if nobody can tell.
#[tokio::test]
async fn a_tenant_sees_its_own_alone() {
    let mut mixed = answers("b");
    mixed
        .statistics
        .insert("a".into(), TsdbStatistics::default());
    let ends = [
        component(&["a"], answers("a")).await,
        component(&["b"], answers("b")).await,
        component(&["a", "b"], mixed).await,
        component(&[], answers("b")).await,
    ];
    let options = FanoutOptions {
        enforced_label: Some(LABEL.into()),
        selectors: Arc::new(|_| Ok(vec![vec![Matcher::equal(LABEL, "b")]])),
        ..options()
    };
    let fanout = Fanout::new(EndpointSet::new(ends), options);
    let tenant = crate::tenant::TenantId::parse("a").unwrap();
    let warn = PartialResponse::Warn;
    macro_rules! ask {
        ($call:ident, $request:ident) => {
            fanout
                .$call($request {
                    tenant: tenant.clone(),
                    partial_response: warn,
                    ..$request::default()
                })
                .await
                .unwrap()
        };
    }
    let own = answers("a");
    let mut group = own.rules[0].clone();
    group.rules.remove(0);
    assert_eq!(ask!(rules, RulesRequest).value, [group]);
    let targets = ask!(targets, TargetsRequest).value;
    assert_eq!(targets.active[0].labels, own.targets.active[0].labels);
    assert_eq!(
        (targets.active.len(), targets.dropped),
        (1, own.targets.dropped)
    );
    assert_eq!(ask!(exemplars, ExemplarsRequest).value, own.exemplars);
    assert_eq!(ask!(tsdb_statistics, StatusRequest).value, own.statistics);

    let metadata = ask!(metadata, MetadataRequest);
    assert_eq!(metadata.value, own.metadata);
    let missing = metadata.completeness.missing().iter();
    let missing: Vec<_> = missing.map(|one| one.source.as_str()).collect();
    assert_eq!(missing, ["a+b", ""]);
}
