//! SQL, as far as a rehearsal must understand it: cut into statements by a lexer, told apart by the
//! leading words, never parsed; but for the definitions of constraints.
//!
//! PostgreSQL manual: "Lexical Structure" for the lexer, "Multiple Statements in a Simple Query"
//! for the cutting, the reference pages of "SQL Commands" for the leading words.
//!
//! Nothing here is trusted to keep a commit from happening: the server is asked to refuse a second
//! command in a piece, the transaction's tripwires make a COMMIT fail, and every answer is checked.
//! What is promised is that a statement that begins with a transaction control word is never called
//! anything but [`Command::Control`] or [`Command::MalformedControl`].

mod arguments;
mod body;
mod calls;
mod classify;
mod command;
mod constant;
pub mod constraint;
mod effect;
mod encoding;
mod lexer;
mod literal;
#[cfg(test)]
mod model;
mod name;
mod redact;
mod refusal;
mod rewrite;
mod split;
mod tokens;

pub use calls::Calls;
pub use classify::classify;
pub use command::{
    Command, Constraints, Control, CopyCommand, CopyEnd, CreateIndex, CreateTable, Cursor, Ddl,
    DetachPartition, Discard, DropIndex, Isolation, Object, OnCommit, Prepared, Query, Reindex,
    ReindexTarget, Scope, ServerObject, Setting, TransactionModes, Value, Verb,
};
pub use constant::constant;
pub use effect::Effect;
pub use encoding::ClientEncoding;
pub use lexer::{LexSettings, Lexer, StringKind, Token, TokenKind, Unterminated};
pub use name::{Name, QualifiedName};
pub use redact::{Redacted, redact};
pub use refusal::{Refusal, RefusalCause, SequenceRef, refusal};
pub use rewrite::{with_prepared_name, without_concurrently};
pub use split::{Problem, ProblemKind, Script, Statement};
