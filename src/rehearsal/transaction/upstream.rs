//! What is known about the upstream session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::frozen_time::Suspect;
use super::order::Statement;
use super::replies::{Replies, StatementId};
use super::violation::{Retreat, Violated};
use crate::rehearsal::wire::{Frame, Reassembly};
use crate::report::ServerError;

/// Why a name is not looked up: see [`Upstream::exactly`].
pub(super) const NOT_EXACT: &str = "its name can be looked up with certainty only if it is ASCII, \
    or if client_encoding and server_encoding are UTF8";

/// The upstream session as the answers so far describe it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub replies: Replies,
    /// Messages of the extended protocol were sent since the last Sync.
    pub open: bool,
    /// An error came and no Sync is under way: everything but a Sync is ignored.
    pub skipping: bool,
    /// The transaction is aborted down to a savepoint.
    pub aborted: bool,
    pub copying: Copying,
    pub savepoint: Point,
    pub parameters: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Rows of our own questions.
    pub rows: Vec<Vec<Option<String>>>,
    /// The row of our own questions that has begun to arrive.
    pub cut_row: Reassembly,
    /// Rows of an examination so far; only the first are kept in `rows`.
    pub found: Option<u64>,
    /// The error of our own question.
    pub error: Option<ServerError>,
    /// The client got an error in this unit.
    pub faulted: bool,
    /// A completion that waits for its implicit commit.
    pub held: Option<(Frame, Option<StatementId>)>,
    pub top_xid: Option<u64>,
    /// The statements of the string that is being parsed as a whole.
    pub whole: Vec<Arc<Statement>>,
    /// The whole string was refused for nothing but being several commands.
    pub several: bool,
    /// The statement that a check on its behalf may fail: a COMMIT, a savepoint command.
    pub committing: Option<StatementId>,
    /// A violated constraint that is to be looked into.
    pub suspect: Option<Suspect>,
    /// What the statement under way checks, or the COMMIT, behind the inner savepoint.
    pub retreat: Option<Retreat>,
    /// A violated constraint whose rows are to be found.
    pub violated: Option<Violated>,
    /// The answer of the watch.
    pub watched: Option<Vec<Option<String>>>,
    /// The watch was sent, and must answer unless the client hears of an error.
    pub watching: bool,
    /// Portals that were bound to a statement whose text is not known here.
    pub unread_portals: BTreeSet<Vec<u8>>,
    /// The final ROLLBACK was sent.
    pub final_rollback: bool,
    /// Settings are on their way to other values, and are reported once they are there.
    pub settling: bool,
    /// Settings that have changed, until the client is told.
    pub unreported: BTreeSet<Vec<u8>>,
    /// Every answer was the expected one.
    pub gapless: bool,
}

/// Where COPY stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copying {
    No,
    /// The server waits for data.
    In,
    /// The server sends data.
    Out,
}

/// The savepoint that stands for the virtual transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// It was never set.
    Absent,
    /// It is set, and nothing happened since.
    Fresh,
    /// It is set, and what happened since belongs to a virtual transaction, ended or not.
    Used,
}

impl Upstream {
    pub(super) fn new(top_xid: Option<u64>) -> Self {
        Self {
            replies: Replies::default(),
            open: false,
            skipping: false,
            aborted: false,
            copying: Copying::No,
            savepoint: Point::Absent,
            parameters: BTreeMap::new(),
            rows: Vec::new(),
            cut_row: Reassembly::default(),
            found: None,
            error: None,
            faulted: false,
            held: None,
            top_xid,
            whole: Vec::new(),
            several: false,
            committing: None,
            suspect: None,
            retreat: None,
            violated: None,
            watched: None,
            watching: false,
            unread_portals: BTreeSet::new(),
            final_rollback: false,
            settling: false,
            unreported: BTreeSet::new(),
            gapless: true,
        }
    }

    /// Whether the server reports changed settings with ReadyForQuery, as it does since 14, and not
    /// where they change.
    pub(super) fn reports_when_ready(&self) -> bool {
        let version = self.parameters.get(b"server_version".as_slice());
        let digits = version.map(|version| {
            let digits = version.iter().take_while(|byte| byte.is_ascii_digit());
            digits.fold(0_u32, |number, digit| {
                number.saturating_mul(10) + u32::from(digit - b'0')
            })
        });
        digits.is_some_and(|major| major >= 14)
    }

    /// A name as it can be put into a question of our own: `None` if the server might read it there
    /// as another one than in the client's statement.
    pub(super) fn exactly<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        let name = std::str::from_utf8(name).ok()?;
        let exact = !name.is_empty() && (name.is_ascii() || self.speaks_utf8());
        exact.then_some(name)
    }

    /// Whether text goes to the server and back unconverted, and is UTF-8 as in this program: only
    /// then does a name that is not ASCII mean the same here and there.
    pub(super) fn speaks_utf8(&self) -> bool {
        ["client_encoding", "server_encoding"].iter().all(|name| {
            let value = self.parameters.get(name.as_bytes());
            value.is_some_and(|value| value.as_slice() == b"UTF8")
        })
    }
}
