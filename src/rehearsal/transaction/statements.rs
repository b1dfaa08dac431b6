//! A client's prepared statements and portals, as the server has them.
//!
//! Which text stands behind a name decides what an Execute may do, so a name counts only once the
//! server has answered; what is still under way is followed in order. A second Parse of a name that
//! exists fails upstream, so it must not change what the name means here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::order::Statement;

/// What one answer under way will do to a name.
pub(super) enum Change<'a> {
    Made(&'a [u8], &'a Arc<Statement>),
    Closed(&'a [u8]),
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
