//! The cluster: Migrations, their Jobs, and the gate.
//!
//! The pure parts decide ([`pipeline`], [`gate`]) and build ([`resources`]); the controller observes
//! and acts. None of them ever connects to a database or reads a Secret.

pub mod controller;
pub mod gate;
pub mod pipeline;
pub mod reports;
pub mod resources;
pub mod wait;
