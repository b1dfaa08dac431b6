//! Statements that would move sequences for good, which a rollback does not undo: they may run only
//! if each of the sequences was made in this rehearsal.

use std::sync::Arc;

use super::control::literal;
use super::event::Surroundings;
use super::order::Statement;
use super::upstream::NOT_EXACT;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::sql::{Refusal, RefusalCause, SequenceRef};
use crate::report::ServerError;
use crate::verdict::NotRehearsed;

/// What is known of a sequence that a statement names.
enum Named {
    /// It was made in this rehearsal.
    New,
    /// There is none, so nothing can be moved: the server says so.
    Missing,
    /// It was there before, or somebody else made it.
    Old,
    /// It cannot be looked up as the server will.
    NotExact,
    /// Looking it up is an error, and it would be one in the statement.
    Refused(ServerError),
}

impl<S: Surroundings> Transaction<S> {
    /// A refused statement: it is stopped, unless all that it would do for good is moving sequences
    /// that were made in this rehearsal.
    pub(super) async fn stop_unless_new(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        refusal: &Refusal,
    ) -> Flow<bool> {
        self.begin_work(id);
        let mut harmless = !refusal.sequences.is_empty();
        let mut why = "";
        for sequence in &refusal.sequences {
            match self.look_at(sequence).await? {
                Named::New | Named::Missing => {}
                Named::Old => harmless = false,
                Named::NotExact => {
                    harmless = false;
                    why = NOT_EXACT;
                }
                Named::Refused(error) => {
                    self.fail_with(id, statement, &error);
                    return Ok(false);
                }
            }
            if self.upstream.faulted {
                return Ok(false);
            }
        }
        if !harmless {
            let cause = match refusal.cause {
                RefusalCause::TwoPhaseCommit => NotRehearsed::TwoPhaseCommit,
                RefusalCause::SnapshotExchange => NotRehearsed::SnapshotExchange,
                RefusalCause::EffectOutlivesRollback => NotRehearsed::EffectOutlivesRollback,
            };
            let mut message = format!(
                "{} was not sent to the database. {} {}",
                refusal.what, refusal.effect, refusal.advice
            );
            if !why.is_empty() {
                message.push_str(&format!(
                    " Whether the sequence is one of the migration's own cannot be told: {why}."
                ));
            }
            self.refuse_statement(id, statement, cause, &message)
                .await?;
        }
        Ok(harmless)
    }

    async fn look_at(&mut self, sequence: &SequenceRef) -> Flow<Named> {
        let Some(oid) = self.oid_of(sequence) else {
            return Ok(match sequence {
                SequenceRef::Unknown => Named::Old,
                _ => Named::NotExact,
            });
        };
        let sql =
            format!("SELECT oid FROM pg_catalog.pg_class WHERE oid = {oid} AND relkind = 'S'");
        let rows = match self.question(&sql).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Named::Refused(error)),
        };
        let Some(oid) = rows.into_iter().flatten().flatten().next() else {
            return Ok(Named::Missing);
        };
        let known = oid.parse().map(|oid| self.opening.sequences.contains(&oid));
        let new = known == Ok(false) && self.is_own(&oid).await?;
        Ok(if new { Named::New } else { Named::Old })
    }

    /// An expression for the OID; `None` if the name might be read in another way there.
    fn oid_of(&self, sequence: &SequenceRef) -> Option<String> {
        let text = |bytes: &[u8]| self.upstream.exactly(bytes).map(literal);
        match sequence {
            SequenceRef::Unknown => None,
            // A number is an OID to regclass, but a name to to_regclass up to PostgreSQL 15.
            SequenceRef::Named(name) if name.iter().all(u8::is_ascii_digit) => {
                Some(format!("{}::pg_catalog.oid", text(name)?))
            }
            SequenceRef::Named(name) => Some(format!("pg_catalog.to_regclass({})", text(name)?)),
            SequenceRef::OfColumn { table, column } => Some(format!(
                "(SELECT pg_catalog.to_regclass(pg_catalog.pg_get_serial_sequence({0}, {1})) \
                 WHERE pg_catalog.to_regclass({0}) IS NOT NULL)",
                text(table)?,
                text(column)?
            )),
        }
    }

    /// Whether our transaction made a sequence that was not there at the opening.
    ///
    /// Ids in rows have 32 bits and no epoch, and a frozen row keeps its own: they cannot tell what
    /// is new. But all rows of this sequence were written after the opening, so their ids are among
    /// those that have been given since, of which each has only one 64-bit id at or above our top
    /// one. What the server says of that one is exact: a row that we can see and whose transaction
    /// is still in progress is ours, be it of the top transaction or of a subtransaction, open or
    /// released. A transaction of somebody else's has committed before we see its rows.
    ///
    /// pg_attribute, since ALTER SEQUENCE changes the row in pg_class; a GRANT on columns changes
    /// those it names.
    async fn is_own(&mut self, oid: &str) -> Flow<bool> {
        let Some(top) = self.upstream.top_xid else {
            return Ok(false);
        };
        let sql = format!(
            "SELECT pg_catalog.bool_and(CASE WHEN distance < 2147483648 \
             THEN pg_catalog.pg_xact_status(({top} + distance)::pg_catalog.text::pg_catalog.xid8) = 'in progress' \
             ELSE false END) FROM (SELECT (xmin::pg_catalog.text::bigint - {} + 4294967296) % 4294967296 \
             FROM pg_catalog.pg_attribute WHERE attrelid = {oid} AND attnum > 0) ids(distance)",
            top & 0xffff_ffff
        );
        let rows = self.question(&sql).await?.unwrap_or_default();
        Ok(rows.into_iter().flatten().flatten().next().as_deref() == Some("t"))
    }
}
