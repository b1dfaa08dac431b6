//! The custom resource `Migration`: the one configuration language, in the cluster and with `-f`.
//!
//! The specification is data only; what it means is decided in `dock` (how a command is run) and in
//! `operator` (when). The CRD that the cluster validates with is generated from these structures
//! ([`crd`]), and a local file is checked against the very same schema ([`from_yaml`]).

mod assertion;
mod check;
mod database;
mod digest;
mod exposure;
mod file;
mod fixture;
mod migration;
mod names;
pub mod pod;
mod quantity;
pub mod reason;
mod schema;
mod status;
mod template;

pub use assertion::{AssertionSpec, Expectation};
pub use check::{CheckSpec, CheckTime};
pub use database::{
    CaSource, CertSource, ConfigMapKey, DatabaseSpec, DatabaseTls, ExposeAs, SecretKey,
    SecretSource,
};
pub use digest::{InputDigest, commands_digest, input_digest, mark};
pub use exposure::exposed_credentials;
pub use file::{FileError, from_yaml};
pub use fixture::FixtureSpec;
pub use migration::{
    AlembicSpec, BudgetSpec, CommandSpec, ConcurrentlySpec, Deniable, DryRunSpec, Migration,
    MigrationSpec, Rerun, UpgradeSpec,
};
pub use names::{
    ACCEPT_ANNOTATION, CATEGORY, DEFAULT_EXPOSED_URL, FIELD_MANAGER, FINALIZER, GATE,
    LABEL_MIGRATION, LABEL_PHASE, RELEASE_ANNOTATION, RETRY_ANNOTATION, RunPhase, UPGRADE_GATE,
    WAIT_FIELD_MANAGER, job_name, run_id,
};
pub use quantity::{Bytes, Duration, QuantityError};
pub use schema::{crd, crd_yaml};
pub use status::{
    Attempts, JobRecord, MigrationStatus, Outcome, Past, PastPhase, Phase, Released, Run,
    Unaccepted, condition, is_true,
};
pub use template::Template;
