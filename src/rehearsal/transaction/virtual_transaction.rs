//! What a client believes about its transaction.

use super::order::{Modes, Traits};
use crate::rehearsal::wire::TransactionStatus;

/// The state of a client's virtual transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Virtual {
    /// Not in a transaction block.
    #[default]
    Idle,
    /// In one.
    Open(Open),
    /// In a failed one.
    Failed(Open),
}

/// A transaction block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Open {
    /// Counts from 1 over all clients.
    pub number: u32,
    /// Its savepoint was set.
    pub started: bool,
    pub modes: Modes,
    /// What its statements may have done, all together.
    pub traits: Traits,
    /// A statement was sent.
    pub used: bool,
    /// A statement that writes was sent behind the last SAVEPOINT.
    pub wrote_behind_savepoint: bool,
    /// SET CONSTRAINTS was used.
    pub set_constraints: bool,
    /// Savepoints, cursors, settings: things that a parked transaction would lose.
    pub pinned: bool,
}

impl Virtual {
    /// What ReadyForQuery says.
    pub(super) fn status(&self) -> TransactionStatus {
        match self {
            Self::Idle => TransactionStatus::Idle,
            Self::Open(_) => TransactionStatus::InTransaction,
            Self::Failed(_) => TransactionStatus::Failed,
        }
    }

    pub(super) fn number(&self) -> Option<u32> {
        match self {
            Self::Idle => None,
            Self::Open(open) | Self::Failed(open) => Some(open.number),
        }
    }
}

/// One simple Query, or one batch of the extended protocol up to its Sync: outside a transaction
/// block it is an implicit transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// The savepoint was set.
    pub started: bool,
    pub traits: Traits,
    /// SET CONSTRAINTS was used.
    pub set_constraints: bool,
    /// A Query of several statements.
    pub many: bool,
    /// Statements so far, since the last end of a transaction.
    pub statements: u32,
}

impl Unit {
    /// Goes on behind the end of a transaction.
    pub(super) fn restart(&mut self) {
        self.started = false;
        self.set_constraints = false;
        self.traits = Traits::default();
        self.statements = 0;
    }
}

impl Traits {
    /// What two statements may have done together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            writes: self.writes || other.writes,
            surely_writes: self.surely_writes || other.surely_writes,
            catalogue: self.catalogue || other.catalogue,
            changes_session: self.changes_session || other.changes_session,
            constraints: self.constraints || other.constraints,
            runs_code: self.runs_code || other.runs_code,
            calls: self.calls || other.calls,
            changes_lexing: self.changes_lexing || other.changes_lexing,
            sets_lock_timeout: self.sets_lock_timeout || other.sets_lock_timeout,
            makes_code: self.makes_code || other.makes_code,
            sets_pauses: self.sets_pauses || other.sets_pauses,
            changes_role: self.changes_role || other.changes_role,
        }
    }
}
