//! Questions of our own, asked inside the transaction once no client is in the middle of something.

use super::control;
use super::event::{Answer, Question, Surroundings};
use super::replies::{Addressee, Message};
use super::virtual_transaction::Virtual;
use super::{Flow, Transaction};
use crate::rehearsal::wire::{Frontend, Parse};

impl<S: Surroundings> Transaction<S> {
    /// The next question of our own, once no client is in the middle of something.
    pub(super) fn next_question(&mut self) -> Option<(Question, String)> {
        if self.is_somebody_in_the_middle() {
            return None;
        }
        self.questions.pop_front()
    }

    pub(super) fn is_somebody_in_the_middle(&self) -> bool {
        self.clients
            .values()
            .any(|client| client.state != Virtual::Idle)
    }

    /// Answers a question inside the transaction, with the session's settings at their baseline.
    pub(super) async fn answer(&mut self, question: Question, sql: &str) -> Flow<()> {
        self.settle_session().await?;
        let answer = self.ask_all(sql).await?;
        self.output.answers.push((question, answer));
        Ok(())
    }

    /// Puts the session's settings to their baseline, unless they are there.
    pub(super) async fn settle_session(&mut self) -> Flow<()> {
        if self.session_touched {
            self.park().await?;
            self.holder = None;
            self.put_settings(&[]).await?;
            self.session_touched = false;
        }
        Ok(())
    }

    async fn ask_all(&mut self, sql: &str) -> Flow<Answer> {
        self.set_savepoint();
        self.upstream.error = None;
        self.upstream.rows.clear();
        let timeout = self.opening.statement_timeout;
        if timeout > 0 {
            self.own("SET statement_timeout = 0", &Addressee::Ours);
        }
        let text = bytes::Bytes::copy_from_slice(sql.as_bytes());
        let lexing = super::reading::lexing_of(&self.upstream.parameters);
        for statement in super::reading::read(&text, lexing).statements {
            if !statement.may_run() {
                continue;
            }
            self.session_touched |= statement.traits.changes_session;
            let name = self.opening.names.statement("question");
            self.close_statement(&name);
            Frontend::Parse(Parse {
                statement: &name,
                sql: &statement.text,
                types: Parse::NO_TYPES,
            })
            .encode(&mut self.output.upstream);
            control::run(&name, &mut self.output.upstream);
            self.expect(Message::Parse(Vec::new(), None), Addressee::Ours);
            self.expect(Message::Bind(Vec::new(), None), Addressee::Ours);
            self.expect(Message::Execute(None), Addressee::Ours);
        }
        if timeout > 0 {
            let sql = format!("SET statement_timeout = {timeout}");
            self.own(&sql, &Addressee::Ours);
        }
        self.sync().await?;
        let rows = std::mem::take(&mut self.upstream.rows);
        Ok(match self.upstream.error.take() {
            Some(error) => {
                self.roll_back_to_savepoint().await?;
                Err(error)
            }
            None => Ok(rows),
        })
    }
}
