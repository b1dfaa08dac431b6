//! Which database is meant: URLs, `keyword=value` strings, `PG*` variables and single parts, with
//! libpq's meanings (manual, "Connection Strings" and "Parameter Key Words").

mod conninfo;
mod keywords;
mod uri;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::dialect::Dialect;

pub(super) use conninfo::quote;
pub(super) use keywords::{is_for_the_client, variables_of_the_way};
pub(super) use uri::encode;

/// The environment variables that may fill what a URL leaves open (`PGHOST`, `PGSSLMODE`, …). Pass
/// an empty map where the surroundings must not matter.
pub type Environment = BTreeMap<String, String>;

/// A password. Its `Debug` does not show it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, for the one who must send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What one entry of the host list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// A DNS name or an address, as written. It is what a certificate is compared with.
    Tcp(String),
    /// The folder of a Unix-domain socket.
    Socket(PathBuf),
}

/// One entry of the host list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Name or socket folder.
    pub name: HostName,
    /// Port; for a socket part of its file's name.
    pub port: u16,
    /// The address to use instead of looking the name up (`hostaddr`, or the one that
    /// [`super::connect::pin`] has settled on).
    pub address: Option<IpAddr>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            HostName::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            HostName::Tcp(name) => write!(f, "{name}:{}", self.port),
            HostName::Socket(folder) => {
                write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port)
            }
        }
    }
}

/// `sslmode`: whether TLS is used and what is verified (manual, "SSL Support").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Without TLS first; with it when the server wants that.
    Allow,
    /// TLS first; without it when the server does not speak it.
    Prefer,
    /// TLS, nothing verified (unless a root certificate file exists).
    Require,
    /// TLS, the certificate's chain verified.
    VerifyCa,
    /// TLS, chain and host name verified.
    VerifyFull,
}

/// `sslrootcert`: whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// A PEM file that was asked for.
    File(PathBuf),
    /// `~/.postgresql/root.crt`: used when it exists.
    DefaultFile(PathBuf),
    /// The system's trusted roots (`sslrootcert=system`).
    System {
        /// `SSL_CERT_FILE`, when set.
        file: Option<PathBuf>,
    },
}

/// Everything about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// `sslmode`.
    pub mode: SslMode,
    /// `sslrootcert`.
    pub roots: RootCertificates,
    /// `sslcert` and `sslkey`, PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `sslsni`.
    pub sni: bool,
    /// `sslnegotiation=direct`: no SSLRequest, ALPN instead (PostgreSQL 17).
    pub direct: bool,
    /// `ssl_min_protocol_version=TLSv1.3`.
    pub only_tls13: bool,
}

/// `channel_binding` (manual, "SASL Authentication").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// When both sides can.
    Prefer,
    /// Or no connection.
    Require,
}

/// `require_auth`: the methods by which the server may ask for the password. Unless asked for, a
/// password never leaves in clear text or as MD5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Methods {
    /// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS.
    pub scram: bool,
    /// MD5, only with `require_auth=md5`.
    pub md5: bool,
    /// Clear text, only with `require_auth=password`.
    pub cleartext: bool,
    /// No authentication exchange at all (trust, peer, client certificate).
    pub none: bool,
}

impl Default for Methods {
    fn default() -> Self {
        Self {
            scram: true,
            md5: false,
            cleartext: false,
            none: true,
        }
    }
}

/// `target_session_attrs`: which of several hosts will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAttributes {
    /// The first that answers.
    Any,
    /// Accepts writes by default.
    ReadWrite,
    /// Does not accept writes by default.
    ReadOnly,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Standby,
    /// In recovery if there is one, else any.
    PreferStandby,
}

/// One database to connect to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Hosts in the order in which they are tried; never empty.
    pub hosts: Vec<Host>,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Password, when there is one.
    pub password: Option<Password>,
    /// `options`: command-line options for the backend, e.g. `-c search_path=app`.
    pub options: Option<String>,
    /// TLS.
    pub tls: TlsSettings,
    /// Channel binding.
    pub channel_binding: ChannelBinding,
    /// Authentication methods.
    pub methods: Methods,
    /// Which host will do.
    pub session: SessionAttributes,
    /// `connect_timeout`, for each address.
    pub connect_timeout: Duration,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        write!(
            f,
            "database \"{}\" at {} as \"{}\"",
            self.database,
            hosts.join(","),
            self.user
        )
    }
}

/// A database given by single parts instead of a URL.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Host name, address or socket folder.
    pub host: Option<String>,
    /// Port, 5432 if absent.
    pub port: Option<u16>,
    /// Database, the user's name if absent.
    pub database: Option<String>,
    /// Role.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Password>,
    /// Further libpq keywords, e.g. `sslmode`.
    pub keywords: BTreeMap<String, String>,
}

/// What is wrong with a database URL. No variant holds the URL or a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing was given.
    #[error("the database URL is empty")]
    Empty,
    /// Another database, or a notation that is not known.
    #[error("{scheme}: {reason}")]
    Scheme {
        /// The scheme as written.
        scheme: String,
        /// Why it is refused and what to write instead.
        reason: String,
    },
    /// The shape of the text is wrong.
    #[error("the database URL is malformed: {0}")]
    Malformed(String),
    /// A `%` that does not begin an encoded byte.
    #[error("the {0} holds a % that does not encode a byte; a literal % is written %25")]
    Percent(&'static str),
    /// Percent-decoding gave bytes that are not UTF-8, or a NUL.
    #[error("the {0} is not UTF-8 text once its %-encoding is undone")]
    Encoding(&'static str),
    /// A port that is none.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Host, address and port lists of different lengths.
    #[error("{hosts} hosts but {found} {what}; give one for all or one for each")]
    Lists {
        /// Number of hosts.
        hosts: usize,
        /// Number of the others.
        found: usize,
        /// `ports` or `addresses (hostaddr)`.
        what: &'static str,
    },
    /// `hostaddr` must be an address.
    #[error("hostaddr must be an IP address, a name belongs into host")]
    HostAddress,
    /// A keyword that nobody knows and that must not be ignored.
    #[error("unknown connection parameter \"{0}\"")]
    UnknownKeyword(String),
    /// A keyword that is known and not supported.
    #[error("connection parameter \"{keyword}\" is not supported: {reason}")]
    Unsupported {
        /// The keyword.
        keyword: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A value that the keyword does not take.
    #[error("{keyword} must be {expected}")]
    Value {
        /// The keyword.
        keyword: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// Two settings that contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// No role is named anywhere.
    #[error("no user: put it into the URL (postgresql://USER@…) or set PGUSER")]
    NoUser,
}

/// Reads a URL or a `keyword=value` string.
///
/// # Errors
/// Says exactly what is wrong, never repeating the text, since it may hold a password.
pub fn parse(text: &str, environment: &Environment) -> Result<(Target, Dialect), UrlError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if let Some((scheme, rest)) = uri::scheme(text) {
        let parsed = uri::parse(scheme, rest)?;
        let target = keywords::target(parsed.keywords, environment)?;
        return Ok((target, parsed.dialect));
    }
    let given = conninfo::parse(text)?;
    let dialect = Dialect::keywords(&given);
    Ok((keywords::target(given, environment)?, dialect))
}

/// Reads the `PG*` variables alone.
///
/// # Errors
/// As [`parse`].
pub fn from_environment(environment: &Environment) -> Result<(Target, Dialect), UrlError> {
    let sslmode = environment.get("PGSSLMODE").filter(|mode| !mode.is_empty());
    Ok((
        keywords::target(BTreeMap::new(), environment)?,
        Dialect::environment(sslmode.cloned()),
    ))
}

/// Reads single parts. The command gets a plain `postgresql://` URL.
///
/// # Errors
/// As [`parse`].
pub fn from_parts(parts: Parts, environment: &Environment) -> Result<(Target, Dialect), UrlError> {
    let mut given = parts.keywords;
    for (keyword, value) in [
        ("host", parts.host),
        ("port", parts.port.map(|port| port.to_string())),
        ("dbname", parts.database),
        ("user", parts.user),
        ("password", parts.password.map(|password| password.0)),
    ] {
        if let Some(value) = value {
            given.insert(keyword.to_owned(), value);
        }
    }
    let sslmode = given.get("sslmode").filter(|mode| !mode.is_empty());
    let dialect = Dialect::plain_url(sslmode.cloned());
    Ok((keywords::target(given, environment)?, dialect))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn nobody() -> Environment {
        Environment::from([("USER".to_owned(), "me".to_owned())])
    }

    fn target(text: &str) -> Target {
        parse(text, &nobody()).unwrap().0
    }

    #[rstest]
    #[case(
        "postgresql://u:p%40ss@db.example:6000/app",
        "database \"app\" at db.example:6000 as \"u\""
    )]
    #[case("postgres://u@db/app", "database \"app\" at db:5432 as \"u\"")]
    #[case(
        "postgresql+psycopg://u@db/app",
        "database \"app\" at db:5432 as \"u\""
    )]
    #[case(
        "postgresql+asyncpg://u@db/app?ssl=require",
        "database \"app\" at db:5432 as \"u\""
    )]
    #[case("postgresql://u@[::1]:1/app", "database \"app\" at [::1]:1 as \"u\"")]
    #[case("postgresql://u@a:1,b:2/app", "database \"app\" at a:1,b:2 as \"u\"")]
    #[case(
        "postgresql://u@a,b:2/app?port=9",
        "database \"app\" at a:9,b:9 as \"u\""
    )]
    #[case(
        "postgresql://u@%2Frun%2Fpg/app",
        "database \"app\" at /run/pg/.s.PGSQL.5432 as \"u\""
    )]
    #[case(
        "postgresql:///app?host=/tmp&user=u",
        "database \"app\" at /tmp/.s.PGSQL.5432 as \"u\""
    )]
    #[case(
        "postgresql+psycopg2://u@/app?host=a:1&host=b:2",
        "database \"app\" at a:1,b:2 as \"u\""
    )]
    #[case("postgresql://db", "database \"me\" at db:5432 as \"me\"")]
    #[case(
        "host=db dbname='my db' user=u",
        "database \"my db\" at db:5432 as \"u\""
    )]
    #[case(
        "host = db  port=7 dbname=it\\'s user=u",
        "database \"it's\" at db:7 as \"u\""
    )]
    fn a_target_is_found_in_every_notation(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(target(text).to_string(), expected);
    }

    #[rstest]
    #[case("", "the database URL is empty")]
    #[case(
        "mysql://u:s3cret@h/d",
        "mysql: MySQL commits before and after every DDL statement by itself, so a migration cannot be rehearsed and rolled back there; run it on a restored copy instead; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "sqlite:///x.db",
        "sqlite: SQLite is a file without a server, and Python's driver begins no transaction before DDL unless told to, so a rollback would not undo it; copy the file and run the migration on the copy; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "jdbc:mysql://h/d?user=u&password=s3cret",
        "jdbc:mysql: MySQL commits before and after every DDL statement by itself, so a migration cannot be rehearsed and rolled back there; run it on a restored copy instead; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "mariadb+asyncmy://u:s3cret@h/d",
        "mariadb+asyncmy: MySQL commits before and after every DDL statement by itself, so a migration cannot be rehearsed and rolled back there; run it on a restored copy instead; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "mssql+pyodbc://u:s3cret@h/d",
        "mssql+pyodbc: SQL Server has a protocol of its own; run the migration on a restored copy instead; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "jdbc:sqlserver://h;password=s3cret",
        "jdbc:sqlserver: SQL Server has a protocol of its own; run the migration on a restored copy instead; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "cockroachdb://u:s3cret@h/d",
        "cockroachdb: it speaks PostgreSQL's protocol but not all of its schema changes are undone by ROLLBACK, so they cannot be rehearsed; run them on a copy instead; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "snowflake://u:s3cret@h/d",
        "snowflake: it has no protocol of PostgreSQL's; run the migration on a copy instead; drydock speaks to PostgreSQL only"
    )]
    #[case(
        "jdbc:postgresql://h/d",
        "jdbc:postgresql: JDBC URLs are not read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    #[case(
        "http://h",
        "http: not a PostgreSQL URL; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    #[case(
        "postgresql+nosuch://h/d",
        "postgresql+nosuch: unknown driver; write postgresql:// or one of postgresql+psycopg, +psycopg2, +psycopg2cffi, +asyncpg, +pg8000"
    )]
    #[case(
        "postgresql://u:s3cr@et@h/d",
        "the database URL is malformed: there is more than one @ before the host; write an @ in the user or password as %40"
    )]
    #[case(
        "postgresql://u:s3/cret@h/d",
        "the database URL is malformed: there is an @ after the first /; write a / in the user or password as %2F"
    )]
    #[case(
        "postgresql://u:100%@h/d",
        "the password holds a % that does not encode a byte; a literal % is written %25"
    )]
    #[case("postgresql://u@h:0/d", "the port is not a number from 1 to 65535")]
    #[case("postgresql://u@h:x/d", "the port is not a number from 1 to 65535")]
    #[case(
        "postgresql://u@[::1/d",
        "the database URL is malformed: an IPv6 address lacks its closing ]"
    )]
    #[case(
        "postgresql://u@h/d?sslmod=verify-full",
        "unknown connection parameter \"sslmod\""
    )]
    #[case(
        "postgresql://u@h/d?sslmode=on",
        "sslmode must be disable, allow, prefer, require, verify-ca or verify-full"
    )]
    #[case(
        "postgresql://u@h/d?sslrootcert=system&sslmode=require",
        "sslrootcert=system needs sslmode=verify-full: a weaker mode would trust any certificate of any public authority"
    )]
    #[case(
        "postgresql://u@h/d?sslcrl=x",
        "connection parameter \"sslcrl\" is not supported: revocation lists are not checked, and ignoring it would weaken the connection"
    )]
    #[case(
        "postgresql://u@h/d?service=x",
        "connection parameter \"service\" is not supported: service files are not read; give the URL itself"
    )]
    #[case(
        "host=db nonsense",
        "the database URL is malformed: \"=\" is missing after a keyword"
    )]
    #[case(
        "host='db",
        "the database URL is malformed: a quoted value is not closed"
    )]
    #[case("host=db sslmodus=x", "unknown connection parameter \"sslmodus\"")]
    #[case(
        "orders",
        "the database URL is malformed: it is neither a URL (postgresql://…) nor keyword=value"
    )]
    #[case(
        "host=a,b port=1,2,3 user=u",
        "2 hosts but 3 ports; give one for all or one for each"
    )]
    fn an_error_says_what_is_wrong_and_never_shows_the_password(
        #[case] text: &str,
        #[case] expected: &str,
    ) {
        let error = parse(text, &nobody()).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?}{error}").contains("s3"));
    }

    #[test]
    fn the_environment_fills_what_the_url_leaves_open_and_nothing_else() {
        let environment = Environment::from(
            [
                ("PGUSER", "e"),
                ("PGPASSWORD", "p"),
                ("PGHOST", "eh"),
                ("PGSSLMODE", "disable"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let (target, _) = parse("postgresql://u@h/d", &environment).unwrap();
        assert_eq!(target.user, "u");
        assert_eq!(target.hosts[0].to_string(), "h:5432");
        assert_eq!(target.password, Some(Password::new("p")));
        assert_eq!(target.tls.mode, SslMode::Disable);
    }

    #[test]
    fn without_a_user_anywhere_the_error_says_where_to_put_one() {
        assert_eq!(
            parse("postgresql://h/d", &Environment::new()).unwrap_err(),
            UrlError::NoUser
        );
    }

    #[rstest]
    #[case("", Methods::default())]
    #[case("?require_auth=md5", Methods { scram: false, md5: true, cleartext: false, none: false })]
    #[case("?require_auth=password,scram-sha-256", Methods { scram: true, md5: false, cleartext: true, none: false })]
    #[case("?require_auth=!none", Methods { scram: true, md5: false, cleartext: false, none: false })]
    fn a_weak_method_is_used_only_when_it_is_asked_for(
        #[case] query: &str,
        #[case] expected: Methods,
    ) {
        assert_eq!(
            target(&format!("postgresql://u@h/d{query}")).methods,
            expected
        );
    }

    #[test]
    fn debug_never_shows_the_password() {
        let shown = format!(
            "{:?}",
            parse("postgresql://u:s3cret@h/d?password=s3cret", &nobody())
        );
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn asyncpg_names_its_tls_mode_ssl() {
        assert_eq!(
            target("postgresql+asyncpg://u@h/d?ssl=verify-full")
                .tls
                .mode,
            SslMode::VerifyFull
        );
        assert_eq!(
            target("postgresql://u@h/d?ssl=true").tls.mode,
            SslMode::Require
        );
    }

    #[test]
    fn without_a_host_the_usual_sockets_come_before_localhost() {
        let hosts: Vec<_> = target("postgresql:///d")
            .hosts
            .iter()
            .map(Host::to_string)
            .collect();
        assert_eq!(
            hosts,
            [
                "/var/run/postgresql/.s.PGSQL.5432",
                "/tmp/.s.PGSQL.5432",
                "localhost:5432"
            ]
        );
    }
}
