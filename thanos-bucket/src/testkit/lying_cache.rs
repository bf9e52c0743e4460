//! Servers that speak the protocols of memcached and Redis and lie: what their clients make of that must never be data.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use thanos_core::testkit::TestRandom;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheProtocol {
    /// The text protocol of memcached.
    Memcached,
    /// Version 2 of the protocol of Redis.
    Redis,
}

/// A server that keeps values, and of which some answers are wrong in some way: cut off, with other keys' values, with
/// damaged bits, longer than they say, with lengths that cannot be, late.
#[derive(Debug)]
pub struct LyingCache {
    address: String,
    accepting: JoinHandle<()>,
    lies: Arc<Mutex<u64>>,
}

#[derive(Debug)]
struct Shared {
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    random: Mutex<TestRandom>,
    per_mille: u64,
    lies: Arc<Mutex<u64>>,
}

impl LyingCache {
    /// Starts a server of which `per_mille` of the answers are lies, chosen by `seed`. In a tokio runtime only.
    ///
    /// # Panics
    ///
    /// When no port of the loopback is free.
    pub async fn start(protocol: CacheProtocol, seed: u64, per_mille: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let lies = Arc::default();
        let shared = Arc::new(Shared {
            values: Mutex::default(),
            random: Mutex::new(TestRandom::new(seed)),
            per_mille,
            lies: Arc::clone(&lies),
        });
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    // A client that goes away, or that cannot be understood.
                    let _ = match protocol {
                        CacheProtocol::Memcached => shared.speak_memcached(&mut stream).await,
                        CacheProtocol::Redis => shared.speak_redis(&mut stream).await,
                    };
                });
            }
        });
        Self {
            address: address.to_string(),
            accepting,
            lies,
        }
    }

    /// Returns `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns how many answers were lies.
    pub fn lies(&self) -> u64 {
        *self.lies.lock()
    }
}

impl Drop for LyingCache {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The values of some keys, in the order of the keys.
type Values = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Shared {
    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.random.lock().below(bound.max(1) as u64)).unwrap_or(0)
    }

    fn find(&self, keys: Vec<Vec<u8>>) -> Values {
        let values = self.values.lock();
        let found = |key: Vec<u8>| {
            let value = values.get(&key).cloned();
            (key, value)
        };
        keys.into_iter().map(found).collect()
    }

    /// Sends `values` as `written` makes them, or not quite. Returns whether the connection is still good for anything.
    async fn answer(
        &self,
        stream: &mut BufReader<TcpStream>,
        mut values: Values,
        written: fn(&Values) -> Vec<u8>,
    ) -> std::io::Result<bool> {
        let lies = self.random.lock().below(1000) < self.per_mille;
        if !lies {
            stream.write_all(&written(&values)).await?;
            return Ok(true);
        }
        *self.lies.lock() += 1;
        let kind = self.below(7);
        let count = values.len();
        let (first, second) = (self.below(count), self.below(count));
        match kind {
            0 => {
                let taken = values[first].1.take();
                let other = std::mem::replace(&mut values[second].1, taken);
                values[first].1 = other;
            }
            1 => values.rotate_left(first),
            2 => {
                if let Some(byte) = values[first].1.as_mut().and_then(|value| value.last_mut()) {
                    *byte ^= 1 << self.below(8);
                }
            }
            3 => {
                if let Some(value) = &mut values[first].1 {
                    value.push(0);
                }
            }
            _ => {}
        }
        let mut answer = written(&values);
        match kind {
            4 => answer.truncate(self.below(answer.len())),
            5 => answer = b"VALUE a 0 99999999999999\r\n$99999999999999\r\n".to_vec(),
            6 => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => {}
        }
        stream.write_all(&answer).await?;
        Ok(!matches!(kind, 4 | 5))
    }

    async fn speak_memcached(&self, stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
            let is_get = words.next() == Some(b"get");
            let words: Vec<Vec<u8>> = words.map(<[u8]>::to_vec).collect();
            if is_get {
                if !self
                    .answer(stream, self.find(words), memcached_answer)
                    .await?
                {
                    return Ok(());
                }
                continue;
            }
            let value = read_value(stream, words.get(3)).await?;
            let key = words.into_iter().next().unwrap_or_default();
            self.values.lock().insert(key, value);
            stream.write_all(b"STORED\r\n").await?;
        }
    }

    async fn speak_redis(&self, stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
        loop {
            let count = read_length(stream).await?;
            let mut words = Vec::new();
            for _ in 0..count {
                let len = read_length(stream).await?.to_string().into_bytes();
                words.push(read_value(stream, Some(&len)).await?);
            }
            match words.first().map(Vec::as_slice) {
                Some(b"MGET") => {
                    let values = self.find(words.split_off(1));
                    if !self.answer(stream, values, redis_answer).await? {
                        return Ok(());
                    }
                }
                Some(b"SETEX") if words.len() == 4 => {
                    let (key, value) = (words[1].clone(), words[3].clone());
                    self.values.lock().insert(key, value);
                    stream.write_all(b"+OK\r\n").await?;
                }
                _ => stream.write_all(b"+OK\r\n").await?,
            }
        }
    }
}

fn memcached_answer(values: &Values) -> Vec<u8> {
    let mut answer = Vec::new();
    for (key, value) in values {
        if let Some(value) = value {
            answer.extend_from_slice(b"VALUE ");
            answer.extend_from_slice(key);
            answer.extend_from_slice(format!(" 0 {}\r\n", value.len()).as_bytes());
            answer.extend_from_slice(value);
            answer.extend_from_slice(b"\r\n");
        }
    }
    answer.extend_from_slice(b"END\r\n");
    answer
}

fn redis_answer(values: &Values) -> Vec<u8> {
    let mut answer = format!("*{}\r\n", values.len()).into_bytes();
    for (_, value) in values {
        match value {
            Some(value) => {
                answer.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                answer.extend_from_slice(value);
                answer.extend_from_slice(b"\r\n");
            }
            None => answer.extend_from_slice(b"$-1\r\n"),
        }
    }
    answer
}

/// Reads a line of a type and a length.
async fn read_length(stream: &mut BufReader<TcpStream>) -> std::io::Result<usize> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let digits = line.get(1..).unwrap_or_default().trim_end();
    digits.parse().map_err(std::io::Error::other)
}

/// Reads as many bytes as the text `len` says, and the end of line after them.
async fn read_value(
    stream: &mut BufReader<TcpStream>,
    len: Option<&Vec<u8>>,
) -> std::io::Result<Vec<u8>> {
    let len = len.and_then(|len| std::str::from_utf8(len).ok()?.parse::<usize>().ok());
    let len = len.ok_or_else(|| std::io::Error::other("no length"))?;
    let mut value = vec![0; len + 2];
    stream.read_exact(&mut value).await?;
    value.truncate(len);
    Ok(value)
}
