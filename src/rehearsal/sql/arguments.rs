//! The arguments of the few functions whose arguments decide what they do.

use super::lexer::{Lexer, TokenKind};
use super::tokens::Tokens;

/// An argument, as far as it can be told without evaluating anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    /// A string constant, possibly with a cast behind it.
    Text(Vec<u8>),
    /// A key word: true, false, null.
    Word(Vec<u8>),
    /// `pg_get_serial_sequence('table', 'column')`.
    SerialSequence(Vec<u8>, Vec<u8>),
    /// Anything else.
    Other,
}

/// The arguments of every call of `function`, a name in lower case, in a statement's text.
pub(super) fn calls_of(lexer: Lexer<'_>, function: &str) -> Vec<Vec<Argument>> {
    let mut tokens = Tokens::new(lexer);
    let mut calls = Vec::new();
    while let Some(token) = tokens.bump() {
        let text = tokens.text(token);
        let named = match token.kind {
            TokenKind::Word => text.eq_ignore_ascii_case(function.as_bytes()),
            TokenKind::QuotedIdentifier => text.get(1..text.len() - 1) == Some(function.as_bytes()),
            _ => false,
        };
        if named && tokens.is_kind(TokenKind::OpenParenthesis) {
            calls.push(arguments(&mut tokens.clone()));
        }
    }
    calls
}

fn arguments(tokens: &mut Tokens<'_>) -> Vec<Argument> {
    let mut arguments = Vec::new();
    tokens.bump();
    while !tokens.is_at_end() && !tokens.is_kind(TokenKind::CloseParenthesis) {
        arguments.push(argument(tokens));
        if !tokens.eat_kind(TokenKind::Comma) {
            break;
        }
    }
    arguments
}

/// One argument; whatever is not understood makes the whole argument [`Argument::Other`].
fn argument(tokens: &mut Tokens<'_>) -> Argument {
    let mut argument = simple(tokens).unwrap_or(Argument::Other);
    let is_end = |tokens: &Tokens<'_>| {
        tokens.is_at_end()
            || tokens.is_kind(TokenKind::Comma)
            || tokens.is_kind(TokenKind::CloseParenthesis)
    };
    if tokens.eat_kind(TokenKind::Other(b':')) && tokens.eat_kind(TokenKind::Other(b':')) {
        // A cast of a constant to regclass or text leaves its meaning.
        tokens.qualified_name();
    }
    while !is_end(tokens) {
        argument = Argument::Other;
        if tokens.is_kind(TokenKind::OpenParenthesis) {
            tokens.skip_parentheses();
        } else {
            tokens.bump();
        }
    }
    argument
}

fn simple(tokens: &mut Tokens<'_>) -> Option<Argument> {
    let token = tokens.peek()?;
    match token.kind {
        TokenKind::String(_) => {
            tokens.bump();
            tokens.value(token).map(Argument::Text)
        }
        TokenKind::Word => {
            let word = tokens.text(token).to_ascii_lowercase();
            let mut ahead = tokens.clone();
            ahead.bump();
            if word == b"pg_catalog" && ahead.eat_kind(TokenKind::Dot) {
                *tokens = ahead;
                return simple(tokens);
            }
            if !ahead.is_kind(TokenKind::OpenParenthesis) {
                *tokens = ahead;
                return Some(Argument::Word(word));
            }
            if word != b"pg_get_serial_sequence" {
                return None;
            }
            let inner = arguments(&mut ahead);
            if let [Argument::Text(table), Argument::Text(column)] = &inner[..]
                && ahead.eat_kind(TokenKind::CloseParenthesis)
            {
                *tokens = ahead;
                return Some(Argument::SerialSequence(table.clone(), column.clone()));
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::sql::lexer::LexSettings;

    fn calls(text: &str) -> Vec<Vec<Argument>> {
        calls_of(Lexer::new(text.as_bytes(), LexSettings::default()), "f")
    }

    #[test]
    fn constants_are_read_and_expressions_are_not_guessed() {
        let text = |text: &str| Argument::Text(text.into());
        assert_eq!(
            calls("select f('a''b', TRUE), g(F('x'::regclass, 1 + 1))"),
            [
                vec![text("a'b"), Argument::Word(b"true".to_vec())],
                vec![text("x"), Argument::Other],
            ]
        );
        assert_eq!(
            calls(
                "select pg_catalog.\"f\"(pg_get_serial_sequence('t', 'id'), coalesce(max(id), 1)) from t"
            ),
            [vec![
                Argument::SerialSequence(b"t".to_vec(), b"id".to_vec()),
                Argument::Other,
            ]]
        );
        assert_eq!(
            calls("select f('a' || 'b'), f(), f"),
            [vec![Argument::Other], vec![]]
        );
        assert_eq!(calls("select f("), [Vec::new()]);
    }
}
