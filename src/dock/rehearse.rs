//! The dry run: one rehearsal from the first connection to the record.

use std::net::SocketAddr;

use super::before::Before;
use super::console::Console;
use super::decide::round_trip::not_done;
use super::follow::{First, lock_lost};
use super::holding::{Ground, Holding};
use super::lease::Lease;
use super::link::Sidecar;
use super::moment;
use super::plan::Plan;
use super::record::{DryRun, Run, Said};
use super::round_trip::Known;
use super::timeouts;
use crate::postgres::dialect::Dialect;
use crate::postgres::identity::Warning;
use crate::postgres::url::Password;
use crate::report::{Finding, Severity};

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
        // Before there is a guard: what Alembic runs for an answer is no part of the migration.
        let (audience, heard) = self.ask(audience).await?;
        let opening = Holding::open(self, &ground, address);
        let taking = Before::take(lease, &self.plan.tool);
        let (holding, mut before) = tokio::try_join!(opening, taking)?;
        before.begin(&mut holding.asker()).await?;
        before.holder = Some(holding.holder());
        // A command that goes around the rehearsal must find the state before already written down.
        keep(&before)?;
        let First {
            mut record,
            link,
            touched,
        } = self.follow(lease, &before, holding, audience).await;
        let line = self.inspect(&before, &mut record, heard.as_ref());
        if let (Some(link), Some(prediction)) = (link, &record.prediction)
            && self.plan.goes_on()
            && record.may_go_on()
        {
            let known = Known {
                first: prediction,
                touched: &touched,
                line: &line,
                revisions: record.revisions.as_ref(),
                listed: heard.as_ref().is_some_and(|heard| heard.code == Some(0)),
            };
            let second = self
                .second_transaction(lease, &mut before, &known, link, keep)
                .await;
            record.interrupted |= second.interrupted;
            if second.lost {
                record.broken = Some(lock_lost());
            }
            record.findings.extend(second.findings.iter().cloned());
            if let (true, Some(reason)) = (self.plan.round_trip, &second.report.cut) {
                record.findings.push(not_done(reason));
            }
            record.second = Some(second);
        }
        record
            .findings
            .extend(lease.identity.warnings.iter().map(finding));
        record.findings.extend(timeouts::ahead(
            &record.timeouts,
            record.ended.as_ref().map_or(0, |ended| ended.millis),
            &record.rehearsal,
        ));
        record
            .findings
            .extend(record.prediction.as_ref().and_then(moment::finding));
        record.deny(&self.plan.deny);
        Ok((before, record))
    }
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
