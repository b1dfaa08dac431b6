//! What a statement calls that a rehearsal has to know of, found in its tokens alone.
//!
//! A name in front of `(` is taken for a function, unless a key word in front of the name says that
//! it is a table, an alias or a routine that is only named. Where that is not certain it finds too
//! much rather than too little.

use std::borrow::Cow;

use super::lexer::{LexSettings, Token, TokenKind};
use super::literal::string_value;
use super::name::unescape;

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
    /// `http…` of pgsql-http and pg_net, `aws_….…`: leaves the database.
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

/// As many tokens as can matter in front of a `(`: a key word, and `schema . function`, each with
/// its UESCAPE clause.
const WINDOW: usize = 8;

/// Gathers [`Calls`] token by token.
pub(super) struct Scan<'a> {
    text: &'a [u8],
    settings: LexSettings,
    calls: Calls,
    depth: usize,
    /// The last tokens in a ring, and how many there have been.
    last: [Option<Token>; WINDOW],
    taken: usize,
    /// Between CREATE INDEX and the ON in front of its table.
    indexes: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a [u8], settings: LexSettings) -> Self {
        Self {
            text,
            settings,
            calls: Calls::default(),
            depth: 0,
            last: [None; WINDOW],
            taken: 0,
            indexes: false,
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
        self.last[self.taken % WINDOW] = Some(token);
        self.taken += 1;
    }

    /// The token that came so many before the next one.
    fn before(&self, back: usize) -> Option<Token> {
        let index = self.taken.checked_sub(back)?;
        (back <= WINDOW).then(|| self.last[index % WINDOW])?
    }

    fn is(&self, token: Token, key: &str) -> bool {
        token.kind == TokenKind::Word
            && self.text[token.start..token.end].eq_ignore_ascii_case(key.as_bytes())
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
            5 if is("index") => {
                let before = self.before(1);
                self.indexes =
                    before.is_some_and(|it| self.is(it, "create") || self.is(it, "unique"));
            }
            6 if is("insert") || is("update") || is("delete") => {
                self.calls.add(Calls::DATA_MODIFYING);
            }
            _ => {}
        }
    }

    fn call(&mut self) {
        let Some((function, mut back)) = self.identifier(1) else {
            return;
        };
        let mut schema = None;
        while let Some((qualifier, behind)) = self
            .before(back)
            .filter(|token| token.kind == TokenKind::Dot)
            .and_then(|_| self.identifier(back + 1))
        {
            schema.get_or_insert(qualifier);
            back = behind;
        }
        let mut lower = [0; 64];
        // No function of interest has a longer name, and the server cuts longer ones.
        let length = function.len().min(lower.len());
        let lower = &mut lower[..length];
        lower.copy_from_slice(&function[..length]);
        lower.make_ascii_lowercase();
        if schema.is_none() && NO_FUNCTIONS.binary_search(&&*lower).is_ok() {
            return;
        }
        if self.is_only_named(back) {
            return;
        }
        self.calls.add(Calls::FUNCTION);
        self.calls.add(known(lower));
        if schema.is_some_and(|schema| starts_with(&schema, b"aws_")) {
            self.calls.add(Calls::OUTSIDE);
        }
    }

    /// Whether the key word so many tokens before says that the name behind it calls nothing.
    ///
    /// ON is not among these words: in a JOIN it stands in front of an expression.
    fn is_only_named(&mut self, back: usize) -> bool {
        let Some(word) = self.before(back) else {
            return false;
        };
        if self.indexes {
            let on = if self.is(word, "only") {
                self.before(back + 1)
            } else {
                Some(word)
            };
            if on.is_some_and(|on| self.is(on, "on")) {
                self.indexes = false;
                return true;
            }
        }
        word.kind == TokenKind::Word && {
            let source = &self.text[word.start..word.end];
            NAMING.iter().any(|key| source.eq_ignore_ascii_case(key))
        }
    }

    /// The name that ends so many tokens before, and where what is in front of it is found: a word,
    /// or the inside of a quoted identifier. `U&"…"` is read with the escape character that the
    /// UESCAPE behind it names.
    fn identifier(&self, back: usize) -> Option<(Cow<'a, [u8]>, usize)> {
        let token = self.before(back)?;
        let source = &self.text[token.start..token.end];
        match token.kind {
            TokenKind::Word => Some((Cow::Borrowed(source), back + 1)),
            TokenKind::QuotedIdentifier => Some((inside(source, b'\\')?, back + 1)),
            TokenKind::String(_) => {
                self.before(back + 1)
                    .filter(|word| self.is(*word, "uescape"))?;
                let token = self
                    .before(back + 2)
                    .filter(|token| token.kind == TokenKind::QuotedIdentifier)?;
                let escape = string_value(self.before(back)?, self.text, self.settings)?;
                let source = &self.text[token.start..token.end];
                Some((inside(source, *escape.first()?)?, back + 3))
            }
            _ => None,
        }
    }
}

/// The name in a quoted identifier; `None` if the server refuses it.
fn inside(source: &[u8], escape: u8) -> Option<Cow<'_, [u8]>> {
    let quote = source.iter().position(|byte| *byte == b'"')?;
    let inner = source.get(quote + 1..source.len() - 1)?;
    if quote > 0 && inner.contains(&escape) {
        return unescape(inner, escape).map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Key words behind which a name with a parenthesis is that of a table with its columns, of an alias
/// or of a routine with the types of its arguments. Either they are reserved, and no expression
/// follows them, or an expression has an operator or a comma between them and a call.
const NAMING: &[&[u8]] = &[
    b"aggregate",
    b"as",
    b"copy",
    b"exists",
    b"function",
    b"into",
    b"of",
    b"procedure",
    b"recursive",
    b"references",
    b"routine",
    b"table",
    b"view",
    b"with",
];

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
        b"http" | b"http_delete" | b"http_get" | b"http_head" | b"http_patch" | b"http_post"
        | b"http_put" => Calls::OUTSIDE,
        _ if function.starts_with(b"pg_") => known_of_the_server(&function[3..]),
        _ if function.starts_with(b"dblink") => Calls::DBLINK,
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
