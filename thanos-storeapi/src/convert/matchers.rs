//! Matchers, and where compiled ones come from.

use thanos_core::error::{Error, Result};
use thanos_core::labels::{MatchOp, Matcher};

use crate::matchers::MatcherSource;
use crate::pb::thanos as pb;
use pb::label_matcher::Type;

pub(crate) fn matchers_to_pb(matchers: &[Matcher]) -> Vec<pb::LabelMatcher> {
    let convert = |matcher: &Matcher| pb::LabelMatcher {
        r#type: match matcher.op() {
            MatchOp::Equal => Type::Eq,
            MatchOp::NotEqual => Type::Neq,
            MatchOp::Regex => Type::Re,
            MatchOp::NotRegex => Type::Nre,
        }
        .into(),
        name: matcher.name().to_owned(),
        value: matcher.value().to_owned(),
    };
    matchers.iter().map(convert).collect()
}

/// Returns the matchers, made by `source`.
pub(crate) fn matchers_from_pb(
    matchers: &[pb::LabelMatcher],
    source: &dyn MatcherSource,
) -> Result<Vec<Matcher>> {
    let convert = |matcher: &pb::LabelMatcher| {
        let unknown = |_| Error::invalid(format!("unknown matcher type {}", matcher.r#type));
        let op = match Type::try_from(matcher.r#type).map_err(unknown)? {
            Type::Eq => MatchOp::Equal,
            Type::Neq => MatchOp::NotEqual,
            Type::Re => MatchOp::Regex,
            Type::Nre => MatchOp::NotRegex,
        };
        source.matcher(op, &matcher.name, &matcher.value)
    };
    matchers.iter().map(convert).collect()
}
