//! Settings of the upstream session, which belongs to one client after the other: put to what the
//! client asked for at startup, saved when another one's turn comes, put back at the end of a
//! virtual transaction where a real one would have.
//!
//! `default_transaction_read_only` is on for the connection, so that nothing can be written outside
//! of our transaction (safety, second layer). Inside, clients see and change a value of their own,
//! which is only ever set for our transaction: it is gone with it, however it ends.
//!
//! Timeouts of transactions ([`PAUSES`]) would end the one that all of the command's are here. The
//! server reads what a client sets them to, and they are 0 again behind it.

use std::sync::Arc;

use super::control::literal;
use super::event::{Note, Surroundings};
use super::order::Statement;
use super::replies::Addressee;
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::wire::SqlState;
use crate::report::ServerError;

const READ_ONLY_DEFAULT: &str = "default_transaction_read_only";
const LOCK_TIMEOUT: &str = "lock_timeout";

/// Timeouts that act on the session while it waits for its client, too.
pub(super) const PAUSES: [&str; 2] = ["idle_in_transaction_session_timeout", "transaction_timeout"];

/// A setting with its value.
pub(super) type Pair = (String, String);

/// Settings that the session has of its own, in the order in which they can be set again: the role
/// last, which may be allowed less than the one that logged in.
pub(super) fn session_settings(login: &str) -> String {
    format!(
        "SELECT name, setting FROM pg_catalog.pg_settings \
         WHERE source = 'session' AND context <> 'internal' AND name NOT LIKE 'transaction\\_%' ESCAPE '\\' \
         AND name NOT IN ('session_authorization', 'role') \
         UNION ALL SELECT 'session_authorization', session_user WHERE session_user <> {} \
         UNION ALL SELECT 'role', pg_catalog.current_setting('role')",
        literal(login)
    )
}

/// The call that gives a setting its value for the session; but see the head of this file.
fn set_config(name: &str, value: &str) -> String {
    let value = if is_pause(name) { "0" } else { value };
    format!(
        "pg_catalog.set_config({}, {}, {})",
        literal(name),
        literal(value),
        name.eq_ignore_ascii_case(READ_ONLY_DEFAULT)
    )
}

fn set_all<'a>(settings: impl IntoIterator<Item = &'a Pair>) -> Option<String> {
    let calls: Vec<_> = settings
        .into_iter()
        .map(|(name, value)| set_config(name, value))
        .collect();
    (!calls.is_empty()).then(|| format!("SELECT {}", calls.join(", ")))
}

pub(super) fn is_pause(name: &str) -> bool {
    PAUSES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether settings name a lock timeout.
pub(super) fn set_lock_timeout(settings: &[Pair]) -> bool {
    let mut names = settings.iter().map(|(name, _)| name);
    names.any(|name| name.eq_ignore_ascii_case(LOCK_TIMEOUT))
}

/// Whether a setting makes the session act for another role.
fn is_role((name, value): &Pair) -> bool {
    let names_one = ["role", "session_authorization"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known));
    names_one && !value.eq_ignore_ascii_case("none")
}

/// What settings make of `default_transaction_read_only`.
pub(super) fn read_only_default(settings: &[Pair]) -> bool {
    settings
        .iter()
        .rfind(|(name, _)| name.eq_ignore_ascii_case(READ_ONLY_DEFAULT))
        .is_some_and(|(_, value)| is_true(value))
}

/// What the server takes for true, of what it takes for a Boolean value at all: each word may be
/// cut short as long as it is clear.
fn is_true(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let words = ["true", "yes", "on", "1"];
    value != "o" && !value.is_empty() && words.iter().any(|word| word.starts_with(&value))
}

/// A value as the server would report it, as far as that can be told without asking.
pub(super) fn as_reported(name: &str, value: &str) -> String {
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
    /// Puts the session back to its baseline and applies settings. The error, if one is refused.
    pub(super) async fn put_settings(&mut self, settings: &[Pair]) -> Flow<Option<ServerError>> {
        self.set_savepoint();
        self.upstream.error = None;
        if settings.iter().any(is_role) {
            self.deferred.follow_roles();
        }
        if self.session_touched {
            self.own("SET SESSION AUTHORIZATION DEFAULT", &Addressee::Ours);
            self.own("RESET ROLE", &Addressee::Ours);
            self.own("RESET ALL", &Addressee::Ours);
        }
        let baseline = self.opening.baseline.iter();
        let baseline = baseline.filter(|_| self.session_touched);
        if let Some(sql) = set_all(baseline.chain(settings)) {
            self.own(&sql, &Addressee::Ours);
        }
        self.sync().await?;
        let error = self.upstream.error.take();
        if error.is_some() {
            self.roll_back_to_savepoint().await?;
        }
        self.upstream.rows.clear();
        Ok(error)
    }

    /// RESET ALL: a client's settings go back to those of its own startup packet, and ours stay.
    pub(super) async fn send_reset_all(&mut self, id: ClientId) -> Flow<()> {
        self.settle().await?;
        self.upstream.settling = true;
        self.own("RESET ALL", &Addressee::Check);
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        let before = client.read_only_default;
        client.read_only_before.get_or_insert(before);
        client.read_only_default = read_only_default(&client.welcome.settings);
        client.own_lock_timeout(set_lock_timeout(&client.welcome.settings));
        let settings = client.welcome.settings.iter();
        if let Some(sql) = set_all(self.opening.baseline.iter().chain(settings)) {
            self.own(&sql, &Addressee::Check);
        }
        self.settle().await?;
        self.upstream.settling = false;
        self.tell_all(id);
        Ok(())
    }

    pub(super) async fn reset_all(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
    ) -> Flow<bool> {
        self.begin_work(id);
        self.add_traits(id, statement);
        self.send_reset_all(id).await?;
        if !self.upstream.faulted {
            self.complete_noted(id, statement, b"RESET");
        }
        Ok(false)
    }

    /// RESET of one setting, or SET TO DEFAULT: true unless the client's startup packet named it, or
    /// the rehearsal has a value of its own for it.
    pub(super) async fn reset(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        name: &str,
        tag: &[u8],
    ) -> Flow<bool> {
        let named = |pair: &&Pair| pair.0.eq_ignore_ascii_case(name);
        let at_startup = self
            .clients
            .get(&id)
            .and_then(|client| client.welcome.settings.iter().rfind(named));
        let is_the_clients = at_startup.is_some();
        let pair = at_startup.or_else(|| self.opening.baseline.iter().find(named));
        let Some(sql) = pair.and_then(|pair| set_all([pair])) else {
            return Ok(true);
        };
        self.begin_work(id);
        self.add_traits(id, statement);
        self.own(&sql, &Addressee::Check);
        self.settle().await?;
        if !self.upstream.faulted {
            if name.eq_ignore_ascii_case(LOCK_TIMEOUT)
                && let Some(client) = self.clients.get_mut(&id)
            {
                client.own_lock_timeout(is_the_clients);
            }
            self.complete_noted(id, statement, tag);
        }
        Ok(false)
    }

    /// SET or RESET (`None`) of `default_transaction_read_only` for the session.
    pub(super) async fn set_read_only_default(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        value: Option<&str>,
        tag: &[u8],
    ) -> Flow<bool> {
        self.begin_work(id);
        self.add_traits(id, statement);
        let Some(client) = self.clients.get(&id) else {
            return Ok(false);
        };
        let at_startup = read_only_default(&client.welcome.settings);
        let value = value.unwrap_or(if at_startup { "on" } else { "off" });
        let number = self.begin_statement(id, statement);
        self.upstream.committing = Some(number);
        let sql = format!("SELECT {}", set_config(READ_ONLY_DEFAULT, value));
        self.own(&sql, &Addressee::Check);
        self.settle().await?;
        self.upstream.committing = None;
        if self.upstream.faulted {
            return Ok(false);
        }
        if let Some(client) = self.clients.get_mut(&id) {
            let before = std::mem::replace(&mut client.read_only_default, is_true(value));
            client.read_only_before.get_or_insert(before);
        }
        self.finish_noted(number, tag);
        Ok(false)
    }

    /// SET LOCAL: true when it is to be run, its old value saved, since it outlives a RELEASE.
    pub(super) async fn set_local(&mut self, id: ClientId, name: &str) -> Flow<bool> {
        if self.is_autocommit(id) {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            );
        }
        self.begin_work(id);
        // The server itself puts these back at the end of the savepoint.
        if name.starts_with("transaction_") && !is_pause(name) {
            return Ok(true);
        }
        let known = self
            .clients
            .get(&id)
            .is_some_and(|client| client.local.iter().any(|(known, _)| known == name));
        if !known {
            let sql = format!("SELECT pg_catalog.current_setting({}, true)", literal(name));
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

    /// SET LOCAL outlives a RELEASE: the values from before are put back, the last one first, since
    /// what a role may set depends on the role.
    pub(super) fn put_back_local(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let local = std::mem::take(&mut client.local);
        if set_lock_timeout(&local)
            && let Some(before) = client.lock_timeout_before.take()
        {
            client.own_lock_timeout = before;
        }
        if local.is_empty() {
            return;
        }
        // A ROLLBACK TO may have left none of that name.
        let calls: Vec<_> = local
            .iter()
            .rev()
            .map(|(name, value)| {
                format!(
                    "CASE WHEN pg_catalog.current_setting({}, true) IS NOT NULL THEN {} END",
                    literal(name),
                    set_config(name, value)
                )
            })
            .collect();
        let sql = format!("SELECT {}", calls.join(", "));
        self.own(&sql, &Addressee::Ours);
    }

    /// Sets timeouts of transactions to 0 again, in the same write as what may have set them.
    pub(super) fn hold_pauses(&mut self) {
        let sql = format!(
            "SELECT {} FROM pg_catalog.pg_settings WHERE name IN ({}) AND setting <> '0'",
            "pg_catalog.set_config(name, '0', false)",
            PAUSES.map(literal).join(", ")
        );
        self.own(&sql, &Addressee::Ours);
        self.output.notes.push(Note::OwnTimeouts);
    }

    /// SET TRANSACTION: READ ONLY is carried out inside, isolation levels are absorbed.
    pub(super) async fn set_transaction(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        modes: super::order::Modes,
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
        let number = self.begin_statement(id, statement);
        match modes.read_only {
            Some(read_only) if open.started => {
                self.upstream.committing = Some(number);
                let mode = if read_only { "ONLY" } else { "WRITE" };
                self.own(&format!("SET TRANSACTION READ {mode}"), &Addressee::Check);
                self.settle().await?;
                self.upstream.committing = None;
                if self.upstream.faulted {
                    return Ok(false);
                }
            }
            // Its savepoint will begin with the mode: behind READ ONLY none can be READ WRITE.
            Some(_) => {
                let modes = super::order::Modes {
                    read_only: modes.read_only,
                    ..open.modes
                };
                self.set_state(
                    id,
                    Virtual::Open(super::virtual_transaction::Open { modes, ..open }),
                );
            }
            None => {}
        }
        self.note_isolation(modes);
        self.finish_noted(number, b"SET");
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boolean_values_are_read_as_the_server_reads_them() {
        for value in ["on", "ON", "t", "tru", "true", "y", "1", " yes"] {
            assert!(is_true(value), "{value}");
        }
        for value in ["off", "of", "o", "f", "no", "0", "", "2", "truest"] {
            assert!(!is_true(value), "{value}");
        }
    }

    #[test]
    fn writing_outside_of_our_transaction_is_never_allowed_for_the_session() {
        assert!(set_config("Default_Transaction_Read_Only", "off").ends_with("true)"));
        assert!(set_config("search_path", "a").ends_with("false)"));
    }
}
