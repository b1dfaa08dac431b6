//! Settings, cursors, prepared statements, channels (manual: SET, SET TRANSACTION, SET CONSTRAINTS,
//! RESET, SHOW, DISCARD, DECLARE, FETCH, MOVE, CLOSE, EXECUTE, DEALLOCATE, LISTEN, UNLISTEN).

use super::super::command::{
    Command, Constraints, Cursor, Discard, Prepared, Scope, Setting, Value,
};
use super::super::lexer::TokenKind;
use super::super::tokens::Tokens;
use super::transaction::modes;

/// What stands behind SET.
pub(super) fn set(tokens: &mut Tokens<'_>) -> Command {
    setting(tokens).map_or(Command::Unknown, Command::Setting)
}

fn setting(tokens: &mut Tokens<'_>) -> Option<Setting> {
    if is_keyword(tokens, "constraints") {
        tokens.bump();
        return constraints(tokens);
    }
    let mut scope = Scope::Session;
    if is_keyword(tokens, "local") {
        tokens.bump();
        scope = Scope::Local;
    } else if is_keyword(tokens, "session") && !followed_by(tokens, "authorization") {
        if tokens.eat_all(&["session", "characteristics", "as", "transaction"]) {
            return modes(tokens, false).map(Setting::SessionCharacteristics);
        }
        tokens.bump();
        if tokens.eat_all(&["session", "characteristics", "as", "transaction"]) {
            return modes(tokens, false).map(Setting::SessionCharacteristics);
        }
    }
    if is_keyword(tokens, "transaction") {
        tokens.bump();
        if tokens.eat("snapshot") {
            return tokens.eat_string().then_some(Setting::TransactionSnapshot);
        }
        return modes(tokens, false).map(Setting::Transaction);
    }
    if let Some((name, value)) = special(tokens) {
        let name = name.to_owned();
        return Some(Setting::Set { scope, name, value });
    }
    let name = parameter(tokens)?;
    let value = if tokens.eat_all(&["from", "current"]) {
        Value::FromCurrent
    } else if tokens.eat("to") || tokens.eat_kind(TokenKind::Other(b'=')) {
        value(tokens)
    } else {
        return None;
    };
    Some(Setting::Set { scope, name, value })
}

/// Whether the next token is this word as a key word, and not the beginning of the name of a
/// parameter: `SET session.user_id = 5`, `SET local = 5`.
fn is_keyword(tokens: &Tokens<'_>, word: &str) -> bool {
    let mut ahead = tokens.clone();
    ahead.eat(word)
        && !ahead.is_kind(TokenKind::Dot)
        && !ahead.is_kind(TokenKind::Other(b'='))
        && !ahead.is("to")
}

fn followed_by(tokens: &Tokens<'_>, word: &str) -> bool {
    let mut ahead = tokens.clone();
    ahead.bump();
    ahead.is(word)
}

/// The forms of SET that do not name their parameter.
fn special(tokens: &mut Tokens<'_>) -> Option<(&'static str, Value)> {
    let name = if tokens.eat_all(&["time", "zone"]) {
        "timezone"
    } else if tokens.eat_all(&["session", "authorization"]) {
        "session_authorization"
    } else if tokens.eat_all(&["xml", "option"]) {
        "xmloption"
    } else if is_keyword(tokens, "names") {
        tokens.bump();
        "client_encoding"
    } else if is_keyword(tokens, "schema") {
        tokens.bump();
        "search_path"
    } else if is_keyword(tokens, "role") {
        tokens.bump();
        "role"
    } else {
        return None;
    };
    Some((name, value(tokens)))
}

/// A parameter's name: words with dots between.
fn parameter(tokens: &mut Tokens<'_>) -> Option<String> {
    let mut name = String::new();
    loop {
        let part = tokens.name()?;
        name.push_str(&String::from_utf8_lossy(part.as_bytes()).to_ascii_lowercase());
        if !tokens.eat_kind(TokenKind::Dot) {
            return Some(name);
        }
        name.push('.');
    }
}

fn value(tokens: &mut Tokens<'_>) -> Value {
    let Some(token) = tokens.bump() else {
        // SET NAMES without a value.
        return Value::Default;
    };
    if !tokens.is_at_end() {
        return Value::Other;
    }
    match token.kind {
        TokenKind::Word if tokens.text(token).eq_ignore_ascii_case(b"default") => Value::Default,
        TokenKind::Word => Value::Single(tokens.text(token).to_ascii_lowercase()),
        TokenKind::Number => Value::Single(tokens.text(token).to_vec()),
        TokenKind::String(_) => tokens.value(token).map_or(Value::Other, Value::Single),
        _ => Value::Other,
    }
}

fn constraints(tokens: &mut Tokens<'_>) -> Option<Setting> {
    let constraints = if tokens.eat("all") {
        Constraints::All
    } else {
        let mut names = vec![tokens.qualified_name()?];
        while tokens.eat_kind(TokenKind::Comma) {
            names.push(tokens.qualified_name()?);
        }
        Constraints::Named(names)
    };
    let deferred = tokens.eat("deferred");
    ((deferred || tokens.eat("immediate")) && tokens.is_at_end()).then_some(Setting::Constraints {
        constraints,
        deferred,
    })
}

/// What stands behind RESET.
pub(super) fn reset(tokens: &mut Tokens<'_>) -> Command {
    if tokens.eat("all") && tokens.is_at_end() {
        return Command::Setting(Setting::ResetAll);
    }
    named(tokens).map_or(Command::Unknown, |name| {
        Command::Setting(Setting::Reset(name))
    })
}

/// What stands behind SHOW.
pub(super) fn show(tokens: &mut Tokens<'_>) -> Command {
    if tokens.eat("all") && tokens.is_at_end() {
        return Command::Setting(Setting::ShowAll);
    }
    named(tokens).map_or(Command::Unknown, |name| {
        Command::Setting(Setting::Show(name))
    })
}

fn named(tokens: &mut Tokens<'_>) -> Option<String> {
    let name = if tokens.eat_all(&["time", "zone"]) {
        "timezone".to_owned()
    } else if tokens.eat_all(&["transaction", "isolation", "level"]) {
        "transaction_isolation".to_owned()
    } else if tokens.eat_all(&["session", "authorization"]) {
        "session_authorization".to_owned()
    } else {
        parameter(tokens)?
    };
    tokens.is_at_end().then_some(name)
}

/// What stands behind DISCARD.
pub(super) fn discard(tokens: &mut Tokens<'_>) -> Command {
    let what = if tokens.eat("all") {
        Discard::All
    } else if tokens.eat("plans") {
        Discard::Plans
    } else if tokens.eat("sequences") {
        Discard::Sequences
    } else if tokens.eat_any(&["temp", "temporary"]) {
        Discard::Temp
    } else {
        return Command::Unknown;
    };
    if tokens.is_at_end() {
        Command::Discard(what)
    } else {
        Command::Unknown
    }
}

/// What stands behind DECLARE, CLOSE, FETCH or MOVE.
pub(super) fn cursor(word: &[u8], tokens: &mut Tokens<'_>) -> Command {
    let cursor = match word {
        b"fetch" => Some(Cursor::Fetch),
        b"move" => Some(Cursor::Move),
        b"close" if tokens.eat("all") => tokens.is_at_end().then_some(Cursor::Close(None)),
        b"close" => tokens
            .name()
            .filter(|_| tokens.is_at_end())
            .map(|name| Cursor::Close(Some(name))),
        _ => declare(tokens),
    };
    cursor.map_or(Command::Unknown, Command::Cursor)
}

fn declare(tokens: &mut Tokens<'_>) -> Option<Cursor> {
    let name = tokens.name()?;
    if !tokens.skip_to(&["cursor"]) {
        return None;
    }
    tokens.bump();
    let hold = tokens.eat_all(&["with", "hold"]);
    Some(Cursor::Declare { name, hold })
}

/// What stands behind EXECUTE or DEALLOCATE.
pub(super) fn prepared(word: &[u8], tokens: &mut Tokens<'_>) -> Command {
    if word == b"execute" {
        let name = tokens.name();
        return name.map_or(Command::Unknown, |name| {
            Command::Prepared(Prepared::Execute(name))
        });
    }
    if is_deallocate_prepare(tokens) {
        tokens.bump();
    }
    let name = if tokens.eat("all") {
        Some(None)
    } else {
        tokens.name().map(Some)
    };
    match name {
        Some(name) if tokens.is_at_end() => Command::Prepared(Prepared::Deallocate(name)),
        _ => Command::Unknown,
    }
}

/// DEALLOCATE PREPARE name, as opposed to a statement that is called `prepare`.
fn is_deallocate_prepare(tokens: &Tokens<'_>) -> bool {
    let mut ahead = tokens.clone();
    ahead.eat("prepare") && !ahead.is_at_end()
}

/// What stands behind LISTEN or UNLISTEN.
pub(super) fn listen(word: &[u8], tokens: &mut Tokens<'_>) -> Command {
    let all = word == b"unlisten" && tokens.eat_kind(TokenKind::Other(b'*'));
    let name = if all { None } else { tokens.name() };
    match name {
        _ if !tokens.is_at_end() => Command::Unknown,
        Some(name) if word == b"listen" => Command::Listen(name),
        Some(name) => Command::Unlisten(Some(name)),
        None if all => Command::Unlisten(None),
        None => Command::Unknown,
    }
}
