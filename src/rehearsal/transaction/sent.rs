//! A statement as it was sent: for a script, where a person asks for it.

use std::sync::Arc;

use super::Transaction;
use super::event::Surroundings;
use super::order::{Order, Statement};
use super::reading::lexing_of;
use crate::rehearsal::sql::{LexSettings, Lexer, TokenKind, constant};
use crate::rehearsal::wire::{bind_values, parse_types};

/// The longest text that is kept, in bytes.
const LIMIT: usize = 1 << 20;

impl<S: Surroundings> Transaction<S> {
    /// The text of a statement that is being run; `None` where nobody asks, or it cannot be said:
    /// rows of COPY, a bind value in a form that only its type knows.
    pub(super) fn as_sent(&self, statement: &Statement) -> Option<String> {
        if !self.opening.show_values || statement.order == Order::CopyIn {
            return None;
        }
        if statement.parameter.is_some() {
            return statement.sent.clone();
        }
        let text = std::str::from_utf8(&statement.text).ok()?;
        (text.len() <= LIMIT).then(|| text.to_owned())
    }

    /// The same statement with the values of a Bind in its text.
    pub(super) fn with_values(
        &self,
        statement: Option<Arc<Statement>>,
        bound: &[u8],
    ) -> Option<Arc<Statement>> {
        let statement = statement?;
        if !self.opening.show_values || statement.parameter.is_none() {
            return Some(statement);
        }
        let settings = lexing_of(&self.upstream.parameters).settings;
        let sent = constants(bound, &statement.types)
            .and_then(|constants| fill(&statement.text, settings, &constants))
            .filter(|text| text.len() <= LIMIT);
        Some(Arc::new(Statement {
            sent,
            ..(*statement).clone()
        }))
    }
}

fn constants(bound: &[u8], types: &[u8]) -> Option<Vec<String>> {
    let types = parse_types(types)?;
    let values = bind_values(bound)?.into_iter().enumerate();
    values
        .map(|(index, value)| {
            let kind = types.get(index).copied().unwrap_or(0);
            constant(value.bytes, value.binary, kind)
        })
        .collect()
}

/// Puts a constant in the place of each parameter.
fn fill(text: &[u8], settings: LexSettings, constants: &[String]) -> Option<String> {
    let mut filled = Vec::with_capacity(text.len());
    let mut copied = 0;
    for token in Lexer::new(text, settings) {
        if token.kind != TokenKind::Parameter {
            continue;
        }
        let number = text.get(token.start + 1..token.end)?;
        let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
        filled.extend_from_slice(text.get(copied..token.start)?);
        filled.extend_from_slice(constants.get(number.checked_sub(1)?)?.as_bytes());
        copied = token.end;
    }
    filled.extend_from_slice(text.get(copied..)?);
    String::from_utf8(filled).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_filled_in_where_they_stand_and_nowhere_else() {
        let text = b"insert into t values ($2, '$1', $1) -- $1\n on conflict do nothing";
        let constants = ["'a'".to_owned(), "NULL".to_owned()];
        assert_eq!(
            fill(text, LexSettings::default(), &constants).unwrap(),
            "insert into t values (NULL, '$1', 'a') -- $1\n on conflict do nothing"
        );
        assert_eq!(fill(b"select $3", LexSettings::default(), &constants), None);
    }
}
