//! Work beside the command's: a check of the team's own goes through the rehearsal like a command, and
//! everything that it did is undone behind it, its COMMITs and locks with it.
//!
//! A savepoint of ours is set below the one that stands for virtual transactions. Whatever is counted
//! or concluded meanwhile is nobody's: the counters are put back to where they stood.

use super::event::{Note, Question, Surroundings};
use super::replies::StatementId;
use super::upstream::Point;
use super::violation::RETREATS;
use super::{ClientId, Control, Flow, Savepoint, Transaction, answers};
use crate::rehearsal::wire::SqlState;

/// Where a beginning or an end of it stands in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Begin,
    End,
}

/// What is put back behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aside {
    statements: StatementId,
    virtual_transactions: u32,
    subtransactions: u64,
    retreats: u32,
    refused: bool,
    wrote: bool,
}

impl<S: Surroundings> Transaction<S> {
    /// Carries out one of the two. Clients that are still there are sent away: those of the command
    /// have nothing more to say, and those of the check may be in the middle of something.
    pub(super) async fn turn_aside(&mut self, question: Question, turn: Turn) -> Flow<()> {
        self.send_away().await?;
        match turn {
            Turn::Begin => self.begin_aside().await?,
            Turn::End => self.end_aside().await?,
        }
        self.output.turned.push(question);
        Ok(())
    }

    async fn begin_aside(&mut self) -> Flow<()> {
        self.settle_session().await?;
        if self.upstream.savepoint != Point::Absent {
            self.control(&Control::Release(Savepoint::Virtual));
            self.upstream.savepoint = Point::Absent;
        }
        self.control(&Control::Savepoint(Savepoint::Aside));
        self.sync().await?;
        self.aside = Some(Aside {
            statements: self.statements,
            virtual_transactions: self.virtual_transactions,
            subtransactions: self.subtransactions,
            // Rows that it violates a constraint with are not looked for.
            retreats: std::mem::replace(&mut self.retreats, RETREATS),
            refused: std::mem::take(&mut self.refused),
            wrote: self.output.wrote,
        });
        self.output.notes.push(Note::Aside { begins: true });
        Ok(())
    }

    async fn end_aside(&mut self) -> Flow<()> {
        if self.aside.is_none() {
            return Ok(());
        }
        self.control(&Control::RollbackTo(Savepoint::Aside));
        self.control(&Control::Release(Savepoint::Aside));
        self.upstream.savepoint = Point::Absent;
        self.sync().await?;
        self.upstream.violated = None;
        self.upstream.retreat = None;
        self.deferred.stale();
        self.session_touched = true;
        self.leave_aside();
        Ok(())
    }

    /// From here on it is about the command again.
    pub(super) fn leave_aside(&mut self) {
        let Some(aside) = self.aside.take() else {
            return;
        };
        self.statements = aside.statements;
        self.virtual_transactions = aside.virtual_transactions;
        self.subtransactions = aside.subtransactions;
        self.retreats = aside.retreats;
        self.refused = aside.refused;
        self.output.wrote = aside.wrote;
        self.output.notes.push(Note::Aside { begins: false });
    }

    async fn send_away(&mut self) -> Flow<()> {
        for (id, _) in std::mem::take(&mut self.joining) {
            self.dismiss(id);
        }
        let here: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in here {
            self.dismiss(id);
            self.depart(id).await?;
        }
        Ok(())
    }

    fn dismiss(&mut self, id: ClientId) {
        let outlet = self.output.clients.entry(id).or_default();
        if !outlet.close {
            answers::fatal(
                &mut outlet.bytes,
                SqlState::ADMIN_SHUTDOWN,
                "the command that this connection belongs to is over",
            );
            outlet.close = true;
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.gone = true;
            client.inbox.clear();
        }
    }
}
