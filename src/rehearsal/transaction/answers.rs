//! What the rehearsal says to a client in the server's place, in the server's words.

use bytes::BytesMut;

use crate::rehearsal::wire::{Backend, Diagnostic, Field, SqlState, TransactionStatus};

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
