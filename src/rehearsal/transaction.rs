//! The pure core of the rehearsal: frontend messages of any number of clients in, messages for the
//! one upstream connection and answers for the clients out.
//!
//! # Virtual transactions
//!
//! Upstream is inside one transaction from beginning to end, and it is never committed. What a
//! client believes to be a transaction is the *virtual transaction*, and what it really is, is a
//! savepoint. There is only one, `s`; it is moved along:
//!
//! | the client says | upstream hears |
//! |---|---|
//! | `BEGIN` | nothing yet |
//! | the first statement in it | `RELEASE s; SAVEPOINT s`, and the statement in the same write |
//! | more statements | the statements |
//! | `COMMIT` | the checks of deferred constraints, and nothing else: what happened stays |
//! | `ROLLBACK` | `ROLLBACK TO s` |
//! | a statement outside of a block (autocommit) | as a block of its own |
//!
//! The savepoint is released with the first statement *behind* a COMMIT, so an end costs no round
//! trip of its own. A failed block needs no emulation: the server itself answers 25P02 until
//! `ROLLBACK TO s`. What else a COMMIT does is done by hand at a virtual one: deferred constraints
//! (`deferred`), ON COMMIT of temporary tables (`temporary`), SET LOCAL (`settings`), the end
//! of cursors (`virtual_end`).
//!
//! One client at a time is served; the others wait for their `turns`, and what belongs to a
//! `session` is put by and put back when the turn changes.
//!
//! # How a statement goes its way
//!
//! 1. `turns` picks the client and its message: a `query` of the simple protocol, or a `batch`
//!    of the extended one.
//! 2. `reading` makes a `order::Statement` of the text: an `Order`,
//!    what is to be done with it, and `Traits`, what it may do to the session.
//! 3. An ordinary one is sent as it is (`conversation`). Any other is carried out (`carry_out`):
//!    blocks in `block`, CONCURRENTLY in `substitution`.
//! 4. Whatever is sent leaves the expected answers in `replies`. `hearing` compares each answer
//!    of the server with the first of them and passes it on, keeps it, or swallows it; an error may
//!    say something about the rehearsal itself (`causes`, `frozen_time`).
//!
//! The code reads as a conversation: it writes messages and awaits their answers. Awaiting means
//! [`Surroundings::next`], so nothing here does I/O, reads a clock or draws a random number.
//!
//! # Guarantees
//!
//! Whatever clients send: only [`Control`] becomes transaction control upstream; the text of a
//! client is executed only when it was read as something else; each answer of the server is
//! compared with what was expected, and the first one that does not fit ends the rehearsal.

mod answers;
mod aside;
mod batch;
mod block;
mod carry_out;
mod causes;
mod client;
mod control;
mod conversation;
mod copy;
mod deferred;
mod ending;
mod event;
mod examination;
mod frozen_time;
mod function;
mod hearing;
mod insertion;
mod order;
mod places;
mod query;
mod questions;
mod reading;
mod replies;
mod sent;
mod sequence;
mod session;
mod settings;
mod statements;
mod substitution;
mod temporary;
mod turns;
mod upstream;
mod violation;
mod virtual_end;
mod virtual_transaction;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;

pub use control::{Control, Names, Savepoint};
pub use ending::Ending;
pub use event::{
    Answer, ClientId, Event, Examination, Examined, HIGH_WATER, NotExamined, Note, Outlet, Output,
    Place, PlainLock, Question, Surroundings, Welcome,
};
pub use replies::StatementId;

use aside::{Aside, Turn};
use client::Client;
use deferred::Deferred;
use ending::Stop;
use upstream::Upstream;
use virtual_transaction::Unit;

use crate::rehearsal::wire::Frame;

/// A step of the conversation, which any unexpected answer ends.
type Flow<T> = Result<T, Stop>;

/// How many transaction ids the transaction and its open subtransactions hold: one takes an id, and
/// the lock on it, with its first write.
pub const COUNT_WRITERS: &str = "SELECT count(*) FROM pg_catalog.pg_locks \
    WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted \
    AND pid = pg_catalog.pg_backend_pid()";

/// What was settled before the first client.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Names of our own objects.
    pub names: Names,
    /// Settings as the server reported them at startup.
    pub parameters: Vec<(String, String)>,
    /// Settings that are put back whenever another client's turn comes.
    pub baseline: Vec<(String, String)>,
    /// The role that logged in.
    pub login: String,
    /// The top transaction id, when the tripwires took one.
    pub top_xid: Option<u64>,
    /// OIDs of all sequences that there were before the first client.
    pub sequences: BTreeSet<u32>,
    /// The answer to [`COUNT_WRITERS`] before the first client.
    pub own_locks: u32,
    /// Tables below this size in bytes get the plain form of a CONCURRENTLY statement.
    pub substitute_below: u64,
    /// How long rows that violate a constraint may be counted, in milliseconds.
    pub count_millis: u64,
    /// Whether statements are recorded as they were sent, too.
    pub show_values: bool,
    /// The lock timeout in force is ours, not the role's own.
    pub our_lock_timeout: bool,
    /// The role's own `statement_timeout` in milliseconds, which is for its statements and not for our
    /// questions; 0 for none.
    pub statement_timeout: u64,
    /// The constraint tripwire is set, and every role may run the block that tests it again.
    pub tests_tripwire: bool,
}

/// A transaction that cannot commit, with everybody who takes part in it.
pub struct Transaction<S> {
    around: S,
    output: Output,
    opening: Opening,
    upstream: Upstream,
    clients: BTreeMap<ClientId, Client>,
    joining: VecDeque<(ClientId, Welcome)>,
    questions: VecDeque<(Question, String)>,
    examinations: VecDeque<(Question, Examination)>,
    insertions: VecDeque<(Question, String)>,
    places: VecDeque<(Question, Place)>,
    place_is_set: bool,
    turns_aside: VecDeque<(Question, Turn)>,
    /// What is put back when a check has ended, while there is one.
    aside: Option<Aside>,
    /// Whose settings and prepared statements the upstream session has.
    holder: Option<ClientId>,
    /// Who is being served.
    current: Option<ClientId>,
    unit: Unit,
    deferred: Deferred,
    session_touched: bool,
    /// A client has made code that statements without a call may run.
    made_code: bool,
    impatient: bool,
    /// The client that is served has said something since somebody else was last impatient.
    progress: bool,
    finishing: bool,
    statements: StatementId,
    virtual_transactions: u32,
    /// Statements so far behind which one could go back.
    retreats: u32,
    /// Subtransactions with an id of their own that were kept so far.
    subtransactions: u64,
    /// Whether the virtual transaction that ends has written, where the watch has counted it.
    written: Option<bool>,
    refused: bool,
}

impl<S: Surroundings> Transaction<S> {
    /// Takes over an upstream session inside its transaction, tripwires set, nothing under way.
    pub fn new(opening: Opening, around: S) -> Self {
        let mut upstream = Upstream::new(opening.top_xid);
        for (name, value) in &opening.parameters {
            upstream
                .parameters
                .insert(name.clone().into_bytes(), value.clone().into_bytes());
        }
        Self {
            around,
            output: Output::default(),
            opening,
            upstream,
            clients: BTreeMap::new(),
            joining: VecDeque::new(),
            questions: VecDeque::new(),
            examinations: VecDeque::new(),
            insertions: VecDeque::new(),
            places: VecDeque::new(),
            place_is_set: false,
            turns_aside: VecDeque::new(),
            aside: None,
            holder: None,
            current: None,
            unit: Unit::default(),
            deferred: Deferred::default(),
            session_touched: false,
            made_code: false,
            impatient: false,
            progress: false,
            finishing: false,
            statements: 0,
            virtual_transactions: 0,
            retreats: 0,
            subtransactions: 0,
            written: None,
            refused: false,
        }
    }

    /// Converses until the end: [`Event::Finish`], a lost connection, or a slip. Gives the
    /// surroundings back, and what is still to be said to clients.
    pub async fn run(mut self) -> (Ending, S, Output) {
        let stop = match self.prepare().await {
            Ok(()) => self.take_turns().await,
            Err(stop) => Err(stop),
        };
        let ending = self.end(stop.err());
        (ending, self.around, self.output)
    }

    async fn prepare(&mut self) -> Flow<()> {
        Control::prepare(&self.opening.names, &mut self.output.upstream);
        for _ in 0..3 {
            self.expect_ours_parse();
        }
        self.prepare_watch();
        self.prepare_watch_over_id();
        self.prepare_tripwire_test();
        self.sync().await
    }

    fn for_client(&mut self) -> Option<&mut BytesMut> {
        let id = self.current?;
        let client = self.clients.get(&id)?;
        if client.gone {
            return None;
        }
        self.output
            .clients
            .get_mut(&id)
            .map(|outlet| &mut outlet.bytes)
    }

    fn pass(&mut self, frame: &Frame) {
        if let Some(out) = self.for_client() {
            out.extend_from_slice(frame.bytes());
        }
    }
}
