//! Relabelling: rules that keep, drop and change label sets, as Prometheus' `relabel_configs`.
//!
//! Source: Prometheus model/relabel/relabel.go, with names in UTF-8.

mod config;
#[cfg(test)]
mod tests;

use std::fmt;

use md5::{Digest, Md5};

use super::{Labels, LabelsBuilder, LabelsRef};
use crate::error::{Error, Result};
use crate::re2::GoReplacer;

pub use config::{RelabelAction, RelabelConfig};

/// Compiled rules, applied one after the other.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_core::labels::relabel::{RelabelConfig, Relabeler};
///
/// let rule = RelabelConfig {
///     source_labels: vec!["path".into()],
///     regex: "/(.*)".into(),
///     target_label: "page".into(),
///     ..RelabelConfig::default()
/// };
/// let relabeler = Relabeler::new([rule])?;
/// let labels = relabeler.process(Labels::from_pairs([("path", "/home")]).as_ref());
/// assert_eq!(labels.unwrap().to_string(), r#"{page="home", path="/home"}"#);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Relabeler {
    rules: Vec<Rule>,
}

#[derive(Clone)]
struct Rule {
    config: RelabelConfig,
    regex: GoReplacer,
}

impl Relabeler {
    /// Compiles `configs`.
    ///
    /// # Errors
    ///
    /// `Invalid` in Prometheus' words.
    pub fn new(configs: impl IntoIterator<Item = RelabelConfig>) -> Result<Self> {
        let rules: Result<Vec<Rule>> = configs.into_iter().map(Rule::new).collect();
        Ok(Self { rules: rules? })
    }

    /// Compiles `configs`, none of which may have another action than `supported`.
    ///
    /// # Errors
    ///
    /// `Invalid` in the words of Prometheus and Thanos.
    pub fn with_actions(
        configs: impl IntoIterator<Item = RelabelConfig>,
        supported: &[RelabelAction],
    ) -> Result<Self> {
        let relabeler = Self::new(configs)?;
        let actions = relabeler.rules.iter().map(|rule| rule.config.action);
        match actions
            .into_iter()
            .find(|action| !supported.contains(action))
        {
            Some(other) => Err(Error::invalid(format!(
                "unsupported relabel action: {other}"
            ))),
            None => Ok(relabeler),
        }
    }

    /// Reports whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns what the rules make of `labels`, or nothing when they drop them.
    pub fn process(&self, labels: LabelsRef<'_>) -> Option<Labels> {
        let mut builder = LabelsBuilder::from_labels(labels);
        self.process_builder(&mut builder).then(|| builder.build())
    }

    /// Applies the rules to `labels`; `false` when they drop them, and then what is in `labels` means nothing.
    pub fn process_builder(&self, labels: &mut LabelsBuilder) -> bool {
        self.rules.iter().all(|rule| rule.apply(labels))
    }
}

impl fmt::Debug for Relabeler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.rules.iter().map(|rule| &rule.config))
            .finish()
    }
}

impl Rule {
    fn new(config: RelabelConfig) -> Result<Self> {
        config.validate()?;
        let regex = GoReplacer::new(&config.regex)?;
        Ok(Self { config, regex })
    }

    /// Applies the rule; `false` when it drops the labels.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let config = &self.config;
        let value = self.source_value(labels);
        let target_value = || labels.get(&config.target_label).unwrap_or_default();
        match config.action {
            RelabelAction::Keep => return self.matches(&value),
            RelabelAction::Drop => return !self.matches(&value),
            RelabelAction::KeepEqual => return target_value() == value,
            RelabelAction::DropEqual => return target_value() != value,
            RelabelAction::Replace => self.replace(labels, &value),
            RelabelAction::HashMod => {
                labels.set(
                    &config.target_label,
                    &hash_mod(&value, config.modulus).to_string(),
                );
            }
            RelabelAction::LabelMap => self.map_names(labels),
            RelabelAction::LabelDrop => {
                labels.retain(|name| !self.matches(name));
            }
            RelabelAction::LabelKeep => {
                labels.retain(|name| self.matches(name));
            }
            RelabelAction::Lowercase => {
                labels.set(&config.target_label, &map_case(&value, char::to_lowercase));
            }
            RelabelAction::Uppercase => {
                labels.set(&config.target_label, &map_case(&value, char::to_uppercase));
            }
        }
        true
    }

    fn matches(&self, text: &str) -> bool {
        self.regex.replace(text, "").is_some()
    }

    fn source_value(&self, labels: &LabelsBuilder) -> String {
        let names = self.config.source_labels.iter();
        let values: Vec<&str> = names
            .map(|name| labels.get(name).unwrap_or_default())
            .collect();
        values.join(&self.config.separator)
    }

    fn replace(&self, labels: &mut LabelsBuilder, value: &str) {
        let Some(target) = self.regex.replace(value, &self.config.target_label) else {
            return;
        };
        if target.is_empty() {
            return;
        }
        let replacement = self.regex.replace(value, &self.config.replacement);
        labels.set(&target, replacement.as_deref().unwrap_or_default());
    }

    /// Copies the labels whose names match to the names that the replacement makes of these.
    fn map_names(&self, labels: &mut LabelsBuilder) {
        let renamed = |(name, value): (&str, &str)| {
            let new = self.regex.replace(name, &self.config.replacement)?;
            Some((new, value.to_owned()))
        };
        let copies: Vec<(String, String)> = labels.iter().filter_map(renamed).collect();
        for (name, value) in copies.iter().filter(|(name, _)| !name.is_empty()) {
            labels.set(name, value);
        }
    }
}

/// Returns the remainder of a hash: the last eight bytes of the MD5, as Prometheus has always taken.
fn hash_mod(value: &str, modulus: u64) -> u64 {
    let digest: [u8; 16] = Md5::digest(value.as_bytes()).into();
    let mut last = [0; 8];
    last.copy_from_slice(&digest[8..]);
    // A modulus of 0 does not pass the validation.
    u64::from_be_bytes(last).checked_rem(modulus).unwrap_or(0)
}

/// Maps each character to one, as Go does: one that other cases write with several stays, but for the dotted capital I.
fn map_case<I: Iterator<Item = char>>(text: &str, map: fn(char) -> I) -> String {
    let one = |c: char| {
        let mut mapped = map(c);
        match (mapped.next(), mapped.next()) {
            (Some(only), None) => only,
            (Some(first), Some(_)) if c == '\u{130}' => first,
            _ => c,
        }
    };
    text.chars().map(one).collect()
}
