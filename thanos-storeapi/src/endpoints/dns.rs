//! A [`Resolver`] that asks the servers of `/etc/resolv.conf`, or others.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use thanos_core::error::{Error, Result};

use super::names::{Family, Resolver, Service};

/// Asks DNS servers. Follows CNAME records, honours the search list, and remembers nothing: whoever asks decides how often.
#[derive(Debug, Clone, Default)]
pub struct DnsResolver {
    /// The servers to ask; none means those of the system.
    servers: Vec<SocketAddr>,
}

impl DnsResolver {
    /// Returns a resolver that asks the system's servers, as `/etc/resolv.conf` names them at each lookup.
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns a resolver that asks `servers` alone.
    pub fn of_servers(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    async fn look_up(&self, name: &str, kind: RecordType) -> Result<Vec<Record>> {
        let (config, mut options) = self.config().map_err(|error| failed(name, error))?;
        options.cache_size = 0;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| failed(name, error))?;
        match resolver.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup.answers().to_vec()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_none(none.response_code) => {
                Ok(Vec::new())
            }
            Err(error) => Err(failed(name, error)),
        }
    }

    fn config(&self) -> std::result::Result<(ResolverConfig, ResolverOpts), NetError> {
        if self.servers.is_empty() {
            return read_system_conf();
        }
        let server = |address: &SocketAddr| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = address.port();
            }
            NameServerConfig::new(address.ip(), true, connections)
        };
        let servers = self.servers.iter().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Ok((config, ResolverOpts::default()))
    }
}

/// Reports whether a server that sent no records knows that there are none.
fn is_none(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::NXDomain | ResponseCode::NoError)
}

fn failed(name: &str, error: NetError) -> Error {
    Error::unavailable(format!("DNS lookup of {name}: {error}")).with_source(error)
}

#[async_trait]
impl Resolver for DnsResolver {
    async fn addresses(&self, host: &str, family: Family) -> Result<Vec<IpAddr>> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let address = |record: &Record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let records = self.look_up(host, kind).await?;
        Ok(records.iter().filter_map(address).collect())
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>> {
        let service = |record: &Record| match &record.data {
            RData::SRV(service) => Some(Service {
                target: service.target.to_ascii(),
                port: service.port,
            }),
            _ => None,
        };
        let records = self.look_up(name, RecordType::SRV).await?;
        Ok(records.iter().filter_map(service).collect())
    }
}
