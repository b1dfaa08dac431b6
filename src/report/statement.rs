//! One statement as it was executed.

use serde::{Deserialize, Serialize};

use super::Violation;

/// An error as the server wrote it, without DETAIL (which may hold rows).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerError {
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// The constraint, when the server names one.
    pub constraint: Option<String>,
    /// The table, when the server names one.
    pub table: Option<String>,
    /// The table's schema, when the server names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The columns of the violated constraint, as far as the server names them; never a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

impl ServerError {
    /// The columns that DETAIL names in front of their values: `Key (a, b)=(…)`, in any language.
    /// Only for violations of keys (SQLSTATE 23503, 23505, 23P01): other DETAILs begin with values.
    #[must_use]
    pub fn columns_of(detail: &str) -> Vec<String> {
        let key = detail
            .split_once(")=(")
            .and_then(|(key, _)| key.split_once('('));
        let Some((_, key)) = key else {
            return Vec::new();
        };
        let mut columns = vec![String::new()];
        let mut depth = 0_usize;
        for c in key.chars() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            match columns.last_mut() {
                Some(last) if c != ',' || depth > 0 => last.push(c),
                _ => columns.push(String::new()),
            }
        }
        columns.iter().map(|name| name.trim().to_owned()).collect()
    }

    /// A primary message without the value that it quotes. Errors about data (SQLSTATE class 22)
    /// name the value at fault: `invalid input syntax for type integer: "…"`, `value "…" is out of
    /// range for type smallint`.
    #[must_use]
    pub fn without_value(message: &str) -> String {
        const BEFORE: [&str; 2] = [": \"", "value \""];
        let begin = BEFORE
            .iter()
            .filter_map(|mark| message.find(mark).map(|at| at + mark.len()))
            .min();
        let end = message.rfind('"');
        match (begin, end) {
            (Some(begin), Some(end)) if begin <= end => {
                let (head, tail) = (message.get(..begin), message.get(end..));
                format!("{}…{}", head.unwrap_or_default(), tail.unwrap_or_default())
            }
            // In another language, or a value without such words in front of it.
            _ => without_quoted(message, |_| true),
        }
    }

    /// A syntax error without the constant that it quotes: `syntax error at or near "'…'"`. A word or
    /// a sign at which the server stopped stays.
    #[must_use]
    pub fn without_constant(message: &str) -> String {
        without_quoted(message, |quoted| {
            let word = quoted.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
            let sign = quoted.len() <= 2 && quoted.chars().all(|c| c.is_ascii_punctuation());
            !word && (!sign || quoted.contains('\''))
        })
    }
}

/// A message without what it quotes, from the first quote to the last, whatever quotes its language
/// has.
fn without_quoted(message: &str, hide: impl Fn(&str) -> bool) -> String {
    const OPEN: [char; 5] = ['"', '«', '»', '„', '“'];
    const CLOSE: [char; 5] = ['"', '«', '»', '“', '”'];
    let begin = message.find(OPEN);
    let inside = begin.and_then(|begin| {
        let width = message.get(begin..)?.chars().next()?.len_utf8();
        Some(begin + width)
    });
    let end = message.rfind(CLOSE);
    match (inside, end) {
        (Some(begin), Some(end)) if begin <= end => {
            let quoted = message.get(begin..end).unwrap_or_default();
            if !hide(quoted.trim()) {
                return message.to_owned();
            }
            let (head, tail) = (message.get(..begin), message.get(end..));
            format!("{}…{}", head.unwrap_or_default(), tail.unwrap_or_default())
        }
        _ => message.to_owned(),
    }
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum StatementOutcome {
    /// It completed.
    Done {
        /// The command tag, e.g. `ALTER TABLE` or `INSERT 0 5`.
        tag: String,
    },
    /// The server (or the rehearsal in its place) answered with an error.
    Error(ServerError),
    /// It never ended: the run was cut.
    Cut,
    /// It was replaced by another form or skipped; a finding says which.
    Substituted {
        /// What ran instead; empty when it was skipped.
        by: String,
    },
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// The text with the literals of DML normalised and passwords removed; at most 4 KiB.
    pub text: String,
    /// Whether that is all of it, comments aside: nothing was removed, cut, or sent apart as a bind
    /// value.
    #[serde(default)]
    pub whole: bool,
    /// The statement as it was sent, with its bind values. Kept only where a person asks for it on
    /// the command line, and never written into the document.
    #[serde(skip)]
    pub sent: Option<String>,
    /// Which of the command's connections, counting from 1.
    pub client: u32,
    /// Which virtual transaction, counting from 1; `None` in autocommit.
    pub transaction: Option<u32>,
    /// To which of Alembic's revisions it belongs, counting from 1 in the order of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// Where it failed at a constraint, what is known of the rows that violate it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
    /// From sending to the last answer, in microseconds.
    pub micros: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: StatementOutcome,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_statement_as_it_was_sent_is_no_part_of_the_document() {
        let statement = Statement {
            text: "INSERT INTO t VALUES (?)".into(),
            whole: false,
            sent: Some("INSERT INTO t VALUES ('secret')".into()),
            client: 1,
            transaction: None,
            revision: None,
            violation: None,
            micros: 1,
            outcome: StatementOutcome::Cut,
        };
        let json = serde_json::to_string(&statement).unwrap();
        assert!(!json.contains("secret"), "{json}");
    }

    #[rstest]
    #[case("Key (a)=(secret) already exists.", &["a"])]
    #[case("Key (a, b)=(1, ) x (2)=(3)) is duplicated.", &["a", "b"])]
    #[case("Schlüssel (lower(a), \"B c\")=(x, y) existiert bereits.", &["lower(a)", "\"B c\""])]
    #[case("Key is not present in table \"t\".", &[])]
    fn the_columns_of_a_key_are_told_without_their_values(
        #[case] detail: &str,
        #[case] columns: &[&str],
    ) {
        assert_eq!(ServerError::columns_of(detail), columns);
    }

    #[rstest]
    #[case(
        "invalid input syntax for type integer: \"secret\"",
        "invalid input syntax for type integer: \"…\""
    )]
    #[case(
        "value \"99999\" is out of range for type smallint",
        "value \"…\" is out of range for type smallint"
    )]
    #[case("malformed array literal: \"a\"b\"", "malformed array literal: \"…\"")]
    #[case("division by zero", "division by zero")]
    #[case("numeric field overflow", "numeric field overflow")]
    #[case(
        "ungültige Eingabesyntax für Typ integer: »secret«",
        "ungültige Eingabesyntax für Typ integer: »…«"
    )]
    #[case(
        "la valeur « secret » est en dehors des limites du type smallint",
        "la valeur «…» est en dehors des limites du type smallint"
    )]
    #[case(
        "time zone \"secret\" not recognized",
        "time zone \"…\" not recognized"
    )]
    #[case("nieprawidłowa składnia: „secret”", "nieprawidłowa składnia: „…”")]
    fn a_value_that_a_message_quotes_is_taken_away(#[case] message: &str, #[case] clean: &str) {
        assert_eq!(ServerError::without_value(message), clean);
    }

    #[rstest]
    #[case(
        "syntax error at or near \"'secret'\"",
        "syntax error at or near \"…\""
    )]
    #[case(
        "unterminated quoted string at or near \"'sec\"ret\"",
        "unterminated quoted string at or near \"…\""
    )]
    #[case("Syntaxfehler bei »$$secret$$«", "Syntaxfehler bei »…«")]
    #[case("syntax error at or near \"4711\"", "syntax error at or near \"…\"")]
    #[case("syntax error at or near \"frmo\"", "syntax error at or near \"frmo\"")]
    #[case("syntax error at or near \")\"", "syntax error at or near \")\"")]
    #[case("syntax error at end of input", "syntax error at end of input")]
    fn a_constant_at_which_the_server_stopped_reading_is_taken_away(
        #[case] message: &str,
        #[case] clean: &str,
    ) {
        assert_eq!(ServerError::without_constant(message), clean);
    }
}
