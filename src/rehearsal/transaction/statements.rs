//! A client's prepared statements and portals, as the server has them.
//!
//! Which text stands behind a name decides what an Execute may do, so a name counts only once the
//! server has answered; what is still under way is followed in order. A second Parse of a name that
//! exists fails upstream, so it must not change what the name means here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::event::Surroundings;
use super::order::{Order, Statement};
use super::reading::lexing_of;
use super::{ClientId, Transaction};
use crate::rehearsal::sql::{Name, with_prepared_name};

/// What one answer under way will do to a name.
pub(super) enum Change<'a> {
    Made(&'a [u8], &'a Arc<Statement>),
    Closed(&'a [u8]),
}

/// How a statement of SQL that names a prepared one goes upstream.
pub(super) enum Addressed {
    /// As it is.
    AsWritten,
    /// With the name that the client's own has upstream.
    Renamed(Bytes),
    /// The client has none of that name, but another client has: with a name that nobody has.
    Missing { text: Bytes, name: Vec<u8> },
}

fn alias_of(id: ClientId, name: &[u8]) -> Vec<u8> {
    let mut alias = format!("{}_", id.0).into_bytes();
    alias.extend_from_slice(name);
    alias
}

/// Names with the statements behind them.
#[derive(Debug, Default)]
pub(super) struct Named {
    known: BTreeMap<Vec<u8>, Arc<Statement>>,
}

impl Named {
    /// What a name will mean once `changes` have happened.
    pub(super) fn lookup<'a>(
        &'a self,
        name: &[u8],
        changes: impl Iterator<Item = Change<'a>>,
    ) -> Option<Arc<Statement>> {
        let mut found = self.known.get(name);
        for change in changes {
            match change {
                Change::Made(made, statement) if made == name => {
                    if found.is_none() || name.is_empty() {
                        found = Some(statement);
                    }
                }
                Change::Closed(closed) if closed == name => found = None,
                Change::Made(..) | Change::Closed(_) => {}
            }
        }
        found.cloned()
    }

    pub(super) fn made(&mut self, name: Vec<u8>, statement: Arc<Statement>) {
        self.known.insert(name, statement);
    }

    pub(super) fn closed(&mut self, name: &[u8]) {
        self.known.remove(name);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.known.keys()
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

impl<S: Surroundings> Transaction<S> {
    /// The name under which a client's statement is kept upstream, if it is not its own. A name is
    /// changed only where another client has taken it.
    pub(super) fn claim_name(&mut self, id: ClientId, name: &[u8]) -> Option<Vec<u8>> {
        if name.is_empty() {
            return None;
        }
        let taken = self.is_taken(id, name);
        let client = self.clients.get_mut(&id)?;
        if client.owns(name) {
            return client.aliases.get(name).cloned();
        }
        if !taken {
            client.aliases.remove(name);
            return None;
        }
        let alias = alias_of(id, name);
        client.aliases.insert(name.to_vec(), alias.clone());
        Some(alias)
    }

    /// Whether another client has a statement of that name upstream, or will again with its next
    /// turn.
    fn is_taken(&self, id: ClientId, name: &[u8]) -> bool {
        self.clients.iter().any(|(other, client)| {
            let kept = client.statements.names().any(|known| known == name);
            let put_by = || {
                client
                    .put_by
                    .iter()
                    .any(|(known, _)| known.as_bytes() == name)
            };
            *other != id && (kept && !client.aliases.contains_key(name) || put_by())
        })
    }

    /// What SQL's PREPARE, EXECUTE and DEALLOCATE are to say upstream, where names are those of all
    /// clients.
    pub(super) fn addressed(&mut self, id: ClientId, statement: &Statement) -> Addressed {
        let (Order::Prepare(name) | Order::Execute(name) | Order::Deallocate(name)) =
            &statement.order
        else {
            return Addressed::AsWritten;
        };
        let makes = matches!(statement.order, Order::Prepare(_));
        let alias = if makes {
            self.claim_name(id, name)
        } else {
            self.alias(id, name)
        };
        let owns = self
            .clients
            .get(&id)
            .is_some_and(|client| client.owns(name));
        let other = alias.is_some() || self.is_taken(id, name);
        if !other {
            return Addressed::AsWritten;
        }
        let upstream = match alias {
            Some(alias) => alias,
            None if owns => return Addressed::AsWritten,
            None => alias_of(id, name),
        };
        let settings = lexing_of(&self.upstream.parameters).settings;
        let quoted = Name::new(&upstream).quoted();
        match with_prepared_name(&statement.text, settings, &quoted) {
            Some(text) if owns || makes => Addressed::Renamed(text.into()),
            Some(text) => Addressed::Missing {
                text: text.into(),
                name: name.clone(),
            },
            None => Addressed::AsWritten,
        }
    }

    pub(super) fn alias(&self, id: ClientId, name: &[u8]) -> Option<Vec<u8>> {
        self.clients.get(&id)?.aliases.get(name).cloned()
    }

    /// Whether a name is one of the client's SQL PREPARE, which holds no transaction control.
    pub(super) fn is_prepared_in_sql(&self, id: ClientId, name: &[u8]) -> bool {
        self.clients
            .get(&id)
            .is_some_and(|client| client.has_prepared(name))
    }

    pub(super) fn close_client_portals(&mut self, id: ClientId) {
        let mut names: Vec<_> = match self.clients.get(&id) {
            Some(client) => client.portals.names().cloned().collect(),
            None => return,
        };
        if let Some(client) = self.clients.get_mut(&id) {
            names.append(&mut client.held);
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &'static str) -> Arc<Statement> {
        Arc::new(Statement::ordinary(text.as_bytes()))
    }

    #[test]
    fn a_second_parse_of_a_name_does_not_change_what_it_means() {
        let mut named = Named::default();
        let (commit, select) = (statement("COMMIT"), statement("SELECT 1"));
        named.made(b"a".to_vec(), commit);
        let changes = [Change::Made(b"a", &select)];
        let found = named.lookup(b"a", changes.into_iter()).unwrap();
        assert_eq!(&found.text[..], b"COMMIT");
        let changes = [Change::Closed(b"a"), Change::Made(b"a", &select)];
        let found = named.lookup(b"a", changes.into_iter()).unwrap();
        assert_eq!(&found.text[..], b"SELECT 1");
    }

    #[test]
    fn the_unnamed_statement_is_replaced() {
        let mut named = Named::default();
        let (one, two) = (statement("SELECT 1"), statement("SELECT 2"));
        named.made(Vec::new(), one);
        let changes = [Change::Made(b"", &two)];
        let found = named.lookup(b"", changes.into_iter()).unwrap();
        assert_eq!(&found.text[..], b"SELECT 2");
    }
}
