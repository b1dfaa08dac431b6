//! Whose turn it is. One client at a time is served, from a Query or the first message of a batch
//! to its ReadyForQuery; a transaction block keeps the turn, unless it has only read.

use super::event::Surroundings;
use super::upstream::Point;
use super::virtual_transaction::{Unit, Virtual};
use super::{ClientId, Flow, Stop, Transaction, answers};
use crate::rehearsal::wire::{Frontend, Piece, SqlState};
use crate::verdict::NotRehearsed;

impl<S: Surroundings> Transaction<S> {
    /// Serves clients until the rehearsal is over.
    pub(super) async fn take_turns(&mut self) -> Flow<()> {
        loop {
            self.output.waiting = false;
            if let Some((id, welcome)) = self.joining.pop_front() {
                self.join(id, welcome).await?;
            } else if let Some(id) = self.departed() {
                self.depart(id).await?;
            } else if let Some(id) = self.next_client() {
                self.turn(id).await?;
            } else if std::mem::take(&mut self.impatient) && self.somebody_waits() {
                self.refuse_waiting();
            } else if let Some((question, sql)) = self.next_question() {
                self.answer(question, &sql).await?;
            } else if self.finishing {
                return self.finish().await;
            } else {
                self.output.waiting = self.somebody_waits();
                self.listen().await?;
            }
        }
    }

    pub(super) fn state(&self, id: ClientId) -> &Virtual {
        const IDLE: &Virtual = &Virtual::Idle;
        self.clients.get(&id).map_or(IDLE, |client| &client.state)
    }

    pub(super) fn set_state(&mut self, id: ClientId, state: Virtual) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.state = state;
        }
    }

    fn departed(&self) -> Option<ClientId> {
        self.clients
            .iter()
            .find(|(_, client)| client.gone && client.inbox.is_empty())
            .map(|(id, _)| *id)
    }

    fn somebody_waits(&self) -> bool {
        self.clients
            .iter()
            .any(|(id, client)| Some(*id) != self.holder && client.has_something())
    }

    /// The client that may go on: the one in a transaction block; else the one that is served
    /// already; else the first that has something to say.
    fn next_client(&self) -> Option<ClientId> {
        let holder = self
            .holder
            .and_then(|id| self.clients.get(&id).map(|client| (id, client)));
        if let Some((id, client)) = holder {
            if client.has_something() {
                return Some(id);
            }
            if !self.may_be_parked(id) {
                return None;
            }
        }
        self.clients
            .iter()
            .find(|(_, client)| client.has_something())
            .map(|(id, _)| *id)
    }

    fn may_be_parked(&self, id: ClientId) -> bool {
        match self.state(id) {
            Virtual::Idle => true,
            Virtual::Open(open) => {
                let traits = open.traits;
                !open.started
                    || !(open.pinned
                        || open.set_constraints
                        || self
                            .clients
                            .get(&id)
                            .is_some_and(|client| !client.local.is_empty())
                        || traits.writes
                        || traits.runs_code)
            }
            Virtual::Failed(_) => false,
        }
    }

    async fn turn(&mut self, id: ClientId) -> Flow<()> {
        if self.holder != Some(id) && !self.switch(id).await? {
            return Ok(());
        }
        self.current = Some(id);
        let served = self.serve(id).await;
        self.current = None;
        served
    }

    async fn serve(&mut self, id: ClientId) -> Flow<()> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        let Some(piece) = client.inbox.pop_front() else {
            return Ok(());
        };
        self.refresh_full(id);
        self.unit = Unit::default();
        // CopyData outside of COPY is what a client sent before it heard of an error.
        let Piece::Frame(frame) = piece else {
            return Ok(());
        };
        match Frontend::parse(&frame) {
            Ok(Frontend::Query(_)) => {
                let text = query_text(&frame);
                self.query(id, text).await
            }
            Ok(Frontend::Terminate) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.gone = true;
                    client.inbox.clear();
                }
                Ok(())
            }
            Ok(Frontend::CopyDone | Frontend::CopyFail(_) | Frontend::CopyData(_)) => Ok(()),
            Ok(Frontend::Sync) => {
                self.ready(id);
                Ok(())
            }
            Ok(Frontend::Flush) => Ok(()),
            Ok(Frontend::Password(_)) => {
                self.expel(id, "invalid frontend message type 112");
                Ok(())
            }
            Ok(_) => self.batch(id, frame).await,
            Err(error) => {
                self.expel(id, &error.to_string());
                Ok(())
            }
        }
    }

    /// Ends a client's connection as a server does after a violation of the protocol.
    pub(super) fn expel(&mut self, id: ClientId, message: &str) {
        if let Some(outlet) = self.output.clients.get_mut(&id) {
            answers::fatal(&mut outlet.bytes, SqlState::PROTOCOL_VIOLATION, message);
            outlet.close = true;
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.gone = true;
            client.inbox.clear();
        }
    }

    /// Cleans up behind a client that is gone.
    async fn depart(&mut self, id: ClientId) -> Flow<()> {
        self.output.clients.remove(&id);
        let Some(client) = self.clients.remove(&id) else {
            return Ok(());
        };
        if self.holder == Some(id) {
            if client.state != Virtual::Idle {
                self.undo_virtual(&client.state).await?;
            }
            self.session_touched = true;
        }
        for name in client.statements.names() {
            if !name.is_empty() {
                let name = client.aliases.get(name).unwrap_or(name).clone();
                self.close_statement(&name);
            }
        }
        for name in &client.prepared {
            self.close_statement(name);
        }
        if self.upstream.open {
            self.sync().await?;
        }
        Ok(())
    }

    async fn undo_virtual(&mut self, state: &Virtual) -> Flow<()> {
        if let Virtual::Open(open) | Virtual::Failed(open) = state
            && open.started
        {
            self.roll_back_to_savepoint().await?;
        }
        self.deferred.forget();
        Ok(())
    }

    /// Several connections write at the same time, and the one whose turn it is does nothing: the
    /// others are told, since one of the two must be waiting for the other.
    fn refuse_waiting(&mut self) {
        const MESSAGE: &str = "two connections of the command are in a transaction at the same time, and the first one has written and does not go on; in one transaction they cannot be rehearsed interleaved";
        self.not_rehearsed(NotRehearsed::InterleavedWriters, MESSAGE);
        let waiting: Vec<_> = self
            .clients
            .iter()
            .filter(|(id, client)| Some(**id) != self.holder && client.has_something())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.refuse_one(id, MESSAGE);
        }
    }

    fn refuse_one(&mut self, id: ClientId, message: &str) {
        let (Some(client), Some(outlet)) =
            (self.clients.get_mut(&id), self.output.clients.get_mut(&id))
        else {
            return;
        };
        while let Some(piece) = client.inbox.pop_front() {
            if let Piece::Frame(frame) = piece
                && matches!(frame.tag(), b'Q' | b'S' | b'F')
            {
                break;
            }
        }
        answers::error_with_hint(
            &mut outlet.bytes,
            SqlState::FEATURE_NOT_SUPPORTED,
            &format!("drydock: {message}"),
            "Rehearse on a clone, where commits are real, or let the command use one connection.",
        );
        answers::ready_for_query(&mut outlet.bytes, client.state.status());
        outlet.full = client.is_full();
    }

    /// Tells the client that its unit is over.
    pub(super) fn ready(&mut self, id: ClientId) {
        let status = self.state(id).status();
        if let Some(out) = self.for_client() {
            answers::ready_for_query(out, status);
        }
    }

    async fn finish(&mut self) -> Flow<()> {
        self.current = None;
        self.control(&super::Control::FinalRollback);
        self.upstream.savepoint = Point::Absent;
        self.final_sync().await?;
        Err(Stop::RolledBack)
    }
}

/// The text of a Query frame, without its terminator, sharing its memory.
fn query_text(frame: &crate::rehearsal::wire::Frame) -> bytes::Bytes {
    let bytes = frame.bytes();
    bytes.slice(5..bytes.len().saturating_sub(1).max(5))
}
