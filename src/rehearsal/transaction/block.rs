//! Transaction blocks, as a client sees them: what begins, marks and ends one (manual, BEGIN, COMMIT,
//! ROLLBACK, SAVEPOINT, SET CONSTRAINTS).

use std::sync::Arc;

use super::control::Control;
use super::event::{Note, Surroundings};
use super::order::{Modes, Statement};
use super::replies::Addressee;
use super::virtual_transaction::{Open, Virtual};
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::wire::SqlState;
use crate::report::{Finding, Severity};

impl<S: Surroundings> Transaction<S> {
    pub(super) fn begin_block(&mut self, id: ClientId, modes: Modes) {
        match self.state(id) {
            Virtual::Idle => {
                self.virtual_transactions += 1;
                let open = Open {
                    number: self.virtual_transactions,
                    started: self.unit.started,
                    used: false,
                    modes,
                    traits: self.unit.traits,
                    set_constraints: self.unit.set_constraints,
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

    pub(super) fn note_isolation(&mut self, modes: Modes) {
        if modes.snapshot_isolation {
            self.output.notes.push(Note::Finding(Finding {
                code: "IsolationLevelAbsorbed".to_owned(),
                severity: Severity::Info,
                message: "a transaction asked for REPEATABLE READ or SERIALIZABLE; the rehearsal ran it as READ COMMITTED, so serialization failures are not rehearsed".to_owned(),
                statement: None,
            }));
        }
    }

    pub(super) async fn commit(
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
            Virtual::Idle => {
                self.upstream.committing = Some(number);
                if self.ends_nothing("COMMIT", chain) && self.end_implicit(id, true).await? {
                    self.finish_noted(number, b"COMMIT");
                }
                self.upstream.committing = None;
            }
        }
        Ok(false)
    }

    pub(super) async fn roll_back(
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
            Virtual::Idle => {
                self.upstream.committing = Some(number);
                if self.ends_nothing("ROLLBACK", chain) {
                    self.end_implicit(id, false).await?;
                    self.finish_noted(number, b"ROLLBACK");
                }
                self.upstream.committing = None;
            }
        }
        Ok(false)
    }

    /// COMMIT or ROLLBACK outside of a block: a warning, and false for an error.
    fn ends_nothing(&mut self, command: &str, chain: bool) -> bool {
        if chain {
            let message = format!("{command} AND CHAIN can only be used in transaction blocks");
            self.fault(SqlState::NO_ACTIVE_SQL_TRANSACTION, &message);
        } else {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "there is no transaction in progress",
            );
        }
        !chain
    }

    fn chain(&mut self, id: ClientId, chain: bool, modes: Modes) {
        if chain {
            self.begin_block(id, modes);
        }
    }

    pub(super) async fn client_savepoint(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        control: Control,
        command: &str,
    ) -> Flow<bool> {
        if self.is_implicit(id) {
            let message = format!("{command} can only be used in transaction blocks");
            self.fail(id, statement, SqlState::NO_ACTIVE_SQL_TRANSACTION, &message);
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
                let wrote = open.wrote_behind_savepoint;
                let released = matches!(control, Control::Release(_));
                self.subtransactions += u64::from(released && wrote);
                let open = Open {
                    pinned: true,
                    wrote_behind_savepoint: released && wrote,
                    ..open
                };
                self.set_state(id, Virtual::Open(open));
            }
            self.judge_suspect().await?;
        }
        self.upstream.committing = None;
        Ok(false)
    }

    /// A statement in a failed block that the server must not be sent: it ends the block, or is
    /// refused in the server's words.
    pub(super) async fn run_in_failed_block(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
    ) -> Flow<()> {
        if statement.ends_failed_block() {
            self.carry_out(id, statement).await?;
        } else {
            self.fault(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            );
        }
        Ok(())
    }

    pub(super) async fn set_constraints(
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
            if all {
                self.complete_noted(id, statement, b"SET CONSTRAINTS");
                return Ok(false);
            }
        }
        self.unit.set_constraints |= self.is_implicit(id);
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
    pub(super) fn needs_block(
        &mut self,
        id: ClientId,
        statement: &Statement,
        command: &str,
    ) -> bool {
        let allowed = !self.is_autocommit(id);
        if !allowed {
            let message = format!("{command} can only be used in transaction blocks");
            self.fail(id, statement, SqlState::NO_ACTIVE_SQL_TRANSACTION, &message);
        }
        allowed
    }
}
