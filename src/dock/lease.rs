//! The connection that holds the database for one run: everything else hangs on it.

use std::time::{Duration, Instant};

use super::record::Said;
use super::trouble::{asking, connecting, identifying};
use crate::postgres::connect::{self, Client, StartupSettings};
use crate::postgres::identity::{self, Identity, Place};
use crate::postgres::url::Target;
use crate::postgres::{lock, wait};
use crate::report::{Database, RunId};
use crate::verdict::{Environment, Verdict};

/// How often a busy database is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// How long the sessions of a run that has just ended may take to go.
const GOODBYE: Duration = Duration::from_secs(3);

/// A session that holds drydock's advisory lock on one database.
#[derive(Debug)]
pub struct Lease {
    /// The session itself.
    pub client: Client,
    /// Where every other connection of the run goes, settled once.
    pub target: Target,
    /// Who the server is.
    pub identity: Identity,
    /// Which database it is.
    pub database: Database,
    /// What connections that live as long as the run are started with.
    pub settings: StartupSettings,
}

impl Lease {
    /// Connects, checks that the server is one that can be rehearsed on, and takes the lock; waits
    /// for it as long as `patience`, and for the end of an earlier run's sessions at least three
    /// seconds.
    ///
    /// # Errors
    /// With the cause from the surroundings.
    pub async fn take(target: &Target, run: &RunId, patience: Duration) -> Result<Self, Said> {
        let application = application_name(run);
        let first = StartupSettings::first(&application);
        let (target, mut client) = connect::pin(target, &first)
            .await
            .map_err(|error| connecting(&error))?;
        let identity = identity::check(&mut client)
            .await
            .map_err(|error| identifying(&error))?;
        let major = identity.place.major;
        let settings = StartupSettings::for_major(&application, major);
        connect::set(&mut client, &settings.clone().unbounded(major))
            .await
            .map_err(|error| asking("set what keeps a session alive", &error))?;
        let began = Instant::now();
        while let Some(holder) = lock::try_take(&mut client)
            .await
            .map_err(|error| asking("take drydock's lock", &error))?
        {
            if began.elapsed() >= patience {
                return Err(Said::new(
                    Verdict::Environment(Environment::Busy),
                    format!(
                        "another run works on database {}: {holder}; try again when it has ended",
                        identity.place.database
                    ),
                ));
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        let patience = patience.max(GOODBYE);
        while let Some(session) = lock::left_over(&mut client)
            .await
            .map_err(|error| asking("look for sessions of an earlier run", &error))?
        {
            if began.elapsed() >= patience {
                return Err(Said::new(
                    Verdict::Environment(Environment::EarlierRunAlive),
                    format!(
                        "an earlier run still works on database {}: {session}; wait until it has \
                         ended, or end it with SELECT pg_terminate_backend({})",
                        identity.place.database,
                        session.pid.unwrap_or_default()
                    ),
                ));
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        Ok(Self {
            client,
            target,
            database: database(&identity),
            identity,
            settings,
        })
    }

    /// Checks that a dry run took place where this lease is.
    ///
    /// # Errors
    /// Drift, when it did not: nothing is written there, it is to be rehearsed again.
    pub fn must_be(&self, rehearsed_on: Option<&Database>) -> Result<(), Said> {
        let elsewhere =
            rehearsed_on.and_then(|database| self.identity.place.disagreement(&place(database)));
        match elsewhere {
            None => Ok(()),
            Some(what) => Err(Said::new(
                Verdict::Drift,
                format!(
                    "this is not the place that was rehearsed on: {what}. Nothing was written; \
                     rehearse again"
                ),
            )),
        }
    }

    /// How long a statement of the upgrade may queue for a lock, as in the rehearsal, and never
    /// longer than the role's own statements may.
    #[must_use]
    pub fn lock_timeout(&self) -> Duration {
        let own = self.identity.timeouts.lock;
        patience(self.identity.deadlock_timeout, own)
    }
}

fn patience(deadlock_timeout: Duration, own: Option<Duration>) -> Duration {
    let ours = wait::patience(deadlock_timeout);
    own.map_or(ours, |own| own.min(ours))
}

/// The server as the document of a run names it.
fn database(identity: &Identity) -> Database {
    let place = identity.place.clone();
    Database {
        system_identifier: place.system_identifier,
        timeline: place.timeline,
        name: place.database,
        server_version: identity.server_version.clone(),
        major: place.major,
        role: place.role,
        size_bytes: identity.size_bytes,
    }
}

/// Where a document says that its run took place.
#[must_use]
pub fn place(database: &Database) -> Place {
    Place {
        system_identifier: database.system_identifier.clone(),
        timeline: database.timeline,
        database: database.name.clone(),
        major: database.major,
        role: database.role.clone(),
    }
}

/// What a run's sessions are called in `pg_stat_activity`.
#[must_use]
pub fn application_name(run: &RunId) -> String {
    format!("drydock/{}", run.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1000, None, 1500)]
    #[case(1000, Some(5000), 1500)]
    #[case(1000, Some(100), 100)]
    fn a_lock_is_waited_for_until_autovacuum_is_cancelled_and_never_longer_than_the_role_would(
        #[case] deadlock_timeout: u64,
        #[case] own: Option<u64>,
        #[case] expected: u64,
    ) {
        assert_eq!(
            patience(
                Duration::from_millis(deadlock_timeout),
                own.map(Duration::from_millis)
            )
            .as_millis(),
            u128::from(expected)
        );
    }
}
