//! The simple protocol: one string, any number of statements, one ReadyForQuery.

use std::sync::Arc;

use bytes::Bytes;

use super::control::{Control, Savepoint};
use super::event::Surroundings;
use super::order::{Order, Statement};
use super::reading::{Reading, lexing_of, read};
use super::replies::{Addressee, Simple};
use super::statements::Addressed;
use super::upstream::Copying;
use super::virtual_transaction::{Unit, Virtual};
use super::{ClientId, Flow, Transaction, answers};
use crate::rehearsal::wire::SqlState;
use crate::verdict::NotRehearsed;

impl<S: Surroundings> Transaction<S> {
    /// Carries out one Query of the current client.
    pub(super) async fn query(&mut self, id: ClientId, text: Bytes) -> Flow<()> {
        self.upstream.faulted = false;
        self.upstream.held = None;
        if let Some(client) = self.clients.get_mut(&id) {
            // A Query takes the place of the unnamed statement, and leaves none.
            client.statements.closed(b"");
            client.unnamed = None;
        }
        let lexing = lexing_of(&self.upstream.parameters);
        let reading = read(&text, lexing);
        if reading.statements.is_empty() && reading.acceptable {
            if let Some(out) = self.for_client() {
                answers::empty_query(out);
            }
            return self.finish_query(id).await;
        }
        self.unit = Unit {
            many: reading.statements.len() > 1,
            ..self.unit
        };
        if self.unit.many || !reading.acceptable {
            let statements = reading.statements.iter().cloned().map(Arc::new);
            self.upstream.whole = statements.collect();
            let accepted = self.whole_is_accepted(id, &text).await?;
            self.upstream.whole.clear();
            if !accepted {
                return self.finish_query(id).await;
            }
        }
        self.run_statements(id, reading).await?;
        self.finish_query(id).await
    }

    async fn run_statements(&mut self, id: ClientId, reading: Reading) -> Flow<()> {
        let count = reading.statements.len();
        for (index, statement) in reading.statements.iter().enumerate() {
            if index > 0 && reading.depends_on_settings(index) {
                self.must_read_as_before(&reading).await?;
            }
            if self.upstream.faulted {
                break;
            }
            self.run_simple(id, &Arc::new(statement.clone()), index + 1 == count)
                .await?;
            if self.upstream.faulted {
                break;
            }
        }
        Ok(())
    }

    /// A server reads the whole string before it runs any of it; here the next statement is read
    /// when those before it have run, and any of them, by a function or a trigger, may have changed
    /// how.
    async fn must_read_as_before(&mut self, reading: &Reading) -> Flow<()> {
        // The server reports a setting at ReadyForQuery.
        self.sync().await?;
        if !self.upstream.faulted && lexing_of(&self.upstream.parameters) != reading.lexing {
            self.refuse(
                NotRehearsed::AmbiguousStatement,
                "a statement of this string changes standard_conforming_strings or client_encoding, and the rest of the string would be read differently; send it separately",
            )
            .await?;
        }
        Ok(())
    }

    /// A server parses the whole string before it runs any of it. So must we: the whole is sent to
    /// be parsed, and has to be refused for nothing but being more than one command.
    async fn whole_is_accepted(&mut self, id: ClientId, text: &[u8]) -> Flow<bool> {
        let failed = matches!(self.state(id), Virtual::Failed(_));
        if !failed {
            self.begin_work(id);
            self.control(&Control::Savepoint(Savepoint::Inner));
            self.sync().await?;
        }
        let accepted = self.parses_as_several(text).await?;
        if !failed {
            self.sync().await?;
            self.control(&Control::RollbackTo(Savepoint::Inner));
            self.control(&Control::Release(Savepoint::Inner));
        }
        self.sync().await?;
        Ok(accepted)
    }

    async fn parses_as_several(&mut self, text: &[u8]) -> Flow<bool> {
        self.upstream.several = false;
        self.parse_text(text, &Addressee::Whole);
        self.settle().await?;
        if self.upstream.several {
            return Ok(true);
        }
        if !self.upstream.faulted {
            self.not_rehearsed(
                NotRehearsed::AmbiguousStatement,
                "the server reads this string as a single statement, drydock as several",
            );
            self.fault(
                SqlState::FEATURE_NOT_SUPPORTED,
                "drydock: this string cannot be cut into its statements with certainty",
            );
        }
        Ok(false)
    }

    async fn run_simple(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        last: bool,
    ) -> Flow<()> {
        let failed = matches!(self.state(id), Virtual::Failed(_));
        if failed || !statement.is_plain() {
            self.settle().await?;
            if self.upstream.faulted {
                return Ok(());
            }
        }
        if !failed && !statement.is_plain() && !self.carry_out(id, statement).await? {
            return Ok(());
        }
        if failed {
            return self.run_in_failed(id, statement).await;
        }
        let text = match self.addressed(id, statement) {
            Addressed::AsWritten => statement.text.clone(),
            Addressed::Renamed(text) => text,
            Addressed::Missing { name, .. } => {
                self.settle().await?;
                if !self.upstream.faulted {
                    self.begin_work(id);
                    let message = format!(
                        "prepared statement \"{}\" does not exist",
                        String::from_utf8_lossy(&name)
                    );
                    self.fail(
                        id,
                        statement,
                        SqlState::INVALID_SQL_STATEMENT_NAME,
                        &message,
                    );
                }
                return Ok(());
            }
        };
        self.begin_work(id);
        self.add_traits(id, statement);
        let number = self.begin_statement(id, statement);
        let simple = Simple {
            shift: statement.shift,
            parameter: statement.parameter,
            hold: last
                && self.is_implicit(id)
                && (self.unit.set_constraints || self.must_check(self.unit.traits)),
        };
        let retreat = self.open_retreat(id, number, statement);
        self.run_text(&text, Some(number), &Addressee::Simple(simple));
        self.close_retreat(retreat);
        self.after_sending(id, statement);
        match &statement.order {
            Order::CopyIn => {
                self.settle().await?;
                if self.upstream.copying == Copying::In {
                    self.copy_in_simple(id).await?;
                }
                Ok(())
            }
            Order::CreateTemporary { name, on_commit } => {
                self.remember_on_commit(id, name, *on_commit).await
            }
            _ => Ok(()),
        }
    }

    /// In a failed block the server's own 25P02, except for what ends the block.
    async fn run_in_failed(&mut self, id: ClientId, statement: &Arc<Statement>) -> Flow<()> {
        if statement.ends_failed_block() {
            self.carry_out(id, statement).await?;
            return Ok(());
        }
        let simple = Simple {
            shift: statement.shift,
            ..Simple::default()
        };
        self.parse_text(&statement.text, &Addressee::Simple(simple));
        self.settle().await
    }

    async fn finish_query(&mut self, id: ClientId) -> Flow<()> {
        self.end_unit(id, true).await
    }
}
