//! Deferred constraints: what a COMMIT would check is checked at every virtual COMMIT, by
//! `SET CONSTRAINTS … IMMEDIATE` for exactly the constraints that exist, and put back behind it.
//! Never ALL: the rehearsal's own tripwire is a deferred constraint.

use std::collections::BTreeSet;

use super::event::{Note, Surroundings};
use super::order::Traits;
use super::replies::Addressee;
use super::{ClientId, Flow, Stop, Transaction};
use crate::report::{Finding, Severity};

/// The constraints as last read.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    known: Option<Vec<Constraint>>,
    /// The list was read, or went stale, inside the present virtual transaction.
    moved: bool,
    /// A client has changed its role, which decides what may be named: the list is read for each
    /// virtual transaction anew.
    roles: bool,
    /// Constraints with a finding of their own.
    reported: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Constraint {
    /// Quoted and qualified.
    name: String,
    initially_deferred: bool,
    hindrance: Option<Hindrance>,
}

/// Why SET CONSTRAINTS cannot name a constraint, though a COMMIT checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hindrance {
    /// The role may not use the schema: 42501.
    Schema,
    /// Another constraint of this name in the schema is not deferrable: 42809 to DEFERRED.
    Namesake,
    /// The client's encoding, which is ours too, may not have the characters.
    Encoding,
}

impl Hindrance {
    fn why(self) -> &'static str {
        match self {
            Self::Schema => "the role has no USAGE on its schema",
            Self::Namesake => {
                "its schema has another constraint of this name, which is not deferrable"
            }
            Self::Encoding => {
                "its name is not ASCII, and client_encoding and server_encoding are not both UTF8"
            }
        }
    }
}

impl Constraint {
    fn may_be_deferred(&self) -> bool {
        self.hindrance.is_none()
    }

    /// To make a namesake IMMEDIATE is allowed, but then it could not be put back.
    fn may_be_immediate(&self) -> bool {
        self.hindrance.is_none()
            || (self.hindrance == Some(Hindrance::Namesake) && !self.initially_deferred)
    }
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
        if self.roles {
            self.known = None;
        }
    }

    /// From now on the role may be another one at any time.
    pub(super) fn follow_roles(&mut self) {
        self.roles = true;
        self.stale();
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
        if traits.changes_role {
            self.deferred.follow_roles();
        }
        if traits.constraints || (traits.catalogue && self.deferred.has_any()) {
            self.deferred.stale();
        }
    }

    /// Reads the list of deferrable constraints, unless it is known.
    async fn read_constraints(&mut self) -> Flow<()> {
        if !self.deferred.is_stale() {
            return Ok(());
        }
        // A name that the client's encoding lacks would be an error.
        let sql = format!(
            "SELECT CASE WHEN plain OR {utf8} THEN name \
             ELSE pg_catalog.regexp_replace(name, '[^ -~]', '?', 'g') END, deferred, usage, namesake, plain OR {utf8} \
             FROM (SELECT name, name ~ '^[ -~]*$' AS plain, deferred, usage, namesake FROM ( \
             SELECT (pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.conname)) COLLATE \"C\" AS name, \
             pg_catalog.bool_or(c.condeferred) AS deferred, \
             pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS usage, \
             EXISTS (SELECT FROM pg_catalog.pg_constraint other WHERE other.conname = c.conname \
             AND other.connamespace = n.oid AND NOT other.condeferrable) AS namesake \
             FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
             WHERE c.condeferrable AND c.conname <> '{}' \
             AND (n.oid = pg_catalog.pg_my_temp_schema() OR NOT pg_catalog.pg_is_other_temp_schema(n.oid)) \
             GROUP BY n.oid, n.nspname, c.conname) names) plain_names ORDER BY 1",
            self.opening.names.constraint(),
            utf8 = self.upstream.speaks_utf8(),
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
            let name = columns.next()??;
            let mut truth = || Some(columns.next()?? == "t");
            let (initially_deferred, usage, namesake, exact) =
                (truth()?, truth()?, truth()?, truth()?);
            let hindrance = if !usage {
                Some(Hindrance::Schema)
            } else if namesake {
                Some(Hindrance::Namesake)
            } else {
                (!exact).then_some(Hindrance::Encoding)
            };
            Some(Constraint {
                name,
                initially_deferred,
                hindrance,
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
        self.report_unchecked(|c| (all || c.initially_deferred) && !c.may_be_immediate());
        let immediate = self
            .deferred
            .names(|c| (all || c.initially_deferred) && c.may_be_immediate());
        let Some(immediate) = immediate else {
            return Ok(());
        };
        let retreat = self.open_commit_retreat();
        self.own(
            &format!("SET CONSTRAINTS {immediate} IMMEDIATE"),
            &Addressee::Check,
        );
        if let Some(names) = self
            .deferred
            .names(|c| c.initially_deferred && c.may_be_deferred())
        {
            self.own(
                &format!("SET CONSTRAINTS {names} DEFERRED"),
                &Addressee::Check,
            );
        }
        self.close_retreat(retreat);
        Ok(())
    }

    /// Checks what nobody's COMMIT would; the error is ours.
    pub(super) async fn check_deferred(&mut self) -> Flow<()> {
        self.read_constraints().await?;
        let initially = |c: &Constraint| c.initially_deferred;
        if let Some(names) = self
            .deferred
            .names(|c| initially(c) && c.may_be_immediate())
        {
            self.own(
                &format!("SET CONSTRAINTS {names} IMMEDIATE"),
                &Addressee::Ours,
            );
        }
        if let Some(names) = self.deferred.names(|c| initially(c) && c.may_be_deferred()) {
            self.own(
                &format!("SET CONSTRAINTS {names} DEFERRED"),
                &Addressee::Ours,
            );
        }
        self.sync().await
    }

    /// SET CONSTRAINTS ALL of a client: all but ours.
    pub(super) async fn set_all_constraints(&mut self, id: ClientId, deferred: bool) -> Flow<()> {
        self.begin_work(id);
        self.read_constraints().await?;
        let may = if deferred {
            Constraint::may_be_deferred
        } else {
            Constraint::may_be_immediate
        };
        self.report_unchecked(|c| !may(c));
        if let Some(names) = self.deferred.names(may) {
            let when = if deferred { "DEFERRED" } else { "IMMEDIATE" };
            self.own(
                &format!("SET CONSTRAINTS {names} {when}"),
                &Addressee::Check,
            );
            self.settle().await?;
        }
        Ok(())
    }

    /// Says of constraints that cannot be named that they go unchecked, of each once.
    fn report_unchecked(&mut self, which: impl Fn(&Constraint) -> bool) {
        for constraint in self.deferred.known.iter().flatten() {
            let Some(hindrance) = constraint.hindrance.filter(|_| which(constraint)) else {
                continue;
            };
            if !self.deferred.reported.insert(constraint.name.clone()) {
                continue;
            }
            self.output.notes.push(Note::Finding(Finding {
                code: "DeferredConstraintNotChecked".to_owned(),
                severity: Severity::Warning,
                message: format!(
                    "the deferrable constraint {} was neither checked at the command's COMMITs nor reached by its SET CONSTRAINTS ALL: {}, so that SET CONSTRAINTS cannot name it here. The upgrade's own COMMIT checks it",
                    constraint.name,
                    hindrance.why()
                ),
                statement: self.upstream.committing,
            }));
        }
    }
}
