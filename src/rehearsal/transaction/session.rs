//! One upstream session for many clients: what belongs to a session (settings, prepared statements,
//! temporary tables) is saved when another client's turn comes and put back with the client's next
//! turn.

use std::sync::Arc;

use super::client::Client;
use super::event::{Note, Outlet, Surroundings, Welcome};
use super::order::{Order, Statement};
use super::replies::{Addressee, Message};
use super::settings::{Pair, as_reported, is_pause, session_settings};
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction, answers};
use crate::rehearsal::wire::SqlState;

impl<S: Surroundings> Transaction<S> {
    /// Lets a client in. When nobody is in a transaction it gets the session at once, so that a
    /// setting which the server refuses is refused at startup.
    pub(super) async fn join(&mut self, id: ClientId, welcome: Welcome) -> Flow<()> {
        let outlet = self.output.clients.entry(id).or_default();
        if self.finishing {
            answers::fatal(
                &mut outlet.bytes,
                SqlState::ADMIN_SHUTDOWN,
                "the rehearsal has ended",
            );
            outlet.close = true;
            return Ok(());
        }
        if welcome.settings.iter().any(|(name, _)| is_pause(name)) {
            self.output.notes.push(Note::OwnTimeouts);
        }
        self.clients.insert(id, Client::new(welcome));
        let free = self
            .holder
            .is_none_or(|holder| *self.state(holder) == Virtual::Idle);
        if free && !self.switch(id).await? {
            return Ok(());
        }
        self.greet(id, free);
        Ok(())
    }

    fn greet(&mut self, id: ClientId, settled: bool) {
        self.tell_all(id);
        let (Some(client), Some(outlet)) =
            (self.clients.get_mut(&id), self.output.clients.get_mut(&id))
        else {
            return;
        };
        if !settled {
            for (name, value) in &client.welcome.settings {
                let known = client
                    .told
                    .keys()
                    .find(|known| known.eq_ignore_ascii_case(name.as_bytes()))
                    .cloned();
                if let Some(known) = known {
                    let value = as_reported(name, value).into_bytes();
                    answers::parameter_status(&mut outlet.bytes, &known, &value);
                    client.told.insert(known, value);
                }
            }
        }
        answers::backend_key_data(
            &mut outlet.bytes,
            client.welcome.process_id,
            &client.welcome.key,
        );
        answers::ready_for_query(&mut outlet.bytes, client.state.status());
    }

    /// Gives the upstream session to another client. False when its settings are refused: then it
    /// has been told, as at startup.
    pub(super) async fn switch(&mut self, to: ClientId) -> Flow<bool> {
        self.current = None;
        self.park().await?;
        self.holder = Some(to);
        let Some(client) = self.clients.get(&to) else {
            return Ok(false);
        };
        let settings = client
            .saved
            .clone()
            .unwrap_or_else(|| client.welcome.settings.clone());
        if self.session_touched || !settings.is_empty() {
            if let Some(error) = self.put_settings(&settings).await? {
                self.greet_with_refusal(to, &error);
                return Ok(false);
            }
            self.session_touched = true;
        }
        self.put_prepared(to).await?;
        self.put_unnamed(to).await?;
        if self
            .clients
            .get(&to)
            .is_some_and(|client| !client.told.is_empty())
        {
            self.tell_all(to);
        }
        Ok(true)
    }

    /// Keeps what the session of the present holder has, and lets its reading transaction go.
    pub(super) async fn park(&mut self) -> Flow<()> {
        let Some(from) = self.holder.filter(|id| self.clients.contains_key(id)) else {
            return Ok(());
        };
        let saved = self
            .question(&session_settings(&self.opening.login))
            .await?
            .unwrap_or_default();
        let pairs = saved.into_iter().filter_map(|row| {
            let mut columns = row.into_iter();
            Some((columns.next()??, columns.next()??))
        });
        let pairs: Vec<_> = pairs.collect();
        if self.clients.get(&from).is_some_and(|client| client.writes) {
            let temporary = self.temporary_objects(from).await?;
            if let Some(client) = self.clients.get_mut(&from) {
                client.temporary = temporary;
            }
        }
        let prepared = self.take_prepared(from).await?;
        if self.upstream.open {
            self.sync().await?;
        }
        if let Some(client) = self.clients.get_mut(&from) {
            client.put_by = prepared;
            client.saved = Some(pairs);
            if let Virtual::Open(open) = &mut client.state {
                open.started = false;
            }
        }
        Ok(())
    }

    /// Puts the session of a client that is gone back to its baseline.
    pub(super) async fn clear_session(&mut self, id: ClientId, client: &mut Client) -> Flow<()> {
        if self.session_touched {
            self.session_touched = self.put_settings(&[]).await?.is_some();
        }
        if client.writes {
            client.temporary = self.temporary_objects(id).await?;
        }
        Ok(())
    }

    fn greet_with_refusal(&mut self, id: ClientId, error: &crate::report::ServerError) {
        let code = SqlState::parse(error.code.as_bytes()).unwrap_or(SqlState::INTERNAL_ERROR);
        let outlet: &mut Outlet = self.output.clients.entry(id).or_default();
        answers::fatal(&mut outlet.bytes, code, &error.message);
        outlet.close = true;
        if let Some(client) = self.clients.get_mut(&id) {
            client.gone = true;
            client.inbox.clear();
        }
    }

    /// Takes a client's statements of SQL PREPARE away from the session, with their texts: another
    /// client may use their names.
    async fn take_prepared(&mut self, id: ClientId) -> Flow<Vec<Pair>> {
        let names = match self.clients.get_mut(&id) {
            Some(client) => std::mem::take(&mut client.prepared),
            None => return Ok(Vec::new()),
        };
        if names.is_empty() {
            return Ok(Vec::new());
        }
        const TEXTS: &str =
            "SELECT name, statement FROM pg_catalog.pg_prepared_statements WHERE from_sql";
        let rows = self.question(TEXTS).await?.unwrap_or_default();
        let mut taken = Vec::new();
        for mut row in rows {
            if let (Some(Some(text)), Some(Some(name))) = (row.pop(), row.pop())
                && names.iter().any(|known| known == name.as_bytes())
            {
                self.close_statement(name.as_bytes());
                taken.push((name, text));
            }
        }
        Ok(taken)
    }

    async fn put_prepared(&mut self, id: ClientId) -> Flow<()> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        let statements = std::mem::take(&mut client.put_by);
        let names = statements.iter().map(|(name, _)| name.clone().into_bytes());
        client.prepared.extend(names);
        if statements.is_empty() {
            return Ok(());
        }
        self.set_savepoint();
        for (_, text) in &statements {
            self.own(text, &Addressee::Ours);
        }
        self.sync().await?;
        // The client will hear of it when it uses the statement.
        if self.upstream.error.take().is_some() {
            self.roll_back_to_savepoint().await?;
        }
        Ok(())
    }

    async fn put_unnamed(&mut self, id: ClientId) -> Flow<()> {
        let Some(frame) = self.clients.get(&id).and_then(|c| c.unnamed.clone()) else {
            return Ok(());
        };
        self.set_savepoint();
        self.output.upstream.extend_from_slice(frame.bytes());
        self.expect(Message::Parse(Vec::new(), None), Addressee::Ours);
        self.sync().await?;
        // The client will hear of it when it uses the statement.
        if self.upstream.error.take().is_some() {
            self.roll_back_to_savepoint().await?;
        }
        Ok(())
    }

    /// DISCARD ALL and DISCARD TEMP, for what is the client's.
    pub(super) async fn discard(&mut self, id: ClientId, statement: &Arc<Statement>) -> Flow<bool> {
        let all = statement.order == Order::DiscardAll;
        if all && !self.is_autocommit(id) {
            return Ok(true);
        }
        self.begin_work(id);
        self.add_traits(id, statement);
        let number = self.begin_statement(id, statement);
        self.upstream.committing = Some(number);
        if all {
            self.close_client_portals(id);
            self.own("SET SESSION AUTHORIZATION DEFAULT", &Addressee::Check);
            self.send_reset_all(id).await?;
            self.deallocate_all(id);
            for sql in [
                "UNLISTEN *",
                "SELECT pg_catalog.pg_advisory_unlock_all()",
                "DISCARD PLANS",
                "DISCARD SEQUENCES",
            ] {
                self.own(sql, &Addressee::Check);
            }
        }
        self.settle().await?;
        if !self.upstream.faulted {
            let temporary = self.temporary_objects(id).await?;
            self.send_drop_temporary(&temporary);
            self.settle().await?;
            let tag: &[u8] = if all { b"DISCARD ALL" } else { b"DISCARD TEMP" };
            self.finish_noted(number, tag);
        }
        self.upstream.committing = None;
        Ok(false)
    }
}
