//! The advisory lock that keeps runs on one database apart: two Migrations, two clusters, a laptop
//! (manual, "Advisory Locks"). It is held at session level for as long as its connection lives.

use std::fmt;

use super::ask::{Ask, AskError, Row};

/// The lock's key, the same everywhere: "dryd" and "ock1" as ASCII. The server keeps advisory locks
/// of different databases apart by itself.
pub const KEY: (i32, i32) = (0x6472_7964, 0x6f63_6b31);

/// What the sessions of a command that really upgrades are called, before the run's name, where its
/// driver takes a name from `PGAPPNAME`. They outlive the lock when whoever started the command died.
pub const UPGRADING: &str = "drydock-upgrade/";

/// Who holds the lock, or should no longer be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Backend; `None` when it let go between the two looks.
    pub pid: Option<i32>,
    /// Its `application_name`, `drydock/<run>` for a run of ours.
    pub application_name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            None => f.write_str("a session that has just ended"),
            Some(pid) => write!(f, "session {pid} ({})", self.application_name),
        }
    }
}

/// Takes the lock, or says who has it.
///
/// # Errors
/// When the server does not answer.
pub async fn try_take(asker: &mut impl Ask) -> Result<Option<Holder>, AskError> {
    let (high, low) = KEY;
    let taken = super::ask::one(
        asker,
        "pg_try_advisory_lock",
        &format!("SELECT pg_catalog.pg_try_advisory_lock({high}, {low})"),
    )
    .await?;
    if taken == "t" {
        return Ok(None);
    }
    let rows = holders(asker).await?;
    Ok(Some(rows.into_iter().next().unwrap_or(Holder {
        pid: None,
        application_name: String::new(),
    })))
}

/// Every session that holds the lock on this database: one, or none.
///
/// # Errors
/// When the server does not answer.
pub async fn holders(asker: &mut impl Ask) -> Result<Vec<Holder>, AskError> {
    let (high, low) = KEY;
    let rows = asker
        .ask(&format!(
            "SELECT l.pid, coalesce(a.application_name, '')
             FROM pg_catalog.pg_locks l
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'advisory' AND l.granted
               AND l.classid = {high} AND l.objid = {low} AND l.objsubid = 2
               AND l.database = (SELECT oid FROM pg_catalog.pg_database
                                 WHERE datname = pg_catalog.current_database())"
        ))
        .await?;
    Ok(rows.into_iter().map(Holder::of).collect())
}

/// A session in which the command of an earlier upgrade still works on this database. To be asked
/// by whoever holds the lock: then there is no upgrade that has a right to be there.
///
/// # Errors
/// When the server does not answer.
pub async fn left_over(asker: &mut impl Ask) -> Result<Option<Holder>, AskError> {
    let rows = asker
        .ask(&format!(
            "SELECT pid, application_name FROM pg_catalog.pg_stat_activity
             WHERE datname = pg_catalog.current_database()
               AND pg_catalog.starts_with(application_name, '{UPGRADING}')
             ORDER BY backend_start LIMIT 1"
        ))
        .await?;
    Ok(rows.into_iter().next().map(Holder::of))
}

impl Holder {
    fn of(row: Row) -> Self {
        let mut row = row.into_iter();
        Self {
            pid: row.next().flatten().and_then(|pid| pid.parse().ok()),
            application_name: row.next().flatten().unwrap_or_default(),
        }
    }
}
