//! Running the user's commands: locally, and as the steps of a pod.
//!
//! The side that holds the database and the side that runs the command are the same two parts in
//! both places; only the `link` between them differs.

pub mod command;
pub mod console;
pub mod decide;
pub mod document;
pub mod files;
pub mod link;
pub mod plan;
pub mod record;
pub mod runner;
pub mod tool;
pub mod trouble;
