//! What a DO block runs, as far as its text says: its statements, what they call, and the constant
//! strings in it, which EXECUTE may run.

use super::calls::Calls;
use super::classify;
use super::command::Command;
use super::lexer::{Lexer, TokenKind};
use super::literal::string_value;
use super::split::{Script, Statement};
use super::tokens::Tokens;

/// Strings in strings: `DO $$… EXECUTE '… EXECUTE ''…'' …' …$$`.
const DEPTH: usize = 3;

/// Behind these words of PL/pgSQL a statement may begin, as it does behind a `;` and a `<<label>>`.
const OPENING: [&str; 4] = ["begin", "then", "else", "loop"];

/// The contents of a body.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Its statements.
    pub commands: Vec<Command>,
    /// What they call.
    pub calls: Calls,
}

impl Body {
    /// The body of a DO statement.
    pub(super) fn of(statement: &Statement<'_>) -> Self {
        let mut body = Self::default();
        body.read_strings(statement.tokens(), DEPTH);
        body
    }

    fn read_strings(&mut self, lexer: Lexer<'_>, depth: usize) {
        let (settings, text) = (lexer.settings(), lexer.text());
        for token in lexer {
            if depth > 0
                && matches!(token.kind, TokenKind::String(_))
                && let Some(value) = string_value(token, text, settings)
            {
                let value = formatted(&value);
                for piece in Script::new(&value, settings).pieces() {
                    self.calls = self.calls.union(piece.calls());
                    self.read_statements(piece);
                    self.read_strings(piece.tokens(), depth - 1);
                }
            }
        }
    }

    fn read_statements(&mut self, piece: &Statement<'_>) {
        let mut tokens = Tokens::new(piece.tokens());
        let mut begins = true;
        while !tokens.is_at_end() {
            if begins {
                self.commands
                    .push(classify::command(&mut tokens.clone(), piece.calls()));
            }
            begins = OPENING.iter().any(|word| tokens.is(word))
                || tokens.is_kind(TokenKind::Other(b'>'));
            tokens.bump();
        }
    }
}

/// A string as `format` would make it, with a name where it puts something in.
fn formatted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        at += 1;
        let width = text[at..]
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'$' | b'-' | b'*'))
            .count();
        let stands_in: &[u8] = match (byte, text.get(at + width)) {
            (b'%', Some(b'I' | b's')) => b"x",
            (b'%', Some(b'L')) => b"''",
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(stands_in);
        at += width + 1;
    }
    out
}
