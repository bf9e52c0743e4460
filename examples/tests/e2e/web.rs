//! The web interface, as a browser meets it: behind prefixes of paths and behind proxies.

use thanos_core::testkit::peer::Peer;

use crate::metrics;
use crate::programs::{querier, standalone, testdata, thanos};
use crate::raw::{self, Answer};

/// What is in between a browser and a querier.
struct Setup {
    what: &'static str,
    flags: &'static [&'static str],
    /// What the browser's paths begin with, and what a proxy makes of that.
    outside: &'static str,
    inside: &'static str,
    /// A header that the proxy adds.
    header: &'static str,
}

const SETUPS: [Setup; 6] = [
    Setup {
        what: "nothing",
        flags: &[],
        outside: "",
        inside: "",
        header: "Accept: */*",
    },
    Setup {
        what: "an external prefix and no proxy",
        flags: &["--web.external-prefix=test"],
        outside: "/test",
        inside: "/test",
        header: "Accept: */*",
    },
    Setup {
        what: "an external prefix and a proxy that keeps it",
        flags: &["--web.external-prefix=/thanos/"],
        outside: "/thanos",
        inside: "/thanos",
        header: "X-Forwarded-For: 10.0.0.1",
    },
    Setup {
        what: "a proxy that puts one prefix in the place of another",
        flags: &["--web.external-prefix=thanos", "--web.route-prefix=test"],
        outside: "/thanos",
        inside: "/test",
        header: "Accept: */*",
    },
    Setup {
        what: "a proxy that strips a prefix and says so",
        flags: &["--web.prefix-header=X-Forwarded-Prefix"],
        outside: "/any/where",
        inside: "",
        header: "X-Forwarded-Prefix: /any/where/",
    },
    Setup {
        what: "a header of a stranger",
        flags: &["--web.prefix-header=X-Forwarded-Prefix"],
        outside: "",
        inside: "",
        header: "X-Forwarded-Prefix: /\"><script>alert(1)</script>",
    },
];

impl Setup {
    /// Gets `path`, as the browser calls it.
    fn get(&self, querier: &Peer, path: &str) -> Answer {
        let rest = path.strip_prefix(self.outside);
        let rest = rest.unwrap_or_else(|| panic!("{}: a link leads out: {path}", self.what));
        let path = format!("{}{rest}", self.inside);
        raw::get(querier.address(), &path, &[self.header])
    }

    fn check(&self) {
        let querier = querier(&[], self.flags);
        for page in ["/", "/graph", "/stores", "/rules", "/tsdb-status"] {
            let found = self.get(&querier, &format!("{}{page}", self.outside));
            let text = found.text();
            assert_eq!(found.status, 200, "{}, {page}", self.what);
            assert!(!text.contains("<script>alert"), "{}", self.what);
            let base = attributes(&text, "base", "href");
            assert_eq!(base, [format!("{}/", self.outside)], "{}", self.what);
            let scripts = attributes(&text, "script", "src");
            let styles = attributes(&text, "link", "href");
            let files: Vec<_> = (scripts.into_iter().chain(styles))
                .filter(|link| !link.starts_with("data:"))
                .collect();
            assert_eq!(files.len(), 2, "{}: {files:?}", self.what);
            for file in files {
                let answer = self.get(&querier, &format!("{}{file}", base[0]));
                assert_eq!(answer.status, 200, "{}: {file}", self.what);
                assert!(!answer.body.is_empty());
            }
        }
        // What the page's script asks.
        for call in ["api/v1/stores", "api/v1/status/flags", "api/v1/rules"] {
            let answer = self.get(&querier, &format!("{}/{call}", self.outside));
            assert_eq!(answer.status, 200, "{}: {call}", self.what);
        }
        // Probes and metrics have no prefix, as in Thanos.
        for path in ["/-/healthy", "/-/ready", "/metrics"] {
            assert_eq!(querier.get(path).status, 200, "{}: {path}", self.what);
        }
        let handlers = ["handler=\"stores\"", "code=\"200\""];
        metrics::wait_for(&querier, "http_requests_total", &handlers, 1.0);
        if !self.inside.is_empty() {
            assert_eq!(querier.get("/api/v1/stores").status, 404, "{}", self.what);
            let home = raw::get(querier.address(), "/", &[]);
            let location = format!("{}/", self.outside);
            let sent = (home.status, home.header("location"));
            assert_eq!(sent, (302, Some(&*location)), "{}", self.what);
        }
    }
}

/// The values of an attribute of all elements of a name.
fn attributes(html: &str, element: &str, attribute: &str) -> Vec<String> {
    let elements = html
        .split('<')
        .filter_map(|part| part.strip_prefix(element));
    let values = elements.filter_map(|element| {
        let (_, rest) = element.split_once(&format!("{attribute}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    });
    values.collect()
}

/// E-43, Q-36, X-54: the pages and all that they need are found, whatever stands before their paths.
#[test]
fn pages_are_found_behind_prefixes() {
    std::thread::scope(|scope| {
        for setup in &SETUPS {
            scope.spawn(|| setup.check());
        }
    });
}

/// pages run no script but ours, are in no frame, and are asked for anew.
#[test]
fn pages_say_what_browsers_may_do() {
    let peer = standalone(&testdata("thanos-core").join("block-1k-2h"));
    let page = raw::get(peer.address(), "/", &[]);
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // The data ended long ago, so the page asks for its end first.
    let text = page.text();
    assert!(!text.contains('@') && text.contains("value=\"20"), "{text}");
}

/// a prefix that is no path is an error that names the flag.
#[test]
fn prefixes_that_are_no_paths_are_refused() {
    for flag in [
        "--web.external-prefix=/a/../b",
        "--web.route-prefix=<b>",
        "--web.prefix-header=a header",
        "--alert.query-url=javascript:alert(1)",
    ] {
        let output = thanos(&["query", "--http-address=127.0.0.1:0", flag])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = flag.split('=').next().unwrap();
        assert!(!output.status.success() && said.contains(name), "{said}");
    }
}
