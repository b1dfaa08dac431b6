//! Speaking to a PostgreSQL server: where it is, how to get in, who it is, and what it holds.
//!
//! Everything here reads. Nothing in this module writes to the server, the advisory lock aside.

pub mod ask;
pub mod catalog;
pub mod connect;
pub mod dialect;
pub mod identity;
pub mod lock;
pub mod tls;
pub mod url;
pub mod version_table;
pub mod wait;
