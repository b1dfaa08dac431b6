//! What to do about a Migration, decided from everything that was observed.
//!
//! [`decide`] is a total function of a [`World`]: it reads no clock and remembers nothing, so a
//! controller that was killed at any step goes on where the cluster stands. The status in its answer
//! is written before its effects are performed; intent is therefore on record before a Job exists.

mod advance;
mod attempt;
mod commands;
mod decide;
mod effect;
mod history;
mod outcome;
mod pods;
mod problem;
mod release;
mod retry;
mod standing;
mod transition;
mod unaccepted;
mod upkeep;
mod withdraw;
mod world;

pub use decide::decide;
pub use effect::{Decision, Effect};
pub use pods::{RunPod, Step};
pub use problem::Problem;
pub use transition::{Severity, Transition, transitions};
pub use world::{AppPod, Figures, GonePod, KeptMap, ObservedJob, StoredReport, Unfetched, World};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
