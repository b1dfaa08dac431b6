//! The connection that holds the database for one run: everything else hangs on it.

use std::time::{Duration, Instant};

use super::record::Said;
use super::trouble::{asking, connecting, identifying};
use crate::postgres::connect::{self, Client, StartupSettings};
use crate::postgres::identity::{self, Identity};
use crate::postgres::lock;
use crate::postgres::url::Target;
use crate::report::{Database, RunId};
use crate::verdict::{Environment, Verdict};

/// How often a busy database is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(50);

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
    /// for it as long as `patience`.
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
        let settings = StartupSettings::for_major(&application, identity.major);
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
                        identity.database
                    ),
                ));
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        Ok(Self {
            client,
            target,
            database: Database {
                system_identifier: identity.system_identifier.clone(),
                timeline: identity.timeline,
                name: identity.database.clone(),
                server_version: identity.server_version.clone(),
                major: identity.major,
                role: identity.role.clone(),
                size_bytes: identity.size_bytes,
            },
            identity,
            settings,
        })
    }

    /// How long a statement of ours may queue for a lock: shorter than the server waits before it
    /// looks for a deadlock, so that our wait never makes it end somebody else's transaction.
    #[must_use]
    pub fn lock_timeout(&self) -> Duration {
        self.identity.deadlock_timeout.mul_f64(0.8)
    }
}

/// What a run's sessions are called in `pg_stat_activity`.
#[must_use]
pub fn application_name(run: &RunId) -> String {
    format!("drydock/{}", run.0)
}
