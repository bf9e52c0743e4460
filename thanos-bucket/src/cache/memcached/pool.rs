//! Connections to one server, kept for later while they work.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::protocol::{Connection, Problem};

/// How long a server that is gone is left alone.
pub(super) const AWAY_INTERVAL: Duration = Duration::from_secs(1);
/// After so many timeouts in a row it is gone; after a refused connection at once.
const TIMEOUTS_MAX: u32 = 3;
/// gomemcache keeps so many where the configuration says 0.
const IDLE_DEFAULT: usize = 2;

/// A server and the connections to it that nobody uses now.
pub(super) struct ServerPool {
    address: String,
    idle_max: usize,
    timeout: Duration,
    idle: Mutex<Vec<Connection<TcpStream>>>,
    outage: Mutex<Outage>,
}

/// What is known of a server that does not answer.
#[derive(Debug, Default)]
struct Outage {
    /// Questions without an answer in time, one after the other.
    timeouts: u32,
    /// When it last was not there.
    noticed: Option<Instant>,
}

/// What a server is asked.
#[derive(Debug, Clone, Copy)]
enum Command<'a> {
    Get {
        keys: &'a [&'a str],
        value_bytes_max: u64,
    },
    Set {
        key: &'a str,
        expires: i64,
        value: &'a Bytes,
    },
}

impl Command<'_> {
    async fn ask_on(
        self,
        connection: &mut Connection<TcpStream>,
    ) -> Result<HashMap<String, Bytes>, Problem> {
        match self {
            Self::Get {
                keys,
                value_bytes_max,
            } => connection.get(keys, value_bytes_max).await,
            Self::Set {
                key,
                expires,
                value,
            } => connection
                .set(key, expires, value)
                .await
                .map(|()| HashMap::new()),
        }
    }
}

impl ServerPool {
    pub(super) fn new(address: String, idle_max: usize, timeout: Duration) -> Self {
        let idle_max = if idle_max == 0 {
            IDLE_DEFAULT
        } else {
            idle_max
        };
        Self {
            address,
            idle_max,
            timeout,
            idle: Mutex::default(),
            outage: Mutex::default(),
        }
    }

    /// Reports whether the server may be asked. Of a server that is gone each question would wait for its timeout: it is
    /// left alone, and asked by one at a time whether it is back.
    fn may_ask(&self) -> bool {
        let mut outage = self.outage.lock();
        match outage.noticed {
            Some(noticed) if noticed.elapsed() < AWAY_INTERVAL => false,
            Some(_) => {
                outage.noticed = Some(Instant::now());
                true
            }
            None => true,
        }
    }

    fn note<T>(&self, outcome: &Result<T, Problem>) {
        let mut outage = self.outage.lock();
        match outcome {
            Err(Problem::Timeout) => outage.timeouts += 1,
            Err(Problem::Network(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                outage.timeouts = TIMEOUTS_MAX;
            }
            Err(Problem::Away) => {}
            Ok(_) | Err(Problem::Network(_) | Problem::Server(_) | Problem::Protocol(_)) => {
                *outage = Outage::default();
            }
        }
        if outage.timeouts >= TIMEOUTS_MAX {
            outage.noticed = Some(Instant::now());
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn get(
        &self,
        keys: &[&str],
        value_bytes_max: u64,
    ) -> Result<HashMap<String, Bytes>, Problem> {
        self.ask(Command::Get {
            keys,
            value_bytes_max,
        })
        .await
    }

    pub(super) async fn set(&self, key: &str, expires: i64, value: &Bytes) -> Result<(), Problem> {
        let command = Command::Set {
            key,
            expires,
            value,
        };
        self.ask(command).await.map(drop)
    }

    /// Asks on a connection, which is kept when all went well. One that was idle may be dead, which the server's restart
    /// did not tell us: then the next one is tried, and at last a new one.
    async fn ask(&self, command: Command<'_>) -> Result<HashMap<String, Bytes>, Problem> {
        if !self.may_ask() {
            return Err(Problem::Away);
        }
        let outcome = self.ask_now(command).await;
        self.note(&outcome);
        outcome
    }

    async fn ask_now(&self, command: Command<'_>) -> Result<HashMap<String, Bytes>, Problem> {
        loop {
            let idle = self.idle.lock().pop();
            let is_new = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let done = tokio::time::timeout(self.timeout, command.ask_on(&mut connection)).await;
            match done.unwrap_or(Err(Problem::Timeout)) {
                Ok(values) => {
                    self.give_back(connection);
                    return Ok(values);
                }
                Err(Problem::Network(_)) if !is_new => {}
                Err(problem) => return Err(problem),
            }
        }
    }

    async fn connect(&self) -> Result<Connection<TcpStream>, Problem> {
        let connect = TcpStream::connect(&self.address);
        let stream = tokio::time::timeout(self.timeout, connect)
            .await
            .map_err(|_| Problem::Timeout)?
            .map_err(Problem::Network)?;
        // Without it only the latency is worse.
        let _ = stream.set_nodelay(true);
        Ok(Connection::new(stream))
    }

    fn give_back(&self, connection: Connection<TcpStream>) {
        let mut idle = self.idle.lock();
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }
}

impl fmt::Debug for ServerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.idle.lock().len();
        write!(f, "{} ({idle} idle connections)", self.address)
    }
}
