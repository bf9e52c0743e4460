//! What a rule says, and whether it makes sense.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::text::write_go_quoted;

/// The default of [`RelabelConfig::separator`].
const SEPARATOR: &str = ";";
/// The default of [`RelabelConfig::regex`].
const REGEX: &str = "(.*)";
/// The default of [`RelabelConfig::replacement`].
const REPLACEMENT: &str = "$1";

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Sets the target label to the replacement when the source matches.
    #[default]
    Replace,
    /// Drops label sets whose source does not match.
    Keep,
    /// Drops label sets whose source matches.
    Drop,
    /// Drops label sets whose source is not the value of the target label.
    KeepEqual,
    /// Drops label sets whose source is the value of the target label.
    DropEqual,
    /// Sets the target label to the remainder of a hash of the source.
    HashMod,
    /// Copies labels whose names match to new names.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl RelabelAction {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// Returns the action as configurations write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }
}

impl fmt::Display for RelabelAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RelabelAction {
    /// Reads the name of an action in any case.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let lower = text.to_lowercase();
        let found = Self::ALL
            .into_iter()
            .find(|action| action.as_str() == lower);
        found.ok_or_else(|| {
            serde::de::Error::custom(format_args!("unknown relabel action {}", Quoted(&text)))
        })
    }
}

/// A rule as `relabel_configs` have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelabelConfig {
    /// The labels whose values, joined, are the source.
    #[serde(
        deserialize_with = "null_as_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub source_labels: Vec<String>,
    /// What joins them.
    #[serde(
        deserialize_with = "null_as_empty",
        skip_serializing_if = "is_separator"
    )]
    pub separator: String,
    /// What the source, or the names of labels, must match as a whole: a regular expression of Go in which a dot matches
    /// a newline too.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "is_regex")]
    pub regex: String,
    /// The modulus of `hashmod`.
    #[serde(skip_serializing_if = "is_zero")]
    pub modulus: u64,
    /// The label that is set; `replace` fills in what groups of the expression matched.
    #[serde(
        deserialize_with = "null_as_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub target_label: String,
    /// What it is set to, filled in likewise.
    #[serde(
        deserialize_with = "null_as_empty",
        skip_serializing_if = "is_replacement"
    )]
    pub replacement: String,
    /// What the rule does.
    #[serde(skip_serializing_if = "is_replace")]
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: SEPARATOR.to_owned(),
            regex: REGEX.to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: REPLACEMENT.to_owned(),
            action: RelabelAction::default(),
        }
    }
}

impl RelabelConfig {
    /// Reports whether the parts of the rule go together; the expression is looked at when the rule is compiled.
    ///
    /// # Errors
    ///
    /// `Invalid` in Prometheus' words.
    pub fn validate(&self) -> Result<()> {
        use RelabelAction as Action;
        let action = self.action;
        if action == Action::HashMod && self.modulus == 0 {
            let message = "relabel configuration for hashmod requires non-zero modulus";
            return Err(Error::invalid(message));
        }
        match action {
            Action::Replace | Action::HashMod => self.validate_target(),
            Action::Lowercase | Action::Uppercase => {
                self.validate_target()?;
                self.validate_no_replacement()
            }
            Action::KeepEqual | Action::DropEqual => {
                self.validate_target()?;
                self.validate_no_replacement()?;
                let is_plain =
                    self.regex == REGEX && self.modulus == 0 && self.separator == SEPARATOR;
                let message =
                    "action requires only 'source_labels' and `target_label`, and no other fields";
                self.require(is_plain, message)
            }
            Action::LabelMap if self.replacement.is_empty() => {
                let message = format!("\"\" is invalid 'replacement' for {action} action");
                Err(Error::invalid(message))
            }
            Action::LabelDrop | Action::LabelKeep => {
                let is_plain = self.source_labels.is_empty()
                    && self.target_label.is_empty()
                    && self.modulus == 0
                    && self.separator == SEPARATOR
                    && self.replacement == REPLACEMENT;
                self.require(
                    is_plain,
                    "action requires only 'regex', and no other fields",
                )
            }
            Action::Keep | Action::Drop | Action::LabelMap => Ok(()),
        }
    }

    fn validate_target(&self) -> Result<()> {
        if !self.target_label.is_empty() {
            return Ok(());
        }
        let action = self.action;
        let message =
            format!("relabel configuration for {action} action requires 'target_label' value");
        Err(Error::invalid(message))
    }

    fn validate_no_replacement(&self) -> Result<()> {
        if self.replacement == REPLACEMENT {
            return Ok(());
        }
        let message = format!("'replacement' can not be set for {} action", self.action);
        Err(Error::invalid(message))
    }

    fn require(&self, is_so: bool, message: &str) -> Result<()> {
        match is_so {
            true => Ok(()),
            false => Err(Error::invalid(format!("{} {message}", self.action))),
        }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_go_quoted(f, self.0)
    }
}

/// Reads nothing as the empty value, as Go's YAML does.
fn null_as_empty<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_separator(text: &str) -> bool {
    text == SEPARATOR
}

fn is_regex(text: &str) -> bool {
    text == REGEX
}

fn is_replacement(text: &str) -> bool {
    text == REPLACEMENT
}

fn is_zero(modulus: &u64) -> bool {
    *modulus == 0
}

fn is_replace(action: &RelabelAction) -> bool {
    *action == RelabelAction::Replace
}
