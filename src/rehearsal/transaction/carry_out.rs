//! What the rehearsal carries out in the server's place: transaction control, and statements that
//! would reach beyond the client's own virtual transaction.

use std::sync::Arc;

use super::control::{Control, Savepoint, literal};
use super::event::{Note, Surroundings};
use super::order::{Order, Statement, Traits};
use super::replies::{Addressee, Simple};
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::sql::QualifiedName;
use crate::report::{Finding, Severity};
use crate::verdict::NotRehearsed;

impl<S: Surroundings> Transaction<S> {
    /// Carries out a statement that is not simply forwarded. True when it is to be run as it is
    /// after all. Everything before it is answered.
    pub(super) async fn carry_out(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
    ) -> Flow<bool> {
        match &statement.order {
            Order::Ordinary
            | Order::CopyIn
            | Order::CreateTemporary { .. }
            | Order::Close(_)
            | Order::Prepare(_)
            | Order::Execute(_)
            | Order::Deallocate(_) => Ok(true),
            Order::Begin { start, modes } => {
                let tag: &[u8] = if *start {
                    b"START TRANSACTION"
                } else {
                    b"BEGIN"
                };
                self.begin_block(id, *modes);
                self.complete_noted(id, statement, tag);
                Ok(false)
            }
            Order::Commit { chain } => self.commit(id, statement, *chain).await,
            Order::Rollback { chain } => self.roll_back(id, statement, *chain).await,
            Order::Savepoint(name) => {
                let control = Control::Savepoint(Savepoint::Client(name.clone()));
                self.client_savepoint(id, statement, control, "SAVEPOINT")
                    .await
            }
            Order::Release(name) => {
                let control = Control::Release(Savepoint::Client(name.clone()));
                self.client_savepoint(id, statement, control, "RELEASE SAVEPOINT")
                    .await
            }
            Order::RollbackTo(name) => {
                let control = Control::RollbackTo(Savepoint::Client(name.clone()));
                self.client_savepoint(id, statement, control, "ROLLBACK TO SAVEPOINT")
                    .await
            }
            Order::SetTransaction(modes) => self.set_transaction(id, statement, *modes).await,
            Order::SetCharacteristics(modes) => {
                self.note_isolation(*modes);
                match modes.read_only {
                    Some(on) => {
                        let value = if on { "on" } else { "off" };
                        self.set_read_only_default(id, statement, Some(value), b"SET")
                            .await
                    }
                    None => {
                        self.complete_noted(id, statement, b"SET");
                        Ok(false)
                    }
                }
            }
            Order::SetReadOnlyDefault { reset, value } => {
                let tag: &[u8] = if *reset { b"RESET" } else { b"SET" };
                self.set_read_only_default(id, statement, value.as_deref(), tag)
                    .await
            }
            Order::Reset(name, tag) => self.reset(id, statement, name, tag.as_bytes()).await,
            Order::ResetAll => self.reset_all(id, statement).await,
            Order::SetLocal(name) => self.set_local(id, name).await,
            Order::SetConstraints { all, deferred } => {
                self.set_constraints(id, statement, *all, *deferred).await
            }
            Order::Lock => Ok(self.needs_block(id, statement, "LOCK TABLE")),
            Order::Declare { hold, .. } => {
                Ok(*hold || self.needs_block(id, statement, "DECLARE CURSOR"))
            }
            Order::CloseAll => {
                self.begin_work(id);
                self.close_client_portals(id);
                self.settle().await?;
                self.complete_noted(id, statement, b"CLOSE CURSOR ALL");
                Ok(false)
            }
            Order::DeallocateAll => {
                self.begin_work(id);
                self.deallocate_all(id);
                self.settle().await?;
                self.complete_noted(id, statement, b"DEALLOCATE ALL");
                Ok(false)
            }
            Order::DiscardAll | Order::DiscardTemp => self.discard(id, statement).await,
            Order::Concurrently(form) if self.is_alone(id) => {
                let form = form.clone();
                self.substitute(id, statement, &form).await
            }
            Order::Vacuum(tables) if self.is_alone(id) => {
                self.skip_vacuum(id, statement, tables).await?;
                Ok(false)
            }
            Order::OutsideTransaction(what) if self.is_alone(id) => {
                let message = format!(
                    "{what} cannot run inside a transaction, and nothing can stand for it; take it out of the migration, or rehearse on a clone"
                );
                self.refuse_statement(
                    id,
                    statement,
                    NotRehearsed::CannotRunInTransaction,
                    &message,
                )
                .await?;
                Ok(false)
            }
            // In a transaction block, the server's own 25001.
            Order::Concurrently(_) | Order::Vacuum(_) | Order::OutsideTransaction(_) => Ok(true),
            Order::NeverRun => {
                self.begin_work(id);
                let number = self.begin_statement(id, statement);
                self.upstream.committing = Some(number);
                self.parse_text(
                    &statement.text,
                    &Addressee::Simple(Simple {
                        shift: statement.shift,
                        ..Simple::default()
                    }),
                );
                self.settle().await?;
                if !self.upstream.faulted {
                    let message = "the server accepts transaction control that drydock cannot read";
                    self.refuse(NotRehearsed::AmbiguousStatement, message)
                        .await?;
                }
                self.upstream.committing = None;
                Ok(false)
            }
            Order::Unreadable => {
                let message = "statements in this client_encoding cannot be cut with certainty; set client_encoding to UTF8";
                self.refuse_statement(id, statement, NotRehearsed::AmbiguousStatement, message)
                    .await?;
                Ok(false)
            }
            Order::Refused(refusal) => self.stop_unless_new(id, statement, refusal).await,
        }
    }

    /// Neither in a transaction block nor one of several statements of a string.
    pub(super) fn is_autocommit(&self, id: ClientId) -> bool {
        self.is_implicit(id) && !self.unit.many
    }

    /// A transaction of its own: neither that, nor one of several statements of a batch.
    fn is_alone(&self, id: ClientId) -> bool {
        self.is_autocommit(id) && self.unit.statements == 0
    }

    /// VACUUM is read by the server, and its tables are looked up, but it does not run.
    async fn skip_vacuum(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        tables: &[QualifiedName],
    ) -> Flow<()> {
        self.begin_work(id);
        let number = self.begin_statement(id, statement);
        self.upstream.committing = Some(number);
        self.parse_aside(
            &statement.text,
            Addressee::Simple(Simple {
                shift: statement.shift,
                ..Simple::default()
            }),
        );
        let lookup = |function: &str, name: &[u8]| {
            let name = self.upstream.exactly(name)?;
            Some(format!("pg_catalog.{function}({})", literal(name)))
        };
        let mut lookups = Vec::new();
        for table in tables {
            let schema = table.schema.as_ref().filter(|_| !table.is_temporary());
            lookups.extend(schema.and_then(|name| lookup("regnamespacein", &name.quoted())));
            lookups.extend(lookup("regclassin", &table.quoted()));
        }
        if !lookups.is_empty() {
            let sql = format!("SELECT {}", lookups.join(", "));
            self.own(&sql, &Addressee::Check);
        }
        self.settle().await?;
        self.upstream.committing = None;
        if self.upstream.faulted {
            return Ok(());
        }
        self.output.notes.push(Note::Substituted {
            id: number,
            by: String::new(),
            locks: Vec::new(),
        });
        self.output.notes.push(Note::Finding(Finding {
            code: "VacuumSkipped".to_owned(),
            severity: Severity::Info,
            message:
                "VACUUM cannot run inside a transaction and was skipped; the upgrade will run it"
                    .to_owned(),
            statement: Some(number),
        }));
        self.finish_noted(number, b"VACUUM");
        Ok(())
    }

    /// What a statement that is being sent may do to the session.
    pub(super) fn add_traits(&mut self, id: ClientId, statement: &Statement) {
        self.add_to_block(id, statement.traits);
    }

    /// The same of what is no statement.
    pub(super) fn add_to_block(&mut self, id: ClientId, traits: Traits) {
        self.unit.traits = self.unit.traits.and(traits);
        self.made_code |= traits.makes_code;
        self.session_touched = true;
        if let Some(client) = self.clients.get_mut(&id) {
            if traits.sets_lock_timeout {
                client.own_lock_timeout(true);
            }
            client.writes |= traits.writes;
            if let Virtual::Open(open) = &mut client.state {
                open.used = true;
                open.wrote_behind_savepoint |= traits.writes;
                open.traits = open.traits.and(traits);
            }
        }
    }

    /// What follows from a statement that was sent.
    pub(super) fn after_sending(&mut self, id: ClientId, statement: &Arc<Statement>) {
        self.follow_constraints(statement.traits);
        if statement.traits.sets_pauses {
            self.hold_pauses();
        }
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match &statement.order {
            Order::Declare { name, hold: false } => {
                client.portals.made(name.clone(), statement.clone());
                if let Virtual::Open(open) = &mut client.state {
                    open.pinned = true;
                }
            }
            Order::Declare { name, hold: true } => {
                // It may take the name of one that was closed.
                client.portals.closed(name);
                client.held.push(name.clone());
            }
            Order::Close(name) => {
                client.portals.closed(name);
                client.held.retain(|known| known != name);
            }
            Order::Prepare(name) => {
                let upstream = client.upstream_name(name).clone();
                client.prepared.push(upstream);
            }
            Order::Deallocate(name) => {
                let upstream = client.upstream_name(name).clone();
                client.prepared.retain(|known| *known != upstream);
                client.statements.closed(name);
            }
            _ => {}
        }
    }
}
