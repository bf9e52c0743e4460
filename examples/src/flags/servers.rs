//! Flags of the servers of a role, and those of Thanos that are known here and not supported.
//!
//! A flag that asks for what is not there is an error and not a silence.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thanos_core::Result;
use thanos_storeapi::server::ServerSettings;

use super::grpc_tls::GrpcTlsFlags;
use super::{content, duration};
use crate::requests::RequestLog;
use crate::web::Web;

/// Flags of all servers of a role.
#[derive(Debug, Clone, Args)]
pub struct ServerFlags {
    /// Those of the HTTP server.
    #[command(flatten)]
    pub http: HttpFlags,
    /// Those of the gRPC server.
    #[command(flatten)]
    pub grpc: GrpcFlags,
    /// Path to the YAML file that says which requests are logged.
    #[arg(
        id = "request.logging-config-file",
        long = "request.logging-config-file",
        value_name = "FILE"
    )]
    request_log_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'request.logging-config-file'.
    #[arg(
        id = "request.logging-config",
        long = "request.logging-config",
        value_name = "CONTENT"
    )]
    request_log: Option<String>,
}

/// Flags of the HTTP server.
#[derive(Debug, Clone, Args)]
pub struct HttpFlags {
    /// Listen host:port for HTTP endpoints.
    #[arg(
        id = "http-address",
        long = "http-address",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:10902"
    )]
    pub address: String,
    /// Time to wait after an interrupt received for HTTP server.
    #[arg(id = "http-grace-period", long = "http-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub grace_period: Duration,
    /// Path to the configuration file that can enable TLS or authentication for all HTTP endpoints.
    #[arg(
        id = "http.config",
        long = "http.config",
        value_name = "FILE",
        default_value = ""
    )]
    config: String,
}

/// Flags of the gRPC server.
#[derive(Debug, Clone, Args)]
pub struct GrpcFlags {
    /// Listen ip:port address for gRPC endpoints (StoreAPI).
    #[arg(
        id = "grpc-address",
        long = "grpc-address",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:10901"
    )]
    pub address: String,
    /// How long a connection lives before the client has to open a new one.
    #[arg(id = "grpc-server-max-connection-age", long = "grpc-server-max-connection-age", value_name = "DURATION", default_value = "60m", value_parser = duration)]
    pub connection_age_max: Duration,
    /// Time to wait after an interrupt received for gRPC server.
    #[arg(id = "grpc-grace-period", long = "grpc-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub grace_period: Duration,
    /// Those of its encryption.
    #[command(flatten)]
    pub tls: GrpcTlsFlags,
}

impl HttpFlags {
    /// Returns the TLS and the authentication that `--http.config` asks for.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong configuration, `NotFound` for missing files.
    pub fn web(&self) -> Result<Web> {
        Web::open(&self.config).map_err(|error| error.context("server could not be started"))
    }
}

impl GrpcFlags {
    /// Returns how calls are served.
    ///
    /// # Errors
    ///
    /// `Invalid` for flags of TLS that do not fit, `NotFound` for missing files.
    pub fn settings(&self) -> Result<ServerSettings> {
        let tls = self.tls.server()?;
        self.tls.tell();
        Ok(ServerSettings {
            grace_period: self.grace_period,
            connection_age_max: self.connection_age_max,
            tls,
            ..ServerSettings::default()
        })
    }
}

impl ServerFlags {
    /// Returns which requests are logged.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong configuration of the log.
    pub fn request_log(&self) -> Result<RequestLog> {
        let flag = "request.logging-config";
        let yaml = content(flag, &self.request_log, &self.request_log_file)?;
        match yaml {
            Some(yaml) => RequestLog::from_yaml(&yaml),
            None => Ok(RequestLog::default()),
        }
    }
}
