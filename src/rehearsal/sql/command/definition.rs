//! What defines objects, of a database or of the whole server (manual: CREATE …, ALTER …, DROP …,
//! REINDEX).

use super::super::name::{Name, QualifiedName};

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
