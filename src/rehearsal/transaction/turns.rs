//! Whose turn it is. One client at a time is served, from a Query or the first message of a batch
//! to its ReadyForQuery; a transaction block keeps the turn, unless it has only read.

use super::client::Client;
use super::event::{Note, Surroundings};
use super::upstream::Point;
use super::virtual_transaction::{Unit, Virtual};
use super::{ClientId, Flow, Stop, Transaction, answers};
use crate::rehearsal::wire::{Frame, Frontend, Piece, SqlState};
use crate::verdict::NotRehearsed;

/// Why clients that wait are refused.
pub(super) const SILENT: &str = "two connections of the command are in a transaction at the same time, and the first one has written and does not go on; in one transaction they cannot be rehearsed interleaved";

impl<S: Surroundings> Transaction<S> {
    /// Serves clients until the rehearsal is over.
    pub(super) async fn take_turns(&mut self) -> Flow<()> {
        loop {
            self.output.waiting = false;
            if let Some((id, welcome)) = self.joining.pop_front() {
                self.join(id, welcome).await?;
            } else if let Some(id) = self.departed() {
                self.depart(id).await?;
            } else if let Some(id) = self.perhaps_a_reader() {
                self.look_for_writes(id).await?;
            } else if let Some(id) = self.next_client() {
                self.turn(id).await?;
            } else if std::mem::take(&mut self.impatient) && self.somebody_waits() {
                self.refuse_waiting(SILENT);
            } else if let Some((question, sql)) = self.next_question() {
                self.answer(question, &sql).await?;
            } else if let Some((question, examination)) = self.next_examination() {
                self.examine(question, &examination).await?;
            } else if let Some((question, sql)) = self.next_insertion() {
                self.insert(question, &sql).await?;
            } else if let Some((question, place)) = self.next_place() {
                self.place(question, place).await?;
            } else if let Some((question, turn)) = self.turns_aside.pop_front() {
                self.turn_aside(question, turn).await?;
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

    pub(super) fn somebody_waits(&self) -> bool {
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

    /// The client in a transaction block that others wait for, if it is not known whether it has
    /// written: it has called functions.
    fn perhaps_a_reader(&self) -> Option<ClientId> {
        let id = self.holder?;
        let client = self.clients.get(&id)?;
        let Virtual::Open(open) = &client.state else {
            return None;
        };
        let unknown = open.started && open.traits.writes && !open.traits.surely_writes;
        (unknown && !client.has_something() && self.somebody_waits()).then_some(id)
    }

    /// Asks whether the virtual transaction has an id of its own.
    async fn look_for_writes(&mut self, id: ClientId) -> Flow<()> {
        let rows = self.question(super::COUNT_WRITERS).await?;
        self.sync().await?;
        let count = rows.ok().and_then(|rows| {
            let cell = rows.into_iter().flatten().flatten().next()?;
            cell.parse::<u32>().ok()
        });
        let own = self.opening.own_locks + u32::from(self.place_is_set);
        let wrote = count.is_none_or(|count| count > own);
        if let Some(Client {
            state: Virtual::Open(open),
            ..
        }) = self.clients.get_mut(&id)
        {
            open.traits.writes = wrote;
            open.traits.surely_writes = wrote;
            open.traits.runs_code &= wrote;
        }
        Ok(())
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
    pub(super) async fn depart(&mut self, id: ClientId) -> Flow<()> {
        // What is still to be said to it is said first.
        match self.output.clients.get_mut(&id) {
            Some(outlet) if !outlet.bytes.is_empty() => outlet.close = true,
            _ => {
                self.output.clients.remove(&id);
            }
        }
        let Some(mut client) = self.clients.remove(&id) else {
            return Ok(());
        };
        if self.holder == Some(id) {
            if client.state != Virtual::Idle {
                self.undo_virtual(&client.state).await?;
            }
            self.holder = None;
            if !self.finishing {
                self.clear_session(id, &mut client).await?;
            }
        }
        if !self.finishing && !client.temporary.is_empty() {
            self.set_savepoint();
            self.send_drop_temporary(&client.temporary);
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
        for name in &client.held {
            self.close_portal(name);
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
    pub(super) fn refuse_waiting(&mut self, message: &str) {
        self.not_rehearsed(NotRehearsed::InterleavedWriters, message);
        let waiting: Vec<_> = self
            .clients
            .iter()
            .filter(|(id, client)| Some(**id) != self.holder && client.has_something())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.refuse_one(id, message);
        }
    }

    fn refuse_one(&mut self, id: ClientId, message: &str) {
        let (Some(client), Some(outlet)) =
            (self.clients.get_mut(&id), self.output.clients.get_mut(&id))
        else {
            return;
        };
        // What a server would do after an error: a Query or a FunctionCall is over, a batch is
        // skipped up to its Sync, which may be still on its way.
        let mut skipping = false;
        while let Some(piece) = client.inbox.pop_front() {
            let Piece::Frame(frame) = piece else {
                continue;
            };
            match frame.tag() {
                b'Q' | b'F' if !skipping => break,
                b'S' => {
                    skipping = false;
                    break;
                }
                b'X' => {
                    client.gone = true;
                    break;
                }
                _ => skipping = true,
            }
        }
        client.skipping = skipping;
        answers::error_with_hint(
            &mut outlet.bytes,
            SqlState::FEATURE_NOT_SUPPORTED,
            &format!("drydock: {message}"),
            "Rehearse on a clone, where commits are real, or let the command use one connection.",
        );
        if !skipping {
            answers::ready_for_query(&mut outlet.bytes, client.state.status());
        }
        outlet.full = client.is_full();
    }

    /// Drops the rest of a batch that was refused before its Sync had come, which it answers.
    pub(super) fn skip(&mut self, id: ClientId, piece: Piece) {
        let (Some(client), Some(outlet)) =
            (self.clients.get_mut(&id), self.output.clients.get_mut(&id))
        else {
            return;
        };
        match piece {
            Piece::Frame(frame) if frame.tag() == b'S' => {
                client.skipping = false;
                answers::ready_for_query(&mut outlet.bytes, client.state.status());
            }
            Piece::Frame(frame) if frame.tag() == b'X' => {
                client.inbox.push_back(Piece::Frame(frame));
            }
            _ => {}
        }
    }

    /// Tells the client that its unit is over.
    pub(super) fn ready(&mut self, id: ClientId) {
        let status = self.state(id).status();
        self.tell_changed(id);
        if let Some(out) = self.for_client() {
            answers::ready_for_query(out, status);
        }
        self.output.notes.push(Note::Ready {
            client: id,
            transaction: self.state(id).number(),
        });
    }

    async fn finish(&mut self) -> Flow<()> {
        self.current = None;
        if let Some(id) = self.holder
            && *self.state(id) != Virtual::Idle
        {
            let state = self.state(id).clone();
            self.undo_virtual(&state).await?;
        }
        // What wrote where nothing could be seen of it is counted here.
        self.send_watch();
        self.sync().await?;
        self.check_watch()?;
        self.control(&super::Control::FinalRollback);
        self.upstream.savepoint = Point::Absent;
        self.final_sync().await?;
        Err(Stop::RolledBack)
    }
}

/// The text of a Query frame, without its terminator, sharing its memory.
pub(super) fn query_text(frame: &Frame) -> bytes::Bytes {
    let bytes = frame.bytes();
    bytes.slice(5..bytes.len().saturating_sub(1).max(5))
}
