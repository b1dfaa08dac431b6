//! The real upgrade, bound to the evidence of one dry run.

use super::before::Before;
use super::command::Command;
use super::console::{Console, Step};
use super::decide::{Standing, standing};
use super::lease::Lease;
use super::link::{Sidecar, Start};
use super::plan::{Expose, Plan};
use super::record::{Run, Said, Upgrade};
use crate::postgres::dialect::{Dialect, Entrance};
use crate::postgres::lock::UPGRADING;
use crate::postgres::url::HostName;
use crate::report::{Database, Finding, Prediction, Severity};
use crate::verdict::{Environment, Verdict, Verified};

/// Everything that one upgrade needs and that outlives it.
#[derive(Debug)]
pub struct Upgrading<'a> {
    /// What is to be run.
    pub plan: &'a Plan,
    /// Which run.
    pub run: &'a Run,
    /// How the command reads its address.
    pub dialect: &'a Dialect,
    /// The URL as it was given; `None` when it was given otherwise.
    pub text: Option<&'a str>,
    /// Where it is shown.
    pub console: &'a Console,
    /// Proof that the dry run passed.
    pub verified: Verified,
    /// Where it took place.
    pub rehearsed_on: Option<&'a Database>,
}

/// The startup setting that keeps the upgrade from queueing in front of the application.
const LOCK_TIMEOUT: &str = "lock_timeout";

impl Upgrading<'_> {
    /// Looks where the database stands and, when it stands where the dry run began, runs the
    /// command. `keep` is handed the state before the command starts.
    ///
    /// # Errors
    /// When the command was not started: drift, or the surroundings.
    pub async fn upgrade(
        &self,
        lease: &mut Lease,
        predicted: &Prediction,
        link: Sidecar,
        keep: impl FnOnce(&Before) -> Result<(), Said>,
    ) -> Result<(Before, Upgrade), Said> {
        let ready = self.prepare(lease, predicted, keep).await;
        let (before, start, findings) = match ready {
            Ok(ready) => ready,
            Err(said) => {
                Command::nothing(link, &said.message).await;
                return Err(said);
            }
        };
        let mut record = Upgrade::begun(
            self.run.clone(),
            lease.database.clone(),
            self.plan.tool.remembers(),
            Some(self.verified.evidence().clone()),
        );
        record.findings = findings;
        let Some(start) = start else {
            record.already_applied = true;
            Command::nothing(link, "the database is in the predicted state already").await;
            return Ok((before, record));
        };
        self.console.step(Step::Upgrade);
        let mut command = Command::start(link, start).await;
        let lost = tokio::select! {
            ended = command.ended() => {
                record.ended = Some(ended);
                return Ok((before, record));
            }
            () = self.console.stopped() => false,
            () = lease.client.closed() => true,
        };
        record.interrupted = !lost;
        // A command that is committing is asked, and then waited for: whoever kills it does not
        // know what was committed.
        record.ended = Some(if lost {
            // Without the lock another run may begin, but this one cannot be taken back.
            record.findings.push(Finding {
                code: "LockLost".to_owned(),
                severity: Severity::Warning,
                message: "the connection that holds drydock's lock was lost during the upgrade"
                    .to_owned(),
                statement: None,
            });
            command.ended().await
        } else {
            command.finish().await
        });
        Ok((before, record))
    }

    async fn prepare(
        &self,
        lease: &mut Lease,
        predicted: &Prediction,
        keep: impl FnOnce(&Before) -> Result<(), Said>,
    ) -> Result<(Before, Option<Start>, Vec<Finding>), Said> {
        lease.must_be(self.rehearsed_on)?;
        let before = Before::take(lease, &self.plan.tool).await?;
        keep(&before)?;
        match standing(&before.state, predicted, self.plan.tool.remembers()) {
            Standing::AsBefore => {}
            Standing::AsPredicted => return Ok((before, None, Vec::new())),
            Standing::Elsewhere { what } => {
                return Err(Said::new(
                    Verdict::Drift,
                    format!(
                        "the database is no longer as it was rehearsed on: {what}. Nothing was \
                         written; rehearse again"
                    ),
                ));
            }
        }
        let (start, findings) = self.start(lease)?;
        Ok((before, Some(start), findings))
    }

    fn start(&self, lease: &Lease) -> Result<(Start, Vec<Finding>), Said> {
        let millis = self
            .plan
            .upgrade_lock_timeout
            .unwrap_or_else(|| lease.lock_timeout())
            .as_millis()
            .to_string();
        let entrance = entrance(lease)?;
        let given = match self.text {
            Some(text) => text.to_owned(),
            None => self.dialect.render_real(&entrance),
        };
        let mut findings = Vec::new();
        // So that the next run sees a command that outlived this one. A name in the URL wins.
        let mut set = vec![(
            "PGAPPNAME".to_owned(),
            format!("{UPGRADING}{}", self.run.id.0),
        )];
        // For a command that reads the address in parts; an option in the URL wins.
        set.push(("PGOPTIONS".to_owned(), options(lease, &millis)));
        let url = match (
            self.text,
            self.dialect.with_setting(
                &given,
                LOCK_TIMEOUT,
                &millis,
                lease.target.options.as_deref(),
            ),
        ) {
            (Some(_), Some(url)) => url,
            (Some(_), None) if !self.plan.expose.url.is_empty() => {
                findings.push(Finding {
                    code: "NoLockTimeout".to_owned(),
                    severity: Severity::Warning,
                    message: "this driver takes no settings from its URL, so the upgrade ran \
                              without a lock_timeout; set one in the migration itself"
                        .to_owned(),
                    statement: None,
                });
                given
            }
            _ => given,
        };
        // The variables of libpq are the user's own and stay as they are.
        let exposed = Expose {
            libpq: false,
            ..self.plan.expose.clone()
        };
        set.extend(exposed.variables(&url, &entrance));
        Ok((
            Start {
                command: self.plan.tool.command(),
                set,
                unset: Vec::new(),
                secrets: entrance
                    .password
                    .iter()
                    .map(|password| password.reveal().to_owned())
                    .collect(),
                expendable: false,
                question: false,
            },
            findings,
        ))
    }
}

/// Our setting first: the server lets the last of equal ones win, and the user's own word must.
fn options(lease: &Lease, millis: &str) -> String {
    let ours = format!("-c {LOCK_TIMEOUT}={millis}");
    match &lease.target.options {
        Some(theirs) => format!("{ours} {theirs}"),
        None => ours,
    }
}

/// The real address in parts.
fn entrance(lease: &Lease) -> Result<Entrance, Said> {
    let host = lease.target.hosts.first().ok_or_else(|| {
        Said::new(
            Verdict::Environment(Environment::Configuration),
            "the database's address names no host",
        )
    })?;
    Ok(Entrance {
        host: match &host.name {
            HostName::Tcp(name) => name.clone(),
            HostName::Socket(folder) => folder.display().to_string(),
        },
        port: host.port,
        user: lease.target.user.clone(),
        password: lease.target.password.clone(),
        database: lease.target.database.clone(),
    })
}
