//! One upstream session for many clients: what belongs to a session (settings, prepared statements,
//! temporary tables) is saved when another client's turn comes and put back with the client's next
//! turn.

use super::client::Client;
use super::control;
use super::event::{Answer, Outlet, Question, Surroundings, Welcome};
use super::replies::{Addressee, Message};
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction, answers};
use crate::rehearsal::wire::{Frontend, Parse, SqlState};

/// Settings that a session has of its own.
const SESSION_SETTINGS: &str = "SELECT name, setting FROM pg_catalog.pg_settings \
    WHERE source = 'session' AND context <> 'internal' AND name NOT LIKE 'transaction\\_%' ESCAPE '\\' \
    AND name NOT IN ('session_authorization', 'role', 'default_transaction_read_only') \
    UNION ALL SELECT 'session_authorization', session_user::text WHERE session_user <> current_setting('drydock.login', true) \
    UNION ALL SELECT 'role', current_setting('role') WHERE current_setting('role') <> 'none'";

/// Temporary relations of this session, but ours, as a script that drops them.
const DROP_TEMPORARY: &str = "DO $drydock$ DECLARE name text; BEGIN \
    FOR name IN SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.oid = pg_catalog.pg_my_temp_schema() AND c.relkind IN ('r', 'p', 'v', 'S') \
    AND c.relname <> '{table}' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')) \
    LOOP EXECUTE 'DROP ' || CASE (SELECT relkind FROM pg_catalog.pg_class WHERE oid = name::regclass) \
    WHEN 'v' THEN 'VIEW ' WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || name || ' CASCADE'; END LOOP; END $drydock$";

/// A string constant, whatever standard_conforming_strings is.
pub(super) fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

/// The call that gives a setting its value for the session.
pub(super) fn set_config(name: &str, value: &str) -> String {
    format!(
        "pg_catalog.set_config({}, {}, false)",
        literal(name),
        literal(value)
    )
}

/// A value as the server would report it, as far as that can be told without asking.
fn as_reported(name: &str, value: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "client_encoding" => {
            let plain: String = value
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_uppercase())
                .collect();
            if plain == "UNICODE" {
                "UTF8".to_owned()
            } else {
                plain
            }
        }
        "datestyle" if !value.contains(',') => format!("{}, MDY", value.to_ascii_uppercase()),
        _ => value.to_owned(),
    }
}

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
        let names: Vec<_> = self.upstream.parameters.keys().cloned().collect();
        for name in names {
            self.tell(id, &name);
        }
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
        let settings = self.without_guarded(to, settings);
        if self.session_touched || !settings.is_empty() {
            if let Some(error) = self.put_settings(&settings).await? {
                self.greet_with_refusal(to, &error);
                return Ok(false);
            }
            self.session_touched = true;
        }
        self.put_unnamed(to).await?;
        let names: Vec<_> = self.upstream.parameters.keys().cloned().collect();
        if self
            .clients
            .get(&to)
            .is_some_and(|client| !client.told.is_empty())
        {
            for name in names {
                self.tell(to, &name);
            }
        }
        Ok(true)
    }

    /// Keeps what the session of the present holder has, and lets its reading transaction go.
    async fn park(&mut self) -> Flow<()> {
        let Some(from) = self.holder.filter(|id| self.clients.contains_key(id)) else {
            return Ok(());
        };
        let saved = self.question(SESSION_SETTINGS).await?.unwrap_or_default();
        let pairs = saved.into_iter().filter_map(|row| {
            let mut columns = row.into_iter();
            Some((columns.next()??, columns.next()??))
        });
        let pairs: Vec<_> = pairs.collect();
        if self.upstream.open {
            self.sync().await?;
        }
        if let Some(client) = self.clients.get_mut(&from) {
            client.saved = Some(pairs);
            if let Virtual::Open(open) = &mut client.state {
                open.started = false;
            }
        }
        Ok(())
    }

    /// Takes out of a client's settings what would allow writes outside of our transaction.
    fn without_guarded(
        &mut self,
        id: ClientId,
        settings: Vec<(String, String)>,
    ) -> Vec<(String, String)> {
        let (guarded, rest): (Vec<_>, Vec<_>) = settings
            .into_iter()
            .partition(|(name, _)| name.eq_ignore_ascii_case("default_transaction_read_only"));
        if let (Some((_, value)), Some(client)) = (guarded.last(), self.clients.get_mut(&id)) {
            let on = ["on", "true", "yes", "1"].contains(&value.to_ascii_lowercase().as_str());
            client.read_only_default =
                Some(bytes::Bytes::from_static(if on { b"on" } else { b"off" }));
        }
        rest
    }

    /// Puts the session back to its baseline and applies settings. The error, if one is refused.
    async fn put_settings(
        &mut self,
        settings: &[(String, String)],
    ) -> Flow<Option<crate::report::ServerError>> {
        self.set_savepoint();
        self.upstream.error = None;
        if self.session_touched {
            self.own("SET SESSION AUTHORIZATION DEFAULT", &Addressee::Ours);
            self.own("RESET ROLE", &Addressee::Ours);
            self.own("RESET ALL", &Addressee::Ours);
        }
        let baseline = self.opening.baseline.clone();
        let calls: Vec<_> = baseline
            .iter()
            .filter(|_| self.session_touched)
            .chain(settings)
            .map(|(name, value)| set_config(name, value))
            .collect();
        if !calls.is_empty() {
            self.own(&format!("SELECT {}", calls.join(", ")), &Addressee::Ours);
        }
        self.sync().await?;
        let error = self.upstream.error.take();
        if error.is_some() {
            self.roll_back_to_savepoint().await?;
        }
        self.upstream.rows.clear();
        Ok(error)
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

    /// The name under which a client's statement is kept upstream, if it is not its own. A name is
    /// changed only where another client has taken it.
    pub(super) fn claim_name(&mut self, id: ClientId, name: &[u8]) -> Option<Vec<u8>> {
        if name.is_empty() {
            return None;
        }
        let taken = self.clients.iter().any(|(other, client)| {
            *other != id
                && !client.aliases.contains_key(name)
                && client.statements.names().any(|known| known == name)
        });
        let client = self.clients.get_mut(&id)?;
        if client.statements.names().any(|known| known == name) {
            return client.aliases.get(name).cloned();
        }
        if !taken {
            client.aliases.remove(name);
            return None;
        }
        let mut alias = format!("{}_", id.0).into_bytes();
        alias.extend_from_slice(name);
        client.aliases.insert(name.to_vec(), alias.clone());
        Some(alias)
    }

    pub(super) fn alias(&self, id: ClientId, name: &[u8]) -> Option<Vec<u8>> {
        self.clients.get(&id)?.aliases.get(name).cloned()
    }

    /// Whether a name is one of the client's SQL PREPARE, which holds no transaction control.
    pub(super) fn is_prepared_in_sql(&self, id: ClientId, name: &[u8]) -> bool {
        self.clients
            .get(&id)
            .is_some_and(|client| client.prepared.iter().any(|known| known == name))
    }

    pub(super) fn close_client_portals(&mut self, id: ClientId) {
        let names: Vec<_> = match self.clients.get(&id) {
            Some(client) => client.portals.names().cloned().collect(),
            None => return,
        };
        for name in names.iter().filter(|name| !name.is_empty()) {
            self.close_portal(name);
        }
    }

    pub(super) fn deallocate_all(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let mut names: Vec<_> = client
            .statements
            .names()
            .filter(|name| !name.is_empty())
            .map(|name| client.aliases.get(name).unwrap_or(name).clone())
            .collect();
        names.append(&mut client.prepared);
        client.statements.clear();
        client.aliases.clear();
        for name in names {
            self.close_statement(&name);
        }
    }

    /// DISCARD ALL and DISCARD TEMP, for what is the client's.
    pub(super) async fn discard(
        &mut self,
        id: ClientId,
        statement: &std::sync::Arc<super::order::Statement>,
    ) -> Flow<bool> {
        let all = statement.order == super::order::Order::DiscardAll;
        if all && !self.is_autocommit(id) {
            return Ok(true);
        }
        self.begin_work(id);
        let number = self.begin_statement(id, statement);
        if all {
            self.close_client_portals(id);
            self.deallocate_all(id);
            for sql in [
                "SET SESSION AUTHORIZATION DEFAULT",
                "RESET ALL",
                "UNLISTEN *",
                "SELECT pg_catalog.pg_advisory_unlock_all()",
                "DISCARD PLANS",
                "DISCARD SEQUENCES",
            ] {
                self.own(sql, &Addressee::Check);
            }
            let mut settings = self.opening.baseline.clone();
            if let Some(client) = self.clients.get(&id) {
                settings.extend(client.welcome.settings.iter().cloned());
            }
            let calls: Vec<_> = self
                .without_guarded(id, settings)
                .iter()
                .map(|(name, value)| set_config(name, value))
                .collect();
            if !calls.is_empty() {
                self.own(&format!("SELECT {}", calls.join(", ")), &Addressee::Check);
            }
        }
        let drop = DROP_TEMPORARY.replace("{table}", &self.opening.names.table());
        self.own(&drop, &Addressee::Check);
        self.settle().await?;
        if !self.upstream.faulted {
            let tag: &[u8] = if all { b"DISCARD ALL" } else { b"DISCARD TEMP" };
            self.note_done(Some(number), tag);
            self.complete(tag);
        }
        Ok(false)
    }

    /// The next question of our own, once no client is in the middle of something.
    pub(super) fn next_question(&mut self) -> Option<(Question, String)> {
        let busy = self
            .clients
            .values()
            .any(|client| client.state != Virtual::Idle);
        if busy {
            return None;
        }
        self.questions.pop_front()
    }

    /// Answers a question inside the transaction, with the session's settings at their baseline.
    pub(super) async fn answer(&mut self, question: Question, sql: &str) -> Flow<()> {
        if self.session_touched {
            self.park().await?;
            self.holder = None;
            self.put_settings(&[]).await?;
            self.session_touched = false;
        }
        let answer = self.ask_all(sql).await?;
        self.output.answers.push((question, answer));
        Ok(())
    }

    async fn ask_all(&mut self, sql: &str) -> Flow<Answer> {
        self.set_savepoint();
        self.upstream.error = None;
        self.upstream.rows.clear();
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
