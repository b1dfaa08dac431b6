//! Rows of the user's own, put in before the first client comes: the fixtures of a rehearsal.
//!
//! They are there for everything that follows, deferred constraints checked, and count as nobody's
//! writes: a command that then writes nothing has written nothing.

use bytes::Bytes;

use super::event::{Examined, NotExamined, Question, Surroundings};
use super::examination::takes_session_lock;
use super::order::Order;
use super::reading::{self, Lexing, Reading};
use super::replies::Addressee;
use super::upstream::Point;
use super::{COUNT_WRITERS, Control, Flow, Savepoint, Stop, Transaction};

impl<S: Surroundings> Transaction<S> {
    /// The next rows to put in, once no client is in the middle of something.
    pub(super) fn next_insertion(&mut self) -> Option<(Question, String)> {
        if self.is_somebody_in_the_middle() {
            return None;
        }
        self.insertions.pop_front()
    }

    /// Puts rows in, all or none.
    pub(super) async fn insert(&mut self, question: Question, sql: &str) -> Flow<()> {
        self.settle_session().await?;
        let answer = self.insert_all(sql).await?;
        // What set_config did lasts.
        self.session_touched = true;
        self.output
            .examined
            .push((question, answer.map(|()| Examined::default())));
        Ok(())
    }

    async fn insert_all(&mut self, sql: &str) -> Flow<Result<(), NotExamined>> {
        let text = Bytes::copy_from_slice(sql.as_bytes());
        let lexing = reading::lexing_of(&self.upstream.parameters);
        let reading = reading::read(&text, lexing);
        if let Some(why) = refused(&text, &reading, lexing) {
            return Ok(Err(NotExamined::Refused(why)));
        }
        self.set_savepoint();
        self.upstream.error = None;
        self.upstream.faulted = false;
        let mut why = None;
        for statement in &reading.statements {
            if reading::lexing_of(&self.upstream.parameters) != lexing {
                why = Some(NotExamined::Refused(CHANGES_LEXING.to_owned()));
                break;
            }
            // Of what it finds nothing is wanted.
            self.upstream.found = Some(0);
            self.own(&String::from_utf8_lossy(&statement.text), &Addressee::Ours);
            self.sync().await?;
            if self.upstream.error.is_some() {
                break;
            }
        }
        self.upstream.found = None;
        if why.is_none() && self.upstream.error.is_none() {
            self.check_deferred().await?;
        }
        self.upstream.rows.clear();
        let why = self.upstream.error.take().map(NotExamined::Server).or(why);
        if let Some(why) = why {
            self.roll_back_to_savepoint().await?;
            return Ok(Err(why));
        }
        self.disown().await?;
        Ok(Ok(()))
    }

    /// What was written so far is nobody's: it is counted anew from here.
    async fn disown(&mut self) -> Flow<()> {
        if self.upstream.savepoint != Point::Absent {
            self.control(&Control::Release(Savepoint::Virtual));
            self.upstream.savepoint = Point::Absent;
        }
        let sql = format!(
            "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text, ({COUNT_WRITERS})"
        );
        let rows = self.question(&sql).await?.map_err(|error| {
            Stop::Lost(format!("its ids could not be counted: {}", error.message))
        })?;
        let mut row = rows.into_iter().flatten();
        let xid = row.next().flatten().and_then(|xid| xid.parse().ok());
        let locks = row.next().flatten().and_then(|count| count.parse().ok());
        let before = self.upstream.top_xid;
        if before.is_some() && before != xid {
            return Err(Stop::Slipped(
                "the top transaction id is another than before".to_owned(),
            ));
        }
        self.upstream.top_xid = xid;
        self.opening.own_locks = locks.unwrap_or(self.opening.own_locks);
        self.close_statement(&self.opening.names.statement("watch"));
        self.prepare_watch();
        self.sync().await
    }
}

const CHANGES_LEXING: &str = "a statement of it changes standard_conforming_strings or \
                              client_encoding, and the rest would be read differently";

/// Why a text is not sent: it does more than change rows, or what a rollback does not undo.
fn refused(text: &Bytes, reading: &Reading, lexing: Lexing) -> Option<String> {
    if reading.statements.is_empty() {
        return Some("it is empty: write at least one statement".to_owned());
    }
    let of = |index: usize| match reading.statements.len() {
        1 => String::new(),
        several => format!("statement {} of {several}: ", index + 1),
    };
    for (index, statement) in reading.statements.iter().enumerate() {
        let why = match &statement.order {
            Order::Ordinary if reading::changes_rows(&statement.text, lexing) => continue,
            Order::Refused(refusal) => format!("{}: {}", refusal.what, refusal.effect),
            Order::Unreadable => {
                "the role's client_encoding does not tell where a statement ends".to_owned()
            }
            Order::Begin { .. }
            | Order::Commit { .. }
            | Order::Rollback { .. }
            | Order::Savepoint(_)
            | Order::Release(_)
            | Order::RollbackTo(_)
            | Order::NeverRun => "it controls the transaction, which is not its own".to_owned(),
            _ => "it does more than change rows: write INSERT, UPDATE, DELETE, MERGE or SELECT"
                .to_owned(),
        };
        return Some(format!("{}{why}", of(index)));
    }
    takes_session_lock(text).then(|| {
        "it takes an advisory lock of the session, which would be held until the rehearsal ends"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;

    fn judged(sql: &'static str) -> Option<String> {
        let text = Bytes::from_static(sql.as_bytes());
        let lexing = reading::lexing_of(&BTreeMap::new());
        refused(&text, &reading::read(&text, lexing), lexing)
    }

    #[rstest]
    #[case("", "it is empty")]
    #[case("-- nothing\n;", "it is empty")]
    #[case(
        "INSERT INTO t VALUES (1); COMMIT",
        "statement 2 of 2: it controls the transaction"
    )]
    #[case("BEGIN; INSERT INTO t VALUES (1); END", "statement 1 of 3")]
    #[case("ROLLBACK TO SAVEPOINT x", "it controls the transaction")]
    #[case("ABORT AND", "it controls the transaction")]
    #[case("CREATE TABLE t ()", "it does more than change rows")]
    #[case("CREATE TEMP TABLE t ()", "it does more than change rows")]
    #[case("TRUNCATE t", "it does more than change rows")]
    #[case("DO $$BEGIN COMMIT; END$$", "it does more than change rows")]
    #[case("CALL p()", "it does more than change rows")]
    #[case("SET search_path = x", "it does more than change rows")]
    #[case("SELECT * INTO t2 FROM t", "it does more than change rows")]
    #[case("COPY t FROM STDIN", "it does more than change rows")]
    #[case("LOCK TABLE t", "it does more than change rows")]
    #[case("COPY t FROM PROGRAM 'x'", "COPY with PROGRAM")]
    #[case("SELECT setval('s', 1)", "setval")]
    #[case("INSERT INTO t SELECT dblink('x', 'y')", "dblink")]
    #[case("SELECT pg_advisory_lock(1)", "it takes an advisory lock")]
    fn what_does_more_than_change_rows_is_not_sent(#[case] sql: &'static str, #[case] why: &str) {
        let found = judged(sql).unwrap();
        assert!(found.starts_with(why), "{found}");
    }

    #[rstest]
    #[case("INSERT INTO t VALUES (';')")]
    #[case("INSERT INTO t VALUES (1); UPDATE t SET a = 2;\n-- and\nDELETE FROM t;")]
    #[case("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE")]
    #[case("WITH a AS (INSERT INTO t VALUES (1) RETURNING a) INSERT INTO u SELECT a FROM a")]
    #[case("SELECT make_customer()")]
    fn what_changes_rows_is_sent(#[case] sql: &'static str) {
        assert_eq!(judged(sql), None);
    }
}
