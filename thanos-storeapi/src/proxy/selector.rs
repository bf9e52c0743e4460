//! Which databases behind a proxy belong to it, judged by their external labels (`--selector.relabel-config`).
//!
//! A store that has other databases too is asked with more matchers, so that it leaves their series out. One set of matchers
//! means a product: every combination of the values that it names. Databases that are no product are asked for in
//! several requests, so that a combination which is not selected is in none of them.
//!
//! Source: Thanos `pkg/store/tsdb_selector.go`, which joins the label sets of all stores into one product and does not quote
//! the values, so that a querier may see databases that it is not to see, and may miss those that it is to see.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use thanos_core::error::Result;
use thanos_core::labels::{Labels, MatchOp, Matcher};

use crate::store::{StoreInfo, TsdbInfo};

/// What says whether databases with these external labels are selected.
type Keeps = dyn Fn(&Labels) -> bool + Send + Sync;

/// Selects databases by their external labels; by default all of them.
///
/// Databases without external labels are always selected: there is nothing to judge them by.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_storeapi::proxy::TsdbSelector;
///
/// let europe = TsdbSelector::new(|labels| labels.get("region").is_some_and(|region| region == "eu"));
/// assert!(europe.keeps(&Labels::from_pairs([("region", "eu")])));
/// assert!(!europe.keeps(&Labels::from_pairs([("region", "us")])));
/// ```
#[derive(Clone, Default)]
pub struct TsdbSelector {
    keeps: Option<Arc<Keeps>>,
}

impl TsdbSelector {
    /// Returns what selects the databases of whose external labels `keeps` says so. The answer for a label set must always
    /// be the same.
    pub fn new(keeps: impl Fn(&Labels) -> bool + Send + Sync + 'static) -> Self {
        Self {
            keeps: Some(Arc::new(keeps)),
        }
    }

    /// Reports whether a database with these external labels is selected.
    pub fn keeps(&self, external_labels: &Labels) -> bool {
        let judge = self.keeps.as_ref().filter(|_| !external_labels.is_empty());
        judge.is_none_or(|keeps| keeps(external_labels))
    }

    /// Returns what of a store is selected.
    fn select(&self, info: &Arc<StoreInfo>) -> Result<Selected> {
        let selected = |tsdb: &&TsdbInfo| self.keeps(&tsdb.external_labels);
        let (kept, dropped): (Vec<&TsdbInfo>, Vec<_>) = info.tsdbs.iter().partition(selected);
        if dropped.is_empty() {
            return Ok(Selected::All);
        }
        if kept.is_empty() {
            return Ok(Selected::Nothing);
        }
        let label_sets = |tsdbs: &[&TsdbInfo]| -> BTreeSet<LabelSet> {
            tsdbs
                .iter()
                .map(|tsdb| label_set(&tsdb.external_labels))
                .collect()
        };
        let products = products(&label_sets(&kept), &label_sets(&dropped));
        let part = |product: &Product| {
            let is_inside = |tsdb: &&&TsdbInfo| product.holds(&label_set(&tsdb.external_labels));
            Ok(Part {
                matchers: product.matchers()?,
                tsdbs: kept.iter().filter(is_inside).copied().cloned().collect(),
            })
        };
        let parts: Result<Vec<Part>> = products.iter().map(part).collect();
        let info = StoreInfo {
            tsdbs: kept.into_iter().cloned().collect(),
            ..StoreInfo::clone(info)
        };
        Ok(Selected::Parts(Arc::new(info), parts?.into()))
    }
}

impl fmt::Debug for TsdbSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.keeps {
            Some(_) => "TsdbSelector(some)",
            None => "TsdbSelector(all)",
        })
    }
}

/// What of a store is selected.
#[derive(Debug, Clone)]
pub(super) enum Selected {
    /// Whatever it has.
    All,
    /// None of its databases.
    Nothing,
    /// Some of its databases: what it says about itself without the others, and how to ask for them.
    Parts(Arc<StoreInfo>, Arc<[Part]>),
    /// Some of its databases, for which it cannot be asked.
    Failed(String),
}

/// Databases of a store that one request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// What the request has to say beside its own matchers.
    pub(super) matchers: Vec<Matcher>,
    pub(super) tsdbs: Vec<TsdbInfo>,
}

/// What a selector said of stores, as long as they say the same about themselves.
#[derive(Debug, Default)]
pub(super) struct Selections {
    selector: TsdbSelector,
    known: Mutex<HashMap<String, (Arc<StoreInfo>, Selected)>>,
}

impl Selections {
    pub(super) fn new(selector: TsdbSelector) -> Self {
        Self {
            selector,
            ..Self::default()
        }
    }

    /// Returns what is selected of the store `name`, of which `info` is known.
    pub(super) fn of(&self, name: &str, info: &Arc<StoreInfo>) -> Selected {
        if self.selector.keeps.is_none() {
            return Selected::All;
        }
        let is_same = |known: &Arc<StoreInfo>| Arc::ptr_eq(known, info) || **known == **info;
        if let Some((known, selected)) = self.known.lock().get(name)
            && is_same(known)
        {
            return selected.clone();
        }
        // Values are quoted, so that every product is a regular expression; one may still be too large.
        let failed =
            |error| Selected::Failed(format!("its databases cannot be told apart: {error}"));
        let selected = self.selector.select(info).unwrap_or_else(failed);
        let entry = (Arc::clone(info), selected.clone());
        self.known.lock().insert(name.to_owned(), entry);
        selected
    }

    /// Forgets stores that `is_there` does not know.
    pub(super) fn retain(&self, count: usize, is_there: impl Fn(&str) -> bool) {
        let mut known = self.known.lock();
        if known.len() > count {
            known.retain(|name, _| is_there(name));
        }
    }
}

type LabelSet = BTreeMap<String, String>;

fn label_set(labels: &Labels) -> LabelSet {
    let pairs = labels.iter();
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// All combinations of values of some labels, without those that have one of the values excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Product {
    values: BTreeMap<String, BTreeSet<String>>,
    excluded: BTreeMap<String, BTreeSet<String>>,
}

impl Product {
    fn of(set: &LabelSet) -> Self {
        let pairs = set.iter();
        Self {
            values: pairs
                .map(|(name, value)| (name.clone(), BTreeSet::from([value.clone()])))
                .collect(),
            excluded: BTreeMap::new(),
        }
    }

    /// Reports whether `set` has just these labels, in one of the combinations.
    fn holds(&self, set: &LabelSet) -> bool {
        set.len() == self.values.len() && self.matches(set)
    }

    /// Reports whether the labels of `set` are a combination, whatever else it has.
    fn matches(&self, set: &LabelSet) -> bool {
        let mut values = self.values.iter();
        values.all(|(name, values)| set.get(name).is_some_and(|value| values.contains(value)))
    }

    fn has_the_labels_of(&self, other: &Self) -> bool {
        self.values.keys().eq(other.values.keys())
    }

    fn join(&mut self, other: &Self) {
        for (name, values) in &other.values {
            let own = self.values.entry(name.clone()).or_default();
            own.extend(values.iter().cloned());
        }
    }

    /// Excludes what `set` has beyond these labels: its series would match, too.
    fn exclude(&mut self, set: &LabelSet) {
        let mut beyond = set
            .iter()
            .filter(|(name, _)| !self.values.contains_key(*name));
        if let Some((name, value)) = beyond.next() {
            let values = self.excluded.entry(name.clone()).or_default();
            values.insert(value.clone());
        }
    }

    fn matchers(&self) -> Result<Vec<Matcher>> {
        let one_of = |name: &str, values: &BTreeSet<String>, [is, matches]: [MatchOp; 2]| {
            if let (1, Some(only)) = (values.len(), values.first()) {
                return Matcher::new(is, name, only);
            }
            let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            Matcher::new(matches, name, &quoted.join("|"))
        };
        let wanted = self
            .values
            .iter()
            .map(|(name, values)| one_of(name, values, [MatchOp::Equal, MatchOp::Regex]));
        let unwanted = self
            .excluded
            .iter()
            .map(|(name, values)| one_of(name, values, [MatchOp::NotEqual, MatchOp::NotRegex]));
        wanted.chain(unwanted).collect()
    }
}

/// Returns products that hold all of `kept` and none of `dropped`.
fn products(kept: &BTreeSet<LabelSet>, dropped: &BTreeSet<LabelSet>) -> Vec<Product> {
    let mut products: BTreeSet<Product> = kept.iter().map(Product::of).collect();
    let names: BTreeSet<&String> = kept.iter().flat_map(|set| set.keys()).collect();
    for name in names {
        products = join_along(products, name);
    }
    // Combinations that nobody has may be in a product, which takes fewer requests.
    let mut joined: Vec<Product> = Vec::new();
    for product in products {
        let of_equal_labels = joined
            .iter_mut()
            .filter(|other| other.has_the_labels_of(&product));
        let mut fitting = of_equal_labels.filter_map(|other| {
            let mut both = other.clone();
            both.join(&product);
            let is_exact = !dropped.iter().any(|set| both.holds(set));
            is_exact.then_some((other, both))
        });
        match fitting.next() {
            Some((other, both)) => *other = both,
            None => {
                drop(fitting);
                joined.push(product);
            }
        }
    }
    for product in &mut joined {
        for set in dropped {
            if set.len() > product.values.len() && product.matches(set) {
                product.exclude(set);
            }
        }
    }
    joined
}

/// Joins products that differ in the values of `name` alone: what they hold together is a product again.
fn join_along(products: BTreeSet<Product>, name: &str) -> BTreeSet<Product> {
    let mut by_others: BTreeMap<Product, Option<BTreeSet<String>>> = BTreeMap::new();
    for mut product in products {
        let values = product.values.remove(name);
        // Those without the label differ from those with it in more than a value.
        if values.is_some() {
            product.values.insert(name.to_owned(), BTreeSet::new());
        }
        let all = by_others.entry(product).or_default();
        if let Some(values) = values {
            all.get_or_insert_default().extend(values);
        }
    }
    let with_values = |(mut product, values): (Product, Option<BTreeSet<String>>)| {
        if let Some(values) = values {
            product.values.insert(name.to_owned(), values);
        }
        product
    };
    by_others.into_iter().map(with_values).collect()
}

/// Returns `text` as a regular expression that matches it alone.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn set(text: &str) -> LabelSet {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn sets(texts: &[&str]) -> BTreeSet<LabelSet> {
        texts.iter().map(|text| set(text)).collect()
    }

    fn text(products: &[Product]) -> Vec<String> {
        let one = |product: &Product| {
            let mut text = String::new();
            for matcher in product.matchers().unwrap() {
                write!(text, "{matcher} ").unwrap();
            }
            text.trim_end().to_owned()
        };
        products.iter().map(one).collect()
    }

    /// Q-28: one request where the selected databases are a product, and as many as are needed where they are not.
    #[test]
    fn requests_hold_what_is_selected_and_nothing_else() {
        for (kept, dropped, expected) in [
            (&["a=1"][..], &["a=2"][..], &[r#"a="1""#][..]),
            (&["a=1", "a=2"], &["a=3"], &[r#"a=~"1|2""#]),
            (&["a=1.5", "a=(x"], &["a=3"], &[r#"a=~"\\(x|1\\.5""#]),
            // A square without holes, and a diagonal whose other corners nobody has.
            (
                &["a=1 b=1", "a=1 b=2", "a=2 b=1", "a=2 b=2"],
                &["a=3 b=1"],
                &[r#"a=~"1|2" b=~"1|2""#],
            ),
            (
                &["a=1 b=1", "a=2 b=2"],
                &["a=3 b=1"],
                &[r#"a=~"1|2" b=~"1|2""#],
            ),
            // The other corner of the diagonal is there and not selected.
            (
                &["a=1 b=1", "a=2 b=2"],
                &["a=1 b=2"],
                &[r#"a="1" b="1""#, r#"a="2" b="2""#],
            ),
            (
                &["a=1 b=1", "a=1 b=2", "a=2 b=2"],
                &["a=2 b=1"],
                &[r#"a=~"1|2" b="2""#, r#"a="1" b="1""#],
            ),
            // Labels that others have more.
            (&["a=1"], &["a=1 b=2"], &[r#"a="1" b!="2""#]),
            (&["a=1"], &["a=1 b=2", "a=1 b=3"], &[r#"a="1" b!~"2|3""#]),
            (&[""], &["a=1"], &[r#"a!="1""#]),
            (&["a=1", "b=1"], &["a=2", "b=2"], &[r#"a="1""#, r#"b="1""#]),
        ] {
            let (kept, dropped) = (sets(kept), sets(dropped));
            let mut found = text(&products(&kept, &dropped));
            found.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected, "{kept:?} without {dropped:?}");
        }
    }

    /// Q-28: of all ways to select from a square of databases, each is held exactly.
    #[test]
    fn every_choice_of_a_square_is_held_exactly() {
        let mut square = Vec::new();
        for (a, b) in [
            (1, 1),
            (1, 2),
            (1, 3),
            (2, 1),
            (2, 2),
            (2, 3),
            (3, 1),
            (3, 2),
            (3, 3),
        ] {
            square.push(set(&format!("a={a} b={b}")));
        }
        for choice in 1..1_u32 << square.len() {
            let is_kept = |place: &usize| choice & (1 << place) != 0;
            let part = |wanted: bool| -> BTreeSet<LabelSet> {
                let places = (0..square.len()).filter(|place| is_kept(place) == wanted);
                places.map(|place| square[place].clone()).collect()
            };
            let (kept, dropped) = (part(true), part(false));
            let found = products(&kept, &dropped);
            let holds = |set: &LabelSet| found.iter().any(|product| product.holds(set));
            assert!(kept.iter().all(holds), "{kept:?} {found:?}");
            assert!(!dropped.iter().any(holds), "{kept:?} {found:?}");
        }
    }
}
