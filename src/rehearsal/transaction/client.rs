//! One connection of the command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::event::Welcome;
use super::settings::{Pair, read_only_default, set_lock_timeout};
use super::statements::Named;
use super::temporary::{Object, Temporary};
use super::virtual_transaction::Virtual;
use crate::rehearsal::wire::{Frame, Piece};

/// How much of a client is read ahead of its turn, in messages.
const READ_AHEAD: usize = 256;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub inbox: VecDeque<Piece>,
    /// Nobody reads its answers any more.
    pub gone: bool,
    /// It was refused in the middle of a batch: what comes is dropped up to the Sync.
    pub skipping: bool,
    pub state: Virtual,
    pub statements: Named,
    pub portals: Named,
    /// Cursors WITH HOLD, which outlive their transaction.
    pub held: Vec<Vec<u8>>,
    /// Upstream's names of SQL PREPARE.
    pub prepared: Vec<Vec<u8>>,
    /// The same with their texts, while another client has the session.
    pub put_by: Vec<Pair>,
    /// Upstream's name of a prepared statement, where another client has taken the client's own.
    pub aliases: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The last Parse of the unnamed statement.
    pub unnamed: Option<Frame>,
    pub welcome: Welcome,
    /// Settings to be put back at the end of its transaction: SET LOCAL outlives a RELEASE.
    pub local: Vec<Pair>,
    /// Its settings when another client's turn came.
    pub saved: Option<Vec<Pair>>,
    /// Temporary tables on which its COMMIT acts.
    pub on_commit: Vec<Temporary>,
    /// Its temporary objects when another client's turn came.
    pub temporary: BTreeSet<Object>,
    /// It may have written, in particular temporary objects.
    pub writes: bool,
    /// Settings as they were reported to it.
    pub told: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Its `default_transaction_read_only`: what a transaction begins with that does not say.
    pub read_only_default: bool,
    /// The same before its transaction changed it.
    pub read_only_before: Option<bool>,
    /// It set `lock_timeout` itself.
    pub own_lock_timeout: bool,
    /// The same before its transaction changed it.
    pub lock_timeout_before: Option<bool>,
}

impl Client {
    /// Whether it has a prepared statement of that name.
    pub(super) fn owns(&self, name: &[u8]) -> bool {
        self.statements.names().any(|known| known == name) || self.has_prepared(name)
    }

    /// Whether it has one of SQL's PREPARE.
    pub(super) fn has_prepared(&self, name: &[u8]) -> bool {
        let upstream = self.aliases.get(name).map_or(name, Vec::as_slice);
        self.prepared.iter().any(|known| known == upstream)
    }

    /// What a prepared statement of the client's is called upstream.
    pub(super) fn upstream_name<'a>(&'a self, name: &'a Vec<u8>) -> &'a Vec<u8> {
        self.aliases.get(name).unwrap_or(name)
    }

    pub(super) fn new(welcome: Welcome) -> Self {
        Self {
            inbox: VecDeque::new(),
            gone: false,
            skipping: false,
            state: Virtual::Idle,
            statements: Named::default(),
            portals: Named::default(),
            held: Vec::new(),
            prepared: Vec::new(),
            put_by: Vec::new(),
            aliases: BTreeMap::new(),
            unnamed: None,
            read_only_default: read_only_default(&welcome.settings),
            own_lock_timeout: set_lock_timeout(&welcome.settings),
            welcome,
            local: Vec::new(),
            saved: None,
            on_commit: Vec::new(),
            temporary: BTreeSet::new(),
            writes: false,
            told: BTreeMap::new(),
            read_only_before: None,
            lock_timeout_before: None,
        }
    }

    /// The lock timeout in force is the client's own from now on, or no longer.
    pub(super) fn own_lock_timeout(&mut self, own: bool) {
        let before = std::mem::replace(&mut self.own_lock_timeout, own);
        self.lock_timeout_before.get_or_insert(before);
    }

    pub(super) fn is_full(&self) -> bool {
        self.inbox.len() >= READ_AHEAD
    }

    /// Whether what it has said so far is worth a turn.
    pub(super) fn has_something(&self) -> bool {
        !self.inbox.is_empty()
    }
}
