//! Alembic's version tables in the database, and what was written into them.

use std::collections::BTreeMap;

use super::history::Revision;
use crate::report::{Statement, revision};
use crate::schema::VersionTable;

/// The version tables that are about the revisions at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tables {
    /// All of Alembic's, by qualified name.
    pub(super) all: Vec<String>,
    /// Those of this run: the ones that it changed; when it changed none, those whose revisions the
    /// code has; else the only one.
    pub(super) used: Vec<String>,
    /// What they held before.
    pub(super) before: Vec<String>,
    /// What they held after; `None` when the run did not come so far.
    pub(super) after: Option<Vec<String>>,
}

impl Tables {
    pub(super) fn of(
        before: &BTreeMap<String, VersionTable>,
        after: Option<&BTreeMap<String, VersionTable>>,
        unlocated: bool,
        known: impl Fn(&str) -> bool,
    ) -> Self {
        let old = alembics(before);
        let new = after.map(alembics);
        let mut all: Vec<String> = old.keys().cloned().collect();
        all.extend(new.iter().flat_map(|new| new.keys().cloned()));
        all.sort_unstable();
        all.dedup();
        let changed: Vec<String> = all
            .iter()
            .filter(|name| {
                new.as_ref()
                    .is_some_and(|new| new.get(*name) != old.get(*name))
            })
            .cloned()
            .collect();
        let fitting = || -> Vec<String> {
            old.iter()
                .filter(|(_, rows)| !rows.is_empty() && rows.iter().all(|row| known(row)))
                .map(|(name, _)| name.clone())
                .collect()
        };
        let used = if changed.is_empty() {
            match (fitting(), all.as_slice()) {
                // A table that fits nothing here may be another application's.
                (fitting, [only]) if fitting.is_empty() && (unlocated || new.is_some()) => {
                    vec![only.clone()]
                }
                (fitting, _) => fitting,
            }
        } else {
            changed
        };
        let rows = |from: &BTreeMap<String, Vec<String>>| -> Vec<String> {
            let mut rows: Vec<String> = used
                .iter()
                .filter_map(|name| from.get(name))
                .flatten()
                .cloned()
                .collect();
            rows.sort_unstable();
            rows.dedup();
            rows
        };
        Self {
            before: rows(&old),
            after: new.as_ref().map(rows),
            used,
            all,
        }
    }
}

/// Alembic's tables with their rows. Rows of other tools are no single texts, or their tables have
/// names of their own.
fn alembics(tables: &BTreeMap<String, VersionTable>) -> BTreeMap<String, Vec<String>> {
    tables
        .iter()
        .filter(|(_, table)| table.alembic)
        .filter_map(|(name, table)| {
            let rows: Option<Vec<String>> = table
                .rows
                .as_ref()?
                .iter()
                .map(|row| {
                    serde_json::from_str::<[String; 1]>(row)
                        .ok()
                        .map(|[revision]| revision)
                })
                .collect();
            Some((name.clone(), rows?))
        })
        .collect()
}

/// How long each revision's statements took, in the same order; empty when they cannot be told
/// apart. `tables` are the version tables of this run.
pub(super) fn durations(
    pending: &[&Revision],
    statements: &[Statement],
    tables: &[String],
) -> Vec<u64> {
    let in_line = pending.windows(2).all(|pair| match pair {
        [first, second] => second.parents.contains(&first.id),
        _ => true,
    });
    let ranges = revision::boundaries(statements, tables);
    if !in_line || ranges.len() != pending.len() {
        return Vec::new();
    }
    ranges
        .into_iter()
        .map(|range| revision::spent(statements.get(range).unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StatementOutcome;

    fn revision(id: &str, parents: &[&str]) -> Revision {
        Revision {
            id: id.to_owned(),
            parents: parents.iter().map(|it| (*it).to_owned()).collect(),
            ..Revision::default()
        }
    }

    #[test]
    fn revisions_side_by_side_are_not_told_apart() {
        let (one, two, next) = (
            revision("b", &["a"]),
            revision("c", &["a"]),
            revision("c", &["b"]),
        );
        let ran: Vec<Statement> = [
            "UPDATE alembic_version SET x",
            "INSERT INTO alembic_version",
        ]
        .iter()
        .map(|text| Statement {
            text: (*text).to_owned(),
            client: 1,
            revision: None,
            violation: None,
            sent: None,
            whole: true,
            transaction: Some(1),
            micros: 7,
            outcome: StatementOutcome::Done { tag: String::new() },
        })
        .collect();
        assert!(durations(&[&one, &two], &ran, &[]).is_empty());
        assert_eq!(durations(&[&one, &next], &ran, &[]), [7, 7]);
    }
}
