//! What a round trip shows.

use crate::dock::rows::{self, Lost, Sums};
use crate::dock::tool::Tool;
use crate::report::{Finding, Prediction, Revisions, Severity, StepName, TripStep};
use crate::schema::{Change, Difference, ObjectId, State};

/// Names in one sentence.
const NAMED: usize = 5;

/// A step that was taken, with the state behind it where it was read.
pub(in crate::dock) struct Walked {
    pub(in crate::dock) step: TripStep,
    pub(in crate::dock) after: Option<Prediction>,
}

/// What was in the tables at three moments.
pub(in crate::dock) struct Compared {
    /// Before the upgrade.
    pub(in crate::dock) before: Sums,
    /// After the downgrade, when it came so far.
    pub(in crate::dock) after: Option<Sums>,
    /// Tables into which the second upgrade wrote.
    pub(in crate::dock) again: Vec<String>,
    /// Tables that are too great for it, or may not be read, or that only the downgrade wrote.
    pub(in crate::dock) not_read: Vec<String>,
    /// Tables into which others wrote meanwhile.
    pub(in crate::dock) unsteady: Vec<String>,
}

impl Compared {
    /// Those whose rows were compared.
    pub(in crate::dock) fn tables(&self) -> Vec<String> {
        let after = self.after.iter().flat_map(Sums::keys);
        after
            .filter(|table| self.before.contains_key(*table) && !self.unsteady.contains(table))
            .cloned()
            .collect()
    }

    /// Those whose rows are not what they were, by the downgrade alone.
    pub(in crate::dock) fn lost(&self) -> Lost {
        let after = self.after.as_ref();
        let mut lost = after.map_or_else(Lost::new, |after| rows::lost(&self.before, after));
        lost.retain(|table, _| !self.unsteady.contains(table));
        lost
    }
}

/// The command that leads back to where the database stands, or why there is none. `revisions` knows
/// which version tables are about the revisions at hand.
pub(in crate::dock) fn way_back(
    tool: &Tool,
    state: &State,
    revisions: Option<&Revisions>,
) -> Result<Vec<String>, String> {
    let alembic = match tool {
        Tool::Generic(generic) if generic.downgrade.is_empty() => {
            return Err("no downgrade is known; name one in command.downgrade".to_owned());
        }
        Tool::Generic(generic) => return Ok(generic.downgrade.clone()),
        Tool::Alembic(alembic) => alembic,
    };
    let stands = match revisions.filter(|known| known.not_looked_at.is_none()) {
        Some(known) => match known.tables.as_slice() {
            [] => {
                return Err(
                    "no version table is about these revisions, so it is not known where a \
                     downgrade must lead"
                        .to_owned(),
                );
            }
            [_] => known.current.clone(),
            several => return Err(ambiguous(several)),
        },
        None => written_down(state)?,
    };
    let revision = match stands.as_slice() {
        [] => "base",
        [one] => one,
        several => {
            return Err(format!(
                "the database stands on several revisions ({}), and a downgrade leads to one",
                several.join(", ")
            ));
        }
    };
    alembic.downgrade(revision).ok_or_else(|| {
        "it is not known how Alembic is called behind this command; say so in alembic.command"
            .to_owned()
    })
}

/// The revisions in Alembic's only version table.
fn written_down(state: &State) -> Result<Vec<String>, String> {
    let tables: Vec<_> = state
        .versions
        .values()
        .filter(|table| table.alembic && table.rows.is_some())
        .collect();
    if tables.len() > 1 {
        let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
        return Err(ambiguous(&names));
    }
    Ok(tables
        .into_iter()
        .flat_map(|table| table.rows.iter().flatten())
        .filter_map(|row| serde_json::from_str::<Vec<String>>(row).ok())
        .flatten()
        .collect())
}

fn ambiguous(tables: &[String]) -> String {
    format!(
        "the database has several version tables ({}), so it is not known which revision a \
         downgrade must lead to",
        tables.join(", ")
    )
}

/// What the downgrade left, version tables aside that the upgrade made: no tool takes them away.
pub(in crate::dock) fn left(before: &State, first: &Prediction, walked: &[Walked]) -> Difference {
    let made = made(before, first);
    walked
        .iter()
        .find(|walked| walked.step.name == StepName::Downgrade)
        .and_then(|walked| walked.after.as_ref())
        .map(|after| {
            after
                .difference
                .only(|id, change| !is_made(&made, id) && !is_place(id, change))
        })
        .unwrap_or_default()
}

/// The version tables that the upgrade makes.
pub(in crate::dock) fn made<'a>(before: &State, first: &'a Prediction) -> Vec<&'a str> {
    first
        .predicted
        .versions
        .keys()
        .filter(|name| !before.versions.contains_key(*name))
        .map(String::as_str)
        .collect()
}

/// Whether an object is one of these tables, or of one: a column, a constraint, the index of its
/// primary key.
pub(in crate::dock) fn is_made(tables: &[&str], id: &ObjectId) -> bool {
    tables.iter().any(|name| {
        let within = |rest: &str| rest.is_empty() || rest.starts_with(['.', ' ']);
        let key = match name.strip_suffix('"') {
            Some(open) => format!("{open}_pkc\""),
            None => format!("{name}_pkc"),
        };
        id.identity.strip_prefix(name).is_some_and(within) || id.identity == key
    })
}

/// A column that was dropped and added again stands at the end.
pub(in crate::dock) fn is_place(id: &ObjectId, change: &Change) -> bool {
    let Change::Altered { before, after } = change else {
        return false;
    };
    let without = |body: &str| {
        let mut body: serde_json::Value = serde_json::from_str(body).ok()?;
        body.as_object_mut()?.remove("pos");
        Some(body)
    };
    id.kind == "column" && without(before).is_some() && without(before) == without(after)
}

/// Judges the steps that were taken.
pub(in crate::dock) fn findings(
    before: &State,
    first: &Prediction,
    walked: &[Walked],
    rows: &Compared,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for Walked { step, after } in walked {
        let well = step.exit == Some(0);
        match step.name {
            StepName::Upgrade | StepName::StampBack | StepName::Rerun => {}
            StepName::ModelCheck => found.extend(models(step)),
            StepName::SecondUpgrade if !well => found.push(finding(
                "SecondUpgradeFailed",
                "the upgrade fails when it is run again with nothing left to do",
            )),
            StepName::SecondUpgrade => found.extend(otherwise(
                "SecondUpgradeChanged",
                "the upgrade changes something when it is run again with nothing left to do",
                changes(first, after.as_ref())
                    .into_iter()
                    .chain(written(&rows.again)),
            )),
            StepName::Downgrade => found.extend(downgrade(before, first, walked, step, rows)),
            StepName::UpgradeAgain if !well => found.push(finding(
                "UpgradeAgainFailed",
                "the upgrade fails after the downgrade; what the downgrade left is in its way",
            )),
            StepName::UpgradeAgain => found.extend(otherwise(
                "UpgradeAgainDiffers",
                "the upgrade after the downgrade leads to another state than the first one",
                changes(first, after.as_ref()),
            )),
        }
    }
    if !rows.not_read.is_empty() {
        found.push(info(
            "RowsNotCompared",
            &format!(
                "the rows of {} were not compared: greater than 64 MiB, not to be read, or touched \
                 on the way back only",
                rows.not_read.join(", ")
            ),
        ));
    }
    if !rows.unsteady.is_empty() {
        found.push(info(
            "RowsNotCompared",
            &format!(
                "others wrote into {} meanwhile, so what the migration alone does to the rows is not \
                 known",
                rows.unsteady.join(", ")
            ),
        ));
    }
    found
}

/// That the way back was not gone, or not to its end.
pub(in crate::dock) fn not_done(reason: &str) -> Finding {
    finding(
        "RoundTripNotDone",
        &format!("the round trip was not done: {reason}"),
    )
}

fn downgrade(
    before: &State,
    first: &Prediction,
    walked: &[Walked],
    step: &TripStep,
    rows: &Compared,
) -> Vec<Finding> {
    let made = first
        .difference
        .only(|id, _| !is_made(&made(before, first), id));
    back(step, &made, &left(before, first, walked), &rows.lost())
}

/// What a way back shows: how it ended, what of `made` it `left`, and tables that have `lost` rows.
pub(super) fn back(
    step: &TripStep,
    made: &Difference,
    left: &Difference,
    lost: &Lost,
) -> Vec<Finding> {
    if step.exit != Some(0) {
        let says = |words: &str| step.output.contains(words);
        let (code, text) = if says("NotImplementedError") {
            (
                "MissingDowngrade",
                "a revision has no downgrade: it raises NotImplementedError",
            )
        } else if says("has no attribute 'downgrade'") {
            (
                "MissingDowngrade",
                "a revision has no downgrade: its file has no such function",
            )
        } else {
            ("DowngradeFailed", "the downgrade fails")
        };
        return vec![finding(code, text)];
    }
    let mut found = Vec::new();
    let stub = !left.is_empty()
        && !made.is_empty()
        && made.iter().all(|it| left.iter().any(|other| other == it));
    if stub {
        found.push(finding(
            "StubDowngrade",
            "the downgrade undoes nothing of what the upgrade changes in the schema",
        ));
    } else if !left.is_empty() {
        found.push(finding(
            "DowngradeLeftovers",
            &format!("the downgrade leaves something behind: {}", names(left)),
        ));
    }
    if !lost.is_empty() {
        let told: Vec<String> = lost
            .iter()
            .map(|(table, numbers)| format!("{table}: {numbers}"))
            .collect();
        found.push(finding(
            "DowngradeLostData",
            &format!(
                "after the downgrade rows are not what they were before the upgrade: {}",
                told.join("; ")
            ),
        ));
    }
    found
}

/// What `alembic check` says (Alembic's own words, from its `command.check` and `context`).
fn models(step: &TripStep) -> Option<Finding> {
    if step.exit == Some(0) {
        return None;
    }
    let says = |words: &str| step.output.contains(words);
    Some(if says("New upgrade operations detected") {
        finding(
            "ModelsDiffer",
            "the models say something else than the database after the upgrade; the output of \
             `alembic check` names it",
        )
    } else if says("does not provide a MetaData object") {
        info(
            "NoModels",
            "the models were not compared: env.py has no target_metadata for autogenerate",
        )
    } else if says("Target database is not up to date") {
        info(
            "ModelsNotCompared",
            "the models were not compared: the upgrade's target is not the head",
        )
    } else if says("invalid choice: 'check'") {
        info(
            "ModelsNotCompared",
            "the models were not compared: this Alembic has no `check` (1.9 has)",
        )
    } else {
        finding(
            "ModelsNotCompared",
            "`alembic check` failed; its output says why",
        )
    })
}

/// A finding unless there is nothing to name.
fn otherwise(code: &str, text: &str, what: impl IntoIterator<Item = String>) -> Option<Finding> {
    let what: Vec<String> = what.into_iter().collect();
    (!what.is_empty()).then(|| finding(code, &format!("{text}: {}", what.join("; "))))
}

/// In what the state is not the predicted one.
fn changes(first: &Prediction, after: Option<&Prediction>) -> Option<String> {
    let after = after?;
    if after.predicted == first.predicted {
        return None;
    }
    let other = after
        .difference
        .only(|id, change| !first.difference.iter().any(|other| other == (id, change)));
    let gone = first
        .difference
        .only(|id, change| !after.difference.iter().any(|other| other == (id, change)));
    let names = names(if other.is_empty() { &gone } else { &other });
    Some(if names.is_empty() {
        "the version table".to_owned()
    } else {
        names
    })
}

/// Tables that were written into.
fn written(tables: &[String]) -> Option<String> {
    (!tables.is_empty()).then(|| format!("rows of {}", tables.join(", ")))
}

pub(super) fn names(difference: &Difference) -> String {
    let mut names: Vec<String> = difference
        .iter()
        .take(NAMED)
        .map(|(id, _)| format!("{} {}", id.kind, id.identity))
        .collect();
    if difference.len() > NAMED {
        names.push(format!("{} more", difference.len() - NAMED));
    }
    names.join(", ")
}

pub(super) fn finding(code: &str, message: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity: Severity::Warning,
        message: message.to_owned(),
        statement: None,
    }
}

pub(in crate::dock) fn info(code: &str, message: &str) -> Finding {
    Finding {
        severity: Severity::Info,
        ..finding(code, message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::dock::rows::Sum;
    use crate::dock::tool::{Alembic, Generic};
    use crate::schema::{Fingerprint, Snapshot, VersionTable};

    fn snapshot(columns: &[(&str, u32)]) -> Snapshot {
        columns
            .iter()
            .map(|(name, place)| {
                let id = ObjectId {
                    kind: "column".to_owned(),
                    identity: format!("public.{name}"),
                };
                (id, format!("{{\"pos\": {place}, \"type\": \"text\"}}"))
            })
            .collect()
    }

    fn state(snapshot: &Snapshot, revisions: &[&str]) -> State {
        let name = "public.alembic_version".to_owned();
        let table = VersionTable {
            name: name.clone(),
            alembic: true,
            rows: Some(revisions.iter().map(|id| format!("[\"{id}\"]")).collect()),
        };
        State {
            fingerprint: Fingerprint::of(snapshot),
            versions: BTreeMap::from([(name, table)]),
        }
    }

    /// Columns of a table before, and of the same table later.
    fn prediction(before: &[(&str, u32)], after: &[(&str, u32)], revision: &str) -> Prediction {
        let (before, after) = (snapshot(before), snapshot(after));
        Prediction {
            before: state(&before, &["1"]),
            predicted: state(&after, &[revision]),
            difference: Difference::between(&before, &after),
            during: None,
            pieces: Some(1),
        }
    }

    fn step(name: StepName, exit: i32, output: &str, after: Option<Prediction>) -> Walked {
        Walked {
            step: TripStep {
                name,
                command: Vec::new(),
                exit: Some(exit),
                millis: 1,
                output: output.to_owned(),
            },
            after,
        }
    }

    const BEFORE: &[(&str, u32)] = &[("orders.id", 1), ("orders.total", 2)];
    const AFTER: &[(&str, u32)] = &[("orders.id", 1), ("orders.total", 2), ("orders.note", 3)];

    fn sums(hashes: &str) -> Sums {
        let sum = Sum {
            rows: 2,
            hashes: hashes.to_owned(),
            columns: Vec::new(),
        };
        Sums::from([("orders".to_owned(), sum)])
    }

    fn judged(walked: &[Walked], rows: (&str, &str)) -> Vec<String> {
        let first = prediction(BEFORE, AFTER, "2");
        let compared = Compared {
            before: sums(rows.0),
            after: Some(sums(rows.1)),
            again: Vec::new(),
            not_read: Vec::new(),
            unsteady: Vec::new(),
        };
        findings(&first.before, &first, walked, &compared)
            .into_iter()
            .map(|finding| finding.code)
            .collect()
    }

    #[rstest]
    #[case::undone(BEFORE, ("2 7", "2 7"), &[])]
    #[case::nothing_undone(AFTER, ("2 7", "2 7"), &["StubDowngrade"])]
    #[case::something_left(
        &[("orders.id", 1), ("orders.total", 2), ("orders.other", 3)],
        ("2 7", "2 7"),
        &["DowngradeLeftovers"]
    )]
    #[case::rows_gone(BEFORE, ("2 7", "1 3"), &["DowngradeLostData"])]
    #[case::at_another_place(&[("orders.id", 2), ("orders.total", 1)], ("2 7", "2 7"), &[])]
    fn a_downgrade_is_judged_by_what_is_there_afterwards(
        #[case] afterwards: &[(&str, u32)],
        #[case] rows: (&str, &str),
        #[case] expected: &[&str],
    ) {
        let after = prediction(BEFORE, afterwards, "1");
        let walked = [step(StepName::Downgrade, 0, "", Some(after))];
        assert_eq!(judged(&walked, rows), expected);
    }

    #[rstest]
    #[case("NotImplementedError: there is no way back", "MissingDowngrade")]
    #[case(
        "AttributeError: module '0002_note_py' has no attribute 'downgrade'",
        "MissingDowngrade"
    )]
    #[case("column \"notes\" does not exist", "DowngradeFailed")]
    fn a_downgrade_that_fails_says_how(#[case] output: &str, #[case] code: &str) {
        let walked = [step(StepName::Downgrade, 1, output, None)];
        assert_eq!(judged(&walked, ("", "")), [code]);
    }

    #[rstest]
    #[case(StepName::SecondUpgrade, AFTER, "2", None)]
    #[case(StepName::SecondUpgrade, BEFORE, "2", Some("SecondUpgradeChanged"))]
    #[case(StepName::SecondUpgrade, AFTER, "3", Some("SecondUpgradeChanged"))]
    #[case(StepName::UpgradeAgain, AFTER, "2", None)]
    #[case(StepName::UpgradeAgain, BEFORE, "2", Some("UpgradeAgainDiffers"))]
    fn another_upgrade_must_lead_to_the_predicted_state(
        #[case] name: StepName,
        #[case] afterwards: &[(&str, u32)],
        #[case] revision: &str,
        #[case] code: Option<&str>,
    ) {
        let after = prediction(BEFORE, afterwards, revision);
        let walked = [step(name, 0, "", Some(after))];
        assert_eq!(judged(&walked, ("", "")), Vec::from_iter(code));
    }

    #[rstest]
    #[case(0, "No new upgrade operations detected.", None)]
    #[case(
        255,
        "New upgrade operations detected: [('add_column', …)]",
        Some("ModelsDiffer")
    )]
    #[case(
        255,
        "Can't proceed with --autogenerate option; environment script env.py does not provide a MetaData object or \
         sequence of objects to the context.",
        Some("NoModels")
    )]
    #[case(255, "Target database is not up to date.", Some("ModelsNotCompared"))]
    #[case(2, "argument: invalid choice: 'check'", Some("ModelsNotCompared"))]
    #[case(1, "Traceback", Some("ModelsNotCompared"))]
    fn alembic_check_is_understood(
        #[case] exit: i32,
        #[case] output: &str,
        #[case] code: Option<&str>,
    ) {
        let walked = [step(StepName::ModelCheck, exit, output, None)];
        assert_eq!(judged(&walked, ("", "")), Vec::from_iter(code));
    }

    #[rstest]
    #[case(&[], Ok("base"))]
    #[case(&["ae10"], Ok("ae10"))]
    #[case(&["ae10", "be20"], Err("ae10, be20"))]
    fn the_way_back_leads_to_where_the_database_stands(
        #[case] revisions: &[&str],
        #[case] expected: Result<&str, &str>,
    ) {
        let words = ["alembic", "upgrade", "head"].map(str::to_owned);
        let tool = Tool::Alembic(Alembic::given(words.to_vec()));
        let state = state(&snapshot(BEFORE), revisions);
        match (way_back(&tool, &state, None), expected) {
            (Ok(back), Ok(revision)) => assert_eq!(back, ["alembic", "downgrade", revision]),
            (Err(reason), Err(named)) => assert!(reason.contains(named), "{reason}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[rstest]
    #[case::first_release(&["public.alembic_version"], &[], Ok("base"))]
    #[case::later(&["public.alembic_version"], &["ae10"], Ok("ae10"))]
    #[case::none(&[], &[], Err("no version table"))]
    #[case::several(&["a.v", "b.v"], &["ae10"], Err("a.v, b.v"))]
    fn another_applications_version_table_does_not_say_where_the_way_back_leads(
        #[case] tables: &[&str],
        #[case] current: &[&str],
        #[case] expected: Result<&str, &str>,
    ) {
        let words = ["alembic", "upgrade", "head"].map(str::to_owned);
        let tool = Tool::Alembic(Alembic::given(words.to_vec()));
        let state = state(&snapshot(BEFORE), &["of another application"]);
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let revisions = Revisions {
            tables: owned(tables),
            current: owned(current),
            ..Revisions::default()
        };
        match (way_back(&tool, &state, Some(&revisions)), expected) {
            (Ok(back), Ok(revision)) => assert_eq!(back, ["alembic", "downgrade", revision]),
            (Err(reason), Err(named)) => assert!(reason.contains(named), "{reason}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[rstest]
    #[case("public.alembic_version", true)]
    #[case("public.alembic_version.version_num", true)]
    #[case("public.alembic_version alembic_version_pkc", true)]
    #[case("public.alembic_version_pkc", true)]
    #[case("public.alembic_version_log", false)]
    #[case("public.alembic_versions", false)]
    #[case("app.\"Done_pkc\"", true)]
    fn what_a_version_table_has_is_told_from_its_namesakes(
        #[case] identity: &str,
        #[case] expected: bool,
    ) {
        let id = ObjectId {
            kind: "relation".to_owned(),
            identity: identity.to_owned(),
        };
        let tables = ["public.alembic_version", "app.\"Done\""];
        assert_eq!(is_made(&tables, &id), expected);
    }

    #[test]
    fn rows_that_a_second_upgrade_writes_and_tables_that_nobody_read_are_named() {
        let first = prediction(BEFORE, AFTER, "2");
        let walked = [step(
            StepName::SecondUpgrade,
            0,
            "",
            Some(prediction(BEFORE, AFTER, "2")),
        )];
        let compared = Compared {
            before: Sums::new(),
            after: None,
            again: vec!["currencies".to_owned()],
            not_read: vec!["events".to_owned()],
            unsteady: Vec::new(),
        };
        let found = findings(&first.before, &first, &walked, &compared);
        assert_eq!(found[0].code, "SecondUpgradeChanged");
        assert!(found[0].message.ends_with(": rows of currencies"));
        assert_eq!(found[1].code, "RowsNotCompared");
        assert!(found[1].message.contains("events"));
    }

    #[test]
    fn without_a_downgrade_there_is_no_way_back() {
        let state = state(&snapshot(BEFORE), &[]);
        let reason = way_back(&Tool::Generic(Generic::default()), &state, None).unwrap_err();
        assert!(reason.contains("command.downgrade"), "{reason}");
    }
}
