//! The answers that upstream still owes, in order, and what is to be done with each.
//!
//! Every message that goes upstream leaves its expected answers here. An answer that does not fit
//! the front of the queue means that the two sides no longer agree about what is being executed,
//! and ends the rehearsal.

use std::collections::VecDeque;
use std::sync::Arc;

use super::control::{Control, Shape};
use super::order::{Parameter, Statement};
use super::statements::Change;

/// The place of a statement in the record.
pub type StatementId = usize;

/// What an answer answers.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// Parse, with the statement that exists once it is answered.
    Parse(Vec<u8>, Option<Arc<Statement>>),
    /// Bind, with the portal that exists once it is answered.
    Bind(Vec<u8>, Option<Arc<Statement>>),
    /// Describe of a portal: a row description or nothing.
    DescribePortal,
    /// Describe of a statement: parameters, then as for a portal.
    DescribeStatement,
    /// The second half of the same.
    DescribeRows,
    /// Close of a statement.
    CloseStatement(Vec<u8>),
    /// Close of a portal.
    ClosePortal(Vec<u8>),
    /// Execute, up to its command tag.
    Execute(Option<StatementId>),
    /// FunctionCall: its result.
    Function,
    /// Sync, or the end of a FunctionCall.
    Sync,
}

/// For whom an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addressee {
    /// The client, word by word.
    Client,
    /// The client, who used the simple protocol: no completions of Parse and Bind.
    Simple(Simple),
    /// Nobody: transaction control, which must succeed with this tag.
    Control(Control),
    /// Nobody: its rows are kept, its error is kept.
    Ours,
    /// Nobody, but its error is the client's: a check that a COMMIT would have made.
    Check,
    /// Nobody: the answer of the watch.
    Watch,
    /// The client, if the whole string is wrong; nobody, if it is only several commands.
    Whole,
    /// The client's own savepoint command: completion and error are the client's.
    ClientControl(Control),
}

/// How an answer reaches a client of the simple protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Simple {
    /// Characters of the Query before this statement.
    pub shift: usize,
    /// The first parameter that it names.
    pub parameter: Option<Parameter>,
    /// The completion waits until the implicit transaction is known to commit.
    pub hold: bool,
}

/// One owed answer.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub message: Message,
    pub addressee: Addressee,
}

/// All owed answers.
#[derive(Debug, Default)]
pub(super) struct Replies {
    queue: VecDeque<Expected>,
    /// A Flush was sent behind the last one.
    flushed: bool,
}

impl Replies {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Expected> {
        self.queue.front()
    }

    /// Whether an answer to a client is awaited. What is ours and was sent in front of its statement
    /// may have been carried out long ago: a server keeps its answers back until it has to flush.
    pub(super) fn await_a_clients(&self) -> bool {
        self.queue
            .iter()
            .any(|expected| matches!(expected.addressee, Addressee::Client | Addressee::Simple(_)))
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Expected> {
        self.queue.front_mut()
    }

    pub(super) fn pop(&mut self) -> Option<Expected> {
        self.queue.pop_front()
    }

    pub(super) fn push(&mut self, message: Message, addressee: Addressee) {
        self.flushed = false;
        self.queue.push_back(Expected { message, addressee });
    }

    pub(super) fn push_control(&mut self, control: &Control, shape: Shape, addressee: Addressee) {
        let ours = || match addressee {
            // What surrounds the client's savepoint command must not show.
            Addressee::ClientControl(_) => addressee.clone(),
            _ => Addressee::Control(control.clone()),
        };
        if shape != Shape::Prepared {
            self.push(Message::CloseStatement(Vec::new()), ours());
            self.push(Message::Parse(Vec::new(), None), ours());
        }
        self.push(Message::Bind(Vec::new(), None), ours());
        self.push(Message::Execute(None), ours());
    }

    /// Whether a Flush is needed before one may wait for all answers.
    pub(super) fn wants_flush(&mut self) -> bool {
        let synced = matches!(
            self.queue.back(),
            None | Some(Expected {
                message: Message::Sync,
                ..
            })
        );
        !synced && !std::mem::replace(&mut self.flushed, true)
    }

    /// What a Flush has asked for was answered by a wish for COPY data: the answer to the data has
    /// to be asked for again.
    pub(super) fn copied(&mut self) {
        self.flushed = false;
    }

    /// An error came: everything up to the next Sync is skipped upstream. Gives back what was
    /// skipped, the failed one first, and whether a Sync is under way.
    pub(super) fn fail(&mut self) -> (Vec<Expected>, bool) {
        let end = self
            .queue
            .iter()
            .position(|expected| matches!(expected.message, Message::Sync));
        let skipped = self
            .queue
            .drain(..end.unwrap_or(self.queue.len()))
            .collect();
        (skipped, end.is_some())
    }

    /// What the answers under way will do to the client's statements.
    pub(super) fn statement_changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.queue
            .iter()
            .filter(|expected| matches!(expected.addressee, Addressee::Client))
            .filter_map(|expected| match &expected.message {
                Message::Parse(name, Some(statement)) => Some(Change::Made(name, statement)),
                Message::CloseStatement(name) => Some(Change::Closed(name)),
                _ => None,
            })
    }

    /// What the answers under way will do to the client's portals.
    pub(super) fn portal_changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.queue
            .iter()
            .filter(|expected| matches!(expected.addressee, Addressee::Client))
            .filter_map(|expected| match &expected.message {
                Message::Bind(name, Some(statement)) => Some(Change::Made(name, statement)),
                Message::ClosePortal(name) => Some(Change::Closed(name)),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_skips_to_the_next_sync() {
        let mut replies = Replies::default();
        replies.push(Message::DescribePortal, Addressee::Client);
        replies.push(Message::Execute(Some(3)), Addressee::Client);
        replies.push(Message::Sync, Addressee::Ours);
        replies.push(Message::DescribePortal, Addressee::Client);
        let (skipped, synced) = replies.fail();
        assert_eq!(skipped.len(), 2);
        assert!(synced);
        assert!(matches!(
            replies.pop().map(|expected| expected.message),
            Some(Message::Sync)
        ));
        let (skipped, synced) = replies.fail();
        assert_eq!(skipped.len(), 1);
        assert!(!synced);
    }

    #[test]
    fn one_flush_is_enough_and_none_is_needed_behind_a_sync() {
        let mut replies = Replies::default();
        assert!(!replies.wants_flush());
        replies.push(Message::DescribePortal, Addressee::Client);
        assert!(replies.wants_flush());
        assert!(!replies.wants_flush());
        replies.push(Message::Sync, Addressee::Ours);
        assert!(!replies.wants_flush());
    }
}
