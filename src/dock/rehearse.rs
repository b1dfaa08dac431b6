//! The dry run: one rehearsal from the first connection to the record.

use std::net::SocketAddr;

use super::before::Before;
use super::command::Command;
use super::console::{Console, Step};
use super::holding::{Ground, Holding, Stop};
use super::lease::Lease;
use super::link::{Ended, How, Sidecar};
use super::moment;
use super::plan::Plan;
use super::record::{DryRun, Run, Said};
use super::rows;
use super::timeouts;
use crate::postgres::dialect::Dialect;
use crate::postgres::identity::Warning;
use crate::postgres::url::Password;
use crate::report::{Finding, Severity};
use crate::verdict::{Environment, Verdict};

/// Everything that one rehearsal needs and that outlives it.
#[derive(Debug)]
pub struct Stage<'a> {
    /// What is to be run.
    pub plan: &'a Plan,
    /// Which run.
    pub run: &'a Run,
    /// How the command reads its address.
    pub dialect: &'a Dialect,
    /// The real password, which must not appear in what is kept of the output.
    pub secret: Option<&'a Password>,
    /// Where it is shown.
    pub console: &'a Console,
}

/// Who will connect.
#[derive(Debug)]
pub enum Audience {
    /// The plan's command, started by this runner.
    Command(Sidecar),
    /// Whoever wants to, until the run is stopped.
    Anybody,
}

impl Stage<'_> {
    /// Rehearses. `keep` is handed the state before the command is started.
    ///
    /// # Errors
    /// When the rehearsal could not be opened; then the command was not started and there is nothing
    /// to prove.
    pub async fn rehearse(
        &self,
        lease: &mut Lease,
        address: SocketAddr,
        audience: Audience,
        keep: impl Fn(&Before) -> Result<(), Said>,
    ) -> Result<(Before, DryRun), Said> {
        let ground = Ground::of(lease);
        let opening = Holding::open(self, &ground, address);
        let taking = Before::take(lease, &self.plan.tool);
        let (mut holding, mut before) = tokio::try_join!(opening, taking)?;
        before.begin(&mut holding.asker()).await?;
        before.holder = Some(holding.holder());
        // A command that goes around the rehearsal must find the state before already written down.
        keep(&before)?;
        let url = holding.serve(self);
        self.console.step(Step::Rehearse);
        let command = match audience {
            Audience::Anybody => {
                self.console
                    .progress
                    .send_modify(|progress| progress.open_at = Some(url));
                None
            }
            Audience::Command(link) => {
                let start = holding.start(self, self.plan.tool.command());
                Some(Command::start(link, start).await)
            }
        };
        let First {
            mut record,
            link,
            touched,
        } = self.follow(lease, &before, holding, command).await;
        let link = match link {
            Some(link) if !record.interrupted => self.inspect(&before, &mut record, link).await,
            _ => None,
        };
        if let (Some(link), Some(prediction)) = (link, &record.prediction)
            && self.plan.round_trip
            && record.may_go_on()
        {
            let second = self
                .round_trip(lease, &mut before, prediction, &touched, link, keep)
                .await;
            record.interrupted |= second.interrupted;
            if second.lost {
                record.broken = Some(lock_lost());
            }
            record.findings.extend(second.findings.iter().cloned());
            record.second = Some(second);
        }
        record
            .findings
            .extend(lease.identity.warnings.iter().map(finding));
        record.findings.extend(timeouts::ahead(
            &lease.identity.timeouts,
            record.ended.as_ref().map_or(0, |ended| ended.millis),
            &record.rehearsal.statements,
        ));
        record
            .findings
            .extend(record.prediction.as_ref().and_then(moment::finding));
        record.deny(&self.plan.deny);
        Ok((before, record))
    }

    /// Waits for the command, or for whatever ends it; then predicts and rolls back.
    async fn follow(
        &self,
        lease: &Lease,
        before: &Before,
        mut holding: Holding,
        mut command: Option<Command>,
    ) -> First {
        let mut stop = None;
        let mut foreseen = None;
        let mut assertions = Vec::new();
        let mut broken = None;
        let mut touched = Vec::new();
        let mut ended = tokio::select! {
            ended = ended(&mut command) => Some(ended),
            found = holding.watch(lease, self.console) => {
                stop = Some(found);
                None
            }
        };
        let succeeded = match &ended {
            Some(ended) => ended.how == How::Exited { code: 0 },
            // An open rehearsal is over when it is stopped.
            None => command.is_none() && matches!(stop, Some(Stop::Asked)),
        };
        if succeeded {
            self.console.step(Step::Predict);
            let mut asker = holding.asker();
            let deadline = holding.deadline();
            let reading = async {
                if self.plan.round_trip {
                    touched = rows::written(&mut asker).await.unwrap_or_default();
                }
                foreseen = Some(before.foresee(&mut asker).await?);
                self.ask_assertions(&asker, &deadline, &mut assertions)
                    .await
            };
            tokio::select! {
                read = reading => broken = read.err(),
                found = holding.watch(lease, self.console), if stop.is_none() => {
                    stop = Some(found);
                }
            }
        }
        if ended.is_none()
            && let Some(command) = &mut command
        {
            ended = Some(command.stop().await);
        }
        let (rehearsal, guard) = holding.finish().await;
        // The locks are gone: now there is time to put it together.
        let prediction = match foreseen.map(|foreseen| before.predict(foreseen)) {
            Some(Ok(prediction)) => Some(prediction),
            Some(Err(said)) => {
                broken = Some(said);
                None
            }
            None => None,
        };
        let interrupted = matches!(stop, Some(Stop::Asked))
            || ended
                .as_ref()
                .is_some_and(|ended| ended.how == How::Stopped)
                && stop.is_none();
        if matches!(stop, Some(Stop::Lease)) {
            broken = Some(lock_lost());
        }
        let record = DryRun {
            run: self.run.clone(),
            database: Some(lease.database.clone()),
            ended,
            rehearsal,
            guard: match stop {
                Some(Stop::Guard(said)) => Some(said),
                _ => guard.ended.map(|it| Said::new(it.verdict, it.message)),
            },
            bypass: guard.bypass,
            longest_wait_millis: u64::try_from(guard.longest_wait.as_millis()).ok(),
            prediction,
            findings: guard.findings,
            assertions,
            revisions: None,
            second: None,
            denied: None,
            interrupted,
            broken,
        };
        First {
            record,
            link: command.map(Command::over),
            touched,
        }
    }
}

/// What the first transaction comes to.
struct First {
    record: DryRun,
    /// Over which more commands may be started.
    link: Option<Sidecar>,
    /// Tables whose rows were written, where that is of use later.
    touched: Vec<String>,
}

fn lock_lost() -> Said {
    Said::new(
        Verdict::Environment(Environment::ConnectionLost),
        "the connection that holds drydock's lock was lost, so the rehearsal was ended",
    )
}

/// What is unusual about the role, for the report.
fn finding(warning: &Warning) -> Finding {
    let code = match warning {
        Warning::Superuser(_) => "SuperuserRole",
        Warning::Isolation { .. } => "IsolationNotRehearsed",
    };
    Finding {
        code: code.to_owned(),
        severity: Severity::Warning,
        message: warning.to_string(),
        statement: None,
    }
}

async fn ended(command: &mut Option<Command>) -> Ended {
    match command {
        Some(command) => command.ended().await,
        None => std::future::pending().await,
    }
}
