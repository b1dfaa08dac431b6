//! What is to be run, with what, under which limits: everything decided before anything happens.

use std::time::Duration;

use super::tool::Tool;

/// One run, planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The command and what is known about it.
    pub tool: Tool,
    /// The variables in which the command reads its database's address.
    pub expose: Expose,
    /// Limits of the dry run.
    pub budgets: Budgets,
    /// `lock_timeout` of the real upgrade; the rehearsal's when `None`.
    pub upgrade_lock_timeout: Option<Duration>,
    /// Tables up to this size in bytes may stand in plain form for a CONCURRENTLY.
    pub substitute_below: u64,
}

/// Limits of a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// How long a session of the application may wait behind the rehearsal.
    pub blocking: Duration,
    /// How long the whole rehearsal may take.
    pub duration: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            blocking: Duration::from_millis(300),
            duration: Duration::from_secs(600),
        }
    }
}

/// The default of [`Plan::substitute_below`].
pub const SUBSTITUTE_BELOW: u64 = 64 << 20;

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
    /// Whether `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE` carry it too.
    pub libpq: bool,
}

/// An address as a command is to see it.
#[derive(Clone, Copy)]
pub struct Address<'a> {
    /// The whole URL in the command's dialect.
    pub url: &'a str,
    /// Host or socket folder.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Role.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
    /// Database.
    pub name: &'a str,
    /// `options` of the startup packet, as libpq writes them; empty for none.
    pub options: &'a str,
}

/// libpq's variables that would send the command elsewhere or fail against the rehearsal, which
/// speaks plain TCP on loopback.
const LIBPQ_ELSEWHERE: [&str; 12] = [
    "PGHOSTADDR",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGPASSFILE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLNEGOTIATION",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
    "PGTARGETSESSIONATTRS",
];

impl Expose {
    /// The variables to set, in a fixed order.
    #[must_use]
    pub fn variables(&self, address: Address<'_>) -> Vec<(String, String)> {
        let port = address.port.to_string();
        let mut variables: Vec<(String, String)> = self
            .url
            .iter()
            .map(|name| (name.clone(), address.url.to_owned()))
            .collect();
        for (name, value) in [
            (&self.host, address.host),
            (&self.port, port.as_str()),
            (&self.user, address.user),
            (&self.password, address.password),
            (&self.name, address.name),
        ] {
            if let Some(name) = name {
                variables.push((name.clone(), value.to_owned()));
            }
        }
        if self.libpq {
            for (name, value) in [
                ("PGHOST", address.host),
                ("PGPORT", port.as_str()),
                ("PGUSER", address.user),
                ("PGPASSWORD", address.password),
                ("PGDATABASE", address.name),
            ] {
                variables.push((name.to_owned(), value.to_owned()));
            }
            if !address.options.is_empty() {
                variables.push(("PGOPTIONS".to_owned(), address.options.to_owned()));
            }
        }
        variables
    }

    /// The variables to take away from a command that must meet the rehearsal and nothing else.
    #[must_use]
    pub fn removed(&self) -> Vec<String> {
        let kept = |name: &&str| !self.url.iter().any(|kept| kept == name);
        let mut removed: Vec<String> = ["DRYDOCK_DATABASE_URL"]
            .into_iter()
            .filter(kept)
            .map(str::to_owned)
            .collect();
        if self.libpq {
            removed.extend(LIBPQ_ELSEWHERE.map(str::to_owned));
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Address<'_> = Address {
        url: "postgresql+psycopg://u:p@127.0.0.1:6543/orders",
        host: "127.0.0.1",
        port: 6543,
        user: "u",
        password: "p",
        name: "orders",
        options: "",
    };

    #[test]
    fn every_named_variable_gets_its_part() {
        let expose = Expose {
            url: vec!["DATABASE_URL".into(), "ORDERS_DB".into()],
            password: Some("DB_PASS".into()),
            ..Expose::default()
        };
        assert_eq!(
            expose.variables(ADDRESS),
            [
                ("DATABASE_URL".to_owned(), ADDRESS.url.to_owned()),
                ("ORDERS_DB".to_owned(), ADDRESS.url.to_owned()),
                ("DB_PASS".to_owned(), "p".to_owned()),
            ]
        );
    }

    #[test]
    fn libpq_variables_that_point_elsewhere_are_taken_away() {
        let expose = Expose {
            libpq: true,
            ..Expose::default()
        };
        assert!(expose.removed().contains(&"PGHOSTADDR".to_owned()));
        assert!(
            expose
                .variables(ADDRESS)
                .contains(&("PGPORT".to_owned(), "6543".to_owned()))
        );
    }

    #[test]
    fn the_variable_that_holds_the_real_address_is_not_passed_on() {
        let expose = Expose {
            url: vec!["DATABASE_URL".into()],
            ..Expose::default()
        };
        assert_eq!(expose.removed(), ["DRYDOCK_DATABASE_URL"]);
    }
}
