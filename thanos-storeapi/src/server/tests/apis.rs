//! What a component answers beside series, through server and client.

use super::*;
use crate::apis::Apis;
use crate::apis::exemplars::ExemplarsApi as _;
use crate::apis::metadata::MetadataApi as _;
use crate::apis::rules::RulesApi as _;
use crate::apis::status::StatusApi as _;
use crate::apis::targets::TargetsApi as _;
use crate::testkit::FixedApis;

fn serve(apis: Apis) -> (Running, RemoteStore) {
    serve_for(apis, ClientSettings::default())
}

fn serve_for(apis: Apis, settings: ClientSettings) -> (Running, RemoteStore) {
    let store = Arc::new(MemStore::default());
    let server = StoreServer::new(store, ServerSettings::default()).with_apis(apis);
    let running = Running::start_server(server, "127.0.0.1:0");
    let remote = RemoteStore::new(&running.address.to_string(), settings).unwrap();
    (running, remote)
}

/// SC-25 to SC-29 on the wire: what a component says arrives whole.
#[tokio::test]
async fn answers_arrive_as_they_were_given() {
    let mut given = FixedApis::sample("a");
    given.warnings = vec!["half of it is late".into()];
    let (_running, remote) = serve(given.clone().apis());

    let rules = remote.rules(Default::default()).await.unwrap();
    assert_eq!(rules.value, given.rules);
    let targets = remote.targets(Default::default()).await.unwrap();
    assert_eq!(targets.value, given.targets);
    let metadata = remote.metadata(Default::default()).await.unwrap();
    assert_eq!(metadata.value, given.metadata);
    let exemplars = remote.exemplars(Default::default()).await.unwrap();
    assert_eq!(exemplars.value, given.exemplars);
    let status = remote.tsdb_statistics(Default::default()).await.unwrap();
    assert_eq!(status.value, given.statistics);

    // What another component warns of is data that may be missing.
    let missing = rules.completeness.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].source, remote.address());
    assert_eq!(missing[0].reason, "half of it is late");
    assert!(!targets.completeness.is_complete() && !status.completeness.is_complete());
}

/// info announces what there is, and only that.
#[tokio::test]
async fn info_says_which_apis_there_are() {
    let (_running, remote) = serve(FixedApis::default().apis());
    let offers = remote.info().await.unwrap().offers;
    assert!(offers.store && offers.rules && offers.targets && offers.metadata && offers.status);
    assert!(offers.exemplars.is_some() && !offers.query);

    let only_rules = Apis {
        rules: FixedApis::default().apis().rules,
        ..Apis::default()
    };
    let (_running, remote) = serve(only_rules);
    let offers = remote.info().await.unwrap().offers;
    assert!(offers.rules && !offers.targets && offers.exemplars.is_none());
    assert!(remote.rules(Default::default()).await.is_ok());
    let error = remote.targets(Default::default()).await.unwrap_err();
    assert!(error.to_string().contains("not implemented"), "{error}");
}

#[tokio::test]
async fn failures_and_answers_without_end_are_errors() {
    let failing = FixedApis {
        failure: Some("not ready".into()),
        ..FixedApis::default()
    };
    let (_running, remote) = serve(failing.apis());
    let error = remote.rules(Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("not ready"), "{error}");

    let mut large = FixedApis::sample("a");
    large.rules = vec![large.rules[0].clone(); 1000];
    let settings = ClientSettings {
        answer_bytes_max: 100_000,
        ..ClientSettings::default()
    };
    let (_running, remote) = serve_for(large.apis(), settings);
    let error = remote.rules(Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("larger than 100000 bytes"));
    assert!(remote.targets(Default::default()).await.is_ok());
}
