//! Tables of label names, label values and matchers.

use std::sync::Arc;

use thanos_core::labels::Labels;
use thanos_core::time::TimeRange;

use super::{
    M, Report, ask, check_contract, describe, eq, final_labels, labels, names_request, ne, nre,
    one_sample, re, series_request, values_request,
};
use crate::store::Store;
use crate::testkit::Dataset;

/// When the samples of the tables were taken.
const NOW_MS: i64 = 1_700_000_000_000;
/// Long before: indexes know times by block, so a shorter distance would prove nothing.
const EARLIER: TimeRange = TimeRange::from_millis(i64::MIN, NOW_MS - 4 * 3_600_000);

/// The calls made on one data set.
struct Case {
    name: &'static str,
    series: &'static [&'static str],
    names: &'static [Call],
    values: &'static [(&'static str, Call)],
    selects: &'static [Call],
}

/// Matchers, range, and the expected strings (for series: labels without the external ones).
type Call = (&'static [M], TimeRange, &'static [&'static str]);

const ALL: TimeRange = TimeRange::ALL;

pub(super) async fn check<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    for case in CASES {
        let external = labels("region=eu-west");
        let series = case.series.iter().map(|text| one_sample(text, NOW_MS));
        let data = Dataset::new(external.clone(), series.collect());
        let store = make_store(data).await;
        check_names(report, case, &store).await;
        check_values(report, case, &store).await;
        check_selects(report, case, &store, &external).await;
    }
}

async fn check_names(report: &mut Report, case: &Case, store: &Arc<dyn Store>) {
    for (table, range, wanted) in case.names {
        let name = format!(
            "{}: label names of {} in {range:?}",
            case.name,
            describe(table)
        );
        let response = store.label_names(names_request(table, *range)).await;
        if let Some(response) = report.ok(&name, response) {
            report.equal(&name, "names", &response.values, &to_strings(wanted));
            report.equal(&name, "warnings", &response.warnings, &Vec::new());
            report.equal(&name, "complete", response.completeness.is_complete(), true);
        }
    }
}

async fn check_values(report: &mut Report, case: &Case, store: &Arc<dyn Store>) {
    for (label, (table, range, wanted)) in case.values {
        let name = format!(
            "{}: values of {label} in {} in {range:?}",
            case.name,
            describe(table)
        );
        let response = store
            .label_values(values_request(label, table, *range))
            .await;
        if let Some(response) = report.ok(&name, response) {
            report.equal(&name, "values", &response.values, &to_strings(wanted));
            report.equal(&name, "warnings", &response.warnings, &Vec::new());
            report.equal(&name, "complete", response.completeness.is_complete(), true);
        }
    }
}

async fn check_selects(
    report: &mut Report,
    case: &Case,
    store: &Arc<dyn Store>,
    external: &Labels,
) {
    for (table, range, wanted) in case.selects {
        for skip_chunks in [false, true] {
            let chunks = if skip_chunks {
                "labels only"
            } else {
                "with chunks"
            };
            let name = format!("{}: series of {} {chunks}", case.name, describe(table));
            let mut request = series_request(table, *range);
            request.skip_chunks = skip_chunks;
            if let Some(answer) = report.ok(&name, ask(store, request.clone()).await) {
                let wanted = wanted
                    .iter()
                    .map(|text| final_labels(&labels(text), external, &[]));
                report.equal(&name, "series", answer.labels(), wanted.collect());
                check_contract(report, &name, &request, &answer);
            }
        }
    }
}

fn to_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

const CASES: &[Case] = &[
    Case {
        name: "empty store",
        series: &[],
        names: &[(&[], ALL, &[])],
        values: &[("foo", (&[], ALL, &[]))],
        selects: &[(&[ne("foo", "")], ALL, &[])],
    },
    Case {
        name: "one series",
        series: &["foo=foovalue1"],
        names: &[(&[], ALL, &["foo", "region"])],
        values: &[
            ("foo", (&[], ALL, &["foovalue1"])),
            ("region", (&[], ALL, &["eu-west"])),
            ("replica", (&[], ALL, &[])),
        ],
        selects: &[(&[eq("foo", "foovalue1")], ALL, &["foo=foovalue1"])],
    },
    Case {
        name: "two series",
        series: &["foo=foovalue1", "foo=foovalue2"],
        names: &[(&[], ALL, &["foo", "region"])],
        values: &[("foo", (&[], ALL, &["foovalue1", "foovalue2"]))],
        selects: &[(&[re("foo", ".+")], ALL, &["foo=foovalue1", "foo=foovalue2"])],
    },
    Case {
        name: "several series",
        series: &[
            "foo=foovalue1",
            "foo=foovalue2",
            "bar=barvalue1,foo=foovalue1",
        ],
        names: &[
            (&[], ALL, &["bar", "foo", "region"]),
            (&[], EARLIER, &[]),
            (&[eq("bar", "barvalue1")], ALL, &["bar", "foo", "region"]),
            (&[eq("foo", "foovalue2")], ALL, &["foo", "region"]),
            (&[eq("bar", "different")], ALL, &[]),
            (&[eq("region", "eu-west")], ALL, &["bar", "foo", "region"]),
            (&[eq("region", "different")], ALL, &[]),
        ],
        values: &[
            ("foo", (&[], ALL, &["foovalue1", "foovalue2"])),
            ("bar", (&[], ALL, &["barvalue1"])),
            ("foo", (&[], EARLIER, &[])),
            ("bar", (&[], EARLIER, &[])),
            ("region", (&[], EARLIER, &[])),
            ("foo", (&[eq("bar", "barvalue1")], ALL, &["foovalue1"])),
            ("foo", (&[eq("bar", "different")], ALL, &[])),
            ("region", (&[eq("__name__", "nonexistent")], ALL, &[])),
            ("region", (&[eq("region", "eu-east")], ALL, &[])),
            (
                "foo",
                (&[eq("region", "eu-west")], ALL, &["foovalue1", "foovalue2"]),
            ),
            ("bar", (&[eq("region", "eu-west")], ALL, &["barvalue1"])),
            ("foo", (&[eq("region", "different")], ALL, &[])),
            ("bar", (&[eq("region", "different")], ALL, &[])),
            ("missing", (&[], ALL, &[])),
        ],
        selects: &[
            (&[re("foo", ".+"), eq("region", "different")], ALL, &[]),
            (
                &[eq("foo", "foovalue2"), eq("region", "eu-west")],
                ALL,
                &["foo=foovalue2"],
            ),
            (&[re("foo", ".+")], EARLIER, &[]),
        ],
    },
    Case {
        name: "external labels win over labels of the series",
        series: &["foo=bar,region=somewhere"],
        names: &[
            (&[], ALL, &["foo", "region"]),
            (&[eq("region", "somewhere")], ALL, &[]),
        ],
        values: &[
            ("region", (&[], ALL, &["eu-west"])),
            ("region", (&[eq("foo", "bar")], ALL, &["eu-west"])),
            ("foo", (&[eq("region", "somewhere")], ALL, &[])),
            ("foo", (&[eq("region", "eu-west")], ALL, &["bar"])),
        ],
        selects: &[
            (&[eq("foo", "bar")], ALL, &["foo=bar"]),
            (
                &[eq("foo", "bar"), eq("region", "eu-west")],
                ALL,
                &["foo=bar"],
            ),
            (&[eq("foo", "bar"), eq("region", "somewhere")], ALL, &[]),
            (&[eq("foo", "bar"), ne("region", "eu-west")], ALL, &[]),
        ],
    },
    Case {
        name: "values of an external label with matchers on others",
        series: &["__name__=up,foo=bar,job=C", "__name__=up,foo=baz,job=C"],
        names: &[],
        values: &[
            (
                "region",
                (&[eq("__name__", "up"), eq("job", "C")], ALL, &["eu-west"]),
            ),
            (
                "region",
                (&[eq("__name__", "up"), eq("job", "D")], ALL, &[]),
            ),
        ],
        selects: &[],
    },
    Case {
        name: "matchers on external labels other than =",
        series: &["__name__=up,foo=bar"],
        names: &[
            (&[re("region", ".*")], ALL, &["__name__", "foo", "region"]),
            (&[nre("region", "eu-.*")], ALL, &[]),
            (&[ne("region", "")], ALL, &["__name__", "foo", "region"]),
        ],
        values: &[
            (
                "region",
                (
                    &[eq("__name__", "up"), re("region", ".*")],
                    ALL,
                    &["eu-west"],
                ),
            ),
            (
                "region",
                (
                    &[eq("__name__", "up"), ne("region", "us")],
                    ALL,
                    &["eu-west"],
                ),
            ),
            ("foo", (&[nre("region", "us|ap")], ALL, &["bar"])),
        ],
        selects: &[
            (
                &[eq("foo", "bar"), re("region", "eu-.+")],
                ALL,
                &["__name__=up,foo=bar"],
            ),
            (&[eq("foo", "bar"), nre("region", "eu-.+")], ALL, &[]),
            (
                &[eq("foo", "bar"), ne("region", "us")],
                ALL,
                &["__name__=up,foo=bar"],
            ),
            (&[eq("foo", "bar"), eq("region", "")], ALL, &[]),
        ],
    },
    Case {
        name: "values of a label that other series have too",
        series: &[
            "__name__=up,pod=pod-1",
            "__name__=up,pod=pod-2",
            "__name__=kube_pod_info,pod=pod-1",
        ],
        names: &[
            (
                &[eq("__name__", "kube_pod_info")],
                ALL,
                &["__name__", "pod", "region"],
            ),
            (&[], ALL, &["__name__", "pod", "region"]),
        ],
        values: &[
            ("pod", (&[eq("__name__", "kube_pod_info")], ALL, &["pod-1"])),
            ("pod", (&[], ALL, &["pod-1", "pod-2"])),
        ],
        selects: &[],
    },
    Case {
        name: "matching",
        series: &["n=1", "i=a,n=1", "i=b,n=1", "n=2", "n=2.5"],
        names: &[],
        values: &[],
        selects: MATCHING,
    },
];

const EVERY: &[&str] = &["i=a,n=1", "i=b,n=1", "n=1", "n=2", "n=2.5"];
const WITH_N_1: &[&str] = &["i=a,n=1", "i=b,n=1", "n=1"];
const WITH_I: &[&str] = &["i=a,n=1", "i=b,n=1"];
const WITHOUT_I: &[&str] = &["n=1", "n=2", "n=2.5"];
const WITH_OTHER_N: &[&str] = &["n=2", "n=2.5"];

/// The matrix of Prometheus' tsdb/querier_test.go, which Thanos runs on every store.
const MATCHING: &[Call] = &[
    (&[eq("n", "1")], ALL, WITH_N_1),
    (&[eq("n", "1"), eq("i", "a")], ALL, &["i=a,n=1"]),
    (&[eq("n", "1"), eq("i", "missing")], ALL, &[]),
    (&[eq("missing", "")], ALL, EVERY),
    (&[ne("n", "1")], ALL, WITH_OTHER_N),
    (&[re("i", ".+")], ALL, WITH_I),
    (&[re("i", ".*")], ALL, EVERY),
    (&[eq("i", "")], ALL, WITHOUT_I),
    (&[ne("i", "")], ALL, WITH_I),
    (&[ne("missing", "")], ALL, &[]),
    (&[eq("n", "1"), ne("i", "a")], ALL, &["i=b,n=1", "n=1"]),
    (&[eq("n", "1"), ne("i", "")], ALL, WITH_I),
    (&[re("n", "^1$")], ALL, WITH_N_1),
    (&[eq("n", "1"), re("i", "^a$")], ALL, &["i=a,n=1"]),
    (&[eq("n", "1"), re("i", "^a?$")], ALL, &["i=a,n=1", "n=1"]),
    (&[re("i", "^$")], ALL, WITHOUT_I),
    (&[eq("n", "1"), re("i", "^$")], ALL, &["n=1"]),
    (&[eq("n", "1"), re("i", "^.*$")], ALL, WITH_N_1),
    (&[eq("n", "1"), re("i", "^.+$")], ALL, WITH_I),
    (&[nre("i", ".*")], ALL, &[]),
    (&[nre("i", ".+")], ALL, WITHOUT_I),
    (&[nre("n", "^1$")], ALL, WITH_OTHER_N),
    (&[nre("n", "1")], ALL, WITH_OTHER_N),
    (&[nre("n", "1|2.5")], ALL, &["n=2"]),
    (&[nre("n", "(1|2.5)")], ALL, &["n=2"]),
    (&[eq("n", "1"), nre("i", "^a$")], ALL, &["i=b,n=1", "n=1"]),
    (&[eq("n", "1"), nre("i", "^a?$")], ALL, &["i=b,n=1"]),
    (&[eq("n", "1"), nre("i", "^$")], ALL, WITH_I),
    (&[eq("n", "1"), nre("i", "^.*$")], ALL, &[]),
    (&[eq("n", "1"), nre("i", "^.+$")], ALL, &["n=1"]),
    (
        &[eq("n", "1"), ne("i", ""), eq("i", "a")],
        ALL,
        &["i=a,n=1"],
    ),
    (
        &[eq("n", "1"), ne("i", "b"), re("i", "^(b|a).*$")],
        ALL,
        &["i=a,n=1"],
    ),
    (
        &[re("n", "(1|2)")],
        ALL,
        &["i=a,n=1", "i=b,n=1", "n=1", "n=2"],
    ),
    (&[re("i", "a|b")], ALL, WITH_I),
    (&[re("i", "(a|b)")], ALL, WITH_I),
    (&[re("n", "x1|2")], ALL, &["n=2"]),
    (&[re("n", "2|2\\.5")], ALL, WITH_OTHER_N),
    (&[re("i", "c||d")], ALL, WITHOUT_I),
    (&[re("i", "(c||d)")], ALL, WITHOUT_I),
    (&[re("n", "2.5|.")], ALL, EVERY),
];
