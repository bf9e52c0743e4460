//! What Linux says about this process, with the names of Go's process collector.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads what it tells when metrics are scraped; tells nothing on systems without `/proc`.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(stat) = Stat::read() else {
            return Ok(());
        };
        let network = network();
        let counters = [
            (
                "process_cpu_seconds",
                "Total user and system CPU time spent in seconds",
                Some(stat.cpu_secs),
            ),
            (
                "process_network_receive_bytes",
                "Bytes received over the network that the process is in",
                network.map(|bytes| bytes.received),
            ),
            (
                "process_network_transmit_bytes",
                "Bytes sent over the network that the process is in",
                network.map(|bytes| bytes.sent),
            ),
        ];
        for (name, help, value) in counters {
            let Some(value) = value else {
                continue;
            };
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                Some(stat.resident_bytes),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                Some(stat.virtual_bytes),
            ),
            (
                "process_virtual_memory_max_bytes",
                "Maximum amount of virtual memory available in bytes",
                limit("Max address space"),
            ),
            (
                "process_open_fds",
                "Number of open file descriptors",
                open_fds(),
            ),
            (
                "process_max_fds",
                "Maximum number of open file descriptors",
                limit("Max open files"),
            ),
            ("process_threads", "Number of threads", Some(stat.threads)),
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds",
                booted_secs().map(|booted| booted + stat.started_secs),
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else {
                continue;
            };
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// A part of `/proc/self/stat`.
struct Stat {
    cpu_secs: f64,
    threads: f64,
    /// After the start of the machine.
    started_secs: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Source: proc_pid_stat(5), whose fields are numbered from 1.
    fn parse(stat: &str) -> Option<Self> {
        /// The page size and the clock tick of every Linux that Rust's standard library runs on.
        const PAGE_BYTES: f64 = 4096.0;
        const TICKS_PER_SECOND: f64 = 100.0;
        // The process name, in parentheses, may hold spaces; fields are counted after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_secs: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            threads: field(20)?,
            started_secs: field(22)? / TICKS_PER_SECOND,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * PAGE_BYTES,
        })
    }
}

/// What went over the network of the process, with all that share it, as Go's collector counts it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Network {
    received: f64,
    sent: f64,
}

fn network() -> Option<Network> {
    Network::parse(&std::fs::read_to_string("/proc/self/net/netstat").ok()?)
}

impl Network {
    /// Source: proc_pid_net(5): a line of names and one of values for each group.
    fn parse(netstat: &str) -> Option<Self> {
        let mut lines = netstat
            .lines()
            .filter_map(|line| line.strip_prefix("IpExt: "));
        let (names, values) = (lines.next()?, lines.next()?);
        let mut fields = names.split_whitespace().zip(values.split_whitespace());
        let mut field = |wanted: &str| {
            let (_, value) = fields.find(|(name, _)| *name == wanted)?;
            value.parse().ok()
        };
        // In this order there.
        Some(Self {
            received: field("InOctets")?,
            sent: field("OutOctets")?,
        })
    }
}

fn open_fds() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

/// Returns the soft limit `name`; that of no limit is the largest number, as in Go.
fn limit(name: &str) -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// Returns when the machine was started, in seconds since 1970.
fn booted_secs() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn bytes_of_the_network_are_told() {
        let netstat = "TcpExt: A InOctets\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets X\nIpExt: 0 17 29 3\n";
        let expected = Network {
            received: 17.0,
            sent: 29.0,
        };
        assert_eq!(Network::parse(netstat), Some(expected));
        assert_eq!(Network::parse("IpExt: InOctets\n"), None);
    }

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let stat =
            "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 9 0 300 4096 2 18446744073709551615";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.cpu_secs, stat.threads), (4.0, 9.0));
        assert_eq!((stat.started_secs, stat.resident_bytes), (3.0, 8192.0));
        assert!(Stat::parse("7 (a) S").is_none());
    }
}
