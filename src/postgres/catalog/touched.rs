//! What this transaction has changed in the catalogue, so that the rest need not be read again: a
//! rehearsal holds its locks until its prediction has been read.
//!
//! The server counts, for each table, what a transaction writes (manual, "The Cumulative Statistics
//! System", `pg_stat_xact_sys_tables`): a catalogue that was not written has not changed. In those
//! that were, rows of this transaction bear an id that is not older than its own. An object can only
//! be another one when a row of the catalogue is: its own, or that of something it depends on
//! (manual, "Dependency Tracking": `pg_depend`). What `pg_depend` does not tell, names of roles and
//! which operator class is the default one among it, is in catalogues that are seldom written: when
//! one of them was, everything is read again.

use std::collections::{BTreeMap, BTreeSet};

use super::pinned::Pinned;
use crate::postgres::ask::{Ask, AskError};

/// More objects than this are not worth telling apart.
const LIMIT: usize = 20_000;

/// Catalogues of objects with an OID of their own, on which definitions hang.
const OBJECTS: [&str; 11] = [
    "pg_attrdef",
    "pg_class",
    "pg_constraint",
    "pg_namespace",
    "pg_policy",
    "pg_proc",
    "pg_rewrite",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_type",
];

/// Catalogues whose rows are parts of an object of another one, and the column that names it.
const PARTS: [(&str, &str, &str); 14] = [
    ("pg_aggregate", "pg_proc", "aggfnoid"),
    ("pg_attrdef", "pg_class", "adrelid"),
    ("pg_attribute", "pg_class", "attrelid"),
    ("pg_constraint", "pg_class", "conrelid"),
    ("pg_enum", "pg_type", "enumtypid"),
    ("pg_foreign_table", "pg_class", "ftrelid"),
    ("pg_index", "pg_class", "indexrelid"),
    ("pg_index", "pg_class", "indrelid"),
    ("pg_inherits", "pg_class", "inhrelid"),
    ("pg_partitioned_table", "pg_class", "partrelid"),
    ("pg_range", "pg_type", "rngtypid"),
    ("pg_rewrite", "pg_class", "ev_class"),
    ("pg_sequence", "pg_class", "seqrelid"),
    ("pg_trigger", "pg_class", "tgrelid"),
];

/// Catalogues of which any change may show anywhere: an operator class that becomes the default
/// one of its type is left out of every index's definition from then on.
const ANYWHERE: [&str; 12] = [
    "pg_am",
    "pg_amop",
    "pg_authid",
    "pg_cast",
    "pg_collation",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_tablespace",
];

/// What a session had written into each catalogue, as the server counts it: rows in all, and rows
/// that went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written(BTreeMap<String, (u64, u64)>);

impl Written {
    /// Reads the counters; `None` if the server does not keep any.
    pub(super) async fn read(
        asker: &mut impl Ask,
        pinned: &mut Pinned,
    ) -> Result<Option<Self>, AskError> {
        let rows = pinned.ask(
            asker,
            "SELECT relname, written, gone, current_setting('track_counts') FROM (\
             SELECT relname, pg_stat_get_xact_tuples_inserted(oid) \
             + pg_stat_get_xact_tuples_updated(oid) + pg_stat_get_xact_tuples_deleted(oid), \
             pg_stat_get_xact_tuples_deleted(oid) FROM pg_class \
             WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r') c(relname, written, gone) \
             WHERE written > 0 OR relname = 'pg_class'",
        )
        .await?;
        let mut counts = BTreeMap::new();
        for row in rows {
            let [Some(name), Some(written), Some(gone), Some(counted)] = row.as_slice() else {
                return Err(AskError::Shape("what was written"));
            };
            if counted != "on" {
                return Ok(None);
            }
            let count = |text: &str| {
                text.parse()
                    .map_err(|_| AskError::Shape("what was written"))
            };
            counts.insert(name.clone(), (count(written)?, count(gone)?));
        }
        Ok(Some(Self(counts)))
    }

    /// Catalogues with more in them than `then`, and whether rows went from them.
    fn since(&self, then: &Self) -> BTreeMap<&str, bool> {
        self.0
            .iter()
            .filter_map(|(name, (written, gone))| {
                let (written_then, gone_then) = then.0.get(name).copied().unwrap_or_default();
                // Counters that have been sent away begin anew.
                let sent = *written < written_then || *gone < gone_then;
                (*written != written_then || sent)
                    .then_some((name.as_str(), *gone != gone_then || sent))
            })
            .collect()
    }
}

/// What this transaction has touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Catalogues that were written.
    written: BTreeSet<String>,
    /// Objects that are there, by catalogue: written themselves, or depending on what was.
    objects: BTreeMap<String, Vec<u32>>,
    /// Every object of a catalogue from which some went.
    left: BTreeMap<String, BTreeSet<u32>>,
}

impl Touched {
    /// The catalogues that were written.
    pub(super) fn written(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(String::as_str)
    }

    /// The touched objects of a catalogue.
    pub(super) fn of(&self, catalogue: &str) -> &[u32] {
        self.objects.get(catalogue).map_or(&[], Vec::as_slice)
    }

    /// Whether an object that was there has to be read again, or has gone.
    pub(super) fn concerns(&self, catalogue: &str, oid: u32) -> bool {
        self.of(catalogue).binary_search(&oid).is_ok()
            || self
                .left
                .get(catalogue)
                .is_some_and(|left| !left.contains(&oid))
    }
}

/// Finds what was touched since the counters were read; `None` when it is so much, or of such a
/// kind, that everything should be read. `keys` are the catalogues whose objects may have gone.
pub(super) async fn since(
    asker: &mut impl Ask,
    pinned: &mut Pinned,
    then: &Written,
    keys: &BTreeSet<&str>,
) -> Result<Option<Touched>, AskError> {
    let Some(now) = Written::read(asker, pinned).await? else {
        return Ok(None);
    };
    let written = now.since(then);
    // A child that no longer inherits may have no row that tells.
    if written.keys().any(|name| ANYWHERE.contains(name))
        || written.get("pg_inherits") == Some(&true)
    {
        return Ok(None);
    }
    let mut touched = Touched {
        written: written.keys().map(|name| (*name).to_owned()).collect(),
        ..Touched::default()
    };
    let rows = match query(&touched.written) {
        Some(query) => pinned.ask(asker, &query).await?,
        None => Vec::new(),
    };
    if rows.len() > LIMIT {
        return Ok(None);
    }
    for row in rows {
        let [Some(catalogue), Some(oid)] = row.as_slice() else {
            return Err(AskError::Shape("what was touched"));
        };
        let oid = oid.parse().map_err(|_| AskError::Shape("an OID"))?;
        touched
            .objects
            .entry(catalogue.clone())
            .or_default()
            .push(oid);
    }
    for oids in touched.objects.values_mut() {
        oids.sort_unstable();
    }
    let thinned: Vec<_> = keys
        .iter()
        .filter(|catalogue| written.get(*catalogue) == Some(&true))
        .collect();
    if thinned.is_empty() {
        return Ok(Some(touched));
    }
    let lists: Vec<_> = thinned
        .iter()
        .map(|catalogue| {
            format!("SELECT '{catalogue}', string_agg(oid::text, ',') FROM {catalogue}")
        })
        .collect();
    for row in pinned.ask(asker, &lists.join(" UNION ALL ")).await? {
        let Ok([Some(catalogue), list]) = <[_; 2]>::try_from(row) else {
            return Err(AskError::Shape("what is left"));
        };
        let list = list.unwrap_or_default();
        let left = list.split(',').filter_map(|oid| oid.parse().ok());
        touched.left.insert(catalogue, left.collect());
    }
    // Without an answer nothing of it would count as gone.
    if thinned
        .iter()
        .any(|name| !touched.left.contains_key(**name))
    {
        return Err(AskError::Shape("what is left"));
    }
    Ok(Some(touched))
}

/// Asks for the rows of this transaction in what it has written, what an object of theirs belongs to
/// (a TOAST table to its table, a multirange type to its range type), and all that depends on them.
/// Ids wrap around: an `age` that is not greater means a transaction that is not older. A frozen
/// row may seem young, and is then read once more than needed.
fn query(written: &BTreeSet<String>) -> Option<String> {
    let objects = OBJECTS
        .iter()
        .map(|catalogue| (*catalogue, *catalogue, "oid"));
    let young = "age(xmin) <= (SELECT age(pg_current_xact_id()::xid))";
    let mut fresh: Vec<String> = objects
        .chain(PARTS)
        .filter(|(catalogue, _, _)| written.contains(*catalogue))
        .map(|(catalogue, class, oid)| {
            format!("SELECT '{class}'::regclass::oid, {oid}::oid FROM {catalogue} WHERE {young}")
        })
        .collect();
    if written.contains("pg_depend") {
        fresh.push(format!(
            "SELECT classid, objid FROM pg_depend WHERE {young}"
        ));
    }
    if fresh.is_empty() {
        return None;
    }
    Some(format!(
        "WITH RECURSIVE fresh(class, oid) AS MATERIALIZED ({}), \
         touched(class, oid) AS (SELECT class, oid FROM (SELECT class, oid FROM fresh UNION \
         SELECT d.refclassid, d.refobjid FROM fresh f JOIN pg_depend d \
         ON d.classid = f.class AND d.objid = f.oid AND d.deptype = 'i') own UNION \
         SELECT d.class, d.oid FROM touched t, LATERAL (\
         SELECT classid, objid FROM pg_depend WHERE refclassid = t.class AND refobjid = t.oid \
         UNION ALL SELECT 'pg_class'::regclass, ev_class FROM pg_rewrite \
         WHERE t.class = 'pg_rewrite'::regclass AND oid = t.oid \
         UNION ALL SELECT 'pg_class'::regclass, adrelid FROM pg_attrdef \
         WHERE t.class = 'pg_attrdef'::regclass AND oid = t.oid) d(class, oid)) \
         SELECT c.relname, t.oid::text FROM touched t JOIN pg_class c ON c.oid = t.class LIMIT {}",
        fresh.join(" UNION ALL "),
        LIMIT + 1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(counts: &[(&str, u64, u64)]) -> Written {
        Written(
            counts
                .iter()
                .map(|(name, written, gone)| ((*name).to_owned(), (*written, *gone)))
                .collect(),
        )
    }

    #[test]
    fn only_what_was_written_since_then_is_looked_at() {
        let then = written(&[("pg_class", 2, 0), ("pg_type", 1, 1)]);
        let now = written(&[("pg_class", 3, 1), ("pg_type", 1, 1), ("pg_proc", 1, 0)]);
        assert_eq!(
            now.since(&then),
            [("pg_class", true), ("pg_proc", false)].into()
        );
        assert!(query(&["pg_description".to_owned()].into()).is_none());
        let query = query(&["pg_proc".to_owned()].into()).unwrap();
        assert!(query.contains("FROM pg_proc WHERE") && !query.contains("pg_attribute"));
    }

    #[test]
    fn counters_that_have_begun_anew_say_nothing() {
        let then = written(&[("pg_class", 9, 3)]);
        assert_eq!(
            written(&[("pg_class", 1, 0)]).since(&then),
            [("pg_class", true)].into()
        );
    }

    #[test]
    fn an_object_that_is_not_left_where_some_went_is_concerned() {
        let touched = Touched {
            objects: [("pg_class".to_owned(), vec![5, 7])].into(),
            left: [("pg_type".to_owned(), [8].into())].into(),
            ..Touched::default()
        };
        let concerns = |catalogue, oid| touched.concerns(catalogue, oid);
        assert!(concerns("pg_class", 7) && !concerns("pg_class", 8));
        assert!(concerns("pg_type", 9) && !concerns("pg_type", 8));
    }
}
