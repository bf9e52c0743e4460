//! The `Authorization` header of requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use thanos_core::{Error, Result};

use super::config::{HttpClientConfig, Secret};

/// What a client shows of itself.
#[derive(Debug, Clone)]
pub(super) enum Credentials {
    None,
    Basic {
        username: SecretSource,
        password: SecretSource,
    },
    Scheme {
        scheme: String,
        secret: SecretSource,
    },
}

/// Text, or the file that has it, which may change at any time.
#[derive(Debug, Clone)]
pub(super) enum SecretSource {
    Text(Secret),
    File(String),
}

impl SecretSource {
    fn new(text: &Secret, file: &str) -> Self {
        match file {
            "" => Self::Text(text.clone()),
            file => Self::File(file.to_owned()),
        }
    }

    /// Files are short and local: reading one takes less time than handing it to another thread.
    fn read(&self) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text.0.clone()),
            Self::File(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Error::from(error).in_file(file.clone()))?;
                Ok(text.trim().to_owned())
            }
        }
    }
}

impl Credentials {
    pub(super) fn new(config: &HttpClientConfig) -> Self {
        if let Some(basic) = &config.basic_auth {
            let name = Secret(basic.username.clone());
            return Self::Basic {
                username: SecretSource::new(&name, &basic.username_file),
                password: SecretSource::new(&basic.password, &basic.password_file),
            };
        }
        if let Some(authorization) = &config.authorization {
            let scheme = match authorization.scheme.trim() {
                "" => "Bearer",
                scheme => scheme,
            };
            let file = &authorization.credentials_file;
            return Self::Scheme {
                scheme: scheme.to_owned(),
                secret: SecretSource::new(&authorization.credentials, file),
            };
        }
        if config.bearer_token.is_empty() && config.bearer_token_file.is_empty() {
            return Self::None;
        }
        Self::Scheme {
            scheme: "Bearer".to_owned(),
            secret: SecretSource::new(&config.bearer_token, &config.bearer_token_file),
        }
    }

    /// Returns the value of the header, if there is one.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, and `Invalid` for text that no header can hold.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Basic { username, password } => {
                let pair = format!("{}:{}", username.read()?, password.read()?);
                format!("Basic {}", STANDARD.encode(pair))
            }
            Self::Scheme { scheme, secret } => format!("{scheme} {}", secret.read()?),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| {
            Error::invalid("the credentials have characters that no header may have")
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
