//! The fields of ErrorResponse and NoticeResponse (manual, "Error and Notice Message Fields").

use super::body::{Body, put_string};
use super::{SqlState, WireError};
use bytes::{BufMut, BytesMut};
use std::borrow::Cow;
use std::fmt;

/// A field's type, as the byte on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// ERROR, WARNING, …, possibly localised.
    LocalizedSeverity = b'S',
    /// ERROR, WARNING, …, never localised.
    Severity = b'V',
    /// SQLSTATE.
    Code = b'C',
    /// The primary message.
    Message = b'M',
    /// What exactly happened; may hold values of rows.
    Detail = b'D',
    /// What to do about it.
    Hint = b'H',
    /// Where in the client's string: in characters, from 1.
    Position = b'P',
    /// Where in [`Field::InternalQuery`].
    InternalPosition = b'p',
    /// A query that the server made itself, or a function's.
    InternalQuery = b'q',
    /// The call stack.
    Where = b'W',
    /// Schema of the object concerned.
    Schema = b's',
    /// Table concerned.
    Table = b't',
    /// Column concerned.
    Column = b'c',
    /// Data type concerned.
    DataType = b'd',
    /// Constraint concerned.
    Constraint = b'n',
    /// Source file that reported it.
    File = b'F',
    /// Line in [`Field::File`].
    Line = b'L',
    /// Routine that reported it: tells messages apart in any language.
    Routine = b'R',
}

/// The contents of an ErrorResponse or a NoticeResponse. Fields of unknown type are kept.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Diagnostic<'a> {
    fields: Vec<(u8, Cow<'a, [u8]>)>,
}

impl<'a> Diagnostic<'a> {
    /// A report as the server would make it. `severity` is ERROR, FATAL, PANIC, WARNING, NOTICE,
    /// DEBUG, INFO or LOG.
    #[must_use]
    pub fn new(severity: &'a str, code: SqlState, message: impl Into<Cow<'a, str>>) -> Self {
        Self::default()
            .with(Field::LocalizedSeverity, severity)
            .with(Field::Severity, severity)
            .with(Field::Code, code.as_str().to_owned())
            .with(Field::Message, message)
    }

    /// The same with one more field, or another value for it.
    #[must_use]
    pub fn with(mut self, field: Field, value: impl Into<Cow<'a, str>>) -> Self {
        let value = match value.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self.set(field, value);
        self
    }

    /// Sets a field, in its place if it is there already.
    pub fn set(&mut self, field: Field, value: Cow<'a, [u8]>) {
        match self
            .fields
            .iter_mut()
            .find(|(code, _)| *code == field as u8)
        {
            Some((_, old)) => *old = value,
            None => self.fields.push((field as u8, value)),
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, field: Field) {
        self.fields.retain(|(code, _)| *code != field as u8);
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|(code, _)| *code == field as u8)
            .map(|(_, value)| &value[..])
    }

    /// The value of a field as text, unreadable bytes replaced.
    #[must_use]
    pub fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        self.get(field).map(String::from_utf8_lossy)
    }

    /// The severity that is never localised (every supported server sends it).
    #[must_use]
    pub fn severity(&self) -> &[u8] {
        self.get(Field::Severity)
            .or_else(|| self.get(Field::LocalizedSeverity))
            .unwrap_or_default()
    }

    /// Whether the server ends the connection after it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity(), b"FATAL" | b"PANIC")
    }

    /// The SQLSTATE; XX000 if it is missing or unreadable.
    #[must_use]
    pub fn code(&self) -> SqlState {
        self.get(Field::Code)
            .and_then(SqlState::parse)
            .unwrap_or(SqlState::INTERNAL_ERROR)
    }

    /// The primary message.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        self.text(Field::Message).unwrap_or_default()
    }

    /// Where in the statement's text: in characters, from 1.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        std::str::from_utf8(self.get(Field::Position)?)
            .ok()?
            .parse()
            .ok()
    }

    /// Moves the position, or removes it: for a statement that was sent in another form than the
    /// client's.
    pub fn set_position(&mut self, position: Option<usize>) {
        match position {
            Some(position) => {
                self.set(
                    Field::Position,
                    Cow::Owned(position.to_string().into_bytes()),
                );
            }
            None => self.remove(Field::Position),
        }
    }

    /// The same, independent of the frame that it was read from.
    #[must_use]
    pub fn into_owned(self) -> Diagnostic<'static> {
        Diagnostic {
            fields: self
                .fields
                .into_iter()
                .map(|(code, value)| (code, Cow::Owned(value.into_owned())))
                .collect(),
        }
    }

    pub(super) fn parse(mut body: Body<'a>) -> Result<Self, WireError> {
        let mut fields = Vec::with_capacity(8);
        loop {
            match body.u8()? {
                0 => break,
                code => fields.push((code, Cow::Borrowed(body.string()?))),
            }
        }
        body.end()?;
        Ok(Self { fields })
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        for (code, value) in &self.fields {
            out.put_u8(*code);
            put_string(out, value);
        }
        out.put_u8(0);
    }
}

impl fmt::Debug for Diagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Message and detail may hold values of rows.
        let severity = String::from_utf8_lossy(self.severity());
        write!(f, "Diagnostic({severity} {})", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_can_be_read_moved_and_removed() {
        let mut error = Diagnostic::new("ERROR", SqlState::UNIQUE_VIOLATION, "duplicate key")
            .with(Field::Constraint, "orders_pkey")
            .with(Field::Position, "7");
        assert_eq!(error.code(), SqlState::UNIQUE_VIOLATION);
        assert_eq!(error.message(), "duplicate key");
        assert_eq!(error.get(Field::Constraint), Some(&b"orders_pkey"[..]));
        assert_eq!(error.position(), Some(7));
        error.set_position(Some(21));
        assert_eq!(error.get(Field::Position), Some(&b"21"[..]));
        error.set_position(None);
        assert_eq!(error.position(), None);
        assert!(!error.is_fatal());
    }

    #[test]
    fn debug_shows_severity_and_code_only() {
        let error = Diagnostic::new("ERROR", SqlState::UNIQUE_VIOLATION, "secret");
        assert_eq!(format!("{error:?}"), "Diagnostic(ERROR 23505)");
    }
}
