//! Running the user's commands: locally, and as the steps of a pod.
//!
//! The side that holds the database and the side that runs the command are the same two parts in
//! both places; only the `link` between them differs.

pub mod aftermath;
mod assertions;
pub mod before;
mod checks;
pub mod command;
pub mod console;
pub mod decide;
pub mod document;
pub mod files;
mod fixtures;
mod follow;
mod holding;
mod inspect;
pub mod lease;
pub mod link;
pub mod local;
mod moment;
pub mod plan;
pub mod pod;
pub mod record;
pub mod rehearse;
pub mod revisions;
mod round_trip;
mod rows;
pub mod runner;
mod timeouts;
pub mod tool;
pub mod trouble;
pub mod upgrade;
pub mod verify;
