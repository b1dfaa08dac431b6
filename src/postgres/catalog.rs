//! From a server's catalogue to a [`Snapshot`]: one row for each object, named, without OIDs, with
//! all that defines it and nothing that changes by itself (manual, "System Catalogs").
//!
//! Every query reads under the same settings, whatever the session's own are, and leaves those as
//! they were: the same questions are asked on a connection of our own and inside a rehearsal.

mod environment;
mod extension;
mod grant;
mod kind;
mod pinned;
mod relation;
mod routine;
mod search;
mod since;
mod touched;

pub use since::{Later, Mark, since};

use super::ask::{Ask, AskError, Row};

use crate::schema::{ObjectId, Snapshot};
use kind::Kind;
use pinned::Pinned;

/// Reads every object that the role may see.
///
/// Takes AccessShareLock, for the length of the transaction, on relations whose definitions the
/// server writes out (views, partition bounds, indexes).
///
/// # Errors
/// When the server does not answer; also after somebody else's DDL has disturbed three attempts.
pub async fn snapshot(asker: &mut impl Ask, major: u32) -> Result<Snapshot, AskError> {
    Ok(collect(assemble(read(asker, &query(major)).await?)?))
}

/// Reads every object, and what [`since`] needs to read only what has changed.
///
/// # Errors
/// As [`snapshot`].
pub async fn marked(asker: &mut impl Ask, major: u32) -> Result<(Snapshot, Mark), AskError> {
    let objects = assemble(read(asker, &query(major)).await?)?;
    let mark = Mark::new(&objects);
    Ok((collect(objects), mark))
}

async fn read(asker: &mut impl Ask, sql: &str) -> Result<Vec<Row>, AskError> {
    let mut pinned = Pinned::default();
    let answer = pinned.read(asker, sql).await;
    pinned.leave(asker, answer).await
}

/// All kinds in one statement, so that they are of one moment.
fn query(major: u32) -> String {
    let parts: Vec<String> = kinds()
        .iter()
        .filter(|kind| kind.exists_in(major))
        .map(|kind| kind.query(major, None))
        .collect();
    together(&parts)
}

fn together(parts: &[String]) -> String {
    format!(
        "SELECT k, i, b, o FROM ({}) f(k, i, b, o)",
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

/// An object as it was read.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    id: ObjectId,
    body: String,
    /// Catalogue and OID of what it hangs on, if its kind says so.
    key: Option<String>,
}

/// In the order of a snapshot. Two objects may bear the same name in the server's own words
/// (triggers of one constraint); they are counted, in order of their definitions.
fn assemble(rows: Vec<Row>) -> Result<Vec<Object>, AskError> {
    let mut objects = rows
        .into_iter()
        .map(|row| {
            let [Some(kind), Some(identity), body, key] =
                <[_; 4]>::try_from(row).map_err(|_: Row| AskError::Shape("the catalogue"))?
            else {
                return Err(AskError::Shape("the catalogue"));
            };
            let id = ObjectId { kind, identity };
            let body = body.unwrap_or_default();
            Ok(Object { id, body, key })
        })
        .collect::<Result<Vec<_>, _>>()?;
    objects.sort_unstable();
    let mut counted: Vec<(usize, usize)> = Vec::new();
    for (at, pair) in objects.windows(2).enumerate() {
        if let [one, other] = pair
            && one.id == other.id
        {
            let count = match counted.last() {
                Some((place, count)) if *place == at => count + 1,
                _ => 2,
            };
            counted.push((at + 1, count));
        }
    }
    for (at, count) in &counted {
        objects[*at].id.identity.push_str(&format!(" ({count})"));
    }
    if !counted.is_empty() {
        objects.sort_unstable();
    }
    Ok(objects)
}

fn collect(objects: Vec<Object>) -> Snapshot {
    objects
        .into_iter()
        .map(|object| (object.id, object.body))
        .collect()
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
        assert!(query(16).contains("colliculocale") && !query(17).contains("colliculocale"));
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
            let mut row = ["ri_trigger", "t c", body]
                .map(|text| Some(text.to_owned()))
                .to_vec();
            row.push(None);
            row
        };
        let one = assemble(vec![row("b"), row("c"), row("a")]).unwrap();
        assert_eq!(one, assemble(vec![row("a"), row("b"), row("c")]).unwrap());
        let names: Vec<_> = one
            .iter()
            .map(|object| object.id.identity.as_str())
            .collect();
        assert_eq!(names, ["t c", "t c (2)", "t c (3)"]);
    }
}
