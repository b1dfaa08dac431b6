//! The first transaction of a dry run, the one that the verdict is about: fixtures, checks of the old
//! schema, the command, the prediction, questions about the data, checks of the new schema, rollback.

use std::time::Duration;

use super::before::{Before, Foreseen};
use super::checks::Halt;
use super::command::Command;
use super::console::Step;
use super::holding::{Holding, Stop};
use super::lease::Lease;
use super::link::{Ended, How, Sidecar};
use super::record::{DryRun, Said};
use super::rehearse::{Audience, Stage};
use super::{rows, timeouts};
use crate::api::CheckTime;
use crate::report::{Assertion, Checked, Fixture, Prediction};
use crate::verdict::{Environment, Verdict};

/// How long clients of an open rehearsal that is stopped may take to be sent away.
const SEND_AWAY: Duration = Duration::from_secs(2);

/// What the first transaction comes to.
pub(super) struct First {
    pub(super) record: DryRun,
    /// Over which more commands may be started.
    pub(super) link: Option<Sidecar>,
    /// Tables whose rows were written, where that is of use later.
    pub(super) touched: Vec<String>,
}

/// How far it came.
#[derive(Default)]
struct Course {
    stop: Option<Stop>,
    broken: Option<Said>,
    fixtures: Vec<Fixture>,
    ended: Option<Ended>,
    foreseen: Option<Foreseen>,
    assertions: Vec<Assertion>,
    checks: Vec<Checked>,
    touched: Vec<String>,
}

impl Course {
    fn goes_on(&self) -> bool {
        self.stop.is_none() && self.broken.is_none()
    }

    fn halt(&mut self, halt: Option<Halt>) {
        match halt {
            Some(Halt::Stop(stop)) => self.stop = Some(stop),
            Some(Halt::Broken(said)) => self.broken = Some(said),
            None => {}
        }
    }
}

impl Stage<'_> {
    /// Goes through it, as far as nothing ends it, and rolls back.
    pub(super) async fn follow(
        &self,
        lease: &Lease,
        before: &Before,
        mut holding: Holding,
        audience: Audience,
    ) -> First {
        let mut course = Course::default();
        self.put_in(lease, before, &mut holding, &mut course).await;
        let link = match audience {
            Audience::Command(link) if course.goes_on() => Some(
                self.command(lease, before, &mut holding, link, &mut course)
                    .await,
            ),
            Audience::Command(link) => Some(link),
            Audience::Anybody => {
                if course.goes_on() {
                    self.open(lease, before, &mut holding, &mut course).await;
                }
                None
            }
        };
        let touched = std::mem::take(&mut course.touched);
        First {
            record: self.roll_back(lease, before, holding, course).await,
            link,
            touched,
        }
    }

    /// Puts the fixtures in.
    async fn put_in(
        &self,
        lease: &Lease,
        before: &Before,
        holding: &mut Holding,
        course: &mut Course,
    ) {
        if self.plan.fixtures.is_empty() {
            return;
        }
        self.console.step(Step::Fixtures);
        let mut asker = holding.asker();
        tokio::select! {
            done = self.insert_fixtures(before, &mut asker, &mut course.fixtures) => {
                course.broken = done.err();
            }
            found = holding.watch(lease, self.console) => course.stop = Some(found),
        }
    }

    /// Serves whoever comes, until it is stopped: then it is over, and that is no failure.
    async fn open(
        &self,
        lease: &Lease,
        before: &Before,
        holding: &mut Holding,
        course: &mut Course,
    ) {
        let url = holding.serve(self);
        self.console.step(Step::Rehearse);
        self.console
            .progress
            .send_modify(|progress| progress.open_at = Some(url));
        course.stop = Some(holding.watch(lease, self.console).await);
        if !matches!(course.stop, Some(Stop::Asked)) {
            return;
        }
        // Whoever is idle in a transaction block would be waited for, with all its locks.
        let asker = holding.asker();
        match tokio::time::timeout(SEND_AWAY, asker.back()).await {
            Ok(Ok(_)) => self.look(lease, before, holding, course).await,
            // The rehearsal says itself why it is over.
            Ok(Err(_)) => {}
            Err(_) => {
                course.broken = Some(Said::new(
                    Verdict::Interrupted,
                    "stopped while a client was in the middle of a statement, so that what it had \
                     done until then was not looked at; everything was rolled back",
                ));
            }
        }
    }

    /// Runs the command between the checks, each as far as nothing ends it.
    async fn command(
        &self,
        lease: &Lease,
        before: &Before,
        holding: &mut Holding,
        link: Sidecar,
        course: &mut Course,
    ) -> Sidecar {
        holding.serve(self);
        let (link, halt) = self
            .run_checks(CheckTime::Before, lease, holding, link, &mut course.checks)
            .await;
        course.halt(halt);
        if !course.goes_on() || !course.checks.iter().all(Checked::passed) {
            return link;
        }
        self.console.step(Step::Rehearse);
        let start = holding.start(self, self.plan.tool.command());
        let mut command = Command::start(link, start).await;
        let ended = tokio::select! {
            ended = command.ended() => ended,
            found = holding.watch(lease, self.console) => {
                course.stop = Some(found);
                command.stop().await
            }
        };
        let well = ended.how == How::Exited { code: 0 };
        course.ended = Some(ended);
        let link = command.over();
        if !well || !course.goes_on() {
            return link;
        }
        self.look(lease, before, holding, course).await;
        if !course.goes_on() {
            return link;
        }
        let (link, halt) = self
            .run_checks(CheckTime::After, lease, holding, link, &mut course.checks)
            .await;
        course.halt(halt);
        link
    }

    /// Reads the prediction, and asks what the user asks.
    async fn look(
        &self,
        lease: &Lease,
        before: &Before,
        holding: &mut Holding,
        course: &mut Course,
    ) {
        self.console.step(Step::Predict);
        let mut asker = holding.asker();
        let deadline = holding.deadline();
        let stopped = course.stop.is_some();
        let reading = async {
            if self.plan.goes_on() {
                course.touched = rows::touched(&mut asker).await.unwrap_or_default();
            }
            course.foreseen = Some(before.foresee(&mut asker).await?);
            self.ask_assertions(&asker, &deadline, &mut course.assertions)
                .await
        };
        tokio::select! {
            read = reading => course.broken = read.err(),
            found = holding.watch(lease, self.console), if !stopped => course.stop = Some(found),
        }
    }

    async fn roll_back(
        &self,
        lease: &Lease,
        before: &Before,
        holding: Holding,
        course: Course,
    ) -> DryRun {
        let (rehearsal, guard) = holding.finish().await;
        let mut broken = course.broken;
        // The locks are gone: now there is time to put it together.
        let prediction = match course.foreseen.map(|foreseen| before.predict(foreseen)) {
            Some(Ok(prediction)) => Some(Prediction {
                pieces: Some(rehearsal.pieces),
                ..prediction
            }),
            Some(Err(said)) => {
                broken = Some(said);
                None
            }
            None => None,
        };
        let stop = course.stop;
        let interrupted = matches!(stop, Some(Stop::Asked))
            || course
                .ended
                .as_ref()
                .is_some_and(|ended| ended.how == How::Stopped)
                && stop.is_none();
        if matches!(stop, Some(Stop::Lease)) {
            broken = Some(lock_lost());
        }
        DryRun {
            run: self.run.clone(),
            database: Some(lease.database.clone()),
            ended: course.ended,
            rehearsal,
            guard: match stop {
                Some(Stop::Guard(said)) => Some(said),
                _ => guard.ended.map(|it| Said::new(it.verdict, it.message)),
            },
            bypass: guard.bypass,
            longest_wait_millis: u64::try_from(guard.longest_wait.as_millis()).ok(),
            prediction,
            findings: guard.findings,
            fixtures: course.fixtures,
            assertions: course.assertions,
            checks: course.checks,
            revisions: None,
            second: None,
            timeouts: timeouts::of_role(&lease.identity.timeouts),
            denied: None,
            interrupted,
            broken,
        }
    }
}

pub(super) fn lock_lost() -> Said {
    Said::new(
        Verdict::Environment(Environment::ConnectionLost),
        "the connection that holds drydock's lock was lost, so the rehearsal was ended",
    )
}
