//! What a statement is, by its leading words (manual, part "SQL Commands").

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
    /// VACUUM.
    Vacuum,
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

/// CREATE INDEX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateIndex {
    /// UNIQUE.
    pub unique: bool,
    /// CONCURRENTLY.
    pub concurrently: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The index; `None` lets the server choose.
    pub name: Option<Name>,
    /// ON ONLY: a partitioned table without its partitions.
    pub only: bool,
    /// The table or materialized view.
    pub relation: Option<QualifiedName>,
}

/// DROP INDEX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIndex {
    /// CONCURRENTLY.
    pub concurrently: bool,
    /// IF EXISTS.
    pub if_exists: bool,
    /// The indexes.
    pub names: Vec<QualifiedName>,
    /// CASCADE.
    pub cascade: bool,
}

/// REINDEX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reindex {
    /// What is rebuilt.
    pub target: ReindexTarget,
    /// CONCURRENTLY, as a word or as an option.
    pub concurrently: bool,
    /// The index, table, schema or database; DATABASE and SYSTEM may do without one.
    pub name: Option<QualifiedName>,
}

/// The kinds of REINDEX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReindexTarget {
    /// One index, or those of the partitions of a partitioned one.
    Index,
    /// All of a table.
    Table,
    /// All of a schema.
    Schema,
    /// All of the database but the system catalogues.
    Database,
    /// Those of the system catalogues.
    System,
}

/// ALTER TABLE … DETACH PARTITION … {CONCURRENTLY | FINALIZE}.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachPartition {
    /// The partitioned table.
    pub table: QualifiedName,
    /// The partition.
    pub partition: QualifiedName,
    /// FINALIZE: the second half of an interrupted CONCURRENTLY.
    pub finalize: bool,
}

/// What belongs to the server rather than to the database, or reaches out to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerObject {
    /// ALTER SYSTEM.
    AlterSystem,
    /// CREATE DATABASE.
    CreateDatabase,
    /// DROP DATABASE.
    DropDatabase,
    /// ALTER DATABASE … SET TABLESPACE.
    MoveDatabase,
    /// CREATE TABLESPACE.
    CreateTablespace,
    /// DROP TABLESPACE.
    DropTablespace,
    /// CREATE SUBSCRIPTION: without `connect = false` it makes a slot on the publisher.
    CreateSubscription,
    /// ALTER SUBSCRIPTION: some of its forms only.
    AlterSubscription,
    /// DROP SUBSCRIPTION: while it has a slot.
    DropSubscription,
}

/// CREATE TABLE, CREATE TABLE AS, SELECT INTO, CREATE FOREIGN TABLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable {
    /// TEMPORARY, or a name in `pg_temp`.
    pub temporary: bool,
    /// FOREIGN.
    pub foreign: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The table; `None` if its name could not be read.
    pub name: Option<QualifiedName>,
    /// ON COMMIT, for temporary tables.
    pub on_commit: OnCommit,
}

/// What a COMMIT does to a temporary table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCommit {
    /// PRESERVE ROWS.
    #[default]
    Preserve,
    /// DELETE ROWS.
    DeleteRows,
    /// DROP.
    Drop,
}

/// A statement that defines or administers an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// What is done.
    pub verb: Verb,
    /// To what kind of object.
    pub object: Object,
    /// To which, if it is one and its name could be read.
    pub name: Option<QualifiedName>,
    /// TEMPORARY, or a name in `pg_temp`.
    pub temporary: bool,
}

/// The verbs of DDL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// CREATE.
    Create,
    /// ALTER.
    Alter,
    /// DROP.
    Drop,
    /// COMMENT.
    Comment,
    /// GRANT.
    Grant,
    /// REVOKE.
    Revoke,
    /// REASSIGN OWNED.
    Reassign,
    /// REFRESH MATERIALIZED VIEW.
    Refresh,
    /// IMPORT FOREIGN SCHEMA.
    Import,
    /// SECURITY LABEL.
    SecurityLabel,
}

/// The kinds of objects that are told apart; all others are [`Object::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// TABLE.
    Table,
    /// FOREIGN TABLE.
    ForeignTable,
    /// INDEX.
    Index,
    /// VIEW.
    View,
    /// MATERIALIZED VIEW.
    MaterializedView,
    /// SEQUENCE.
    Sequence,
    /// SCHEMA.
    Schema,
    /// TYPE.
    Type,
    /// DOMAIN.
    Domain,
    /// FUNCTION, PROCEDURE, ROUTINE, AGGREGATE.
    Routine,
    /// TRIGGER, also CONSTRAINT TRIGGER.
    Trigger,
    /// EVENT TRIGGER.
    EventTrigger,
    /// RULE.
    Rule,
    /// POLICY.
    Policy,
    /// EXTENSION.
    Extension,
    /// ROLE, USER, GROUP.
    Role,
    /// USER MAPPING.
    UserMapping,
    /// SERVER, FOREIGN DATA WRAPPER.
    ForeignServer,
    /// PUBLICATION.
    Publication,
    /// SUBSCRIPTION.
    Subscription,
    /// DATABASE.
    Database,
    /// Everything else.
    Other,
}
