//! What is to be run, with what, under which limits: everything decided before anything happens.

use std::time::Duration;

use super::tool::{Alembic, Generic, Tool};
use crate::api::{AssertionSpec, CheckSpec, ExposeAs, FixtureSpec, MigrationSpec};
use crate::postgres::dialect::{Dialect, Entrance};

/// One run, planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The command and what is known about it.
    pub tool: Tool,
    /// The variables in which the command reads its database's address.
    pub expose: Expose,
    /// Limits of the dry run.
    pub budgets: Budgets,
    /// Whether the way back is gone, in a second transaction.
    pub round_trip: bool,
    /// Whether the way back is gone revision by revision; never in the cluster.
    pub each: bool,
    /// Whether data migrations are run a second time.
    pub rerun: bool,
    /// Findings that are not let through, by code.
    pub deny: Vec<String>,
    /// `lock_timeout` of the real upgrade; the rehearsal's when `None`.
    pub upgrade_lock_timeout: Option<Duration>,
    /// Tables below this size in bytes are rehearsed in the plain form of a CONCURRENTLY.
    pub substitute_below: u64,
    /// Rows that are put in before the command. Never in a cluster, and never before an upgrade.
    pub fixtures: Vec<FixtureSpec>,
    /// What must be true of the data before the rollback.
    pub assertions: Vec<AssertionSpec>,
    /// Commands of the team's own that look at the old schema or at the new one.
    pub checks: Vec<CheckSpec>,
    /// Whether the first rows that an assertion finds are written where the command's output goes.
    /// Never in a cluster.
    pub show_rows: bool,
    /// Whether statements are kept as they were sent, for a script; never in the cluster.
    pub show_values: bool,
}

/// Limits of a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// How long a session of the application may wait behind the rehearsal.
    pub blocking: Duration,
    /// How long the whole rehearsal may take.
    pub duration: Duration,
    /// How long each assertion may take.
    pub assertion: Duration,
    /// How long each check may take.
    pub check: Duration,
}

impl Plan {
    /// Plans the run that a specification describes. Image, template and Secret references are the
    /// cluster's business and are not looked at.
    #[must_use]
    pub fn of(spec: &MigrationSpec) -> Self {
        let tool = match (&spec.alembic, &spec.command) {
            (Some(alembic), _) => Tool::Alembic(Alembic::new(
                alembic.command.clone().unwrap_or_default(),
                alembic.config.clone(),
                alembic.x.clone(),
                alembic.target.clone(),
            )),
            (None, Some(command)) => Tool::for_command(Generic {
                command: command.upgrade.clone(),
                downgrade: command.downgrade.clone(),
                version_tables: command.version_tables.clone(),
            }),
            (None, None) => Tool::Generic(Generic::default()),
        };
        Self {
            tool,
            expose: Expose::of(&spec.database.exposed()),
            budgets: Budgets {
                blocking: spec.blocking_budget(),
                duration: spec.duration_budget(),
                assertion: spec.assertion_budget(),
                check: spec.check_budget(),
            },
            round_trip: spec.round_trip(),
            each: false,
            rerun: spec.rerun(),
            deny: spec.denied().iter().map(ToString::to_string).collect(),
            upgrade_lock_timeout: spec.lock_timeout(),
            substitute_below: spec.substitute_below(),
            fixtures: spec.fixtures().to_vec(),
            assertions: spec.assertions().to_vec(),
            checks: spec.checks().to_vec(),
            show_rows: false,
            show_values: false,
        }
    }
}

impl Plan {
    /// Whether there is something to do in a second transaction.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.round_trip || self.rerun
    }
}

/// The variables in which the command reads its database's address, by part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expose {
    /// The whole URL.
    pub url: Vec<String>,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<String>,
    /// The role.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database.
    pub name: Option<String>,
    /// Whether libpq's own variables carry it too.
    pub libpq: bool,
}

/// drydock's own variable, which the command never needs.
const OURS: &str = "DRYDOCK_DATABASE_URL";

impl Expose {
    fn of(names: &ExposeAs) -> Self {
        Self {
            url: names.url.iter().cloned().collect(),
            host: names.host.clone(),
            port: names.port.clone(),
            user: names.user.clone(),
            password: names.password.clone(),
            name: names.name.clone(),
            libpq: false,
        }
    }

    /// The variables that lead to `entrance`, in a fixed order; `url` is the same in the command's
    /// own notation.
    #[must_use]
    pub fn variables(&self, url: &str, entrance: &Entrance) -> Vec<(String, String)> {
        let port = entrance.port.to_string();
        let password = entrance.password.as_ref().map(|password| password.reveal());
        let mut variables = Vec::new();
        if self.libpq {
            variables.extend(
                Dialect::variables(entrance)
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value)),
            );
        }
        variables.extend(self.url.iter().map(|name| (name.clone(), url.to_owned())));
        for (name, value) in [
            (&self.host, entrance.host.as_str()),
            (&self.port, port.as_str()),
            (&self.user, entrance.user.as_str()),
            (&self.password, password.unwrap_or_default()),
            (&self.name, entrance.database.as_str()),
        ] {
            if let Some(name) = name {
                variables.push((name.clone(), value.to_owned()));
            }
        }
        variables
    }

    /// The variables to take away from a command that must meet the rehearsal and nothing else:
    /// libpq's own would lead past a URL, too.
    #[must_use]
    pub fn removed(&self) -> Vec<String> {
        std::iter::once(OURS)
            .chain(Dialect::misleading_variables())
            .filter(|name| !self.url.iter().any(|kept| kept == name))
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::url::Password;

    fn entrance() -> Entrance {
        Entrance {
            host: "127.0.0.1".into(),
            port: 6543,
            user: "u".into(),
            password: Some(Password::new("p")),
            database: "orders".into(),
        }
    }

    #[test]
    fn every_named_variable_gets_its_part() {
        let expose = Expose {
            url: vec!["DATABASE_URL".into(), "ORDERS_DB".into()],
            password: Some("DB_PASS".into()),
            ..Expose::default()
        };
        assert_eq!(
            expose.variables("postgresql://…", &entrance()),
            [
                ("DATABASE_URL".to_owned(), "postgresql://…".to_owned()),
                ("ORDERS_DB".to_owned(), "postgresql://…".to_owned()),
                ("DB_PASS".to_owned(), "p".to_owned()),
            ]
        );
    }

    #[test]
    fn variables_that_lead_elsewhere_are_taken_away() {
        let expose = Expose {
            url: vec!["DATABASE_URL".into()],
            libpq: true,
            ..Expose::default()
        };
        let removed = expose.removed();
        assert!(removed.contains(&"PGHOSTADDR".to_owned()));
        assert!(removed.contains(&"DRYDOCK_DATABASE_URL".to_owned()));
        assert!(
            expose
                .variables("", &entrance())
                .contains(&("PGPORT".to_owned(), "6543".to_owned()))
        );
    }

    #[test]
    fn the_shortest_specification_is_alembic_to_its_head() {
        let plan = Plan::of(&MigrationSpec {
            alembic: Some(crate::api::AlembicSpec::default()),
            ..MigrationSpec::default()
        });
        assert_eq!(plan.tool.command(), ["alembic", "upgrade", "head"]);
        assert_eq!(plan.expose.url, ["DATABASE_URL"]);
        assert_eq!(plan.budgets.blocking, Duration::from_millis(300));
        assert_eq!(plan.substitute_below, 64 << 20);
    }
}
