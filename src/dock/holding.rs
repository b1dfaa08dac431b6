//! One open rehearsal with its guard: from the first connection to the final ROLLBACK.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::interval;

use super::before::Holder;
use super::console::Console;
use super::lease::Lease;
use super::link::Start;
use super::record::{Lasted, Rehearsed, Said};
use super::rehearse::Stage;
use super::trouble::{guarding, identifying, opening};
use crate::guard::{self, Budgets, Deadline, Guard, name_of_command};
use crate::postgres::connect::StartupSettings;
use crate::postgres::dialect::Entrance;
use crate::postgres::identity::{self, Place};
use crate::postgres::url::{Password, Target};
use crate::rehearsal::proxy::{self, Asker, Rehearsal, Settings};
use crate::verdict::{Environment, Verdict};

/// How often the rehearsal's progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long rows that violate a constraint are counted at most. Who comes meanwhile waits for them as
/// for the migration itself, so it is no more than half of what anybody may wait.
const COUNTING: Duration = Duration::from_secs(1);

/// Where a rehearsal is held: what is left of the lease once others use its connection.
pub(super) struct Ground {
    target: Target,
    settings: StartupSettings,
    place: Place,
}

impl Ground {
    pub(super) fn of(lease: &Lease) -> Self {
        Self {
            target: lease.target.clone(),
            settings: lease.settings.clone(),
            place: lease.identity.place.clone(),
        }
    }
}

/// A transaction that is held open, for whoever knows its one-time password.
pub(super) struct Holding {
    rehearsal: Rehearsal,
    guard: Guard,
    entrance: Entrance,
    listener: Option<TcpListener>,
}

/// What ended the wait for a command.
pub(super) enum Stop {
    Guard(Said),
    Rehearsal,
    Lease,
    Asked,
}

impl Holding {
    /// Begins the transaction; serves nobody yet.
    pub(super) async fn open(
        stage: &Stage<'_>,
        ground: &Ground,
        address: SocketAddr,
    ) -> Result<Self, Said> {
        let failed = |what: &str, advice: &str, error: &std::io::Error| {
            Said::new(
                Verdict::Environment(Environment::Configuration),
                format!("cannot listen{what}: {error}{advice}"),
            )
        };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            failed(
                &format!(" on {address}"),
                "; choose another address",
                &error,
            )
        })?;
        let bound = listener
            .local_addr()
            .map_err(|error| failed("", "", &error))?;
        let entrance = Entrance {
            host: bound.ip().to_string(),
            port: bound.port(),
            user: ground.target.user.clone(),
            password: Some(Password::new(one_time_password())),
            database: ground.place.database.clone(),
        };
        let rehearsal = Rehearsal::open(
            &ground.target,
            Settings {
                run: stage.run.id.clone(),
                user: entrance.user.clone(),
                password: entrance.password.clone(),
                database: entrance.database.clone(),
                substitute_below: stage.plan.substitute_below,
                counting: COUNTING.min(stage.plan.budgets.blocking / 2),
                show_values: stage.plan.show_values,
                startup: ground.settings.clone(),
            },
        )
        .await
        .map_err(|error| opening(&error))?;
        let pid = rehearsal.upstream().pid;
        identity::agree(&mut rehearsal.asker(), pid, &ground.place)
            .await
            .map_err(|error| identifying(&error))?;
        let budgets = Budgets {
            blocking: stage.plan.budgets.blocking,
            duration: stage.plan.budgets.duration,
        };
        let guard = Guard::start(
            &ground.target,
            &ground.settings,
            &ground.place,
            &stage.run.id,
            pid,
            budgets,
        )
        .await
        .map_err(|error| guarding(&error))?;
        Ok(Self {
            rehearsal,
            guard,
            entrance,
            listener: Some(listener),
        })
    }

    /// Lets clients in; gives the address in the command's own notation.
    pub(super) fn serve(&mut self, stage: &Stage<'_>) -> String {
        if let Some(listener) = self.listener.take() {
            self.rehearsal.serve(listener);
        }
        stage.dialect.render(&self.entrance)
    }

    pub(super) fn asker(&self) -> Asker {
        self.rehearsal.asker()
    }

    /// For a part that has less time than all of it.
    pub(super) fn deadline(&self) -> Deadline {
        self.guard.deadline()
    }

    pub(super) fn holder(&self) -> Holder {
        let upstream = self.rehearsal.upstream();
        Holder {
            backend_pid: upstream.pid,
            xid: upstream.xid,
        }
    }

    /// A command that meets this rehearsal and nothing else.
    pub(super) fn start(&self, stage: &Stage<'_>, command: Vec<String>) -> Start {
        let mut secrets = Vec::new();
        for password in [self.entrance.password.as_ref(), stage.secret]
            .into_iter()
            .flatten()
        {
            secrets.push(password.reveal().to_owned());
        }
        let url = stage.dialect.render(&self.entrance);
        let mut set = stage.plan.expose.variables(&url, &self.entrance);
        // By which the guard knows a part of the command that does not read the address from here.
        let name = name_of_command(&stage.run.id, self.rehearsal.upstream().pid);
        set.push(("PGAPPNAME".to_owned(), name));
        Start {
            command,
            set,
            unset: stage.plan.expose.removed(),
            secrets,
            expendable: true,
            question: false,
        }
    }

    /// Ends with the first thing that must end the run; shows progress meanwhile.
    pub(super) async fn watch(&mut self, lease: &Lease, console: &Console) -> Stop {
        let moments = self.rehearsal.progress();
        let mut look = interval(LOOK);
        let mut guarded = self.guard.watch();
        loop {
            tokio::select! {
                event = self.guard.events.recv() => {
                    return Stop::Guard(match event {
                        Some(event) => Said::new(event.verdict, event.message),
                        None => Said::new(
                            Verdict::Environment(Environment::ConnectionLost),
                            "the guard's connection was lost, so the rehearsal was ended",
                        ),
                    });
                }
                () = self.rehearsal.ended() => return Stop::Rehearsal,
                () = lease.client.closed() => return Stop::Lease,
                () = console.stopped() => return Stop::Asked,
                _ = look.tick() => {
                    let moment = moments.borrow().clone();
                    console.progress.send_modify(|progress| {
                        progress.statements = moment.statements;
                        progress.current = moment.current;
                    });
                }
                Ok(()) = guarded.changed() => {
                    let moment = guarded.borrow_and_update().clone();
                    console.progress.send_modify(|progress| {
                        progress.blocked = moment.blocked;
                        progress.held = moment.held.iter().map(ToString::to_string).collect();
                    });
                }
            }
        }
    }

    /// Rolls back; gives what the rehearsal and the guard recorded.
    pub(super) async fn finish(self) -> (Rehearsed, guard::Record) {
        let upstream = self.rehearsal.upstream();
        let (found, guard) = tokio::join!(self.rehearsal.finish(), self.guard.stop());
        let blocked_by_substitution = guard.blocked_on.as_ref().is_some_and(|wanted| {
            let mut locks = found.substituted.iter();
            locks.any(|lock| lock.stops(wanted.relation, &wanted.mode))
        });
        let rehearsed = Rehearsed {
            connected: found.connected,
            // A core that is gone did not say it.
            xid: found.xid.or(upstream.xid),
            wrote: found.wrote,
            pieces: found.pieces,
            backend_pid: Some(upstream.pid),
            gapless: found.gapless,
            blocked_by_substitution,
            statements: found.statements,
            omitted: found.omitted,
            findings: found.findings,
            verdict: found
                .verdict
                .map(|(verdict, message)| Said::new(verdict, message)),
            longest_pause: found.longest_pause.map(lasted),
            longest_transaction: found.longest_transaction.map(lasted),
        };
        (rehearsed, guard)
    }
}

fn lasted(found: proxy::Lasted) -> Lasted {
    Lasted {
        millis: u64::try_from(found.time.as_millis()).unwrap_or(u64::MAX),
        statement: found.statement,
    }
}

/// Good for one run, on loopback, in front of a transaction that cannot commit.
fn one_time_password() -> String {
    use rand::distr::{Alphanumeric, SampleString};
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}
