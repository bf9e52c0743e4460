//! Regex matchers that many requests bring, compiled once (row ST-28 of the specification).

use std::fmt;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, UnitWeighter};
use thanos_core::Result;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_storeapi::matchers::MatcherSource;

/// The longest expression that is kept: the cache counts matchers, and a huge one would make its memory unbounded.
const EXPRESSION_BYTES_MAX: usize = 64 << 10;

/// What a [`MatcherCache`] counts, under Thanos' names. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct MatcherCacheMetrics {
    requests: Counter,
    hits: Counter,
    items: Gauge,
    max_items: Gauge,
    evicted: Counter,
}

impl MatcherCacheMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let cache = registry.sub_registry_with_prefix("thanos_matchers_cache");
        let help = "Total number of cache requests for series matchers";
        cache.register("requests", help, self.requests.clone());
        let help = "Total number of cache hits for series matchers";
        cache.register("hits", help, self.hits.clone());
        let help = "Total number of cached items";
        cache.register("items", help, self.items.clone());
        let help = "Maximum number of items that can be cached";
        cache.register("max_items", help, self.max_items.clone());
        let help = "Total number of items evicted from the cache";
        cache.register("evicted", help, self.evicted.clone());
    }
}

type Key = (MatchOp, Box<str>, Box<str>);
type Matchers = Cache<Key, Matcher, UnitWeighter, DefaultHashBuilder, CountEvictions>;

/// Counts what leaves the cache.
#[derive(Debug, Clone)]
struct CountEvictions {
    evicted: Counter,
}

impl Lifecycle<Key, Matcher> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, _: Matcher) {
        self.evicted.inc();
    }
}

/// Keeps regex matchers (`--matcher-cache-size`); requests that bring the same new one at once compile it once.
///
/// # Example
///
/// ```
/// use thanos_bucket::gateway::{MatcherCache, MatcherCacheMetrics};
/// use thanos_core::labels::MatchOp;
/// use thanos_storeapi::matchers::MatcherSource;
///
/// let cache = MatcherCache::new(200, MatcherCacheMetrics::default());
/// assert!(cache.matcher(MatchOp::Regex, "job", "api|web")?.matches("web"));
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MatcherCache {
    matchers: Arc<Matchers>,
    metrics: MatcherCacheMetrics,
}

impl MatcherCache {
    /// Returns a cache of at most `items` matchers.
    pub fn new(items: usize, metrics: MatcherCacheMetrics) -> Self {
        metrics
            .max_items
            .set(i64::try_from(items).unwrap_or(i64::MAX));
        let lifecycle = CountEvictions {
            evicted: metrics.evicted.clone(),
        };
        let matchers = Cache::with(
            items,
            items as u64,
            UnitWeighter,
            DefaultHashBuilder::default(),
            lifecycle,
        );
        Self {
            matchers: Arc::new(matchers),
            metrics,
        }
    }
}

impl MatcherSource for MatcherCache {
    fn matcher(&self, op: MatchOp, name: &str, value: &str) -> Result<Matcher> {
        let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        if !is_regex || value.len() + name.len() > EXPRESSION_BYTES_MAX {
            return Matcher::new(op, name, value);
        }
        self.metrics.requests.inc();
        let mut is_new = false;
        let key = (op, Box::from(name), Box::from(value));
        let matcher = self.matchers.get_or_insert_with(&key, || {
            is_new = true;
            Matcher::new(op, name, value)
        })?;
        if is_new {
            let items = self.matchers.len();
            self.metrics
                .items
                .set(i64::try_from(items).unwrap_or(i64::MAX));
        } else {
            self.metrics.hits.inc();
        }
        Ok(matcher)
    }
}

impl fmt::Debug for MatcherCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatcherCache")
            .field("items", &self.matchers.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(items: usize) -> MatcherCache {
        MatcherCache::new(items, MatcherCacheMetrics::default())
    }

    /// ST-28.
    #[test]
    fn only_regex_matchers_are_kept_and_each_kind_apart() {
        let cache = cache(10);
        for round in 0..3 {
            for (op, value, matches) in [
                (MatchOp::Regex, "a|b", true),
                (MatchOp::NotRegex, "a|b", false),
                (MatchOp::Regex, "a.*", true),
                (MatchOp::Equal, "a", true),
                (MatchOp::NotEqual, "a", false),
            ] {
                let matcher = cache.matcher(op, "job", value).unwrap();
                assert_eq!(matcher.matches("a"), matches, "{matcher}");
                assert_eq!((matcher.op(), matcher.name()), (op, "job"));
            }
            let metrics = &cache.metrics;
            let counts = (metrics.requests.get(), metrics.hits.get());
            assert_eq!(counts, (3 * (round + 1), 3 * round));
            assert_eq!((metrics.items.get(), metrics.max_items.get()), (3, 10));
        }
    }

    #[test]
    fn the_number_is_bounded_and_evictions_are_counted() {
        let cache = cache(10);
        for i in 0..1000 {
            let value = format!("a{i}.*");
            let matcher = cache.matcher(MatchOp::Regex, "job", &value).unwrap();
            assert!(matcher.matches(&format!("a{i}b")));
        }
        let (items, evicted) = (cache.metrics.items.get(), cache.metrics.evicted.get());
        assert!((1..=10).contains(&items), "{items}");
        assert_eq!(evicted, 1000 - u64::try_from(items).unwrap());
    }

    #[test]
    fn a_wrong_expression_is_refused_each_time_and_a_huge_one_is_not_kept() {
        let cache = cache(10);
        for _ in 0..2 {
            assert!(cache.matcher(MatchOp::Regex, "job", "(").is_err());
        }
        let huge = "a|".repeat(EXPRESSION_BYTES_MAX);
        cache.matcher(MatchOp::Regex, "job", &huge).unwrap();
        assert!(cache.matchers.is_empty());
    }

    #[test]
    fn the_same_new_matcher_is_compiled_once() {
        let cache = cache(10);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| cache.matcher(MatchOp::Regex, "job", "x{1,50}y").unwrap());
            }
        });
        assert_eq!(cache.metrics.hits.get(), 7);
    }
}
