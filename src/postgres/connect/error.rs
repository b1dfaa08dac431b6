//! Why a connection did not come about.

use crate::postgres::ask::AskError;
use crate::postgres::tls::TlsError;

/// What failed, for a caller who must name a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No connection: refused, unknown host, no answer, closed.
    Unreachable,
    /// Wrong password or role, or a method that is refused.
    AuthenticationFailed,
    /// The certificate does not satisfy `sslmode`, or one side insists on TLS.
    TlsFailed,
    /// The database does not exist.
    DatabaseMissing,
    /// The server does not take more connections or is not ready yet.
    NotAccepting,
    /// A file that the URL names is missing or malformed.
    Configuration,
    /// The server does not speak the protocol.
    Unsupported,
    /// A pooler stands in between and refuses settings that only a server can take.
    Pooler,
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host list is empty.
    #[error("no host to connect to")]
    NoHost,
    /// A name that does not resolve.
    #[error("cannot resolve host \"{host}\"")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket did not connect.
    #[error("cannot connect to {host}")]
    Connect {
        /// Where.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{host} did not answer within {seconds} s")]
    Timeout {
        /// Where.
        host: String,
        /// `connect_timeout`.
        seconds: u64,
    },
    /// `sslmode` insists, the server has no TLS.
    #[error("{host} does not speak TLS, but sslmode insists on it")]
    TlsRefused {
        /// Where.
        host: String,
    },
    /// Certificates or keys.
    #[error("TLS cannot be prepared")]
    TlsSetup(#[source] TlsError),
    /// The handshake failed, usually because of the certificate.
    #[error("TLS with {host} failed")]
    TlsHandshake {
        /// Where.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Reading or writing failed in the middle of the startup.
    #[error("the connection to {host} broke during startup")]
    Exchange {
        /// Where.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server's own error, e.g. a wrong password.
    #[error("{host} refused: {message} (SQLSTATE {code})")]
    Server {
        /// Where.
        host: String,
        /// SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
    },
    /// The server wants a password and there is none.
    #[error("{host} asks for a password and none is given")]
    NoPassword {
        /// Where.
        host: String,
    },
    /// A method that is weak or unknown.
    #[error("{host} asks for {method}: {advice}")]
    Method {
        /// Where.
        host: String,
        /// The method's name.
        method: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The server failed to prove that it knows the password.
    #[error("SCRAM with {host} failed: the server's answer is not valid")]
    Scram {
        /// Where.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `channel_binding=require` and no way to bind.
    #[error("channel binding is required, but {host} does not offer it on this connection")]
    ChannelBinding {
        /// Where.
        host: String,
    },
    /// Not PostgreSQL's protocol.
    #[error("{host} does not speak PostgreSQL's protocol: {what}")]
    Protocol {
        /// Where.
        host: String,
        /// What came.
        what: String,
    },
    /// The right host, with the wrong attributes.
    #[error("{0} is not as target_session_attrs demands")]
    SessionAttributes(String),
    /// A question during `pin` failed.
    #[error("the server's state could not be asked")]
    Ask(#[source] AskError),
    /// The client library refused the connection.
    #[error("the client could not be started on the connection")]
    Client(#[source] tokio_postgres::Error),
}

impl ConnectError {
    /// What kind of trouble it is.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::NoHost
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Exchange { .. }
            | Self::SessionAttributes(_)
            | Self::Ask(_)
            | Self::Client(_) => Trouble::Unreachable,
            Self::TlsRefused { .. } | Self::TlsHandshake { .. } => Trouble::TlsFailed,
            Self::TlsSetup(_) => Trouble::Configuration,
            Self::Server { code, message, .. } => match code.as_str() {
                // PgBouncer's word for a startup setting that it does not know.
                "08P01" if message.contains("unsupported startup parameter") => Trouble::Pooler,
                "3D000" => Trouble::DatabaseMissing,
                "53300" | "57P03" => Trouble::NotAccepting,
                code if code.starts_with("28") => Trouble::AuthenticationFailed,
                _ => Trouble::Unreachable,
            },
            Self::NoPassword { .. }
            | Self::Method { .. }
            | Self::Scram { .. }
            | Self::ChannelBinding { .. } => Trouble::AuthenticationFailed,
            Self::Protocol { .. } => Trouble::Unsupported,
        }
    }

    /// Whether another host would give the same answer. libpq, too, stops at a wrong password.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self.trouble(),
            Trouble::AuthenticationFailed | Trouble::Configuration | Trouble::DatabaseMissing
        )
    }

    /// Whether the same host might say yes with TLS, or without. pg_hba.conf refuses both with
    /// SQLSTATE 28000.
    pub(super) fn might_be_about_encryption(&self) -> bool {
        match self {
            Self::TlsHandshake { .. } | Self::TlsRefused { .. } => true,
            Self::Server { code, .. } => code == "28000",
            _ => false,
        }
    }
}
