//! The whole pipeline in one process: sidecar, runner and witness joined by channels.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use rand::distr::{Alphanumeric, SampleString};

use super::before::Before;
use super::console::{Console, Step};
use super::document;
use super::lease::Lease;
use super::link;
use super::plan::Plan;
use super::record::{Run, Said};
use super::rehearse::{Audience, Stage};
use super::runner;
use super::upgrade::Upgrading;
use super::verify;
use crate::postgres::dialect::Dialect;
use crate::postgres::url::Target;
use crate::report::{Phase, Report, RunId};
use crate::verdict::{RollbackProof, Verdict, Verified};

/// One run on this machine.
#[derive(Debug)]
pub struct Local {
    plan: Plan,
    target: Target,
    dialect: Dialect,
    text: Option<String>,
    listen: Option<SocketAddr>,
    run: Run,
    held: Option<(Lease, Before)>,
}

impl Local {
    /// Prepares a run. `text` is the URL as the user wrote it, `None` when the `PG*` variables gave
    /// the address; `listen` opens the rehearsal to anybody at that address.
    #[must_use]
    pub fn new(
        plan: Plan,
        target: Target,
        dialect: Dialect,
        text: Option<String>,
        listen: Option<SocketAddr>,
    ) -> Self {
        let random = Alphanumeric
            .sample_string(&mut rand::rng(), 10)
            .to_ascii_lowercase();
        let run = Run {
            id: RunId(format!("local-{random}")),
            attempt: 1,
            command: plan.tool.command(),
            tool: plan.tool.name().to_owned(),
            started: Timestamp::now(),
        };
        Self {
            plan,
            target,
            dialect,
            text,
            listen,
            run,
            held: None,
        }
    }

    /// The database's name, as a person is asked about it.
    #[must_use]
    pub fn name(&self) -> String {
        let hosts: Vec<String> = self.target.hosts.iter().map(ToString::to_string).collect();
        format!("{} at {}", self.target.database, hosts.join(","))
    }

    /// Rehearses and verifies. The database stays held for [`Local::upgrade`].
    pub async fn rehearse(&mut self, console: &Console) -> Report {
        console.step(Step::Prepare);
        match self.try_rehearse(console).await {
            Ok(report) => report,
            Err(said) => document::not_started(
                &self.run,
                Phase::DryRun,
                self.held.as_ref().map(|(lease, _)| lease.database.clone()),
                said,
                Timestamp::now(),
            ),
        }
    }

    async fn try_rehearse(&mut self, console: &Console) -> Result<Report, Said> {
        let mut lease = Lease::take(&self.target, &self.run.id, Duration::ZERO).await?;
        let stage = Stage {
            plan: &self.plan,
            run: &self.run,
            dialect: &self.dialect,
            secret: self.target.password.as_ref(),
            console,
        };
        let (audience, address, runner) = match self.listen {
            Some(address) => (Audience::Anybody, address, None),
            None => {
                let (sidecar, runner) = link::channel();
                let runner = tokio::spawn(runner::serve(
                    runner,
                    console.output.clone(),
                    // Here the sidecar hears of a signal and stops the command.
                    tokio::sync::watch::channel(false).1,
                ));
                (
                    Audience::Command(sidecar),
                    SocketAddr::from(([127, 0, 0, 1], 0)),
                    Some(runner),
                )
            }
        };
        let (before, record) = stage
            .rehearse(&mut lease, address, audience, |_| Ok(()))
            .await?;
        if let Some(runner) = runner {
            // It has handed its result over; a panic in it is already counted as a lost command.
            let _ = runner.await;
        }
        console.step(Step::Verify);
        let witness = verify::rollback(&lease.target, &self.run.id, &before, &record).await;
        self.held = Some((lease, before));
        Ok(document::dry_run(record, witness, Timestamp::now()))
    }

    /// Upgrades for real, bound to a dry run that passed. Consumes what [`Local::rehearse`] holds.
    pub async fn upgrade(&mut self, rehearsed: &Report, console: &Console) -> Report {
        console.step(Step::Prepare);
        self.run.started = Timestamp::now();
        let database = self.held.as_ref().map(|(lease, _)| lease.database.clone());
        match self.try_upgrade(rehearsed, console).await {
            Ok(report) => report,
            Err(said) => {
                document::not_started(&self.run, Phase::Upgrade, database, said, Timestamp::now())
            }
        }
    }

    async fn try_upgrade(&mut self, rehearsed: &Report, console: &Console) -> Result<Report, Said> {
        let evidence = rehearsed.digest();
        let proof = rehearsed
            .witness
            .as_ref()
            .map_or(RollbackProof::Unknown, |witness| witness.rollback);
        let verified = Verified::check(&rehearsed.verdict, proof, &evidence, &evidence)
            .map_err(|reason| Said::new(rehearsed.verdict.clone(), reason.to_string()))?;
        let (Some((mut lease, _)), Some(predicted)) = (self.held.take(), &rehearsed.prediction)
        else {
            return Err(Said::new(
                Verdict::Drift,
                "the rehearsal left no prediction; rehearse again",
            ));
        };
        let upgrading = Upgrading {
            plan: &self.plan,
            run: &self.run,
            dialect: &self.dialect,
            text: self.text.as_deref(),
            console,
            verified,
            rehearsed_on: rehearsed.database.as_ref(),
        };
        let (sidecar, runner) = link::channel();
        let runner = tokio::spawn(runner::serve(
            runner,
            console.output.clone(),
            tokio::sync::watch::channel(false).1,
        ));
        let (before, record) = upgrading
            .upgrade(&mut lease, predicted, sidecar, |_| Ok(()))
            .await?;
        let _ = runner.await;
        console.step(Step::Compare);
        let ended = record.ended.as_ref();
        let after = verify::after(&lease.target, &self.run.id, &before, ended).await;
        Ok(document::upgrade(
            record,
            predicted,
            rehearsed.command_millis,
            after,
            Timestamp::now(),
        ))
    }
}
