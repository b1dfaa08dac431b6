//! Rows of the user's own, put into the rehearsal before anybody is let in.

use std::time::Instant;

use super::before::Before;
use super::record::Said;
use super::rehearse::Stage;
use super::trouble::asking;
use crate::postgres::wait::LOCK_NOT_AVAILABLE;
use crate::rehearsal::proxy::{Asker, NotExamined};
use crate::report::{Fixture, FixtureOutcome, Prediction, ServerError};
use crate::verdict::{Budget, Environment, Verdict};

/// Objects beyond it are counted, not named.
const NAMED: usize = 3;

impl Stage<'_> {
    /// Puts the fixtures in, one after the other; the first that is not in ends it.
    pub(super) async fn insert_fixtures(
        &self,
        before: &Before,
        asker: &mut Asker,
        done: &mut Vec<Fixture>,
    ) -> Result<(), Said> {
        for spec in &self.plan.fixtures {
            let began = Instant::now();
            let answer = asker
                .insert(spec.sql.clone())
                .await
                .map_err(|error| asking("put a fixture in", &error))?;
            let outcome = match answer {
                Ok(()) => {
                    let foreseen = before.foresee(asker).await?;
                    match beyond_rows(&before.predict(foreseen)?) {
                        None => FixtureOutcome::Inserted,
                        Some(reason) => FixtureOutcome::Refused { reason },
                    }
                }
                Err(NotExamined::Refused(reason)) => FixtureOutcome::Refused { reason },
                Err(NotExamined::Server(error)) => FixtureOutcome::Error(error),
            };
            let fixture = Fixture {
                name: spec.name.clone(),
                outcome,
                micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            };
            let failed = failed(&fixture);
            done.push(fixture);
            if let Some(said) = failed {
                return Err(said);
            }
        }
        Ok(())
    }
}

/// What a fixture changed besides rows: with that in it, the prediction would not be the upgrade's.
fn beyond_rows(seen: &Prediction) -> Option<String> {
    let moved = seen
        .predicted
        .versions
        .iter()
        .find(|(name, table)| seen.before.versions.get(*name) != Some(table));
    if let Some((name, _)) = moved {
        return Some(format!(
            "it writes into {name}, which says what is applied; put the migration's own beginning \
             there with the migration's tool"
        ));
    }
    let mut found: Vec<String> = seen
        .difference
        .iter()
        .map(|(id, _)| format!("{} {}", id.kind, id.identity))
        .collect();
    if found.is_empty() {
        return None;
    }
    if found.len() > NAMED {
        let more = format!("{} more", found.len() - NAMED);
        found.truncate(NAMED);
        found.push(more);
    }
    Some(format!(
        "it changes the schema ({}), and a fixture may only change rows",
        found.join(", ")
    ))
}

/// What a fixture that is not in says of the run.
fn failed(fixture: &Fixture) -> Option<Said> {
    let verdict = match &fixture.outcome {
        FixtureOutcome::Inserted => return None,
        FixtureOutcome::Error(error) if error.code == LOCK_NOT_AVAILABLE => {
            Verdict::BudgetExceeded(Budget::LockWait)
        }
        FixtureOutcome::Error(_) | FixtureOutcome::Refused { .. } => {
            Verdict::Environment(Environment::FixtureFailed)
        }
    };
    let place = match &fixture.outcome {
        FixtureOutcome::Error(error) => place(error),
        _ => String::new(),
    };
    Some(Said::new(
        verdict,
        format!(
            "the fixture {} {}{place}; the command was not started",
            fixture.name,
            fixture.words()
        ),
    ))
}

/// Where an error is, as far as the message does not name it already.
fn place(error: &ServerError) -> String {
    match &error.table {
        Some(table) if !error.message.contains(table.as_str()) => format!(" (table {table})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::schema::{Difference, Fingerprint, ObjectId, Snapshot, State, VersionTable};

    fn seen(version: &str, objects: &[&str]) -> Prediction {
        let table = |version: &str| VersionTable {
            name: "public.alembic_version".into(),
            rows: Some(vec![version.into()]),
            alembic: true,
        };
        let state = |version: &str| State {
            fingerprint: Fingerprint::of(&Snapshot::default()),
            versions: BTreeMap::from([("public.alembic_version".to_owned(), table(version))]),
        };
        let after: Snapshot = objects
            .iter()
            .map(|name| {
                let id = ObjectId {
                    kind: "relation".into(),
                    identity: (*name).into(),
                };
                (id, String::new())
            })
            .collect();
        Prediction {
            before: state("a"),
            predicted: state(version),
            difference: Difference::between(&Snapshot::default(), &after),
            during: None,
            pieces: Some(1),
        }
    }

    #[test]
    fn a_fixture_may_change_rows_and_nothing_else() {
        assert_eq!(beyond_rows(&seen("a", &[])), None);
        let found = beyond_rows(&seen("b", &[])).unwrap();
        assert!(found.starts_with("it writes into public.alembic_version"));
        let found = beyond_rows(&seen("a", &["t1", "t2", "t3", "t4"])).unwrap();
        assert!(found.contains("relation t3, 1 more"), "{found}");
    }

    #[test]
    fn a_fixture_that_waited_for_a_lock_has_not_failed() {
        let said = |code: &str| {
            let error = ServerError {
                code: code.into(),
                message: "m".into(),
                table: Some("orders".into()),
                ..ServerError::default()
            };
            failed(&Fixture {
                name: "f".into(),
                outcome: FixtureOutcome::Error(error),
                micros: 1,
            })
            .unwrap()
        };
        assert_eq!(
            said("55P03").verdict,
            Verdict::BudgetExceeded(Budget::LockWait)
        );
        let failed = said("23502");
        assert_eq!(
            failed.verdict,
            Verdict::Environment(Environment::FixtureFailed)
        );
        assert_eq!(
            failed.message,
            "the fixture f failed: ERROR 23502: m (table orders); the command was not started"
        );
    }
}
