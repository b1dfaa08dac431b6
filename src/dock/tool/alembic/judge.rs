//! What Alembic's revisions and the database's version tables say together.

use std::collections::BTreeMap;

use super::history::{Revision, Revisions};
use super::trouble::Trouble;
use super::versions::{self, Tables};
use crate::report::{self, Finding, Severity, Statement};
use crate::schema::VersionTable;

/// What `alembic history --verbose` left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its exit code; `None` when it did not end by itself.
    pub code: Option<i32>,
    /// What it wrote, both streams.
    pub output: String,
}

/// What is known about the database.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The version tables before the upgrade.
    pub before: &'a BTreeMap<String, VersionTable>,
    /// The same after it; `None` when it did not come so far.
    pub after: Option<&'a BTreeMap<String, VersionTable>>,
    /// What the upgrade executed.
    pub statements: &'a [Statement],
    /// Alembic said that no file has the database's revision.
    pub unlocated: bool,
}

/// Lists longer than this end in a number.
const SHOWN: usize = 5;

/// Judges. `target` is what the upgrade upgrades to; `seen` is `None` without a database; `file`
/// knows which file calls itself by an identifier.
#[must_use]
pub fn judge(
    heard: &Heard,
    target: Option<&str>,
    seen: Option<Seen<'_>>,
    file: impl Fn(&str) -> Option<String>,
) -> (report::Revisions, Vec<Finding>) {
    let succeeded = heard.code == Some(0);
    let mut findings: Vec<Finding> = Trouble::all(&heard.output, succeeded)
        .iter()
        .map(|trouble| trouble.finding(&file))
        .collect();
    if !succeeded {
        let reason = findings.first().map_or_else(
            || {
                format!(
                    "`alembic history` did not end well: {}",
                    last(&heard.output)
                )
            },
            |finding| finding.message.clone(),
        );
        return (report::Revisions::not_looked_at(reason), findings);
    }
    let revisions = Revisions::parse(&heard.output);
    let mut section = report::Revisions {
        known: revisions.all().len() as u64,
        heads: revisions.heads().map(line).collect(),
        ..report::Revisions::default()
    };
    findings.extend(none(&revisions));
    findings.extend(heads(&revisions, target));
    findings.extend(bases(&revisions));
    if let Some(seen) = seen {
        findings.extend(standing(&revisions, target, seen, &mut section));
    }
    (section, findings)
}

fn line(revision: &Revision) -> report::Revision {
    report::Revision {
        revision: revision.id.clone(),
        message: revision.message.clone(),
        micros: None,
    }
}

/// A history without any revision: the files are elsewhere, or were left out of the image.
fn none(revisions: &Revisions) -> Option<Finding> {
    revisions.all().is_empty().then(|| Finding {
        code: "NoRevisions".to_owned(),
        severity: Severity::Error,
        message:
            "Alembic finds no revision at all: are the files there, and do script_location and \
                  version_locations lead to them?"
                .to_owned(),
        statement: None,
    })
}

/// Several heads that the target does not choose among.
fn heads(revisions: &Revisions, target: Option<&str>) -> Option<Finding> {
    let label = match target {
        Some("heads") => None,
        Some(target) => match target.split_once('@') {
            Some((label, "head")) => Some(label),
            None if target == "head" => None,
            _ => return None,
        },
        None => None,
    };
    let heads: Vec<&Revision> = revisions
        .heads()
        .filter(|head| label.is_none_or(|label| head.labels.iter().any(|it| it == label)))
        .collect();
    if heads.len() < 2 {
        return None;
    }
    let intended = target == Some("heads");
    let named = described(&heads);
    Some(Finding {
        code: "MultipleHeads".to_owned(),
        severity: if intended {
            Severity::Info
        } else {
            Severity::Error
        },
        message: if intended {
            format!(
                "{} revisions are heads, all of them the target: {named}",
                heads.len()
            )
        } else {
            format!(
                "{} revisions are heads where one is wanted: {named}. Join them with `alembic merge \
                 heads`, give the later one the other as down_revision, or upgrade to `heads`",
                heads.len()
            )
        },
        statement: None,
    })
}

/// Several beginnings without a label: usually a `down_revision` that was forgotten.
fn bases(revisions: &Revisions) -> Option<Finding> {
    let bases: Vec<&Revision> = revisions.bases().collect();
    if bases.len() < 2 {
        return None;
    }
    let labelled = bases.iter().all(|base| !base.labels.is_empty());
    Some(Finding {
        code: "SeveralBases".to_owned(),
        severity: if labelled {
            Severity::Info
        } else {
            Severity::Warning
        },
        message: format!(
            "{} revisions follow no other: {}{}",
            bases.len(),
            described(&bases),
            if labelled {
                ""
            } else {
                ". Is a down_revision missing? Independent branches have a label (branch_labels)"
            }
        ),
        statement: None,
    })
}

/// Where the database stands among the revisions, and what is pending.
fn standing(
    revisions: &Revisions,
    target: Option<&str>,
    seen: Seen<'_>,
    section: &mut report::Revisions,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = |id: &str| revisions.get(id).is_some();
    let tables = Tables::of(seen.before, seen.after, seen.unlocated, known);
    section.tables = tables.used.clone();
    section.current = tables.before.clone();
    let unknown: Vec<&str> = tables
        .before
        .iter()
        .map(String::as_str)
        .filter(|id| revisions.get(id).is_none())
        .collect();
    if !unknown.is_empty() {
        findings.push(Finding {
            code: "UnknownRevision".to_owned(),
            severity: Severity::Error,
            message: format!(
                "the database is at revision {}, by {}, and no file here has it: this code is older \
                 than the database, or the file was deleted or given another identifier",
                listed(&unknown),
                tables.used.join(", ")
            ),
            statement: None,
        });
    }
    if tables.all.len() > 1 {
        let all: Vec<&str> = tables.all.iter().map(String::as_str).collect();
        findings.push(Finding {
            code: "SeveralVersionTables".to_owned(),
            severity: Severity::Info,
            message: format!(
                "the database has {} of Alembic's version tables: {}; {}",
                all.len(),
                listed(&all),
                match tables.used.as_slice() {
                    [] => "none of them is about these revisions".to_owned(),
                    used => format!("this run's: {}", used.join(", ")),
                }
            ),
            statement: None,
        });
    }
    let arrives: Option<Vec<&str>> = match &tables.after {
        Some(after) => Some(after.iter().map(String::as_str).collect()),
        None => target
            .and_then(|target| revisions.arrives_at(target))
            .map(|found| found.iter().map(|it| it.id.as_str()).collect()),
    };
    // From a place that is not known it is not known what is left.
    let Some(arrives) = arrives.filter(|_| unknown.is_empty()) else {
        return findings;
    };
    let applied = revisions.with_ancestors(tables.before.iter().map(String::as_str));
    let wanted = revisions.with_ancestors(arrives.into_iter());
    let pending: Vec<&Revision> = revisions
        .all()
        .iter()
        .rev()
        .filter(|it| wanted.contains(it.id.as_str()) && !applied.contains(it.id.as_str()))
        .collect();
    section.pending = pending.iter().map(|it| line(it)).collect();
    if tables.after.is_some() && tables.used.len() == 1 {
        let spent = versions::durations(&pending, seen.statements, &tables.used);
        for (line, micros) in section.pending.iter_mut().zip(spent) {
            line.micros = Some(micros);
        }
    }
    findings
}

fn described(revisions: &[&Revision]) -> String {
    let named: Vec<String> = revisions
        .iter()
        .map(|it| match it.message.as_str() {
            "" => format!("`{}`", it.id),
            message => format!("`{}` ({message})", it.id),
        })
        .collect();
    shortened(&named)
}

fn listed(names: &[&str]) -> String {
    shortened(&names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>())
}

fn shortened(named: &[String]) -> String {
    let mut text = named
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if named.len() > SHOWN {
        text.push_str(&format!(" and {} more", named.len() - SHOWN));
    }
    text
}

fn last(output: &str) -> &str {
    output
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .map_or("it wrote nothing", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StatementOutcome;

    fn history(lines: &[&str]) -> Heard {
        Heard {
            code: Some(0),
            output: lines
                .iter()
                .map(|line| {
                    let mut words = line.split('|');
                    let mut next = || words.next().unwrap_or_default();
                    let (id, parents, labels) = (next(), next(), next());
                    format!(
                        "Rev: {id}\nParent: {parents}\nBranch names: {labels}\nPath: v/{id}.py\n\n    about {}\n\n",
                        id.split(' ').next().unwrap_or_default()
                    )
                })
                .collect(),
        }
    }

    fn tables(rows: &[(&str, &[&str])]) -> BTreeMap<String, VersionTable> {
        rows.iter()
            .map(|(name, rows)| {
                let table = VersionTable {
                    name: (*name).to_owned(),
                    rows: Some(rows.iter().map(|row| format!("[\"{row}\"]")).collect()),
                    alembic: true,
                };
                ((*name).to_owned(), table)
            })
            .collect()
    }

    fn statement(text: &str, micros: u64) -> Statement {
        Statement {
            text: text.to_owned(),
            client: 1,
            revision: None,
            violation: None,
            sent: None,
            whole: true,
            transaction: Some(1),
            micros,
            outcome: StatementOutcome::Done { tag: String::new() },
        }
    }

    fn codes(findings: &[Finding]) -> Vec<(&str, Severity)> {
        findings
            .iter()
            .map(|it| (it.code.as_str(), it.severity))
            .collect()
    }

    fn linear() -> Heard {
        history(&["cc (head)|bb", "bb|aa", "aa|<base>"])
    }

    #[test]
    fn two_heads_are_an_error_for_head_and_no_surprise_for_heads() {
        let heard = history(&["cc (head)|aa", "bb (head)|aa", "aa (branchpoint)|<base>"]);
        let (section, findings) = judge(&heard, Some("head"), None, |_| None);
        assert_eq!(section.heads.len(), 2);
        assert_eq!(codes(&findings), [("MultipleHeads", Severity::Error)]);
        assert!(
            findings[0]
                .message
                .contains("`cc` (about cc), `bb` (about bb)")
        );
        let (_, findings) = judge(&heard, Some("heads"), None, |_| None);
        assert_eq!(codes(&findings), [("MultipleHeads", Severity::Info)]);
        let (_, findings) = judge(&heard, Some("bb"), None, |_| None);
        assert_eq!(codes(&findings), []);
    }

    #[test]
    fn a_label_chooses_among_heads() {
        let heard = history(&[
            "cc (head)|aa|billing",
            "bb (head)|aa",
            "aa (branchpoint)|<base>",
        ]);
        let (_, findings) = judge(&heard, Some("billing@head"), None, |_| None);
        assert_eq!(codes(&findings), []);
    }

    #[test]
    fn several_bases_are_suspicious_without_labels() {
        let heard = history(&["bb (head)|<base>", "aa|<base>"]);
        let (_, findings) = judge(&heard, Some("heads"), None, |_| None);
        assert_eq!(codes(&findings), [("SeveralBases", Severity::Warning)]);
        let heard = history(&["bb (head)|<base>|b", "aa (head)|<base>|a"]);
        let (_, findings) = judge(&heard, Some("heads"), None, |_| None);
        assert_eq!(
            codes(&findings),
            [
                ("MultipleHeads", Severity::Info),
                ("SeveralBases", Severity::Info)
            ]
        );
    }

    #[test]
    fn what_is_pending_comes_in_order_with_messages_and_durations() {
        let before = tables(&[("public.alembic_version", &["aa"])]);
        let after = tables(&[("public.alembic_version", &["cc"])]);
        let statements = [
            statement("SELECT alembic_version.version_num FROM alembic_version", 1),
            statement("ALTER TABLE t ADD c int", 10),
            statement("UPDATE alembic_version SET version_num=?", 2),
            statement("ALTER TABLE t ADD d int", 100),
            statement("CREATE INDEX i ON t (d)", 200),
            statement("UPDATE alembic_version SET version_num=?", 3),
            statement("COMMIT", 4),
        ];
        let seen = Seen {
            before: &before,
            after: Some(&after),
            statements: &statements,
            unlocated: false,
        };
        let (section, findings) = judge(&linear(), Some("head"), Some(seen), |_| None);
        assert_eq!(codes(&findings), []);
        assert_eq!(section.tables, ["public.alembic_version"]);
        assert_eq!(section.current, ["aa"]);
        let pending: Vec<_> = section
            .pending
            .iter()
            .map(|it| (it.revision.as_str(), it.message.as_str(), it.micros))
            .collect();
        assert_eq!(
            pending,
            [("bb", "about bb", Some(12)), ("cc", "about cc", Some(307))]
        );
    }

    /// What is known of an upgrade that failed before its first statement.
    fn failed(before: &BTreeMap<String, VersionTable>, unlocated: bool) -> Seen<'_> {
        Seen {
            before,
            after: None,
            statements: &[],
            unlocated,
        }
    }

    #[test]
    fn after_a_failure_the_target_says_what_was_pending() {
        let before = tables(&[("public.alembic_version", &["bb"])]);
        let seen = failed(&before, false);
        let (section, _) = judge(&linear(), Some("head"), Some(seen), |_| None);
        assert_eq!(section.pending.len(), 1);
        assert_eq!(section.pending[0].revision, "cc");
        let (section, _) = judge(&linear(), Some("+1"), Some(seen), |_| None);
        assert_eq!(section.pending, []);
    }

    #[test]
    fn the_only_version_table_may_be_another_applications() {
        let before = tables(&[("billing.alembic_version", &["b9"])]);
        let seen = failed(&before, false);
        let (section, findings) = judge(&linear(), Some("head"), Some(seen), |_| None);
        assert_eq!(codes(&findings), []);
        assert_eq!(section.pending.len(), 3, "none of ours was applied");
    }

    #[test]
    fn a_revision_that_the_code_does_not_have_is_an_error() {
        let before = tables(&[("public.alembic_version", &["zz"])]);
        let seen = failed(&before, true);
        let (section, findings) = judge(&linear(), Some("head"), Some(seen), |_| None);
        assert_eq!(codes(&findings), [("UnknownRevision", Severity::Error)]);
        assert!(
            findings[0]
                .message
                .contains("`zz`, by public.alembic_version")
        );
        assert_eq!(section.pending, []);
    }

    #[test]
    fn another_applications_version_table_is_not_taken_for_this_ones() {
        let before = tables(&[
            ("billing.alembic_version", &["b9"]),
            ("public.versions", &["aa"]),
        ]);
        let seen = failed(&before, false);
        let (section, findings) = judge(&linear(), Some("head"), Some(seen), |_| None);
        assert_eq!(codes(&findings), [("SeveralVersionTables", Severity::Info)]);
        assert_eq!(section.tables, ["public.versions"]);
        assert_eq!(section.pending.len(), 2);
    }

    #[test]
    fn a_history_that_cannot_be_read_says_why() {
        let heard = Heard {
            code: Some(255),
            output: "  FAILED: No 'script_location' key found in configuration.\n".into(),
        };
        let (section, findings) = judge(&heard, Some("head"), None, |_| None);
        assert_eq!(codes(&findings), [("RevisionsRefused", Severity::Error)]);
        assert!(section.not_looked_at.is_some());
    }
}
