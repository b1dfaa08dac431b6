//! Who the server is, and whether it is one to rehearse on. Everything is asked before any setting
//! is made and any lock is taken.

use std::time::Duration;

use super::ask::{Ask, AskError, one};
use super::connect::Client;

/// The majors that drydock is tested against.
pub const SUPPORTED: std::ops::RangeInclusive<u32> = 13..=18;

/// What all connections of one run, and its upgrade, must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `system_identifier` of `pg_control_system()`; empty when the role may not read it.
    pub system_identifier: String,
    /// Timeline of the last checkpoint; 0 when the role may not read it.
    pub timeline: u32,
    /// `current_database()`.
    pub database: String,
    /// Major version.
    pub major: u32,
    /// `current_user`.
    pub role: String,
}

/// Where a connection leads, and what a run should know of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which server, which database, as whom.
    pub place: Place,
    /// `server_version` as the server writes it.
    pub server_version: String,
    /// Size of the database in bytes; `None` when the role may not ask.
    pub size_bytes: Option<u64>,
    /// The role's own timeouts.
    pub timeouts: Timeouts,
    /// `deadlock_timeout`.
    pub deadlock_timeout: Duration,
    /// What a reader should know before anything runs.
    pub warnings: Vec<Warning>,
}

/// Timeouts in force for the role; `None` is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// `statement_timeout`.
    pub statement: Option<Duration>,
    /// `lock_timeout`.
    pub lock: Option<Duration>,
    /// `idle_in_transaction_session_timeout`.
    pub idle_in_transaction: Option<Duration>,
    /// `transaction_timeout` (PostgreSQL 17).
    pub transaction: Option<Duration>,
}

/// What is unusual, but no reason to refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Superusers may write files, run programs and switch the tripwires off.
    #[error(
        "role \"{0}\" is a superuser: a migration may then have effects that no rollback undoes; use the role that owns the tables"
    )]
    Superuser(String),
    /// Rehearsals run at READ COMMITTED.
    #[error(
        "transactions of role \"{role}\" default to {level}; serialization failures are not rehearsed"
    )]
    Isolation {
        /// The role.
        role: String,
        /// Its `default_transaction_isolation`.
        level: String,
    },
}

/// Why a server is not one to rehearse on.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The session is not always the same backend.
    #[error(
        "the connection goes through a transaction pooler (announced backend {announced}, found {found}); settings and locks would reach other sessions"
    )]
    Pooler {
        /// BackendKeyData.
        announced: i32,
        /// `pg_backend_pid()`.
        found: String,
    },
    /// Another engine that speaks the protocol.
    #[error(
        "the server is not PostgreSQL but \"{0}\": its schema changes are not all undone by ROLLBACK"
    )]
    Engine(String),
    /// Too old or too new.
    #[error("PostgreSQL {0} is not supported; PostgreSQL 13 to 18 are")]
    Version(String),
    /// A standby.
    #[error("the server is in recovery: it is a standby, and a migration needs the primary")]
    Recovery,
    /// One address leads to several servers, or to one that has failed over meanwhile.
    #[error("not every connection of this run reaches the same place: {0}")]
    Elsewhere(String),
    /// The role may only read.
    #[error("role \"{0}\" may only read (default_transaction_read_only is on)")]
    ReadOnly(String),
    /// A question was not answered.
    #[error("the server could not be asked for {what}")]
    Ask {
        /// What for.
        what: &'static str,
        /// Why.
        #[source]
        source: AskError,
    },
}

fn asking(what: &'static str) -> impl FnOnce(AskError) -> IdentityError {
    move |source| IdentityError::Ask { what, source }
}

/// Checks a connection that was just made and says where it leads.
///
/// # Errors
/// When the server is not one to rehearse on.
pub async fn check(client: &mut Client) -> Result<Identity, IdentityError> {
    refuse_pooler(client).await?;
    let version = one(client, "version()", "SELECT pg_catalog.version()")
        .await
        .map_err(asking("its version"))?;
    if let Some(engine) = other_engine(&version, client.parameter("crdb_version").is_some()) {
        return Err(IdentityError::Engine(engine));
    }
    read(client).await
}

/// Checks that another connection of the run leads to where the first one does. `announced` is its
/// BackendKeyData's process id.
///
/// # Errors
/// When it leads elsewhere, or does not answer.
pub async fn agree(
    asker: &mut impl Ask,
    announced: i32,
    first: &Place,
) -> Result<(), IdentityError> {
    let what = "its identity";
    // What the role may not read on one connection it may not read on another.
    let cluster = if first.system_identifier.is_empty() {
        "SELECT '', 0"
    } else {
        CLUSTER
    };
    let rows = asker
        .ask(&format!("{PLACE};\n{cluster}"))
        .await
        .map_err(asking(what))?;
    let mut fields = rows.into_iter().flatten().map(Option::unwrap_or_default);
    let mut next = || fields.next().ok_or(asking(what)(AskError::Shape(what)));
    let (pid, recovery) = (next()?, next()?);
    let (database, role, number) = (next()?, next()?, next()?);
    let (system_identifier, timeline) = (next()?, next()?);
    if pid != announced.to_string() {
        return Err(IdentityError::Pooler {
            announced,
            found: pid,
        });
    }
    if recovery == "t" {
        return Err(IdentityError::Recovery);
    }
    let place = Place {
        system_identifier,
        timeline: timeline.parse().unwrap_or_default(),
        database,
        major: major(&number),
        role,
    };
    match place.disagreement(first) {
        None => Ok(()),
        Some(what) => Err(IdentityError::Elsewhere(what)),
    }
}

/// A pooler announces a backend of its own invention, and may give every transaction another one.
async fn refuse_pooler(client: &mut Client) -> Result<(), IdentityError> {
    let announced = client.backend_pid();
    for _ in 0..2 {
        let found = one(
            client,
            "pg_backend_pid()",
            "SELECT pg_catalog.pg_backend_pid()",
        )
        .await
        .map_err(asking("its backend's process id"))?;
        if found != announced.to_string() {
            return Err(IdentityError::Pooler { announced, found });
        }
    }
    Ok(())
}

/// The name of an engine that only speaks PostgreSQL's protocol.
fn other_engine(version: &str, crdb: bool) -> Option<String> {
    const OTHERS: &[&str] = &[
        "CockroachDB",
        "-YB-",
        "Yugabyte",
        "Redshift",
        "Materialize",
        "Greenplum",
        "RisingWave",
        "QuestDB",
        "CrateDB",
        "openGauss",
        "DSQL",
        "H2 ",
    ];
    let first_line = version.lines().next().unwrap_or_default();
    let other = crdb
        || !version.starts_with("PostgreSQL ") && !version.starts_with("EnterpriseDB ")
        || OTHERS.iter().any(|name| version.contains(name));
    other.then(|| first_line.chars().take(80).collect())
}

const PLACE: &str = "
SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), current_database(),
       current_user, current_setting('server_version_num')";

const CLUSTER: &str = "
SELECT s.system_identifier, c.timeline_id
FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c";

const FACTS: &str = "
SELECT current_database(), current_user, current_setting('server_version'),
       current_setting('server_version_num'), pg_catalog.pg_is_in_recovery(),
       current_setting('default_transaction_read_only'),
       current_setting('default_transaction_isolation'),
       coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), false)";

const TIMEOUTS: &str = "
SELECT name, setting FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
               'transaction_timeout', 'deadlock_timeout')";

async fn read(asker: &mut impl Ask) -> Result<Identity, IdentityError> {
    let rows = asker.ask(FACTS).await.map_err(asking("its identity"))?;
    let Some(
        [
            database,
            role,
            server_version,
            number,
            recovery,
            read_only,
            isolation,
            superuser,
        ],
    ) = rows
        .into_iter()
        .next()
        .and_then(|row| <[_; 8]>::try_from(row).ok())
    else {
        return Err(asking("its identity")(AskError::Shape("its identity")));
    };
    let role = role.unwrap_or_default();
    let server_version = server_version.unwrap_or_default();
    let major = major(&number.unwrap_or_default());
    if !SUPPORTED.contains(&major) {
        return Err(IdentityError::Version(server_version));
    }
    if recovery.as_deref() == Some("t") {
        return Err(IdentityError::Recovery);
    }
    if read_only.as_deref() == Some("on") {
        return Err(IdentityError::ReadOnly(role));
    }
    let mut warnings = Vec::new();
    if superuser.as_deref() == Some("t") {
        warnings.push(Warning::Superuser(role.clone()));
    }
    if let Some(level) = isolation.filter(|level| level != "read committed") {
        warnings.push(Warning::Isolation {
            role: role.clone(),
            level,
        });
    }
    let mut timeouts = Timeouts::default();
    let mut deadlock_timeout = Duration::from_secs(1);
    for row in asker.ask(TIMEOUTS).await.map_err(asking("its timeouts"))? {
        let mut row = row.into_iter().flatten();
        let (Some(name), Some(millis)) =
            (row.next(), row.next().and_then(|text| text.parse().ok()))
        else {
            continue;
        };
        let value = Some(Duration::from_millis(millis)).filter(|value| !value.is_zero());
        match name.as_str() {
            "statement_timeout" => timeouts.statement = value,
            "lock_timeout" => timeouts.lock = value,
            "idle_in_transaction_session_timeout" => timeouts.idle_in_transaction = value,
            "transaction_timeout" => timeouts.transaction = value,
            _ => deadlock_timeout = value.unwrap_or(deadlock_timeout),
        }
    }
    let (system_identifier, timeline) = cluster(asker).await?;
    Ok(Identity {
        place: Place {
            system_identifier,
            timeline,
            database: database.unwrap_or_default(),
            major,
            role,
        },
        server_version,
        size_bytes: size(asker).await?,
        timeouts,
        deadlock_timeout,
        warnings,
    })
}

/// The leading part of `server_version_num`.
fn major(number: &str) -> u32 {
    number.parse::<u32>().unwrap_or_default() / 10_000
}

/// System identifier and timeline. Some services hide them: then they take no part in agreement.
async fn cluster(asker: &mut impl Ask) -> Result<(String, u32), IdentityError> {
    match asker.ask(CLUSTER).await {
        Ok(rows) => {
            let mut row = rows.into_iter().flatten().flatten();
            let system = row.next().unwrap_or_default();
            let timeline = row
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default();
            Ok((system, timeline))
        }
        Err(AskError::Server { .. }) => Ok((String::new(), 0)),
        Err(error) => Err(asking("its system identifier")(error)),
    }
}

async fn size(asker: &mut impl Ask) -> Result<Option<u64>, IdentityError> {
    let sql = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())";
    match one(asker, "pg_database_size", sql).await {
        Ok(text) => Ok(text.parse().ok()),
        Err(AskError::Lost(source)) => Err(asking("the database's size")(AskError::Lost(source))),
        Err(_) => Ok(None),
    }
}

impl Place {
    /// The first thing in which this place is not the other: `database: a instead of b`.
    #[must_use]
    pub fn disagreement(&self, other: &Self) -> Option<String> {
        let facts = |place: &Self| {
            [
                ("system identifier", place.system_identifier.clone()),
                ("timeline", place.timeline.to_string()),
                ("database", place.database.clone()),
                ("major version", place.major.to_string()),
                ("role", place.role.clone()),
            ]
        };
        facts(self)
            .into_iter()
            .zip(facts(other))
            .find(|(mine, theirs)| mine != theirs)
            .map(|((what, mine), (_, theirs))| format!("{what} {mine} instead of {theirs}"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "PostgreSQL 18.4 on x86_64-pc-linux-gnu, compiled by gcc",
        false,
        false
    )]
    #[case("PostgreSQL 16.3 (Debian 16.3-1) on aarch64", false, false)]
    #[case("EnterpriseDB Advanced Server 16.1", false, false)]
    #[case("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)", false, true)]
    #[case("PostgreSQL 13.0.0 on x86_64", true, true)]
    #[case("PostgreSQL 11.2-YB-2.21.0.0-b0 on x86_64", false, true)]
    #[case(
        "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc, Redshift 1.0.77",
        false,
        true
    )]
    fn engines_that_only_speak_the_protocol_are_told_by_their_version(
        #[case] version: &str,
        #[case] crdb: bool,
        #[case] other: bool,
    ) {
        assert_eq!(other_engine(version, crdb).is_some(), other);
    }
}
