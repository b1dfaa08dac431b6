//! What is in the tables that a migration touches, as counts and checksums; never a row.

use std::collections::BTreeMap;

use crate::postgres::ask::{Ask, AskError, literal};
use crate::report::units::count;
use crate::schema::{Change, Difference};

/// Tables greater than this are not read: a checksum reads all of one.
const GREATEST: u64 = 64 << 20;

/// Tables that some tools take and give back as a lock in every run.
const LOCKS: &[&str] = &["databasechangeloglock", "knex_migrations_lock"];

/// What is in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    /// The number of rows.
    pub(super) rows: u64,
    /// A sum over their hashes.
    pub(super) hashes: String,
    /// The columns that are in the hashes, where nobody has said which.
    pub(super) columns: Vec<String>,
}

/// What is in each table.
pub(super) type Sums = BTreeMap<String, Sum>;

/// What could be read, and which tables could not.
#[derive(Debug, Default)]
pub(super) struct Summed {
    pub(super) sums: Sums,
    /// Tables that are too great, or may not be read.
    pub(super) not_read: Vec<String>,
}

/// Tables that do not hold what they held, with their numbers of rows.
pub(super) type Lost = BTreeMap<String, String>;

/// The tables that do not hold what they held.
pub(super) fn lost(before: &Sums, after: &Sums) -> Lost {
    before
        .iter()
        .filter_map(|(table, was)| {
            let then = match after.get(table) {
                Some(is) if is.rows != was.rows => is.rows.to_string(),
                Some(is) if is.hashes != was.hashes => "as many with other contents".to_owned(),
                Some(_) => return None,
                None => "no table that can be read".to_owned(),
            };
            let numbers = format!("{}, then {then}", count(was.rows, "row"));
            Some((table.clone(), numbers))
        })
        .collect()
}

/// The tables that the transaction of `asker` has written or changed, by their qualified names: whose
/// rows were counted, or that are locked for more than reading. TRUNCATE counts no rows.
pub(super) async fn touched(asker: &mut impl Ask) -> Result<Vec<String>, AskError> {
    let sql = "SELECT pg_catalog.format('%I.%I', schemaname, relname) \
               FROM pg_catalog.pg_stat_xact_user_tables \
               WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 AND schemaname !~ '^pg_' \
               UNION SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
               FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE l.pid = pg_catalog.pg_backend_pid() AND l.granted \
               AND l.database = (SELECT oid FROM pg_catalog.pg_database \
                                 WHERE datname = pg_catalog.current_database()) \
               AND l.mode NOT IN ('AccessShareLock', 'RowShareLock') \
               AND c.relkind = 'r' AND n.nspname !~ '^pg_'";
    Ok(asker
        .ask(sql)
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .collect())
}

/// How many rows a transaction has inserted, updated and deleted, by table: undone ones, too.
pub(super) type Counts = BTreeMap<String, String>;

/// The counts of the transaction of `asker`, but for tables of these qualified names, for temporary
/// ones, and for those that are a tool's lock.
pub(super) async fn counts(asker: &mut impl Ask, without: &[String]) -> Result<Counts, AskError> {
    let without: Vec<String> = without.iter().map(|name| literal(name)).collect();
    let locks: Vec<String> = LOCKS.iter().map(|name| literal(name)).collect();
    let sql = format!(
        "SELECT relid::pg_catalog.regclass::text, \
         pg_catalog.concat_ws(' ', n_tup_ins, n_tup_upd, n_tup_del) \
         FROM pg_catalog.pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 \
         AND schemaname !~ '^pg_' AND pg_catalog.lower(relname) <> ALL (ARRAY[{}]) \
         AND pg_catalog.format('%I.%I', schemaname, relname) <> ALL (ARRAY[{}]::text[])",
        locks.join(", "),
        without.join(", ")
    );
    Ok(asker
        .ask(&sql)
        .await?
        .into_iter()
        .filter_map(|row| match <[_; 2]>::try_from(row) {
            Ok([Some(name), Some(count)]) => Some((name, count)),
            _ => None,
        })
        .collect())
}

/// The tables into which something was written between the two.
pub(super) fn moved(before: &Counts, after: &Counts) -> Vec<String> {
    after
        .iter()
        .filter(|(table, count)| before.get(*table) != Some(count))
        .map(|(table, _)| table.clone())
        .collect()
}

/// The tables whose columns a difference changes or takes away.
pub(super) fn changed(difference: &Difference) -> Vec<String> {
    let mut tables = Vec::new();
    for (id, change) in difference.iter() {
        let table = match (id.kind.as_str(), change) {
            ("column", Change::Removed { .. } | Change::Altered { .. }) => {
                id.identity.rsplit_once('.').map(|(table, _)| table)
            }
            ("relation", Change::Removed { .. }) => Some(id.identity.as_str()),
            _ => None,
        };
        tables.extend(table.map(str::to_owned));
    }
    tables
}

/// Counts and sums of those of `tables` that are there. A partition is a table of its own, its parent
/// has no rows. Those that are too great or may not be read
/// are named; of a table that was read `before`, the same columns are read again, however great it has
/// become.
pub(super) async fn sums(
    asker: &mut impl Ask,
    tables: &[String],
    before: Option<&Sums>,
) -> Result<Summed, AskError> {
    let mut summed = Summed::default();
    if tables.is_empty() {
        return Ok(summed);
    }
    let names: Vec<String> = tables
        .iter()
        .map(|name| format!("pg_catalog.to_regclass({})", literal(name)))
        .collect();
    let found = asker
        .ask(&format!(
            "SELECT DISTINCT c.oid::pg_catalog.regclass::text, \
             pg_catalog.has_table_privilege(c.oid, 'SELECT')::text, \
             (pg_catalog.pg_table_size(c.oid) <= {GREATEST})::text, \
             (SELECT pg_catalog.jsonb_agg(a.attname ORDER BY a.attname) \
              FROM pg_catalog.pg_attribute a \
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text \
             FROM pg_catalog.pg_class c \
             WHERE c.oid IN ({}) AND c.relkind = 'r' AND c.relpersistence <> 't' \
             ORDER BY 1",
            names.join(", ")
        ))
        .await?;
    for row in found {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || cells.next().unwrap_or_default();
        let (name, readable, small) = (next(), next() == "true", next() == "true");
        let columns: Vec<String> = serde_json::from_str(&next()).unwrap_or_default();
        let known = before.and_then(|before| before.get(&name));
        let sum = if readable && (small || known.is_some()) {
            sum(asker, &name, columns, known).await
        } else {
            None
        };
        match sum {
            Some(sum) => {
                summed.sums.insert(name, sum);
            }
            None => summed.not_read.push(name),
        }
    }
    Ok(summed)
}

async fn sum(
    asker: &mut impl Ask,
    name: &str,
    columns: Vec<String>,
    known: Option<&Sum>,
) -> Option<Sum> {
    // What has come to be meanwhile is no part of what was there.
    let new: Vec<String> = columns
        .iter()
        .filter(|column| known.is_some_and(|known| !known.columns.contains(column)))
        .map(|column| literal(column))
        .collect();
    let without = if new.is_empty() {
        String::new()
    } else {
        format!(" - ARRAY[{}]::text[]", new.join(", "))
    };
    // The order of columns changes when one is dropped and added again; jsonb has its own.
    let sql = format!(
        "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(pg_catalog.hashtextextended(\
         (pg_catalog.to_jsonb(drydock_row){without})::text, 0)), 0) FROM ONLY {name} drydock_row"
    );
    let row = asker.ask(&sql).await.ok()?.into_iter().next()?;
    let [Some(rows), Some(hashes)] = <[_; 2]>::try_from(row).ok()? else {
        return None;
    };
    Some(Sum {
        rows: rows.parse().ok()?,
        hashes,
        columns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(rows: u64, hashes: &str) -> Sums {
        let sum = Sum {
            rows,
            hashes: hashes.to_owned(),
            columns: Vec::new(),
        };
        Sums::from([("orders".to_owned(), sum)])
    }

    #[test]
    fn lost_rows_are_told_with_their_numbers() {
        let before = sums(100, "7");
        assert!(lost(&before, &sums(100, "7")).is_empty());
        for (after, numbers) in [
            (sums(97, "5"), "100 rows, then 97"),
            (sums(100, "5"), "100 rows, then as many with other contents"),
            (Sums::new(), "100 rows, then no table that can be read"),
        ] {
            let lost = lost(&before, &after);
            assert_eq!(lost, Lost::from([("orders".into(), numbers.into())]));
        }
    }
}
