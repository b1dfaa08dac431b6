//! What a statement calls that a rehearsal has to know of, found in its tokens alone.
//!
//! A name in front of `(` is taken for a function. That finds too much rather than too little: a
//! table `setval (…)` in an INSERT would be taken for the function.

use super::lexer::{Token, TokenKind};

/// A set of facts about a statement, gathered while it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls(u32);

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident = $bit:literal),* $(,)?) => {
        impl Calls {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
        }
    };
}

facts! {
    /// `setval`: moves a sequence for good.
    SETVAL = 0,
    /// `nextval`: the same, by one, and harmless; for the ledger.
    NEXTVAL = 1,
    /// `dblink…`: another connection, which commits by itself.
    DBLINK = 2,
    /// `pg_terminate_backend`, `pg_cancel_backend`.
    SIGNAL = 3,
    /// Creates, drops, moves or reads from replication slots and origins.
    REPLICATION = 4,
    /// `pg_logical_emit_message`: not transactional unless its first argument is true.
    EMIT_MESSAGE = 5,
    /// Reads or writes the server's files: `lo_export`, `lo_import`, `pg_file_…`.
    SERVER_FILE = 6,
    /// Works on the whole server: `pg_switch_wal`, `pg_reload_conf`, `pg_promote` and the like.
    SERVER_CONTROL = 7,
    /// `pg_stat_reset…`, `pg_stat_statements_reset`.
    STATISTICS_RESET = 8,
    /// `http…`, `aws_….…`: leaves the database.
    OUTSIDE = 9,
    /// `pg_export_snapshot`.
    EXPORT_SNAPSHOT = 10,
    /// `set_config`: changes a setting, which may be one that decides how strings are read.
    SET_CONFIG = 11,
    /// Any function.
    FUNCTION = 12,
    /// The word INTO outside of parentheses.
    INTO = 13,
    /// The words INSERT, UPDATE, DELETE or MERGE anywhere.
    DATA_MODIFYING = 14,
    /// The word SHARE anywhere, as in FOR SHARE and FOR KEY SHARE.
    ROW_LOCK = 15,
}

impl Calls {
    /// Whether all of `other` is in here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in here.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Gathers [`Calls`] token by token.
pub(super) struct Scan<'a> {
    text: &'a [u8],
    calls: Calls,
    depth: usize,
    /// The last three tokens, the latest last: `schema . function` in front of a `(`.
    last: [Option<Token>; 3],
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            calls: Calls::default(),
            depth: 0,
            last: [None; 3],
        }
    }

    pub(super) fn take(&mut self, token: Token) {
        match token.kind {
            TokenKind::OpenParenthesis => {
                self.depth += 1;
                self.call();
            }
            TokenKind::CloseParenthesis => self.depth = self.depth.saturating_sub(1),
            TokenKind::Word => self.word(token),
            _ => {}
        }
        self.last = [self.last[1], self.last[2], Some(token)];
    }

    pub(super) fn finish(self) -> Calls {
        self.calls
    }

    fn word(&mut self, token: Token) {
        let word = &self.text[token.start..token.end];
        let is = |key: &str| word.eq_ignore_ascii_case(key.as_bytes());
        match word.len() {
            4 if self.depth == 0 && is("into") => self.calls.add(Calls::INTO),
            5 if is("merge") => self.calls.add(Calls::DATA_MODIFYING),
            5 if is("share") => self.calls.add(Calls::ROW_LOCK),
            6 if is("insert") || is("update") || is("delete") => {
                self.calls.add(Calls::DATA_MODIFYING);
            }
            _ => {}
        }
    }

    fn call(&mut self) {
        let Some(function) = self.last[2].and_then(|token| self.identifier(token)) else {
            return;
        };
        let schema = match self.last {
            [Some(schema), Some(dot), _] if dot.kind == TokenKind::Dot => self.identifier(schema),
            _ => None,
        };
        let mut lower = [0; 64];
        // No function of interest has a longer name, and the server cuts longer ones.
        let length = function.len().min(lower.len());
        let lower = &mut lower[..length];
        lower.copy_from_slice(&function[..length]);
        lower.make_ascii_lowercase();
        if schema.is_none() && NO_FUNCTIONS.binary_search(&&*lower).is_ok() {
            return;
        }
        self.calls.add(Calls::FUNCTION);
        self.calls.add(known(lower));
        if schema.is_some_and(|schema| starts_with(schema, b"aws_")) {
            self.calls.add(Calls::OUTSIDE);
        }
    }

    /// A word or the inside of a quoted identifier. `U&"…"` with escapes in it could be any name,
    /// which is as good as a function nobody has heard of.
    fn identifier(&self, token: Token) -> Option<&'a [u8]> {
        let source = &self.text[token.start..token.end];
        match token.kind {
            TokenKind::Word => Some(source),
            TokenKind::QuotedIdentifier => {
                let quote = source.iter().position(|byte| *byte == b'"')?;
                source.get(quote + 1..source.len() - 1)
            }
            _ => None,
        }
    }
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Key words that stand in front of a parenthesis and call nothing.
const NO_FUNCTIONS: &[&[u8]] = &[
    b"all",
    b"and",
    b"any",
    b"array",
    b"as",
    b"avg",
    b"bit",
    b"by",
    b"case",
    b"cast",
    b"char",
    b"character",
    b"check",
    b"coalesce",
    b"count",
    b"decimal",
    b"default",
    b"else",
    b"except",
    b"exists",
    b"explain",
    b"extract",
    b"filter",
    b"float",
    b"from",
    b"greatest",
    b"group",
    b"having",
    b"in",
    b"intersect",
    b"interval",
    b"into",
    b"join",
    b"key",
    b"lateral",
    b"least",
    b"length",
    b"lower",
    b"materialized",
    b"max",
    b"min",
    b"not",
    b"now",
    b"nullif",
    b"numeric",
    b"on",
    b"only",
    b"or",
    b"over",
    b"overlay",
    b"position",
    b"returning",
    b"row",
    b"select",
    b"set",
    b"some",
    b"substring",
    b"sum",
    b"then",
    b"time",
    b"timestamp",
    b"timestamptz",
    b"trim",
    b"union",
    b"unique",
    b"upper",
    b"using",
    b"values",
    b"varchar",
    b"varying",
    b"when",
    b"where",
    b"with",
];

fn known(function: &[u8]) -> Calls {
    match function {
        b"setval" => Calls::SETVAL,
        b"nextval" => Calls::NEXTVAL,
        b"set_config" => Calls::SET_CONFIG,
        b"lo_export" | b"lo_import" => Calls::SERVER_FILE,
        b"http" => Calls::OUTSIDE,
        _ if function.starts_with(b"pg_") => known_of_the_server(&function[3..]),
        _ if function.starts_with(b"dblink") => Calls::DBLINK,
        _ if function.starts_with(b"http_") => Calls::OUTSIDE,
        _ => Calls::default(),
    }
}

/// The functions of the manual's "System Administration Functions" whose effect no rollback undoes,
/// their names without `pg_`.
fn known_of_the_server(function: &[u8]) -> Calls {
    match function {
        b"terminate_backend" | b"cancel_backend" => Calls::SIGNAL,
        b"logical_emit_message" => Calls::EMIT_MESSAGE,
        b"export_snapshot" => Calls::EXPORT_SNAPSHOT,
        b"stat_statements_reset" => Calls::STATISTICS_RESET,
        b"switch_wal"
        | b"switch_xlog"
        | b"reload_conf"
        | b"rotate_logfile"
        | b"promote"
        | b"create_restore_point"
        | b"start_backup"
        | b"stop_backup"
        | b"backup_start"
        | b"backup_stop"
        | b"wal_replay_pause"
        | b"wal_replay_resume"
        | b"log_backend_memory_contexts" => Calls::SERVER_CONTROL,
        b"create_physical_replication_slot"
        | b"create_logical_replication_slot"
        | b"drop_replication_slot"
        | b"sync_replication_slots" => Calls::REPLICATION,
        _ if function.starts_with(b"file_") => Calls::SERVER_FILE,
        _ if function.starts_with(b"stat_reset") => Calls::STATISTICS_RESET,
        _ if function.starts_with(b"logical_slot_")
            || function.starts_with(b"replication_slot_")
            || function.starts_with(b"replication_origin_")
            || function.starts_with(b"copy_") =>
        {
            Calls::REPLICATION
        }
        _ => Calls::default(),
    }
}
