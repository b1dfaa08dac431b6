//! Telling statements apart by their leading words.
//!
//! The forms are those of the manual's "SQL Commands". Transaction control is read to its last
//! token: what is not exactly one of the grammar's forms is [`Command::MalformedControl`], since a
//! server would refuse it rather than obey it. Everything else is read as far as is needed.

mod definition;
mod maintenance;
mod session;
mod transaction;

use super::calls::Calls;
use super::command::{Command, CopyCommand, CopyEnd, CreateTable, OnCommit, Query};
use super::lexer::TokenKind;
use super::split::Statement;
use super::tokens::Tokens;

/// What a statement is.
#[must_use]
pub fn classify(statement: &Statement<'_>) -> Command {
    let mut tokens = Tokens::new(statement.tokens());
    command(&mut tokens, statement.calls())
}

/// What the statement is that begins at the next token.
pub(super) fn command(tokens: &mut Tokens<'_>, calls: Calls) -> Command {
    let Some(first) = tokens.peek() else {
        return Command::Empty;
    };
    if first.kind == TokenKind::OpenParenthesis {
        // A SELECT in parentheses; nothing else begins like this.
        return query(tokens, calls);
    }
    if first.kind != TokenKind::Word {
        return Command::Unknown;
    }
    let word = tokens.text(first);
    // The longest leading word is REASSIGN's neighbour DEALLOCATE.
    let mut lower = [0; 10];
    let Some(lower) = lower.get_mut(..word.len()) else {
        return Command::Unknown;
    };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    match &*lower {
        b"select" | b"values" | b"table" | b"with" => return query(tokens, calls),
        b"insert" | b"update" | b"delete" | b"merge" => return Command::Modify,
        _ => {}
    }
    tokens.bump();
    match &*lower {
        b"begin" | b"start" | b"commit" | b"end" | b"rollback" | b"abort" | b"savepoint"
        | b"release" => transaction::control(lower, tokens),
        b"prepare" => transaction::prepare(tokens),
        b"execute" | b"deallocate" => session::prepared(lower, tokens),
        b"set" => session::set(tokens),
        b"reset" => session::reset(tokens),
        b"show" => session::show(tokens),
        b"discard" => session::discard(tokens),
        b"declare" | b"close" | b"fetch" | b"move" => session::cursor(lower, tokens),
        b"listen" | b"unlisten" => session::listen(lower, tokens),
        b"notify" => Command::Notify,
        b"lock" => Command::Lock,
        b"copy" => copy(tokens),
        b"do" => Command::Do,
        b"call" => Command::Call,
        b"explain" => explain(tokens, calls),
        b"truncate" => Command::Truncate,
        b"reindex" => maintenance::reindex(tokens),
        b"cluster" => maintenance::cluster(tokens),
        b"vacuum" => maintenance::vacuum(tokens),
        b"analyze" | b"analyse" => Command::Analyze,
        b"checkpoint" => Command::Checkpoint,
        b"load" => Command::Load,
        b"create" => definition::create(tokens),
        b"alter" => definition::alter(tokens),
        b"drop" => definition::drop(tokens),
        b"comment" | b"grant" | b"revoke" | b"reassign" | b"refresh" | b"import" | b"security" => {
            definition::other(lower, tokens)
        }
        _ => Command::Unknown,
    }
}

fn query(tokens: &mut Tokens<'_>, calls: Calls) -> Command {
    // INTO behind a data-modifying word is the one of INSERT, in a WITH.
    let into = if calls.contains(Calls::INTO) && tokens.skip_to(&["insert", "merge", "into"]) {
        tokens.eat("into").then(|| into(tokens))
    } else {
        None
    };
    Command::Query(Query { into })
}

fn into(tokens: &mut Tokens<'_>) -> CreateTable {
    tokens.eat_any(&["local", "global"]);
    let temporary = tokens.eat_any(&["temporary", "temp"]);
    tokens.eat("unlogged");
    tokens.eat("table");
    let name = tokens.qualified_name();
    CreateTable {
        temporary: temporary || name.as_ref().is_some_and(|name| name.is_temporary()),
        foreign: false,
        if_not_exists: false,
        name,
        on_commit: OnCommit::Preserve,
    }
}

fn copy(tokens: &mut Tokens<'_>) -> Command {
    tokens.eat("binary");
    // A table, whose columns may follow in parentheses, or a query in them.
    tokens.qualified_name();
    tokens.skip_parentheses();
    let from = tokens.eat("from");
    let end = if !from && !tokens.eat("to") {
        None
    } else if tokens.eat_any(&["stdin", "stdout"]) {
        Some(CopyEnd::Client)
    } else if tokens.eat("program") {
        Some(CopyEnd::Program)
    } else if tokens.eat_string() {
        Some(CopyEnd::File)
    } else {
        None
    };
    Command::Copy(CopyCommand { from, end })
}

fn explain(tokens: &mut Tokens<'_>, calls: Calls) -> Command {
    let mut analyze = false;
    if tokens.is_kind(TokenKind::OpenParenthesis) {
        let mut ahead = tokens.clone();
        ahead.bump();
        analyze = explain_options(&mut ahead);
        // EXPLAIN (SELECT …) has no options, but a query in parentheses.
        if !["select", "values", "table", "with"].iter().any(|word| {
            let mut inside = tokens.clone();
            inside.bump();
            inside.is(word) || inside.is_kind(TokenKind::OpenParenthesis)
        }) {
            tokens.skip_parentheses();
        } else {
            analyze = false;
        }
    } else {
        analyze |= tokens.eat_any(&["analyze", "analyse"]);
        tokens.eat("verbose");
    }
    Command::Explain {
        analyze,
        inner: Box::new(command(tokens, calls)),
    }
}

/// Whether ANALYZE is among the options in parentheses and not switched off. The last one counts.
fn explain_options(tokens: &mut Tokens<'_>) -> bool {
    let mut analyze = false;
    while !tokens.is_at_end() && !tokens.is_kind(TokenKind::CloseParenthesis) {
        if tokens.eat_any(&["analyze", "analyse"]) {
            analyze = !is_off(tokens);
        }
        tokens.bump();
    }
    analyze
}

/// Whether an option's value switches it off; without a value it is on.
fn is_off(tokens: &Tokens<'_>) -> bool {
    tokens.peek().is_some_and(|token| {
        let text = match token.kind {
            TokenKind::String(_) => tokens.value(token).unwrap_or_default(),
            _ => tokens.text(token).to_vec(),
        };
        [&b"off"[..], b"false", b"0"]
            .iter()
            .any(|off| text.eq_ignore_ascii_case(off))
    })
}

#[cfg(test)]
mod tests;
