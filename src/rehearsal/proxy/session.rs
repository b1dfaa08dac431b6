//! A client's start: from the first byte to AuthenticationOk (PostgreSQL manual, "Start-up").
//!
//! What follows, the reported settings and BackendKeyData, comes from the core.

mod scram;

pub(super) use scram::OneTimePassword;

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::rehearsal::wire::{
    Authentication, Backend, CancelRequest, Diagnostic, Frame, FrameDecoder, Piece,
    ProtocolVersion, SaslInitialResponse, SqlState, StartupMessage, StartupPacket, WireError,
    take_startup,
};
use scram::{Challenged, MECHANISM, Refused};

/// Who is admitted.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password; `None` admits nobody.
    pub password: Option<OneTimePassword>,
}

/// What a new connection turned out to be.
#[derive(Debug)]
pub(super) enum Admission {
    /// An authenticated client, with what its startup packet asked for.
    Client(StartupMessage),
    /// A request to cancel another connection's statement. It is never answered.
    Cancel(CancelRequest),
}

/// Why a connection was not admitted. The client has been told already, where the protocol has
/// words for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The socket failed or was closed.
    #[error("the client's connection failed during start-up")]
    Socket(#[source] io::Error),
    /// Bytes that are no start-up.
    #[error("the client does not speak protocol 3")]
    Protocol(#[source] WireError),
    /// The password is not the rehearsal's.
    #[error("the client did not know the rehearsal's one-time password")]
    WrongPassword,
    /// It asked for what a rehearsal has not.
    #[error("the client asked for {0}")]
    Unsupported(&'static str),
}

/// Speaks with a new connection until it is authenticated.
///
/// `buffer` may hold bytes beyond the start-up afterwards: they belong to the session. `nonce` are
/// random bytes for the authentication.
pub(super) async fn admit<S>(
    stream: &mut S,
    buffer: &mut BytesMut,
    entrance: &Entrance,
    nonce: [u8; 18],
) -> Result<Admission, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut start = Start { stream, buffer };
    let startup = match start.first_packet().await {
        Ok(Admission::Client(startup)) => startup,
        Ok(cancel) => return Ok(cancel),
        Err(error) => return Err(start.refuse_unless_closed(error).await),
    };
    if startup.user().is_none() {
        let text = "no PostgreSQL user name specified in startup packet";
        start
            .refuse(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, text)
            .await?;
        return Err(SessionError::Unsupported("a session without a user name"));
    }
    if startup.replication().is_some_and(|value| !is_off(value)) {
        let text = "a rehearsal offers no replication connections";
        start.refuse(SqlState::FEATURE_NOT_SUPPORTED, text).await?;
        return Err(SessionError::Unsupported("a replication connection"));
    }
    start.negotiate(&startup).await?;
    let Some(password) = &entrance.password else {
        return Err(start
            .refuse_unless_closed(SessionError::WrongPassword)
            .await);
    };
    match start.authenticate(password, nonce).await {
        Ok(()) => start.check_names(startup, entrance).await,
        Err(error) => Err(start.refuse_unless_closed(error).await),
    }
}

fn is_off(value: &[u8]) -> bool {
    ["off", "false", "no", "0"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off.as_bytes()))
}

struct Start<'a, S> {
    stream: &'a mut S,
    buffer: &'a mut BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Start<'_, S> {
    /// The first packet that is not a request for encryption. Its sender is not authenticated yet.
    async fn first_packet(&mut self) -> Result<Admission, SessionError> {
        loop {
            match take_startup(self.buffer).map_err(SessionError::Protocol)? {
                None => self.read().await?,
                // The rehearsal listens on loopback only: there is nothing to encrypt.
                Some(StartupPacket::Ssl | StartupPacket::GssEncryption) => self.write(b"N").await?,
                Some(StartupPacket::Startup(startup)) => return Ok(Admission::Client(startup)),
                Some(StartupPacket::Cancel(request)) => return Ok(Admission::Cancel(request)),
            }
        }
    }

    /// Declines what is newer than protocol 3.0, and every extension.
    async fn negotiate(&mut self, startup: &StartupMessage) -> Result<(), SessionError> {
        let declined: Vec<&[u8]> = startup.protocol_options().collect();
        if startup.version <= ProtocolVersion::V3_0 && declined.is_empty() {
            return Ok(());
        }
        let newest = ProtocolVersion::V3_0;
        self.say(&Backend::NegotiateProtocolVersion { newest, declined })
            .await
    }

    /// The rehearsal holds one session: of one role, in one database.
    async fn check_names(
        &mut self,
        startup: StartupMessage,
        entrance: &Entrance,
    ) -> Result<Admission, SessionError> {
        let text =
            |name: Option<&[u8]>| String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        let (user, database) = (text(startup.user()), text(startup.database()));
        if user != entrance.user {
            let message = format!(
                "role \"{user}\" is not the one that is rehearsed; connect as \"{}\"",
                entrance.user
            );
            self.refuse(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, &message)
                .await?;
            return Err(SessionError::Unsupported("another role"));
        }
        if database != entrance.database {
            let message = format!(
                "database \"{database}\" is not the one that is rehearsed; connect to \"{}\"",
                entrance.database
            );
            self.refuse(SqlState::INVALID_CATALOG_NAME, &message)
                .await?;
            return Err(SessionError::Unsupported("another database"));
        }
        self.say(&Backend::Authentication(Authentication::Ok))
            .await?;
        Ok(Admission::Client(startup))
    }

    async fn authenticate(
        &mut self,
        password: &OneTimePassword,
        nonce: [u8; 18],
    ) -> Result<(), SessionError> {
        self.say(&Backend::Authentication(Authentication::Sasl(vec![
            MECHANISM,
        ])))
        .await?;
        let answer = self.password_message().await?;
        let initial = SaslInitialResponse::parse(answer.body()).map_err(SessionError::Protocol)?;
        if initial.mechanism != MECHANISM {
            return Err(SessionError::Unsupported("another SASL mechanism"));
        }
        let first = initial.data.unwrap_or_default();
        let challenged = Challenged::new(first, nonce, password).map_err(refusal)?;
        let challenge = Authentication::SaslContinue(challenged.challenge());
        self.say(&Backend::Authentication(challenge)).await?;
        let answer = self.password_message().await?;
        let last = challenged
            .verify(answer.body(), password)
            .map_err(refusal)?;
        self.say(&Backend::Authentication(Authentication::SaslFinal(&last)))
            .await
    }

    async fn password_message(&mut self) -> Result<Frame, SessionError> {
        let mut decoder = FrameDecoder::authenticating();
        loop {
            match decoder
                .decode(self.buffer)
                .map_err(SessionError::Protocol)?
            {
                Some(Piece::Frame(frame)) => return Ok(frame),
                Some(_) => return Err(SessionError::Unsupported("data before authentication")),
                None => self.read().await?,
            }
        }
    }

    /// Tells the client why, unless it is gone; hands the reason on.
    async fn refuse_unless_closed(&mut self, error: SessionError) -> SessionError {
        let (code, text) = match &error {
            SessionError::Socket(_) => return error,
            SessionError::Protocol(wire) => (SqlState::PROTOCOL_VIOLATION, wire.to_string()),
            SessionError::WrongPassword => (
                SqlState::INVALID_PASSWORD,
                "password authentication failed: this is a rehearsal with a one-time password; \
                 use the URL that drydock put into the command's environment"
                    .to_owned(),
            ),
            SessionError::Unsupported(_) => (SqlState::FEATURE_NOT_SUPPORTED, error.to_string()),
        };
        match self.refuse(code, &text).await {
            Ok(()) => error,
            Err(closed) => closed,
        }
    }

    async fn refuse(&mut self, code: SqlState, text: &str) -> Result<(), SessionError> {
        self.say(&Backend::ErrorResponse(Diagnostic::new(
            "FATAL", code, text,
        )))
        .await
    }

    async fn say(&mut self, message: &Backend<'_>) -> Result<(), SessionError> {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.stream
            .write_all(bytes)
            .await
            .map_err(SessionError::Socket)
    }

    async fn read(&mut self) -> Result<(), SessionError> {
        match self.stream.read_buf(self.buffer).await {
            Ok(0) => Err(SessionError::Socket(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(SessionError::Socket(error)),
        }
    }
}

fn refusal(refused: Refused) -> SessionError {
    match refused {
        Refused::Malformed => SessionError::Protocol(WireError::Malformed {
            message: "SASLResponse",
        }),
        Refused::WrongPassword => SessionError::WrongPassword,
    }
}
