//! Transaction control, read to the end (manual: BEGIN, START TRANSACTION, COMMIT, END, ROLLBACK,
//! ABORT, SAVEPOINT, RELEASE SAVEPOINT, ROLLBACK TO SAVEPOINT, PREPARE TRANSACTION, COMMIT
//! PREPARED, ROLLBACK PREPARED).

use super::super::command::{Command, Control, Isolation, Prepared, TransactionModes};
use super::super::lexer::TokenKind;
use super::super::name::Name;
use super::super::tokens::Tokens;

/// What a statement is whose first word, already taken, is one of transaction control.
pub(super) fn control(word: &[u8], tokens: &mut Tokens<'_>) -> Command {
    let control = match word {
        b"begin" => {
            tokens.eat_any(&["work", "transaction"]);
            modes(tokens, true).map(Control::Begin)
        }
        b"start" if tokens.eat("transaction") => modes(tokens, true).map(Control::StartTransaction),
        b"commit" if tokens.eat("prepared") => {
            tokens.eat_string().then_some(Control::CommitPrepared)
        }
        b"commit" | b"end" => {
            tokens.eat_any(&["work", "transaction"]);
            chain(tokens).map(|chain| Control::Commit { chain })
        }
        b"rollback" if tokens.eat("prepared") => {
            tokens.eat_string().then_some(Control::RollbackPrepared)
        }
        b"rollback" => {
            tokens.eat_any(&["work", "transaction"]);
            if tokens.eat("to") {
                savepoint(tokens).map(Control::RollbackTo)
            } else {
                chain(tokens).map(|chain| Control::Rollback { chain })
            }
        }
        b"abort" => {
            tokens.eat_any(&["work", "transaction"]);
            chain(tokens).map(|chain| Control::Rollback { chain })
        }
        b"savepoint" => tokens.name().map(Control::Savepoint),
        b"release" => savepoint(tokens).map(Control::Release),
        _ => None,
    };
    complete(control, tokens)
}

/// PREPARE: of a transaction when a string follows, else of a statement, which may itself be named
/// `transaction`.
pub(super) fn prepare(tokens: &mut Tokens<'_>) -> Command {
    let mut ahead = tokens.clone();
    if ahead.eat("transaction") && !ahead.is("as") && !ahead.is_kind(TokenKind::OpenParenthesis) {
        let string = ahead.eat_string();
        return complete(string.then_some(Control::PrepareTransaction), &ahead);
    }
    match tokens.name() {
        Some(name) => Command::Prepared(Prepared::Prepare(name)),
        None => Command::Unknown,
    }
}

fn complete(control: Option<Control>, tokens: &Tokens<'_>) -> Command {
    match control {
        Some(control) if tokens.is_at_end() => Command::Control(control),
        _ => Command::MalformedControl,
    }
}

/// `[SAVEPOINT] name`, where the name may be `savepoint` too.
fn savepoint(tokens: &mut Tokens<'_>) -> Option<Name> {
    if tokens.eat("savepoint") && tokens.is_at_end() {
        return Some(Name::from("savepoint"));
    }
    tokens.name()
}

/// `[AND [NO] CHAIN]`
fn chain(tokens: &mut Tokens<'_>) -> Option<bool> {
    if !tokens.eat("and") {
        return Some(false);
    }
    let no = tokens.eat("no");
    tokens.eat("chain").then_some(!no)
}

/// A list of transaction modes, with or without commas; a mode that is named twice takes the last
/// value. `None` if there is something else, or nothing where something must be.
pub(super) fn modes(tokens: &mut Tokens<'_>, may_be_empty: bool) -> Option<TransactionModes> {
    let mut modes = TransactionModes::default();
    if tokens.is_at_end() {
        return may_be_empty.then_some(modes);
    }
    loop {
        if tokens.eat_all(&["isolation", "level"]) {
            modes.isolation = Some(isolation(tokens)?);
        } else if tokens.eat_all(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if tokens.eat_all(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if tokens.eat("deferrable") {
            modes.deferrable = Some(true);
        } else if tokens.eat_all(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else {
            return None;
        }
        if tokens.is_at_end() {
            return Some(modes);
        }
        tokens.eat_kind(TokenKind::Comma);
    }
}

fn isolation(tokens: &mut Tokens<'_>) -> Option<Isolation> {
    if tokens.eat_all(&["read", "uncommitted"]) {
        Some(Isolation::ReadUncommitted)
    } else if tokens.eat_all(&["read", "committed"]) {
        Some(Isolation::ReadCommitted)
    } else if tokens.eat_all(&["repeatable", "read"]) {
        Some(Isolation::RepeatableRead)
    } else if tokens.eat("serializable") {
        Some(Isolation::Serializable)
    } else {
        None
    }
}
