//! What changes the session (manual: SET, SET TRANSACTION, SET CONSTRAINTS, RESET, SHOW, DISCARD,
//! DECLARE, FETCH, MOVE, CLOSE, PREPARE, EXECUTE, DEALLOCATE).

use super::super::name::{Name, QualifiedName};
use super::TransactionModes;

/// SET, RESET and SHOW.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// SET of a configuration parameter.
    Set {
        /// SESSION or LOCAL.
        scope: Scope,
        /// The parameter in lower case, also for the special forms: SET TIME ZONE is `timezone`.
        name: String,
        /// What it is set to.
        value: Value,
    },
    /// SET TRANSACTION.
    Transaction(TransactionModes),
    /// SET TRANSACTION SNAPSHOT.
    TransactionSnapshot,
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SessionCharacteristics(TransactionModes),
    /// SET CONSTRAINTS.
    Constraints {
        /// Which ones.
        constraints: Constraints,
        /// DEFERRED or IMMEDIATE.
        deferred: bool,
    },
    /// RESET of one parameter.
    Reset(String),
    /// RESET ALL.
    ResetAll,
    /// SHOW of one parameter.
    Show(String),
    /// SHOW ALL.
    ShowAll,
}

/// How long a SET holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To the end of the session, if the transaction commits.
    Session,
    /// To the end of the transaction.
    Local,
}

/// What a parameter is set to.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// DEFAULT.
    Default,
    /// FROM CURRENT.
    FromCurrent,
    /// One word, number or string, quotes and escapes undone.
    Single(Vec<u8>),
    /// A list, or something that only the server understands.
    Other,
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The value of a parameter of the user's own may be a secret.
        f.write_str(match self {
            Self::Default => "Default",
            Self::FromCurrent => "FromCurrent",
            Self::Single(_) => "Single",
            Self::Other => "Other",
        })
    }
}

/// The constraints of a SET CONSTRAINTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraints {
    /// ALL.
    All,
    /// These.
    Named(Vec<QualifiedName>),
}

/// What DISCARD discards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// ALL: not possible in a transaction.
    All,
    /// PLANS.
    Plans,
    /// SEQUENCES.
    Sequences,
    /// TEMP.
    Temp,
}

/// Cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// DECLARE.
    Declare {
        /// The cursor.
        name: Name,
        /// WITH HOLD: outlives the transaction.
        hold: bool,
    },
    /// CLOSE; `None` is ALL.
    Close(Option<Name>),
    /// FETCH.
    Fetch,
    /// MOVE.
    Move,
}

/// Prepared statements of SQL, which share their names with the protocol's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// PREPARE.
    Prepare(Name),
    /// EXECUTE.
    Execute(Name),
    /// DEALLOCATE; `None` is ALL.
    Deallocate(Option<Name>),
}
