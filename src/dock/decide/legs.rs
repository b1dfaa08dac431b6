//! What the way back from one revision shows, and a second run of it.

use super::round_trip::{back, finding, info, names};
use crate::dock::rows::Lost;
use crate::report::{Finding, Leg, StepName};
use crate::schema::Difference;

/// What was tried with one revision.
#[derive(Debug, Default)]
pub(in crate::dock) struct Tried {
    pub(in crate::dock) leg: Leg,
    /// What its upgrade changed.
    pub(in crate::dock) made: Difference,
    /// Tables whose rows are not what they were behind its downgrade.
    pub(in crate::dock) lost: Lost,
    /// How the upgrade behind the downgrade led elsewhere.
    pub(in crate::dock) elsewhere: Difference,
    /// Tables that a second run wrote into, and whose rows were not compared.
    pub(in crate::dock) not_compared: Vec<String>,
}

impl Tried {
    /// Tables whose rows are another matter than before.
    pub(in crate::dock) fn differing(&self) -> impl Iterator<Item = &String> {
        self.lost
            .keys()
            .chain(self.leg.rerun_changed.iter().flatten())
    }

    /// Others wrote into these tables meanwhile, so nothing is known of what the revision did to them.
    pub(in crate::dock) fn forget(&mut self, unsteady: &[String]) {
        self.lost.retain(|table, _| !unsteady.contains(table));
        self.leg.compared.retain(|table| !unsteady.contains(table));
        if let Some(changed) = &mut self.leg.rerun_changed {
            let others = changed.extract_if(.., |table| unsteady.contains(table));
            self.not_compared.extend(others);
        }
    }
}

/// Judges, and names the revision in each sentence.
pub(in crate::dock) fn findings(tried: &Tried) -> Vec<Finding> {
    let leg = &tried.leg;
    let mut found = Vec::new();
    for step in &leg.steps {
        let well = step.exit == Some(0);
        match step.name {
            StepName::Downgrade => {
                found.extend(back(step, &tried.made, &leg.left, &tried.lost));
            }
            StepName::UpgradeAgain if !well => found.push(finding(
                "UpgradeAgainFailed",
                "the upgrade fails after the downgrade; what the downgrade left is in its way",
            )),
            StepName::UpgradeAgain if !tried.elsewhere.is_empty() => found.push(finding(
                "UpgradeAgainDiffers",
                &format!(
                    "the upgrade after the downgrade leads to another state than the first one: {}",
                    names(&tried.elsewhere)
                ),
            )),
            StepName::StampBack if !well => found.push(info(
                "RerunNotDone",
                "it was not run a second time: `alembic stamp` failed",
            )),
            StepName::Rerun if !well => found.push(finding(
                "RerunFailed",
                "its data migration fails when it is run a second time",
            )),
            StepName::Rerun => found.extend(rerun(tried)),
            _ => {}
        }
    }
    let name = match leg.message.as_str() {
        "" => format!("revision `{}`", leg.revision),
        message => format!("revision `{}` ({message})", leg.revision),
    };
    for finding in &mut found {
        finding.message = format!("{name}: {}", finding.message);
    }
    found
}

fn rerun(tried: &Tried) -> Vec<Finding> {
    let mut found = Vec::new();
    let changed = tried.leg.rerun_changed.as_deref().unwrap_or_default();
    if !changed.is_empty() {
        found.push(finding(
            "RerunChanged",
            &format!(
                "its data migration changes rows when it is run a second time: {}",
                changed.join(", ")
            ),
        ));
    }
    if !tried.not_compared.is_empty() {
        found.push(info(
            "RerunNotCompared",
            &format!(
                "a second run writes into {}, which may not be read, is greater than 64 MiB, or was \
                 written by others meanwhile",
                tried.not_compared.join(", ")
            ),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::report::TripStep;
    use crate::schema::{ObjectId, Snapshot};

    fn difference(names: &[&str]) -> Difference {
        let after: Snapshot = names
            .iter()
            .map(|name| {
                let id = ObjectId {
                    kind: "type".to_owned(),
                    identity: (*name).to_owned(),
                };
                (id, "{}".to_owned())
            })
            .collect();
        Difference::between(&Snapshot::default(), &after)
    }

    fn step(name: StepName, exit: i32, output: &str) -> TripStep {
        TripStep {
            name,
            command: Vec::new(),
            exit: Some(exit),
            millis: 1,
            output: output.to_owned(),
        }
    }

    fn codes(tried: &Tried) -> Vec<String> {
        let found = findings(tried);
        assert!(
            found
                .iter()
                .all(|it| it.message.starts_with("revision `ae10` (a note): "))
        );
        found.into_iter().map(|it| it.code).collect()
    }

    fn tried(steps: Vec<TripStep>) -> Tried {
        Tried {
            leg: Leg {
                revision: "ae10".to_owned(),
                message: "a note".to_owned(),
                steps,
                ..Leg::default()
            },
            made: difference(&["a", "b"]),
            ..Tried::default()
        }
    }

    #[rstest]
    #[case::undone(&[], &[], &[])]
    #[case::stub(&["a", "b"], &[], &["StubDowngrade"])]
    #[case::stub_of_data(&["a", "b"], &["orders"], &["StubDowngrade", "DowngradeLostData"])]
    #[case::leftovers(&["a"], &[], &["DowngradeLeftovers"])]
    #[case::lost(&[], &["orders"], &["DowngradeLostData"])]
    fn the_way_back_from_a_revision_is_judged_with_its_name(
        #[case] left: &[&str],
        #[case] lost: &[&str],
        #[case] expected: &[&str],
    ) {
        let mut tried = tried(vec![step(StepName::Downgrade, 0, "")]);
        tried.leg.left = difference(left);
        tried.lost = lost
            .iter()
            .map(|&table| (table.to_owned(), "2 rows, then 1".to_owned()))
            .collect();
        assert_eq!(codes(&tried), expected);
    }

    #[rstest]
    #[case(StepName::Downgrade, "NotImplementedError", "MissingDowngrade")]
    #[case(StepName::Downgrade, "no such column", "DowngradeFailed")]
    #[case(StepName::UpgradeAgain, "", "UpgradeAgainFailed")]
    #[case(StepName::Rerun, "", "RerunFailed")]
    #[case(StepName::StampBack, "", "RerunNotDone")]
    fn a_step_that_fails_is_named(
        #[case] name: StepName,
        #[case] output: &str,
        #[case] code: &str,
    ) {
        assert_eq!(codes(&tried(vec![step(name, 1, output)])), [code]);
    }

    #[test]
    fn an_upgrade_that_leads_elsewhere_the_second_time_is_named() {
        let mut tried = tried(vec![step(StepName::UpgradeAgain, 0, "")]);
        tried.elsewhere = difference(&["c"]);
        assert_eq!(codes(&tried), ["UpgradeAgainDiffers"]);
    }

    #[test]
    fn rows_that_a_second_run_changes_are_named() {
        let mut tried = tried(vec![step(StepName::Rerun, 0, "")]);
        tried.leg.rerun_changed = Some(Vec::new());
        assert!(codes(&tried).is_empty());
        tried.leg.rerun_changed = Some(vec!["orders".to_owned()]);
        tried.not_compared = vec!["events".to_owned()];
        assert_eq!(codes(&tried), ["RerunChanged", "RerunNotCompared"]);
    }

    #[test]
    fn nothing_is_said_of_rows_that_others_changed_meanwhile() {
        let mut tried = tried(vec![
            step(StepName::Downgrade, 0, ""),
            step(StepName::Rerun, 0, ""),
        ]);
        tried.lost = Lost::from([("orders".to_owned(), "2 rows, then 3".to_owned())]);
        tried.leg.rerun_changed = Some(vec!["orders".to_owned()]);
        tried.leg.compared = vec!["orders".to_owned()];
        assert_eq!(codes(&tried), ["DowngradeLostData", "RerunChanged"]);
        tried.forget(&["orders".to_owned()]);
        assert_eq!(codes(&tried), ["RerunNotCompared"]);
        assert!(tried.leg.compared.is_empty());
    }
}
