//! Which rows violate a constraint: asked where the statement that met them, or the COMMIT, has not
//! begun. Behind an error the transaction is aborted, and the virtual transaction's savepoint would
//! undo what earlier statements of it have done; so a statement that checks rows, and the checks of
//! a COMMIT, stand behind a savepoint of their own, to which one can go back.
//!
//! The questions read, in the time that is left to them, and only while nobody waits for the locks
//! that are held meanwhile. Then the savepoint is gone back to again, and the client's transaction
//! is aborted as it was.

mod catalogue;

use super::control::{Control, Savepoint};
use super::event::{Note, Surroundings};
use super::order::Statement;
use super::replies::{Addressee, StatementId};
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction, examination, reading};
use crate::rehearsal::sql::constraint::{Checks, Demand, checks};
use crate::report::{Before, ConstraintKind, ServerError, Violation};
use catalogue::{Sought, WAITED_FOR};

/// As many statements and COMMITs of a rehearsal get a savepoint of their own, which may be one more
/// subtransaction with an id.
pub(super) const RETREATS: u32 = 16;

/// As many rows are counted.
const COUNTED: u64 = 10_000;

/// What stands behind the inner savepoint.
#[derive(Debug)]
pub(super) enum Retreat {
    /// A statement, and what it checks.
    Statement(StatementId, Checks),
    /// The checks of a COMMIT.
    Commit,
    /// Something of that kind, without a savepoint: there were too many.
    None,
}

/// A violated constraint, until its rows can be asked for.
#[derive(Debug)]
pub(super) struct Violated {
    statement: StatementId,
    kind: ConstraintKind,
    error: ServerError,
    before: Before,
    retreat: Option<Retreat>,
}

impl<S: Surroundings> Transaction<S> {
    /// Sets the savepoint in front of a statement that checks rows which are there already. False
    /// for any other.
    pub(super) fn open_retreat(
        &mut self,
        id: ClientId,
        number: StatementId,
        statement: &Statement,
    ) -> bool {
        if !statement.traits.catalogue || matches!(self.state(id), Virtual::Failed(_)) {
            return false;
        }
        let lexing = reading::lexing_of(&self.upstream.parameters);
        let Some(checks) = checks(&statement.text, lexing.settings) else {
            return false;
        };
        self.open(Retreat::Statement(number, checks))
    }

    /// The same in front of the checks of a COMMIT.
    pub(super) fn open_commit_retreat(&mut self) -> bool {
        self.open(Retreat::Commit)
    }

    fn open(&mut self, retreat: Retreat) -> bool {
        if self.retreats == RETREATS {
            self.upstream.retreat = Some(Retreat::None);
            return false;
        }
        self.upstream.retreat = Some(retreat);
        self.retreats += 1;
        self.subtransactions += 1;
        self.control(&Control::Savepoint(Savepoint::Inner));
        true
    }

    /// Releases it behind the statement. After an error the server does not hear of it.
    pub(super) fn close_retreat(&mut self, open: bool) {
        if open {
            self.control(&Control::Release(Savepoint::Inner));
        }
    }

    /// Remembers a violated constraint.
    pub(super) fn note_violation(
        &mut self,
        statement: StatementId,
        addressee: &Addressee,
        error: &ServerError,
    ) {
        let Some(kind) = ConstraintKind::of(&error.code) else {
            return;
        };
        let check = *addressee == Addressee::Check;
        let retreat = self
            .upstream
            .retreat
            .take()
            .filter(|retreat| match retreat {
                Retreat::Commit => check,
                Retreat::Statement(number, _) => !check && *number == statement,
                Retreat::None => true,
            });
        self.upstream.violated = Some(Violated {
            statement,
            kind,
            error: error.clone(),
            before: if check {
                Before::Commit
            } else {
                Before::Statement
            },
            retreat,
        });
    }

    /// Looks for the rows of a constraint that was violated in the unit that ends, and leaves the
    /// transaction as the statement found it, or aborted.
    pub(super) async fn look_into_violation(&mut self, id: ClientId) -> Flow<()> {
        self.upstream.retreat = None;
        let Some(mut violated) = self.upstream.violated.take() else {
            return Ok(());
        };
        let statement = violated.statement;
        let gone = self.finishing || self.clients.get(&id).is_none_or(|client| client.gone);
        let violation = match violated.retreat.take() {
            Some(Retreat::None) => violated.unknown(format!(
                "only the first {RETREATS} statements and COMMITs that check constraints are \
                 looked into"
            )),
            Some(retreat) if !gone => {
                self.go_back().await?;
                let found = self.find_rows(&violated, &retreat).await?;
                self.go_back().await?;
                found
            }
            _ => violated.unknown(
                "rows that the statement itself wrote are undone, and its text defines no \
                 constraint that could be read",
            ),
        };
        self.output.notes.push(Note::Violated(statement, violation));
        Ok(())
    }

    async fn go_back(&mut self) -> Flow<()> {
        if self.upstream.open || self.upstream.skipping {
            self.sync().await?;
        }
        self.control(&Control::RollbackTo(Savepoint::Inner));
        self.sync().await
    }

    async fn find_rows(&mut self, violated: &Violated, retreat: &Retreat) -> Flow<Violation> {
        let query = match self.seek(violated, retreat).await? {
            Ok(query) => query,
            Err(why) => return Ok(violated.unknown(why)),
        };
        let lexing = reading::lexing_of(&self.upstream.parameters);
        if examination::refused(&query, lexing).is_some() {
            return Ok(violated.unknown("what it calls may do more than read"));
        }
        self.own("SET TRANSACTION READ ONLY", &Addressee::Ours);
        // Without a limit it would be 0.
        let millis = self.opening.count_millis.clamp(1, i32::MAX as u64);
        let timeout = format!("SET LOCAL statement_timeout = {millis}");
        self.own(&timeout, &Addressee::Ours);
        let tried = format!("SELECT 1 FROM ({query}) found LIMIT 0");
        if let Err(error) = self.question(&tried).await? {
            return Ok(violated.unknown(format!(
                "the one that was made of its definition fails with ERROR {}: {}",
                error.code, error.message
            )));
        }
        let found = |rows, more, why: Option<String>| Violation {
            query: Some(query.clone()),
            rows,
            more,
            unknown: why,
            ..violated.unknown("")
        };
        let waits = self.question(WAITED_FOR).await?;
        if !matches!(first(waits).as_deref(), Some("f")) {
            let why = "another session waited for what the migration had locked";
            return Ok(found(None, false, Some(why.to_owned())));
        }
        let count = format!(
            "SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ({query}) found LIMIT {}) counted",
            COUNTED + 1
        );
        let answer = self.question(&count).await?;
        Ok(match answer {
            Err(error) if error.code == "57014" => found(
                None,
                false,
                Some(format!(
                    "it took longer than {millis} ms, and what the migration has locked would be \
                     held meanwhile"
                )),
            ),
            Err(error) => found(
                None,
                false,
                Some(format!("ERROR {}: {}", error.code, error.message)),
            ),
            Ok(rows) => match first(Ok(rows)).and_then(|count| count.parse::<u64>().ok()) {
                Some(0) | None => {
                    violated.unknown("the one that was made of its definition finds no row")
                }
                Some(count) => found(Some(count.min(COUNTED)), count > COUNTED, None),
            },
        })
    }

    /// The query for what was violated, or why there is none.
    async fn seek(
        &mut self,
        violated: &Violated,
        retreat: &Retreat,
    ) -> Flow<Result<String, String>> {
        let error = &violated.error;
        let place = error.schema.as_deref().zip(error.table.as_deref());
        let column = error.columns.first().map(String::as_str);
        let sought = match retreat {
            Retreat::Commit => {
                place
                    .zip(error.constraint.as_deref())
                    .map(|((schema, table), constraint)| {
                        Sought::existing(&quoted(schema, table), false, constraint)
                    })
            }
            Retreat::None => None,
            Retreat::Statement(_, checks) => checks
                .violated(&error.code, error.constraint.as_deref(), column)
                .and_then(|found| match (&found.demand, &checks.table) {
                    (Demand::DomainNotNull | Demand::DomainCheck(_), _) => {
                        let (schema, table) = place?;
                        Sought::of_domain(&quoted(schema, table), column?, &found.demand)
                    }
                    (demand, Some(table)) => Sought::of(table, checks.only, demand),
                    _ => None,
                }),
        };
        let Some(sought) = sought else {
            return Ok(Err(
                "which constraint it is cannot be told from the statement".to_owned(),
            ));
        };
        if !(sought.is_ascii() || self.upstream.speaks_utf8()) {
            return Ok(Err(super::upstream::NOT_EXACT.to_owned()));
        }
        let rows = match self.question(&sought.question()).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(format!("ERROR {}: {}", error.code, error.message))),
        };
        Ok(sought.query(&rows))
    }
}

impl Violated {
    fn unknown(&self, why: impl Into<String>) -> Violation {
        Violation::unknown(self.kind, self.before, why)
    }
}

/// The first cell of an answer.
fn first(answer: Result<super::conversation::Rows, ServerError>) -> Option<String> {
    answer.ok()?.into_iter().next()?.into_iter().next()?
}

fn quoted(schema: &str, table: &str) -> String {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("{}.{}", quote(schema), quote(table))
}
