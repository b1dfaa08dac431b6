//! A client that says what it is told to, message by message, and hears every message.
//!
//! It shares no code with the rehearsal: a mistake in reading the protocol must not hide itself.

#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    /// Process id and secret of its BackendKeyData.
    pub(crate) key: Vec<u8>,
    /// What the server said before the first ReadyForQuery, but for its authentication requests.
    pub(crate) greeting: Vec<Heard>,
}

/// Where a URL of the lab leads: `postgresql://user[:password]@host:port/database`.
pub(crate) struct Address<'a> {
    user: &'a str,
    password: &'a str,
    host: &'a str,
    database: &'a str,
}

impl<'a> Address<'a> {
    pub(crate) fn of(url: &'a str) -> Self {
        let rest = url.split_once("://").unwrap().1;
        let (who, rest) = rest.split_once('@').unwrap();
        let (host, database) = rest.split_once('/').unwrap();
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        Self {
            user,
            password,
            host,
            database: database.split_once('?').map_or(database, |(name, _)| name),
        }
    }

    /// A bare socket, for whoever does not mean to introduce himself.
    pub(crate) fn socket(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }
}

impl Client {
    pub(crate) fn connect(url: &str) -> Self {
        Self::connect_with(url, &[])
    }

    /// Connects with further parameters in the startup packet.
    pub(crate) fn connect_with(url: &str, parameters: &[(&str, &str)]) -> Self {
        Self::try_connect(url, parameters).unwrap_or_else(|heard| panic!("not admitted: {heard:?}"))
    }

    /// As [`Client::connect_with`]; what the server said last when it did not let us in.
    pub(crate) fn try_connect(url: &str, parameters: &[(&str, &str)]) -> Result<Self, Heard> {
        Self::try_version(url, (3, 0), parameters)
    }

    /// As [`Client::try_connect`], asking for a version of the protocol.
    pub(crate) fn try_version(
        url: &str,
        (major, minor): (u16, u16),
        parameters: &[(&str, &str)],
    ) -> Result<Self, Heard> {
        let address = Address::of(url);
        let mut client = Self {
            stream: address.socket(),
            buffer: BytesMut::new(),
            key: Vec::new(),
            greeting: Vec::new(),
        };
        let mut body = [major.to_be_bytes(), minor.to_be_bytes()].concat();
        let named = [("user", address.user), ("database", address.database)];
        for (name, value) in named.iter().chain(parameters) {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap();
        client.send(&[&length.to_be_bytes()[..], &body].concat());
        client.authenticate(address.password)?;
        loop {
            let heard = client.hear().expect("a greeting");
            match heard.tag {
                b'Z' => return Ok(client),
                b'E' | b'?' => return Err(heard),
                b'K' => client.key = heard.body.clone(),
                _ => {}
            }
            client.greeting.push(heard);
        }
    }

    fn authenticate(&mut self, password: &str) -> Result<(), Heard> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let heard = self.hear().expect("an authentication request");
            match heard.tag {
                b'R' => {}
                b'v' => {
                    self.greeting.push(heard);
                    continue;
                }
                _ => return Err(heard),
            }
            let (kind, data) = heard.body.split_at(4);
            match kind[3] {
                0 => return Ok(()),
                10 => {
                    let first = scram.message();
                    let length = i32::try_from(first.len()).unwrap().to_be_bytes();
                    let body = [b"SCRAM-SHA-256\0", &length[..], first].concat();
                    self.send(&message(b'p', &body));
                }
                11 => {
                    scram.update(data).unwrap();
                    let answer = message(b'p', scram.message());
                    self.send(&answer);
                }
                12 => scram.finish(data).unwrap(),
                other => panic!("authentication request {other}"),
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A server that hung up is what some tests are about.
        let _ = self.stream.write_all(bytes);
    }

    /// Ends its side of the connection without a word.
    pub(crate) fn hang_up(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The next message; `None` when the server closed the connection.
    pub(crate) fn hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(length) = self.buffer.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.buffer.len() > length {
                    let frame = self.buffer.split_to(length + 1);
                    return Some(Heard {
                        tag: frame[0],
                        body: frame[5..].to_vec(),
                    });
                }
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Some(Heard::silence());
                }
                Err(_) => return None,
            }
        }
    }

    /// Everything up to and with the next message of this tag, or to the end of the connection.
    pub(crate) fn until(&mut self, tag: u8) -> Vec<Heard> {
        let mut all = Vec::new();
        while let Some(heard) = self.hear() {
            let last = heard.tag == tag || heard.is_silence();
            all.push(heard);
            if last {
                break;
            }
        }
        all
    }

    /// Says a Query and hears its answers.
    pub(crate) fn ask(&mut self, sql: &str) -> Vec<Heard> {
        self.send(&query(sql));
        self.until(b'Z')
    }
}

/// Asks the server at `url` to cancel what the session with this BackendKeyData runs.
pub(crate) fn cancel(url: &str, key: &[u8]) {
    let body = [&80_877_102_i32.to_be_bytes()[..], key].concat();
    let length = u32::try_from(body.len() + 4).unwrap();
    let mut socket = Address::of(url).socket();
    socket
        .write_all(&[&length.to_be_bytes()[..], &body].concat())
        .unwrap();
    let mut nothing = Vec::new();
    // The server closes without an answer.
    let _ = socket.read_to_end(&mut nothing);
}

/// A message of any tag.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

pub(crate) fn parse(statement: &str, sql: &str) -> Vec<u8> {
    let body = [statement.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat();
    message(b'P', &body)
}

/// All values in text form, results too.
pub(crate) fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

/// `kind` is `S` for a statement, `P` for a portal.
pub(crate) fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind], name.as_bytes(), b"\0"].concat())
}

/// `kind` is `S` for a statement, `P` for a portal.
pub(crate) fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind], name.as_bytes(), b"\0"].concat())
}

pub(crate) fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(
        b'E',
        &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat(),
    )
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub(crate) fn flush() -> Vec<u8> {
    message(b'H', b"")
}

pub(crate) fn copy_data(data: &str) -> Vec<u8> {
    message(b'd', data.as_bytes())
}

pub(crate) fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

pub(crate) fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', &[reason.as_bytes(), b"\0"].concat())
}

/// Binary arguments, binary result.
pub(crate) fn function_call(oid: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 1, 0, 1]);
    body.extend(u16::try_from(arguments.len()).unwrap().to_be_bytes());
    for argument in arguments {
        body.extend(u32::try_from(argument.len()).unwrap().to_be_bytes());
        body.extend(*argument);
    }
    body.extend([0, 1]);
    message(b'F', &body)
}

pub(crate) fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

/// A statement through the unnamed statement and portal, without Sync.
pub(crate) fn extended(sql: &str) -> Vec<u8> {
    [
        parse("", sql),
        bind("", "", &[]),
        describe(b'P', ""),
        execute("", 0),
    ]
    .concat()
}

impl Heard {
    /// Stands for a message that did not come in time.
    fn silence() -> Self {
        Self {
            tag: b'?',
            body: b"silence".to_vec(),
        }
    }

    pub(crate) fn is_silence(&self) -> bool {
        self.tag == b'?'
    }

    /// A field of an ErrorResponse or NoticeResponse.
    pub(crate) fn field(&self, code: u8) -> Option<String> {
        self.body
            .split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&code))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    }
}

/// SQLSTATEs of the errors among messages.
pub(crate) fn errors(heard: &[Heard]) -> Vec<String> {
    heard
        .iter()
        .filter(|message| message.tag == b'E')
        .filter_map(|message| message.field(b'C'))
        .collect()
}
