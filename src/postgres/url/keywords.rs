//! libpq's connection keywords and what they mean here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    ChannelBinding, Environment, Host, HostName, Methods, Password, RootCertificates,
    SessionAttributes, SslMode, Target, TlsSettings, UrlError,
};

/// libpq waits for ever by default; a run must end.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Keyword and the variable that fills it; the last column says whether the command's own client
/// should see it in the URL that it gets: not what leads to the server or secures the way there.
const KEYWORDS: &[(&str, &str, bool)] = &[
    ("application_name", "PGAPPNAME", true),
    ("channel_binding", "PGCHANNELBINDING", false),
    ("client_encoding", "PGCLIENTENCODING", true),
    ("connect_timeout", "PGCONNECT_TIMEOUT", true),
    ("dbname", "PGDATABASE", false),
    ("fallback_application_name", "", true),
    ("gssdelegation", "PGGSSDELEGATION", false),
    ("gssencmode", "PGGSSENCMODE", false),
    ("gsslib", "PGGSSLIB", false),
    ("host", "PGHOST", false),
    ("hostaddr", "PGHOSTADDR", false),
    ("keepalives", "", true),
    ("keepalives_count", "", true),
    ("keepalives_idle", "", true),
    ("keepalives_interval", "", true),
    ("krbsrvname", "PGKRBSRVNAME", false),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", false),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", false),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", false),
    ("options", "PGOPTIONS", true),
    ("passfile", "PGPASSFILE", false),
    ("password", "PGPASSWORD", false),
    ("port", "PGPORT", false),
    ("replication", "", true),
    ("require_auth", "PGREQUIREAUTH", false),
    ("requirepeer", "PGREQUIREPEER", false),
    ("requiressl", "PGREQUIRESSL", false),
    ("service", "PGSERVICE", false),
    ("servicefile", "PGSERVICEFILE", false),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", false),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", false),
    ("sslcert", "PGSSLCERT", false),
    ("sslcertmode", "PGSSLCERTMODE", false),
    ("sslcompression", "PGSSLCOMPRESSION", false),
    ("sslcrl", "PGSSLCRL", false),
    ("sslcrldir", "PGSSLCRLDIR", false),
    ("sslkey", "PGSSLKEY", false),
    ("sslmode", "PGSSLMODE", false),
    ("sslnegotiation", "PGSSLNEGOTIATION", false),
    ("sslpassword", "", false),
    ("sslrootcert", "PGSSLROOTCERT", false),
    ("sslsni", "PGSSLSNI", false),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", false),
    ("tcp_user_timeout", "", true),
    ("user", "PGUSER", false),
];

/// Whether libpq knows the keyword.
pub(super) fn is_known(keyword: &str) -> bool {
    KEYWORDS.iter().any(|(name, ..)| *name == keyword)
}

/// Whether the command's client should see the keyword in its URL.
pub(in crate::postgres) fn is_for_the_client(keyword: &str) -> bool {
    KEYWORDS
        .iter()
        .any(|(name, _, kept)| *name == keyword && *kept)
}

/// The variables that would reach past the URL that the command gets; they must not be inherited.
pub(in crate::postgres) fn variables_of_the_way() -> impl Iterator<Item = &'static str> {
    KEYWORDS
        .iter()
        .filter(|(_, variable, kept)| !kept && !variable.is_empty())
        .map(|(_, variable, _)| *variable)
}

/// Values that were given and, below them, those of the environment.
struct Values<'a> {
    given: BTreeMap<String, String>,
    environment: &'a Environment,
}

impl Values<'_> {
    fn get(&self, keyword: &str) -> Option<&str> {
        self.given
            .get(keyword)
            .or_else(|| {
                KEYWORDS
                    .iter()
                    .find(|(name, ..)| *name == keyword)
                    .and_then(|(_, variable, _)| self.environment.get(*variable))
            })
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn file(&self, keyword: &str) -> Option<PathBuf> {
        self.get(keyword).map(PathBuf::from)
    }

    fn home(&self, name: &str) -> Option<PathBuf> {
        let home = self.environment.get("HOME")?;
        Some(PathBuf::from(home).join(".postgresql").join(name))
    }

    fn word<T: Copy>(
        &self,
        keyword: &'static str,
        words: &[(&str, T)],
        default: T,
        expected: &'static str,
    ) -> Result<T, UrlError> {
        let Some(value) = self.get(keyword) else {
            return Ok(default);
        };
        words
            .iter()
            .find(|(word, _)| *word == value)
            .map(|(_, meaning)| *meaning)
            .ok_or(UrlError::Value { keyword, expected })
    }
}

/// Gives the keywords their meaning.
pub(super) fn target(
    given: BTreeMap<String, String>,
    environment: &Environment,
) -> Result<Target, UrlError> {
    let values = Values { given, environment };
    refuse_unsupported(&values)?;
    let user = values
        .get("user")
        .or_else(|| environment.get("USER").map(String::as_str))
        .or_else(|| environment.get("LOGNAME").map(String::as_str))
        .ok_or(UrlError::NoUser)?
        .to_owned();
    Ok(Target {
        hosts: hosts(&values)?,
        database: values.get("dbname").unwrap_or(&user).to_owned(),
        user,
        password: values.get("password").map(Password::new),
        options: values.get("options").map(str::to_owned),
        tls: tls(&values)?,
        channel_binding: values.word(
            "channel_binding",
            &[
                ("disable", ChannelBinding::Disable),
                ("prefer", ChannelBinding::Prefer),
                ("require", ChannelBinding::Require),
            ],
            ChannelBinding::Prefer,
            "disable, prefer or require",
        )?,
        methods: methods(&values)?,
        session: values.word(
            "target_session_attrs",
            &[
                ("any", SessionAttributes::Any),
                ("read-write", SessionAttributes::ReadWrite),
                ("read-only", SessionAttributes::ReadOnly),
                ("primary", SessionAttributes::Primary),
                ("standby", SessionAttributes::Standby),
                ("prefer-standby", SessionAttributes::PreferStandby),
            ],
            SessionAttributes::Any,
            "any, read-write, read-only, primary, standby or prefer-standby",
        )?,
        connect_timeout: connect_timeout(&values)?,
    })
}

fn refuse_unsupported(values: &Values<'_>) -> Result<(), UrlError> {
    for (keyword, reason) in [
        ("service", "service files are not read; give the URL itself"),
        (
            "sslcrl",
            "revocation lists are not checked, and ignoring it would weaken the connection",
        ),
        (
            "sslcrldir",
            "revocation lists are not checked, and ignoring it would weaken the connection",
        ),
        (
            "sslpassword",
            "encrypted private keys are not read; give a key that only its owner may read",
        ),
        (
            "requirepeer",
            "the server's operating system user is not checked, and ignoring it would weaken the connection",
        ),
        (
            "ssl_max_protocol_version",
            "the newest version of TLS that both sides speak is used",
        ),
        ("replication", "a migration does not replicate"),
        (
            "passfile",
            "password files are not read; use the URL or PGPASSWORD",
        ),
    ] {
        // A password file is only a demand when the URL itself names it.
        let named = if keyword == "passfile" {
            values.given.contains_key(keyword)
        } else {
            values.get(keyword).is_some()
        };
        if named {
            return Err(UrlError::Unsupported { keyword, reason });
        }
    }
    if values.get("gssencmode") == Some("require") {
        return Err(UrlError::Unsupported {
            keyword: "gssencmode",
            reason: "GSSAPI encryption is not spoken; use TLS",
        });
    }
    Ok(())
}

fn hosts(values: &Values<'_>) -> Result<Vec<Host>, UrlError> {
    let split = |keyword: &str| -> Vec<String> {
        values
            .get(keyword)
            .map(|list| {
                list.split(',')
                    .map(|entry| entry.trim().to_owned())
                    .collect()
            })
            .unwrap_or_default()
    };
    let mut names = split("host");
    let addresses = split("hostaddr");
    let ports = split("port");
    if names.is_empty() && addresses.is_empty() {
        // libpq's own default is a socket folder fixed at build time: these are the two in use.
        names = ["/var/run/postgresql", "/tmp", "localhost"]
            .map(str::to_owned)
            .to_vec();
    }
    let count = names.len().max(addresses.len());
    let lists = |found: usize, what: &'static str| UrlError::Lists {
        hosts: count,
        found,
        what,
    };
    if !addresses.is_empty() && addresses.len() != count
        || !names.is_empty() && names.len() != count
    {
        return Err(lists(addresses.len(), "addresses (hostaddr)"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(lists(ports.len(), "ports"));
    }
    (0..count)
        .map(|at| {
            let port = ports
                .get(at)
                .or(ports.first())
                .map(String::as_str)
                .unwrap_or_default();
            let port = match port {
                "" => 5432,
                text => text
                    .parse::<u16>()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or(UrlError::Port)?,
            };
            let address = match addresses.get(at).map(String::as_str) {
                None | Some("") => None,
                Some(text) => Some(text.parse::<IpAddr>().map_err(|_| UrlError::HostAddress)?),
            };
            let name = match (names.get(at).map(String::as_str), address) {
                (Some(folder), _) if folder.starts_with('/') => HostName::Socket(folder.into()),
                (None | Some(""), Some(address)) => HostName::Tcp(address.to_string()),
                (None | Some(""), None) => HostName::Tcp("localhost".to_owned()),
                (Some(name), _) => HostName::Tcp(name.to_owned()),
            };
            Ok(Host {
                name,
                port,
                address,
            })
        })
        .collect()
}

fn tls(values: &Values<'_>) -> Result<TlsSettings, UrlError> {
    let system = values.get("sslrootcert") == Some("system");
    let weakest = if system {
        SslMode::VerifyFull
    } else {
        SslMode::Prefer
    };
    let default = if values.get("requiressl") == Some("1") {
        SslMode::Require
    } else {
        weakest
    };
    let mode = values.word(
        "sslmode",
        &[
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
        default,
        "disable, allow, prefer, require, verify-ca or verify-full",
    )?;
    if system && mode != SslMode::VerifyFull {
        return Err(UrlError::Contradiction(
            "sslrootcert=system needs sslmode=verify-full: a weaker mode would trust any certificate of any public authority",
        ));
    }
    let roots = if system {
        RootCertificates::System {
            file: values.environment.get("SSL_CERT_FILE").map(PathBuf::from),
        }
    } else {
        match (values.file("sslrootcert"), values.home("root.crt")) {
            (Some(file), _) => RootCertificates::File(file),
            (None, Some(file)) => RootCertificates::DefaultFile(file),
            (None, None) => RootCertificates::DefaultFile(PathBuf::from(".postgresql/root.crt")),
        }
    };
    let certificate = values.file("sslcert");
    let key = values.file("sslkey");
    let identity = match (certificate, key) {
        (None, _) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(certificate), None) => match values.home("postgresql.key") {
            Some(key) => Some((certificate, key)),
            None => return Err(UrlError::Contradiction("sslcert needs sslkey")),
        },
    };
    let direct = values.word(
        "sslnegotiation",
        &[("postgres", false), ("direct", true)],
        false,
        "postgres or direct",
    )?;
    if direct && mode < SslMode::Require {
        return Err(UrlError::Contradiction(
            "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full",
        ));
    }
    Ok(TlsSettings {
        mode,
        roots,
        identity,
        sni: values.word("sslsni", &[("0", false), ("1", true)], true, "0 or 1")?,
        direct,
        only_tls13: values.word(
            "ssl_min_protocol_version",
            &[
                ("TLSv1", false),
                ("TLSv1.1", false),
                ("TLSv1.2", false),
                ("TLSv1.3", true),
            ],
            false,
            "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3",
        )?,
    })
}

fn methods(values: &Values<'_>) -> Result<Methods, UrlError> {
    const EXPECTED: UrlError = UrlError::Value {
        keyword: "require_auth",
        expected: "a list of scram-sha-256, md5, password and none, or of the same with ! before each",
    };
    let Some(list) = values.get("require_auth") else {
        return Ok(Methods::default());
    };
    let entries: Vec<&str> = list.split(',').map(str::trim).collect();
    let denied = entries
        .iter()
        .filter(|entry| entry.starts_with('!'))
        .count();
    if denied != 0 && denied != entries.len() {
        return Err(EXPECTED);
    }
    let mut methods = if denied == 0 {
        Methods {
            scram: false,
            md5: false,
            cleartext: false,
            none: false,
        }
    } else {
        Methods::default()
    };
    for entry in &entries {
        match entry.trim_start_matches('!') {
            "scram-sha-256" => methods.scram = denied == 0,
            "md5" => methods.md5 = denied == 0,
            "password" => methods.cleartext = denied == 0,
            "none" => methods.none = denied == 0,
            "gss" | "sspi" | "oauth" if denied != 0 => {}
            _ => return Err(EXPECTED),
        }
    }
    Ok(methods)
}

fn connect_timeout(values: &Values<'_>) -> Result<Duration, UrlError> {
    let Some(text) = values.get("connect_timeout") else {
        return Ok(CONNECT_TIMEOUT);
    };
    match text.trim().parse::<i64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.unsigned_abs())),
        Ok(_) => Ok(CONNECT_TIMEOUT),
        Err(_) => Err(UrlError::Value {
            keyword: "connect_timeout",
            expected: "a number of seconds",
        }),
    }
}
