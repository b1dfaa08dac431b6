//! What the rehearsal says to a client in the server's place, in the server's words, and what it
//! records of that.

use bytes::BytesMut;

use super::event::{Note, Surroundings};
use super::order::Statement;
use super::replies::StatementId;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::wire::{Backend, Diagnostic, Field, SqlState, TransactionStatus};
use crate::report::ServerError;

fn put(out: &mut BytesMut, message: &Backend<'_>) {
    // Every message built in this file is one that can be encoded.
    message.encode(out);
}

pub(super) fn command_complete(out: &mut BytesMut, tag: &[u8]) {
    put(out, &Backend::CommandComplete(tag));
}

pub(super) fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    put(out, &Backend::ReadyForQuery(status));
}

pub(super) fn parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    put(out, &Backend::ParameterStatus { name, value });
}

pub(super) fn backend_key_data(out: &mut BytesMut, process_id: i32, key: &[u8]) {
    put(out, &Backend::BackendKeyData { process_id, key });
}

pub(super) fn empty_query(out: &mut BytesMut) {
    put(out, &Backend::EmptyQueryResponse);
}

pub(super) fn error(out: &mut BytesMut, code: SqlState, message: &str) {
    put(
        out,
        &Backend::ErrorResponse(Diagnostic::new("ERROR", code, message)),
    );
}

pub(super) fn error_with_hint(out: &mut BytesMut, code: SqlState, message: &str, hint: &str) {
    let diagnostic = Diagnostic::new("ERROR", code, message).with(Field::Hint, hint);
    put(out, &Backend::ErrorResponse(diagnostic));
}

pub(super) fn fatal(out: &mut BytesMut, code: SqlState, message: &str) {
    put(
        out,
        &Backend::ErrorResponse(Diagnostic::new("FATAL", code, message)),
    );
}

pub(super) fn warning(out: &mut BytesMut, code: SqlState, message: &str) {
    put(
        out,
        &Backend::NoticeResponse(Diagnostic::new("WARNING", code, message)),
    );
}

impl<S: Surroundings> Transaction<S> {
    /// Records that a statement is being run, and gives its number.
    pub(super) fn begin_statement(&mut self, id: ClientId, statement: &Statement) -> StatementId {
        let number = self.statements;
        self.statements += 1;
        self.unit.statements += 1;
        self.output.notes.push(Note::Begun {
            statement: number,
            client: id,
            transaction: self.state(id).number(),
            text: statement.redacted.text.clone(),
            whole: statement.redacted.whole,
            sent: self.as_sent(statement),
        });
        number
    }

    pub(super) fn complete_noted(&mut self, id: ClientId, statement: &Statement, tag: &[u8]) {
        let number = self.begin_statement(id, statement);
        self.finish_noted(number, tag);
    }

    pub(super) fn finish_noted(&mut self, number: StatementId, tag: &[u8]) {
        self.note_done(Some(number), tag);
        self.complete(tag);
    }

    pub(super) fn warn(&mut self, code: SqlState, message: &str) {
        if let Some(out) = self.for_client() {
            warning(out, code, message);
        }
    }

    /// An error in the server's place.
    pub(super) fn fault(&mut self, code: SqlState, message: &str) {
        if let Some(statement) = self.upstream.committing.take() {
            let error = ServerError {
                code: code.to_string(),
                message: message.to_owned(),
                constraint: None,
                table: None,
                ..ServerError::default()
            };
            self.output.notes.push(Note::Failed(statement, error));
        }
        self.upstream.faulted = true;
        if let Some(out) = self.for_client() {
            error(out, code, message);
        }
    }

    /// The error of a statement that is not sent.
    pub(super) fn fail(
        &mut self,
        id: ClientId,
        statement: &Statement,
        code: SqlState,
        message: &str,
    ) {
        self.upstream.committing = Some(self.begin_statement(id, statement));
        self.fault(code, message);
    }

    /// The same in the words of the server, which refused a question about the statement.
    pub(super) fn fail_with(&mut self, id: ClientId, statement: &Statement, error: &ServerError) {
        let code = SqlState::parse(error.code.as_bytes()).unwrap_or(SqlState::INTERNAL_ERROR);
        self.fail(id, statement, code, &error.message);
    }

    /// The same behind everything that is under way, unless that failed already.
    pub(super) async fn raise(&mut self, code: SqlState, message: &str) -> Flow<()> {
        self.settle().await?;
        if !self.upstream.faulted {
            self.fault(code, message);
        }
        Ok(())
    }

    pub(super) fn note_done(&mut self, statement: Option<StatementId>, tag: &[u8]) {
        if let Some(statement) = statement {
            let tag = String::from_utf8_lossy(tag).into_owned();
            self.output.notes.push(Note::Done(statement, tag));
        }
    }

    pub(super) fn complete(&mut self, tag: &[u8]) {
        if let Some(out) = self.for_client() {
            command_complete(out, tag);
        }
    }
}
