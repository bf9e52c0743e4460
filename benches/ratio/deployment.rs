//! Q1 and Q2 of the benchmark list: a querier over two store gateways, ours and Thanos', over the same buckets.

use std::cell::RefCell;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use thanos_benches::wide::{WIDE_COUNTERS_MS, WIDE_START, write_wide_counters};
use thanos_core::testkit::TempDir;

use crate::server::{Asked, Cost, Server};
use crate::{measure, report_head};

const STORES: usize = 2;
/// The environment variable that holds the path of Thanos.
const VARIABLE: &str = "PEER_THANOS";

/// What is asked.
struct Question {
    name: &'static str,
    path: &'static str,
    /// Beside the times.
    parameters: &'static [(&'static str, &'static str)],
}

const QUESTIONS: [Question; 4] = [
    Question {
        name: "sum_rate",
        path: "/api/v1/query_range",
        parameters: &[
            ("query", "sum(rate(container_metric_total[5m]))"),
            ("step", "60"),
        ],
    },
    Question {
        name: "sum_by_rate",
        path: "/api/v1/query_range",
        parameters: &[
            (
                "query",
                "sum by (namespace) (rate(container_metric_total[5m]))",
            ),
            ("step", "60"),
        ],
    },
    Question {
        name: "series",
        path: "/api/v1/series",
        parameters: &[("match[]", "container_metric_total{service=~\"kubelet-0.\"}")],
    },
    Question {
        name: "label_values",
        path: "/api/v1/label/pod/values",
        parameters: &[("match[]", "container_metric_total{service=~\"kubelet-0.\"}")],
    },
];

/// Two gateways and the querier over them.
struct Deployment {
    querier: Server,
    stores: Vec<Server>,
}

impl Deployment {
    fn start(program: &Path, buckets: &[PathBuf]) -> Self {
        let (stores, endpoints): (Vec<Server>, Vec<String>) = buckets
            .iter()
            .map(|bucket| start_store(program, bucket))
            .unzip();
        let querier = Server::start("/-/ready", |address, _| {
            let mut command = role(program, "query", address, &free_address());
            command.args(
                endpoints
                    .iter()
                    .map(|endpoint| format!("--endpoint={endpoint}")),
            );
            command
        });
        Self { querier, stores }
    }

    /// Asks the querier; the processor time is that of all three.
    fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Asked {
        let before: Vec<_> = self.stores.iter().map(Server::cpu).collect();
        let asked = self.querier.ask(path, parameters);
        let stores = self.stores.iter().zip(before);
        let more: Duration = stores
            .map(|(store, before)| store.cpu().saturating_sub(before))
            .sum();
        let cost = Cost {
            cpu: asked.cost.cpu + more,
            ..asked.cost
        };
        Asked { cost, ..asked }
    }

    fn peak_mib(&self) -> [u64; 2] {
        let stores: u64 = self.stores.iter().map(Server::peak_mib).sum();
        [self.querier.peak_mib(), stores]
    }
}

/// Starts a gateway over the bucket directory and returns it with its gRPC address.
fn start_store(program: &Path, bucket: &Path) -> (Server, String) {
    let endpoint = RefCell::new(String::new());
    let store = Server::start("/-/ready", |address, dir| {
        // Chosen again for each attempt: somebody else may take it in between.
        let grpc = free_address();
        let mut command = role(program, "store", address, &grpc);
        command
            .arg(format!("--data-dir={}", dir.display()))
            .arg(format!(
                "--objstore.config={{type: FILESYSTEM, config: {{directory: {}}}}}",
                bucket.display()
            ));
        endpoint.replace(grpc);
        command
    });
    (store, endpoint.into_inner())
}

fn role(program: &Path, role: &str, http: &str, grpc: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args([role, "--log.level=warn"])
        .arg(format!("--http-address={http}"))
        .arg(format!("--grpc-address={grpc}"));
    command
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    address.to_string()
}

/// Compares both deployments over `series` series and returns how many answers were wrong.
pub(crate) fn run(ours: &Path, series: usize) -> usize {
    let Some(peer) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        println!("\nThanos: not run, {VARIABLE} is not set");
        return 0;
    };
    let data = TempDir::new("ratio-deployment");
    let each = series / STORES;
    println!("data: {STORES} stores x {each} series with 12 labels, an hour at 30 s in a chunk");
    let buckets: Vec<PathBuf> = (0..STORES)
        .map(|number| {
            let bucket = data.path().join(number.to_string());
            std::fs::create_dir(&bucket).expect("a fresh directory can be written to");
            let numbers = number * each..(number + 1) * each;
            write_wide_counters(&bucket, &number.to_string(), numbers);
            bucket
        })
        .collect();
    let ours = Deployment::start(ours, &buckets);
    let peer = Deployment::start(&peer, &buckets);
    report_head("Thanos");
    let mut failures = 0;
    for question in &QUESTIONS {
        failures += usize::from(!against(&ours, &peer, question));
    }
    for (name, deployment) in [("ours", &ours), ("peer", &peer)] {
        let [querier, stores] = deployment.peak_mib();
        println!("peak resident memory, {name}: querier {querier} MiB, stores {stores} MiB");
    }
    failures
}

/// Asks both the same in turns; reports whether the answers were the same.
fn against(ours: &Deployment, peer: &Deployment, question: &Question) -> bool {
    let start = WIDE_START.as_millis() / 1000;
    let times = [("start", start), ("end", start + WIDE_COUNTERS_MS / 1000)];
    let parameters = question.parameters.iter();
    let parameters: Vec<(&str, String)> = parameters
        .map(|(name, value)| (*name, (*value).to_owned()))
        .chain(times.map(|(name, time)| (name, time.to_string())))
        .collect();
    let ask = |deployment: &Deployment| deployment.ask(question.path, &parameters);
    measure(question.name, || ask(ours), || ask(peer), true)
}
