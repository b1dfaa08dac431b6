//! What is in the tables that a migration touches, as counts and checksums; never a row.

use std::collections::BTreeMap;

use crate::postgres::ask::{Ask, AskError, literal};
use crate::schema::{Change, Difference};

/// Tables greater than this are not read: a checksum reads all of one.
const GREATEST: u64 = 64 << 20;

/// The number of rows and a sum over their hashes.
pub(super) type Sums = BTreeMap<String, String>;

/// The tables whose rows the transaction of `asker` has written.
pub(super) async fn written(asker: &mut impl Ask) -> Result<Vec<String>, AskError> {
    let sql = "SELECT relid::pg_catalog.regclass::text FROM pg_catalog.pg_stat_xact_user_tables \
               WHERE n_tup_ins + n_tup_upd + n_tup_del > 0";
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

/// The counts of the transaction of `asker`, but for tables of these qualified names.
pub(super) async fn counts(asker: &mut impl Ask, without: &[String]) -> Result<Counts, AskError> {
    let without: Vec<String> = without.iter().map(|name| literal(name)).collect();
    let sql = format!(
        "SELECT relid::pg_catalog.regclass::text, \
         pg_catalog.concat_ws(' ', n_tup_ins, n_tup_upd, n_tup_del) \
         FROM pg_catalog.pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 \
         AND pg_catalog.format('%I.%I', schemaname, relname) <> ALL (ARRAY[{}]::text[])",
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

/// Counts and sums of those of `tables` that are there, are not too great, and may be read.
pub(super) async fn sums(asker: &mut impl Ask, tables: &[String]) -> Result<Sums, AskError> {
    let mut sums = Sums::new();
    if tables.is_empty() {
        return Ok(sums);
    }
    let names: Vec<String> = tables
        .iter()
        .map(|name| format!("pg_catalog.to_regclass({})", literal(name)))
        .collect();
    let found = asker
        .ask(&format!(
            "SELECT DISTINCT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
             WHERE c.oid IN ({}) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
             AND pg_catalog.pg_table_size(c.oid) <= {GREATEST} \
             AND pg_catalog.has_table_privilege(c.oid, 'SELECT') ORDER BY 1",
            names.join(", ")
        ))
        .await?;
    for name in found.into_iter().flatten().flatten() {
        // The order of columns changes when one is dropped and added again; jsonb has its own.
        let sum = asker
            .ask(&format!(
                "SELECT pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(\
                 pg_catalog.hashtextextended(pg_catalog.to_jsonb(t)::text, 0)), 0) FROM {name} t"
            ))
            .await;
        if let Some(sum) = sum
            .ok()
            .and_then(|rows| rows.into_iter().flatten().flatten().next())
        {
            sums.insert(name, sum);
        }
    }
    Ok(sums)
}
