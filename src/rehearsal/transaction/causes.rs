//! Errors that say something about the rehearsal and not about the migration.

use super::event::{Note, Surroundings};
use super::replies::Addressee;
use super::{Transaction, frozen_time::Suspect};
use crate::rehearsal::wire::{Diagnostic, Field, SqlState};
use crate::verdict::{Budget, NotRehearsed, Verdict};

impl<S: Surroundings> Transaction<S> {
    /// Records what an error of a client's statement means for the verdict.
    pub(super) fn notice_causes(&mut self, diagnostic: &Diagnostic<'_>) {
        let own_error = self
            .upstream
            .replies
            .front()
            .is_some_and(|front| front.addressee == Addressee::Ours);
        if own_error {
            return;
        }
        if self.names_ours(diagnostic) {
            let message = format!(
                "a statement ran into an object of the rehearsal itself ({}: {})",
                diagnostic.code(),
                diagnostic.message()
            );
            self.not_rehearsed(NotRehearsed::RehearsalObjectTouched, &message);
            return;
        }
        match diagnostic.code() {
            SqlState::INVALID_TRANSACTION_TERMINATION => self.not_rehearsed(
                NotRehearsed::TransactionControlInBlock,
                "COMMIT or ROLLBACK inside DO or CALL cannot be rehearsed in one transaction; run this statement outside of the migration, or rehearse on a clone",
            ),
            SqlState::UNSAFE_NEW_ENUM_VALUE_USAGE => self.not_rehearsed(
                NotRehearsed::CannotRunInTransaction,
                "a new enum value is used before the transaction that adds it has committed; split the rehearsal, or rehearse on a clone",
            ),
            SqlState::ACTIVE_SQL_TRANSACTION if self.would_run_alone() => self.not_rehearsed(
                NotRehearsed::CannotRunInTransaction,
                "a statement that the server refuses in a transaction block cannot be rehearsed in one; run it outside of the migration, or rehearse on a clone",
            ),
            SqlState::OUT_OF_MEMORY if is_lock_table(diagnostic) => self.not_rehearsed(
                NotRehearsed::LockTable,
                "the server's lock table is full: in one transaction the migration needs more locks than it has room for. Split the migration, or raise max_locks_per_transaction",
            ),
            SqlState::OBJECT_IN_USE if self.holds_cursors() && !is_pending_trigger(diagnostic) => {
                self.not_rehearsed(
                    NotRehearsed::CannotRunInTransaction,
                    "a cursor WITH HOLD still reads what a statement wants for itself: here it is not materialised at the COMMIT of its transaction. Close it before, or rehearse on a clone",
                );
            }
            SqlState::LOCK_NOT_AVAILABLE if self.lock_timeout_is_ours() => self.waited_too_long(
                "a lock was not granted within the rehearsal's lock_timeout; another session holds it. Retry when it is free, or find it with pg_blocking_pids",
            ),
            // It would have been the timeout a moment later.
            SqlState::DEADLOCK_DETECTED if self.lock_timeout_is_ours() => self.waited_too_long(
                "a lock was not granted, since its holder waits for the rehearsal itself. Retry when there is less traffic, or split the migration",
            ),
            SqlState::UNIQUE_VIOLATION | SqlState::EXCLUSION_VIOLATION => {
                self.upstream.suspect = Suspect::of(diagnostic);
            }
            _ => {}
        }
    }

    fn names_ours(&self, diagnostic: &Diagnostic<'_>) -> bool {
        [
            Field::Message,
            Field::Detail,
            Field::Table,
            Field::Constraint,
            Field::Where,
        ]
        .iter()
        .filter_map(|field| diagnostic.get(*field))
        .any(|text| self.opening.names.occur_in(text))
    }

    /// Whether the client's statement would be a transaction of its own on a direct connection.
    fn would_run_alone(&self) -> bool {
        self.current
            .is_some_and(|id| self.is_autocommit(id) && self.unit.statements <= 1)
    }

    /// Whether a client has a cursor WITH HOLD.
    fn holds_cursors(&self) -> bool {
        self.clients.values().any(|client| !client.held.is_empty())
    }

    fn waited_too_long(&mut self, message: &str) {
        self.output.notes.push(Note::Verdict(
            Verdict::BudgetExceeded(Budget::LockWait),
            message.to_owned(),
        ));
    }

    fn lock_timeout_is_ours(&self) -> bool {
        self.opening.our_lock_timeout
            && self
                .current
                .and_then(|id| self.clients.get(&id))
                .is_some_and(|client| !client.own_lock_timeout)
    }
}

/// The same code says that a table's triggers wait for the end of the transaction, which they do on
/// a direct connection too. In another language the two cannot be told apart.
fn is_pending_trigger(diagnostic: &Diagnostic<'_>) -> bool {
    diagnostic.message().contains("pending trigger events")
}

/// The same code says that the backend's memory is used up. The hint is translated, the setting's
/// name in it is not.
fn is_lock_table(diagnostic: &Diagnostic<'_>) -> bool {
    diagnostic
        .text(Field::Hint)
        .is_some_and(|hint| hint.contains("max_locks_per_transaction"))
}
