//! The compactor: keeps a bucket in order.
//!
//! ```text
//! sync -> delete marked blocks -> mark garbage -> group -> plan -> compact, until nothing is left
//!      -> leave deleted series out -> downsample, twice -> retention -> remove what broken uploads left
//! ```
//!
//! Deciding ([`planner`], [`passes`], [`retention`]) makes no request; carrying out is [`Work`]'s. Only one file deletes
//! (`clean`); everything else marks.
//!
//! There is no halt: what fails of a group fails for that group, the others go on, and retention and cleaning run whether
//! or not anything could be compacted. What failed is tried again by the next iteration.

mod clean;
mod compactor;
mod deletions;
mod garbage;
pub mod group;
pub mod job;
pub mod lease;
mod marks;
pub mod metrics;
pub mod passes;
pub mod planner;
pub mod progress;
pub mod quarantine;
pub mod retention;
mod rounds;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod view;
pub mod work;

pub use clean::PARTIAL_UPLOAD_AGE_MS;
pub use compactor::{Compactor, CompactorOptions};
pub use deletions::Deletion;
pub use group::{DefaultGrouper, Group, GroupKey, Grouper, Resolution};
pub use metrics::CompactMetrics;
pub use planner::{DEFAULT_RANGES_MS, DefaultPlanner, IndexGuard, Plan, PlanKind, Planner};
pub use progress::Progress;
pub use retention::{Downsampling, Retention};
pub use view::{CompactView, ViewOptions};
pub use work::{Hooks, NoHooks, Outcome, Work};
