//! Getting in: sockets, TLS, authentication, startup. The same code serves the rehearsal, which
//! wants the bare stream, and everybody else, who wants a client.

mod authentication;
mod client;
mod error;
mod handshake;
mod replay;
mod socket;

use std::collections::BTreeMap;
use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::ask::{Ask, AskError, literal, one};
use super::url::{Host, HostName, SessionAttributes, SslMode, Target};
pub use client::Client;
pub use error::{ConnectError, Trouble};

/// A connected byte stream: TCP or Unix-domain socket, with or without TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Settings for the startup packet: through a pooler a SET would reach somebody else's session. Only
/// where no pooler is in between they may be [set](`set`) later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartupSettings {
    settings: Vec<(String, String)>,
}

impl StartupSettings {
    /// The settings that are understood by every supported major.
    #[must_use]
    pub fn first(application_name: &str) -> Self {
        Self::default().with("application_name", application_name)
    }

    /// The settings of a connection that must live as long as the run: not ended for idling, and a
    /// killed process is noticed by the server within half a second (both from PostgreSQL 14 on).
    #[must_use]
    pub fn for_major(application_name: &str, major: u32) -> Self {
        let settings = Self::first(application_name)
            .with("tcp_keepalives_idle", "10")
            .with("tcp_keepalives_interval", "5")
            .with("tcp_keepalives_count", "3");
        if major < 14 {
            return settings;
        }
        settings
            .with("idle_session_timeout", "0")
            .with("client_connection_check_interval", "500ms")
    }

    /// Without the role's own bounds on statements and transactions, which are for its migrations and
    /// would end what drydock itself asks.
    #[must_use]
    pub fn unbounded(self, major: u32) -> Self {
        let settings = self
            .with("statement_timeout", "0")
            .with("idle_in_transaction_session_timeout", "0");
        if major < 17 {
            return settings;
        }
        settings.with("transaction_timeout", "0")
    }

    /// Adds or replaces one setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// All settings in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What a CancelRequest needs. Its `Debug` does not show the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CancelKey {
    /// Process id of the backend.
    pub pid: i32,
    /// The secret beside it.
    pub secret: i32,
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelKey({})", self.pid)
    }
}

/// An authenticated connection, ready for a query.
pub struct Raw {
    /// The stream, after the first ReadyForQuery.
    pub stream: Box<dyn Stream>,
    /// Every ParameterStatus so far.
    pub parameters: BTreeMap<String, String>,
    /// BackendKeyData.
    pub cancel_key: CancelKey,
    /// Where it leads.
    pub host: Host,
    /// Whether TLS is in use.
    pub encrypted: bool,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("host", &self.host)
            .field("pid", &self.cancel_key.pid)
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

impl Raw {
    /// The backend's process id as the server announced it.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.cancel_key.pid
    }

    /// The server's major version, by its `server_version`.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        major(&self.parameters)
    }
}

/// The leading number of `server_version`.
fn major(parameters: &BTreeMap<String, String>) -> Option<u32> {
    let version = parameters.get("server_version")?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version.get(..digits)?.parse().ok()
}

/// Connects to the first host that answers, and hands out the stream.
///
/// # Errors
/// The error of the last host, when none let us in.
pub async fn raw(target: &Target, settings: &StartupSettings) -> Result<Raw, ConnectError> {
    let mut last = None;
    for host in &target.hosts {
        match raw_at(target, host, settings).await {
            Ok(raw) => return Ok(raw),
            // A wrong password is wrong everywhere; a dead host is not.
            Err(error) if error.is_final() => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(ConnectError::NoHost))
}

/// Connects as [`raw`], and speaks on it.
///
/// # Errors
/// As [`raw`].
pub async fn client(target: &Target, settings: &StartupSettings) -> Result<Client, ConnectError> {
    let settings = settings.clone().with("client_encoding", "UTF8");
    Client::over(raw(target, &settings).await?).await
}

/// Sets in a session that is open already what another one is started with: the first connection of a
/// run does not know the server's major yet. Only for a session of which it is known that no pooler
/// gives it away.
///
/// # Errors
/// When the server does not take a setting.
pub async fn set(asker: &mut impl Ask, settings: &StartupSettings) -> Result<(), AskError> {
    let calls: Vec<_> = settings
        .iter()
        .map(|(name, value)| {
            format!(
                "pg_catalog.set_config({}, {}, false)",
                literal(name),
                literal(value)
            )
        })
        .collect();
    asker
        .ask(&format!("SELECT {}", calls.join(", ")))
        .await
        .map(drop)
}

/// Settles which of several hosts and addresses is meant, so that every connection of one run
/// reaches the same server: names are looked up once, `target_session_attrs` is asked once. Hands out
/// the connection on which that was found out.
///
/// # Errors
/// When no host answers, or none is as asked for.
pub async fn pin(
    target: &Target,
    settings: &StartupSettings,
) -> Result<(Target, Client), ConnectError> {
    let mut candidates = Vec::new();
    let mut last = None;
    for host in &target.hosts {
        match socket::addresses(host).await {
            Ok(addresses) => candidates.extend(addresses),
            Err(error) => last = Some(error),
        }
    }
    let passes: &[SessionAttributes] = match target.session {
        SessionAttributes::PreferStandby => &[SessionAttributes::Standby, SessionAttributes::Any],
        ref other => std::slice::from_ref(other),
    };
    for wanted in passes {
        for host in &candidates {
            let pinned = Target {
                hosts: vec![host.clone()],
                ..target.clone()
            };
            match fits(&pinned, settings, *wanted).await {
                Ok(Some(client)) => return Ok((pinned, client)),
                Ok(None) => last = Some(ConnectError::SessionAttributes(host.to_string())),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
    }
    Err(last.unwrap_or(ConnectError::NoHost))
}

async fn fits(
    target: &Target,
    settings: &StartupSettings,
    wanted: SessionAttributes,
) -> Result<Option<Client>, ConnectError> {
    let mut client = client(target, settings).await?;
    let (what, sql) = match wanted {
        SessionAttributes::Any => return Ok(Some(client)),
        SessionAttributes::ReadWrite | SessionAttributes::ReadOnly => (
            "transaction_read_only",
            "SELECT current_setting('transaction_read_only') = 'on' OR pg_catalog.pg_is_in_recovery()",
        ),
        SessionAttributes::Primary
        | SessionAttributes::Standby
        | SessionAttributes::PreferStandby => (
            "pg_is_in_recovery()",
            "SELECT pg_catalog.pg_is_in_recovery()",
        ),
    };
    let answer = one(&mut client, what, sql)
        .await
        .map_err(ConnectError::Ask)?;
    let wanted = match wanted {
        SessionAttributes::ReadWrite | SessionAttributes::Primary => "f",
        _ => "t",
    };
    Ok((answer == wanted).then_some(client))
}

async fn raw_at(
    target: &Target,
    host: &Host,
    settings: &StartupSettings,
) -> Result<Raw, ConnectError> {
    let mut last = None;
    for address in socket::addresses(host).await? {
        let attempt = attempts(target, &address, settings);
        match timeout(target.connect_timeout, attempt).await {
            Ok(Ok(raw)) => return Ok(raw),
            Ok(Err(error)) if error.is_final() => return Err(error),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                last = Some(ConnectError::Timeout {
                    host: address.to_string(),
                    seconds: target.connect_timeout.as_secs(),
                });
            }
        }
    }
    Err(last.unwrap_or(ConnectError::NoHost))
}

/// `allow` and `prefer` try a second time the other way round, as libpq does.
async fn attempts(
    target: &Target,
    host: &Host,
    settings: &StartupSettings,
) -> Result<Raw, ConnectError> {
    let socket = matches!(host.name, HostName::Socket(_));
    let order: &[handshake::Encryption] = match target.tls.mode {
        _ if socket => &[handshake::Encryption::Off],
        SslMode::Disable => &[handshake::Encryption::Off],
        SslMode::Allow => &[handshake::Encryption::Off, handshake::Encryption::Must],
        SslMode::Prefer => &[handshake::Encryption::May, handshake::Encryption::Off],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            &[handshake::Encryption::Must]
        }
    };
    let mut first = None;
    for encryption in order {
        match handshake::start(target, host, settings, *encryption).await {
            Ok(raw) => return Ok(raw),
            Err(error) if !error.might_be_about_encryption() => return Err(first.unwrap_or(error)),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(ConnectError::NoHost))
}

/// Asks the server to cancel what a backend is doing, over a connection like the one that got the
/// key.
///
/// # Errors
/// When the server cannot be reached. Whether anything was cancelled is never known.
pub async fn cancel(target: &Target, host: &Host, key: CancelKey) -> Result<(), ConnectError> {
    let work = async {
        let encryption = match target.tls.mode {
            _ if matches!(host.name, HostName::Socket(_)) => handshake::Encryption::Off,
            SslMode::Disable | SslMode::Allow => handshake::Encryption::Off,
            SslMode::Prefer => handshake::Encryption::May,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                handshake::Encryption::Must
            }
        };
        let (mut stream, ..) = handshake::open(target, host, encryption).await?;
        let mut buffer = bytes::BytesMut::new();
        postgres_protocol::message::frontend::cancel_request(key.pid, key.secret, &mut buffer);
        let failed = |source| ConnectError::Exchange {
            host: host.to_string(),
            source,
        };
        stream.write_all(&buffer).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        // The server closes when it has passed the request on.
        let mut end = [0_u8; 1];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut end).await;
        Ok(())
    };
    timeout(target.connect_timeout, work)
        .await
        .unwrap_or_else(|_| {
            Err(ConnectError::Timeout {
                host: host.to_string(),
                seconds: target.connect_timeout.as_secs(),
            })
        })
}
