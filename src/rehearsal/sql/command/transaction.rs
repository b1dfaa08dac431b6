//! Transaction control (manual: BEGIN, START TRANSACTION, COMMIT, ROLLBACK, SAVEPOINT, RELEASE
//! SAVEPOINT, ROLLBACK TO SAVEPOINT, PREPARE TRANSACTION).

use super::super::name::Name;

/// Transaction control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// BEGIN.
    Begin(TransactionModes),
    /// START TRANSACTION: BEGIN with another command tag.
    StartTransaction(TransactionModes),
    /// COMMIT, END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(Name),
    /// RELEASE SAVEPOINT.
    Release(Name),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(Name),
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// COMMIT PREPARED.
    CommitPrepared,
    /// ROLLBACK PREPARED.
    RollbackPrepared,
}

impl Control {
    /// The command tag of success.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Begin(_) => "BEGIN",
            Self::StartTransaction(_) => "START TRANSACTION",
            Self::Commit { .. } => "COMMIT",
            Self::Rollback { .. } | Self::RollbackTo(_) => "ROLLBACK",
            Self::Savepoint(_) => "SAVEPOINT",
            Self::Release(_) => "RELEASE",
            Self::PrepareTransaction => "PREPARE TRANSACTION",
            Self::CommitPrepared => "COMMIT PREPARED",
            Self::RollbackPrepared => "ROLLBACK PREPARED",
        }
    }
}

/// The modes of a transaction, as far as the statement names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionModes {
    /// ISOLATION LEVEL.
    pub isolation: Option<Isolation>,
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// DEFERRABLE or NOT DEFERRABLE.
    pub deferrable: Option<bool>,
}

/// The isolation levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// READ UNCOMMITTED: the same as the next.
    ReadUncommitted,
    /// READ COMMITTED.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}
