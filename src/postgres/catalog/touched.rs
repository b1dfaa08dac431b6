//! What has changed in the catalogue since it was read, so that the rest need not be written out
//! again: a rehearsal holds its locks until its prediction has been read.
//!
//! An object's definition can only be another one when a row of the catalogue is: its own, or that
//! of something it depends on (manual, "Dependency Tracking": `pg_depend`). Rows that are new bear a
//! transaction id that was not over when the first reading began. Rows that are gone took their
//! object with them, or left a new one behind. What `pg_depend` does not tell, names of roles and
//! which operator class is the default one among it, is in the anchor: when that is another one,
//! everything is read again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pinned;
use crate::postgres::ask::{Ask, AskError, Row};

/// More objects than this are not worth telling apart.
const LIMIT: usize = 20_000;

/// When a snapshot was read, as a later reading needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The oldest transaction that had not ended, without its epoch.
    oldest: u32,
    /// A digest of what definitions depend on without `pg_depend` saying so.
    anchor: String,
}

/// Catalogues of objects that definitions name.
const OBJECTS: [&str; 10] = [
    "pg_attrdef",
    "pg_class",
    "pg_constraint",
    "pg_namespace",
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
const ANYWHERE: [&str; 8] = [
    "pg_am",
    "pg_amop",
    "pg_cast",
    "pg_collation",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
];

/// Reads when it is now.
pub(super) async fn mark(asker: &mut impl Ask) -> Result<Mark, AskError> {
    let anywhere: Vec<String> = ANYWHERE
        .iter()
        .map(|catalogue| {
            format!("SELECT '{catalogue}', oid, xmin::text FROM pg_catalog.{catalogue}")
        })
        .collect();
    let sql = format!(
        "SELECT (pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::numeric % 4294967296)::text, \
         pg_catalog.md5((SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a, b, c), ',' ORDER BY a, b) FROM \
         (SELECT 'role', oid, rolname::text FROM pg_catalog.pg_roles \
         UNION ALL SELECT 'tablespace', oid, spcname::text FROM pg_catalog.pg_tablespace \
         UNION ALL {}) f(a, b, c))), ''",
        anywhere.join(" UNION ALL ")
    );
    let mut row = pinned(asker, &sql)
        .await?
        .into_iter()
        .next()
        .unwrap_or_default()
        .into_iter();
    let oldest = row.next().flatten().and_then(|text| text.parse().ok());
    match (oldest, row.next().flatten()) {
        (Some(oldest), Some(anchor)) => Ok(Mark { oldest, anchor }),
        _ => Err(AskError::Shape("the transactions that run")),
    }
}

/// Objects whose definitions may be other ones than they were.
#[derive(Debug, Default)]
pub(super) struct Touched {
    by_catalogue: BTreeMap<String, Vec<String>>,
}

impl Touched {
    /// A condition: the object that `oid` names is one of them.
    pub(super) fn holds(&self, catalogue: &str, oid: &str) -> String {
        match self.by_catalogue.get(catalogue) {
            // As a subquery the server hashes it, in every version.
            Some(oids) => format!("{oid} IN (SELECT unnest('{{{}}}'::oid[]))", oids.join(",")),
            None => "false".to_owned(),
        }
    }
}

/// Finds what was touched since `then`; `None` when it is so much, or of such a kind, that
/// everything should be read.
pub(super) async fn since(asker: &mut impl Ask, then: &Mark) -> Result<Option<Touched>, AskError> {
    if mark(asker).await?.anchor != then.anchor {
        return Ok(None);
    }
    let rows = pinned(asker, &query(then.oldest)).await?;
    if rows.len() > LIMIT {
        return Ok(None);
    }
    let mut touched = Touched::default();
    for row in rows {
        let [Some(catalogue), Some(oid), _] =
            <[_; 3]>::try_from(row).map_err(|_: Row| AskError::Shape("what was touched"))?
        else {
            return Err(AskError::Shape("what was touched"));
        };
        touched.by_catalogue.entry(catalogue).or_default().push(oid);
    }
    Ok(Some(touched))
}

/// Ids wrap around: an `age` that is not greater means a transaction that is not older. A frozen
/// row may seem young, and is then read once more than needed.
fn query(oldest: u32) -> String {
    let objects = OBJECTS
        .iter()
        .map(|catalogue| (*catalogue, *catalogue, "oid"));
    let fresh: Vec<String> = objects
        .chain(PARTS)
        .map(|(catalogue, class, oid)| {
            format!(
                "SELECT '{class}'::regclass::oid, {oid}::oid FROM {catalogue} \
                 WHERE age(xmin) <= age('{oldest}'::xid)"
            )
        })
        .collect();
    format!(
        "WITH RECURSIVE fresh(class, oid) AS ({} \
         UNION ALL SELECT classid, objid FROM pg_depend WHERE age(xmin) <= age('{oldest}'::xid)), \
         touched(class, oid) AS (SELECT class, oid FROM fresh UNION \
         SELECT d.class, d.oid FROM touched t, LATERAL (\
         SELECT classid, objid FROM pg_depend WHERE refclassid = t.class AND refobjid = t.oid \
         UNION ALL SELECT 'pg_class'::regclass, ev_class FROM pg_rewrite \
         WHERE t.class = 'pg_rewrite'::regclass AND oid = t.oid \
         UNION ALL SELECT 'pg_class'::regclass, adrelid FROM pg_attrdef \
         WHERE t.class = 'pg_attrdef'::regclass AND oid = t.oid) d(class, oid)) \
         SELECT class::regclass::text, oid::text, '' FROM touched WHERE class <> 0 LIMIT {}",
        fresh.join(" UNION ALL "),
        LIMIT + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_touched_is_a_condition_that_never_holds() {
        assert_eq!(Touched::default().holds("pg_class", "c.oid"), "false");
    }

    #[test]
    fn touched_objects_are_listed_by_catalogue() {
        let mut touched = Touched::default();
        touched
            .by_catalogue
            .insert("pg_class".to_owned(), vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(
            touched.holds("pg_class", "c.oid"),
            "c.oid IN (SELECT unnest('{1,2}'::oid[]))"
        );
        assert_eq!(touched.holds("pg_proc", "p.oid"), "false");
    }
}
