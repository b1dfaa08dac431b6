//! One reading of everything that is compared: exact sums, and the figures of the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, STRUCTURE_OF_CLASS, temporary_sets};
use super::{WitnessError, number};
use crate::postgres::ask::{Ask, AskError, Row, literal};
use crate::report::Hints;

/// What one catalogue holds, as two sums that no committed change leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exact {
    /// Rows of permanent objects.
    pub(super) rows: i64,
    /// Sum over the hashes of place and transaction of those rows.
    pub(super) sum: String,
    /// The same sum over rows of temporary objects.
    pub(super) temporary: String,
    /// Of `pg_class` only: a sum over what relations are, without their files.
    pub(super) structure: Option<String>,
}

/// A sequence's value; `None` when it was never called or the role may not see it.
pub(super) type Sequences = BTreeMap<String, Option<i64>>;

/// Figures of what a rollback does not undo.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// All sequences of the database.
    pub(super) sequences: Sequences,
    /// All of its tables and materialized views but temporary ones and the server's own.
    #[serde(default)]
    pub(super) tables: BTreeMap<String, Hints>,
    /// Position in the write-ahead log, in bytes.
    pub(super) wal: Option<u64>,
    /// Bytes of the database's files.
    pub(super) size: Option<i64>,
    /// Connected standbys; `None` when the role may not see them.
    pub(super) standbys: Option<u32>,
}

/// Everything that one reading gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// `pg_current_snapshot()`.
    pub(super) snapshot: String,
    /// Transactions (without epoch) that were already committed although they are younger than the
    /// oldest that was still running.
    pub(super) recent: BTreeSet<u32>,
    /// By catalogue.
    pub(super) catalogues: BTreeMap<String, Exact>,
    /// `None` when the server would not give them.
    pub(super) figures: Option<Figures>,
    /// Whether nothing at all committed since the snapshot that was asked about.
    pub(super) nothing_committed: bool,
}

/// More transactions than this are not looked at one by one.
const WIDEST_WINDOW: u32 = 20_000;

/// For this one exchange: many small subqueries are slower when compiled, and neither a role's own
/// timeout nor a locked sequence may decide over the proof. Ends with the implicit transaction, so
/// that nothing stays behind in the session.
const SETTINGS: &str = "\
SELECT 'settings', pg_catalog.set_config('jit', 'off', true),
    pg_catalog.set_config('max_parallel_workers_per_gather', '0', true),
    pg_catalog.set_config('statement_timeout', '60s', true),
    pg_catalog.set_config('lock_timeout', '1s', true);
";

const FIGURES: &str = "\
SELECT 'sequence', pg_catalog.format('%I.%I', n.nspname, c.relname),
    CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE')
        THEN pg_catalog.pg_sequence_last_value(c.oid) END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND c.relpersistence <> 't';
SELECT 'table', pg_catalog.format('%I.%I', n.nspname, c.relname), c.relhasindex, c.reltuples::bigint
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384;
SELECT 'wal', pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::bigint;
SELECT 'size', pg_catalog.pg_database_size(pg_catalog.current_database());
SELECT 'standbys', CASE WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
    THEN (SELECT count(*) FROM pg_catalog.pg_stat_replication) END;
";

/// Reads in one round trip; in a second and third one only when the ledger's figures cannot be had.
pub(super) async fn read(
    asker: &mut impl Ask,
    catalogues: &[&str],
    since: Option<&str>,
) -> Result<Reading, WitnessError> {
    let exact = format!("{SETTINGS}{}", exact(catalogues, since));
    let whole = format!("{exact}{FIGURES}");
    // A sequence may be dropped between its being listed and its being read: once more.
    for _ in 0..2 {
        match asker.ask(&whole).await {
            Ok(rows) => return understand(rows),
            Err(AskError::Server { code, .. }) => {
                tracing::debug!(code, "the ledger's figures cannot be read");
            }
            Err(source) => return Err(lost(source)),
        }
    }
    let rows = asker.ask(&exact).await.map_err(lost)?;
    let reading = understand(rows)?;
    Ok(Reading {
        figures: None,
        ..reading
    })
}

fn lost(source: AskError) -> WitnessError {
    WitnessError::Ask {
        what: "the system catalogues",
        source,
    }
}

fn exact(catalogues: &[&str], since: Option<&str>) -> String {
    let mut sql = temporary_sets(|name| catalogues.contains(&name));
    sql.push_str(
        ",\nage AS MATERIALIZED (SELECT pg_catalog.age(\
         pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::xid) AS of_oldest)\n\
         SELECT 'snapshot', pg_catalog.pg_current_snapshot()::text, NULL, NULL, NULL, NULL, NULL",
    );
    for name in catalogues {
        let known = Catalogue::named(name);
        let structure = match *name {
            "pg_class" => format!(
                "sum(pg_catalog.hashtextextended({STRUCTURE_OF_CLASS}, 0)) \
                 FILTER (WHERE c.relpersistence <> 't')::text"
            ),
            _ => "NULL".to_owned(),
        };
        let only = known.only.unwrap_or("true");
        let temporary = &known.temporary;
        // Infallible: writing into a String.
        let _ = write!(
            sql,
            "\nUNION ALL SELECT 'catalogue', {}, \
             count(*) FILTER (WHERE NOT {temporary})::text, \
             sum(pg_catalog.hashtextextended(c.ctid::text || c.xmin::text, 0)) \
             FILTER (WHERE NOT {temporary})::text, \
             sum(pg_catalog.hashtextextended(c.ctid::text || c.xmin::text, 0)) \
             FILTER (WHERE {temporary})::text, {structure}, \
             string_agg(DISTINCT c.xmin::text, ' ') \
             FILTER (WHERE pg_catalog.age(c.xmin) <= (SELECT of_oldest FROM age)) \
             FROM pg_catalog.{name} c WHERE {only}",
            literal(name)
        );
    }
    sql.push_str(";\n");
    if let Some(since) = since {
        let since = literal(since);
        let _ = writeln!(
            sql,
            "SELECT 'window', CASE WHEN until - since <= {WIDEST_WINDOW} THEN NOT EXISTS (\
             SELECT FROM pg_catalog.generate_series(since, until - 1) AS one(xid) \
             WHERE NOT pg_catalog.pg_visible_in_snapshot(xid::text::xid8, {since}::pg_snapshot) \
             AND pg_catalog.pg_xact_status(xid::text::xid8) IS DISTINCT FROM 'aborted' \
             AND pg_catalog.pg_xact_status(xid::text::xid8) IS DISTINCT FROM 'in progress') \
             ELSE false END \
             FROM (SELECT pg_catalog.pg_snapshot_xmin({since}::pg_snapshot)::text::bigint, \
             pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint) \
             AS bounds(since, until);"
        );
    }
    sql
}

fn understand(rows: Vec<Row>) -> Result<Reading, WitnessError> {
    let mut reading = Reading::default();
    let mut figures = Figures::default();
    for row in rows {
        let tag = row.first().and_then(Option::as_deref).unwrap_or_default();
        let text = |at: usize| row.get(at).cloned().flatten();
        match tag {
            "snapshot" => {
                reading.snapshot = text(1).ok_or(WitnessError::Answer("the snapshot"))?;
            }
            "catalogue" => {
                let name = text(1).ok_or(WitnessError::Answer("a catalogue"))?;
                reading.recent.extend(
                    text(6)
                        .unwrap_or_default()
                        .split_whitespace()
                        .filter_map(|xid| xid.parse::<u32>().ok()),
                );
                let exact = Exact {
                    rows: number(row.get(2), "a catalogue")?,
                    sum: text(3).unwrap_or_default(),
                    temporary: text(4).unwrap_or_default(),
                    structure: text(5),
                };
                reading.catalogues.insert(name, exact);
            }
            "window" => reading.nothing_committed = text(1).as_deref() == Some("t"),
            "sequence" => {
                let name = text(1).ok_or(WitnessError::Answer("a sequence"))?;
                let value = text(2).and_then(|value| value.parse().ok());
                figures.sequences.insert(name, value);
            }
            "table" => {
                let name = text(1).ok_or(WitnessError::Answer("a table"))?;
                let hints = Hints {
                    has_index: text(2).as_deref() == Some("t"),
                    tuples: number(row.get(3), "a table")?,
                };
                figures.tables.insert(name, hints);
            }
            "wal" => figures.wal = text(1).and_then(|bytes| bytes.parse().ok()),
            "size" => figures.size = text(1).and_then(|bytes| bytes.parse().ok()),
            "standbys" => figures.standbys = text(1).and_then(|count| count.parse().ok()),
            _ => {}
        }
    }
    if reading.snapshot.is_empty() {
        return Err(WitnessError::Answer("the snapshot"));
    }
    reading.figures = Some(figures);
    Ok(reading)
}
