//! The second transaction of a dry run: upgrade, look at the models, upgrade once more, back, compare
//! with before, and forth again.
//!
//! Nothing of it is done in the first transaction: locks are held to the end of one, and the verdict
//! must not wait for what is good to know.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use super::before::{Before, Foreseen};
use super::command::Command;
use super::console::Step;
use super::decide::round_trip::{Compared, Walked, findings, left, way_back};
use super::holding::{Ground, Holding, Stop};
use super::lease::Lease;
use super::link::{How, Sidecar};
use super::record::{Said, SecondTransaction};
use super::rehearse::Stage;
use super::rows::{self, Sums};
use super::tool::Tool;
use crate::report::{Prediction, RoundTrip, StepName, TripStep};

/// A step that was taken, and what the database looked like behind it.
struct Taken {
    step: TripStep,
    foreseen: Option<Foreseen>,
}

/// Where a walk leads.
struct Route {
    /// Back to where the database stood.
    back: Vec<String>,
    /// Tables whose rows are compared.
    tables: Vec<String>,
}

/// What a walk comes to.
#[derive(Default)]
struct Walk {
    taken: Vec<Taken>,
    rows: (Sums, Sums),
    stop: Option<Stop>,
    cut: Option<String>,
}

impl Stage<'_> {
    /// Goes there and back in a rehearsal of its own. `first` is what the first one predicted,
    /// `touched` the tables whose rows it wrote; `keep` is handed the state before, with who holds
    /// the second transaction.
    pub(super) async fn round_trip(
        &self,
        lease: &Lease,
        before: &mut Before,
        first: &Prediction,
        touched: &[String],
        link: Sidecar,
        keep: impl Fn(&Before) -> Result<(), Said>,
    ) -> SecondTransaction {
        self.console.step(Step::RoundTrip);
        let began = Instant::now();
        let back = match way_back(&self.plan.tool, &before.state) {
            Ok(back) => back,
            Err(reason) => return SecondTransaction::not_done(reason),
        };
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
        let mut walk = Walk::default();
        match ready {
            Ok(()) => {
                let mut tables = rows::changed(&first.difference);
                tables.extend(touched.iter().cloned());
                tables.retain(|name| !first.predicted.versions.contains_key(name));
                let route = Route { back, tables };
                walk = self.walk(lease, before, &mut holding, &route, link).await;
            }
            Err(said) => walk.cut = Some(said.message),
        }
        let (rehearsal, guard) = holding.finish().await;
        // The locks are gone: now there is time to put it together.
        let mut walked = Vec::new();
        for taken in walk.taken {
            let after = taken.foreseen.map(|read| before.predict(read)).transpose();
            match after {
                Ok(after) => walked.push(Walked {
                    step: taken.step,
                    after,
                }),
                Err(said) => {
                    walk.cut.get_or_insert(said.message);
                }
            }
        }
        let compared = Compared {
            before: walk.rows.0,
            after: walk.rows.1,
        };
        let found = findings(&before.state, first, &walked, &compared);
        SecondTransaction {
            interrupted: matches!(walk.stop, Some(Stop::Asked)),
            lost: matches!(walk.stop, Some(Stop::Lease)),
            bypass: guard.bypass,
            findings: found,
            report: RoundTrip {
                cut: walk.cut.or(guard.ended.map(|it| it.message)),
                left: left(&before.state, first, &walked),
                steps: walked.into_iter().map(|walked| walked.step).collect(),
                compared: compared.after.into_keys().collect(),
                millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
            rehearsal,
        }
    }

    async fn walk(
        &self,
        lease: &Lease,
        before: &Before,
        holding: &mut Holding,
        route: &Route,
        mut link: Sidecar,
    ) -> Walk {
        let mut walk = Walk::default();
        let mut asker = holding.asker();
        let tables = &route.tables;
        let mut again = Vec::new();
        let put_in = tokio::select! {
            done = self.insert_fixtures(before, &mut asker, &mut again) => done,
            found = holding.watch(lease, self.console) => {
                walk.cut = Some(why(&found, "fixtures"));
                walk.stop = Some(found);
                return walk;
            }
        };
        if let Err(said) = put_in {
            walk.cut = Some(said.message);
            return walk;
        }
        holding.serve(self);
        walk.rows.0 = rows::sums(&mut asker, tables).await.unwrap_or_default();
        for (name, command) in self.steps(&route.back) {
            let start = holding.start(self, command.clone());
            let mut running = Command::start(link, start).await;
            let found = tokio::select! {
                _ = running.ended() => None,
                found = holding.watch(lease, self.console) => Some(found),
            };
            if let Some(found) = found {
                running.stop().await;
                walk.cut = Some(why(&found, name.words()));
                walk.stop = Some(found);
                return walk;
            }
            let ended = running.ended().await;
            link = running.over();
            let well = ended.how == How::Exited { code: 0 };
            let mut foreseen = None;
            if well && name != StepName::ModelCheck && name != StepName::Upgrade {
                let read = tokio::select! {
                    read = before.foresee(&mut asker) => read,
                    found = holding.watch(lease, self.console) => {
                        walk.cut = Some(why(&found, name.words()));
                        walk.stop = Some(found);
                        return walk;
                    }
                };
                match read {
                    Ok(read) => foreseen = Some(read),
                    Err(said) => walk.cut = Some(said.message),
                }
            }
            if well && name == StepName::Downgrade {
                walk.rows.1 = rows::sums(&mut asker, tables).await.unwrap_or_default();
            }
            let step = TripStep {
                name,
                command,
                exit: match ended.how {
                    How::Exited { code } => Some(code),
                    _ => None,
                },
                millis: ended.millis,
                output: if well { String::new() } else { ended.output },
            };
            walk.taken.push(Taken { step, foreseen });
            if !well && name == StepName::Upgrade {
                walk.cut = Some("the upgrade did not pass a second time".to_owned());
            }
            if walk.cut.is_some() || !well && name == StepName::Downgrade {
                break;
            }
        }
        walk
    }

    /// The commands, in order.
    fn steps(&self, back: &[String]) -> Vec<(StepName, Vec<String>)> {
        let upgrade = self.plan.tool.command();
        let check = match &self.plan.tool {
            Tool::Alembic(alembic) => alembic.check(),
            Tool::Generic(_) => None,
        };
        let mut steps = vec![(StepName::Upgrade, upgrade.clone())];
        steps.extend(check.map(|check| (StepName::ModelCheck, check)));
        steps.push((StepName::SecondUpgrade, upgrade.clone()));
        steps.push((StepName::Downgrade, back.to_vec()));
        steps.push((StepName::UpgradeAgain, upgrade));
        steps
    }
}

/// Why a walk ended on the way.
fn why(stop: &Stop, step: &str) -> String {
    match stop {
        Stop::Guard(said) => format!("ended during the {step}: {}", said.message),
        Stop::Rehearsal => format!("the second rehearsal ended by itself during the {step}"),
        Stop::Lease => {
            format!("the connection that holds drydock's lock was lost during the {step}")
        }
        Stop::Asked => format!("stopped during the {step}"),
    }
}
