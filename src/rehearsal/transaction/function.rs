//! A function that is called by its number is judged as one that a statement calls by its name.

use std::sync::Arc;

use bytes::Bytes;

use super::event::Surroundings;
use super::order::Order;
use super::reading::{lexing_of, read_one};
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction};

/// The functions on large objects, for which drivers use this message, by their numbers in
/// `pg_proc`: `lo_open`, `lo_close`, `loread`, `lowrite`, `lo_lseek`, `lo_creat`, `lo_tell`,
/// `lo_unlink`, `lo_create`, `lo_truncate`, then `lo_lseek64`, `lo_tell64` and `lo_truncate64`. All
/// that they do is undone; `lo_import` and `lo_export` are not among them.
const LARGE_OBJECTS: [u32; 13] = [
    952, 953, 954, 955, 956, 957, 958, 964, 715, 1004, 3170, 3171, 3172,
];

impl<S: Surroundings> Transaction<S> {
    /// Whether a function may be called by its number. Everything before it is answered; when it may
    /// not, the client has been told.
    pub(super) async fn may_call(&mut self, id: ClientId, function: u32) -> Flow<bool> {
        if LARGE_OBJECTS.contains(&function) || matches!(self.state(id), Virtual::Failed(_)) {
            return Ok(true);
        }
        let sql = format!(
            "SELECT pg_catalog.format('SELECT %I.%I()', nspname, proname) FROM pg_catalog.pg_proc p \
             JOIN pg_catalog.pg_namespace n ON n.oid = pronamespace WHERE p.oid = {function}"
        );
        let rows = self.question(&sql).await?.unwrap_or_default();
        // What there is not, the server refuses.
        let Some(text) = rows.into_iter().flatten().flatten().next() else {
            return Ok(true);
        };
        let lexing = lexing_of(&self.upstream.parameters);
        let statement = Arc::new(read_one(&Bytes::from(text), lexing));
        match &statement.order {
            Order::Refused(refusal) => self.stop_unless_new(id, &statement, refusal).await,
            _ => Ok(true),
        }
    }
}
