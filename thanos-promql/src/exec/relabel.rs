//! `label_replace` and `label_join`: set one label of each series.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME};
use thanos_core::re2::GoReplacer;

use super::context::Context;
use super::grid::Grid;
use super::operator::{BoxOperator, Operator};
use super::tile::Tile;
use crate::error::{Error, Result};

/// Up to so many bytes a value is not worth a lease: a tile holds few.
const FREE_BYTES: usize = 4 << 10;

/// How the new value is made.
#[derive(Debug)]
pub(crate) enum LabelEdit {
    /// The template, filled with the groups of the expression when it matches the source label.
    Replace {
        destination: String,
        template: String,
        source: String,
        regex: GoReplacer,
    },
    /// The source labels, joined.
    Join {
        destination: String,
        separator: String,
        sources: Vec<String>,
    },
}

impl LabelEdit {
    /// Returns the edit of `label_replace(v, destination, template, source, pattern)`.
    pub(crate) fn replace(args: [&str; 4]) -> Result<Self> {
        let [destination, template, source, pattern] = args;
        let regex = GoReplacer::new(pattern).map_err(|error| {
            let text = format!("invalid regular expression in label_replace(): {pattern}");
            Error::execution(text).with_source(error)
        })?;
        if destination.is_empty() {
            return Err(Error::execution(
                "invalid destination label name in label_replace(): ",
            ));
        }
        Ok(Self::Replace {
            destination: destination.to_owned(),
            template: template.to_owned(),
            source: source.to_owned(),
            regex,
        })
    }

    /// Returns the edit of `label_join(v, destination, separator, sources...)`.
    pub(crate) fn join(destination: &str, separator: &str, sources: Vec<String>) -> Result<Self> {
        if sources.iter().any(String::is_empty) {
            return Err(Error::execution(
                "invalid source label name in label_join(): ",
            ));
        }
        if destination.is_empty() {
            return Err(Error::execution(
                "invalid destination label name in label_join(): ",
            ));
        }
        Ok(Self::Join {
            destination: destination.to_owned(),
            separator: separator.to_owned(),
            sources,
        })
    }

    fn destination(&self) -> &str {
        match self {
            Self::Replace { destination, .. } | Self::Join { destination, .. } => destination,
        }
    }

    /// Returns the most bytes that [`LabelEdit::value`] can have.
    fn value_bytes_max(&self, labels: &Labels) -> usize {
        let len = |name: &String| labels.get(name).unwrap_or_default().len();
        match self {
            Self::Replace {
                template, source, ..
            } => {
                let groups = template.bytes().filter(|byte| *byte == b'$').count();
                template
                    .len()
                    .saturating_add(groups.saturating_mul(len(source)))
            }
            Self::Join {
                separator, sources, ..
            } => sources
                .iter()
                .map(|source| separator.len().saturating_add(len(source)))
                .fold(0, usize::saturating_add),
        }
    }

    /// Returns the new value of the destination label, or nothing to leave the series as it is.
    fn value(&self, labels: &Labels) -> Option<String> {
        match self {
            Self::Replace {
                template,
                source,
                regex,
                ..
            } => regex.replace(&labels.get(source).unwrap_or_default(), template),
            Self::Join {
                separator, sources, ..
            } => {
                let values: Vec<_> = sources
                    .iter()
                    .map(|source| labels.get(source).unwrap_or_default())
                    .collect();
                Some(values.join(separator))
            }
        }
    }
}

/// Sets one label of each series; series that become equal are left to the next operator.
#[derive(Debug)]
pub(crate) struct EditLabels {
    pub(crate) cx: Arc<Context>,
    pub(crate) input: BoxOperator,
    pub(crate) edit: LabelEdit,
}

#[async_trait]
impl Operator for EditLabels {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        self.cx.turn().await?;
        let Some(mut tile) = self.input.next().await? else {
            return Ok(None);
        };
        let destination = self.edit.destination();
        // An edit of an edit can double the length again and again.
        let mut lease = self.cx.lease(0)?;
        for index in 0..tile.len() {
            let id = tile.id_mut(index);
            let bytes = self.edit.value_bytes_max(&id.labels);
            if bytes > FREE_BYTES {
                lease.grow(2 * bytes as u64)?;
            }
            let Some(value) = self.edit.value(&id.labels) else {
                continue;
            };
            let mut builder = LabelsBuilder::from_labels(id.labels.as_ref());
            id.labels = builder.set(destination, &value).build();
            if destination == METRIC_NAME {
                id.drop_name = false;
            }
        }
        Ok(Some(tile))
    }
}
