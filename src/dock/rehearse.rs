//! The dry run: one rehearsal from the first connection to the record.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::interval;

use super::before::{Before, Holder};
use super::command::Command;
use super::console::{Console, Step};
use super::lease::Lease;
use super::link::{Ended, How, Sidecar, Start};
use super::moment;
use super::plan::Plan;
use super::record::{DryRun, Rehearsed, Run, Said};
use super::timeouts;
use super::trouble::{guarding, identifying, opening};
use crate::guard::{Budgets, Guard, name_of_command};
use crate::postgres::dialect::{Dialect, Entrance};
use crate::postgres::identity::{self, Warning};
use crate::postgres::url::Password;
use crate::rehearsal::proxy::{Rehearsal, Settings};
use crate::report::{Finding, Severity};
use crate::verdict::{Environment, Verdict};

/// How often the rehearsal's progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

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

/// What ended the wait for the command.
enum Stop {
    Guard(Said),
    Rehearsal,
    Lease,
    Asked,
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
        keep: impl FnOnce(&Before) -> Result<(), Said>,
    ) -> Result<(Before, DryRun), Said> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Said::new(
                Verdict::Environment(Environment::Configuration),
                format!("cannot listen on {address}: {error}; choose another address"),
            )
        })?;
        let entrance = self.entrance(&listener, lease)?;
        let url = self.dialect.render(&entrance);
        // A command that goes around the rehearsal must find the state before already written down.
        let (before, rehearsal, guard) = self.open(lease, &entrance, keep).await?;
        rehearsal.serve(listener);
        self.console.step(Step::Rehearse);
        let mut command = match audience {
            Audience::Anybody => {
                self.console
                    .progress
                    .send_modify(|progress| progress.open_at = Some(url));
                None
            }
            Audience::Command(link) => {
                Some(Command::start(link, self.start(&url, &entrance)).await)
            }
        };
        let mut record = self
            .follow(lease, &before, rehearsal, guard, &mut command)
            .await;
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
        Ok((before, record))
    }

    async fn open(
        &self,
        lease: &mut Lease,
        entrance: &Entrance,
        keep: impl FnOnce(&Before) -> Result<(), Said>,
    ) -> Result<(Before, Rehearsal, Guard), Said> {
        let target = lease.target.clone();
        let settings = lease.settings.clone();
        let place = lease.identity.place.clone();
        let budgets = Budgets {
            blocking: self.plan.budgets.blocking,
            duration: self.plan.budgets.duration,
        };
        let holding = async {
            let rehearsal = Rehearsal::open(
                &target,
                Settings {
                    run: self.run.id.clone(),
                    user: entrance.user.clone(),
                    password: entrance.password.clone(),
                    database: entrance.database.clone(),
                    substitute_below: self.plan.substitute_below,
                    startup: settings.clone(),
                },
            )
            .await
            .map_err(|error| opening(&error))?;
            let pid = rehearsal.upstream().pid;
            identity::agree(&mut rehearsal.asker(), pid, &place)
                .await
                .map_err(|error| identifying(&error))?;
            let guard = Guard::start(&target, &settings, &place, &self.run.id, pid, budgets)
                .await
                .map_err(|error| guarding(&error))?;
            Ok::<_, Said>((rehearsal, guard))
        };
        let taking = Before::take(lease, &self.plan.tool);
        let ((rehearsal, guard), mut before) = tokio::try_join!(holding, taking)?;
        let upstream = rehearsal.upstream();
        before.begin(&mut rehearsal.asker()).await?;
        before.holder = Some(Holder {
            backend_pid: upstream.pid,
            xid: upstream.xid,
        });
        keep(&before)?;
        Ok((before, rehearsal, guard))
    }

    /// Waits for the command, or for whatever ends it; then predicts and rolls back.
    async fn follow(
        &self,
        lease: &Lease,
        before: &Before,
        rehearsal: Rehearsal,
        mut guard: Guard,
        command: &mut Option<Command>,
    ) -> DryRun {
        let mut stop = None;
        let mut foreseen = None;
        let mut broken = None;
        let ended = tokio::select! {
            ended = ended(command) => Some(ended),
            found = self.watch(lease, &rehearsal, &mut guard) => {
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
            let mut asker = rehearsal.asker();
            tokio::select! {
                read = before.foresee(&mut asker) => match read {
                    Ok(read) => foreseen = Some(read),
                    Err(said) => broken = Some(said),
                },
                found = self.watch(lease, &rehearsal, &mut guard), if stop.is_none() => {
                    stop = Some(found);
                }
            }
        }
        let ended = match (ended, command.take()) {
            (None, Some(command)) => Some(command.stop().await),
            (ended, _) => ended,
        };
        let backend_pid = rehearsal.upstream().pid;
        let (found, guard) = tokio::join!(rehearsal.finish(), guard.stop());
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
            broken = Some(Said::new(
                Verdict::Environment(Environment::ConnectionLost),
                "the connection that holds drydock's lock was lost, so the rehearsal was ended",
            ));
        }
        DryRun {
            run: self.run.clone(),
            database: Some(lease.database.clone()),
            ended,
            rehearsal: Rehearsed {
                connected: found.connected,
                xid: found.xid,
                wrote: found.wrote,
                backend_pid: Some(backend_pid),
                gapless: found.gapless,
                statements: found.statements,
                omitted: found.omitted,
                findings: found.findings,
                verdict: found
                    .verdict
                    .map(|(verdict, message)| Said::new(verdict, message)),
            },
            guard: match stop {
                Some(Stop::Guard(said)) => Some(said),
                _ => guard.ended.map(|it| Said::new(it.verdict, it.message)),
            },
            bypass: guard.bypass,
            longest_wait_millis: u64::try_from(guard.longest_wait.as_millis()).ok(),
            prediction,
            findings: guard.findings,
            interrupted,
            broken,
        }
    }

    /// Ends with the first thing that must end the run; shows progress meanwhile.
    async fn watch(&self, lease: &Lease, rehearsal: &Rehearsal, guard: &mut Guard) -> Stop {
        let moments = rehearsal.progress();
        let mut look = interval(LOOK);
        let mut guarded = guard.watch();
        loop {
            tokio::select! {
                event = guard.events.recv() => {
                    return Stop::Guard(match event {
                        Some(event) => Said::new(event.verdict, event.message),
                        None => Said::new(
                            Verdict::Environment(Environment::ConnectionLost),
                            "the guard's connection was lost, so the rehearsal was ended",
                        ),
                    });
                }
                () = rehearsal.ended() => return Stop::Rehearsal,
                () = lease.client.closed() => return Stop::Lease,
                () = self.console.stopped() => return Stop::Asked,
                _ = look.tick() => {
                    let moment = moments.borrow().clone();
                    self.console.progress.send_modify(|progress| {
                        progress.statements = moment.statements;
                        progress.current = moment.current;
                    });
                }
                Ok(()) = guarded.changed() => {
                    let moment = guarded.borrow_and_update().clone();
                    self.console.progress.send_modify(|progress| {
                        progress.blocked = moment.blocked;
                        progress.held = moment.held.iter().map(ToString::to_string).collect();
                    });
                }
            }
        }
    }

    /// Who may enter the rehearsal, and where.
    fn entrance(&self, listener: &TcpListener, lease: &Lease) -> Result<Entrance, Said> {
        let address = listener.local_addr().map_err(|error| {
            Said::new(
                Verdict::Environment(Environment::Configuration),
                format!("cannot listen: {error}"),
            )
        })?;
        Ok(Entrance {
            host: address.ip().to_string(),
            port: address.port(),
            user: lease.target.user.clone(),
            password: Some(Password::new(one_time_password())),
            database: lease.database.name.clone(),
        })
    }

    fn start(&self, url: &str, entrance: &Entrance) -> Start {
        let mut secrets = Vec::new();
        for password in [entrance.password.as_ref(), self.secret]
            .into_iter()
            .flatten()
        {
            secrets.push(password.reveal().to_owned());
        }
        let mut set = self.plan.expose.variables(url, entrance);
        // By which the guard knows a part of the command that does not read the address from here.
        set.push(("PGAPPNAME".to_owned(), name_of_command(&self.run.id)));
        Start {
            command: self.plan.tool.command(),
            set,
            unset: self.plan.expose.removed(),
            secrets,
            expendable: true,
        }
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

async fn ended(command: &mut Option<Command>) -> Ended {
    match command {
        Some(command) => command.ended().await,
        None => std::future::pending().await,
    }
}

/// Good for one run, on loopback, in front of a transaction that cannot commit.
fn one_time_password() -> String {
    use rand::distr::{Alphanumeric, SampleString};
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}
