//! What the rehearsal holds that keeps others from reading or writing a table.

use std::fmt;

use crate::postgres::ask::{Ask, AskError};

/// A lock on a relation that was there before the rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLock {
    /// The mode in PostgreSQL's words, e.g. `AccessExclusiveLock`.
    pub mode: String,
    /// The relation.
    pub relation: String,
}

impl fmt::Display for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.mode, self.relation)
    }
}

/// The modes that conflict with writing, strongest first (manual, "Explicit Locking"); the first
/// conflicts with reading, too.
const STRONG: &str = "ARRAY['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', \
                      'ShareLock']";

/// Looks once; strongest first. It costs as much as there are locks, so it is for eyes only, and
/// never decides.
pub(super) async fn look(asker: &mut impl Ask, watched: i32) -> Result<Vec<HeldLock>, AskError> {
    // What the rehearsal itself has made is not in the catalogue that we see: nobody waits for it.
    let sql = format!(
        "SELECT l.mode, l.relation::regclass
           FROM pg_catalog.pg_locks l
           JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'm')
          WHERE l.pid = {watched} AND l.granted AND l.mode = ANY ({STRONG})
            AND l.database = (SELECT oid FROM pg_catalog.pg_database
                               WHERE datname = current_database())
          ORDER BY array_position({STRONG}, l.mode), 2"
    );
    let rows = asker.ask(&sql).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let mut columns = row.into_iter().map(Option::unwrap_or_default);
            HeldLock {
                mode: columns.next().unwrap_or_default(),
                relation: columns.next().unwrap_or_default(),
            }
        })
        .collect())
}
