//! What would still be there if the rehearsal were not over: its session with its locks, prepared
//! transactions, replication slots, temporary tables of a dead session.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use std::fmt::Write;

use super::{Before, Facts, WitnessError};
use crate::postgres::ask::{Ask, Row, literal};

/// A server process needs a moment to notice that its client is gone and to roll back, on a machine
/// with busy disks a long one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked again.
const PAUSE: Duration = Duration::from_millis(20);

/// From this major on the number in a temporary schema's name is a documented backend ID.
const BACKEND_IDS: u32 = 16;

/// How the rehearsal ended, by the server's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct End {
    /// `pg_xact_status` of its transactions, as far as the server can say.
    pub(super) fates: BTreeMap<u64, String>,
    /// What is left of it.
    pub(super) leftovers: Vec<String>,
}

/// Looks until nothing is left, at most as long as the patience lasts.
pub(super) async fn wait(
    asker: &mut impl Ask,
    major: u32,
    before: &Before,
    facts: &Facts,
) -> Result<End, WitnessError> {
    let sql = question(major, before, facts);
    let began = Instant::now();
    loop {
        let rows = asker.ask(&sql).await.map_err(|source| WitnessError::Ask {
            what: "what is left of the rehearsal",
            source,
        })?;
        let end = understand(&rows, before, facts);
        let settled = facts.xids().all(|xid| {
            let fate = end.fates.get(&xid).map(String::as_str);
            matches!(fate, Some("aborted" | "committed"))
        });
        if settled && end.leftovers.is_empty() || began.elapsed() >= PATIENCE {
            return Ok(end);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn question(major: u32, before: &Before, facts: &Facts) -> String {
    let application = literal(&format!("drydock/{}", facts.run.0));
    // Without a known process no session has this number.
    let pids: Vec<String> = std::iter::once(0)
        .chain(facts.transactions.iter().filter_map(|it| it.backend_pid))
        .map(|pid| pid.to_string())
        .collect();
    let pids = pids.join(", ");
    let snapshot = literal(&before.snapshot);
    // A transaction of the future is one that this server has never heard of; to ask about it is an
    // error. The newest one that still runs is not in the snapshot, but has an age.
    let mut fate = String::new();
    for xid in facts.xids() {
        let _ = writeln!(
            fate,
            "SELECT 'fate', {xid}, CASE WHEN {xid} < completed OR {xid} - completed < 2147483648 \
             AND pg_catalog.age('{xid}'::xid8::xid) > 0 \
             THEN pg_catalog.pg_xact_status('{xid}'::xid8) END \
             FROM (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())\
             ::text::bigint) AS known(completed);"
        );
    }
    let orphaned = if major >= BACKEND_IDS {
        "pg_catalog.substring(n.nspname, '[0-9]+$')::int NOT IN \
         (SELECT pg_catalog.pg_stat_get_backend_idset())"
    } else {
        "NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a \
         WHERE a.datname = pg_catalog.current_database() AND a.usename = current_user \
         AND a.pid <> pg_catalog.pg_backend_pid() AND a.application_name NOT LIKE 'drydock/%')"
    };
    // A process that was started after ours is another one under the same number. Sessions of ours
    // that are not in a transaction hold drydock's lock, or are about to end: they hold no change.
    // A run of another cluster or namespace may have the same name, though not in this database.
    format!(
        "{fate}\
         SELECT 'session', a.pid, a.state, (SELECT count(*) FROM pg_catalog.pg_locks l \
         WHERE l.pid = a.pid) FROM pg_catalog.pg_stat_activity a \
         WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.usename = session_user \
         AND (a.pid IN ({pids}) AND a.backend_start <= (SELECT me.backend_start \
         FROM pg_catalog.pg_stat_activity me WHERE me.pid = pg_catalog.pg_backend_pid()) \
         OR a.application_name = {application} AND a.xact_start IS NOT NULL \
         AND a.datname = pg_catalog.current_database());\n\
         SELECT 'prepared', gid, transaction, owner = current_user \
         AND database = pg_catalog.current_database() FROM pg_catalog.pg_prepared_xacts;\n\
         SELECT 'slot', slot_name, slot_type = 'logical' OR active_pid NOT IN ({pids}) \
         FROM pg_catalog.pg_replication_slots WHERE NOT temporary \
         AND (database IS NULL OR database = pg_catalog.current_database());\n\
         SELECT 'temporary', n.nspname, count(*) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relpersistence = 't' AND c.relowner = (SELECT r.oid FROM pg_catalog.pg_roles r \
         WHERE r.rolname = current_user) AND pg_catalog.age(c.xmin) <= \
         pg_catalog.age(pg_catalog.pg_snapshot_xmin({snapshot}::pg_snapshot)::xid) \
         AND {orphaned} GROUP BY n.nspname;"
    )
}

fn understand(rows: &[Row], before: &Before, facts: &Facts) -> End {
    let mut end = End::default();
    // As the server writes transaction ids of prepared transactions: without epoch.
    let short_xids: Vec<String> = facts
        .xids()
        .map(|xid| (xid & 0xffff_ffff).to_string())
        .collect();
    for row in rows {
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        let name = text(1).unwrap_or_default();
        match text(0).unwrap_or_default() {
            "fate" => {
                if let (Ok(xid), Some(fate)) = (name.parse(), text(2)) {
                    end.fates.insert(xid, fate.to_owned());
                }
            }
            "session" => end.leftovers.push(format!(
                "session {name} ({}, {} locks)",
                text(2).unwrap_or("state unknown"),
                text(3).unwrap_or("unknown")
            )),
            "prepared" => {
                let is_it = short_xids.iter().any(|xid| text(2) == Some(xid));
                let may_be = text(3) == Some("t")
                    && !before.prepared.contains(name)
                    && !facts.attributable();
                if is_it || may_be {
                    end.leftovers.push(format!("prepared transaction {name}"));
                }
            }
            // A rollback does not drop a slot, so it may be ours whatever was recorded; but for one
            // that another session uses, and a logical one: the server makes none for a transaction
            // that has written, as the rehearsal has since its tripwire was set.
            "slot" if !before.slots.contains(name) => {
                let impossible =
                    text(2) == Some("t") && facts.xids().next().is_some() && facts.attributable();
                if !impossible {
                    end.leftovers.push(format!("replication slot {name}"));
                }
            }
            "temporary" => end.leftovers.push(format!(
                "{} temporary relations in {name}, whose session is gone",
                text(2).unwrap_or_default()
            )),
            _ => {}
        }
    }
    end
}
