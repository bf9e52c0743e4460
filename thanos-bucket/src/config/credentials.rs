//! Keys of AWS that are not in the bucket's YAML: the environment, the shared file, web identity, containers, instances.
//!
//! The order is that of the client that Thanos uses. Not covered: profiles that assume roles, SSO, and programs that
//! print keys.

use std::path::{Path, PathBuf};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
use thanos_core::{Error, ErrorKind, Result};

use super::Environment;

/// Variables that lead the client to keys. Others, such as `AWS_ENDPOINT_URL`, must not change the bucket.
const VARIABLES: [(&str, Key); 9] = [
    ("AWS_WEB_IDENTITY_TOKEN_FILE", Key::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", Key::RoleArn),
    ("AWS_ROLE_SESSION_NAME", Key::RoleSessionName),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        Key::ContainerCredentialsRelativeUri,
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        Key::ContainerCredentialsFullUri,
    ),
    (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        Key::ContainerAuthorizationTokenFile,
    ),
    ("AWS_METADATA_ENDPOINT", Key::MetadataEndpoint),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", Key::MetadataEndpoint),
    ("AWS_IMDSV1_FALLBACK", Key::ImdsV1Fallback),
];

/// Gives `builder` the keys of the environment, or the way to get some.
pub(super) fn from_environment(
    builder: AmazonS3Builder,
    environment: Environment<'_>,
) -> Result<AmazonS3Builder> {
    let variable = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| environment(name));
        values.find(|value| !value.is_empty())
    };
    let access = variable(&["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"]);
    let secret = variable(&["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"]);
    if let (Some(access), Some(secret)) = (access, secret) {
        let keys = Keys {
            access,
            secret,
            token: variable(&["AWS_SESSION_TOKEN"]),
        };
        return Ok(keys.give_to(builder));
    }
    if let Some(keys) = shared_file(environment)? {
        return Ok(keys.give_to(builder));
    }
    let mut builder = builder;
    for (name, key) in VARIABLES {
        if let Some(value) = variable(&[name]) {
            builder = builder.with_config(key, value);
        }
    }
    Ok(builder)
}

struct Keys {
    access: String,
    secret: String,
    token: Option<String>,
}

impl Keys {
    fn give_to(self, builder: AmazonS3Builder) -> AmazonS3Builder {
        let builder = builder
            .with_access_key_id(self.access)
            .with_secret_access_key(self.secret);
        match self.token {
            Some(token) => builder.with_token(token),
            None => builder,
        }
    }
}

/// Returns the keys of the profile in the shared file, if there are such a file and profile.
fn shared_file(environment: Environment<'_>) -> Result<Option<Keys>> {
    let file = environment("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let home = || Some(Path::new(&environment("HOME")?).join(".aws/credentials"));
    let Some(file) = file.or_else(home) else {
        return Ok(None);
    };
    let profile = environment("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(profile_keys(&text, &profile)),
        Err(error) => match Error::from(error) {
            error if error.kind() == ErrorKind::NotFound => Ok(None),
            error => Err(error.in_file(file.display().to_string())),
        },
    }
}

fn profile_keys(text: &str, profile: &str) -> Option<Keys> {
    let (mut access, mut secret, mut token) = (None, None, None);
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').trim() == profile;
        } else if inside && let Some((name, value)) = line.split_once('=') {
            let slot = match name.trim() {
                "aws_access_key_id" => &mut access,
                "aws_secret_access_key" => &mut secret,
                "aws_session_token" => &mut token,
                _ => continue,
            };
            *slot = Some(value.trim().to_owned());
        }
    }
    Some(Keys {
        access: access?,
        secret: secret?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_decides_which_keys_of_the_file_are_taken() {
        let file = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B\n\
                    [other]\naws_access_key_id=C\naws_secret_access_key = D=\naws_session_token = E\n[empty]\n";
        let keys = profile_keys(file, "default").unwrap();
        assert_eq!((keys.access.as_str(), keys.secret.as_str()), ("A", "B"));
        assert_eq!(keys.token, None);
        let keys = profile_keys(file, "other").unwrap();
        assert_eq!((keys.access.as_str(), keys.secret.as_str()), ("C", "D="));
        assert_eq!(keys.token.as_deref(), Some("E"));
        assert!(profile_keys(file, "empty").is_none());
    }

    #[test]
    fn variables_come_before_the_file_and_do_not_move_the_bucket() {
        let environment = |name: &str| {
            let value = match name {
                "AWS_ACCESS_KEY" => "A",
                "AWS_SECRET_ACCESS_KEY" => "B",
                "AWS_SHARED_CREDENTIALS_FILE" => "/no/such/file",
                "AWS_ENDPOINT" | "AWS_ENDPOINT_URL_S3" => "http://elsewhere",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let builder = from_environment(AmazonS3Builder::new(), &environment).unwrap();
        let value = |key: Key| builder.get_config_value(&key);
        assert_eq!(value(Key::AccessKeyId).as_deref(), Some("A"));
        assert_eq!(value(Key::SecretAccessKey).as_deref(), Some("B"));
        assert_eq!(value(Key::Endpoint), None);
        assert_eq!(value(Key::S3Endpoint), None);
    }

    #[test]
    fn without_keys_the_client_is_led_to_a_role() {
        let environment = |name: &str| match name {
            "AWS_WEB_IDENTITY_TOKEN_FILE" => Some("/token".to_owned()),
            "AWS_ROLE_ARN" => Some("arn:aws:iam::1:role/x".to_owned()),
            _ => None,
        };
        let builder = from_environment(AmazonS3Builder::new(), &environment).unwrap();
        let token_file = builder.get_config_value(&Key::WebIdentityTokenFile);
        assert_eq!(token_file.as_deref(), Some("/token"));
        assert_eq!(builder.get_config_value(&Key::AccessKeyId), None);
    }
}
