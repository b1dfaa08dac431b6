//! drydock gates deploys on database migrations.
//!
//! A migration command runs, unmodified, against the real target database inside one transaction
//! that cannot commit (`rehearsal`); an independent connection proves that nothing was left behind
//! (`witness`); only then the real upgrade runs and must land exactly on the predicted schema; only
//! then new pods may start (`operator`). ARCHITECTURE.md says what each part must not know.

pub mod api;
pub mod cli;
pub mod dock;
pub mod guard;
pub mod operator;
pub mod postgres;
pub mod rehearsal;
pub mod report;
pub mod schema;
pub mod telemetry;
pub mod verdict;
pub mod witness;
