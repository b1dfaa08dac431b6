//! Asking a server in text.

use std::future::Future;

/// One row in text form; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server answered with an error.
    #[error("the server answered {code}: {message}")]
    Server {
        /// SQLSTATE.
        code: String,
        /// The primary message, without DETAIL (which may hold rows).
        message: String,
    },
    /// The connection is gone.
    #[error("the connection to the server was lost")]
    Lost(#[source] Option<tokio_postgres::Error>),
    /// The answer does not have the shape that the question asks for.
    #[error("unexpected answer to {0}")]
    Shape(&'static str),
}

impl AskError {
    /// The SQLSTATE, when the server answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            Self::Lost(_) | Self::Shape(_) => None,
        }
    }
}

/// Something that answers SQL: a connection, or the rehearsal's own transaction.
pub trait Ask: Send {
    /// Sends SQL as a simple query and gives back the rows of all its statements, in text form.
    fn ask(&mut self, sql: &str) -> impl Future<Output = Result<Vec<Row>, AskError>> + Send;
}

/// The first column of the first row.
///
/// # Errors
/// When the server does not answer, or not with one value.
pub async fn one(asker: &mut impl Ask, what: &'static str, sql: &str) -> Result<String, AskError> {
    asker
        .ask(sql)
        .await?
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next())
        .flatten()
        .ok_or(AskError::Shape(what))
}

/// Writes text as an SQL string literal, whatever `standard_conforming_strings` is.
#[must_use]
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_literal_holds_quotes_and_backslashes() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
