//! What the rehearsal carries out in the server's place: transaction control, and statements that
//! would reach beyond the client's own virtual transaction.

use std::sync::Arc;

use super::control::{Control, Savepoint};
use super::event::{Note, Surroundings};
use super::order::{Modes, Order, Statement};
use super::replies::{Addressee, Simple, StatementId};
use super::virtual_transaction::{Open, Virtual};
use super::{ClientId, Flow, Transaction, answers};
use crate::rehearsal::wire::SqlState;
use crate::report::{Finding, ServerError, Severity};
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
            Order::Ordinary | Order::CopyIn | Order::Prepare(_) | Order::Deallocate(_) => Ok(true),
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
                if let Some(read_only) = modes.read_only {
                    self.set_read_only_default(id, Some(read_only));
                }
                self.complete_noted(id, statement, b"SET");
                Ok(false)
            }
            Order::SetGuarded { reset, value } => {
                let on = matches!(
                    value.to_ascii_lowercase().as_slice(),
                    b"on" | b"true" | b"yes" | b"1" | b"t" | b"y"
                );
                self.set_read_only_default(id, (!reset).then_some(on));
                self.complete_noted(id, statement, if *reset { b"RESET" } else { b"SET" });
                Ok(false)
            }
            Order::SetLocal(name) => self.set_local(id, statement, name).await,
            Order::SetConstraints { all, deferred } => {
                self.set_constraints(id, statement, *all, *deferred).await
            }
            Order::Lock => Ok(self.needs_block(id, "LOCK TABLE")),
            Order::Declare { hold, .. } => Ok(*hold || self.needs_block(id, "DECLARE CURSOR")),
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
            Order::Concurrently(form) if self.is_autocommit(id) => {
                let form = form.clone();
                self.substitute(id, statement, &form).await
            }
            Order::Vacuum if self.is_autocommit(id) => {
                self.skip_vacuum(id, statement);
                Ok(false)
            }
            Order::OutsideTransaction(what) if self.is_autocommit(id) => {
                let message = format!(
                    "{what} cannot run inside a transaction, and nothing can stand for it; take it out of the migration, or rehearse on a clone"
                );
                self.refuse(NotRehearsed::CannotRunInTransaction, &message)
                    .await?;
                Ok(false)
            }
            // In a transaction block, the server's own 25001.
            Order::Concurrently(_) | Order::Vacuum | Order::OutsideTransaction(_) => Ok(true),
            Order::NeverRun => {
                self.begin_work(id);
                self.parse_text(
                    &statement.text,
                    &Addressee::Simple(Simple {
                        shift: statement.shift,
                        hold: false,
                    }),
                );
                self.settle().await?;
                if !self.upstream.faulted {
                    let message = "the server accepts transaction control that drydock cannot read";
                    self.refuse(NotRehearsed::AmbiguousStatement, message)
                        .await?;
                }
                Ok(false)
            }
            Order::Unreadable => {
                let message = "statements in this client_encoding cannot be cut with certainty; set client_encoding to UTF8";
                self.refuse(NotRehearsed::AmbiguousStatement, message)
                    .await?;
                Ok(false)
            }
            Order::Refused(refusal) => self.stop_unless_new(id, refusal).await,
        }
    }

    /// Neither in a transaction block nor one of several statements of a string.
    pub(super) fn is_autocommit(&self, id: ClientId) -> bool {
        self.is_implicit(id) && !self.unit.many
    }

    fn begin_block(&mut self, id: ClientId, modes: Modes) {
        match self.state(id) {
            Virtual::Idle => {
                self.virtual_transactions += 1;
                let open = Open {
                    number: self.virtual_transactions,
                    started: self.unit.started,
                    used: false,
                    modes,
                    traits: self.unit.traits,
                    ..Open::default()
                };
                let read_only = open.started && modes.read_only == Some(true);
                self.set_state(id, Virtual::Open(open));
                if read_only {
                    self.own("SET TRANSACTION READ ONLY", &Addressee::Ours);
                }
                self.note_isolation(modes);
            }
            _ => self.warn(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "there is already a transaction in progress",
            ),
        }
    }

    fn note_isolation(&mut self, modes: Modes) {
        if modes.snapshot_isolation {
            self.output.notes.push(Note::Finding(Finding {
                code: "IsolationLevelAbsorbed".to_owned(),
                severity: Severity::Info,
                message: "a transaction asked for REPEATABLE READ or SERIALIZABLE; the rehearsal ran it as READ COMMITTED, so serialization failures are not rehearsed".to_owned(),
                statement: None,
            }));
        }
    }

    async fn commit(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        chain: bool,
    ) -> Flow<bool> {
        let number = self.begin_statement(id, statement);
        match self.state(id).clone() {
            Virtual::Open(open) => {
                self.upstream.committing = Some(number);
                if self.commit_block(id).await? {
                    self.finish_noted(number, b"COMMIT");
                    self.chain(id, chain, open.modes);
                }
                self.upstream.committing = None;
            }
            Virtual::Failed(open) => {
                self.roll_back_block(id).await?;
                self.finish_noted(number, b"ROLLBACK");
                self.chain(id, chain, open.modes);
            }
            Virtual::Idle if chain => {
                self.upstream.committing = Some(number);
                self.fault(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "COMMIT AND CHAIN can only be used in transaction blocks",
                );
            }
            Virtual::Idle => {
                self.warn(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "there is no transaction in progress",
                );
                self.upstream.committing = Some(number);
                if self.end_implicit(id, true).await? {
                    self.finish_noted(number, b"COMMIT");
                }
                self.upstream.committing = None;
            }
        }
        Ok(false)
    }

    async fn roll_back(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        chain: bool,
    ) -> Flow<bool> {
        let number = self.begin_statement(id, statement);
        match self.state(id).clone() {
            Virtual::Open(open) | Virtual::Failed(open) => {
                self.roll_back_block(id).await?;
                self.finish_noted(number, b"ROLLBACK");
                self.chain(id, chain, open.modes);
            }
            Virtual::Idle if chain => {
                self.upstream.committing = Some(number);
                self.fault(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "ROLLBACK AND CHAIN can only be used in transaction blocks",
                );
            }
            Virtual::Idle => {
                self.warn(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "there is no transaction in progress",
                );
                self.end_implicit(id, false).await?;
                self.finish_noted(number, b"ROLLBACK");
            }
        }
        Ok(false)
    }

    fn chain(&mut self, id: ClientId, chain: bool, modes: Modes) {
        if chain {
            self.begin_block(id, modes);
        }
    }

    async fn client_savepoint(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        control: Control,
        command: &str,
    ) -> Flow<bool> {
        if self.is_implicit(id) {
            let number = self.begin_statement(id, statement);
            self.upstream.committing = Some(number);
            self.fault(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                &format!("{command} can only be used in transaction blocks"),
            );
            return Ok(false);
        }
        self.begin_work(id);
        let number = self.begin_statement(id, statement);
        self.upstream.committing = Some(number);
        self.control_for(&control, Addressee::ClientControl(control.clone()));
        self.sync().await?;
        if !self.upstream.faulted {
            self.note_done(Some(number), control.tag());
            if let Virtual::Failed(open) | Virtual::Open(open) = self.state(id).clone() {
                let open = Open {
                    pinned: true,
                    ..open
                };
                self.set_state(id, Virtual::Open(open));
            }
        }
        self.upstream.committing = None;
        Ok(false)
    }

    async fn set_transaction(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        modes: Modes,
    ) -> Flow<bool> {
        if self.is_autocommit(id) {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION can only be used in transaction blocks",
            );
            self.complete_noted(id, statement, b"SET");
            return Ok(false);
        }
        let Virtual::Open(open) = self.state(id).clone() else {
            return Ok(true);
        };
        if open.used {
            // Too late for an isolation level: the server's own 25001.
            return Ok(true);
        }
        if let Some(read_only) = modes.read_only {
            self.begin_work(id);
            let mode = if read_only { "ONLY" } else { "WRITE" };
            self.own(&format!("SET TRANSACTION READ {mode}"), &Addressee::Ours);
            self.settle().await?;
        }
        self.note_isolation(modes);
        self.complete_noted(id, statement, b"SET");
        Ok(false)
    }

    fn set_read_only_default(&mut self, id: ClientId, on: Option<bool>) {
        let value = on.map(|on| bytes::Bytes::from_static(if on { b"on" } else { b"off" }));
        if let Some(client) = self.clients.get_mut(&id) {
            client.read_only_default = value;
        }
        self.tell(id, b"default_transaction_read_only");
    }

    async fn set_local(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        name: &str,
    ) -> Flow<bool> {
        if self.is_autocommit(id) {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            );
            self.complete_noted(id, statement, b"SET");
            return Ok(false);
        }
        self.begin_work(id);
        let known = self
            .clients
            .get(&id)
            .is_some_and(|client| client.local.iter().any(|(known, _)| known == name));
        if !known {
            let sql = format!(
                "SELECT pg_catalog.current_setting({}, true)",
                super::session::literal(name)
            );
            let rows = self.question(&sql).await?.unwrap_or_default();
            let value = rows.into_iter().flatten().next().flatten();
            if let Some(client) = self.clients.get_mut(&id) {
                client
                    .local
                    .push((name.to_owned(), value.unwrap_or_default()));
            }
        }
        Ok(true)
    }

    async fn set_constraints(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        all: bool,
        deferred: bool,
    ) -> Flow<bool> {
        if self.is_autocommit(id) {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET CONSTRAINTS can only be used in transaction blocks",
            );
            self.complete_noted(id, statement, b"SET CONSTRAINTS");
            return Ok(false);
        }
        if let Virtual::Open(open) = self.state(id).clone() {
            let open = Open {
                set_constraints: true,
                ..open
            };
            self.set_state(id, Virtual::Open(open));
        }
        if !all {
            return Ok(true);
        }
        self.set_all_constraints(id, deferred).await?;
        if !self.upstream.faulted {
            self.complete_noted(id, statement, b"SET CONSTRAINTS");
        }
        Ok(false)
    }

    /// True in a transaction block, or in a string of several statements; else the server's error.
    fn needs_block(&mut self, id: ClientId, command: &str) -> bool {
        let allowed = !self.is_autocommit(id);
        if !allowed {
            self.fault(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                &format!("{command} can only be used in transaction blocks"),
            );
        }
        allowed
    }

    fn skip_vacuum(&mut self, id: ClientId, statement: &Arc<Statement>) {
        let number = self.begin_statement(id, statement);
        self.output
            .notes
            .push(Note::Substituted(number, String::new()));
        self.output.notes.push(Note::Finding(Finding {
            code: "VacuumSkipped".to_owned(),
            severity: Severity::Info,
            message:
                "VACUUM cannot run inside a transaction and was skipped; the upgrade will run it"
                    .to_owned(),
            statement: Some(number),
        }));
        self.complete(b"VACUUM");
    }

    /// Records that a statement is being run, and gives its number.
    pub(super) fn begin_statement(&mut self, id: ClientId, statement: &Statement) -> StatementId {
        let number = self.statements;
        self.statements += 1;
        self.output.notes.push(Note::Begun {
            statement: number,
            client: id,
            transaction: self.state(id).number(),
            text: statement.redacted.clone(),
        });
        number
    }

    pub(super) fn complete_noted(&mut self, id: ClientId, statement: &Statement, tag: &[u8]) {
        let number = self.begin_statement(id, statement);
        self.finish_noted(number, tag);
    }

    fn finish_noted(&mut self, number: StatementId, tag: &[u8]) {
        self.note_done(Some(number), tag);
        self.complete(tag);
    }

    pub(super) fn warn(&mut self, code: SqlState, message: &str) {
        if let Some(out) = self.for_client() {
            answers::warning(out, code, message);
        }
    }

    /// An error in the server's place.
    pub(super) fn fault(&mut self, code: SqlState, message: &str) {
        if let Some(statement) = self.upstream.committing.take() {
            let error = ServerError {
                code: code.to_string(),
                message: message.to_owned(),
                constraint: None,
                table: None,
            };
            self.output.notes.push(Note::Failed(statement, error));
        }
        self.upstream.faulted = true;
        if let Some(out) = self.for_client() {
            answers::error(out, code, message);
        }
    }

    /// The same behind everything that is under way, unless that failed already.
    pub(super) async fn raise(&mut self, code: SqlState, message: &str) -> Flow<()> {
        self.settle().await?;
        if !self.upstream.faulted {
            self.fault(code, message);
        }
        Ok(())
    }

    /// What a statement that is being sent may do to the session.
    pub(super) fn add_traits(&mut self, id: ClientId, statement: &Statement) {
        let traits = statement.traits;
        self.unit.traits = self.unit.traits.and(traits);
        self.session_touched = true;
        if let Some(client) = self.clients.get_mut(&id) {
            client.own_lock_timeout |= traits.sets_lock_timeout;
            if let Virtual::Open(open) = &mut client.state {
                open.used = true;
                open.traits = open.traits.and(traits);
            }
        }
    }

    /// What follows from a statement that was sent.
    pub(super) fn after_sending(&mut self, id: ClientId, statement: &Arc<Statement>) {
        self.follow_constraints(statement.traits);
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
            Order::Prepare(name) => client.prepared.push(name.clone()),
            Order::Deallocate(name) => {
                client.prepared.retain(|known| known != name);
                client.statements.closed(name);
            }
            _ => {}
        }
    }
}
