//! What a statement is, by its leading words (manual, part "SQL Commands").

mod definition;
mod session;
mod transaction;

pub use definition::{
    CreateIndex, CreateTable, Ddl, DetachPartition, DropIndex, Object, OnCommit, Reindex,
    ReindexTarget, ServerObject, Verb,
};
pub use session::{Constraints, Cursor, Discard, Prepared, Scope, Setting, Value};
pub use transaction::{Control, Isolation, TransactionModes};

use super::name::{Name, QualifiedName};

/// One statement. What needs no treatment of its own is [`Command::Ddl`] or
/// [`Command::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// No token at all.
    Empty,
    /// Begins, ends or marks a transaction.
    Control(Control),
    /// Begins with a word of transaction control and is none that the grammar knows. The server
    /// will say what is wrong, to a Parse; it is never to be executed.
    MalformedControl,
    /// SET, RESET, SHOW.
    Setting(Setting),
    /// DISCARD.
    Discard(Discard),
    /// DECLARE, FETCH, MOVE, CLOSE.
    Cursor(Cursor),
    /// PREPARE, EXECUTE, DEALLOCATE.
    Prepared(Prepared),
    /// LISTEN.
    Listen(Name),
    /// UNLISTEN; `None` is `*`.
    Unlisten(Option<Name>),
    /// NOTIFY.
    Notify,
    /// LOCK.
    Lock,
    /// COPY.
    Copy(CopyCommand),
    /// DO.
    Do,
    /// CALL.
    Call,
    /// EXPLAIN of another statement.
    Explain {
        /// Whether the statement is run.
        analyze: bool,
        /// The statement.
        inner: Box<Command>,
    },
    /// SELECT, VALUES, TABLE, WITH.
    Query(Query),
    /// INSERT, UPDATE, DELETE, MERGE.
    Modify,
    /// TRUNCATE.
    Truncate,
    /// CREATE INDEX.
    CreateIndex(CreateIndex),
    /// DROP INDEX.
    DropIndex(DropIndex),
    /// REINDEX.
    Reindex(Reindex),
    /// ALTER TABLE … DETACH PARTITION, in one of the forms that take two transactions.
    DetachPartition(DetachPartition),
    /// VACUUM of these tables; of all if there is none.
    Vacuum(Vec<QualifiedName>),
    /// ANALYZE.
    Analyze,
    /// CLUSTER; `None` is every table that was clustered before.
    Cluster(Option<QualifiedName>),
    /// CHECKPOINT.
    Checkpoint,
    /// LOAD.
    Load,
    /// ALTER SYSTEM, and what concerns databases, tablespaces and subscriptions.
    Server(ServerObject),
    /// CREATE TABLE, in all its forms.
    CreateTable(CreateTable),
    /// ALTER SEQUENCE.
    AlterSequence {
        /// The sequence; `None` if its name could not be read.
        name: Option<QualifiedName>,
        /// Whether RESTART is among the options.
        restart: bool,
    },
    /// ALTER TYPE … ADD VALUE: the value cannot be used before a commit.
    AddEnumValue(QualifiedName),
    /// Any other statement that defines or administers objects.
    Ddl(Ddl),
    /// No command of PostgreSQL begins like this.
    Unknown,
}

/// COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyCommand {
    /// FROM rather than TO.
    pub from: bool,
    /// The other end; `None` if it could not be told, which the server will refuse.
    pub end: Option<CopyEnd>,
}

/// Where COPY reads from or writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyEnd {
    /// STDIN or STDOUT: the connection.
    Client,
    /// A file of the server.
    File,
    /// A program on the server.
    Program,
}

/// SELECT and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The table that SELECT INTO creates.
    pub into: Option<CreateTable>,
}
