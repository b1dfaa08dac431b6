//! What moved in a catalogue that is not as it was, and which transactions did it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::catalogue::{Catalogue, temporary_sets};
use super::reading::{Exact, Reading};
use super::{Before, WitnessError, number};
use crate::postgres::ask::{Ask, Row, literal};
use crate::report::CatalogueClass;

/// Names that are given for one transaction in one catalogue.
const NAMED: u32 = 5;

/// Transactions that are told apart in one catalogue.
const TOLD_APART: u32 = 50;

/// Rows that one transaction committed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    /// Without epoch.
    pub(super) xid: u32,
    /// How many.
    pub(super) rows: i64,
    /// Whether any of them belongs to the command's own role.
    pub(super) owned: bool,
    /// Relations that they are about, at most a few.
    pub(super) names: Vec<String>,
}

/// A catalogue that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    /// Which.
    pub(super) catalogue: String,
    /// What kind of move.
    pub(super) class: CatalogueClass,
    /// New versions of rows, by transaction.
    pub(super) new: Vec<Committed>,
    /// Rows, or old versions of rows, that are gone.
    pub(super) gone: i64,
}

/// Compares, and asks about what is not the same.
pub(super) async fn find(
    asker: &mut impl Ask,
    before: &Before,
    after: &Reading,
) -> Result<Vec<Moved>, WitnessError> {
    let compared = compare(before, after)?;
    let permanent: Vec<&str> = compared
        .iter()
        .filter(|(_, was, is)| (was.rows, &was.sum) != (is.rows, &is.sum))
        .map(|(name, ..)| *name)
        .collect();
    let mut new = BTreeMap::new();
    if !permanent.is_empty() {
        let sql = question(&permanent, before)?;
        let rows = asker.ask(&sql).await.map_err(|source| WitnessError::Ask {
            what: "what moved in the catalogues",
            source,
        })?;
        new = understand(&rows)?;
    }
    Ok(compared
        .into_iter()
        .filter_map(|(name, was, is)| classify(name, was, is, new.remove(name).unwrap_or_default()))
        .collect())
}

type Pair<'a> = (&'a str, &'a Exact, &'a Exact);

fn compare<'a>(before: &'a Before, after: &'a Reading) -> Result<Vec<Pair<'a>>, WitnessError> {
    before
        .catalogues
        .iter()
        .map(|(name, was)| {
            let is = after.catalogues.get(name);
            is.map(|is| (name.as_str(), was, is))
                .ok_or(WitnessError::Answer("a catalogue that was there before"))
        })
        .collect()
}

/// What kind of move it is; `None` when it is none.
pub(super) fn classify(name: &str, was: &Exact, is: &Exact, new: Vec<Committed>) -> Option<Moved> {
    let same = was.rows == is.rows && was.sum == is.sum;
    let class = if same && was.temporary == is.temporary {
        return None;
    } else if same {
        CatalogueClass::Temporary
    } else if was.structure.is_some() && was.structure == is.structure {
        CatalogueClass::FileOnly
    } else if new.is_empty() && was.rows == is.rows {
        // The same rows in other places: the catalogue itself was rewritten.
        CatalogueClass::FileOnly
    } else {
        CatalogueClass::Real
    };
    let came: i64 = new.iter().map(|committed| committed.rows).sum();
    Some(Moved {
        catalogue: name.to_owned(),
        class,
        gone: if class == CatalogueClass::Temporary {
            0
        } else {
            (was.rows + came - is.rows).max(0)
        },
        new,
    })
}

/// Rows are new when the transaction that wrote them was not over, or not begun, before.
fn question(catalogues: &[&str], before: &Before) -> Result<String, WitnessError> {
    let oldest: u64 = before
        .snapshot
        .split(':')
        .next()
        .and_then(|xid| xid.parse().ok())
        .ok_or(WitnessError::Answer("the snapshot"))?;
    let oldest = oldest & 0xffff_ffff;
    let recent: Vec<String> = before.recent.iter().map(u32::to_string).collect();
    let recent = recent.join(",");
    let mut sql = format!(
        "{},\n\
         me AS MATERIALIZED (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user),\n\
         span AS MATERIALIZED (SELECT pg_catalog.pg_snapshot_xmax(\
         pg_catalog.pg_current_snapshot())::text::bigint - pg_catalog.pg_snapshot_xmin(\
         {}::pg_snapshot)::text::bigint AS width)\n",
        temporary_sets(|name| before.catalogues.contains_key(name)),
        literal(&before.snapshot)
    );
    for (at, name) in catalogues.iter().enumerate() {
        let known = Catalogue::named(name);
        let union = if at == 0 { "" } else { "UNION ALL " };
        let owned = known.owner.map_or_else(
            || "false".to_owned(),
            |owner| format!("{owner} = (SELECT oid FROM me)"),
        );
        let relation = known.relation.map_or_else(
            || "NULL::text".to_owned(),
            |relation| format!("NULLIF({relation}, 0)::pg_catalog.regclass::text"),
        );
        let only = known.only.unwrap_or("true");
        let temporary = known.temporary;
        // Infallible: writing into a String.
        let _ = writeln!(
            sql,
            "{union}(SELECT {name}, xid, count(*), coalesce(bool_or(owned), false), \
             pg_catalog.array_to_string((array_agg(DISTINCT relation) \
             FILTER (WHERE relation NOT LIKE 'pg_toast.%'))[1:{NAMED}], E'\\n') FROM (\
             SELECT c.xmin::text::bigint AS xid, {owned} AS owned, {relation} AS relation \
             FROM pg_catalog.{catalogue} c WHERE {only} AND NOT {temporary} \
             AND ((c.xmin::text::bigint - {oldest}) & 4294967295) < (SELECT width FROM span) \
             AND c.xmin::text::bigint <> ALL ('{{{recent}}}'::bigint[])) AS fresh \
             GROUP BY xid ORDER BY xid DESC LIMIT {TOLD_APART})",
            name = literal(name),
            catalogue = name,
        );
    }
    Ok(sql)
}

fn understand(rows: &[Row]) -> Result<BTreeMap<String, Vec<Committed>>, WitnessError> {
    let what = "what moved in the catalogues";
    let mut new: BTreeMap<String, Vec<Committed>> = BTreeMap::new();
    for row in rows {
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        let catalogue = text(0).ok_or(WitnessError::Answer(what))?.to_owned();
        new.entry(catalogue).or_default().push(Committed {
            xid: number(row.get(1), what)?,
            rows: number(row.get(2), what)?,
            owned: text(3) == Some("t"),
            names: text(4)
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect(),
        });
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn exact(rows: i64, sum: &str, temporary: &str, structure: Option<&str>) -> Exact {
        Exact {
            rows,
            sum: sum.to_owned(),
            temporary: temporary.to_owned(),
            structure: structure.map(str::to_owned),
        }
    }

    #[rstest]
    #[case::nothing(exact(3, "a", "t", Some("s")), 0, None)]
    #[case::temporary(exact(3, "a", "u", Some("s")), 0, Some((CatalogueClass::Temporary, 0)))]
    #[case::files(exact(3, "b", "t", Some("s")), 1, Some((CatalogueClass::FileOnly, 1)))]
    #[case::rewritten(exact(3, "b", "t", Some("r")), 0, Some((CatalogueClass::FileOnly, 0)))]
    #[case::created(exact(4, "b", "t", Some("r")), 1, Some((CatalogueClass::Real, 0)))]
    #[case::dropped(exact(2, "b", "t", Some("r")), 0, Some((CatalogueClass::Real, 1)))]
    #[case::replaced(exact(3, "b", "t", Some("r")), 1, Some((CatalogueClass::Real, 1)))]
    #[case::both(exact(4, "b", "u", Some("r")), 1, Some((CatalogueClass::Real, 0)))]
    fn a_move_has_a_class_and_a_number_of_rows_that_are_gone(
        #[case] is: Exact,
        #[case] came: i64,
        #[case] expected: Option<(CatalogueClass, i64)>,
    ) {
        let was = exact(3, "a", "t", Some("s"));
        let new = (came > 0).then(|| Committed {
            xid: 9,
            rows: came,
            owned: false,
            names: vec![],
        });
        let moved = classify("pg_class", &was, &is, new.into_iter().collect());
        assert_eq!(moved.map(|moved| (moved.class, moved.gone)), expected);
    }
}
