//! The end of a virtual transaction, of an implicit one, and of one Query or batch.

use super::control::run;
use super::event::{Note, Surroundings};
use super::order::Traits;
use super::replies::{Addressee, Message};
use super::upstream::Point;
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Stop, Transaction};
use crate::rehearsal::wire::{Backend, Frontend, Parse};
use crate::verdict::{NotRehearsed, Verdict};

impl<S: Surroundings> Transaction<S> {
    pub(super) fn is_implicit(&self, id: ClientId) -> bool {
        *self.state(id) == Virtual::Idle
    }

    /// Sets the savepoint of the virtual or implicit transaction, once, in front of the first
    /// message that could fail.
    pub(super) fn begin_work(&mut self, id: ClientId) {
        let read_only_default = self
            .clients
            .get(&id)
            .is_some_and(|client| client.read_only_default);
        match self.state(id).clone() {
            Virtual::Failed(_) => {}
            Virtual::Idle => {
                if !std::mem::replace(&mut self.unit.started, true) {
                    self.set_savepoint();
                    if read_only_default {
                        self.own("SET TRANSACTION READ ONLY", &Addressee::Ours);
                    }
                }
            }
            Virtual::Open(mut open) => {
                if !open.started {
                    open.started = true;
                    let read_only = open.modes.read_only.unwrap_or(read_only_default);
                    self.set_state(id, Virtual::Open(open));
                    self.set_savepoint();
                    if read_only {
                        self.own("SET TRANSACTION READ ONLY", &Addressee::Ours);
                    }
                }
            }
        }
    }

    /// The end of a Query or of a batch: commits what was implicit, undoes what failed, and says
    /// ReadyForQuery.
    pub(super) async fn end_unit(&mut self, id: ClientId, simple: bool) -> Flow<()> {
        let gone = self.clients.get(&id).is_none_or(|client| client.gone);
        if !self.upstream.faulted && self.unit.started && self.is_implicit(id) && !gone {
            self.commit_implicit(id, simple).await?;
        }
        if self.upstream.open || self.upstream.skipping {
            self.sync().await?;
        }
        self.check_watch()?;
        self.own_work_succeeded(id).await?;
        self.look_into_violation(id).await?;
        let failed = self.upstream.faulted || gone;
        match self.state(id).clone() {
            Virtual::Idle if self.unit.started => {
                self.keep_or_undo(id, !failed, self.unit.traits).await?;
            }
            Virtual::Open(open) if self.upstream.faulted => {
                self.abort(id).await?;
                let open = match self.state(id) {
                    Virtual::Open(now) => now.clone(),
                    _ => open,
                };
                self.set_state(id, Virtual::Failed(open));
            }
            _ => {}
        }
        if let Some((frame, statement)) = self.upstream.held.take()
            && !failed
        {
            if let Ok(Backend::CommandComplete(tag)) = Backend::parse(&frame) {
                self.note_done(statement, tag);
            }
            self.pass(&frame);
        }
        self.ready(id);
        Ok(())
    }

    /// An error that the server knows nothing of must abort its transaction all the same, so that
    /// what follows gets its 25P02.
    async fn abort(&mut self, id: ClientId) -> Flow<()> {
        if !self.upstream.aborted {
            self.begin_work(id);
            self.parse_text(b"drydock aborts this transaction", &Addressee::Ours);
            self.sync().await?;
            self.upstream.error = None;
        }
        Ok(())
    }

    async fn commit_implicit(&mut self, id: ClientId, simple: bool) -> Flow<()> {
        let traits = self.unit.traits;
        let checks = self.unit.set_constraints || self.must_check(traits);
        if checks && self.deferred.is_stale() {
            self.settle().await?;
            if self.upstream.faulted {
                return Ok(());
            }
        }
        self.send_checks(traits, self.unit.set_constraints).await?;
        self.put_back_local(id);
        // In a string of several statements DECLARE is allowed without a block.
        if !simple || self.unit.many {
            self.close_portals(id);
        }
        if traits.writes {
            self.send_on_commit(id);
        }
        self.test_tripwire(traits);
        if traits.calls || (traits.writes && !self.output.wrote) {
            self.send_watch();
        } else {
            self.subtransactions += u64::from(traits.surely_writes);
            if traits.writes {
                self.send_watch_over_id();
            }
        }
        Ok(())
    }

    /// COMMIT of a transaction block. False when a deferred check failed: then the block is rolled
    /// back, and the client has the error.
    pub(super) async fn commit_block(&mut self, id: ClientId) -> Flow<bool> {
        let Virtual::Open(open) = self.state(id).clone() else {
            return Ok(true);
        };
        if open.started {
            self.send_checks(open.traits, open.set_constraints).await?;
            if !self.upstream.faulted {
                self.put_back_local(id);
                self.close_portals(id);
                if open.traits.writes {
                    self.send_on_commit(id);
                }
                self.test_tripwire(open.traits);
                self.send_watch();
                self.sync().await?;
                self.check_watch()?;
                self.own_work_succeeded(id).await?;
            }
        }
        let committed = !self.upstream.faulted;
        self.look_into_violation(id).await?;
        self.keep_or_undo(id, committed, open.traits).await?;
        self.set_state(id, Virtual::Idle);
        self.unit.restart();
        Ok(committed)
    }

    /// COMMIT or ROLLBACK of what ran so far in a Query of several statements outside a block.
    pub(super) async fn end_implicit(&mut self, id: ClientId, commit: bool) -> Flow<bool> {
        if !self.unit.started {
            return Ok(true);
        }
        if commit {
            self.commit_implicit(id, true).await?;
            self.sync().await?;
            self.check_watch()?;
            self.own_work_succeeded(id).await?;
        }
        let committed = commit && !self.upstream.faulted;
        self.look_into_violation(id).await?;
        self.keep_or_undo(id, committed, self.unit.traits).await?;
        self.unit.restart();
        Ok(!commit || committed)
    }

    /// ROLLBACK of a transaction block.
    pub(super) async fn roll_back_block(&mut self, id: ClientId) -> Flow<()> {
        if let Virtual::Open(open) | Virtual::Failed(open) = self.state(id).clone()
            && open.started
        {
            self.roll_back_to_savepoint().await?;
            self.send_watch();
            self.sync().await?;
            self.check_watch()?;
        }
        self.deferred.forget();
        self.note_end(id, false, Traits::default());
        self.set_state(id, Virtual::Idle);
        self.unit.restart();
        Ok(())
    }

    /// What a real COMMIT would have kept stays behind the savepoint; all else is undone.
    async fn keep_or_undo(&mut self, id: ClientId, committed: bool, traits: Traits) -> Flow<()> {
        if committed {
            self.deferred.keep();
        } else {
            self.roll_back_to_savepoint().await?;
            self.deferred.forget();
        }
        self.note_end(id, committed, traits);
        Ok(())
    }

    fn note_end(&mut self, id: ClientId, committed: bool, traits: Traits) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.portals.clear();
            client.local.clear();
            if let Some(before) = client.read_only_before.take()
                && !committed
            {
                client.read_only_default = before;
            }
            if let Some(before) = client.lock_timeout_before.take()
                && !committed
            {
                client.own_lock_timeout = before;
            }
        }
        let writes = self.written.take().unwrap_or(traits.writes);
        self.output
            .notes
            .push(Note::VirtualEnd { committed, writes });
    }

    /// Cursors and portals die with their transaction; a later ALTER TABLE would fail otherwise.
    fn close_portals(&mut self, id: ClientId) {
        let names: Vec<_> = match self.clients.get(&id) {
            Some(client) => client.portals.names().cloned().collect(),
            None => return,
        };
        let pending: Vec<_> = self
            .upstream
            .replies
            .portal_changes()
            .filter_map(|change| match change {
                super::statements::Change::Made(name, _) => Some(name.to_vec()),
                super::statements::Change::Closed(_) => None,
            })
            .collect();
        for name in names.into_iter().chain(pending) {
            if !name.is_empty() {
                self.close_portal(&name);
            }
        }
    }

    /// What the rehearsal does in the client's transaction, and nobody hears of, must succeed. Where
    /// it did not, the transaction is aborted although the client has heard of no error: it does now.
    async fn own_work_succeeded(&mut self, id: ClientId) -> Flow<()> {
        let error = self.upstream.error.take();
        let unnoticed = self.upstream.aborted
            && !self.upstream.faulted
            && !matches!(self.state(id), Virtual::Failed(_));
        if !unnoticed {
            return Ok(());
        }
        if let Some((_, statement)) = self.upstream.held.take() {
            self.upstream.committing = statement;
        }
        let why = error.map_or_else(
            || "the transaction is aborted".to_owned(),
            |error| format!("{}: {}", error.code, error.message),
        );
        let message = format!(
            "what a server does by itself at a transaction's beginning or end cannot be done here ({why}); rehearse on a clone"
        );
        self.refuse(NotRehearsed::CannotRunInTransaction, &message)
            .await
    }

    /// Prepares the question that is asked at virtual ends: is it still the same transaction, and
    /// is there
    /// a tripwire that would still stop a COMMIT? And how many savepoints have an id of their own:
    /// was anything written?
    pub(super) fn prepare_watch(&mut self) {
        let names = &self.opening.names;
        let sql = format!(
            "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text, \
             EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE name = '{}'), \
             pg_catalog.to_regclass('pg_temp.{}') IS NOT NULL \
             AND pg_catalog.current_setting('session_replication_role') <> 'replica', ({}) - {}",
            names.cursor(),
            names.table(),
            super::COUNT_WRITERS,
            self.opening.own_locks
        );
        Frontend::Parse(Parse {
            statement: &names.statement("watch"),
            sql: sql.as_bytes(),
            types: Parse::NO_TYPES,
        })
        .encode(&mut self.output.upstream);
        self.expect_ours_parse();
    }

    pub(super) fn send_watch(&mut self) {
        self.send_prepared_watch("watch");
    }

    /// Prepares the part of it that costs next to nothing, however many locks are held.
    pub(super) fn prepare_watch_over_id(&mut self) {
        Frontend::Parse(Parse {
            statement: &self.opening.names.statement("watch_over_id"),
            sql: b"SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text",
            types: Parse::NO_TYPES,
        })
        .encode(&mut self.output.upstream);
        self.expect_ours_parse();
    }

    fn send_watch_over_id(&mut self) {
        self.send_prepared_watch("watch_over_id");
    }

    fn send_prepared_watch(&mut self, what: &str) {
        let name = self.opening.names.statement(what);
        run(&name, &mut self.output.upstream);
        self.expect(Message::Bind(Vec::new(), None), Addressee::Watch);
        self.expect(Message::Execute(None), Addressee::Watch);
        self.upstream.watching = true;
    }

    /// Prepares the question whether a tripwire would not only be there but stop a COMMIT: the
    /// constraint must fail when it is checked. The cursor cannot be tried without a COMMIT. In a
    /// block that catches the error neither the transaction nor the server's log hears of it. Before
    /// that it closes cursors that functions have left open: they end with their transaction.
    pub(super) fn prepare_tripwire_test(&mut self) {
        if !self.opening.tests_tripwire {
            return;
        }
        let names = &self.opening.names;
        let sql = format!(
            "DO $drydock$DECLARE open text; BEGIN \
             SELECT pg_catalog.string_agg('CLOSE ' || pg_catalog.quote_ident(name), '; ') INTO open \
             FROM pg_catalog.pg_cursors WHERE NOT is_holdable AND name <> ''; \
             IF open IS NOT NULL THEN BEGIN EXECUTE open; EXCEPTION WHEN OTHERS THEN NULL; END; END IF; \
             BEGIN SET CONSTRAINTS pg_temp.{} IMMEDIATE; \
             EXCEPTION WHEN unique_violation THEN RETURN; WHEN OTHERS THEN NULL; END; \
             IF NOT EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE name = '{}') \
             THEN RAISE 'no tripwire is left'; END IF; END$drydock$",
            names.constraint(),
            names.cursor()
        );
        Frontend::Parse(Parse {
            statement: &names.statement("tripwire"),
            sql: sql.as_bytes(),
            types: Parse::NO_TYPES,
        })
        .encode(&mut self.output.upstream);
        self.expect_ours_parse();
    }

    /// Tries the constraint again behind code that may have disarmed it. It goes with what ends the
    /// transaction, so it costs no round trip.
    fn test_tripwire(&mut self, traits: Traits) {
        // What was there before and runs without a call is trusted, unless it may do anything.
        let superuser = self.upstream.parameters.get(b"is_superuser".as_slice());
        let hidden = self.made_code || superuser.is_some_and(|value| value == b"on");
        let code = traits.calls || (traits.writes && hidden);
        if !(code && self.opening.tests_tripwire) {
            return;
        }
        let name = self.opening.names.statement("tripwire");
        run(&name, &mut self.output.upstream);
        self.expect(Message::Bind(Vec::new(), None), Addressee::Watch);
        self.expect(Message::Execute(None), Addressee::Watch);
    }

    /// Looks at an answer of the watch, of either of them.
    pub(super) fn check_watch(&mut self) -> Flow<()> {
        let sent = std::mem::take(&mut self.upstream.watching);
        let Some(row) = self.upstream.watched.take() else {
            // Behind an error it is skipped.
            return if sent && !self.upstream.aborted {
                self.slipped("the watch over the transaction gave no answer")
            } else {
                Ok(())
            };
        };
        let truth = |index: usize| row.get(index).and_then(Option::as_deref) == Some("t");
        let xid = row
            .first()
            .and_then(Option::as_deref)
            .and_then(|xid| xid.parse::<u64>().ok());
        match (self.upstream.top_xid, xid) {
            (Some(before), now) if now != Some(before) => {
                return Err(Stop::Slipped(
                    "the top transaction id is another than before".to_owned(),
                ));
            }
            (None, now) => self.upstream.top_xid = now,
            _ => {}
        }
        if row.len() == 1 {
            return Ok(());
        }
        let writers = row
            .get(3)
            .and_then(Option::as_deref)
            .and_then(|count| count.parse::<u64>().ok())
            .map(|count| count.saturating_sub(u64::from(self.place_is_set)));
        self.subtransactions += writers.unwrap_or(0);
        self.written = writers.map(|count| count > 0);
        self.output.wrote |= self.written == Some(true);
        if !truth(1) && !truth(2) {
            return Err(Stop::Ended(
                Verdict::NotRehearsed(NotRehearsed::RehearsalObjectTouched),
                "the command disabled both objects of the rehearsal that make a COMMIT impossible"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The answer to the final ROLLBACK: the only time that upstream may be idle.
    pub(super) async fn final_sync(&mut self) -> Flow<()> {
        self.upstream.final_rollback = true;
        self.upstream.savepoint = Point::Absent;
        self.sync().await
    }
}
