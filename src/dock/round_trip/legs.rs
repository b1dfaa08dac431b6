//! The pending revisions one by one: each is applied, and what is tried with it is undone before the
//! next one comes.

use super::walk::{Cut, Walk};
use crate::dock::decide::legs::Tried;
use crate::dock::decide::round_trip::{is_made, is_place};
use crate::dock::rows::{self, Counts, Sums};
use crate::dock::tool::alembic::{Alembic, Pending};
use crate::report::{Leg, StepName};
use crate::schema::{Difference, Scope, Snapshot};

/// What is known before the first of them.
pub(super) struct Legs<'a> {
    pub(super) alembic: &'a Alembic,
    pub(super) line: &'a [Pending],
    /// Tables whose rows are compared on the way back.
    pub(super) tables: &'a [String],
    /// The version tables, and those of them that the upgrade makes.
    pub(super) versions: Vec<String>,
    pub(super) made: Vec<&'a str>,
}

impl Walk<'_> {
    /// Goes from one revision to the next; what was tried is kept also when something cuts it.
    pub(super) async fn legs(
        &mut self,
        legs: &Legs<'_>,
        tried: &mut Vec<Tried>,
    ) -> Result<(), Cut> {
        let mut here = self.before.snapshot.clone();
        for pending in legs.line {
            let mut it = Tried {
                leg: Leg {
                    revision: pending.id.clone(),
                    message: pending.message.clone(),
                    ..Leg::default()
                },
                ..Tried::default()
            };
            let walked = self.leg(legs, pending, &here, &mut it).await;
            tried.push(it);
            here = walked?;
        }
        Ok(())
    }

    async fn leg(
        &mut self,
        legs: &Legs<'_>,
        pending: &Pending,
        here: &Snapshot,
        it: &mut Tried,
    ) -> Result<Snapshot, Cut> {
        let plan = self.stage.plan;
        let rows = if plan.each {
            self.sums(StepName::Upgrade, legs.tables, None).await?.sums
        } else {
            Sums::new()
        };
        let counted = self.counts(StepName::Upgrade, &legs.versions).await?;
        let upgrade = legs.alembic.upgrade(&pending.id);
        if !self.step(StepName::Upgrade, upgrade, it).await? {
            return Err(Cut::because(format!(
                "the upgrade to revision `{}` did not pass a second time",
                pending.id
            )));
        }
        let there = self.look(StepName::Upgrade).await?;
        it.made = Difference::between(here, &there).only(|id, _| !is_made(&legs.made, id));
        it.leg.data_only = it
            .made
            .only(|id, _| Scope::of(&id.kind) == Scope::Schema)
            .is_empty();
        if plan.rerun && it.leg.data_only {
            self.rerun(legs, pending, &counted, it).await?;
        }
        if plan.each {
            self.back(legs, pending, (here, &there), rows, it).await?;
        }
        Ok(there)
    }

    /// Runs a data migration again on what it has done.
    async fn rerun(
        &mut self,
        legs: &Legs<'_>,
        pending: &Pending,
        counted: &Counts,
        it: &mut Tried,
    ) -> Result<(), Cut> {
        let first = self.counts(StepName::Upgrade, &legs.versions).await?;
        let touched = rows::moved(counted, &first);
        if touched.is_empty() {
            return Ok(());
        }
        self.set_place(StepName::Upgrade).await?;
        let before = self.sums(StepName::StampBack, &touched, None).await?.sums;
        let stamp = legs.alembic.stamp(&pending.below);
        if self.step(StepName::StampBack, stamp, it).await? {
            let upgrade = legs.alembic.upgrade(&pending.id);
            if self.step(StepName::Rerun, upgrade, it).await? {
                let second = self.counts(StepName::Rerun, &legs.versions).await?;
                let again = rows::moved(&first, &second);
                let after = self
                    .sums(StepName::Rerun, &again, Some(&before))
                    .await?
                    .sums;
                let mut changed = Vec::new();
                for table in again {
                    match (before.get(&table), after.get(&table)) {
                        (Some(one), Some(other)) if one == other => {}
                        (None, _) if touched.contains(&table) => it.not_compared.push(table),
                        // The first run did not write into it at all.
                        _ => changed.push(table),
                    }
                }
                it.leg.rerun_changed = Some(changed);
            }
        }
        self.undo(StepName::Rerun).await
    }

    /// Goes back from a revision, and forth again.
    async fn back(
        &mut self,
        legs: &Legs<'_>,
        pending: &Pending,
        (here, there): (&Snapshot, &Snapshot),
        rows: Sums,
        it: &mut Tried,
    ) -> Result<(), Cut> {
        let otherwise = |than: &Snapshot, now: &Snapshot| {
            Difference::between(than, now)
                .only(|id, change| !is_made(&legs.made, id) && !is_place(id, change))
        };
        self.set_place(StepName::Upgrade).await?;
        let downgrade = legs.alembic.downgrade(&pending.below);
        if self.step(StepName::Downgrade, downgrade, it).await? {
            let back = self.look(StepName::Downgrade).await?;
            it.leg.left = otherwise(here, &back);
            let summed = self
                .sums(StepName::Downgrade, legs.tables, Some(&rows))
                .await?;
            it.lost = rows::lost(&rows, &summed.sums);
            it.leg.compared = rows
                .into_keys()
                .filter(|table| summed.sums.contains_key(table))
                .collect();
            let upgrade = legs.alembic.upgrade(&pending.id);
            if self.step(StepName::UpgradeAgain, upgrade, it).await? {
                let again = self.look(StepName::UpgradeAgain).await?;
                it.elsewhere = otherwise(there, &again);
            }
        }
        self.undo(StepName::UpgradeAgain).await
    }

    /// Runs a command, keeps it, and says whether it ended well.
    async fn step(
        &mut self,
        name: StepName,
        command: Option<Vec<String>>,
        it: &mut Tried,
    ) -> Result<bool, Cut> {
        let Some(command) = command else {
            return Err(Cut::because(super::NOT_KNOWN));
        };
        let step = self.run(name, command).await?;
        let well = step.exit == Some(0);
        it.leg.steps.push(step);
        Ok(well)
    }
}
