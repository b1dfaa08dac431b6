//! In which notation the command reads its database, so that it gets the rehearsal's address in
//! the same one.

use std::collections::BTreeMap;

use super::url::Password;
use super::url::{encode, is_for_the_client, quote, variables_of_the_way};

/// Which client library a URL's scheme names: it decides how parameters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// No driver named.
    Plain,
    /// psycopg, psycopg2: libpq's parameters.
    Psycopg,
    /// asyncpg under SQLAlchemy: parameters are asyncpg's arguments.
    Asyncpg,
    /// pg8000 under SQLAlchemy: parameters are pg8000's arguments.
    Pg8000,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Url { scheme: String, driver: Driver },
    Keywords,
    Environment,
}

/// The notation, and the parameters in it that are for the command's own client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    form: Form,
    kept: Vec<(String, String)>,
    /// The user's own `sslmode`, if one was given.
    sslmode: Option<String>,
}

/// An address, and who may enter there.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// Host name, address or socket folder.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Password.
    pub password: Option<Password>,
    /// Database.
    pub database: String,
}

impl Dialect {
    pub(super) fn url(
        scheme: &str,
        driver: Driver,
        kept: Vec<(String, String)>,
        sslmode: Option<String>,
    ) -> Self {
        Self {
            form: Form::Url {
                scheme: scheme.to_owned(),
                driver,
            },
            kept,
            sslmode,
        }
    }

    pub(super) fn keywords(given: &BTreeMap<String, String>) -> Self {
        Self {
            form: Form::Keywords,
            kept: given
                .iter()
                .filter(|(keyword, _)| is_for_the_client(keyword))
                .map(|(keyword, value)| (keyword.clone(), value.clone()))
                .collect(),
            sslmode: given.get("sslmode").cloned(),
        }
    }

    pub(super) fn environment(sslmode: Option<String>) -> Self {
        Self {
            form: Form::Environment,
            kept: Vec::new(),
            sslmode,
        }
    }

    /// `postgresql://`, for a database that was given by its parts.
    #[must_use]
    pub fn plain_url(sslmode: Option<String>) -> Self {
        Self::url("postgresql", Driver::Plain, Vec::new(), sslmode)
    }

    /// Whether the command reads `PG*` variables instead of a URL.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        self.form == Form::Environment
    }

    /// The rehearsal's address, without TLS, written so that the command's client understands it.
    /// In the form of the `PG*` variables it is a plain URL; see [`Dialect::variables`].
    #[must_use]
    pub fn render(&self, entrance: &Entrance) -> String {
        // Some clients insist on TLS unless told otherwise, and the variables may tell them so.
        self.render_with(entrance, Some("disable"))
    }

    /// The real address in the same notation: with the user's own `sslmode`, and with none where
    /// the user gave none, so that the client's own default holds.
    #[must_use]
    pub fn render_real(&self, entrance: &Entrance) -> String {
        self.render_with(entrance, self.sslmode.as_deref())
    }

    fn render_with(&self, entrance: &Entrance, sslmode: Option<&str>) -> String {
        match &self.form {
            Form::Url { scheme, driver } => self.render_url(scheme, *driver, entrance, sslmode),
            Form::Keywords => self.render_keywords(entrance, sslmode),
            Form::Environment => self.render_url("postgresql", Driver::Plain, entrance, sslmode),
        }
    }

    /// The `PG*` variables that lead to the address; the command may read them beside a URL.
    #[must_use]
    pub fn variables(entrance: &Entrance) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PGHOST", entrance.host.clone()),
            ("PGPORT", entrance.port.to_string()),
            ("PGUSER", entrance.user.clone()),
            ("PGDATABASE", entrance.database.clone()),
            ("PGSSLMODE", "disable".to_owned()),
        ];
        if let Some(password) = &entrance.password {
            variables.push(("PGPASSWORD", password.reveal().to_owned()));
        }
        variables
    }

    /// Variables that would lead the command's client past the address it gets (`PGHOSTADDR`,
    /// `PGSSLROOTCERT`, …): a rehearsal must not let the command inherit them.
    pub fn misleading_variables() -> impl Iterator<Item = &'static str> {
        variables_of_the_way()
    }

    fn render_url(
        &self,
        scheme: &str,
        driver: Driver,
        entrance: &Entrance,
        sslmode: Option<&str>,
    ) -> String {
        let mut url = format!("{scheme}://{}", encode(&entrance.user));
        if let Some(password) = &entrance.password {
            url.push(':');
            url.push_str(&encode(password.reveal()));
        }
        url.push('@');
        let socket = entrance.host.starts_with('/');
        if !socket {
            let host = &entrance.host;
            if host.contains(':') {
                url.push_str(&format!("[{host}]"));
            } else {
                url.push_str(&encode(host));
            }
            url.push_str(&format!(":{}", entrance.port));
        }
        url.push('/');
        url.push_str(&encode(&entrance.database));
        let mut parameters = self.kept.clone();
        if socket {
            parameters.push(("host".to_owned(), entrance.host.clone()));
            parameters.push(("port".to_owned(), entrance.port.to_string()));
        }
        let name = match driver {
            Driver::Plain | Driver::Psycopg => Some("sslmode"),
            Driver::Asyncpg => Some("ssl"),
            Driver::Pg8000 => None,
        };
        if let (Some(name), Some(sslmode)) = (name, sslmode) {
            parameters.push((name.to_owned(), sslmode.to_owned()));
        }
        for (at, (key, value)) in parameters.iter().enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(&format!("{}={}", encode(key), encode(value)));
        }
        url
    }

    fn render_keywords(&self, entrance: &Entrance, sslmode: Option<&str>) -> String {
        let mut pairs = vec![
            ("host", entrance.host.clone()),
            ("port", entrance.port.to_string()),
            ("user", entrance.user.clone()),
            ("dbname", entrance.database.clone()),
        ];
        if let Some(sslmode) = sslmode {
            pairs.push(("sslmode", sslmode.to_owned()));
        }
        if let Some(password) = &entrance.password {
            pairs.push(("password", password.reveal().to_owned()));
        }
        pairs.extend(
            self.kept
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone())),
        );
        pairs
            .into_iter()
            .map(|(key, value)| format!("{key}={}", quote(&value)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The user's own text with one more setting in `options` (`-c name=value`), for the real
    /// upgrade; `None` where the driver has no such parameter (asyncpg and pg8000 under SQLAlchemy).
    /// `theirs` are the options that were in force, which may be those of `PGOPTIONS`: they count
    /// for nothing beside a URL that has some.
    #[must_use]
    pub fn with_setting(
        &self,
        original: &str,
        name: &str,
        value: &str,
        theirs: Option<&str>,
    ) -> Option<String> {
        let original = original.trim();
        let mine = format!("-c {name}={value}");
        // The backend lets the last of equal settings win, and the user's own word must.
        let merged = theirs.map_or(mine.clone(), |theirs| format!("{mine} {theirs}"));
        match &self.form {
            Form::Url {
                driver: Driver::Plain | Driver::Psycopg,
                ..
            } => {
                let (before, query) = original.split_once('?').unwrap_or((original, ""));
                let mut pairs: Vec<String> = query
                    .split('&')
                    .filter(|pair| !pair.is_empty() && !pair.starts_with("options="))
                    .map(str::to_owned)
                    .collect();
                pairs.push(format!("options={}", encode(&merged)));
                Some(format!("{before}?{}", pairs.join("&")))
            }
            Form::Keywords => Some(format!("{original} options={}", quote(&merged))),
            Form::Url { .. } | Form::Environment => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::postgres::url::{Environment, Parts, from_environment, from_parts, parse};

    fn entrance() -> Entrance {
        Entrance {
            host: "127.0.0.1".to_owned(),
            port: 6543,
            user: "o w".to_owned(),
            password: Some(Password::new("p@:/%")),
            database: "app".to_owned(),
        }
    }

    #[rstest]
    #[case(
        "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/x&application_name=me",
        "postgresql://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app?application_name=me&sslmode=disable"
    )]
    #[case(
        "postgres://u@h/d?schema=other",
        "postgres://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app?schema=other&sslmode=disable"
    )]
    #[case(
        "postgresql+asyncpg://u@h/d?ssl=require&prepared_statement_cache_size=0",
        "postgresql+asyncpg://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app?prepared_statement_cache_size=0&ssl=disable"
    )]
    #[case(
        "postgresql+pg8000://u@h/d",
        "postgresql+pg8000://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app"
    )]
    #[case(
        "host=h user=u sslmode=require options='-c a=b'",
        "host=127.0.0.1 port=6543 user='o w' dbname=app sslmode=disable password=p@:/% options='-c a=b'"
    )]
    fn the_command_gets_the_rehearsals_address_in_its_own_notation_without_tls(
        #[case] original: &str,
        #[case] expected: &str,
    ) {
        let (_, dialect) = parse(original, &Environment::new()).unwrap();
        let rendered = dialect.render(&entrance());
        assert_eq!(rendered, expected);
        let (target, _) = parse(&rendered, &Environment::new()).unwrap();
        assert_eq!(target.user, "o w");
        assert_eq!(target.password, Some(Password::new("p@:/%")));
    }

    #[rstest]
    #[case(
        "postgresql://u@h/d?sslmode=verify-full",
        "postgresql://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app?sslmode=verify-full"
    )]
    #[case(
        "postgresql://u@h/d",
        "postgresql://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app"
    )]
    #[case(
        "postgresql+asyncpg://u@h/d?ssl=require",
        "postgresql+asyncpg://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app?ssl=require"
    )]
    #[case(
        "host=h user=u sslmode=require",
        "host=127.0.0.1 port=6543 user='o w' dbname=app sslmode=require password=p@:/%"
    )]
    #[case(
        "host=h user=u",
        "host=127.0.0.1 port=6543 user='o w' dbname=app password=p@:/%"
    )]
    fn the_real_address_bears_the_users_own_sslmode_or_none(
        #[case] original: &str,
        #[case] expected: &str,
    ) {
        let (_, dialect) = parse(original, &Environment::new()).unwrap();
        assert_eq!(dialect.render_real(&entrance()), expected);
    }

    #[test]
    fn parts_and_variables_lead_to_the_real_address_by_the_users_own_sslmode_or_none() {
        let plain = "postgresql://o%20w:p%40%3A%2F%25@127.0.0.1:6543/app";
        let user = ("PGUSER".to_owned(), "u".to_owned());
        for (sslmode, parameters) in [
            (None, ""),
            (Some(""), ""),
            (Some("require"), "?sslmode=require"),
        ] {
            let sslmode = sslmode.map(str::to_owned);
            let mut variables = Environment::from([user.clone()]);
            variables.extend(sslmode.clone().map(|mode| ("PGSSLMODE".to_owned(), mode)));
            let (_, environment) = from_environment(&variables).unwrap();
            let parts = Parts {
                user: Some("u".to_owned()),
                keywords: sslmode
                    .map(|mode| ("sslmode".to_owned(), mode))
                    .into_iter()
                    .collect(),
                ..Parts::default()
            };
            let (_, parts) = from_parts(parts, &Environment::new()).unwrap();
            for dialect in [environment, parts] {
                let real = dialect.render_real(&entrance());
                assert_eq!(real, format!("{plain}{parameters}"));
                let rehearsal = dialect.render(&entrance());
                assert_eq!(rehearsal, format!("{plain}?sslmode=disable"));
            }
        }
    }

    #[rstest]
    #[case(
        "postgresql://u@h/d",
        Some("postgresql://u@h/d?options=-c%20lock_timeout%3D800")
    )]
    #[case(
        "postgresql://u@h/d?options=-csearch_path%3Da&sslmode=require",
        Some(
            "postgresql://u@h/d?sslmode=require&options=-c%20lock_timeout%3D800%20-csearch_path%3Da"
        )
    )]
    #[case("host=h user=u", Some("host=h user=u options='-c lock_timeout=800'"))]
    #[case("postgresql+asyncpg://u@h/d", None)]
    fn a_setting_is_added_where_the_driver_can_carry_it(
        #[case] original: &str,
        #[case] expected: Option<&str>,
    ) {
        let (target, dialect) = parse(original, &Environment::new()).unwrap();
        let theirs = target.options.as_deref();
        assert_eq!(
            dialect
                .with_setting(original, "lock_timeout", "800", theirs)
                .as_deref(),
            expected
        );
    }
}
