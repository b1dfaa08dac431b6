//! What the pure core is told, and what it says.
//!
//! The core does no I/O and reads no clock: it waits by [`Surroundings::next`], and whoever
//! implements that writes [`Output`] to the sockets before it waits. Golden transcripts and
//! properties drive it with plain values.

use std::collections::BTreeMap;
use std::future::Future;

use bytes::BytesMut;

use super::replies::StatementId;
use crate::rehearsal::wire::Piece;
use crate::report::{Finding, ServerError, Violation};
use crate::verdict::Verdict;

/// One of the command's connections, counting from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// Upstream said something.
    Upstream(Piece),
    /// Upstream is gone.
    UpstreamClosed,
    /// A client was authenticated; settings of its startup packet, in order.
    Joined(ClientId, Welcome),
    /// A client said something.
    Client(ClientId, Piece),
    /// A client is gone.
    Left(ClientId),
    /// A CancelRequest with this client's key.
    Cancel(ClientId),
    /// A question of our own, to be answered inside the transaction.
    Ask(Question, String),
    /// A question of the user's, which may only read.
    Examine(Question, Examination),
    /// Rows of the user's, to be put in before the first client comes.
    Insert(Question, String),
    /// The place to which commands can be undone, once every client is gone.
    Place(Question, Place),
    /// A check of the user's begins, or is over: what it did is undone.
    Aside(Question, bool),
    /// Somebody has been waiting for its turn for long, while the client whose turn it is was
    /// silent.
    Impatient,
    /// The rehearsal is over.
    Finish,
}

/// Which question an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question(pub u64);

/// What a client's startup packet asked for, and the key under which it may cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Settings of the session.
    pub settings: Vec<(String, String)>,
    /// Our own BackendKeyData.
    pub process_id: i32,
    /// Our own secret.
    pub key: [u8; 4],
}

/// The rows of an answer, or the server's error.
pub type Answer = Result<Vec<Vec<Option<String>>>, ServerError>;

/// A question of the user's: whatever its text says, it reads, and no longer than it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// One query.
    pub sql: String,
    /// Its `statement_timeout`.
    pub budget_millis: u64,
}

/// What is done with the place in the transaction to which commands can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is set here.
    Set,
    /// All that came behind it is undone.
    Return,
}

/// What an examination found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// The first rows.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many there were, up to the bound of the count.
    pub found: u64,
    /// There were more than were counted.
    pub more: bool,
}

/// Why an examination has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotExamined {
    /// It was not sent; says why.
    Refused(String),
    /// The server's error.
    Server(ServerError),
}

/// Where the core writes.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes for upstream.
    pub upstream: BytesMut,
    /// Bytes for each client.
    pub clients: BTreeMap<ClientId, Outlet>,
    /// The statement that runs upstream is to be cancelled.
    pub cancel: bool,
    /// Somebody waits for its turn while the one whose turn it is is silent, or does not read.
    pub waiting: bool,
    /// Who hears what upstream says.
    pub served: Option<ClientId>,
    /// What is to be recorded.
    pub notes: Vec<Note>,
    /// A client's write is left, as the final count showed.
    pub wrote: bool,
    /// Answers to our own questions.
    pub answers: Vec<(Question, Answer)>,
    /// Answers to the user's, and whether their rows are in.
    pub examined: Vec<(Question, Result<Examined, NotExamined>)>,
    /// Orders about the place that were carried out.
    pub placed: Vec<Question>,
    /// Checks that may begin, or whose traces are gone.
    pub turned: Vec<Question>,
}

/// With more than this waiting to be written on one side, in bytes, the other side is not read.
pub const HIGH_WATER: usize = 256 * 1024;

/// Where the core writes for one client.
#[derive(Debug, Default)]
pub struct Outlet {
    /// Bytes to send.
    pub bytes: BytesMut,
    /// Nothing more should be read for now.
    pub full: bool,
    /// To be closed once the bytes are sent.
    pub close: bool,
}

impl Outlet {
    /// Whether the client has to read before there may be more for it.
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        self.bytes.len() >= HIGH_WATER
    }
}

/// A lock that the plain form of a CONCURRENTLY statement takes and the real one does not (manual,
/// "Explicit Locking").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainLock {
    /// The relation, as `pg_class.oid`.
    pub relation: u32,
    /// It keeps readers waiting, too (`ACCESS EXCLUSIVE`), and not only writers (`SHARE`).
    pub readers: bool,
}

impl PlainLock {
    /// Whether a session that wants the relation in that mode, in PostgreSQL's words, waits for it.
    #[must_use]
    pub fn stops(&self, relation: u32, mode: &str) -> bool {
        let reads = ["AccessShareLock", "RowShareLock", "ShareLock"].contains(&mode);
        self.relation == relation && (self.readers || !reads)
    }
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A statement was sent.
    Begun {
        /// Its number.
        statement: StatementId,
        /// Whose.
        client: ClientId,
        /// The virtual transaction, `None` in autocommit.
        transaction: Option<u32>,
        /// The text, literals of DML and passwords removed.
        text: String,
        /// Whether that is all of it.
        whole: bool,
        /// The text as it was sent, bind values filled in, where that is asked for and can be said.
        sent: Option<String>,
    },
    /// It completed, with this command tag.
    Done(StatementId, String),
    /// It failed.
    Failed(StatementId, ServerError),
    /// What is known of the rows at which it failed.
    Violated(StatementId, Violation),
    /// It never ran, since an earlier one failed.
    Skipped(StatementId),
    /// It ran in another form.
    Substituted {
        /// Which one.
        id: StatementId,
        /// What ran in its place; empty for nothing.
        by: String,
        /// What this locks harder than the real form does.
        locks: Vec<PlainLock>,
    },
    /// A reader should know.
    Finding(Finding),
    /// The verdict is no longer open. The first one counts within one rank.
    Verdict(Verdict, String),
    /// From here on it is about a check of the user's, or about the command again.
    Aside {
        /// About a check.
        begins: bool,
    },
    /// A client was told that it may go on.
    Ready {
        /// Which one.
        client: ClientId,
        /// The virtual transaction that it is in the middle of.
        transaction: Option<u32>,
    },
    /// The command has set timeouts on its transactions itself.
    OwnTimeouts,
    /// A virtual transaction, or an implicit one, ended.
    VirtualEnd {
        /// Committed, not rolled back.
        committed: bool,
        /// It may have written.
        writes: bool,
    },
}

/// Everything around the core.
pub trait Surroundings: Send {
    /// Sends what was written, then waits for the next thing to happen.
    fn next(&mut self, output: &mut Output) -> impl Future<Output = Event> + Send;
}
