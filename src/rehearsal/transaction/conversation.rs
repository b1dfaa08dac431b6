//! Writing messages upstream, and awaiting their answers.

use std::sync::Arc;

use super::client::Client;
use super::control::{Control, Savepoint, Shape};
use super::event::{Event, Surroundings};
use super::order::Statement;
use super::replies::{Addressee, Message, StatementId};
use super::turns::SILENT;
use super::upstream::{Copying, Point};
use super::{ClientId, Flow, Stop, Transaction, Turn};
use crate::rehearsal::wire::{Bind, Frame, Frontend, Parse, Piece, Target};
use crate::report::ServerError;

/// Rows in text form.
pub(super) type Rows = Vec<Vec<Option<String>>>;

impl<S: Surroundings> Transaction<S> {
    pub(super) fn expect(&mut self, message: Message, addressee: Addressee) {
        self.upstream.open = true;
        self.upstream.replies.push(message, addressee);
    }

    pub(super) fn expect_ours_parse(&mut self) {
        self.expect(Message::Parse(Vec::new(), None), Addressee::Ours);
    }

    /// Sends transaction control, which must succeed.
    pub(super) fn control(&mut self, control: &Control) {
        self.control_for(control, Addressee::Control(control.clone()));
    }

    /// Sends transaction control on behalf of the client, whose error it may be.
    pub(super) fn control_for(&mut self, control: &Control, addressee: Addressee) {
        let shape = control.write(&self.opening.names, &mut self.output.upstream);
        self.upstream.open = true;
        self.upstream
            .replies
            .push_control(control, shape, addressee);
        if shape == Shape::Aside {
            let portal = self.opening.names.statement("control");
            self.close_portal(&portal);
        }
    }

    /// Sends a statement of our own. It never touches the client's unnamed statement, nor the
    /// unnamed portal, which the client may be about to execute.
    pub(super) fn own(&mut self, sql: &str, addressee: &Addressee) {
        let name = self.opening.names.statement("own");
        // In front, since an error leaves it behind.
        self.close_statement(&name);
        let out = &mut self.output.upstream;
        Frontend::Parse(Parse {
            statement: &name,
            sql: sql.as_bytes(),
            types: Parse::NO_TYPES,
        })
        .encode(out);
        Frontend::Bind(Bind {
            portal: &name,
            statement: &name,
            values: Bind::NO_VALUES,
        })
        .encode(out);
        Frontend::Execute {
            portal: &name,
            max_rows: 0,
        }
        .encode(out);
        self.expect(Message::Parse(Vec::new(), None), addressee.clone());
        self.expect(Message::Bind(Vec::new(), None), addressee.clone());
        self.expect(Message::Execute(None), addressee.clone());
        // An error takes it away.
        self.close_portal(&name);
    }

    /// Asks a question of our own and awaits its rows, or its error: then the transaction is
    /// aborted down to the last savepoint.
    pub(super) async fn question(&mut self, sql: &str) -> Flow<Result<Rows, ServerError>> {
        self.settle().await?;
        self.upstream.rows.clear();
        self.upstream.error = None;
        self.own(sql, &Addressee::Ours);
        self.settle().await?;
        Ok(match self.upstream.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.upstream.rows)),
        })
    }

    /// Sends one statement of a simple Query, as messages of the extended protocol: there the
    /// server itself refuses a second command in it.
    pub(super) fn run_text(
        &mut self,
        text: &[u8],
        statement: Option<StatementId>,
        addressee: &Addressee,
    ) {
        let out = &mut self.output.upstream;
        Frontend::Parse(Parse {
            statement: b"",
            sql: text,
            types: Parse::NO_TYPES,
        })
        .encode(out);
        Frontend::Bind(Bind {
            portal: b"",
            statement: b"",
            values: Bind::NO_VALUES,
        })
        .encode(out);
        Frontend::Describe(Target::Portal(b"")).encode(out);
        Frontend::Execute {
            portal: b"",
            max_rows: 0,
        }
        .encode(out);
        self.expect(Message::Parse(Vec::new(), None), addressee.clone());
        self.expect(Message::Bind(Vec::new(), None), addressee.clone());
        self.expect(Message::DescribePortal, addressee.clone());
        self.expect(Message::Execute(statement), addressee.clone());
    }

    /// Sends a text that is only to be parsed.
    pub(super) fn parse_text(&mut self, text: &[u8], addressee: &Addressee) {
        Frontend::Parse(Parse {
            statement: b"",
            sql: text,
            types: Parse::NO_TYPES,
        })
        .encode(&mut self.output.upstream);
        self.expect(Message::Parse(Vec::new(), None), addressee.clone());
    }

    /// The same, and the client's unnamed statement stays.
    pub(super) fn parse_aside(&mut self, text: &[u8], addressee: Addressee) {
        let name = self.opening.names.statement("own");
        self.close_statement(&name);
        Frontend::Parse(Parse {
            statement: &name,
            sql: text,
            types: Parse::NO_TYPES,
        })
        .encode(&mut self.output.upstream);
        self.expect(Message::Parse(Vec::new(), None), addressee);
    }

    pub(super) fn close_portal(&mut self, name: &[u8]) {
        Frontend::Close(Target::Portal(name)).encode(&mut self.output.upstream);
        self.expect(Message::ClosePortal(name.to_vec()), Addressee::Ours);
    }

    pub(super) fn close_statement(&mut self, name: &[u8]) {
        Frontend::Close(Target::Statement(name)).encode(&mut self.output.upstream);
        self.expect(Message::CloseStatement(Vec::new()), Addressee::Ours);
    }

    /// Passes a client's message on as it came, but for names.
    pub(super) fn forward(&mut self, frame: &Frame, message: Message) {
        self.output.upstream.extend_from_slice(frame.bytes());
        self.expect(message, Addressee::Client);
    }

    /// Begins the savepoint of a virtual transaction, in the same write as what follows.
    pub(super) fn set_savepoint(&mut self) {
        match self.upstream.savepoint {
            Point::Fresh => {}
            Point::Absent => self.control(&Control::Savepoint(Savepoint::Virtual)),
            Point::Used => {
                self.control(&Control::Release(Savepoint::Virtual));
                self.control(&Control::Savepoint(Savepoint::Virtual));
            }
        }
        self.upstream.savepoint = Point::Used;
    }

    /// Undoes the virtual transaction, and keeps its savepoint. Awaits whatever is under way first.
    pub(super) async fn roll_back_to_savepoint(&mut self) -> Flow<()> {
        if self.upstream.open || self.upstream.skipping {
            self.sync().await?;
        }
        if self.upstream.savepoint == Point::Used {
            self.control(&Control::RollbackTo(Savepoint::Virtual));
            self.upstream.savepoint = Point::Fresh;
            self.sync().await?;
        }
        self.judge_suspect().await
    }

    /// Ends the batch upstream and awaits all answers.
    pub(super) async fn sync(&mut self) -> Flow<()> {
        Frontend::Sync.encode(&mut self.output.upstream);
        self.upstream.replies.push(Message::Sync, Addressee::Ours);
        self.upstream.open = false;
        self.upstream.skipping = false;
        while !self.upstream.replies.is_empty() {
            self.listen_to_upstream().await?;
        }
        Ok(())
    }

    /// Awaits all answers without ending the batch; also returns when COPY data is expected.
    pub(super) async fn settle(&mut self) -> Flow<()> {
        if self.upstream.replies.wants_flush() {
            Frontend::Flush.encode(&mut self.output.upstream);
        }
        while !self.upstream.replies.is_empty() && self.upstream.copying != Copying::In {
            self.listen_to_upstream().await?;
        }
        Ok(())
    }

    /// Waits for one thing to happen.
    pub(super) async fn listen(&mut self) -> Flow<()> {
        self.output.served = self.current;
        let event = self.around.next(&mut self.output).await;
        self.absorb(event)
    }

    /// Waits for an answer of the server. It stays away while the current client does not read what
    /// it has got so far; others that wait meanwhile are told.
    async fn listen_to_upstream(&mut self) -> Flow<()> {
        let Some(unread) = self.unread() else {
            return self.listen().await;
        };
        self.output.waiting = self.somebody_waits();
        self.listen().await?;
        self.output.waiting = false;
        self.progress |= self.unread() != Some(unread);
        if self.lost_patience() {
            self.refuse_waiting(
                "a connection of the command does not read the rows that it asked for, and another one waits for its turn; in one transaction they cannot be rehearsed interleaved",
            );
        }
        Ok(())
    }

    /// How much the current client has not read, if that keeps upstream from saying more.
    fn unread(&self) -> Option<usize> {
        let outlet = self.output.clients.get(&self.current?)?;
        outlet.is_clogged().then_some(outlet.bytes.len())
    }

    /// Whether somebody has waited for long while nothing went on.
    fn lost_patience(&mut self) -> bool {
        std::mem::take(&mut self.impatient)
            && !std::mem::take(&mut self.progress)
            && self.somebody_waits()
    }

    /// Waits for more of the current client, which is in the middle of something: others that wait
    /// for it meanwhile are told, once they have waited for long.
    pub(super) async fn listen_to_client(&mut self) -> Flow<()> {
        self.output.waiting = self.somebody_waits();
        self.listen().await?;
        self.output.waiting = false;
        let current = self.current.and_then(|id| self.clients.get(&id));
        self.progress |= current.is_some_and(Client::has_something);
        if self.lost_patience() {
            self.refuse_waiting(SILENT);
        }
        Ok(())
    }

    /// Waits for the current client's next message; `None` when it is gone.
    pub(super) async fn message(&mut self, id: ClientId) -> Flow<Option<Piece>> {
        loop {
            if let Some(said) = self.next_said(id) {
                return Ok(said);
            }
            self.listen_to_client().await?;
        }
    }

    /// The client's next message as far as it is here: `None` when it must be waited for,
    /// `Some(None)` when there will be none.
    pub(super) fn next_said(&mut self, id: ClientId) -> Option<Option<Piece>> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Some(None);
        };
        if let Some(piece) = client.inbox.pop_front() {
            self.refresh_full(id);
            return Some(Some(piece));
        }
        if client.gone || self.finishing {
            client.gone = true;
            return Some(None);
        }
        None
    }

    pub(super) fn refresh_full(&mut self, id: ClientId) {
        if let (Some(client), Some(outlet)) =
            (self.clients.get(&id), self.output.clients.get_mut(&id))
        {
            outlet.full = client.is_full();
        }
    }

    fn absorb(&mut self, event: Event) -> Flow<()> {
        match event {
            Event::Upstream(piece) => self.hear(piece)?,
            Event::UpstreamClosed => {
                return Err(Stop::Lost("it was closed without a message".to_owned()));
            }
            Event::Joined(id, welcome) => self.joining.push_back((id, welcome)),
            Event::Client(id, piece) => {
                let Some(client) = self.clients.get_mut(&id) else {
                    return Ok(());
                };
                if client.skipping {
                    self.skip(id, piece);
                } else {
                    client.inbox.push_back(piece);
                    self.refresh_full(id);
                }
            }
            Event::Left(id) => self.left(id),
            Event::Cancel(id) => {
                if self.current == Some(id) && self.upstream.replies.await_a_clients() {
                    self.output.cancel = true;
                }
            }
            Event::Ask(question, sql) => self.questions.push_back((question, sql)),
            Event::Examine(question, examination) => {
                self.examinations.push_back((question, examination));
            }
            Event::Insert(question, sql) => self.insertions.push_back((question, sql)),
            Event::Place(question, place) => self.places.push_back((question, place)),
            Event::Aside(question, begins) => {
                let turn = if begins { Turn::Begin } else { Turn::End };
                self.turns_aside.push_back((question, turn));
                // The check is over, whatever it left at work.
                self.cancel_a_clients();
            }
            Event::Impatient => self.impatient = true,
            Event::Finish => {
                self.finishing = true;
                self.cancel_a_clients();
            }
        }
        Ok(())
    }

    /// Cancels the statement of a client, if one runs.
    fn cancel_a_clients(&mut self) {
        if self.current.is_some() && self.upstream.replies.await_a_clients() {
            self.output.cancel = true;
        }
    }

    fn left(&mut self, id: ClientId) {
        self.joining.retain(|(joining, _)| *joining != id);
        let Some(client) = self.clients.get_mut(&id) else {
            self.output.clients.remove(&id);
            return;
        };
        client.gone = true;
        // A Terminate says that what came before it is meant to be done; a vanished client does not.
        let polite = client
            .inbox
            .back()
            .is_some_and(|piece| matches!(piece, Piece::Frame(frame) if frame.tag() == b'X'));
        if !polite {
            client.inbox.clear();
            if self.current == Some(id) && self.upstream.replies.await_a_clients() {
                self.output.cancel = true;
            }
        }
    }

    /// The client's statement as the rest of the batch will find it.
    pub(super) fn statement_named(&self, id: ClientId, name: &[u8]) -> Option<Arc<Statement>> {
        let client = self.clients.get(&id)?;
        client
            .statements
            .lookup(name, self.upstream.replies.statement_changes())
    }

    /// The statement behind the client's portal as the rest of the batch will find it.
    pub(super) fn portal_named(&self, id: ClientId, name: &[u8]) -> Option<Arc<Statement>> {
        let client = self.clients.get(&id)?;
        client
            .portals
            .lookup(name, self.upstream.replies.portal_changes())
    }
}
