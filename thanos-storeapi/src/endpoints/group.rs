//! Replicas behind one name as one endpoint: each call goes to the next of them, and to another one if it cannot answer.
//!
//! What gRPC's `round_robin` does with connections is done here with calls: members that failed are asked last until
//! they answer a probe. Only `Unavailable` makes a call go on; a stream may go on until its first event was taken.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use futures::{StreamExt, stream};
use parking_lot::RwLock;
use thanos_core::error::{Error, ErrorKind, Result};

use super::Component;
use crate::apis::exemplars::{ExemplarsApi, ExemplarsRequest, SeriesExemplars};
use crate::apis::metadata::{Metadata, MetadataApi, MetadataRequest};
use crate::apis::query::{QueryApi, QueryRequest, QueryStream};
use crate::apis::rules::{RuleGroup, RulesApi, RulesRequest};
use crate::apis::status::{StatusApi, StatusRequest, TenantStatistics};
use crate::apis::targets::{Targets, TargetsApi, TargetsRequest};
use crate::apis::{Answer, Apis};
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SeriesStream, Store,
    StoreInfo,
};

/// How many members are asked at most, unless the configuration says otherwise.
pub const ATTEMPTS: u32 = 3;

/// One replica.
#[derive(Debug)]
struct Member {
    address: String,
    component: Component,
    is_down: AtomicBool,
}

/// Replicas of one component.
#[derive(Debug)]
pub struct Group {
    name: String,
    attempts: usize,
    members: RwLock<Arc<[Arc<Member>]>>,
    next: AtomicUsize,
}

impl Group {
    /// Returns the group `name` without members.
    pub fn new(name: impl Into<String>, attempts: u32) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            attempts: usize::try_from(attempts.max(1)).unwrap_or(usize::MAX),
            members: RwLock::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// Replaces the members; those whose address stays keep their connections. `connect` makes the others.
    ///
    /// # Errors
    ///
    /// The first of `connect`; the other members are in place nevertheless.
    pub fn set_members(
        &self,
        addresses: &[String],
        connect: impl Fn(&str) -> Result<Component>,
    ) -> Result<()> {
        let old = self.members();
        let mut failure = Ok(());
        let mut members = Vec::with_capacity(addresses.len());
        for address in addresses {
            if let Some(member) = old.iter().find(|member| member.address == *address) {
                members.push(Arc::clone(member));
                continue;
            }
            match connect(address) {
                Ok(component) => members.push(Arc::new(Member {
                    address: address.clone(),
                    component,
                    is_down: AtomicBool::new(false),
                })),
                Err(error) => failure = failure.and(Err(error)),
            }
        }
        *self.members.write() = members.into();
        failure
    }

    /// Asks the members that failed whether they answer again.
    pub async fn probe(&self) {
        let members = self.members();
        let down = members
            .iter()
            .filter(|member| member.is_down.load(Ordering::Relaxed));
        let probes = down.map(|member| async move {
            if member.component.store.info().await.is_ok() {
                member.is_down.store(false, Ordering::Relaxed);
            }
        });
        join_all(probes).await;
    }

    /// Returns what components answer beside series, each call answered by one of the members.
    pub fn apis(self: &Arc<Self>) -> Apis {
        Apis {
            rules: Some(Arc::clone(self) as _),
            targets: Some(Arc::clone(self) as _),
            metadata: Some(Arc::clone(self) as _),
            exemplars: Some(Arc::clone(self) as _),
            status: Some(Arc::clone(self) as _),
            query: Some(Arc::clone(self) as _),
        }
    }

    fn members(&self) -> Arc<[Arc<Member>]> {
        Arc::clone(&self.members.read())
    }

    /// Returns the members in the order in which a call tries them: one after the other, those that are down last.
    fn order(&self) -> Vec<Arc<Member>> {
        let members = self.members();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = |place: usize| Arc::clone(&members[(first.wrapping_add(place)) % members.len()]);
        let mut order: Vec<_> = (0..members.len()).map(turn).collect();
        order.sort_by_key(|member| member.is_down.load(Ordering::Relaxed));
        order.truncate(self.attempts);
        order
    }

    /// Makes a call of one member after the other until one can be reached.
    async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        call: impl Fn(Component) -> F,
    ) -> Result<T> {
        let mut outcome = Err(Error::unavailable(format!(
            "{}: no addresses are known",
            self.name
        )));
        for member in self.order() {
            outcome = call(member.component.clone()).await;
            let is_down = matches!(&outcome, Err(error) if error.kind() == ErrorKind::Unavailable);
            member.is_down.store(is_down, Ordering::Relaxed);
            if !is_down {
                break;
            }
        }
        outcome
    }
}

/// Opens a stream and waits for its first event, so that it can still be asked of another member when that is an error.
async fn first_event(store: Arc<dyn Store>, request: SeriesRequest) -> Result<SeriesStream> {
    let mut events = store.series(request).await?;
    match events.next().await {
        None => Ok(stream::empty().boxed()),
        Some(Err(error)) => Err(error),
        Some(Ok(event)) => Ok(stream::iter([Ok(event)]).chain(events).boxed()),
    }
}

#[async_trait]
impl Store for Group {
    async fn info(&self) -> Result<StoreInfo> {
        self.call(|member| async move { member.store.info().await })
            .await
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        self.call(|member| first_event(member.store, request.clone()))
            .await
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        let request = &request;
        self.call(|member| async move { member.store.label_names(request.clone()).await })
            .await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        let request = &request;
        self.call(|member| async move { member.store.label_values(request.clone()).await })
            .await
    }
}

/// Says that a member does not have what is asked for.
fn not_offered(what: &str) -> Error {
    Error::invalid(format!("{what} are not offered"))
}

/// Forwards the one call of an API to the members.
macro_rules! forward {
    ($api:ident, $field:ident, $call:ident, $request:ty, $answer:ty) => {
        #[async_trait]
        impl $api for Group {
            async fn $call(&self, request: $request) -> Result<$answer> {
                let request = &request;
                self.call(|member| async move {
                    let api = member.apis.$field.as_ref();
                    let api = api.ok_or_else(|| not_offered(stringify!($field)))?;
                    api.$call(request.clone()).await
                })
                .await
            }
        }
    };
}

forward!(RulesApi, rules, rules, RulesRequest, Answer<Vec<RuleGroup>>);
forward!(
    TargetsApi,
    targets,
    targets,
    TargetsRequest,
    Answer<Targets>
);
forward!(
    MetadataApi,
    metadata,
    metadata,
    MetadataRequest,
    Answer<Metadata>
);
forward!(
    ExemplarsApi,
    exemplars,
    exemplars,
    ExemplarsRequest,
    Answer<Vec<SeriesExemplars>>
);
forward!(
    StatusApi,
    status,
    tsdb_statistics,
    StatusRequest,
    Answer<TenantStatistics>
);
forward!(QueryApi, query, query, QueryRequest, QueryStream);
