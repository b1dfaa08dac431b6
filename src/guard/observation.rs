//! One look at the server: who is blocked by the rehearsal, whom it waits for itself, and who
//! else is there of the command's role.

use std::time::Duration;

use crate::postgres::ask::{Ask, AskError, Row, literal};

/// A session that waits for the rehearsal, or that the rehearsal waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// Its backend's process id.
    pub pid: i32,
    /// Its `application_name`; empty when the role may not see it.
    pub application: String,
    /// The wanted lock in PostgreSQL's words, e.g. `RowExclusiveLock`.
    pub mode: String,
    /// On what.
    pub object: String,
    /// Its `pg_class.oid`, when that is a relation of this database.
    pub relation: Option<u32>,
    /// For how long already, where the server says so (`pg_locks.waitstart`, PostgreSQL 14 and
    /// newer; not yet set in the first moment of a wait).
    pub waited: Option<Duration>,
}

/// What one look saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observation {
    /// Sessions that are blocked by the rehearsal.
    pub blocked: Vec<Session>,
    /// Sessions that the rehearsal waits for.
    pub blockers: Vec<Session>,
    /// Sessions of the same role, database and address that are neither ours nor were there when
    /// the guard began.
    pub strangers: Vec<Session>,
    /// Sessions of the command itself that are not the rehearsal's: of any role, in any database of
    /// the server; `object` names the database where it is another one.
    pub around: Vec<Session>,
}

/// Entries of the server's lock table (manual, "max_locks_per_transaction").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Locks {
    /// Those of the rehearsal.
    pub held: u64,
    /// Those that there is room for, as the server promises it.
    pub room: u64,
}

/// The questions, planned once for a session: they are asked all the time.
///
/// The glance costs a fraction of a millisecond. `pg_locks` costs as much as there are locks, which
/// in a rehearsal are many, so a look asks it only when somebody waits for one, or may: what
/// sessions of other roles do is hidden from a role without `pg_read_all_stats`, but not that they
/// are there. Besides, it is asked now and then: for the display, and to count the rehearsal's own
/// locks.
///
/// A session with the command's name is the command's wherever it is. What a role may not see of one
/// of another role, when it began, is not needed then: the name is of this run alone.
///
/// `pg_blocking_pids` takes every partition of the lock table, so it is asked only for those who
/// wait. It counts sessions that only queue behind the rehearsal's own waiting, which stops an
/// application as surely as a held lock.
pub(super) async fn prepare(
    asker: &mut impl Ask,
    watched: i32,
    command: &str,
    began: &str,
) -> Result<(), AskError> {
    let command = literal(command);
    let sql = format!(
        "PREPARE drydock_glance AS
         SELECT CASE WHEN a.application_name = {command} THEN 'around' ELSE 'stranger' END,
                a.pid, a.application_name, '',
                CASE WHEN a.datid <> me.datid
                     THEN (SELECT datname FROM pg_catalog.pg_database WHERE oid = a.datid) END,
                NULL::oid, NULL::bigint
           FROM pg_catalog.pg_stat_get_activity(NULL) a
           JOIN pg_catalog.pg_stat_get_activity(pg_backend_pid()) me
             ON a.application_name = {command}
             OR a.datid = me.datid AND a.usesysid = me.usesysid
                AND a.client_addr IS NOT DISTINCT FROM me.client_addr
                AND a.backend_start > {began}::timestamptz
          WHERE a.application_name NOT LIKE 'drydock/%' AND a.pid <> {watched}
         UNION ALL
         SELECT 'waiting', 0, '', '', '', NULL, NULL
          WHERE EXISTS (
            SELECT FROM pg_catalog.pg_stat_get_activity(NULL) a
             WHERE a.wait_event_type = 'Lock'
                OR a.datid IS NOT NULL AND a.query = '<insufficient privilege>');
         PREPARE drydock_look AS
         WITH waiting AS MATERIALIZED (
           SELECT l.pid, l.mode, l.locktype, l.relation,
                  (to_jsonb(l) ->> 'waitstart')::timestamptz AS since,
                  l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AS here
             FROM pg_locks l WHERE NOT l.granted),
         chains AS MATERIALIZED (
           SELECT w.*, pg_blocking_pids(w.pid) AS blockers FROM waiting w)
         SELECT 'blocked', c.pid, a.application_name, c.mode,
                CASE WHEN c.here THEN c.relation::regclass::text ELSE c.locktype END,
                CASE WHEN c.here THEN c.relation END,
                (extract(epoch FROM clock_timestamp() - c.since) * 1000000)::bigint
           FROM chains c LEFT JOIN pg_stat_activity a ON a.pid = c.pid
          WHERE c.pid <> {watched} AND {watched} = ANY (c.blockers)
         UNION ALL
         SELECT 'blocker', b.pid, coalesce(nullif(a.application_name, ''), a.backend_type), c.mode,
                CASE WHEN c.here THEN c.relation::regclass::text ELSE c.locktype END, NULL, NULL
           FROM chains c CROSS JOIN unnest(c.blockers) b(pid)
           LEFT JOIN pg_stat_activity a ON a.pid = b.pid
          WHERE c.pid = {watched};
         PREPARE drydock_locks AS
         SELECT count(*),
                current_setting('max_locks_per_transaction')::bigint
                * (current_setting('max_connections')::bigint
                   + current_setting('max_prepared_transactions')::bigint)
           FROM pg_locks WHERE pid = {watched} AND NOT fastpath"
    );
    asker.ask(&sql).await.map(drop)
}

/// Looks once, in one round trip when nobody waits.
pub(super) async fn look(asker: &mut impl Ask) -> Result<Observation, AskError> {
    let mut rows = asker.ask("EXECUTE drydock_glance").await?;
    let before = rows.len();
    rows.retain(|row| row.first().and_then(Option::as_deref) != Some("waiting"));
    if rows.len() < before {
        rows.extend(asker.ask("EXECUTE drydock_look").await?);
    }
    Ok(read(rows))
}

/// Counts the locks. This costs as much as there are, so it is not part of every look.
pub(super) async fn count_locks(asker: &mut impl Ask) -> Result<Locks, AskError> {
    let rows = asker.ask("EXECUTE drydock_locks").await?;
    let mut cells = rows.into_iter().flatten().flatten();
    let mut next = || cells.next().and_then(|cell| cell.parse().ok());
    Ok(Locks {
        held: next().unwrap_or_default(),
        room: next().unwrap_or(u64::MAX),
    })
}

fn read(rows: Vec<Row>) -> Observation {
    let mut seen = Observation::default();
    for row in rows {
        let mut columns = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || columns.next().unwrap_or_default();
        let kind = next();
        let session = Session {
            pid: next().parse().unwrap_or_default(),
            application: next(),
            mode: next(),
            object: next(),
            relation: next().parse().ok(),
            waited: next().parse().ok().map(Duration::from_micros),
        };
        match kind.as_str() {
            "blocked" => seen.blocked.push(session),
            "blocker" => seen.blockers.push(session),
            "around" => seen.around.push(session),
            _ => seen.strangers.push(session),
        }
    }
    seen
}

impl Session {
    /// The session in words, e.g. `pid 4711 ("orders-api")`.
    pub(super) fn name(&self) -> String {
        if self.application.is_empty() {
            format!("pid {}", self.pid)
        } else {
            format!("pid {} ({:?})", self.pid, self.application)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: [Option<&str>; 7]) -> Row {
        columns.iter().map(|c| c.map(str::to_owned)).collect()
    }

    #[test]
    fn rows_are_told_apart_and_what_may_not_be_seen_is_empty() {
        let seen = read(vec![
            row([
                Some("blocked"),
                Some("7"),
                None,
                Some("RowExclusiveLock"),
                Some("orders"),
                Some("16384"),
                Some("2500"),
            ]),
            row([
                Some("blocker"),
                Some("8"),
                Some("report"),
                Some("AccessExclusiveLock"),
                None,
                None,
                None,
            ]),
            row([
                Some("stranger"),
                Some("9"),
                Some("psql"),
                Some(""),
                Some(""),
                None,
                None,
            ]),
        ]);
        assert_eq!(seen.blocked[0].name(), "pid 7");
        assert_eq!(seen.blocked[0].relation, Some(16384));
        assert_eq!(seen.blocked[0].waited, Some(Duration::from_micros(2500)));
        assert_eq!(seen.blockers[0].name(), "pid 8 (\"report\")");
        assert_eq!(seen.blockers[0].relation, None);
        assert_eq!(seen.blockers[0].waited, None);
        assert_eq!(seen.strangers[0].pid, 9);
    }
}
