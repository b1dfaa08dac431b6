//! What a run says: one verdict, its cause, the exit code that is public API, and the proof that an
//! upgrade needs.
//!
//! Exit codes are read by `podFailurePolicy` and by CI, so a number never changes its meaning.

mod exit_code;
mod verified;

pub use exit_code::ExitCode;
pub use verified::{EvidenceDigest, NotVerified, RollbackProof, Verified};

use serde::{Deserialize, Serialize};

/// The outcome of one run: of a rehearsal, of an upgrade, or of both.
///
/// "Cannot be rehearsed" is an answer of its own ([`Verdict::NotRehearsed`]): it is neither a pass
/// nor a failure of the migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "verdict", content = "cause")]
pub enum Verdict {
    /// The command succeeded inside the rehearsal and the rollback was proven, or the upgrade
    /// landed exactly where the rehearsal predicted.
    Passed,
    /// The migration failed in the dry run.
    Failed,
    /// The command could not be rehearsed; nothing is known about the migration.
    NotRehearsed(NotRehearsed),
    /// It is not proven that the rehearsal left nothing behind.
    RollbackNotVerified,
    /// The rehearsal was ended because it would have hurt live traffic or ran past a limit.
    BudgetExceeded(Budget),
    /// The surroundings failed: no connection, a pooler, another run holds the lock, a command that
    /// cannot be started. Often worth a retry.
    Environment(Environment),
    /// The database is no longer in the state that was rehearsed; nothing was written.
    Drift,
    /// The real upgrade failed.
    UpgradeFailed(UpgradeFailure),
    /// The real upgrade succeeded but landed on another state than the rehearsal predicted.
    UpgradeDiverged,
    /// A person or the system stopped the run; it was rolled back and verified.
    Interrupted,
}

/// Why a command could not be rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum NotRehearsed {
    /// A statement that PostgreSQL refuses inside a transaction block (SQLSTATE 25001), or a type
    /// that may not be used before its transaction commits (55P04).
    CannotRunInTransaction,
    /// The command ended without ever connecting to the rehearsal.
    NeverConnected,
    /// A session of the command worked on the database without the rehearsal.
    WentAround,
    /// Two connections of the command wrote at the same time.
    InterleavedWriters,
    /// A constraint over columns that default to the transaction's time was violated only because
    /// time stands still inside one transaction.
    FrozenTime,
    /// COMMIT or ROLLBACK inside DO or CALL (SQLSTATE 2D000).
    TransactionControlInBlock,
    /// PREPARE TRANSACTION and its relatives.
    TwoPhaseCommit,
    /// Snapshot export or `SET TRANSACTION SNAPSHOT`.
    SnapshotExchange,
    /// A statement whose effect a rollback does not undo and that hurts production.
    EffectOutlivesRollback,
    /// The statement boundaries could not be known: a setting that decides them may have changed
    /// inside the string, or the client encoding does not tell.
    AmbiguousStatement,
    /// A message of the protocol that the rehearsal cannot follow: a portal bound to a statement
    /// that it has not seen.
    UnsupportedProtocol,
    /// A substitution for a CONCURRENTLY statement blocked live traffic, which the real form would
    /// not have done.
    SubstitutionBlockedTraffic,
    /// The migration ran into the rehearsal's own objects.
    RehearsalObjectTouched,
    /// In one transaction the whole migration needs more than half of the lock table.
    LockTable,
    /// The revisions are written for several databases, of which the rehearsal is of one; the others
    /// would really be migrated.
    SeveralDatabases,
}

/// Which limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Budget {
    /// A session of the application waited longer than `budgets.blocking` behind the rehearsal.
    Blocking,
    /// The rehearsal itself waited too long for a lock (SQLSTATE 55P03).
    LockWait,
    /// The whole rehearsal took longer than `budgets.duration`.
    Duration,
    /// An assertion took longer than `budgets.assertion`.
    Assertion,
    /// A check took longer than `budgets.check`.
    Check,
}

/// What in the surroundings was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Environment {
    /// No connection to the server: refused, unknown host, no answer.
    Unreachable,
    /// Wrong password or role, or a method that is refused (SQLSTATE class 28).
    AuthenticationFailed,
    /// The certificate does not satisfy `sslmode`.
    TlsFailed,
    /// The database does not exist (SQLSTATE 3D000).
    DatabaseMissing,
    /// The URL goes through a transaction-mode pooler.
    Pooler,
    /// Another run holds the advisory lock on this database.
    Busy,
    /// Sessions of an earlier run still exist.
    EarlierRunAlive,
    /// Somebody holds a lock on a relation that has to be read.
    Locked,
    /// The server is not one that drydock supports.
    UnsupportedServer,
    /// The server is in recovery or the role may only read.
    ReadOnly,
    /// The connections do not agree about the server, the database or the role.
    IdentityMismatch,
    /// The connection was lost in the middle of the run.
    ConnectionLost,
    /// The command could not be started.
    CommandNotStarted,
    /// A fixture could not be put in, so the command was not started.
    FixtureFailed,
    /// A file or a volume of the run failed.
    Storage,
    /// A secret, a variable or a file that the run needs is missing or malformed.
    Configuration,
}

/// Where a failed upgrade left the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum UpgradeFailure {
    /// The database is exactly in the state before: nothing was applied.
    NothingApplied,
    /// The command failed, but the database is exactly in the predicted state.
    AllApplied,
    /// Strictly between the two: some of it was applied.
    Partial,
    /// Nobody can know: the attempt was interrupted and the states do not tell. A person decides.
    Unknown,
}

impl Verdict {
    /// The process exit code; see [`ExitCode`].
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Passed => ExitCode::Passed,
            Self::Failed => ExitCode::Failed,
            Self::NotRehearsed(_) => ExitCode::NotRehearsed,
            Self::RollbackNotVerified => ExitCode::RollbackNotVerified,
            Self::BudgetExceeded(_) => ExitCode::BudgetExceeded,
            Self::Environment(_) => ExitCode::Environment,
            Self::Drift => ExitCode::Drift,
            Self::UpgradeFailed(_) => ExitCode::UpgradeFailed,
            Self::UpgradeDiverged => ExitCode::UpgradeDiverged,
            Self::Interrupted => ExitCode::Interrupted,
        }
    }

    /// Of two verdicts about one run, the one that must be reported.
    ///
    /// A rollback that is not proven outranks everything; then an exceeded budget, then "not
    /// rehearsed", then a failed migration, then the environment.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if other.rank() > self.rank() {
            other
        } else {
            self
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::RollbackNotVerified => 9,
            Self::UpgradeDiverged => 8,
            Self::UpgradeFailed(_) => 7,
            Self::BudgetExceeded(_) => 6,
            Self::NotRehearsed(_) => 5,
            Self::Failed => 4,
            Self::Drift => 3,
            Self::Environment(_) => 2,
            Self::Interrupted => 1,
            Self::Passed => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unproven_rollback_outranks_every_other_verdict() {
        for other in [
            Verdict::BudgetExceeded(Budget::Blocking),
            Verdict::NotRehearsed(NotRehearsed::NeverConnected),
            Verdict::Failed,
            Verdict::Drift,
            Verdict::Environment(Environment::Busy),
            Verdict::Passed,
        ] {
            assert_eq!(
                other.clone().worst(Verdict::RollbackNotVerified),
                Verdict::RollbackNotVerified
            );
            assert_eq!(
                Verdict::RollbackNotVerified.worst(other),
                Verdict::RollbackNotVerified
            );
        }
    }

    #[test]
    fn a_budget_outranks_not_rehearsed_which_outranks_a_failure_which_outranks_the_environment() {
        let order = [
            Verdict::Passed,
            Verdict::Environment(Environment::Unreachable),
            Verdict::Failed,
            Verdict::NotRehearsed(NotRehearsed::FrozenTime),
            Verdict::BudgetExceeded(Budget::Duration),
            Verdict::RollbackNotVerified,
        ];
        for pair in order.windows(2) {
            assert_eq!(pair[0].clone().worst(pair[1].clone()), pair[1]);
            assert_eq!(pair[1].clone().worst(pair[0].clone()), pair[1]);
        }
    }

    #[test]
    fn a_verdict_is_written_with_its_cause() {
        let text =
            serde_json::to_string(&Verdict::NotRehearsed(NotRehearsed::NeverConnected)).unwrap();
        assert_eq!(
            text,
            r#"{"verdict":"NotRehearsed","cause":"NeverConnected"}"#
        );
        assert_eq!(
            serde_json::to_string(&Verdict::Passed).unwrap(),
            r#"{"verdict":"Passed"}"#
        );
    }
}
