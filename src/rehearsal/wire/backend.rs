//! What a server says (manual, "Message Formats", those marked B).
//!
//! Only what the rehearsal has to understand is taken apart. Every other message is
//! [`Backend::Other`] and passes as it is; whether it may come at all is the business of whoever
//! counts the expected answers.

use super::body::{Body, put_message, put_string};
use super::{Diagnostic, Frame, ProtocolVersion, WireError};
use bytes::{BufMut, BytesMut};
use std::fmt;

/// A message of the server, borrowed from its frame.
#[derive(Clone, PartialEq, Eq)]
pub enum Backend<'a> {
    /// A step of the authentication.
    Authentication(Authentication<'a>),
    /// The value of a reported setting.
    ParameterStatus {
        /// The setting's name.
        name: &'a [u8],
        /// Its value now.
        value: &'a [u8],
    },
    /// What a CancelRequest must name.
    BackendKeyData {
        /// The backend's process id.
        process_id: i32,
        /// The secret: 4 bytes in protocol 3.0.
        key: &'a [u8],
    },
    /// Declines a minor version or protocol extensions.
    NegotiateProtocolVersion {
        /// The newest version that is supported.
        newest: ProtocolVersion,
        /// Extensions that were asked for and are not known.
        declined: Vec<&'a [u8]>,
    },
    /// The end of a Query or a Sync.
    ReadyForQuery(TransactionStatus),
    /// The end of a statement, with its command tag ("INSERT 0 1").
    CommandComplete(&'a [u8]),
    /// The end of a statement that failed.
    ErrorResponse(Diagnostic<'a>),
    /// A warning or a message for information.
    NoticeResponse(Diagnostic<'a>),
    /// NOTIFY of any session.
    NotificationResponse {
        /// The notifying backend's process id.
        process_id: i32,
        /// The channel.
        channel: &'a [u8],
        /// The payload, often empty.
        payload: &'a [u8],
    },
    /// The answer to Parse.
    ParseComplete,
    /// The answer to Bind.
    BindComplete,
    /// The answer to Close.
    CloseComplete,
    /// The answer to Describe for what returns no rows.
    NoData,
    /// The answer to an empty statement, in the place of CommandComplete.
    EmptyQueryResponse,
    /// An Execute that reached its row limit.
    PortalSuspended,
    /// The columns of the rows that follow.
    RowDescription,
    /// The parameters of a prepared statement.
    ParameterDescription,
    /// One row; see [`Backend::columns`].
    DataRow(&'a [u8]),
    /// The server waits for COPY data.
    CopyInResponse,
    /// The server will send COPY data.
    CopyOutResponse,
    /// Both directions; only for replication.
    CopyBothResponse,
    /// One chunk of COPY data.
    CopyData,
    /// The end of COPY data.
    CopyDone,
    /// The result of a FunctionCall.
    FunctionCallResponse,
    /// Any other tag.
    Other(u8),
}

/// The kind of an Authentication message, with its data.
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Authentication is complete.
    Ok,
    /// The password in clear text is asked for.
    CleartextPassword,
    /// The password's MD5 with this salt is asked for.
    Md5Password([u8; 4]),
    /// SASL is asked for, with one of these mechanisms.
    Sasl(Vec<&'a [u8]>),
    /// A challenge.
    SaslContinue(&'a [u8]),
    /// The outcome, with the mechanism's additional data.
    SaslFinal(&'a [u8]),
    /// Kerberos, GSSAPI, SSPI: the number in the manual.
    Unsupported(u32),
}

/// The status byte of ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block.
    Failed,
}

impl TransactionStatus {
    /// The byte on the wire.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

impl<'a> Backend<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// A body that is not laid out as the manual says.
    pub fn parse(frame: &'a Frame) -> Result<Self, WireError> {
        let bytes = frame.body();
        let body = |message| Body::new(message, bytes);
        Ok(match frame.tag() {
            b'Z' => Self::ReadyForQuery(status(body("ReadyForQuery"))?),
            b'C' => {
                let mut body = body("CommandComplete");
                let tag = body.string()?;
                body.end()?;
                Self::CommandComplete(tag)
            }
            b'E' => Self::ErrorResponse(Diagnostic::parse(body("ErrorResponse"))?),
            b'N' => Self::NoticeResponse(Diagnostic::parse(body("NoticeResponse"))?),
            b'S' => {
                let mut body = body("ParameterStatus");
                let (name, value) = (body.string()?, body.string()?);
                body.end()?;
                Self::ParameterStatus { name, value }
            }
            b'K' => {
                let mut body = body("BackendKeyData");
                let process_id = body.i32()?;
                let key = body.rest();
                Self::BackendKeyData { process_id, key }
            }
            b'A' => {
                let mut body = body("NotificationResponse");
                let (process_id, channel, payload) = (body.i32()?, body.string()?, body.string()?);
                body.end()?;
                Self::NotificationResponse {
                    process_id,
                    channel,
                    payload,
                }
            }
            b'R' => Self::Authentication(Authentication::parse(body("Authentication"))?),
            b'v' => negotiate(body("NegotiateProtocolVersion"))?,
            b'D' => Self::DataRow(bytes),
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'n' => Self::NoData,
            b'I' => Self::EmptyQueryResponse,
            b's' => Self::PortalSuspended,
            b'T' => Self::RowDescription,
            b't' => Self::ParameterDescription,
            b'G' => Self::CopyInResponse,
            b'H' => Self::CopyOutResponse,
            b'W' => Self::CopyBothResponse,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'V' => Self::FunctionCallResponse,
            tag => Self::Other(tag),
        })
    }

    /// Builds the message; `None` for those that are only ever passed on (rows, descriptions, COPY,
    /// function results).
    #[must_use]
    pub fn to_frame(&self) -> Option<Frame> {
        let tag = self.encodable()?;
        Some(Frame::build(tag, |out| self.put_body(out)))
    }

    /// Appends the message, and says whether it is one that can be built; see
    /// [`Backend::to_frame`].
    pub fn encode(&self, out: &mut BytesMut) -> bool {
        match self.encodable() {
            Some(tag) => {
                put_message(out, tag, |out| self.put_body(out));
                true
            }
            None => false,
        }
    }

    fn encodable(&self) -> Option<u8> {
        Some(match self {
            Self::Authentication(Authentication::Unsupported(_)) => return None,
            Self::Authentication(_) => b'R',
            Self::ParameterStatus { .. } => b'S',
            Self::BackendKeyData { .. } => b'K',
            Self::NegotiateProtocolVersion { .. } => b'v',
            Self::ReadyForQuery(_) => b'Z',
            Self::CommandComplete(_) => b'C',
            Self::ErrorResponse(_) => b'E',
            Self::NoticeResponse(_) => b'N',
            Self::NotificationResponse { .. } => b'A',
            Self::ParseComplete => b'1',
            Self::BindComplete => b'2',
            Self::CloseComplete => b'3',
            Self::NoData => b'n',
            Self::EmptyQueryResponse => b'I',
            Self::PortalSuspended => b's',
            Self::DataRow(_) => b'D',
            Self::CopyDone => b'c',
            Self::RowDescription
            | Self::ParameterDescription
            | Self::CopyInResponse
            | Self::CopyOutResponse
            | Self::CopyBothResponse
            | Self::CopyData
            | Self::FunctionCallResponse
            | Self::Other(_) => return None,
        })
    }

    fn put_body(&self, out: &mut BytesMut) {
        match self {
            Self::Authentication(authentication) => authentication.put(out),
            Self::ParameterStatus { name, value } => {
                put_string(out, name);
                put_string(out, value);
            }
            Self::BackendKeyData { process_id, key } => {
                out.put_i32(*process_id);
                out.put_slice(key);
            }
            Self::NegotiateProtocolVersion { newest, declined } => {
                out.put_u32(newest.word());
                out.put_u32(u32::try_from(declined.len()).unwrap_or(u32::MAX));
                for name in declined {
                    put_string(out, name);
                }
            }
            Self::ReadyForQuery(status) => out.put_u8(status.byte()),
            Self::CommandComplete(tag) => put_string(out, tag),
            Self::ErrorResponse(diagnostic) | Self::NoticeResponse(diagnostic) => {
                diagnostic.put(out);
            }
            Self::NotificationResponse {
                process_id,
                channel,
                payload,
            } => {
                out.put_i32(*process_id);
                put_string(out, channel);
                put_string(out, payload);
            }
            Self::DataRow(columns) => out.put_slice(columns),
            _ => {}
        }
    }

    /// The columns of a DataRow's body, `None` for null.
    ///
    /// # Errors
    /// If there is no count.
    pub fn columns(row: &'a [u8]) -> Result<Columns<'a>, WireError> {
        let mut body = Body::new("DataRow", row);
        let left = body.u16()?;
        Ok(Columns { body, left })
    }
}

/// Iterator over the columns of a row.
pub struct Columns<'a> {
    body: Body<'a>,
    left: u16,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Result<Option<&'a [u8]>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let column = self.body.i32().and_then(|length| match length {
            -1 => Ok(None),
            _ => usize::try_from(length)
                .map_err(|_| self.body.malformed())
                .and_then(|length| self.body.take(length).map(Some)),
        });
        if column.is_err() {
            self.left = 0;
        }
        Some(column)
    }
}

impl<'a> Authentication<'a> {
    fn parse(mut body: Body<'a>) -> Result<Self, WireError> {
        Ok(match body.u32()? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => Self::Md5Password(body.u32()?.to_be_bytes()),
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match body.string()? {
                        [] => break,
                        mechanism => mechanisms.push(mechanism),
                    }
                }
                Self::Sasl(mechanisms)
            }
            11 => Self::SaslContinue(body.rest()),
            12 => Self::SaslFinal(body.rest()),
            other => Self::Unsupported(other),
        })
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Ok => out.put_u32(0),
            Self::CleartextPassword => out.put_u32(3),
            Self::Md5Password(salt) => {
                out.put_u32(5);
                out.put_slice(salt);
            }
            Self::Sasl(mechanisms) => {
                out.put_u32(10);
                for mechanism in mechanisms {
                    put_string(out, mechanism);
                }
                out.put_u8(0);
            }
            Self::SaslContinue(data) => {
                out.put_u32(11);
                out.put_slice(data);
            }
            Self::SaslFinal(data) => {
                out.put_u32(12);
                out.put_slice(data);
            }
            Self::Unsupported(kind) => out.put_u32(*kind),
        }
    }
}

fn status(mut body: Body<'_>) -> Result<TransactionStatus, WireError> {
    let status = match body.u8()? {
        b'I' => TransactionStatus::Idle,
        b'T' => TransactionStatus::InTransaction,
        b'E' => TransactionStatus::Failed,
        _ => return Err(body.malformed()),
    };
    body.end()?;
    Ok(status)
}

fn negotiate(mut body: Body<'_>) -> Result<Backend<'_>, WireError> {
    let [major, minor] = [body.u16()?, body.u16()?];
    let count = body.u32()?;
    let mut declined = Vec::new();
    for _ in 0..count {
        declined.push(body.string()?);
    }
    body.end()?;
    let newest = ProtocolVersion { major, minor };
    Ok(Backend::NegotiateProtocolVersion { newest, declined })
}

impl fmt::Debug for Backend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        match self {
            Self::Authentication(authentication) => authentication.fmt(f),
            Self::ParameterStatus { name, .. } => write!(f, "ParameterStatus({:?})", text(name)),
            Self::BackendKeyData { process_id, .. } => write!(f, "BackendKeyData({process_id})"),
            Self::NegotiateProtocolVersion { newest, declined } => write!(
                f,
                "NegotiateProtocolVersion({}.{}, {} declined)",
                newest.major,
                newest.minor,
                declined.len()
            ),
            Self::ReadyForQuery(status) => write!(f, "ReadyForQuery({status:?})"),
            Self::CommandComplete(tag) => write!(f, "CommandComplete({:?})", text(tag)),
            Self::ErrorResponse(diagnostic) => write!(f, "ErrorResponse({diagnostic:?})"),
            Self::NoticeResponse(diagnostic) => write!(f, "NoticeResponse({diagnostic:?})"),
            Self::NotificationResponse { channel, .. } => {
                write!(f, "NotificationResponse({:?})", text(channel))
            }
            Self::ParseComplete => f.write_str("ParseComplete"),
            Self::BindComplete => f.write_str("BindComplete"),
            Self::CloseComplete => f.write_str("CloseComplete"),
            Self::NoData => f.write_str("NoData"),
            Self::EmptyQueryResponse => f.write_str("EmptyQueryResponse"),
            Self::PortalSuspended => f.write_str("PortalSuspended"),
            Self::RowDescription => f.write_str("RowDescription"),
            Self::ParameterDescription => f.write_str("ParameterDescription"),
            Self::DataRow(row) => write!(f, "DataRow({} bytes)", row.len()),
            Self::CopyInResponse => f.write_str("CopyInResponse"),
            Self::CopyOutResponse => f.write_str("CopyOutResponse"),
            Self::CopyBothResponse => f.write_str("CopyBothResponse"),
            Self::CopyData => f.write_str("CopyData"),
            Self::CopyDone => f.write_str("CopyDone"),
            Self::FunctionCallResponse => f.write_str("FunctionCallResponse"),
            Self::Other(tag) => write!(f, "Other({:?})", char::from(*tag)),
        }
    }
}

impl fmt::Debug for Authentication<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "AuthenticationOk",
            Self::CleartextPassword => "AuthenticationCleartextPassword",
            Self::Md5Password(_) => "AuthenticationMD5Password",
            Self::Sasl(_) => "AuthenticationSASL",
            Self::SaslContinue(_) => "AuthenticationSASLContinue",
            Self::SaslFinal(_) => "AuthenticationSASLFinal",
            Self::Unsupported(_) => "Authentication",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::wire::{Field, SqlState};
    use postgres_protocol::message::backend::Message;
    use proptest::prelude::*;
    use tokio_postgres::fallible_iterator::FallibleIterator;

    fn frame(tag: u8, body: &[u8]) -> Frame {
        Frame::build(tag, |out| out.put_slice(body))
    }

    #[test]
    fn messages_are_the_documented_bytes() {
        let cases: [(Backend<'_>, &[u8]); 12] = [
            (
                Backend::ReadyForQuery(TransactionStatus::InTransaction),
                b"Z\0\0\0\x05T",
            ),
            (Backend::CommandComplete(b"BEGIN"), b"C\0\0\0\x0aBEGIN\0"),
            (
                Backend::ParameterStatus {
                    name: b"a",
                    value: b"b",
                },
                b"S\0\0\0\x08a\0b\0",
            ),
            (
                Backend::BackendKeyData {
                    process_id: 258,
                    key: &[1, 2, 3, 4],
                },
                b"K\0\0\0\x0c\0\0\x01\x02\x01\x02\x03\x04",
            ),
            (
                Backend::NegotiateProtocolVersion {
                    newest: ProtocolVersion::V3_0,
                    declined: vec![b"_pq_.x"],
                },
                b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0",
            ),
            (
                Backend::Authentication(Authentication::Ok),
                b"R\0\0\0\x08\0\0\0\0",
            ),
            (
                Backend::Authentication(Authentication::Sasl(vec![b"SCRAM-SHA-256"])),
                b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
            ),
            (
                Backend::Authentication(Authentication::SaslFinal(b"v=")),
                b"R\0\0\0\x0a\0\0\0\x0cv=",
            ),
            (Backend::ParseComplete, b"1\0\0\0\x04"),
            (Backend::EmptyQueryResponse, b"I\0\0\0\x04"),
            (Backend::PortalSuspended, b"s\0\0\0\x04"),
            (
                Backend::ErrorResponse(Diagnostic::new("ERROR", SqlState::SYNTAX_ERROR, "no")),
                b"E\0\0\0\x1eSERROR\0VERROR\0C42601\0Mno\0\0",
            ),
        ];
        for (message, expected) in cases {
            let built = message.to_frame().unwrap();
            assert_eq!(built.bytes(), expected, "{message:?}");
            assert_eq!(Backend::parse(&built), Ok(message));
        }
    }

    #[test]
    fn another_implementation_reads_what_is_built_here() {
        let error = Diagnostic::new("ERROR", SqlState::SYNTAX_ERROR, "no")
            .with(Field::Position, "3")
            .with(Field::Hint, "yes");
        let mut bytes = BytesMut::new();
        for message in [
            Backend::Authentication(Authentication::SaslContinue(b"r=")),
            Backend::NoticeResponse(error),
            Backend::NotificationResponse {
                process_id: 1,
                channel: b"c",
                payload: b"p",
            },
        ] {
            assert!(message.encode(&mut bytes));
        }
        let mut next = || Message::parse(&mut bytes).unwrap().unwrap();
        assert!(matches!(
            next(),
            Message::AuthenticationSaslContinue(b) if b.data() == b"r="
        ));
        let Message::NoticeResponse(notice) = next() else {
            panic!("not a notice");
        };
        let types: Vec<u8> = notice.fields().map(|f| Ok(f.type_())).collect().unwrap();
        assert_eq!(types, b"SVCMPH");
        assert!(matches!(next(), Message::NotificationResponse(n) if n.channel().unwrap() == "c"));
    }

    #[test]
    fn messages_that_only_pass_cannot_be_built() {
        for tag in *b"TtGHWdV" {
            let frame = frame(tag, b"\0\0");
            assert_eq!(Backend::parse(&frame).unwrap().to_frame(), None);
        }
        assert_eq!(Backend::parse(&frame(b'?', b"")), Ok(Backend::Other(b'?')));
    }

    #[test]
    fn columns_of_a_row_are_read_and_null_is_not_empty() {
        let row = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        let columns: Result<Vec<_>, _> = Backend::columns(row).unwrap().collect();
        assert_eq!(columns.unwrap(), [Some(&b"ab"[..]), None, Some(b"")]);
        let mut short = Backend::columns(b"\0\x02\0\0\0\x09ab").unwrap();
        assert!(short.next().unwrap().is_err());
        assert!(short.next().is_none());
    }

    #[test]
    fn wrong_layouts_are_errors() {
        for (tag, body) in [
            (b'Z', &b"X"[..]),
            (b'Z', b"II"),
            (b'C', b"BEGIN"),
            (b'E', b"SERROR\0"),
            (b'S', b"a\0"),
            (b'K', b"\0\0"),
            (b'R', b"\0"),
        ] {
            assert!(Backend::parse(&frame(tag, body)).is_err());
        }
    }

    #[test]
    fn debug_shows_no_row_no_value_and_no_message() {
        for message in [
            Backend::DataRow(b"secret"),
            Backend::ParameterStatus {
                name: b"n",
                value: b"secret",
            },
            Backend::BackendKeyData {
                process_id: 1,
                key: b"secret",
            },
            Backend::ErrorResponse(Diagnostic::new("ERROR", SqlState::SYNTAX_ERROR, "secret")),
            Backend::Authentication(Authentication::SaslContinue(b"secret")),
        ] {
            assert!(!format!("{message:?}").contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(
            tag in any::<u8>(),
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let frame = frame(tag, &body);
            if let Ok(message) = Backend::parse(&frame)
                && let Some(built) = message.to_frame()
            {
                let again = Backend::parse(&built);
                prop_assert_eq!(again, Ok(message));
            }
            if let Ok(columns) = Backend::columns(&body) {
                let _ = columns.count();
            }
        }
    }
}
