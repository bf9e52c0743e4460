//! Asks the same of our servers and of their peers, in turns, and reports how many times faster we are.
//!
//! ```text
//! PEER_PROMETHEUS=/usr/bin/prometheus PEER_VM=/usr/bin/victoria-metrics cargo run --release -p thanos-benches --bin ratio
//! PEER_THANOS=/usr/bin/thanos cargo run --release -p thanos-benches --bin ratio -- deployment
//! ```
//!
//! All servers serve the same generated data on loopback addresses: we and Prometheus the same block, VictoriaMetrics
//! the same samples, imported; two store gateways and a querier over them (`deployment`) the same buckets. Answers are
//! compared before times are looked at. Every figure is of one run of this program: pairs of requests in turns, the median
//! of their ratios with the lowest and the highest, processor time and wall time, and the peak of the resident memory. A
//! peer that is not there is reported as not run.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is what this program is for"
)]

mod answers;
mod data;
mod deployment;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use thanos_core::testkit::TempDir;

use self::answers::{Agreement, compare};
use self::data::Shape;
use self::server::{Asked, Cost, Kind, Server};

/// How often each pair of servers is asked in turns.
const PAIRS: usize = 5;

/// What is asked.
struct Request {
    name: &'static str,
    path: &'static str,
    query: &'static str,
}

const REQUESTS: [Request; 8] = [
    range("sum", "sum(http_requests_total)"),
    range("sum_by", "sum by (code) (http_requests_total)"),
    range("sum_rate", "sum(rate(http_requests_total[5m]))"),
    range(
        "sum_by_rate",
        "sum by (pod) (rate(http_requests_total[5m]))",
    ),
    range(
        "histogram_quantile",
        "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    range("count_all", r#"count({__name__=~".+"})"#),
    range(
        "max_over_time",
        "max(max_over_time(process_resident_memory_bytes[1h]))",
    ),
    Request {
        name: "series",
        path: "/api/v1/series",
        query: r#"{__name__=~".+"}"#,
    },
];

const fn range(name: &'static str, query: &'static str) -> Request {
    Request {
        name,
        path: "/api/v1/query_range",
        query,
    }
}

fn main() -> ExitCode {
    let Some(thanos) = ours() else {
        eprintln!("the program thanos is not beside this one: cargo build --release --bin thanos");
        return ExitCode::FAILURE;
    };
    let failures = match std::env::args().nth(1).as_deref() {
        Some("deployment") => deployment::run(&thanos, argument("--series", 1_000_000)),
        _ => single(&thanos),
    };
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the path of our program, which is beside this one.
fn ours() -> Option<PathBuf> {
    let thanos = std::env::current_exe().ok()?.with_file_name("thanos");
    thanos.is_file().then_some(thanos)
}

/// Compares single servers over one block and returns how many answers were wrong.
fn single(thanos: &Path) -> usize {
    let series = argument("--series", 10_000);
    let hours = argument("--hours", 24);
    let shape = Shape { series, hours };
    let data = TempDir::new("ratio");
    println!("data: {series} series, {hours} h at 30 s");
    shape.write_block(data.path());
    let ours = Server::ours(thanos, data.path());
    let mut failures = 0;
    for kind in [Kind::Prometheus, Kind::VictoriaMetrics] {
        match Server::peer(kind, data.path()) {
            None => println!("\n{}: not run, {} is not set", kind.name(), kind.variable()),
            Some(peer) => {
                if kind == Kind::VictoriaMetrics {
                    shape.import(&peer);
                }
                failures += against(&ours, &peer, kind, &shape);
            }
        }
    }
    failures
}

/// Returns the number after the flag `name`.
fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    let value = arguments.nth(1).and_then(|value| value.parse().ok());
    value.unwrap_or(default)
}

/// Compares both servers and returns how many answers were wrong.
fn against(ours: &Server, peer: &Server, kind: Kind, shape: &Shape) -> usize {
    report_head(kind.name());
    let same_meaning = kind != Kind::VictoriaMetrics;
    let mut failures = 0;
    for request in &REQUESTS {
        let parameters = shape.parameters(request);
        let ask = |server: &Server| server.ask(request.path, &parameters);
        let is_right = measure(request.name, || ask(ours), || ask(peer), same_meaning);
        failures += usize::from(!is_right);
    }
    println!(
        "peak resident memory: ours {} MiB, peer {} MiB",
        ours.peak_mib(),
        peer.peak_mib()
    );
    failures
}

/// Asks both sides the same in turns, after a comparison of their answers; reports whether these agree.
fn measure(
    name: &str,
    ours: impl Fn() -> Asked,
    peer: impl Fn() -> Asked,
    same_meaning: bool,
) -> bool {
    let agreement = compare(&ours().body, &peer().body, same_meaning);
    let pairs: Vec<[Cost; 2]> = (0..PAIRS).map(|_| [ours().cost, peer().cost]).collect();
    report(name, &pairs, &agreement);
    !matches!(agreement, Agreement::Different(_))
}

fn report_head(peer: &str) {
    println!("\n{peer} over thanos, more than 1 means that we are faster");
    println!(
        "{:<20} {:>22} {:>8} {:>10} {:>10}  answers",
        "request", "wall (lowest..highest)", "cpu", "ours ms", "peer ms"
    );
}

fn report(name: &str, pairs: &[[Cost; 2]], agreement: &Agreement) {
    let mut ratios: Vec<f64> = pairs
        .iter()
        .map(|[ours, peer]| peer.wall.as_secs_f64() / ours.wall.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let cpu = |side: usize| -> f64 { pairs.iter().map(|pair| pair[side].cpu.as_secs_f64()).sum() };
    let wall = |side: usize| {
        let all: Duration = pairs.iter().map(|pair| pair[side].wall).sum();
        all.as_secs_f64() * 1000.0 / pairs.len() as f64
    };
    // The clock of processor time ticks in hundredths of a second.
    let cpu_ratio = if cpu(0) < 0.03 {
        "-".to_owned()
    } else {
        format!("{:.1}", cpu(1) / cpu(0))
    };
    let median = ratios[ratios.len() / 2];
    let spread = format!(
        "{median:.1} ({:.1}..{:.1})",
        ratios[0],
        ratios[ratios.len() - 1]
    );
    println!(
        "{name:<20} {spread:>22} {cpu_ratio:>8} {:>10.1} {:>10.1}  {agreement}",
        wall(0),
        wall(1)
    );
}
