//! Who may ask, and how often.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thanos_core::time::SignedDuration;
use thanos_core::{Error, Result};
use tokio::sync::Semaphore;

use super::config::{RateLimit, Secret};

/// Passwords are not that long; longer ones are wrong without a look.
const PASSWORD_BYTES_MAX: usize = 1 << 10;
/// How many passwords are hashed at once: that costs 50 ms of a processor each, and anybody can ask for it.
const HASHES_AT_ONCE: usize = 2;

/// The users and their passwords.
///
/// The password with which a user was let in last is kept in memory, so that only the first request costs a hash; it is
/// gone with the configuration. Wrong passwords are not kept: nobody can push others out, and each costs the same. A user
/// that there is not is hashed against the password of one that there is, and not let in.
#[derive(Debug)]
pub(super) struct Users {
    users: HashMap<String, User>,
    names: Vec<String>,
    chooses: RandomState,
}

struct User {
    hash: String,
    known: Mutex<Option<String>>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

impl Users {
    /// Takes users with bcrypt hashes of their passwords; without any user, all are let in.
    ///
    /// # Errors
    ///
    /// `Invalid` for a text that is no such hash.
    pub(super) fn new(hashes: &BTreeMap<String, Secret>) -> Result<Self> {
        let mut users = HashMap::new();
        for (name, hash) in hashes {
            let parsed = hash.0.parse::<bcrypt::HashParts>();
            parsed.map_err(|error| Error::invalid(format!("basic_auth_users: {name}: {error}")))?;
            let user = User {
                hash: hash.0.clone(),
                known: Mutex::default(),
            };
            users.insert(name.clone(), user);
        }
        Ok(Self {
            users,
            names: hashes.keys().cloned().collect(),
            chooses: RandomState::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Reports whether a request with this header is let in.
    pub(super) async fn admit(&self, authorization: Option<&HeaderValue>) -> bool {
        if self.users.is_empty() {
            return true;
        }
        let Some((name, password)) = authorization.and_then(credentials) else {
            return false;
        };
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        let Some(user) = self.users.get(&name) else {
            // Always the same one for a name, as for a user that there is.
            let count = self.names.len() as u64;
            let chosen = usize::try_from(self.chooses.hash_one(&name) % count).unwrap_or_default();
            let other = self.names.get(chosen).and_then(|name| self.users.get(name));
            if let Some(other) = other {
                other.is_known(&password);
                is_right(password, other.hash.clone()).await;
            }
            return false;
        };
        if user.is_known(&password) {
            return true;
        }
        let is_right = is_right(password.clone(), user.hash.clone()).await;
        if is_right {
            *user.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(password);
        }
        is_right
    }
}

impl User {
    fn is_known(&self, password: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .as_ref()
            .is_some_and(|known| are_equal(known.as_bytes(), password.as_bytes()))
    }
}

/// Compares without telling by the time it takes where texts of one length differ.
fn are_equal(left: &[u8], right: &[u8]) -> bool {
    let differing = left
        .iter()
        .zip(right)
        .fold(0, |sum, (left, right)| sum | (left ^ right));
    left.len() == right.len() && std::hint::black_box(differing) == 0
}

/// Hashes beside the threads that serve requests.
async fn is_right(password: String, hash: String) -> bool {
    static PLACES: OnceLock<Semaphore> = OnceLock::new();
    let places = PLACES.get_or_init(|| Semaphore::new(HASHES_AT_ONCE));
    let Ok(_place) = places.acquire().await else {
        return false;
    };
    let hashed = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
    matches!(hashed.await, Ok(Ok(true)))
}

/// Returns the name and the password of a header of basic authentication.
fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Lets so many requests pass.
#[derive(Debug)]
pub(super) struct Limiter {
    interval: Duration,
    burst: u32,
    /// When the places were counted last, and how many there were.
    places: Mutex<(Instant, f64)>,
}

impl Limiter {
    /// Returns a limiter, if `limit` limits.
    ///
    /// # Errors
    ///
    /// `Invalid` for an interval that is no duration.
    pub(super) fn new(limit: &RateLimit) -> Result<Option<Self>> {
        if limit.interval.is_empty() {
            return Ok(None);
        }
        let parsed = SignedDuration::parse_go(&limit.interval);
        let parsed = parsed.map_err(|error| error.context("rate_limit.interval"))?;
        let negative = || Error::invalid("rate_limit.interval is negative");
        let interval = parsed.to_std().ok_or_else(negative)?;
        if interval.is_zero() {
            return Ok(None);
        }
        tracing::info!(burst = limit.burst, ?interval, "rate limiter is enabled");
        Ok(Some(Self {
            interval,
            burst: limit.burst,
            places: Mutex::new((Instant::now(), f64::from(limit.burst))),
        }))
    }

    /// Reports whether a request may pass now.
    pub(super) fn allows(&self) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (counted, left) = *places;
        let now = Instant::now();
        let more = now.duration_since(counted).as_secs_f64() / self.interval.as_secs_f64();
        let left = (left + more).min(f64::from(self.burst));
        let allows = left >= 1.0;
        *places = (now, if allows { left - 1.0 } else { left });
        allows
    }
}
