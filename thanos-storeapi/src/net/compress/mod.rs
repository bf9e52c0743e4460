//! Compressed messages of gRPC: snappy as Thanos has it (the framed format), gzip and zstd.
//!
//! tonic knows no snappy, and has one limit for messages that were sent large and for those that became large. So
//! messages are compressed and made whole between tonic and the connection: `Peer` does it for a client, `whole` for
//! a server, and tonic sees neither the encoding nor a compressed message. What a message grows to is limited
//! by itself, whatever it says about its length; one message is held at a time.
//!
//! A server answers in the encoding of the request, as Go's does. A client takes any of the three in an answer.

mod body;
mod codec;
#[cfg(feature = "client")]
mod peer;
#[cfg(feature = "server")]
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use thanos_core::{Error, Result};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(feature = "client")]
pub(crate) use peer::Peer;
#[cfg(feature = "server")]
pub(crate) use server::whole;

/// How the messages of a call are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// The framed format of snappy, which Thanos speaks.
    Snappy,
    /// gzip; not spoken by Thanos.
    Gzip,
    /// zstd; not spoken by Thanos.
    Zstd,
}

impl Compression {
    /// Returns the name of gRPC's headers and of flags; that of none is `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Snappy => "snappy",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Takes what `headers` say about the messages out of them. What is not known stays, for tonic to refuse.
    fn take_from(headers: &mut HeaderMap) -> Self {
        let encodings = [Self::Snappy, Self::Gzip, Self::Zstd];
        let name = headers.get(ENCODING);
        let known = encodings
            .into_iter()
            .find(|known| name.is_some_and(|name| name.as_bytes() == known.as_str().as_bytes()));
        if known.is_some() {
            headers.remove(ENCODING);
        }
        known.unwrap_or_default()
    }

    /// Says in `headers` how messages are compressed, if they are.
    fn put_into(self, headers: &mut HeaderMap) {
        if self != Self::None {
            headers.insert(ENCODING, HeaderValue::from_static(self.as_str()));
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = [Self::None, Self::Snappy, Self::Gzip, Self::Zstd];
        let found = known.into_iter().find(|known| known.as_str() == name);
        found.ok_or_else(|| {
            let known = known.map(Self::as_str).join(", ");
            Error::invalid(format!(
                "invalid compression: {name}, valid values are {known}"
            ))
        })
    }
}

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ALL: HeaderValue = HeaderValue::from_static("snappy,gzip,zstd,identity");

/// How large the messages of one direction may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageLimits {
    /// The most bytes of one message on the wire.
    pub(crate) sent_bytes_max: usize,
    /// The most bytes that a compressed message may grow to.
    pub(crate) whole_bytes_max: usize,
}
