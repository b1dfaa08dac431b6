//! One connection of the command.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::event::Welcome;
use super::statements::Named;
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
    pub state: Virtual,
    pub statements: Named,
    pub portals: Named,
    /// Names of SQL PREPARE.
    pub prepared: Vec<Vec<u8>>,
    /// Upstream's name of a prepared statement, where another client has taken the client's own.
    pub aliases: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The last Parse of the unnamed statement.
    pub unnamed: Option<Frame>,
    pub welcome: Welcome,
    /// Settings to be put back at the end of its transaction: SET LOCAL outlives a RELEASE.
    pub local: Vec<(String, String)>,
    /// Its settings when another client's turn came.
    pub saved: Option<Vec<(String, String)>>,
    /// Settings as they were reported to it.
    pub told: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it set itself of `default_transaction_read_only`.
    pub read_only_default: Option<Bytes>,
    /// It set `lock_timeout` itself.
    pub own_lock_timeout: bool,
}

impl Client {
    pub(super) fn new(welcome: Welcome) -> Self {
        Self {
            inbox: VecDeque::new(),
            gone: false,
            state: Virtual::Idle,
            statements: Named::default(),
            portals: Named::default(),
            prepared: Vec::new(),
            aliases: BTreeMap::new(),
            unnamed: None,
            welcome,
            local: Vec::new(),
            saved: None,
            told: BTreeMap::new(),
            read_only_default: None,
            own_lock_timeout: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.inbox.len() >= READ_AHEAD
    }

    /// Whether what it has said so far is worth a turn.
    pub(super) fn has_something(&self) -> bool {
        !self.inbox.is_empty()
    }
}
