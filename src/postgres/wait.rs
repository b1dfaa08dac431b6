//! How long a question of our own may queue for a lock, and who made it wait. The server writes out
//! a definition under AccessShareLock, which waits behind every AccessExclusiveLock, held or asked for.

use std::time::Duration;

use super::ask::{Ask, AskError};

/// The SQLSTATE of a wait that was given up.
pub const LOCK_NOT_AVAILABLE: &str = "55P03";

/// How long the server may take to end an autovacuum worker that it has found in the way.
const WORKERS_END: Duration = Duration::from_millis(500);

/// How long a statement of the migration may queue for a lock while drydock is there.
///
/// The server looks once who is in the way of a lock, after its `deadlock_timeout`, and then cancels
/// an autovacuum worker, unless that prevents a wraparound (manual, "The Autovacuum Daemon"): whoever
/// waits for less never gets past one. Longer is of no use: there is no second look. A deadlock with
/// a session that began to wait after us ends our statement and not theirs, since our look is the
/// first. Whoever queues behind our waiting is not at the mercy of this: the guard counts it.
#[must_use]
pub fn patience(deadlock_timeout: Duration) -> Duration {
    deadlock_timeout + WORKERS_END
}

/// Bounds every wait for a lock from now on in a session of our own.
///
/// # Errors
/// When the server does not answer.
pub async fn bound(asker: &mut impl Ask, limit: Duration) -> Result<(), AskError> {
    let sql = format!("SET lock_timeout = {}", limit.as_millis().max(1));
    asker.ask(&sql).await.map(drop)
}

/// The relations of this database that somebody holds or wants for himself alone, with his session.
/// Empty when they have ended meanwhile.
///
/// # Errors
/// When the server does not answer.
pub async fn in_the_way(asker: &mut impl Ask) -> Result<Vec<String>, AskError> {
    let rows = asker
        .ask(
            "SELECT DISTINCT l.relation::pg_catalog.regclass::text || ', which session ' || l.pid \
             || ' (' || coalesce(nullif(a.application_name, ''), a.usename::text, 'unknown') || ') ' \
             || CASE WHEN l.granted THEN 'has locked' ELSE 'waits to lock' END \
             FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' \
             AND l.database = (SELECT oid FROM pg_catalog.pg_database \
             WHERE datname = pg_catalog.current_database()) \
             AND coalesce(a.application_name, '') NOT LIKE 'drydock/%' ORDER BY 1 LIMIT 5",
        )
        .await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}
