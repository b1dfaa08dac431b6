//! The second transaction of a dry run: upgrade, look at the models, upgrade once more, back, compare
//! with before, and forth again; or that for each revision, and data migrations twice.
//!
//! Nothing of it is done in the first transaction: locks are held to the end of one, and the verdict
//! must not wait for what is good to know.

mod legs;
mod walk;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use super::before::{Before, Foreseen};
use super::console::Step;
use super::decide::legs::{self as decide_legs, Tried};
use super::decide::round_trip::{Compared, Walked, findings, info, left, made, way_back};
use super::holding::{Ground, Holding, Stop};
use super::lease::Lease;
use super::link::Sidecar;
use super::record::{Said, SecondTransaction};
use super::rehearse::Stage;
use super::rows::{self, Counts, Summed, Sums};
use super::tool::Tool;
use super::tool::alembic::Pending;
use crate::report::{Prediction, Revisions, RoundTrip, StepName, TripStep};
use crate::schema::ObjectId;
use legs::Legs;
use walk::{Cut, Walk};

/// Why there is no way back.
const NOT_KNOWN: &str = "it is not known how Alembic is called behind this command; say so in \
                         alembic.command";

/// A downgrade of revisions for several databases would go back in all of them.
const NOT_LISTED: &str = "Alembic did not list its revisions, so it is not known whether they are \
                          about this database alone";

/// The pending revisions in order, or why they have none.
pub(super) type Line = Result<Vec<Pending>, String>;

/// What the first transaction has shown.
pub(super) struct Known<'a> {
    /// What it predicted.
    pub(super) first: &'a Prediction,
    /// The tables whose rows it wrote.
    pub(super) touched: &'a [String],
    /// The revisions that it ran.
    pub(super) line: &'a Line,
    /// What Alembic and the version tables say of them.
    pub(super) revisions: Option<&'a Revisions>,
    /// Whether Alembic listed its revisions, so that their files could be looked at.
    pub(super) listed: bool,
}

/// Where a walk leads.
struct Route<'a> {
    /// One revision after the other.
    legs: Option<Legs<'a>>,
    /// What is run for all of them together, once they are applied.
    steps: Vec<(StepName, Vec<String>)>,
    /// Tables whose rows are compared.
    tables: &'a [String],
    /// The version tables.
    versions: Vec<String>,
}

/// What a walk comes to.
#[derive(Default)]
struct Taken {
    tried: Vec<Tried>,
    steps: Vec<(TripStep, Option<Foreseen>)>,
    /// The rows before, and after the downgrade when it came so far.
    rows: (Summed, Option<Sums>),
    /// Tables into which the second upgrade wrote.
    again: Vec<String>,
}

impl Stage<'_> {
    /// Goes there and back in a rehearsal of its own. `keep` is handed the state before, with who
    /// holds the second transaction.
    pub(super) async fn second_transaction(
        &self,
        lease: &mut Lease,
        before: &mut Before,
        known: &Known<'_>,
        link: Sidecar,
        keep: impl Fn(&Before) -> Result<(), Said>,
    ) -> SecondTransaction {
        self.console.step(Step::RoundTrip);
        let began = Instant::now();
        let first = known.first;
        let mut tables = rows::changed(&first.difference);
        tables.extend(known.touched.iter().cloned());
        tables.retain(|name| !first.predicted.versions.contains_key(name));
        let state = before.state.clone();
        let route = match self.route(known, &state, &tables) {
            Ok(route) => route,
            Err(reason) => return SecondTransaction::not_done(reason),
        };
        let outside = self.outside(lease, &tables, None).await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let opened = Holding::open(self, &Ground::of(lease), address).await;
        let mut holding = match opened {
            Ok(holding) => holding,
            Err(said) => return SecondTransaction::not_done(said.message),
        };
        before.again = Some(holding.holder());
        let ready = match before.begin(&mut holding.asker()).await {
            Ok(()) => keep(before),
            Err(said) => Err(said),
        };
        let mut taken = Taken::default();
        let mut cut = match ready {
            Ok(()) => {
                let asker = holding.asker();
                let mut walk = Walk {
                    stage: self,
                    lease,
                    before,
                    holding: &mut holding,
                    asker,
                    link: Some(link),
                };
                walk.along(&route, &mut taken).await.err()
            }
            Err(said) => Some(Cut::from(said)),
        };
        let (rehearsal, guard) = holding.finish().await;
        // The locks are gone: now there is time to put it together.
        let mut walked = Vec::new();
        for (step, foreseen) in taken.steps {
            match foreseen.map(|read| before.predict(read)).transpose() {
                Ok(after) => walked.push(Walked { step, after }),
                Err(said) => {
                    cut.get_or_insert(Cut::from(said));
                }
            }
        }
        let mut compared = Compared {
            before: taken.rows.0.sums,
            after: taken.rows.1,
            again: taken.again,
            not_read: match self.plan.round_trip {
                true => taken.rows.0.not_read,
                false => Vec::new(),
            },
            unsteady: Vec::new(),
        };
        let differing = taken.tried.iter().flat_map(Tried::differing);
        let differing: Vec<String> = differing
            .cloned()
            .chain(compared.lost().into_keys())
            .collect();
        let now = self.outside(lease, &differing, Some(&outside)).await;
        compared.unsteady = unsteady(&compared.before, &outside, &now, &differing);
        for tried in &mut taken.tried {
            tried.forget(&compared.unsteady);
        }
        let mut found: Vec<_> = taken.tried.iter().flat_map(decide_legs::findings).collect();
        found.extend(findings(&before.state, first, &walked, &compared));
        if let (true, None, Err(reason)) = (self.plan.rerun, &route.legs, known.line) {
            found.push(info(
                "RerunNotDone",
                &format!("no data migration was run a second time: {reason}"),
            ));
        }
        SecondTransaction {
            interrupted: matches!(cut, Some(Cut::Stopped(Stop::Asked, _))),
            lost: matches!(cut, Some(Cut::Stopped(Stop::Lease, _))),
            bypass: guard.bypass,
            findings: found,
            report: RoundTrip {
                cut: match cut {
                    Some(cut) => Some(cut.reason(guard.ended)),
                    None => guard.ended.map(|it| it.message),
                },
                revisions: taken.tried.into_iter().map(|tried| tried.leg).collect(),
                left: left(&before.state, first, &walked),
                steps: walked.into_iter().map(|walked| walked.step).collect(),
                compared: compared.tables(),
                millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
            rehearsal,
        }
    }

    /// What is in these tables for everybody else, as far as it can be read before the run is to end.
    async fn outside(&self, lease: &mut Lease, tables: &[String], before: Option<&Sums>) -> Sums {
        let reading = rows::sums(&mut lease.client, tables, before);
        let read = tokio::select! {
            read = tokio::time::timeout(self.plan.budgets.duration, reading) => read.ok(),
            () = self.console.stopped() => None,
        };
        match read {
            Some(Ok(summed)) => summed.sums,
            _ => Sums::new(),
        }
    }

    /// What is to be done, or why nothing can be.
    fn route<'a>(
        &'a self,
        known: &Known<'a>,
        state: &crate::schema::State,
        tables: &'a [String],
    ) -> Result<Route<'a>, String> {
        let plan = self.plan;
        let first = known.first;
        let versions: Vec<String> = first.predicted.versions.keys().cloned().collect();
        let legs = match (&plan.tool, known.line) {
            _ if !plan.each && !plan.rerun => None,
            (Tool::Alembic(alembic), Ok(line)) => Some(Legs {
                alembic,
                line,
                tables,
                versions: versions.clone(),
                made: made(state, first),
            }),
            (_, Err(reason)) if plan.each || !plan.round_trip => return Err(reason.clone()),
            _ => None,
        };
        let upgrade = plan.tool.command();
        let mut steps = Vec::new();
        if legs.is_none() {
            steps.push((StepName::Upgrade, upgrade.clone()));
        }
        if plan.round_trip {
            let check = plan.tool.alembic().and_then(|alembic| alembic.check());
            steps.extend(check.map(|check| (StepName::ModelCheck, check)));
            steps.push((StepName::SecondUpgrade, upgrade.clone()));
        }
        if plan.round_trip && !known.listed && matches!(plan.tool, Tool::Alembic(_)) {
            return Err(NOT_LISTED.to_owned());
        }
        // Revision by revision the way back has been gone already.
        if plan.round_trip && !plan.each {
            steps.push((
                StepName::Downgrade,
                way_back(&plan.tool, state, known.revisions)?,
            ));
            steps.push((StepName::UpgradeAgain, upgrade));
        }
        Ok(Route {
            legs,
            steps,
            tables,
            versions,
        })
    }
}

/// Those of `tables` that are another matter than before although everything is rolled back: others
/// have written into them. So may they have where that could not be read; but not into one that the
/// second transaction itself has made.
fn unsteady(before: &Sums, outside: &Sums, now: &Sums, tables: &[String]) -> Vec<String> {
    let steady = |table: &String| {
        let was = outside.get(table);
        !before.contains_key(table) || was.is_some() && was == now.get(table)
    };
    tables
        .iter()
        .filter(|table| !steady(table))
        .cloned()
        .collect()
}

impl Walk<'_> {
    async fn along(&mut self, route: &Route<'_>, taken: &mut Taken) -> Result<(), Cut> {
        self.fixtures().await?;
        self.holding.serve(self.stage);
        taken.rows.0 = self.sums(StepName::Upgrade, route.tables, None).await?;
        if let Some(legs) = &route.legs {
            self.legs(legs, &mut taken.tried).await?;
        }
        for (name, command) in &route.steps {
            let name = *name;
            let second = name == StepName::SecondUpgrade;
            let counted = match second {
                true => self.counts(name, &route.versions).await?,
                false => Counts::new(),
            };
            let step = self.run(name, command.clone()).await?;
            let well = step.exit == Some(0);
            taken.steps.push((step, None));
            if well && second {
                let now = self.counts(name, &route.versions).await?;
                taken.again = rows::moved(&counted, &now);
            }
            if !well && name == StepName::Upgrade {
                return Err(Cut::because("the upgrade did not pass a second time"));
            }
            if well && name != StepName::ModelCheck && name != StepName::Upgrade {
                let (mut asker, before) = (self.asker.clone(), self.before);
                let read = self
                    .watched(name.words(), before.foresee(&mut asker))
                    .await??;
                if let Some((_, foreseen)) = taken.steps.last_mut() {
                    *foreseen = Some(read);
                }
            }
            if name == StepName::Downgrade {
                if !well {
                    break;
                }
                let before = &taken.rows.0.sums;
                let after = self.sums(name, route.tables, Some(before)).await?;
                taken.rows.1 = Some(after.sums);
                let unread = self.written_only_now(name, route).await?;
                taken.rows.0.not_read.extend(unread);
            }
        }
        Ok(())
    }
    /// Tables of before that the way back has written or changed, and the upgrade had not.
    async fn written_only_now(
        &mut self,
        name: StepName,
        route: &Route<'_>,
    ) -> Result<Vec<String>, Cut> {
        let mut asker = self.asker.clone();
        let touched = self
            .watched(name.words(), rows::touched(&mut asker))
            .await?;
        let mut touched = touched.unwrap_or_default();
        touched.retain(|table| {
            let id = ObjectId {
                kind: "relation".to_owned(),
                identity: table.clone(),
            };
            self.before.snapshot.get(&id).is_some()
                && !route.tables.contains(table)
                && !route.versions.contains(table)
        });
        Ok(touched)
    }
}
