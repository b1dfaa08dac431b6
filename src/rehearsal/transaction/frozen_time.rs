//! Time stands still inside one transaction: rows that real transactions would have stamped with
//! different times get the same one here. When a constraint over such a column is violated, that
//! says nothing about the migration (manual, "Date/Time Functions", "Current Date/Time").

use super::control::{Control, Savepoint, literal};
use super::event::Surroundings;
use super::{Flow, Transaction};
use crate::rehearsal::wire::{Diagnostic, Field};
use crate::verdict::NotRehearsed;

/// A violated constraint, until the catalogue can be asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    schema: String,
    table: String,
    /// The constraint, or the unique index that is none.
    constraint: String,
}

/// Expressions that have one value in all of a transaction, as `pg_get_expr` writes them.
const FROZEN: &str = r"\m(now|transaction_timestamp|txid_current|pg_current_xact_id)\(|\m(current_timestamp|current_time|current_date|localtimestamp|localtime)\M";

impl Suspect {
    pub(super) fn of(diagnostic: &Diagnostic<'_>) -> Option<Self> {
        let text = |field| diagnostic.text(field).map(std::borrow::Cow::into_owned);
        Some(Self {
            schema: text(Field::Schema)?,
            table: text(Field::Table)?,
            constraint: text(Field::Constraint)?,
        })
    }

    /// Whether any column of the constraint defaults to such an expression. The index of a
    /// constraint does not itself depend on columns that are in an expression: the constraint does.
    fn question(&self) -> String {
        format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relname = {constraint} \
             JOIN pg_catalog.pg_class t ON t.oid = i.indrelid AND t.relname = {table} \
             JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace AND n.nspname = {schema} \
             JOIN pg_catalog.pg_attrdef a ON a.adrelid = t.oid \
             WHERE pg_catalog.pg_get_expr(a.adbin, a.adrelid) ~* {frozen} \
             AND (a.adnum = ANY (i.indkey) OR EXISTS (SELECT FROM pg_catalog.pg_depend d \
             WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             AND d.refobjid = t.oid AND d.refobjsubid = a.adnum AND (d.objid = c.oid \
             OR d.objid IN (SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid)))))",
            constraint = literal(&self.constraint),
            table = literal(&self.table),
            schema = literal(&self.schema),
            frozen = literal(FROZEN),
        )
    }
}

impl<S: Surroundings> Transaction<S> {
    /// Asks about the last violated constraint, as soon as the server answers questions again. It
    /// may be unknown then: one that was made in the very transaction that violated it would have
    /// been violated on a direct connection too.
    pub(super) async fn judge_suspect(&mut self) -> Flow<()> {
        let Some(suspect) = self.upstream.suspect.take() else {
            return Ok(());
        };
        let answer = self.question(&suspect.question()).await?;
        self.sync().await?;
        let Ok(rows) = answer else {
            self.control(&Control::RollbackTo(Savepoint::Virtual));
            return self.sync().await;
        };
        if rows.into_iter().flatten().flatten().any(|cell| cell == "t") {
            let message = format!(
                "{} on table {} was violated, and one of its columns defaults to the time or the number of the transaction: all transactions of the command are one here, so this may not happen in the upgrade. Use clock_timestamp(), or rehearse on a clone",
                suspect.constraint, suspect.table
            );
            self.not_rehearsed(NotRehearsed::FrozenTime, &message);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::wire::SqlState;

    #[test]
    fn a_violation_is_looked_into_only_when_the_server_names_the_constraint() {
        let named = Diagnostic::new("ERROR", SqlState::UNIQUE_VIOLATION, "x")
            .with(Field::Schema, "s")
            .with(Field::Table, "t");
        assert_eq!(Suspect::of(&named), None);
        let suspect = Suspect::of(&named.with(Field::Constraint, "it's")).unwrap();
        assert!(suspect.question().contains("c.relname = E'it''s'"));
    }
}
