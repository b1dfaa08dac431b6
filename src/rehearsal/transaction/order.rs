//! What a statement asks of the rehearsal.

use bytes::Bytes;

use super::control::STAND_IN;
use crate::rehearsal::sql::{OnCommit, QualifiedName, Redacted, Refusal};

/// One statement of a client, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// The text, without the semicolon that ends it.
    pub text: Bytes,
    /// The text for the record: literals of DML and passwords removed.
    pub redacted: Redacted,
    /// The types of its parameters as its Parse named them.
    pub types: Bytes,
    /// The text as it was sent, bind values filled in, where that is asked for and can be said.
    pub sent: Option<String>,
    /// Characters before it in the Query that it was cut from.
    pub shift: usize,
    /// The first parameter in it, unless it is one that a definition declares.
    pub parameter: Option<Parameter>,
    /// What is to be done with it.
    pub order: Order,
    /// What it may do to the session.
    pub traits: Traits,
}

/// `$1` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameter {
    pub number: u32,
    /// In characters of the statement's text, from 1.
    pub position: usize,
}

/// What is to be done with a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Sent upstream as it is.
    Ordinary,
    /// COPY … FROM STDIN: sent upstream, then data is expected.
    CopyIn,
    /// BEGIN, START TRANSACTION.
    Begin { start: bool, modes: Modes },
    /// COMMIT, END.
    Commit { chain: bool },
    /// ROLLBACK, ABORT.
    Rollback { chain: bool },
    /// SAVEPOINT with the folded name.
    Savepoint(Vec<u8>),
    /// RELEASE with the folded name.
    Release(Vec<u8>),
    /// ROLLBACK TO with the folded name.
    RollbackTo(Vec<u8>),
    /// SET TRANSACTION.
    SetTransaction(Modes),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetCharacteristics(Modes),
    /// SET or RESET of `default_transaction_read_only`, which outside of our transaction is on and
    /// keeps writes impossible. `None` is the default.
    SetReadOnlyDefault { reset: bool, value: Option<String> },
    /// RESET of a setting, with its command tag: SET … TO DEFAULT is one too.
    Reset(String, &'static str),
    /// RESET ALL.
    ResetAll,
    /// SET LOCAL of a setting.
    SetLocal(String),
    /// SET CONSTRAINTS.
    SetConstraints { all: bool, deferred: bool },
    /// A temporary table on which each COMMIT acts, by its quoted name.
    CreateTemporary { name: Vec<u8>, on_commit: OnCommit },
    /// LOCK TABLE: only in a transaction block.
    Lock,
    /// DECLARE of a cursor with the folded name.
    Declare { name: Vec<u8>, hold: bool },
    /// CLOSE of a cursor with the folded name.
    Close(Vec<u8>),
    /// CLOSE ALL.
    CloseAll,
    /// SQL PREPARE with the folded name.
    Prepare(Vec<u8>),
    /// SQL EXECUTE with the folded name.
    Execute(Vec<u8>),
    /// DEALLOCATE with the folded name.
    Deallocate(Vec<u8>),
    /// DEALLOCATE ALL.
    DeallocateAll,
    /// DISCARD ALL.
    DiscardAll,
    /// DISCARD TEMP.
    DiscardTemp,
    /// CREATE, DROP, REINDEX … CONCURRENTLY, DETACH PARTITION … CONCURRENTLY.
    Concurrently(Box<Concurrently>),
    /// VACUUM of these tables: skipped in autocommit.
    Vacuum(Vec<QualifiedName>),
    /// What no transaction block may hold and nothing can stand for.
    OutsideTransaction(&'static str),
    /// Transaction control that the grammar does not know, or several statements in a Parse: the
    /// server will say so to the Parse; it is never run.
    NeverRun,
    /// In an encoding that cannot be cut with certainty.
    Unreadable,
    /// Not to be sent, unless all that it does for good is moving sequences of this rehearsal.
    Refused(Box<Refusal>),
}

/// The modes that a transaction was begun with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Modes {
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// REPEATABLE READ or SERIALIZABLE.
    pub snapshot_isolation: bool,
    /// Any isolation level was named.
    pub isolation: bool,
}

/// A CONCURRENTLY form and what can stand for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Concurrently {
    pub kind: ConcurrentKind,
    /// The plain form.
    pub plain: Vec<u8>,
    /// The object, as it is written: a table for CREATE INDEX, else what is named.
    pub object: Vec<u8>,
    /// For DETACH PARTITION: the partition.
    pub partition: Vec<u8>,
    /// More than one name.
    pub several: bool,
    /// CASCADE.
    pub cascade: bool,
}

/// Which CONCURRENTLY form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConcurrentKind {
    CreateIndex,
    DropIndex,
    ReindexIndex,
    ReindexTable,
    DetachPartition,
}

/// What a statement may do to the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// It may write rows or change the catalogue.
    pub writes: bool,
    /// It writes, as far as can be seen.
    pub surely_writes: bool,
    /// It may change the list of deferrable constraints.
    pub constraints: bool,
    /// It may change the catalogue.
    pub catalogue: bool,
    /// It changes settings, prepared statements or the like.
    pub changes_session: bool,
    /// It is DO or CALL.
    pub runs_code: bool,
    /// It may run code that is not in its text: these, functions, what was prepared. An INSERT
    /// counts only where it surely does: its list of columns looks like a call.
    pub calls: bool,
    /// It may change how the rest of the string is read.
    pub changes_lexing: bool,
    /// The client set the lock timeout itself.
    pub sets_lock_timeout: bool,
    /// It makes code that statements without a call may run: a trigger, a function.
    pub makes_code: bool,
    /// It names a timeout that acts on the session between statements.
    pub sets_pauses: bool,
    /// It may change the role.
    pub changes_role: bool,
}

impl Statement {
    /// A statement that is sent as it is.
    #[cfg(test)]
    pub(super) fn ordinary(text: &'static [u8]) -> Self {
        Self {
            text: Bytes::from_static(text),
            redacted: Redacted::default(),
            types: Bytes::new(),
            sent: None,
            shift: 0,
            parameter: None,
            order: Order::Ordinary,
            traits: Traits::default(),
        }
    }

    /// Whether it is forwarded without any thought.
    pub(super) fn is_plain(&self) -> bool {
        matches!(
            self.order,
            Order::Ordinary
                | Order::CopyIn
                | Order::CreateTemporary { .. }
                | Order::Close(_)
                | Order::Prepare(_)
                | Order::Execute(_)
                | Order::Deallocate(_)
        )
    }

    /// Whether it is what a server lets through in a failed block.
    pub(super) fn ends_failed_block(&self) -> bool {
        matches!(
            self.order,
            Order::Commit { .. } | Order::Rollback { .. } | Order::RollbackTo(_)
        )
    }

    /// What is prepared upstream in the place of a statement that is never to run there: a client
    /// has other ways to a prepared statement than an Execute that we see (SQL EXECUTE, also inside
    /// a function; a portal that we took for a cursor). All of these have no parameters and no
    /// rows, and so has what stands in. `failed`: in a failed block, where the server refuses
    /// to parse all but what ends the block.
    pub(super) fn stand_in(&self, failed: bool) -> Option<&'static [u8]> {
        match self.order {
            _ if self.ends_failed_block() => Some(STAND_IN),
            Order::Begin { .. }
            | Order::Savepoint(_)
            | Order::Release(_)
            | Order::SetCharacteristics(_)
            | Order::SetReadOnlyDefault { .. }
            | Order::ResetAll
            | Order::CloseAll
            | Order::DeallocateAll
            | Order::DiscardTemp => Some(if failed { b"SELECT" } else { b"" }),
            _ => None,
        }
    }

    /// Whether a server would refuse to bind it in a failed block, though what stands in for it
    /// could be bound.
    pub(super) fn is_refused_when_failed(&self) -> bool {
        self.stand_in(true).is_some_and(|text| text != STAND_IN)
    }

    /// Whether the text itself may be executed upstream. Everything else is carried out by the
    /// rehearsal, and only described by the server.
    pub(super) fn may_run(&self) -> bool {
        matches!(
            self.order,
            Order::Ordinary
                | Order::CopyIn
                | Order::CreateTemporary { .. }
                | Order::Lock
                | Order::Reset(..)
                | Order::Declare { .. }
                | Order::SetLocal(_)
                | Order::SetConstraints { .. }
                | Order::Close(_)
                | Order::Prepare(_)
                | Order::Execute(_)
                | Order::Deallocate(_)
                | Order::SetTransaction(_)
                | Order::Refused(_)
                | Order::Concurrently(_)
                | Order::Vacuum(_)
                | Order::OutsideTransaction(_)
                | Order::DiscardAll
        )
    }
}
