//! Names: what is looked up, and what of it stays.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::super::metrics::DnsMetrics;
use super::super::names::{DnsName, Family, Names, Resolved, Resolver, Service};
use super::*;

/// What a table says; names that are not in it do not exist, `fail.` ones cannot be looked up.
#[derive(Debug, Default)]
pub(super) struct TableResolver {
    pub(super) addresses: Mutex<HashMap<(String, Family), Vec<IpAddr>>>,
    pub(super) services: HashMap<String, Vec<Service>>,
    pub(super) broken: Mutex<bool>,
}

impl TableResolver {
    pub(super) fn with(self, host: &str, family: Family, addresses: &[&str]) -> Self {
        self.set(host, family, addresses);
        self
    }

    pub(super) fn set(&self, host: &str, family: Family, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        let key = (host.to_owned(), family);
        self.addresses.lock().insert(key, addresses);
    }

    fn fail_if_broken(&self, host: &str) -> Result<()> {
        match *self.broken.lock() || host.starts_with("fail.") {
            true => Err(Error::unavailable("SERVFAIL")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Resolver for TableResolver {
    async fn addresses(&self, host: &str, family: Family) -> Result<Vec<IpAddr>> {
        self.fail_if_broken(host)?;
        if host == "v4-only-answers" && family == Family::V6 {
            return Err(Error::unavailable("SERVFAIL"));
        }
        let key = (host.to_owned(), family);
        Ok(self.addresses.lock().get(&key).cloned().unwrap_or_default())
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>> {
        self.fail_if_broken(name)?;
        Ok(self.services.get(name).cloned().unwrap_or_default())
    }
}

fn table() -> TableResolver {
    let service = |target: &str, port| Service {
        target: target.to_owned(),
        port,
    };
    let mut table = TableResolver::default()
        .with("a", Family::V4, &["10.0.0.1", "10.0.0.2"])
        .with("both", Family::V4, &["10.0.0.3"])
        .with("both", Family::V6, &["fd00::3"])
        .with("v4-only-answers", Family::V4, &["10.0.0.4"])
        .with("s1.", Family::V4, &["10.1.0.1"])
        .with("s2.", Family::V4, &["10.1.0.2"]);
    let services = vec![service("s1.", 1), service("s2.", 2), service("gone.", 3)];
    table.services.insert("_grpc._tcp.s".into(), services);
    table
        .services
        .insert("half".into(), vec![service("s1.", 1), service("fail.", 2)]);
    table
}

/// the results of Thanos' resolver for each kind of name.
#[tokio::test]
async fn names_are_looked_up_as_their_prefix_says() {
    let table = table();
    for (name, expected) in [
        ("dns+a:1", Some(vec!["10.0.0.1:1", "10.0.0.2:1"])),
        (
            "dns+http://a:1",
            Some(vec!["http://10.0.0.1:1", "http://10.0.0.2:1"]),
        ),
        ("dns+both:1", Some(vec!["[fd00::3]:1"])),
        ("dns+10.9.9.9:1", Some(vec!["10.9.9.9:1"])),
        ("dns+[fd00::9]:1", Some(vec!["[fd00::9]:1"])),
        (
            "dnsdualstack+both:1",
            Some(vec!["[fd00::3]:1", "10.0.0.3:1"]),
        ),
        ("dnsdualstack+a:1", Some(vec!["10.0.0.1:1", "10.0.0.2:1"])),
        ("dnsdualstack+v4-only-answers:1", Some(vec!["10.0.0.4:1"])),
        ("dns+v4-only-answers:1", Some(vec!["10.0.0.4:1"])),
        ("dns+gone:1", Some(vec![])),
        ("dnsdualstack+gone:1", Some(vec![])),
        ("dnssrv+gone", Some(vec![])),
        ("dnssrvnoa+gone", Some(vec![])),
        (
            "dnssrv+_grpc._tcp.s",
            Some(vec!["10.1.0.1:1", "10.1.0.2:2"]),
        ),
        (
            "dnssrv+_grpc._tcp.s:9",
            Some(vec!["10.1.0.1:9", "10.1.0.2:9"]),
        ),
        (
            "dnssrvnoa+_grpc._tcp.s",
            Some(vec!["s1:1", "s2:2", "gone:3"]),
        ),
        (
            "dnssrvnoa+x//_grpc._tcp.s:9",
            Some(vec!["x//s1:9", "x//s2:9", "x//gone:9"]),
        ),
        ("dns+fail.:1", None),
        ("dnsdualstack+fail.:1", None),
        ("dnssrv+fail.", None),
        ("dnssrv+half", None),
    ] {
        let parsed = DnsName::parse(name).unwrap().unwrap();
        let found = parsed.resolve(&table).await.ok();
        let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect());
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(DnsName::parse("a:1").unwrap(), None);
    for (wrong, text) in [
        ("dns+a", "missing port in address given for dns lookup: a"),
        ("dns+fd00::1", "missing port"),
        (
            "dnsdualstack+a",
            "missing port in address given for dnsdualstack lookup: a",
        ),
        ("dnsx+a:1", "invalid lookup scheme \"dnsx\""),
        ("dnssrv+", "no name to look up"),
    ] {
        let error = DnsName::parse(wrong).unwrap_err().to_string();
        assert!(error.contains(text), "{wrong}: {error}");
    }
}

/// what exists no longer is gone at once; what cannot be looked up stays as it was.
#[tokio::test(start_paused = true)]
async fn failures_keep_what_was_found_last() {
    let table = Arc::new(table());
    let metrics = DnsMetrics::default();
    let names = Names::new(table.clone(), metrics.clone());
    let wanted = ["dns+a:1".to_owned(), "dns+fail.:1".to_owned()];
    assert!(matches!(names.get("dns+a:1"), Resolved::Unknown(_)));
    let second = Duration::from_secs(1);
    names.refresh(&wanted, second).await;
    let both = Resolved::Addresses(vec!["10.0.0.1:1".into(), "10.0.0.2:1".into()]);
    assert_eq!(names.get("dns+a:1"), both);
    let Resolved::Unknown(reason) = names.get("dns+fail.:1") else {
        panic!("never found");
    };
    assert!(reason.contains("SERVFAIL"), "{reason}");
    *table.broken.lock() = true;
    names.refresh(&wanted, second).await;
    assert_eq!(names.get("dns+a:1"), both);
    assert_eq!((metrics.lookups.get(), metrics.failures.get()), (4, 3));
    *table.broken.lock() = false;
    table.set("a", Family::V4, &[]);
    names.refresh(&wanted, second).await;
    assert_eq!(names.get("dns+a:1"), Resolved::Addresses(vec![]));
    names.refresh(&[], second).await;
    assert!(matches!(names.get("dns+a:1"), Resolved::Unknown(_)));
}

#[cfg(feature = "dns")]
mod server {
    use std::net::{Ipv4Addr, SocketAddr};

    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, CNAME, SRV};
    use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
    use tokio::net::UdpSocket;

    use super::super::super::dns::DnsResolver;
    use super::*;

    /// A DNS server that knows a few names.
    async fn serve() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..len]).unwrap();
                let answer = answer(&question).to_vec().unwrap();
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        address
    }

    fn answer(question: &Message) -> Message {
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let of = query.name().clone();
        let mut add = |of: &Name, data| {
            answer.add_answer(Record::from_rdata(of.clone(), 60, data));
        };
        let address = RData::A(A(Ipv4Addr::new(127, 0, 0, 7)));
        let mut code = ResponseCode::NoError;
        match (of.to_ascii().as_str(), query.query_type()) {
            ("store.test.", RecordType::A) => add(&of, address),
            ("alias.test.", RecordType::A) => {
                add(&of, RData::CNAME(CNAME(name("store.test."))));
                add(&name("store.test."), address);
            }
            ("_grpc._tcp.test.", RecordType::SRV) => {
                let service = SRV::new(0, 0, 10901, name("store.test."));
                add(&of, RData::SRV(service));
            }
            ("store.test." | "alias.test.", _) => {}
            ("broken.test.", _) => code = ResponseCode::ServFail,
            _ => code = ResponseCode::NXDomain,
        }
        answer.metadata.response_code = code;
        answer.add_query(query);
        answer
    }

    /// over the wire, with aliases, names that do not exist, and a server that does not know.
    #[tokio::test]
    async fn dns_servers_are_asked() {
        let resolver = DnsResolver::of_servers(vec![serve().await]);
        for (name, expected) in [
            ("dns+store.test.:1", Some(vec!["127.0.0.7:1"])),
            ("dns+alias.test.:1", Some(vec!["127.0.0.7:1"])),
            ("dnssrv+_grpc._tcp.test.", Some(vec!["127.0.0.7:10901"])),
            ("dnssrvnoa+_grpc._tcp.test.", Some(vec!["store.test:10901"])),
            ("dns+gone.test.:1", Some(vec![])),
            ("dnssrv+gone.test.", Some(vec![])),
            ("dns+broken.test.:1", None),
        ] {
            let parsed = DnsName::parse(name).unwrap().unwrap();
            let found = parsed.resolve(&resolver).await;
            let expected: Option<Vec<String>> =
                expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{name}: {found:?}");
        }
    }
}
