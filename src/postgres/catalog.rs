//! From a server's catalogue to a [`Snapshot`]: one row for each object, named, without OIDs, with
//! all that defines it and nothing that changes by itself (manual, "System Catalogs").
//!
//! Every query reads under the same settings, whatever the session's own are, and leaves those as
//! they were: the same questions are asked on a connection of our own and inside a rehearsal.

mod environment;
mod extension;
mod grant;
mod kind;
mod relation;
mod routine;
mod search;
mod touched;

pub use touched::Mark;

use super::ask::{Ask, AskError, Row, literal};
use std::collections::BTreeSet;

use crate::schema::{ObjectId, Snapshot};
use kind::Kind;
use touched::Touched;

/// Settings that decide how the server writes a definition.
const PINNED: &[(&str, &str)] = &[
    ("search_path", ""),
    ("quote_all_identifiers", "off"),
    ("extra_float_digits", "3"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("standard_conforming_strings", "on"),
    ("xmloption", "content"),
    ("lc_monetary", "C"),
    ("jit", "off"),
    ("enable_seqscan", "on"),
    ("max_parallel_workers_per_gather", "0"),
];

/// An object that somebody else drops between the list and its definition is an error of these
/// kinds; then all is read again.
const CHANGED_MEANWHILE: &[&str] = &["XX000", "42P01", "42704", "42883", "3F000", "2200F"];
const ATTEMPTS: usize = 3;

/// Reads every object that the role may see.
///
/// Takes AccessShareLock, for the length of the transaction, on relations whose definitions the
/// server writes out (views, partition bounds, indexes).
///
/// # Errors
/// When the server does not answer; also after somebody else's DDL has disturbed three attempts.
pub async fn snapshot(asker: &mut impl Ask, major: u32) -> Result<Snapshot, AskError> {
    assemble(read(asker, &query(major, None)).await?)
}

/// Reads every object, and when that was: for [`since`].
///
/// # Errors
/// As [`snapshot`].
pub async fn marked(asker: &mut impl Ask, major: u32) -> Result<(Snapshot, Mark), AskError> {
    let mark = touched::mark(asker).await?;
    Ok((snapshot(asker, major).await?, mark))
}

/// Reads as [`snapshot`], with the same result, but has the server write out only the definitions
/// that may have changed since `before` was read; the others are taken from there.
///
/// # Errors
/// As [`snapshot`].
pub async fn since(
    asker: &mut impl Ask,
    major: u32,
    before: &Snapshot,
    mark: &Mark,
) -> Result<Snapshot, AskError> {
    if let Some(touched) = touched::since(asker, mark).await?
        && let Some(rows) = complete(read(asker, &query(major, Some(&touched))).await?, before)
    {
        return assemble(rows);
    }
    snapshot(asker, major).await
}

/// Fills in the definitions that were left out; `None` if there is one that was not there before.
fn complete(mut rows: Vec<Row>, before: &Snapshot) -> Option<Vec<Row>> {
    let partial: BTreeSet<&str> = kinds()
        .iter()
        .filter(|kind| kind.has_key())
        .map(|kind| kind.name)
        .collect();
    for row in &mut rows {
        let [Some(kind), Some(identity), body @ None] = row.as_mut_slice() else {
            continue;
        };
        if partial.contains(kind.as_str()) {
            let id = ObjectId {
                kind: kind.clone(),
                identity: identity.clone(),
            };
            *body = Some(before.get(&id)?.to_owned());
        }
    }
    Some(rows)
}

async fn read(asker: &mut impl Ask, sql: &str) -> Result<Vec<Row>, AskError> {
    let mut attempt = 1;
    loop {
        match pinned(asker, sql).await {
            Err(AskError::Server { code, .. })
                if attempt < ATTEMPTS && CHANGED_MEANWHILE.contains(&code.as_str()) =>
            {
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

/// All kinds in one statement, so that they are of one moment.
fn query(major: u32, touched: Option<&Touched>) -> String {
    let parts: Vec<String> = kinds()
        .iter()
        .filter(|kind| kind.exists_in(major))
        .map(|kind| kind.query(major, touched))
        .collect();
    format!(
        "SELECT k, i, b FROM ({}) f(k, i, b)",
        parts.join(" UNION ALL ")
    )
}

fn kinds() -> Vec<Kind> {
    [
        relation::kinds(),
        routine::kinds(),
        search::kinds(),
        extension::kinds(),
        grant::kinds(),
        environment::kinds(),
    ]
    .concat()
}

/// Asks under the pinned settings and puts the session's own back. On a connection of our own the
/// pinned ones end with the statement string's implicit transaction; inside a rehearsal they would
/// last to its end.
async fn pinned(asker: &mut impl Ask, sql: &str) -> Result<Vec<Row>, AskError> {
    let current: Vec<String> = PINNED
        .iter()
        .map(|(name, _)| format!("current_setting('{name}')"))
        .collect();
    let own = asker
        .ask(&format!("SELECT {}", current.join(", ")))
        .await?
        .into_iter()
        .next()
        .ok_or(AskError::Shape("the session's settings"))?;
    let pin = set(PINNED
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned())));
    let answer = asker.ask(&format!("{pin}; {sql}")).await;
    let restore = set(PINNED
        .iter()
        .zip(own)
        .map(|((name, _), value)| (*name, value.unwrap_or_default())));
    if !matches!(answer, Err(AskError::Lost(_))) {
        asker.ask(&restore).await?;
    }
    // The row of the pinning statement has one column.
    Ok(answer?.into_iter().filter(|row| row.len() == 3).collect())
}

fn set<'a>(settings: impl Iterator<Item = (&'a str, String)>) -> String {
    let calls: Vec<String> = settings
        .map(|(name, value)| format!("set_config('{name}', {}, true)", literal(&value)))
        .collect();
    format!("SELECT pg_catalog.concat({})", calls.join(", "))
}

/// Two objects may bear the same name in the server's own words (triggers of one constraint); they
/// are counted, in order of their definitions.
fn assemble(rows: Vec<Row>) -> Result<Snapshot, AskError> {
    let mut objects = Vec::with_capacity(rows.len());
    for row in rows {
        let mut row = row.into_iter();
        let (Some(kind), Some(identity)) = (row.next().flatten(), row.next().flatten()) else {
            return Err(AskError::Shape("the catalogue"));
        };
        objects.push((kind, identity, row.next().flatten().unwrap_or_default()));
    }
    objects.sort_unstable();
    let mut snapshot = Snapshot::default();
    let mut previous: Option<(String, String)> = None;
    let mut count = 1;
    for (kind, identity, body) in objects {
        let name = (kind, identity);
        count = if previous.as_ref() == Some(&name) {
            count + 1
        } else {
            1
        };
        let identity = if count == 1 {
            name.1.clone()
        } else {
            format!("{} ({count})", name.1)
        };
        snapshot.insert(
            ObjectId {
                kind: name.0.clone(),
                identity,
            },
            body,
        );
        previous = Some(name);
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_major_reads_the_kinds_that_it_has() {
        let names = |major| -> Vec<&str> {
            let mut names: Vec<_> = kinds()
                .iter()
                .filter(|kind| kind.exists_in(major))
                .map(|kind| kind.name)
                .collect();
            names.dedup();
            names
        };
        assert_eq!(names(13).len() + 2, names(18).len());
        assert!(!names(14).contains(&"parameter_acl") && names(15).contains(&"parameter_acl"));
        assert!(
            query(16, None).contains("colliculocale") && !query(17, None).contains("colliculocale")
        );
    }

    #[test]
    fn every_kind_belongs_to_a_scope_that_is_known() {
        for kind in kinds() {
            let environment = environment::kinds()
                .iter()
                .any(|other| other.name == kind.name);
            let scope = crate::schema::Scope::of(kind.name);
            assert_eq!(
                scope == crate::schema::Scope::Environment,
                environment,
                "{}",
                kind.name
            );
        }
    }

    #[test]
    fn objects_of_the_same_name_are_counted_in_order_of_their_definitions() {
        let row = |body: &str| {
            ["ri_trigger", "t c", body]
                .map(|text| Some(text.to_owned()))
                .to_vec()
        };
        let one = assemble(vec![row("b"), row("a")]).unwrap();
        assert_eq!(one, assemble(vec![row("a"), row("b")]).unwrap());
        assert_eq!(one.len(), 2);
    }
}
