//! Questions of the user's, asked inside the transaction: they read, and nothing else.
//!
//! A text that is not one query is not sent. What is sent is one statement of the extended protocol,
//! behind a savepoint in which the transaction is READ ONLY and has a `statement_timeout`. Behind a
//! savepoint nothing can make it READ WRITE again (manual, SET TRANSACTION), and the ROLLBACK TO
//! that follows each question undoes its settings, its locks, and whatever READ ONLY lets through.

use bytes::Bytes;

use super::event::{Examination, Examined, NotExamined, Question, Surroundings};
use super::order::Order;
use super::reading::{self, Lexing};
use super::replies::{Addressee, Message};
use super::{Flow, Transaction};
use crate::rehearsal::wire::{Bind, Frontend, Parse};

/// As many rows are kept for whoever wants to see some.
pub(super) const KEPT: usize = 5;

/// As many rows are counted.
const COUNTED: u16 = 10_000;

/// They would be held until the rehearsal ends: a savepoint does not undo them.
const SESSION_LOCKS: [&[u8]; 2] = [b"pg_advisory_lock", b"pg_try_advisory_lock"];

impl<S: Surroundings> Transaction<S> {
    /// The next examination, once no client is in the middle of something.
    pub(super) fn next_examination(&mut self) -> Option<(Question, Examination)> {
        if self.is_somebody_in_the_middle() {
            return None;
        }
        self.examinations.pop_front()
    }

    /// Asks inside the transaction, and undoes whatever the question did.
    pub(super) async fn examine(
        &mut self,
        question: Question,
        examination: &Examination,
    ) -> Flow<()> {
        self.settle_session().await?;
        let lexing = reading::lexing_of(&self.upstream.parameters);
        let answer = match refused(&examination.sql, lexing) {
            Some(why) => Err(NotExamined::Refused(why)),
            None => self.examine_once(examination).await?,
        };
        self.output.examined.push((question, answer));
        Ok(())
    }

    async fn examine_once(
        &mut self,
        examination: &Examination,
    ) -> Flow<Result<Examined, NotExamined>> {
        self.set_savepoint();
        self.upstream.error = None;
        self.upstream.rows.clear();
        self.upstream.found = Some(0);
        self.own("SET TRANSACTION READ ONLY", &Addressee::Ours);
        // Without a limit it would be 0.
        let millis = examination.budget_millis.clamp(1, i32::MAX as u64);
        let timeout = format!("SET LOCAL statement_timeout = {millis}");
        self.own(&timeout, &Addressee::Ours);
        let name = self.opening.names.statement("examination");
        self.close_statement(&name);
        let out = &mut self.output.upstream;
        Frontend::Parse(Parse {
            statement: &name,
            sql: examination.sql.as_bytes(),
            types: Parse::NO_TYPES,
        })
        .encode(out);
        Frontend::Bind(Bind {
            portal: &name,
            statement: &name,
            values: Bind::NO_VALUES,
        })
        .encode(out);
        Frontend::Execute {
            portal: &name,
            max_rows: i32::from(COUNTED) + 1,
        }
        .encode(out);
        self.expect(Message::Parse(Vec::new(), None), Addressee::Ours);
        self.expect(Message::Bind(Vec::new(), None), Addressee::Ours);
        self.expect(Message::Execute(None), Addressee::Ours);
        self.sync().await?;
        let error = self.upstream.error.take();
        let rows = std::mem::take(&mut self.upstream.rows);
        let found = self.upstream.found.take().unwrap_or_default();
        self.roll_back_to_savepoint().await?;
        Ok(match error {
            Some(error) => Err(NotExamined::Server(error)),
            None => Ok(Examined {
                rows,
                found: found.min(u64::from(COUNTED)),
                more: found > u64::from(COUNTED),
            }),
        })
    }
}

/// Why a text is not sent: it is not one query, or it would do what a rollback does not undo.
pub(super) fn refused(sql: &str, lexing: Lexing) -> Option<String> {
    let text = Bytes::copy_from_slice(sql.as_bytes());
    let reading = reading::read(&text, lexing);
    let [statement] = &reading.statements[..] else {
        return Some(match reading.statements.len() {
            0 => "it is empty: write one query".to_owned(),
            several => format!("it holds {several} statements: write one query"),
        });
    };
    match &statement.order {
        Order::Ordinary if reading::is_query(&text, lexing) => {}
        Order::Refused(refusal) => {
            return Some(format!("{}: {}", refusal.what, refusal.effect));
        }
        Order::Unreadable => {
            return Some(
                "the role's client_encoding does not tell where a statement ends".to_owned(),
            );
        }
        _ => {
            return Some("it is no query: write SELECT, WITH, VALUES or TABLE".to_owned());
        }
    }
    takes_session_lock(sql.as_bytes()).then(|| {
        "it takes an advisory lock of the session, which would be held until the rehearsal ends: \
         pg_advisory_xact_lock is released at once"
            .to_owned()
    })
}

/// Whether a text names a function that takes an advisory lock of the session.
pub(super) fn takes_session_lock(sql: &[u8]) -> bool {
    SESSION_LOCKS.iter().any(|name| {
        sql.windows(name.len())
            .any(|window| window.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("")]
    #[case(" -- nothing\n;")]
    #[case("SELECT 1; SELECT 2")]
    #[case("COMMIT")]
    #[case("SELECT 1; COMMIT")]
    #[case("ROLLBACK TO SAVEPOINT x")]
    #[case("BEGIN; SELECT 1; END")]
    #[case("DO $$BEGIN COMMIT; END$$")]
    #[case("CALL p()")]
    #[case("SET transaction_read_only = off")]
    #[case("SET TRANSACTION READ WRITE")]
    #[case("RESET ALL")]
    #[case("EXECUTE x")]
    #[case("PREPARE TRANSACTION 'x'")]
    #[case("COPY t TO PROGRAM 'x'")]
    #[case("COPY t TO STDOUT")]
    #[case("EXPLAIN ANALYZE DELETE FROM t")]
    #[case("SELECT * INTO t2 FROM t")]
    #[case("UPDATE t SET a = 1 RETURNING a")]
    #[case("LOCK TABLE t")]
    #[case("DECLARE c CURSOR WITH HOLD FOR SELECT 1")]
    #[case("SELECT dblink('x', 'y')")]
    #[case("SELECT setval('s', 1)")]
    #[case("SELECT pg_terminate_backend(1)")]
    #[case("SELECT pg_advisory_lock(1)")]
    #[case("SELECT pg_catalog.PG_Try_Advisory_Lock_Shared(1)")]
    fn what_is_not_one_query_is_not_sent(#[case] sql: &str) {
        assert!(refused(sql, reading::lexing_of(&BTreeMap::new())).is_some());
    }

    #[rstest]
    #[case("SELECT 1")]
    #[case("SELECT ';' ; -- the end")]
    #[case("VALUES (1)")]
    #[case("TABLE t")]
    #[case("WITH a AS (SELECT 1) SELECT * FROM a")]
    #[case("(SELECT 1)")]
    // READ ONLY stops them.
    #[case("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a")]
    #[case("SELECT set_config('transaction_read_only', 'off', true)")]
    fn a_query_is_sent(#[case] sql: &str) {
        assert_eq!(refused(sql, reading::lexing_of(&BTreeMap::new())), None);
    }
}
