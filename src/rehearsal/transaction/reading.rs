//! From the text of a statement to what it asks of the rehearsal.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::order::{ConcurrentKind, Concurrently, Modes, Order, Parameter, Statement, Traits};
use super::settings::PAUSES;
use crate::rehearsal::sql::{
    self, Calls, ClientEncoding, Command, Constraints, Control, CopyEnd, Cursor, Ddl, Discard,
    Effect, Isolation, LexSettings, Object, OnCommit, Prepared, Redacted, ReindexTarget, Scope,
    Script, Setting, TokenKind, TransactionModes, Value,
};

/// The longest text that is recorded, in bytes.
const RECORDED: usize = 4096;

/// How text is to be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lexing {
    pub(super) settings: LexSettings,
    encoding: ClientEncoding,
}

/// A string, cut and read.
#[derive(Debug)]
pub(super) struct Reading {
    pub statements: Vec<Statement>,
    /// False if the string can be told to be wrong without a grammar: the server will say how.
    pub acceptable: bool,
    pub lexing: Lexing,
    /// For each statement, whether it is read differently under another setting.
    depends: Vec<bool>,
}

impl Reading {
    /// Whether a statement would be read differently under other settings.
    pub(super) fn depends_on_settings(&self, index: usize) -> bool {
        self.depends.get(index).is_some_and(|depends| *depends)
    }
}

/// How text is to be read, given the settings that the server has reported.
pub(super) fn lexing_of(parameters: &BTreeMap<Vec<u8>, Vec<u8>>) -> Lexing {
    let get = |name: &[u8]| parameters.get(name).map(Vec::as_slice);
    let encoding = get(b"client_encoding").unwrap_or(b"UTF8");
    Lexing {
        settings: LexSettings {
            standard_conforming_strings: get(b"standard_conforming_strings") != Some(b"off"),
        },
        encoding: ClientEncoding::from_name(&String::from_utf8_lossy(encoding)),
    }
}

/// Reads a string of any number of statements.
pub(super) fn read(text: &Bytes, lexing: Lexing) -> Reading {
    let script = Script::new(text, lexing.settings);
    let mut statements = Vec::new();
    let mut depends = Vec::new();
    for piece in script.statements() {
        let before = &text[..piece.piece_offset()];
        statements.push(Statement {
            text: text.slice_ref(piece.piece()),
            shift: lexing.encoding.characters(before),
            ..statement(piece, lexing)
        });
        depends.push(piece.depends_on_settings() || !piece.piece().is_ascii());
    }
    Reading {
        statements,
        acceptable: script.problem().is_none(),
        lexing,
        depends,
    }
}

/// Reads the text of a Parse, which the server accepts only if it is one statement.
pub(super) fn read_one(text: &Bytes, lexing: Lexing) -> Statement {
    let mut reading = read(text, lexing);
    let one = (reading.statements.len() == 1).then(|| reading.statements.pop());
    match one.flatten() {
        Some(statement) => Statement {
            text: text.clone(),
            shift: 0,
            ..statement
        },
        None => Statement {
            text: text.clone(),
            redacted: Redacted::default(),
            types: Bytes::new(),
            sent: None,
            shift: 0,
            parameter: None,
            // Several statements are refused by the server; none is empty.
            order: if reading.statements.is_empty() {
                Order::Ordinary
            } else {
                Order::NeverRun
            },
            traits: Traits::default(),
        },
    }
}

/// Whether a text is a query that creates nothing.
pub(super) fn is_query(text: &Bytes, lexing: Lexing) -> bool {
    let script = Script::new(text, lexing.settings);
    script.problem().is_none()
        && script.statements().all(|piece| {
            matches!(
                sql::classify(piece),
                Command::Query(sql::Query { into: None })
            )
        })
}

/// Whether a text changes or reads rows, and creates nothing.
pub(super) fn changes_rows(text: &Bytes, lexing: Lexing) -> bool {
    let script = Script::new(text, lexing.settings);
    script.problem().is_none()
        && script.statements().all(|piece| {
            matches!(
                sql::classify(piece),
                Command::Modify | Command::Query(sql::Query { into: None })
            )
        })
}

fn statement(piece: &sql::Statement<'_>, lexing: Lexing) -> Statement {
    let command = sql::classify(piece);
    let calls = piece.calls();
    let order = if lexing.encoding.is_lexable() {
        order(piece, &command)
    } else {
        Order::Unreadable
    };
    let parameter = parameter(piece, &command, lexing);
    let mut redacted = sql::redact(piece, &command, RECORDED);
    redacted.whole &= parameter.is_none();
    Statement {
        text: Bytes::new(),
        redacted,
        types: Bytes::new(),
        sent: None,
        shift: 0,
        parameter,
        traits: traits(piece, &command, calls),
        order,
    }
}

fn parameter(piece: &sql::Statement<'_>, command: &Command, lexing: Lexing) -> Option<Parameter> {
    let declares = matches!(
        command,
        Command::Prepared(Prepared::Prepare(_))
            | Command::Ddl(Ddl {
                object: Object::Routine,
                ..
            })
    );
    if declares || !piece.text().contains(&b'$') {
        return None;
    }
    let token = piece
        .tokens()
        .find(|token| token.kind == TokenKind::Parameter)?;
    let number = std::str::from_utf8(&piece.text()[token.start + 1..token.end]).ok()?;
    let before = piece.offset() - piece.piece_offset() + token.start;
    Some(Parameter {
        number: number.parse().ok()?,
        position: lexing.encoding.characters(&piece.piece()[..before]) + 1,
    })
}

fn traits(piece: &sql::Statement<'_>, command: &Command, calls: Calls) -> Traits {
    let runs_code = matches!(command, Command::Do | Command::Call);
    let setting = matches!(command, Command::Setting(_) | Command::Discard(_));
    let names = |part: &[u8]| {
        let text = piece.text();
        text.windows(part.len())
            .any(|window| window.eq_ignore_ascii_case(part))
    };
    let sets_anything = setting || calls.contains(Calls::SET_CONFIG);
    let changes = command.may_change_constraints();
    Traits {
        writes: command.effect(calls) > Effect::Reads,
        surely_writes: command.effect(calls) == Effect::Writes,
        constraints: runs_code || (changes && names(b"defer")),
        catalogue: changes,
        changes_session: sets_anything,
        runs_code,
        calls: runs_code || may_call(command, calls),
        changes_lexing: sets_anything || runs_code,
        sets_lock_timeout: matches!(
            command,
            Command::Setting(Setting::Set { name, .. }) if name == "lock_timeout"
        ) || (calls.contains(Calls::SET_CONFIG) && names(b"lock_timeout")),
        makes_code: makes_code(command),
        sets_pauses: (sets_anything || runs_code)
            && PAUSES.iter().any(|name| names(name.as_bytes())),
        changes_role: sets_anything && (names(b"role") || names(b"authorization")),
    }
}

fn makes_code(command: &Command) -> bool {
    match command {
        Command::Ddl(ddl) => matches!(
            ddl.object,
            Object::Routine
                | Object::Trigger
                | Object::EventTrigger
                | Object::Rule
                | Object::Extension
        ),
        Command::Do | Command::Call => true,
        _ => false,
    }
}

fn may_call(command: &Command, calls: Calls) -> bool {
    match command {
        Command::Prepared(Prepared::Execute(_)) | Command::Cursor(Cursor::Fetch | Cursor::Move) => {
            true
        }
        Command::Query(_) | Command::Cursor(_) | Command::Copy(_) | Command::Explain { .. } => {
            calls.contains(Calls::FUNCTION)
        }
        _ => false,
    }
}

fn order(piece: &sql::Statement<'_>, command: &Command) -> Order {
    if let Some(refusal) = sql::refusal(piece, command) {
        return Order::Refused(Box::new(refusal));
    }
    match command {
        Command::Control(control) => control_order(control),
        Command::MalformedControl => Order::NeverRun,
        Command::Setting(setting) => setting_order(setting),
        Command::Discard(Discard::All) => Order::DiscardAll,
        Command::Discard(Discard::Temp) => Order::DiscardTemp,
        Command::Cursor(Cursor::Declare { name, hold }) => Order::Declare {
            name: name.as_bytes().to_vec(),
            hold: *hold,
        },
        Command::Cursor(Cursor::Close(Some(name))) => Order::Close(name.as_bytes().to_vec()),
        Command::Cursor(Cursor::Close(None)) => Order::CloseAll,
        Command::Prepared(Prepared::Prepare(name)) => Order::Prepare(name.as_bytes().to_vec()),
        Command::Prepared(Prepared::Execute(name)) => Order::Execute(name.as_bytes().to_vec()),
        Command::Prepared(Prepared::Deallocate(Some(name))) => {
            Order::Deallocate(name.as_bytes().to_vec())
        }
        Command::Prepared(Prepared::Deallocate(None)) => Order::DeallocateAll,
        Command::CreateTable(table) if table.temporary && table.on_commit != OnCommit::Preserve => {
            match &table.name {
                Some(name) => Order::CreateTemporary {
                    name: name.name.quoted(),
                    on_commit: table.on_commit,
                },
                None => Order::Ordinary,
            }
        }
        Command::Lock => Order::Lock,
        Command::Copy(copy) => match copy.end {
            Some(CopyEnd::Client) if copy.from => Order::CopyIn,
            _ => Order::Ordinary,
        },
        Command::Vacuum(tables) => Order::Vacuum(tables.clone()),
        // Some of its forms may run in a transaction: the server knows.
        Command::Server(sql::ServerObject::AlterSubscription) => Order::Ordinary,
        Command::Server(object) => Order::OutsideTransaction(server_command(*object)),
        Command::CreateIndex(_)
        | Command::DropIndex(_)
        | Command::Reindex(_)
        | Command::DetachPartition(_) => concurrently(piece, command),
        _ => Order::Ordinary,
    }
}

fn control_order(control: &Control) -> Order {
    let name = |name: &sql::Name| name.as_bytes().to_vec();
    match control {
        Control::Begin(of) => Order::Begin {
            start: false,
            modes: modes(*of),
        },
        Control::StartTransaction(of) => Order::Begin {
            start: true,
            modes: modes(*of),
        },
        Control::Commit { chain } => Order::Commit { chain: *chain },
        Control::Rollback { chain } => Order::Rollback { chain: *chain },
        Control::Savepoint(of) => Order::Savepoint(name(of)),
        Control::Release(of) => Order::Release(name(of)),
        Control::RollbackTo(of) => Order::RollbackTo(name(of)),
        // Refused before.
        Control::PrepareTransaction | Control::CommitPrepared | Control::RollbackPrepared => {
            Order::NeverRun
        }
    }
}

fn modes(modes: TransactionModes) -> Modes {
    Modes {
        read_only: modes.read_only,
        isolation: modes.isolation.is_some(),
        snapshot_isolation: matches!(
            modes.isolation,
            Some(Isolation::RepeatableRead | Isolation::Serializable)
        ),
    }
}

fn setting_order(setting: &Setting) -> Order {
    match setting {
        Setting::Set {
            scope: Scope::Session,
            name,
            value,
        } if name == "default_transaction_read_only" => Order::SetReadOnlyDefault {
            reset: false,
            value: match value {
                Value::Single(value) => Some(String::from_utf8_lossy(value).into_owned()),
                _ => None,
            },
        },
        Setting::Reset(name) if name == "default_transaction_read_only" => {
            Order::SetReadOnlyDefault {
                reset: true,
                value: None,
            }
        }
        Setting::ResetAll => Order::ResetAll,
        Setting::Reset(name) => Order::Reset(name.clone(), "RESET"),
        Setting::Set {
            scope: Scope::Session,
            name,
            value: Value::Default,
        } => Order::Reset(name.clone(), "SET"),
        Setting::Set {
            scope: Scope::Local,
            name,
            ..
        } => Order::SetLocal(name.clone()),
        Setting::Transaction(of) => Order::SetTransaction(modes(*of)),
        // Refused before.
        Setting::TransactionSnapshot => Order::NeverRun,
        Setting::SessionCharacteristics(of) => Order::SetCharacteristics(modes(*of)),
        Setting::Constraints {
            constraints,
            deferred,
        } => Order::SetConstraints {
            all: matches!(constraints, Constraints::All),
            deferred: *deferred,
        },
        _ => Order::Ordinary,
    }
}

fn server_command(object: sql::ServerObject) -> &'static str {
    use sql::ServerObject as Object;
    match object {
        Object::AlterSystem => "ALTER SYSTEM",
        Object::CreateDatabase => "CREATE DATABASE",
        Object::DropDatabase => "DROP DATABASE",
        Object::MoveDatabase => "ALTER DATABASE … SET TABLESPACE",
        Object::CreateTablespace => "CREATE TABLESPACE",
        Object::DropTablespace => "DROP TABLESPACE",
        Object::CreateSubscription => "CREATE SUBSCRIPTION",
        Object::AlterSubscription => "ALTER SUBSCRIPTION",
        Object::DropSubscription => "DROP SUBSCRIPTION",
    }
}

fn concurrently(piece: &sql::Statement<'_>, command: &Command) -> Order {
    let (kind, object) = match command {
        Command::CreateIndex(index) if index.concurrently => {
            (ConcurrentKind::CreateIndex, index.relation.as_ref())
        }
        Command::DropIndex(index) if index.concurrently => {
            (ConcurrentKind::DropIndex, index.names.first())
        }
        Command::Reindex(reindex) => match reindex.target {
            ReindexTarget::Schema => return Order::OutsideTransaction("REINDEX SCHEMA"),
            ReindexTarget::Database => return Order::OutsideTransaction("REINDEX DATABASE"),
            ReindexTarget::System => return Order::OutsideTransaction("REINDEX SYSTEM"),
            ReindexTarget::Index if reindex.concurrently => {
                (ConcurrentKind::ReindexIndex, reindex.name.as_ref())
            }
            ReindexTarget::Table if reindex.concurrently => {
                (ConcurrentKind::ReindexTable, reindex.name.as_ref())
            }
            ReindexTarget::Index | ReindexTarget::Table => return Order::Ordinary,
        },
        Command::DetachPartition(detach) if !detach.finalize => {
            (ConcurrentKind::DetachPartition, Some(&detach.table))
        }
        _ => return Order::Ordinary,
    };
    let partition = match command {
        Command::DetachPartition(detach) => detach.partition.quoted(),
        _ => Vec::new(),
    };
    let (several, cascade) = match command {
        Command::DropIndex(index) => (index.names.len() > 1, index.cascade),
        _ => (false, false),
    };
    Order::Concurrently(Box::new(Concurrently {
        kind,
        plain: sql::without_concurrently(piece).unwrap_or_default(),
        object: object.map(sql::QualifiedName::quoted).unwrap_or_default(),
        partition,
        several,
        cascade,
    }))
}
