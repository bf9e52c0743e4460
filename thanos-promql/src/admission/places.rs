//! The places of a server.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use async_trait::async_trait;
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_storeapi::gate::{GateMetrics, InFlight};
use thanos_storeapi::tenant::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Admission, HeavyPlace};
use crate::error::{Error, ErrorKind, Result};

/// How many queries run, and what they may hold.
#[derive(Debug, Clone)]
pub struct AdmissionOptions {
    /// The most light queries at once; more wait.
    pub light_max: usize,
    /// What heavy queries may take.
    pub limits: AdmissionLimits,
    /// The memory of all queries together.
    pub budget: MemoryBudget,
    /// The most memory of one query.
    pub query_bytes_max: u64,
}

/// What heavy queries and single tenants may take.
#[derive(Debug, Clone)]
pub struct AdmissionLimits {
    /// The most heavy queries at once. More than there are processors make every query slower.
    pub heavy_max: usize,
    /// The most heavy queries that wait; more are refused.
    pub heavy_queue_max: usize,
    /// How much of the memory, in percent, is set aside for the allowances of queries.
    pub allowance_percent: u8,
    /// The most of the places and of the memory that one tenant may have, in percent.
    pub tenant_percent: u8,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            heavy_max: thread::available_parallelism().map_or(2, NonZeroUsize::get),
            heavy_queue_max: 64,
            allowance_percent: 25,
            tenant_percent: 100,
        }
    }
}

/// What happened at the places.
#[derive(Debug, Default)]
pub struct AdmissionCounters {
    /// Queries that became heavy.
    pub heavy: AtomicU64,
    /// Heavy queries that wait now.
    pub heavy_waiting: AtomicU64,
    /// Heavy queries that run now.
    pub heavy_running: AtomicU64,
    /// Heavy queries that were refused because too many waited.
    pub heavy_refused: AtomicU64,
}

/// The places of all queries of a server; clones share them.
#[derive(Debug, Clone)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    light: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    pool: MemoryBudget,
    /// What is set aside for the allowances.
    _allowances: Option<Lease>,
    allowance_bytes: u64,
    query_bytes_max: u64,
    heavy_queue_max: u64,
    light_of_tenant: usize,
    heavy_of_tenant: usize,
    pool_of_tenant: u64,
    tenants: Mutex<HashMap<TenantId, Weak<Tenant>>>,
    counters: Arc<AdmissionCounters>,
    gate: GateMetrics,
}

/// What the queries of a tenant have together.
#[derive(Debug)]
struct Tenant {
    light: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    pool: MemoryBudget,
}

impl Places {
    /// Returns places as `options` say.
    pub fn new(options: AdmissionOptions) -> Self {
        let limits = &options.limits;
        let (light, heavy) = (options.light_max.max(1), limits.heavy_max.max(1));
        // One more becomes heavy at the moment it joins the queue.
        let holders = (light + heavy + limits.heavy_queue_max + 1) as u64;
        let budget_bytes = options.budget.limit_bytes();
        let percent = |of: u64, percent: u8| of / 100 * u64::from(percent.min(100));
        let allowance_bytes = percent(budget_bytes, limits.allowance_percent) / holders;
        // A budget that never refuses needs nothing set aside; neither does one that is in use already.
        let aside = options.budget.lease(allowance_bytes * holders).ok();
        let allowance_bytes = if aside.is_some() { allowance_bytes } else { 0 };
        let share = |places: usize| {
            let share = places * usize::from(limits.tenant_percent.min(100)) / 100;
            share.max(1)
        };
        let pool_bytes = budget_bytes - allowance_bytes * holders;
        let gate = GateMetrics::default();
        gate.set_max(light);
        Self(Arc::new(Shared {
            light: Arc::new(Semaphore::new(light)),
            heavy: Arc::new(Semaphore::new(heavy)),
            pool: options.budget.clone(),
            _allowances: aside,
            allowance_bytes,
            query_bytes_max: options.query_bytes_max,
            heavy_queue_max: limits.heavy_queue_max as u64,
            light_of_tenant: share(light),
            heavy_of_tenant: share(heavy),
            pool_of_tenant: percent(pool_bytes, limits.tenant_percent),
            tenants: Mutex::default(),
            counters: Arc::default(),
            gate,
        }))
    }

    /// Returns what happened so far.
    pub fn counters(&self) -> Arc<AdmissionCounters> {
        Arc::clone(&self.0.counters)
    }

    /// Returns the metrics of all queries, light and heavy, as of one gate.
    pub fn gate_metrics(&self) -> &GateMetrics {
        &self.0.gate
    }

    /// Returns how many light queries could begin at once.
    pub fn light_free(&self) -> usize {
        self.0.light.available_permits()
    }

    /// Returns the bytes that a query may hold without becoming heavy.
    pub fn allowance_bytes(&self) -> u64 {
        self.0.allowance_bytes
    }

    /// Returns the ticket of a query on behalf of `tenant`, which has no place yet.
    pub fn ticket(&self, tenant: &TenantId) -> Arc<Ticket> {
        let owner = self.0.tenant(tenant);
        let budget = owner.pool.child_with_allowance(
            "query memory",
            self.0.query_bytes_max,
            self.0.allowance_bytes,
        );
        Arc::new(Ticket {
            shared: Arc::clone(&self.0),
            tenant: owner,
            budget,
            light: Mutex::default(),
            in_flight: Mutex::default(),
        })
    }
}

impl Shared {
    fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(id).and_then(Weak::upgrade) {
            return tenant;
        }
        // Those without queries are forgotten, so that names that nobody uses take no memory.
        tenants.retain(|_, tenant| tenant.strong_count() > 0);
        let tenant = Arc::new(Tenant {
            light: Arc::new(Semaphore::new(self.light_of_tenant)),
            heavy: Arc::new(Semaphore::new(self.heavy_of_tenant)),
            pool: self
                .pool
                .child(format!("memory of tenant {id}"), self.pool_of_tenant),
        });
        tenants.insert(id.clone(), Arc::downgrade(&tenant));
        tenant
    }
}

/// A query with its memory and its place.
#[derive(Debug)]
pub struct Ticket {
    shared: Arc<Shared>,
    tenant: Arc<Tenant>,
    budget: MemoryBudget,
    /// The light place, until the query becomes heavy.
    light: Mutex<Option<[OwnedSemaphorePermit; 2]>>,
    in_flight: Mutex<Option<InFlight>>,
}

impl Ticket {
    /// Waits for a light place.
    ///
    /// # Errors
    ///
    /// None but bugs.
    pub async fn enter(&self) -> Result<()> {
        let arrived = Instant::now();
        let own = acquire(&self.tenant.light).await?;
        let place = acquire(&self.shared.light).await?;
        *self.light() = Some([own, place]);
        let in_flight = self.shared.gate.pass(arrived);
        *self
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(in_flight);
        Ok(())
    }

    fn light(&self) -> std::sync::MutexGuard<'_, Option<[OwnedSemaphorePermit; 2]>> {
        self.light.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn acquire(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let place = Arc::clone(places).acquire_owned().await;
    place.map_err(|_| Error::new(ErrorKind::Internal, "the query slots were closed"))
}

#[async_trait]
impl Admission for Ticket {
    fn budget(&self) -> MemoryBudget {
        self.budget.clone()
    }

    fn allowance_bytes(&self) -> u64 {
        self.shared.allowance_bytes
    }

    async fn become_heavy(&self) -> Result<HeavyPlace> {
        let counters = &self.shared.counters;
        counters.heavy.fetch_add(1, Ordering::Relaxed);
        let limit = self.shared.heavy_queue_max;
        let joins = |waiting: u64| (waiting <= limit).then_some(waiting + 1);
        let waiting =
            counters
                .heavy_waiting
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, joins);
        if waiting.is_err() {
            counters.heavy_refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("too many heavy queries: limit of {limit} waiting ones exceeded"),
            ));
        }
        let waiting = Counted(Arc::clone(counters), |counters| &counters.heavy_waiting);
        drop(self.light().take());
        let own = acquire(&self.tenant.heavy).await?;
        let place = acquire(&self.shared.heavy).await?;
        drop(waiting);
        counters.heavy_running.fetch_add(1, Ordering::Relaxed);
        let running = Counted(Arc::clone(counters), |counters| &counters.heavy_running);
        Ok(Box::new((own, place, running)))
    }
}

/// Counts one less when it is dropped.
struct Counted(Arc<AdmissionCounters>, fn(&AdmissionCounters) -> &AtomicU64);

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::AcqRel);
    }
}
