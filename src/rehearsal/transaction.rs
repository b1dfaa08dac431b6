//! The pure core of the rehearsal: frontend messages of any number of clients in, messages for the
//! one upstream connection and answers for the clients out.
//!
//! Upstream is inside one transaction from beginning to end. What a client believes to be a
//! transaction (the *virtual transaction*) is a savepoint in it: `RELEASE s; SAVEPOINT s` goes out
//! in the same write as the first message behind a virtual COMMIT, `ROLLBACK TO s` stands for
//! ROLLBACK. One client at a time is being served; the others wait for their turn.
//!
//! The code reads as a conversation: it writes messages and awaits their answers. Awaiting means
//! [`Surroundings::next`], so nothing here does I/O, reads a clock or draws a random number.
//!
//! Guarantees, whatever clients send: only [`Control`] becomes transaction control upstream; the
//! text of a client is executed only when it was read as something else; each answer of the server
//! is compared with what was expected, and the first one that does not fit ends the rehearsal.

mod answers;
mod batch;
mod carry_out;
mod client;
mod control;
mod conversation;
mod copy;
mod deferred;
mod ending;
mod event;
mod hearing;
mod order;
mod query;
mod reading;
mod replies;
mod session;
mod statements;
mod substitution;
mod turns;
mod upstream;
mod virtual_end;
mod virtual_transaction;

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

pub use control::{Control, Names, Savepoint};
pub use ending::Ending;
pub use event::{Answer, ClientId, Event, Note, Outlet, Output, Question, Surroundings, Welcome};
pub use replies::StatementId;

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
    /// The top transaction id, when the tripwires took one.
    pub top_xid: Option<u64>,
    /// The answer to [`COUNT_WRITERS`] before the first client.
    pub own_locks: u32,
    /// Tables below this size in bytes get the plain form of a CONCURRENTLY statement.
    pub substitute_below: u64,
    /// The lock timeout in force is ours, not the role's own.
    pub our_lock_timeout: bool,
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
    /// Whose settings and prepared statements the upstream session has.
    holder: Option<ClientId>,
    /// Who is being served.
    current: Option<ClientId>,
    unit: Unit,
    deferred: Deferred,
    session_touched: bool,
    impatient: bool,
    finishing: bool,
    statements: StatementId,
    virtual_transactions: u32,
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
            holder: None,
            current: None,
            unit: Unit::default(),
            deferred: Deferred::default(),
            session_touched: false,
            impatient: false,
            finishing: false,
            statements: 0,
            virtual_transactions: 0,
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
