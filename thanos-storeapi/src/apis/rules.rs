//! Recording and alerting rules, with the alerts that they have raised.

use std::fmt;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::time::UtcTime;

use super::Answer;
use crate::store::PartialResponse;
use crate::tenant::TenantId;

/// A request for rules.
#[derive(Debug, Clone, Default)]
pub struct RulesRequest {
    /// Which kind of rule.
    pub kind: RuleKinds,
    /// Conditions on the labels of rules (`match[]`): all of the sets must match, as in Prometheus.
    pub matchers: Vec<Vec<Matcher>>,
    /// The names of rules that are wanted; none means all.
    pub rule_names: Vec<String>,
    /// The names of groups that are wanted; none means all.
    pub rule_groups: Vec<String>,
    /// The files whose groups are wanted; none means all.
    pub files: Vec<String>,
    /// What a fan-out does when a component fails.
    pub partial_response: PartialResponse,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
    /// Where the memory of an answer over the network comes from. A fan-out has a budget of its own.
    pub budget: MemoryBudget,
}

/// Which kinds of rules are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RuleKinds {
    /// Both.
    #[default]
    All,
    /// Alerting rules.
    Alerting,
    /// Recording rules.
    Recording,
}

/// Rules that are evaluated one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleGroup {
    /// The name, unique in its file.
    pub name: String,
    /// The file that defines it.
    pub file: String,
    /// Its rules, in the order of their evaluation.
    pub rules: Vec<Rule>,
    /// Seconds from one evaluation to the next.
    pub interval_secs: f64,
    /// Seconds that the last evaluation took.
    pub evaluation_secs: f64,
    /// When it was evaluated last; [`UtcTime::GO_ZERO`] for never.
    pub last_evaluation: UtcTime,
    /// The most series that a rule of it may make; 0 means any number.
    pub limit: i64,
    /// What its queries do when a store fails.
    pub partial_response: PartialResponse,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Writes a series.
    Recording(RecordingRule),
    /// Raises alerts.
    Alerting(AlertingRule),
}

/// A rule that writes series.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingRule {
    /// The name of its series.
    pub name: String,
    /// The expression.
    pub query: String,
    /// Labels of its series, external labels among them.
    pub labels: Labels,
    /// `ok`, `err` or `unknown`.
    pub health: String,
    /// Why the last evaluation failed; empty if it did not.
    pub last_error: String,
    /// Seconds that the last evaluation took.
    pub evaluation_secs: f64,
    /// When it was evaluated last; [`UtcTime::GO_ZERO`] for never.
    pub last_evaluation: UtcTime,
}

/// A rule that raises alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingRule {
    /// The highest state among its alerts.
    pub state: AlertState,
    /// The name of its alerts.
    pub name: String,
    /// The expression.
    pub query: String,
    /// Seconds for which the expression must hold before an alert fires.
    pub duration_secs: f64,
    /// Seconds for which an alert goes on firing when the expression does not hold any more.
    pub keep_firing_for_secs: f64,
    /// Labels of its alerts, external labels among them.
    pub labels: Labels,
    /// Annotations of its alerts.
    pub annotations: Labels,
    /// Its alerts.
    pub alerts: Vec<AlertInstance>,
    /// `ok`, `err` or `unknown`.
    pub health: String,
    /// Why the last evaluation failed; empty if it did not.
    pub last_error: String,
    /// Seconds that the last evaluation took.
    pub evaluation_secs: f64,
    /// When it was evaluated last; [`UtcTime::GO_ZERO`] for never.
    pub last_evaluation: UtcTime,
}

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertInstance {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Its state.
    pub state: AlertState,
    /// Since when the expression holds, if it does.
    pub active_at: Option<UtcTime>,
    /// The value of the expression, as text.
    pub value: String,
    /// What the query behind it did about a store that fails.
    pub partial_response: PartialResponse,
}

/// The state of an alert, or of a rule: that of its most urgent alert. Greater is more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AlertState {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// The expression does not hold.
    Inactive,
    /// It does, but not for long enough.
    Pending,
    /// It does.
    Firing,
}

/// Answers with rules.
#[async_trait]
pub trait RulesApi: fmt::Debug + Send + Sync + 'static {
    /// Returns the groups of rules that the request asks for, without groups of which no rule is left.
    ///
    /// # Errors
    ///
    /// Whatever keeps them from being read.
    async fn rules(&self, request: RulesRequest) -> Result<Answer<Vec<RuleGroup>>>;
}
