//! Flags of TLS over gRPC: those of the server, and those of the client, which are deprecated in Thanos.

use clap::{ArgAction, Args};
use thanos_core::{Error, Result};
use thanos_storeapi::client::ClientSettings;
use thanos_storeapi::endpoints::config::{ClientConfig, TlsConfig};
use thanos_storeapi::net::compress::Compression;
use thanos_storeapi::net::tls::{ClientTls, Pem, ServerTls, TlsServer, TlsVersion};

const VERSIONS: [&str; 4] = ["1.0", "1.1", "1.2", "1.3"];

/// TLS of the gRPC server.
#[derive(Debug, Clone, Args)]
pub struct GrpcTlsFlags {
    /// TLS Certificate for gRPC server, leave blank to disable TLS.
    #[arg(
        id = "grpc-server-tls-cert",
        long = "grpc-server-tls-cert",
        value_name = "FILE",
        default_value = ""
    )]
    cert: String,
    /// TLS Key for the gRPC server, leave blank to disable TLS.
    #[arg(
        id = "grpc-server-tls-key",
        long = "grpc-server-tls-key",
        value_name = "FILE",
        default_value = ""
    )]
    key: String,
    /// TLS CA to verify clients against. If no client CA is specified, there is no client verification on server side.
    #[arg(
        id = "grpc-server-tls-client-ca",
        long = "grpc-server-tls-client-ca",
        value_name = "FILE",
        default_value = ""
    )]
    client_ca: String,
    /// TLS supported minimum version for gRPC server. 1.0 and 1.1 mean 1.2, the oldest that is spoken.
    #[arg(
        id = "grpc-server-tls-min-version",
        long = "grpc-server-tls-min-version",
        value_name = "VERSION",
        default_value = "1.3",
        value_parser = VERSIONS
    )]
    min_version: String,
    /// TLS cipher suites for gRPC server (repeatable), by Go's names. If not specified, all are used.
    #[arg(id = "grpc-server-tls-ciphers", long = "grpc-server-tls-ciphers", value_name = "NAME", action = ArgAction::Append)]
    ciphers: Vec<String>,
    /// TLS curves for gRPC server (repeatable). If not specified, all are used. Valid values: CurveP256, CurveP384, X25519.
    #[arg(id = "grpc-server-tls-curves", long = "grpc-server-tls-curves", value_name = "NAME", action = ArgAction::Append)]
    curves: Vec<String>,
}

impl GrpcTlsFlags {
    /// Returns what connections are accepted with; `None` when they are not encrypted.
    ///
    /// # Errors
    ///
    /// `Invalid` for parts that do not fit or names that there are not, `NotFound` for missing files.
    pub fn server(&self) -> Result<Option<TlsServer>> {
        let settings = ServerTls {
            certificate: Pem::file(&self.cert),
            key: Pem::file(&self.key),
            client_authorities: Pem::file(&self.client_ca),
            min_version: Some(self.min_version.parse()?),
            cipher_suites: self.ciphers.clone(),
            curves: self.curves.clone(),
            ..ServerTls::default()
        };
        let server = TlsServer::new(settings, &["h2"]);
        server.map_err(|error| error.context("setup gRPC server"))
    }

    /// Says in the log what is encrypted.
    pub(super) fn tell(&self) {
        if self.cert.is_empty() {
            tracing::info!("disabled TLS, key and cert must be set to enable");
            return;
        }
        tracing::info!("enabling server side TLS");
        if !self.client_ca.is_empty() {
            tracing::info!("server TLS client verification enabled");
        }
    }
}

/// How other components are asked over gRPC, unless a configuration of endpoints says otherwise.
///
/// [`GrpcClientFlags::settings`] are those of endpoints given by flags. A configuration of endpoints starts from
/// [`GrpcClientFlags::tls`] and [`GrpcClientFlags::compression`] where it says nothing itself.
#[derive(Debug, Clone, Args)]
pub struct GrpcClientFlags {
    /// Deprecated after v0.43.0: Use TLS when talking to the gRPC server.
    #[arg(id = "grpc-client-tls-secure", long = "grpc-client-tls-secure", action = ArgAction::SetTrue)]
    secure: bool,
    /// Deprecated after v0.43.0: Disable TLS certificate verification i.e self signed, signed by fake CA.
    #[arg(id = "grpc-client-tls-skip-verify", long = "grpc-client-tls-skip-verify", action = ArgAction::SetTrue)]
    skip_verify: bool,
    /// Deprecated after v0.43.0: TLS Certificates to use to identify this client to the server.
    #[arg(
        id = "grpc-client-tls-cert",
        long = "grpc-client-tls-cert",
        value_name = "FILE",
        default_value = ""
    )]
    cert: String,
    /// Deprecated after v0.43.0: TLS Key for the client's certificate.
    #[arg(
        id = "grpc-client-tls-key",
        long = "grpc-client-tls-key",
        value_name = "FILE",
        default_value = ""
    )]
    key: String,
    /// Deprecated after v0.43.0: TLS CA Certificates to use to verify gRPC servers.
    #[arg(
        id = "grpc-client-tls-ca",
        long = "grpc-client-tls-ca",
        value_name = "FILE",
        default_value = ""
    )]
    ca: String,
    /// Deprecated after v0.43.0: Server name to verify the hostname on the returned gRPC certificates. See RFC 4366, section
    /// 3.1.
    #[arg(
        id = "grpc-client-server-name",
        long = "grpc-client-server-name",
        value_name = "NAME",
        default_value = ""
    )]
    server_name: String,
    /// Deprecated after v0.43.0: Compression algorithm to use for gRPC requests to other clients.
    #[arg(
        id = "grpc-compression",
        long = "grpc-compression",
        value_name = "NAME",
        default_value = "none",
        value_parser = ["snappy", "none"]
    )]
    compression: String,
    /// Deprecated after v0.43.0: TLS supported minimum version for gRPC client. 1.0 and 1.1 mean 1.2, the oldest that is
    /// spoken.
    #[arg(
        id = "grpc-client-tls-min-version",
        long = "grpc-client-tls-min-version",
        value_name = "VERSION",
        default_value = "1.3",
        value_parser = VERSIONS
    )]
    min_version: String,
}

impl GrpcClientFlags {
    /// Returns how connections are encrypted, if `--grpc-client-tls-secure` says that they are.
    ///
    /// # Errors
    ///
    /// `Invalid` for one of certificate and key without the other.
    pub fn tls(&self) -> Result<Option<ClientTls>> {
        if !self.secure {
            if self.says_more() {
                tracing::warn!(
                    "without --grpc-client-tls-secure the other --grpc-client-tls-* flags do nothing, \
                     and connections are not encrypted"
                );
            }
            return Ok(None);
        }
        let min_version: TlsVersion = self.min_version.parse()?;
        let tls = ClientTls {
            authorities: Pem::file(&self.ca),
            certificate: Pem::file(&self.cert),
            key: Pem::file(&self.key),
            server_name: self.server_name.clone(),
            insecure_skip_verify: self.skip_verify,
            min_version: Some(min_version),
            ..ClientTls::default()
        };
        tls.validate()?;
        Ok(Some(tls))
    }

    fn says_more(&self) -> bool {
        let texts = [&self.cert, &self.key, &self.ca, &self.server_name];
        self.skip_verify || texts.into_iter().any(|text| !text.is_empty())
    }

    /// Returns how requests are compressed.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name that is none, which the command line does not let pass.
    pub fn compression(&self) -> Result<Compression> {
        self.compression.parse()
    }

    /// Returns the same as the configuration of an endpoint, for those that say nothing of their own.
    pub fn config(&self) -> ClientConfig {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let tls_config = match self.secure {
            false => TlsConfig::default(),
            true => TlsConfig {
                enabled: Some(true),
                ca_file: given(&self.ca),
                cert_file: given(&self.cert),
                key_file: given(&self.key),
                insecure_skip_verify: Some(self.skip_verify),
                min_version: given(&self.min_version),
            },
        };
        ClientConfig {
            tls_config,
            server_name: given(&self.server_name),
            compression: given(&self.compression),
        }
    }

    /// Returns how endpoints given by flags are connected to.
    ///
    /// # Errors
    ///
    /// Those of [`GrpcClientFlags::tls`], and those of unusable files.
    pub fn settings(&self) -> Result<ClientSettings> {
        if self.secure || self.says_more() {
            tracing::warn!(
                "--grpc-client-tls-* flags are deprecated and will be removed after v0.43.0, use \
                 default_client_config in endpoint.sd-config-file instead"
            );
        }
        let with_flags = |error: Error| error.context("building gRPC client");
        let tls = self.tls().map_err(with_flags)?;
        let tls = tls.map(ClientSettings::tls_client).transpose();
        Ok(ClientSettings {
            context: Some(crate::traces::call_context()),
            tls: tls.map_err(with_flags)?,
            compression: self.compression()?,
            ..ClientSettings::default()
        })
    }
}
