//! Deferred constraints: what a COMMIT would check is checked at every virtual COMMIT, by
//! `SET CONSTRAINTS … IMMEDIATE` for exactly the constraints that exist, and put back behind it.
//! Never ALL: the rehearsal's own tripwire is a deferred constraint.

use super::event::Surroundings;
use super::order::Traits;
use super::replies::Addressee;
use super::{ClientId, Flow, Stop, Transaction};

/// The constraints as last read.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    known: Option<Vec<Constraint>>,
    /// The list was read, or went stale, inside the present virtual transaction.
    moved: bool,
}

#[derive(Debug, Clone)]
struct Constraint {
    /// Quoted and qualified.
    name: String,
    initially_deferred: bool,
}

impl Deferred {
    pub(super) fn is_stale(&self) -> bool {
        self.known.is_none()
    }

    fn has_any(&self) -> bool {
        self.known.as_ref().is_none_or(|known| !known.is_empty())
    }

    pub(super) fn stale(&mut self) {
        self.known = None;
        self.moved = true;
    }

    /// The virtual transaction was rolled back.
    pub(super) fn forget(&mut self) {
        if std::mem::take(&mut self.moved) {
            self.known = None;
        }
    }

    /// It was committed.
    pub(super) fn keep(&mut self) {
        self.moved = false;
    }

    fn names(&self, which: impl Fn(&Constraint) -> bool) -> Option<String> {
        let names: Vec<_> = self
            .known
            .iter()
            .flatten()
            .filter(|constraint| which(constraint))
            .map(|constraint| constraint.name.as_str())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

impl<S: Surroundings> Transaction<S> {
    /// Whether the end of something with these traits may fail at a deferred constraint.
    pub(super) fn must_check(&self, traits: Traits) -> bool {
        let initially = self.deferred.names(|c| c.initially_deferred).is_some();
        (traits.writes || traits.runs_code)
            && (traits.constraints || self.deferred.is_stale() || initially)
    }

    /// What a statement of these traits makes of the list.
    pub(super) fn follow_constraints(&mut self, traits: Traits) {
        if traits.constraints || (traits.catalogue && self.deferred.has_any()) {
            self.deferred.stale();
        }
    }

    /// Reads the list of deferrable constraints, unless it is known.
    async fn read_constraints(&mut self) -> Flow<()> {
        if !self.deferred.is_stale() {
            return Ok(());
        }
        let sql = format!(
            "SELECT DISTINCT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.conname), \
             pg_catalog.bool_or(c.condeferred) \
             FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
             WHERE c.condeferrable AND c.conname <> '{}' \
             AND (n.oid = pg_catalog.pg_my_temp_schema() OR NOT pg_catalog.pg_is_other_temp_schema(n.oid)) \
             GROUP BY 1 ORDER BY 1",
            self.opening.names.constraint()
        );
        let answer = self.question(&sql).await?;
        if self.upstream.faulted {
            return Ok(());
        }
        let rows = answer.map_err(|error| {
            Stop::Lost(format!("constraints could not be read: {}", error.message))
        })?;
        let constraint = |row: Vec<Option<String>>| {
            let mut columns = row.into_iter();
            Some(Constraint {
                name: columns.next()??,
                initially_deferred: columns.next()?? == "t",
            })
        };
        self.deferred.known = Some(rows.into_iter().filter_map(constraint).collect());
        self.deferred.moved = true;
        Ok(())
    }

    /// Sends the checks of a COMMIT. Their errors are the client's.
    pub(super) async fn send_checks(&mut self, traits: Traits, all: bool) -> Flow<()> {
        if !all && !self.must_check(traits) {
            return Ok(());
        }
        self.read_constraints().await?;
        if self.upstream.faulted {
            return Ok(());
        }
        if let Some(names) = self.deferred.names(|c| all || c.initially_deferred) {
            self.own(
                &format!("SET CONSTRAINTS {names} IMMEDIATE"),
                &Addressee::Check,
            );
        }
        if let Some(names) = self.deferred.names(|c| c.initially_deferred) {
            self.own(
                &format!("SET CONSTRAINTS {names} DEFERRED"),
                &Addressee::Check,
            );
        }
        Ok(())
    }

    /// SET CONSTRAINTS ALL of a client: all but ours.
    pub(super) async fn set_all_constraints(&mut self, id: ClientId, deferred: bool) -> Flow<()> {
        self.begin_work(id);
        self.read_constraints().await?;
        if let Some(names) = self.deferred.names(|_| true) {
            let when = if deferred { "DEFERRED" } else { "IMMEDIATE" };
            self.own(
                &format!("SET CONSTRAINTS {names} {when}"),
                &Addressee::Check,
            );
            self.settle().await?;
        }
        Ok(())
    }
}
