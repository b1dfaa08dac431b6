//! The verdict on a real upgrade.

use std::collections::BTreeMap;

use super::words;
use crate::dock::link::{Ended, How};
use crate::dock::moment;
use crate::dock::record::{Said, Upgrade};
use crate::report::Prediction;
use crate::schema::{Change, Difference, ObjectId, Scope, Snapshot, Span, State};
use crate::verdict::{Environment, UpgradeFailure, Verdict};

/// The database after the upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The state when the upgrade began.
    pub before: State,
    /// Its state.
    pub state: State,
    /// What really changed since the upgrade began.
    pub difference: Difference,
    /// Of what it shares with its surroundings, how it is.
    pub environment: Snapshot,
    /// From before the command was started until this was read.
    pub during: Option<Span>,
}

/// Decides. `predicted` is the dry run's evidence, `after` what was read once the command had
/// ended, or why it could not be read.
#[must_use]
pub fn upgrade(record: &Upgrade, predicted: &Prediction, after: Result<&After, &str>) -> Said {
    if let (Some(broken), None) = (&record.broken, &record.ended) {
        return broken.clone();
    }
    let after = match after {
        Ok(after) => after,
        Err(reason) => {
            return Said::new(
                Verdict::UpgradeFailed(UpgradeFailure::Unknown),
                format!(
                    "the database could not be read after the upgrade: {reason}; it is not known \
                     where the upgrade ended"
                ),
            );
        }
    };
    if record.already_applied {
        return Said::new(
            Verdict::Passed,
            "the database was in the predicted state already; nothing was run",
        );
    }
    match record.ended.as_ref().map(|ended| &ended.how) {
        Some(How::Exited { code: 0 }) => landed(predicted, after),
        Some(How::NotStarted { reason }) => not_started(reason),
        Some(How::Exited { code }) => failed(
            record,
            predicted,
            after,
            &format!(
                "`{}` ended with exit code {code}",
                words(&record.run.command)
            ),
        ),
        Some(How::Signalled { signal }) => failed(
            record,
            predicted,
            after,
            &format!(
                "`{}` was killed by signal {signal}",
                words(&record.run.command)
            ),
        ),
        Some(How::Stopped) => failed(
            record,
            predicted,
            after,
            &format!("`{}` was stopped", words(&record.run.command)),
        ),
        Some(How::Lost) | None => failed(
            record,
            predicted,
            after,
            &format!("it is not known how `{}` ended", words(&record.run.command)),
        ),
    }
}

/// Decides where what an upgrade is compared with is missing: then only a command that was not
/// started is known to have done nothing.
#[must_use]
pub fn unjudged(record: &Upgrade, reason: &str) -> Said {
    match (&record.ended, &record.broken) {
        (None, Some(broken)) => broken.clone(),
        (None, None) if record.already_applied => Said::new(
            Verdict::Environment(Environment::Storage),
            format!("{reason}; nothing was run"),
        ),
        (
            Some(Ended {
                how: How::NotStarted { reason },
                ..
            }),
            _,
        ) => not_started(reason),
        _ => Said::new(
            Verdict::UpgradeFailed(UpgradeFailure::Unknown),
            format!("{reason}; it is not known where the upgrade ended"),
        ),
    }
}

fn not_started(reason: &str) -> Said {
    Said::new(
        Verdict::Environment(Environment::CommandNotStarted),
        format!("{reason} (the upgrade was not started)"),
    )
}

fn landed(predicted: &Prediction, after: &After) -> Said {
    let unlike = unlike(predicted, after);
    if unlike.is_empty() {
        return Said::new(
            Verdict::Passed,
            if differs_in_times(predicted, after) {
                "the database is in the state that was rehearsed, but for the time at which \
                 statements ran, which is part of what they defined"
            } else {
                "the database is exactly in the state that was rehearsed"
            },
        );
    }
    Said::new(
        Verdict::UpgradeDiverged,
        format!(
            "the upgrade succeeded, but landed on another state than the rehearsal predicted: {}",
            some(&unlike)
        ),
    )
}

/// However the command ended, it may have committed some of its work before.
fn failed(record: &Upgrade, predicted: &Prediction, after: &After, what: &str) -> Said {
    let same_states = predicted.before == predicted.predicted;
    let as_predicted = !same_states && unlike(predicted, after).is_empty();
    let (failure, consequence) = if same_states && !record.remembers {
        (
            UpgradeFailure::Unknown,
            "the migration changes data only and no version table says whether it was committed; \
             a person has to look before it is retried",
        )
    } else if !predicted.tells_pieces(record.remembers)
        && (as_predicted || after.state == predicted.before)
    {
        (
            UpgradeFailure::Unknown,
            if as_predicted {
                "the schema is as it was rehearsed, but the command commits in several pieces, and no \
                 version table says which of them are missing; a person has to look before it is \
                 retried"
            } else {
                "the schema is as it was before, but the command commits in several pieces, and no \
                 version table says which of them are there; a person has to look before it is retried"
            },
        )
    } else if as_predicted {
        (
            UpgradeFailure::AllApplied,
            "the database is nevertheless exactly in the state that was rehearsed",
        )
    } else if after.state == predicted.before {
        (
            UpgradeFailure::NothingApplied,
            "the database is exactly as it was before",
        )
    } else {
        (
            UpgradeFailure::Partial,
            "the database is neither as before nor as rehearsed: some of it was applied",
        )
    };
    Said::new(
        Verdict::UpgradeFailed(failure),
        format!("{what}; {consequence}"),
    )
}

/// Everything in which what happened is not what was predicted, by object.
///
/// The schema binds by its changes. What a database shares with its surroundings is changed by
/// others at any time (a role with rotated credentials): it binds only where the migration changes
/// it, and there only by how it is in the end.
fn unlike(predicted: &Prediction, after: &After) -> Vec<String> {
    let mut found = Vec::new();
    let expected: BTreeMap<_, _> = predicted.difference.iter().collect();
    let happened: BTreeMap<_, _> = after.difference.iter().collect();
    for (id, change) in &expected {
        if is_environment(id) && after.environment.get(id) == end(change) {
            continue;
        }
        match happened.get(id) {
            None => found.push(format!(
                "{} {} was predicted to be {} and was not",
                id.kind,
                id.identity,
                participle(change)
            )),
            Some(other)
                if *other != *change
                    && !moment::same(change, predicted.during, other, after.during) =>
            {
                found.push(format!(
                    "{} {} was {} otherwise than predicted",
                    id.kind,
                    id.identity,
                    participle(other)
                ))
            }
            Some(_) => {}
        }
    }
    for (id, change) in &happened {
        if !expected.contains_key(id) && !is_environment(id) {
            found.push(format!(
                "{} {} was {}, which nobody predicted",
                id.kind,
                id.identity,
                participle(change)
            ));
        }
    }
    for (name, table) in &predicted.predicted.versions {
        let is = after.state.versions.get(name);
        if is.map(|is| &is.rows) != Some(&table.rows) {
            let shown = |rows: Option<&Vec<String>>| {
                rows.map_or_else(|| "no table".to_owned(), |rows| rows.join(", "))
            };
            found.push(format!(
                "{name} holds {} instead of {}",
                shown(is.and_then(|is| is.rows.as_ref())),
                shown(table.rows.as_ref())
            ));
        }
    }
    found
}

fn differs_in_times(predicted: &Prediction, after: &After) -> bool {
    let happened: BTreeMap<_, _> = after.difference.iter().collect();
    predicted.difference.iter().any(|(id, change)| {
        happened.get(id).is_some_and(|other| {
            *other != change && moment::same(change, predicted.during, other, after.during)
        })
    })
}

fn is_environment(id: &ObjectId) -> bool {
    Scope::of(&id.kind) == Scope::Environment
}

/// The definition that a change ends with; `None` when the object is gone.
fn end(change: &Change) -> Option<&str> {
    match change {
        Change::Added { after } | Change::Altered { after, .. } => Some(after),
        Change::Removed { .. } => None,
    }
}

fn participle(change: &Change) -> &'static str {
    match change {
        Change::Added { .. } => "added",
        Change::Removed { .. } => "removed",
        Change::Altered { .. } => "altered",
    }
}

fn some(found: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = found
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if found.len() > SHOWN {
        text.push_str(&format!("; and {} more", found.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dock::record::Run;
    use crate::report::RunId;
    use crate::schema::{Fingerprint, VersionTable};

    fn snapshot(objects: &[(&str, &str)]) -> Snapshot {
        objects
            .iter()
            .map(|(identity, body)| {
                (
                    ObjectId {
                        kind: "column".into(),
                        identity: (*identity).into(),
                    },
                    (*body).into(),
                )
            })
            .collect()
    }

    fn state(snapshot: &Snapshot, version: &str) -> State {
        State {
            fingerprint: Fingerprint::of(snapshot),
            versions: [(
                "public.alembic_version".to_owned(),
                VersionTable {
                    name: "public.alembic_version".into(),
                    rows: Some(vec![version.into()]),
                    alembic: true,
                },
            )]
            .into(),
        }
    }

    fn prediction() -> Prediction {
        let (before, predicted) = (snapshot(&[]), snapshot(&[("t.note", "1")]));
        Prediction {
            before: state(&before, "a"),
            predicted: state(&predicted, "b"),
            difference: Difference::between(&before, &predicted),
            during: None,
            pieces: Some(1),
        }
    }

    fn after(objects: &[(&str, &str)], version: &str) -> After {
        let now = snapshot(objects);
        After {
            before: state(&snapshot(&[]), "a"),
            state: state(&now, version),
            difference: Difference::between(&snapshot(&[]), &now),
            environment: Snapshot::default(),
            during: None,
        }
    }

    fn record(how: How) -> Upgrade {
        Upgrade {
            run: Run {
                id: RunId("r".into()),
                attempt: 1,
                command: vec!["alembic".into()],
                tool: "alembic".into(),
                started: jiff::Timestamp::UNIX_EPOCH,
            },
            database: None,
            remembers: true,
            bound_to: None,
            ended: Some(Ended {
                how,
                output: String::new(),
                millis: 1,
            }),
            already_applied: false,
            findings: vec![],
            interrupted: false,
            broken: None,
        }
    }

    #[test]
    fn an_upgrade_passes_only_on_the_predicted_state() {
        let record = record(How::Exited { code: 0 });
        let decided = |after: &After| upgrade(&record, &prediction(), Ok(after));
        assert_eq!(
            decided(&after(&[("t.note", "1")], "b")).verdict,
            Verdict::Passed
        );
        for (other, named) in [
            (after(&[("t.note", "2")], "b"), "t.note was added otherwise"),
            (after(&[], "b"), "t.note was predicted to be added"),
            (after(&[("t.note", "1")], "c"), "holds c instead of b"),
            (
                after(&[("t.note", "1"), ("t.x", "1")], "b"),
                "t.x was added, which nobody predicted",
            ),
        ] {
            let said = decided(&other);
            assert_eq!(said.verdict, Verdict::UpgradeDiverged);
            assert!(said.message.contains(named), "{}", said.message);
        }
    }

    /// What a snapshot of these roles and of `t.note`, when it is there, differs in.
    fn with_roles(roles: &[(&str, &str)], note: bool) -> Snapshot {
        let mut all = snapshot(if note { &[("t.note", "1")] } else { &[] });
        for (role, body) in roles {
            all.insert(
                ObjectId {
                    kind: "role".into(),
                    identity: (*role).into(),
                },
                (*body).into(),
            );
        }
        all
    }

    #[test]
    fn what_others_change_in_the_environment_is_no_divergence() {
        let nothing: &[(&str, &str)] = &[];
        let vault: &[(&str, &str)] = &[("vault", "1")];
        let migrators: &[(&str, &str)] = &[("reader", "1")];
        for (before, predicted, then, now, what) in [
            (nothing, nothing, nothing, vault, "while the upgrade ran"),
            (vault, vault, vault, nothing, "gone while it ran"),
            (nothing, nothing, vault, vault, "between the two"),
            (nothing, vault, vault, vault, "while the dry run ran"),
            (
                nothing,
                migrators,
                nothing,
                migrators,
                "the migration's own",
            ),
            (
                nothing,
                migrators,
                migrators,
                migrators,
                "and another's, the same",
            ),
        ] {
            let (before, predicted) = (with_roles(before, false), with_roles(predicted, true));
            let prediction = Prediction {
                before: state(&snapshot(&[]), "a"),
                predicted: state(&snapshot(&[("t.note", "1")]), "b"),
                difference: Difference::between(&before, &predicted),
                during: None,
                pieces: Some(1),
            };
            let (then, now) = (with_roles(then, false), with_roles(now, true));
            let after = After {
                before: state(&snapshot(&[]), "a"),
                state: state(&snapshot(&[("t.note", "1")]), "b"),
                difference: Difference::between(&then, &now),
                environment: now.scoped(Scope::Environment),
                during: None,
            };
            let said = upgrade(&record(How::Exited { code: 0 }), &prediction, Ok(&after));
            assert_eq!(said.verdict, Verdict::Passed, "{what}: {}", said.message);
        }
    }

    #[test]
    fn what_the_migration_changes_in_the_environment_binds_its_upgrade() {
        let predicted = with_roles(&[("reader", "1")], true);
        let prediction = Prediction {
            before: state(&snapshot(&[]), "a"),
            predicted: state(&snapshot(&[("t.note", "1")]), "b"),
            difference: Difference::between(&snapshot(&[]), &predicted),
            during: None,
            pieces: Some(1),
        };
        let none: &[(&str, &str)] = &[];
        for (now, named) in [
            (none, "role reader was predicted to be added and was not"),
            (&[("reader", "2")], "role reader was added otherwise"),
        ] {
            let now = with_roles(now, true);
            let after = After {
                before: state(&snapshot(&[]), "a"),
                state: state(&snapshot(&[("t.note", "1")]), "b"),
                difference: Difference::between(&snapshot(&[]), &now),
                environment: now.scoped(Scope::Environment),
                during: None,
            };
            let said = upgrade(&record(How::Exited { code: 0 }), &prediction, Ok(&after));
            assert_eq!(said.verdict, Verdict::UpgradeDiverged);
            assert!(said.message.contains(named), "{}", said.message);
        }
    }

    #[test]
    fn a_failed_upgrade_says_where_the_database_is() {
        let record = record(How::Exited { code: 1 });
        for (after, failure) in [
            (after(&[], "a"), UpgradeFailure::NothingApplied),
            (after(&[("t.note", "1")], "b"), UpgradeFailure::AllApplied),
            (after(&[("t.note", "1")], "a"), UpgradeFailure::Partial),
        ] {
            assert_eq!(
                upgrade(&record, &prediction(), Ok(&after)).verdict,
                Verdict::UpgradeFailed(failure)
            );
        }
    }

    #[test]
    fn equal_states_never_prove_that_an_interrupted_data_migration_was_applied() {
        let mut data_only = prediction();
        data_only.predicted = data_only.before.clone();
        data_only.difference = Difference::default();
        // A shell hands a signal on as an exit code, and a script may fail behind its first COMMIT.
        for how in [How::Lost, How::Stopped, How::Exited { code: 137 }] {
            let mut record = record(how);
            record.remembers = false;
            assert_eq!(
                upgrade(&record, &data_only, Ok(&after(&[], "a"))).verdict,
                Verdict::UpgradeFailed(UpgradeFailure::Unknown)
            );
            record.remembers = true;
            assert_eq!(
                upgrade(&record, &data_only, Ok(&after(&[], "a"))).verdict,
                Verdict::UpgradeFailed(UpgradeFailure::NothingApplied)
            );
        }
    }

    #[test]
    fn the_schema_never_proves_which_pieces_of_a_script_were_committed() {
        let mut record = record(How::Exited { code: 3 });
        // No version table moves with it.
        let mut whole = prediction();
        whole.predicted.versions = whole.before.versions.clone();
        let scripts = [Some(2), None].map(|pieces| Prediction {
            pieces,
            ..whole.clone()
        });
        for (state, failure) in [
            (after(&[], "a"), UpgradeFailure::NothingApplied),
            (after(&[("t.note", "1")], "a"), UpgradeFailure::AllApplied),
        ] {
            for script in &scripts {
                record.remembers = false;
                assert_eq!(
                    upgrade(&record, script, Ok(&state)).verdict,
                    Verdict::UpgradeFailed(UpgradeFailure::Unknown)
                );
                assert_eq!(
                    upgrade(&record, &whole, Ok(&state)).verdict,
                    Verdict::UpgradeFailed(failure),
                    "in one transaction all of it is there or nothing"
                );
                record.remembers = true;
                assert_eq!(
                    upgrade(&record, script, Ok(&state)).verdict,
                    Verdict::UpgradeFailed(failure)
                );
            }
        }
    }

    #[test]
    fn an_upgrade_that_cannot_be_looked_at_is_unknown() {
        assert_eq!(
            upgrade(
                &record(How::Exited { code: 0 }),
                &prediction(),
                Err("no connection")
            )
            .verdict,
            Verdict::UpgradeFailed(UpgradeFailure::Unknown)
        );
    }
}
