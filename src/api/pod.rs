//! What the controller's Jobs and the steps inside their pods agree on.

/// The container that copies the binary and ends a hopeless run early (init).
pub const PREPARE: &str = "prepare";
/// The container that holds the rehearsal (native sidecar, dry run).
pub const REHEARSAL: &str = "rehearsal";
/// The container that guards the upgrade (native sidecar, upgrade).
pub const GUARD: &str = "guard";
/// The container that runs the user's command, in the user's image.
pub const MIGRATION: &str = "migration";
/// The container that proves the result and prints the report.
pub const WITNESS: &str = "witness";

/// The volume with the binary, and where it is mounted.
pub const BIN_VOLUME: &str = "drydock-bin";
/// Mount path of [`BIN_VOLUME`].
pub const BIN_PATH: &str = "/drydock-bin";
/// The binary as the runner is started.
pub const BIN: &str = "/drydock-bin/drydock";
/// The volume that only drydock's own containers share.
pub const WORK_VOLUME: &str = "drydock-work";
/// Mount path of [`WORK_VOLUME`].
pub const WORK_PATH: &str = "/drydock-work";
/// The volume that the runner shares with the sidecar.
pub const RESULTS_VOLUME: &str = "drydock-results";
/// Mount path of [`RESULTS_VOLUME`].
pub const RESULTS_PATH: &str = "/drydock-results";
/// The volume with the stored report of the dry run (upgrade only).
pub const EVIDENCE_VOLUME: &str = "drydock-evidence";
/// Mount path of [`EVIDENCE_VOLUME`].
pub const EVIDENCE_PATH: &str = "/drydock-evidence";
/// The key of the stored report in its ConfigMap, and the file's name in [`EVIDENCE_PATH`].
pub const REPORT_KEY: &str = "report.json.gz";
/// The key of the witness's summary in the ConfigMap of a report.
pub const SUMMARY_KEY: &str = "summary.json";
/// The volume with certificates.
pub const TLS_VOLUME: &str = "drydock-tls";
/// Mount path of [`TLS_VOLUME`].
pub const TLS_PATH: &str = "/drydock-tls";
/// Certificate authorities (`database.tls.caFrom`).
pub const TLS_CA: &str = "/drydock-tls/ca.crt";
/// The client's certificate (`database.tls.certFrom`).
pub const TLS_CERT: &str = "/drydock-tls/tls.crt";
/// The client's key (`database.tls.certFrom`).
pub const TLS_KEY: &str = "/drydock-tls/tls.key";

/// The run's id.
pub const ENV_RUN: &str = "DRYDOCK_RUN";
/// The attempt, counting from 1.
pub const ENV_ATTEMPT: &str = "DRYDOCK_ATTEMPT";
/// The specification as JSON.
pub const ENV_SPEC: &str = "DRYDOCK_SPEC";
/// The digest of the stored report (upgrade only).
pub const ENV_EVIDENCE: &str = "DRYDOCK_EVIDENCE";
/// The database's URL.
pub const ENV_DATABASE_URL: &str = "DRYDOCK_DATABASE_URL";
/// The database's host, when it is given in parts.
pub const ENV_DATABASE_HOST: &str = "DRYDOCK_DATABASE_HOST";
/// The database's port, when it is given in parts.
pub const ENV_DATABASE_PORT: &str = "DRYDOCK_DATABASE_PORT";
/// The database's name, when it is given in parts.
pub const ENV_DATABASE_NAME: &str = "DRYDOCK_DATABASE_NAME";
/// The role, when the database is given in parts.
pub const ENV_DATABASE_USER: &str = "DRYDOCK_DATABASE_USER";
/// The password, when the database is given in parts.
pub const ENV_DATABASE_PASSWORD: &str = "DRYDOCK_DATABASE_PASSWORD";
