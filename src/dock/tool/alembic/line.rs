//! The pending revisions one by one, where each follows the one before it.

use super::history::Revisions;
use crate::report;

/// A pending revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its identifier.
    pub id: String,
    /// The first paragraph of its file, on one line.
    pub message: String,
    /// What a downgrade of it leads to: the revision that it follows, or `base`.
    pub below: String,
}

/// The pending revisions of `section` in order. `output` is what `alembic history --verbose` wrote.
///
/// # Errors
/// Says why there is no such order: they branch, or where the database stands is not one revision.
pub fn in_line(output: &str, section: &report::Revisions) -> Result<Vec<Pending>, String> {
    if let Some(reason) = &section.not_looked_at {
        return Err(reason.clone());
    }
    if section.tables.len() > 1 {
        return Err(format!(
            "the database has several version tables of these revisions ({})",
            section.tables.join(", ")
        ));
    }
    let mut below = match section.current.as_slice() {
        [] => None,
        [one] => Some(one.as_str()),
        several => {
            return Err(format!(
                "the database stands on several revisions ({})",
                several.join(", ")
            ));
        }
    };
    if section.pending.is_empty() {
        return Err("no revision is pending".to_owned());
    }
    let revisions = Revisions::parse(output);
    let mut line = Vec::new();
    for pending in &section.pending {
        let id = pending.revision.as_str();
        let Some(revision) = revisions.get(id) else {
            return Err(format!("revision `{id}` is not in Alembic's history"));
        };
        if let [first, .., last] = revision.parents.as_slice() {
            return Err(format!(
                "revision `{id}` joins branches (`{first}`, `{last}`), and the way back from it \
                 is not one"
            ));
        }
        if !revision.depends_on.is_empty() {
            return Err(format!(
                "revision `{id}` depends on another branch ({})",
                revision.depends_on.join(", ")
            ));
        }
        let parent = revision.parents.first().map(String::as_str);
        if parent != below {
            return Err(format!(
                "the pending revisions branch: `{id}` follows {}, not {}",
                named(parent),
                named(below)
            ));
        }
        line.push(Pending {
            id: id.to_owned(),
            message: pending.message.clone(),
            below: below.unwrap_or("base").to_owned(),
        });
        below = Some(id);
    }
    Ok(line)
}

fn named(revision: Option<&str>) -> String {
    revision.map_or_else(|| "no revision".to_owned(), |id| format!("`{id}`"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HISTORY: &str = "\
Rev: dd (head) (mergepoint)
Merges: bb, cc

Rev: cc
Parent: aa

Rev: bb
Parent: aa

Rev: ee
Parent: bb
Also depends on: cc

Rev: aa (branchpoint)
Parent: <base>
";

    fn section(current: &[&str], pending: &[&str]) -> report::Revisions {
        report::Revisions {
            current: current.iter().map(|&id| id.to_owned()).collect(),
            pending: pending
                .iter()
                .map(|&id| report::Revision {
                    revision: id.to_owned(),
                    message: format!("about {id}"),
                    micros: None,
                })
                .collect(),
            ..report::Revisions::default()
        }
    }

    #[rstest]
    #[case(&[], &["aa", "bb"], &["base", "aa"])]
    #[case(&["aa"], &["cc"], &["aa"])]
    fn each_revision_follows_the_one_before_it(
        #[case] current: &[&str],
        #[case] pending: &[&str],
        #[case] below: &[&str],
    ) {
        let line = in_line(HISTORY, &section(current, pending)).unwrap();
        let found: Vec<_> = line.iter().map(|it| it.below.as_str()).collect();
        assert_eq!(found, below);
        assert_eq!(line[0].message, format!("about {}", pending[0]));
    }

    #[rstest]
    #[case::branches(&[], &["aa", "bb", "cc"], "`cc` follows `aa`, not `bb`")]
    #[case::a_merge(&["bb"], &["dd"], "`dd` joins branches (`bb`, `cc`)")]
    #[case::a_dependency(&["bb"], &["ee"], "`ee` depends on another branch (cc)")]
    #[case::several_places(&["bb", "cc"], &["dd"], "several revisions (bb, cc)")]
    #[case::nothing(&["aa"], &[], "no revision is pending")]
    #[case::from_elsewhere(&["cc"], &["bb"], "`bb` follows `aa`, not `cc`")]
    fn why_there_is_no_line_is_said(
        #[case] current: &[&str],
        #[case] pending: &[&str],
        #[case] why: &str,
    ) {
        let reason = in_line(HISTORY, &section(current, pending)).unwrap_err();
        assert!(reason.contains(why), "{reason}");
    }

    #[test]
    fn several_version_tables_and_an_unknown_history_are_no_line() {
        let two = report::Revisions {
            tables: vec!["a.v".to_owned(), "b.v".to_owned()],
            ..section(&[], &["aa"])
        };
        assert!(in_line(HISTORY, &two).unwrap_err().contains("a.v, b.v"));
        let unknown = report::Revisions::not_looked_at("why");
        assert_eq!(in_line(HISTORY, &unknown), Err("why".to_owned()));
    }
}
