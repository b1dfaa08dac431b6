//! From a socket to ReadyForQuery (manual, "Start-up").

use std::collections::BTreeMap;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::authentication::Exchange;
use super::{CancelKey, ConnectError, Raw, StartupSettings, Stream, socket};
use crate::postgres::tls::{self, TlsError};
use crate::postgres::url::{Host, HostName, Target};

/// Whether this attempt uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Do not ask.
    Off,
    /// Ask; go on without.
    May,
    /// Ask; give up without.
    Must,
}

/// What TLS gave: the binding to the server's certificate, where one is defined.
#[derive(Debug)]
pub(super) enum Channel {
    Plain,
    Tls { end_point: Option<Vec<u8>> },
}

/// Opens a socket and negotiates TLS.
pub(super) async fn open(
    target: &Target,
    host: &Host,
    encryption: Encryption,
) -> Result<(Box<dyn Stream>, Channel), ConnectError> {
    if encryption == Encryption::Off {
        return Ok((socket::connect(host).await?, Channel::Plain));
    }
    let config = tls::client_config(&target.tls).map_err(ConnectError::TlsSetup)?;
    let HostName::Tcp(name) = &host.name else {
        return Err(ConnectError::NoHost);
    };
    let server_name = ServerName::try_from(name.clone())
        .map_err(|_| ConnectError::TlsSetup(TlsError::Name(name.clone())))?;
    let mut stream = socket::connect(host).await?;
    if !target.tls.direct && !request_tls(&mut stream, host).await? {
        return if encryption == Encryption::May {
            Ok((stream, Channel::Plain))
        } else {
            Err(ConnectError::TlsRefused {
                host: host.to_string(),
            })
        };
    }
    let stream = TlsConnector::from(config)
        .connect(server_name, stream)
        .await
        .map_err(|source| ConnectError::TlsHandshake {
            host: host.to_string(),
            source,
        })?;
    let end_point = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| tls::end_point_hash(certificate));
    Ok((Box::new(stream), Channel::Tls { end_point }))
}

/// Sends SSLRequest and reads exactly one byte: anything that an attacker slipped in behind it
/// must reach TLS, not us (CVE-2021-23222).
async fn request_tls(stream: &mut Box<dyn Stream>, host: &Host) -> Result<bool, ConnectError> {
    let broken = |source| ConnectError::Exchange {
        host: host.to_string(),
        source,
    };
    let mut buffer = BytesMut::new();
    frontend::ssl_request(&mut buffer);
    stream.write_all(&buffer).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    match stream.read_u8().await.map_err(broken)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        other => Err(ConnectError::Protocol {
            host: host.to_string(),
            what: format!("byte {other:#04x} in answer to SSLRequest"),
        }),
    }
}

/// Reads whole messages. Nothing is read beyond the one that is handed out last, because the
/// stream goes to somebody else then.
pub(super) struct Messages {
    pub(super) stream: Box<dyn Stream>,
    pub(super) host: String,
}

/// No message of a startup is longer; a greater length means another protocol.
const LONGEST: usize = 1 << 20;

impl Messages {
    fn broken(&self, source: std::io::Error) -> ConnectError {
        ConnectError::Exchange {
            host: self.host.clone(),
            source,
        }
    }

    pub(super) fn protocol(&self, what: impl Into<String>) -> ConnectError {
        ConnectError::Protocol {
            host: self.host.clone(),
            what: what.into(),
        }
    }

    pub(super) async fn send(&mut self, buffer: &[u8]) -> Result<(), ConnectError> {
        let sent = async {
            self.stream.write_all(buffer).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|source| self.broken(source))
    }

    pub(super) async fn next(&mut self) -> Result<Message, ConnectError> {
        let mut header = [0_u8; 5];
        let read = self.stream.read_exact(&mut header).await;
        read.map_err(|source| self.broken(source))?;
        let [_, length @ ..] = header;
        let length = u32::from_be_bytes(length) as usize;
        if !(4..LONGEST).contains(&length) {
            return Err(self.protocol("a message of impossible length during startup"));
        }
        let mut buffer = BytesMut::zeroed(length + 1);
        let (head, body) = buffer.split_at_mut(header.len());
        head.copy_from_slice(&header);
        let read = self.stream.read_exact(body).await;
        read.map_err(|source| self.broken(source))?;
        match Message::parse(&mut buffer) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(self.protocol("an incomplete message")),
            Err(source) => Err(self.broken(source)),
        }
    }

    pub(super) fn refused(&self, body: &ErrorResponseBody) -> ConnectError {
        let (mut code, mut message) = (String::new(), String::new());
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => code = value(),
                b'M' => message = value(),
                _ => {}
            }
        }
        ConnectError::Server {
            host: self.host.clone(),
            code,
            message,
        }
    }
}

/// Opens, authenticates, and waits for the first ReadyForQuery.
pub(super) async fn start(
    target: &Target,
    host: &Host,
    settings: &StartupSettings,
    encryption: Encryption,
) -> Result<Raw, ConnectError> {
    let (stream, channel) = open(target, host, encryption).await?;
    let encrypted = matches!(channel, Channel::Tls { .. });
    let mut messages = Messages {
        stream,
        host: host.to_string(),
    };
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", target.database.as_str()),
    ];
    if let Some(options) = &target.options {
        parameters.push(("options", options));
    }
    parameters.extend(settings.iter());
    let mut buffer = BytesMut::new();
    frontend::startup_message(parameters, &mut buffer)
        .map_err(|_| messages.protocol("a NUL in a startup setting"))?;
    messages.send(&buffer).await?;

    Exchange::new(target, channel).run(&mut messages).await?;

    let mut parameters = BTreeMap::new();
    let mut cancel_key = None;
    loop {
        match messages.next().await? {
            Message::ParameterStatus(body) => {
                if let (Ok(name), Ok(value)) = (body.name(), body.value()) {
                    parameters.insert(name.to_owned(), value.to_owned());
                }
            }
            Message::BackendKeyData(body) => {
                cancel_key = Some(CancelKey {
                    pid: body.process_id(),
                    secret: body.secret_key(),
                });
            }
            Message::NoticeResponse(_) => {}
            Message::ErrorResponse(body) => return Err(messages.refused(&body)),
            Message::ReadyForQuery(_) => break,
            _ => return Err(messages.protocol("an unexpected message after authentication")),
        }
    }
    Ok(Raw {
        cancel_key: cancel_key.ok_or_else(|| messages.protocol("no BackendKeyData"))?,
        stream: messages.stream,
        parameters,
        host: host.clone(),
        encrypted,
    })
}
