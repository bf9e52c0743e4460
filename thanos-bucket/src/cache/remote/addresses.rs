//! Which servers there are: the configured addresses, looked up again and again where they are names of many.
//!
//! | address | servers |
//! |---|---|
//! | `host:port` | this one |
//! | `dns+host:port` | one for each address of the host |
//! | any, with `auto_discovery` | those that the server lists (`config get cluster`) |
//!
//! Lookups of SRV records (`dnssrv+`, `dnssrvnoa+`) need a resolver of our own and are a configuration error.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use thanos_core::{Error, Result};
use tracing::warn;

/// Checks what can be checked without the network.
pub(in super::super) fn validate(addresses: &[String]) -> Result<()> {
    for address in addresses {
        if address.starts_with("dnssrv+") || address.starts_with("dnssrvnoa+") {
            let message = format!("address {address}: lookups of SRV records are not supported");
            return Err(Error::invalid(message));
        }
        let host_port = address.strip_prefix("dns+").unwrap_or(address);
        let port = host_port.rsplit_once(':').map(|(_, port)| port);
        if port.is_none_or(|port| port.parse::<u16>().is_err()) {
            let message = format!("address {address}: a host and a port are expected");
            return Err(Error::invalid(message));
        }
    }
    Ok(())
}

/// The servers of each configured address, as far as they are known.
#[derive(Debug, Default)]
pub(in super::super) struct Servers {
    by_address: BTreeMap<String, Vec<String>>,
}

impl Servers {
    /// Notes the servers of `address`. A failed lookup changes nothing: the servers may well still be there.
    pub(in super::super) fn note(&mut self, address: &str, found: std::io::Result<Vec<String>>) {
        match found {
            Ok(servers) if !servers.is_empty() => {
                self.by_address.insert(address.to_owned(), servers);
            }
            Ok(_) => warn!(%address, "no cache server found at the address"),
            Err(error) => warn!(%address, %error, "cache servers could not be looked up"),
        }
    }

    /// Returns all servers once, in natural order: the place of a server decides which keys it has.
    pub(in super::super) fn sorted(&self) -> Vec<String> {
        let mut servers: Vec<String> = self.by_address.values().flatten().cloned().collect();
        servers.sort_by(|a, b| natural(a, b));
        servers.dedup();
        servers
    }
}

/// Returns the servers of `address` by their addresses.
pub(in super::super) async fn look_up(address: &str) -> std::io::Result<Vec<String>> {
    let Some(host_port) = address.strip_prefix("dns+") else {
        return Ok(vec![address.to_owned()]);
    };
    let found = tokio::net::lookup_host(host_port).await?;
    Ok(found.map(|address| address.to_string()).collect())
}

/// Compares texts with the numbers in them as numbers, as facette/natsort does.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let (a_piece, b_piece) = (piece(left), piece(right));
        let order = match (a_piece.parse::<u64>(), b_piece.parse::<u64>()) {
            (Ok(a_number), Ok(b_number)) => a_number.cmp(&b_number),
            _ => a_piece.cmp(b_piece),
        };
        if order != Ordering::Equal {
            return order;
        }
        left = &left[a_piece.len()..];
        right = &right[b_piece.len()..];
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Returns the digits or the other characters at the front of `text`, which is not empty.
fn piece(text: &str) -> &str {
    let is_digit = |character: char| character.is_ascii_digit();
    let starts_with_digit = text.starts_with(is_digit);
    let end = text.find(|character| is_digit(character) != starts_with_digit);
    &text[..end.unwrap_or(text.len())]
}

/// Returns which of `count` servers has a key, as Thanos' pkg/cacheutil/jump_hash.go ("A Fast, Minimal Memory, Consistent
/// Hash Algorithm", Lamping and Veach).
pub(in super::super) fn pick(key: &str, count: usize) -> usize {
    let mut hash = xxhash_rust::xxh64::xxh64(key.as_bytes(), 0);
    let (mut bucket, mut next) = (0, 0);
    while next < count {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = jump(bucket, hash);
    }
    bucket
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the algorithm is defined in double precision; the result is positive and at most 2^31 times larger"
)]
fn jump(bucket: usize, hash: u64) -> usize {
    let scale = (1_u64 << 31) as f64 / ((hash >> 33) + 1) as f64;
    ((bucket + 1) as f64 * scale) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ST-24, X-36: made by Thanos' jump hash over xxhash64, for 2, 3 and 10 servers.
    #[test]
    fn keys_have_the_servers_that_thanos_gives_them() {
        for (key, of_2, of_3, of_10) in [
            ("P:a", 1, 1, 5),
            ("S:b", 0, 0, 6),
            ("subrange:x/chunks/000001:0:16000", 0, 0, 3),
            ("content:meta.json", 1, 1, 1),
            ("k5", 1, 1, 1),
            ("k6", 1, 2, 2),
        ] {
            assert_eq!(
                (pick(key, 2), pick(key, 3), pick(key, 10)),
                (of_2, of_3, of_10),
                "{key}"
            );
            assert_eq!(pick(key, 1), 0);
        }
    }

    /// ST-24: the order that facette/natsort gives.
    #[test]
    fn servers_are_in_natural_order() {
        let mut servers = Servers::default();
        let given = [
            "10.0.0.10:11211",
            "10.0.0.2:11211",
            "mc-10:1",
            "mc-9:1",
            "10.0.0.2:2",
            "a",
            "10.0.0.10:9",
        ];
        servers.note("x", Ok(given.map(str::to_owned).into()));
        servers.note("y", Ok(vec!["a".to_owned()]));
        servers.note("x", Ok(Vec::new()));
        servers.note("y", Err(std::io::ErrorKind::TimedOut.into()));
        assert_eq!(
            servers.sorted(),
            [
                "10.0.0.2:2",
                "10.0.0.2:11211",
                "10.0.0.10:9",
                "10.0.0.10:11211",
                "a",
                "mc-9:1",
                "mc-10:1"
            ]
        );
    }

    #[test]
    fn addresses_have_a_port_and_no_srv_record() {
        let check = |address: &str| validate(&[address.to_owned()]);
        assert!(check("host:1").is_ok() && check("dns+host:1").is_ok());
        assert!(check("host").is_err() && check("dns+host").is_err());
        assert!(
            check("dnssrv+_tcp.host:1")
                .unwrap_err()
                .to_string()
                .contains("SRV")
        );
    }
}
