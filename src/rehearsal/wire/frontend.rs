//! What a client says after startup (manual, "Message Formats", those marked F).

use super::body::{Body, put_message, put_string};
use super::{Frame, WireError};
use bytes::{BufMut, BytesMut};
use std::fmt;

/// A message of the client, borrowed from its frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Frontend<'a> {
    /// Simple query: one string, any number of statements.
    Query(&'a [u8]),
    /// Prepares a statement.
    Parse(Parse<'a>),
    /// Makes a portal of a prepared statement.
    Bind(Bind<'a>),
    /// Asks for the description of a statement or a portal.
    Describe(Target<'a>),
    /// Runs a portal, up to a number of rows; 0 means all.
    Execute {
        /// The portal's name.
        portal: &'a [u8],
        /// Signed on the wire; zero and below mean "no limit".
        max_rows: i32,
    },
    /// Closes a statement or a portal.
    Close(Target<'a>),
    /// Ends a batch of the extended protocol, and its implicit transaction.
    Sync,
    /// Asks for the answers so far.
    Flush,
    /// One chunk of COPY data.
    CopyData(&'a [u8]),
    /// The end of COPY data.
    CopyDone,
    /// Gives COPY data up, with a reason.
    CopyFail(&'a [u8]),
    /// Fast-path call of a function.
    FunctionCall {
        /// The function's OID.
        function: u32,
        /// Formats and arguments as they are on the wire.
        arguments: &'a [u8],
    },
    /// PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse share one tag: which one
    /// it is only the state of the authentication tells. This is the whole body.
    Password(&'a [u8]),
    /// Ends the connection.
    Terminate,
}

/// Parse.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement to be made; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Its text: at most one statement.
    pub sql: &'a [u8],
    /// Count and OIDs of the prespecified parameter types, as they are on the wire.
    pub types: &'a [u8],
}

impl Parse<'_> {
    /// "No parameter types are prespecified" for [`Parse::types`].
    pub const NO_TYPES: &'static [u8] = &[0, 0];
}

/// Bind. The names can be replaced while everything else stays the bytes that arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal to be made; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement.
    pub statement: &'a [u8],
    /// Parameter formats, parameters, result formats, as they are on the wire.
    pub values: &'a [u8],
}

impl Bind<'_> {
    /// "No parameters, results as text" for [`Bind::values`].
    pub const NO_VALUES: &'static [u8] = &[0, 0, 0, 0, 0, 0];
}

/// What Describe and Close name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

/// SASLInitialResponse, once the state of the authentication has told that it is one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism that the client chose.
    pub mechanism: &'a [u8],
    /// Its first message, if it has one.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Reads the body of a password message.
    ///
    /// # Errors
    /// If it is not laid out as a SASLInitialResponse.
    pub fn parse(password: &'a [u8]) -> Result<Self, WireError> {
        let mut body = Body::new("SASLInitialResponse", password);
        let mechanism = body.string()?;
        let data = match body.i32()? {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| body.malformed())?;
                Some(body.take(length)?)
            }
        };
        body.end()?;
        Ok(Self { mechanism, data })
    }
}

impl<'a> Frontend<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// An unknown tag, or a body that the server would refuse. Bind's values, Parse's types and
    /// FunctionCall's arguments are left to the server.
    pub fn parse(frame: &'a Frame) -> Result<Self, WireError> {
        let bytes = frame.body();
        let body = |message| Body::new(message, bytes);
        Ok(match frame.tag() {
            b'Q' => {
                let mut body = body("Query");
                let sql = body.string()?;
                body.end()?;
                Self::Query(sql)
            }
            b'P' => {
                let mut body = body("Parse");
                Self::Parse(Parse {
                    statement: body.string()?,
                    sql: body.string()?,
                    types: body.rest(),
                })
            }
            b'B' => {
                let mut body = body("Bind");
                Self::Bind(Bind {
                    portal: body.string()?,
                    statement: body.string()?,
                    values: body.rest(),
                })
            }
            b'D' => Self::Describe(target(body("Describe"))?),
            b'C' => Self::Close(target(body("Close"))?),
            b'E' => {
                let mut body = body("Execute");
                let (portal, max_rows) = (body.string()?, body.i32()?);
                body.end()?;
                Self::Execute { portal, max_rows }
            }
            b'S' => empty(body("Sync"), Self::Sync)?,
            b'H' => empty(body("Flush"), Self::Flush)?,
            b'd' => Self::CopyData(bytes),
            // The server ignores what a CopyDone and a Terminate carry.
            b'c' => Self::CopyDone,
            b'f' => {
                let mut body = body("CopyFail");
                let reason = body.string()?;
                body.end()?;
                Self::CopyFail(reason)
            }
            b'F' => {
                let mut body = body("FunctionCall");
                Self::FunctionCall {
                    function: body.u32()?,
                    arguments: body.rest(),
                }
            }
            b'p' => Self::Password(bytes),
            b'X' => Self::Terminate,
            tag => {
                let side = "frontend";
                return Err(WireError::UnknownMessage { side, tag });
            }
        })
    }

    /// The message's tag.
    #[must_use]
    pub fn tag(&self) -> u8 {
        match self {
            Self::Query(_) => b'Q',
            Self::Parse(_) => b'P',
            Self::Bind(_) => b'B',
            Self::Describe(_) => b'D',
            Self::Execute { .. } => b'E',
            Self::Close(_) => b'C',
            Self::Sync => b'S',
            Self::Flush => b'H',
            Self::CopyData(_) => b'd',
            Self::CopyDone => b'c',
            Self::CopyFail(_) => b'f',
            Self::FunctionCall { .. } => b'F',
            Self::Password(_) => b'p',
            Self::Terminate => b'X',
        }
    }

    /// Appends the message. A zero byte inside a name or a text ends it.
    pub fn encode(&self, out: &mut BytesMut) {
        put_message(out, self.tag(), |out| self.put_body(out));
    }

    /// The message as a frame.
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        Frame::build(self.tag(), |out| self.put_body(out))
    }

    fn put_body(&self, out: &mut BytesMut) {
        match self {
            Self::Query(text) | Self::CopyFail(text) => put_string(out, text),
            Self::Parse(parse) => {
                put_string(out, parse.statement);
                put_string(out, parse.sql);
                out.put_slice(parse.types);
            }
            Self::Bind(bind) => {
                put_string(out, bind.portal);
                put_string(out, bind.statement);
                out.put_slice(bind.values);
            }
            Self::Describe(target) | Self::Close(target) => {
                let (kind, name) = match target {
                    Target::Statement(name) => (b'S', name),
                    Target::Portal(name) => (b'P', name),
                };
                out.put_u8(kind);
                put_string(out, name);
            }
            Self::Execute { portal, max_rows } => {
                put_string(out, portal);
                out.put_i32(*max_rows);
            }
            Self::CopyData(bytes) | Self::Password(bytes) => out.put_slice(bytes),
            Self::FunctionCall {
                function,
                arguments,
            } => {
                out.put_u32(*function);
                out.put_slice(arguments);
            }
            Self::Sync | Self::Flush | Self::CopyDone | Self::Terminate => {}
        }
    }
}

fn target(mut body: Body<'_>) -> Result<Target<'_>, WireError> {
    let (kind, name) = (body.u8()?, body.string()?);
    let target = match kind {
        b'S' => Target::Statement(name),
        b'P' => Target::Portal(name),
        _ => return Err(body.malformed()),
    };
    body.end()?;
    Ok(target)
}

fn empty<'a>(body: Body<'_>, message: Frontend<'a>) -> Result<Frontend<'a>, WireError> {
    body.end().map(|()| message)
}

impl fmt::Debug for Frontend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy;
        match self {
            Self::Query(sql) => write!(f, "Query({} bytes)", sql.len()),
            Self::Parse(parse) => parse.fmt(f),
            Self::Bind(bind) => bind.fmt(f),
            Self::Describe(target) => write!(f, "Describe({target:?})"),
            Self::Close(target) => write!(f, "Close({target:?})"),
            Self::Execute { portal, max_rows } => {
                write!(f, "Execute({:?}, {max_rows})", name(portal))
            }
            Self::Sync => f.write_str("Sync"),
            Self::Flush => f.write_str("Flush"),
            Self::CopyData(bytes) => write!(f, "CopyData({} bytes)", bytes.len()),
            Self::CopyDone => f.write_str("CopyDone"),
            Self::CopyFail(_) => f.write_str("CopyFail"),
            Self::FunctionCall { function, .. } => write!(f, "FunctionCall({function})"),
            Self::Password(_) => f.write_str("Password"),
            Self::Terminate => f.write_str("Terminate"),
        }
    }
}

impl fmt::Debug for Parse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statement = String::from_utf8_lossy(self.statement);
        write!(f, "Parse({statement:?}, {} bytes)", self.sql.len())
    }
}

impl fmt::Debug for Bind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let portal = String::from_utf8_lossy(self.portal);
        let statement = String::from_utf8_lossy(self.statement);
        write!(f, "Bind({portal:?}, {statement:?})")
    }
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(name) => write!(f, "statement {:?}", String::from_utf8_lossy(name)),
            Self::Portal(name) => write!(f, "portal {:?}", String::from_utf8_lossy(name)),
        }
    }
}

impl fmt::Debug for SaslInitialResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mechanism = String::from_utf8_lossy(self.mechanism);
        write!(f, "SaslInitialResponse({mechanism:?})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::wire::{FrameDecoder, Piece};
    use postgres_protocol::message::frontend as theirs;
    use proptest::prelude::*;

    fn decode(bytes: &[u8], mut decoder: FrameDecoder) -> Frame {
        let mut buffer = BytesMut::from(bytes);
        match decoder.decode(&mut buffer).unwrap() {
            Some(Piece::Frame(frame)) => frame,
            Some(Piece::Data(data)) => data.frames().next().unwrap(),
            None => panic!("incomplete"),
        }
    }

    #[test]
    fn messages_are_the_bytes_that_another_implementation_writes() {
        let oracle = |write: &dyn Fn(&mut BytesMut)| {
            let mut out = BytesMut::new();
            write(&mut out);
            out.freeze()
        };
        let cases = [
            (
                Frontend::Query(b"select 1"),
                oracle(&|o| theirs::query("select 1", o).unwrap()),
            ),
            (
                Frontend::Parse(Parse {
                    statement: b"s1",
                    sql: b"select $1",
                    types: &[0, 1, 0, 0, 0, 23],
                }),
                oracle(&|o| theirs::parse("s1", "select $1", [23], o).unwrap()),
            ),
            (
                Frontend::Describe(Target::Statement(b"s1")),
                oracle(&|o| theirs::describe(b'S', "s1", o).unwrap()),
            ),
            (
                Frontend::Close(Target::Portal(b"")),
                oracle(&|o| theirs::close(b'P', "", o).unwrap()),
            ),
            (
                Frontend::Execute {
                    portal: b"p",
                    max_rows: 50,
                },
                oracle(&|o| theirs::execute("p", 50, o).unwrap()),
            ),
            (Frontend::Sync, oracle(&theirs::sync)),
            (Frontend::Flush, oracle(&theirs::flush)),
            (Frontend::CopyDone, oracle(&theirs::copy_done)),
            (
                Frontend::CopyFail(b"no"),
                oracle(&|o| theirs::copy_fail("no", o).unwrap()),
            ),
            (Frontend::Terminate, oracle(&theirs::terminate)),
        ];
        for (message, expected) in cases {
            assert_eq!(message.to_frame().bytes(), &expected, "{message:?}");
            let frame = decode(&expected, FrameDecoder::frontend());
            assert_eq!(Frontend::parse(&frame), Ok(message));
        }
    }

    #[test]
    fn a_bind_can_get_other_names_and_keeps_its_values() {
        let mut bytes = BytesMut::new();
        let values = [Some(&b"one\0two"[..]), None];
        let serialize = |value: Option<&[u8]>, out: &mut BytesMut| match value {
            Some(value) => {
                out.put_slice(value);
                Ok(postgres_protocol::IsNull::No)
            }
            None => Ok(postgres_protocol::IsNull::Yes),
        };
        let bind = |portal, statement, out: &mut BytesMut| {
            let done = theirs::bind(portal, statement, [1], values, serialize, [0, 1], out);
            assert!(done.is_ok());
        };
        bind("p", "s", &mut bytes);
        let frame = decode(&bytes, FrameDecoder::frontend());
        let Ok(Frontend::Bind(parsed)) = Frontend::parse(&frame) else {
            panic!("not a bind");
        };
        assert_eq!((parsed.portal, parsed.statement), (&b"p"[..], &b"s"[..]));
        let renamed = Frontend::Bind(Bind {
            statement: b"c7_s",
            ..parsed
        });
        let mut expected = BytesMut::new();
        bind("p", "c7_s", &mut expected);
        assert_eq!(renamed.to_frame().bytes(), &expected);
    }

    #[test]
    fn sasl_messages_are_read_from_the_password_family() {
        let mut bytes = BytesMut::new();
        theirs::sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=x", &mut bytes).unwrap();
        let frame = decode(&bytes, FrameDecoder::authenticating());
        let Ok(Frontend::Password(body)) = Frontend::parse(&frame) else {
            panic!("not a password message");
        };
        let initial = SaslInitialResponse::parse(body).unwrap();
        assert_eq!(initial.mechanism, b"SCRAM-SHA-256");
        assert_eq!(initial.data, Some(&b"n,,n=,r=x"[..]));
        let without = SaslInitialResponse::parse(b"X\0\xff\xff\xff\xff").unwrap();
        assert_eq!(without.data, None);
        assert!(SaslInitialResponse::parse(b"X\0\xff\xff\xff\xfe").is_err());
        assert!(SaslInitialResponse::parse(b"X\0\0\0\0\x09abc").is_err());
    }

    #[test]
    fn bodies_that_the_server_refuses_are_refused() {
        let bad = |tag, body: &[u8]| {
            let frame = Frame::build(tag, |out| out.put_slice(body));
            Frontend::parse(&frame).unwrap_err()
        };
        let malformed = |message| WireError::Malformed { message };
        assert_eq!(bad(b'Q', b"select 1"), malformed("Query"));
        assert_eq!(bad(b'Q', b"select 1\0;\0"), malformed("Query"));
        assert_eq!(bad(b'P', b"only a name\0"), malformed("Parse"));
        assert_eq!(bad(b'D', b"X\0"), malformed("Describe"));
        assert_eq!(bad(b'E', b"p\0\0\0\0"), malformed("Execute"));
        assert_eq!(bad(b'S', b"x"), malformed("Sync"));
        let (side, tag) = ("frontend", b'Z');
        assert_eq!(bad(b'Z', b""), WireError::UnknownMessage { side, tag });
    }

    #[test]
    fn debug_shows_names_and_lengths_and_no_text() {
        let secret = b"secret";
        for message in [
            Frontend::Query(secret),
            Frontend::Parse(Parse {
                statement: b"s",
                sql: secret,
                types: Parse::NO_TYPES,
            }),
            Frontend::Bind(Bind {
                portal: b"",
                statement: b"s",
                values: secret,
            }),
            Frontend::Password(secret),
            Frontend::CopyData(secret),
            Frontend::CopyFail(secret),
        ] {
            assert!(!format!("{message:?}").contains("secret"));
            assert!(!format!("{:?}", message.to_frame()).contains("secret"));
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1..=255u8, 0..12)
    }

    proptest! {
        #[test]
        fn every_message_survives_a_round_trip(
            (a, b, c) in (name(), name(), prop::collection::vec(any::<u8>(), 0..12)),
            number in any::<i32>(),
        ) {
            for message in [
                Frontend::Query(&a),
                Frontend::Parse(Parse { statement: &a, sql: &b, types: &c }),
                Frontend::Bind(Bind { portal: &a, statement: &b, values: &c }),
                Frontend::Describe(Target::Portal(&a)),
                Frontend::Close(Target::Statement(&a)),
                Frontend::Execute { portal: &a, max_rows: number },
                Frontend::CopyData(&c),
                Frontend::CopyFail(&a),
                Frontend::FunctionCall { function: number as u32, arguments: &c },
            ] {
                let mut bytes = BytesMut::new();
                message.encode(&mut bytes);
                let frame = decode(&bytes, FrameDecoder::frontend());
                prop_assert_eq!(&frame, &message.to_frame());
                prop_assert_eq!(Frontend::parse(&frame), Ok(message));
            }
        }
    }
}
