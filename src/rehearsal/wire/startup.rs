//! The first packets of a connection, which have a length but no tag (manual, "Message Formats":
//! StartupMessage, SSLRequest, GSSENCRequest, CancelRequest; "Start-up").

use super::WireError;
use super::body::{Body, put_string, put_untagged};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// The longest startup packet that the server reads, without its length word
/// (`MAX_STARTUP_PACKET_LENGTH`).
const LIMIT: u32 = 10_000;
const CANCEL: u32 = code(1234, 5678);
const SSL: u32 = code(1234, 5679);
const GSS_ENCRYPTION: u32 = code(1234, 5680);

const fn code(major: u16, minor: u16) -> u32 {
    ((major as u32) << 16) | minor as u32
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion {
    /// 3 for everything that can be parsed here.
    pub major: u16,
    /// 0 up to PostgreSQL 17, 2 asks for longer cancel keys.
    pub minor: u16,
}

impl ProtocolVersion {
    /// The version that every supported server speaks.
    pub const V3_0: Self = Self { major: 3, minor: 0 };

    /// The version as one word, as startup packets and NegotiateProtocolVersion carry it.
    #[must_use]
    pub fn word(self) -> u32 {
        code(self.major, self.minor)
    }
}

/// One untagged packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupPacket {
    /// StartupMessage: who wants to connect, and the settings of the session.
    Startup(StartupMessage),
    /// SSLRequest: answered by one byte, `S` or `N`.
    Ssl,
    /// GSSENCRequest: answered by one byte, `G` or `N`.
    GssEncryption,
    /// CancelRequest: never answered, the connection is closed.
    Cancel(CancelRequest),
}

/// StartupMessage.
#[derive(Clone, PartialEq, Eq)]
pub struct StartupMessage {
    /// The version that the client asks for.
    pub version: ProtocolVersion,
    /// Names and values in the order in which they were sent.
    pub parameters: Vec<(Bytes, Bytes)>,
}

impl StartupMessage {
    /// The value of a parameter; of the last one, if it is repeated, as in the server.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .rev()
            .find(|(key, _)| key == name.as_bytes())
            .map(|(_, value)| &value[..])
    }

    /// The role to connect as. The server refuses a startup without one (28000).
    #[must_use]
    pub fn user(&self) -> Option<&[u8]> {
        self.get("user").filter(|user| !user.is_empty())
    }

    /// The database to connect to, by default named as the user.
    #[must_use]
    pub fn database(&self) -> Option<&[u8]> {
        self.get("database")
            .filter(|name| !name.is_empty())
            .or_else(|| self.user())
    }

    /// Command-line arguments for the backend; see [`split_options`](super::split_options).
    #[must_use]
    pub fn options(&self) -> Option<&[u8]> {
        self.get("options")
    }

    /// The value of `replication`: anything but an off value asks for a walsender.
    #[must_use]
    pub fn replication(&self) -> Option<&[u8]> {
        self.get("replication")
    }

    /// Names of protocol extensions (`_pq_.…`), to be declined by NegotiateProtocolVersion.
    pub fn protocol_options(&self) -> impl Iterator<Item = &[u8]> {
        self.parameters
            .iter()
            .map(|(name, _)| &name[..])
            .filter(|name| name.starts_with(b"_pq_."))
    }

    /// Settings of the session: every parameter that has no meaning of its own to the protocol.
    pub fn settings(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        const OTHERS: [&[u8]; 4] = [b"user", b"database", b"options", b"replication"];
        self.parameters
            .iter()
            .map(|(name, value)| (&name[..], &value[..]))
            .filter(|(name, _)| !name.starts_with(b"_pq_.") && !OTHERS.contains(name))
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut BytesMut) {
        put_untagged(out, |out| {
            out.put_u32(self.version.word());
            for (name, value) in &self.parameters {
                put_string(out, name);
                put_string(out, value);
            }
            out.put_u8(0);
        });
    }
}

impl fmt::Debug for StartupMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .parameters
            .iter()
            .map(|(name, _)| String::from_utf8_lossy(name))
            .collect();
        f.debug_struct("StartupMessage")
            .field("version", &self.version)
            .field("parameters", &names)
            .finish()
    }
}

/// CancelRequest: the pair that the client got in BackendKeyData.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// The backend's process id.
    pub process_id: i32,
    /// The secret: 4 bytes up to protocol 3.0, up to 256 from 3.2 on.
    pub key: Bytes,
}

impl CancelRequest {
    /// Appends the packet.
    pub fn encode(&self, out: &mut BytesMut) {
        put_untagged(out, |out| {
            out.put_u32(CANCEL);
            out.put_i32(self.process_id);
            out.put_slice(&self.key);
        });
    }
}

impl fmt::Debug for CancelRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelRequest({})", self.process_id)
    }
}

/// Takes one untagged packet from the front of `buffer`; `None` when more bytes are needed.
///
/// # Errors
/// A length, a version or a layout that the server refuses.
pub fn take_startup(buffer: &mut BytesMut) -> Result<Option<StartupPacket>, WireError> {
    let Some(word) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*word);
    if !(8..=LIMIT + 4).contains(&length) {
        return Err(WireError::InvalidLength { tag: 0, length });
    }
    let length = length as usize;
    if buffer.len() < length {
        return Ok(None);
    }
    let mut packet = buffer.split_to(length).freeze();
    packet.advance(4);
    let code = packet.get_u32();
    match code {
        SSL if packet.is_empty() => Ok(Some(StartupPacket::Ssl)),
        GSS_ENCRYPTION if packet.is_empty() => Ok(Some(StartupPacket::GssEncryption)),
        SSL => Err(malformed("SSLRequest")),
        GSS_ENCRYPTION => Err(malformed("GSSENCRequest")),
        CANCEL => cancel(packet).map(|cancel| Some(StartupPacket::Cancel(cancel))),
        _ => startup(code, &packet).map(|startup| Some(StartupPacket::Startup(startup))),
    }
}

fn malformed(message: &'static str) -> WireError {
    WireError::Malformed { message }
}

fn cancel(mut packet: Bytes) -> Result<CancelRequest, WireError> {
    // 256 bytes is the longest key of protocol 3.2.
    if !(4 + 4..=4 + 256).contains(&packet.len()) {
        return Err(malformed("CancelRequest"));
    }
    let process_id = packet.get_i32();
    Ok(CancelRequest {
        process_id,
        key: packet,
    })
}

fn startup(code: u32, packet: &Bytes) -> Result<StartupMessage, WireError> {
    let version = ProtocolVersion {
        major: (code >> 16) as u16,
        minor: (code & 0xffff) as u16,
    };
    if version.major != 3 {
        let ProtocolVersion { major, minor } = version;
        return Err(WireError::UnsupportedProtocol { major, minor });
    }
    let mut body = Body::new("StartupMessage", packet);
    let mut parameters = Vec::new();
    loop {
        let name = body.string()?;
        if name.is_empty() {
            break;
        }
        let value = body.string()?;
        parameters.push((packet.slice_ref(name), packet.slice_ref(value)));
    }
    body.end()?;
    Ok(StartupMessage {
        version,
        parameters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(bytes: &[u8]) -> Result<Option<StartupPacket>, WireError> {
        take_startup(&mut BytesMut::from(bytes))
    }

    fn startup_of(version: u32, parameters: &[(&str, &str)]) -> StartupMessage {
        let mut bytes = BytesMut::new();
        put_untagged(&mut bytes, |out| {
            out.put_u32(version);
            for (name, value) in parameters {
                put_string(out, name.as_bytes());
                put_string(out, value.as_bytes());
            }
            out.put_u8(0);
        });
        let Ok(Some(StartupPacket::Startup(startup))) = take_startup(&mut bytes) else {
            panic!("not a startup message");
        };
        startup
    }

    #[test]
    fn ssl_and_gss_requests_are_the_documented_bytes() {
        let ssl = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
        let gss = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
        assert_eq!(take(&ssl), Ok(Some(StartupPacket::Ssl)));
        assert_eq!(take(&gss), Ok(Some(StartupPacket::GssEncryption)));
        assert_eq!(take(&ssl[..7]), Ok(None));
    }

    #[test]
    fn cancel_keys_may_have_4_to_256_bytes() {
        for size in [4, 32, 256] {
            let request = CancelRequest {
                process_id: 4711,
                key: Bytes::from(vec![9; size]),
            };
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes);
            assert_eq!(take(&bytes), Ok(Some(StartupPacket::Cancel(request))));
        }
        for size in [0, 3, 257] {
            let mut bytes = BytesMut::new();
            let key = Bytes::from(vec![9; size]);
            CancelRequest { process_id: 1, key }.encode(&mut bytes);
            assert_eq!(take(&bytes), Err(malformed("CancelRequest")));
        }
        let mut ours = BytesMut::new();
        let key = Bytes::from_static(&[0, 0, 0, 2]);
        CancelRequest { process_id: 1, key }.encode(&mut ours);
        let mut theirs = BytesMut::new();
        postgres_protocol::message::frontend::cancel_request(1, 2, &mut theirs);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_startup_message_separates_settings_from_what_the_protocol_means() {
        let startup = startup_of(
            0x0003_0002,
            &[
                ("user", "mig"),
                ("application_name", "a"),
                ("_pq_.grease", "1"),
                ("options", "-c geqo=off"),
                ("replication", "database"),
                ("application_name", "b"),
            ],
        );
        assert_eq!(startup.version, ProtocolVersion { major: 3, minor: 2 });
        assert_eq!(startup.user(), Some(&b"mig"[..]));
        assert_eq!(startup.database(), Some(&b"mig"[..]));
        assert_eq!(startup.options(), Some(&b"-c geqo=off"[..]));
        assert_eq!(startup.replication(), Some(&b"database"[..]));
        assert_eq!(startup.get("application_name"), Some(&b"b"[..]));
        assert_eq!(
            startup.protocol_options().collect::<Vec<_>>(),
            [b"_pq_.grease"]
        );
        assert_eq!(
            startup.settings().map(|(_, v)| v).collect::<Vec<_>>(),
            [b"a", b"b"]
        );
    }

    #[test]
    fn what_the_server_refuses_is_refused() {
        let length = |length| Err(WireError::InvalidLength { tag: 0, length });
        assert_eq!(take(&[0, 0, 0, 7]), length(7));
        assert_eq!(take(&[0, 0, 0x27, 0x15]), length(10_005));
        // The beginning of an HTTP request.
        assert_eq!(take(b"GET "), length(0x4745_5420));
        let (major, minor) = (2, 0);
        assert_eq!(
            take(&[0, 0, 0, 9, 0, 2, 0, 0, 0]),
            Err(WireError::UnsupportedProtocol { major, minor })
        );
        for bad in [
            &[0, 0, 0, 8, 0, 3, 0, 0][..],
            &[0, 0, 0, 10, 0, 3, 0, 0, b'u', 0],
            &[0, 0, 0, 10, 0, 3, 0, 0, 0, 1],
        ] {
            assert_eq!(take(bad), Err(malformed("StartupMessage")));
        }
    }

    #[test]
    fn debug_shows_neither_values_nor_keys() {
        let startup = startup_of(0x0003_0000, &[("user", "secret")]);
        assert!(!format!("{startup:?}").contains("secret"));
        let key = Bytes::from_static(b"secret");
        let cancel = CancelRequest { process_id: 1, key };
        assert_eq!(format!("{cancel:?}"), "CancelRequest(1)");
    }

    proptest! {
        #[test]
        fn startup_messages_survive_a_round_trip(
            minor in any::<u16>(),
            parameters in prop::collection::vec(("[a-z_.]{1,12}", "[^\0]{0,12}"), 0..6),
        ) {
            let startup = StartupMessage {
                version: ProtocolVersion { major: 3, minor },
                parameters: parameters
                    .into_iter()
                    .map(|(n, v)| (Bytes::from(n), Bytes::from(v)))
                    .collect(),
            };
            let mut bytes = BytesMut::new();
            startup.encode(&mut bytes);
            prop_assert_eq!(take(&bytes), Ok(Some(StartupPacket::Startup(startup))));
        }

        #[test]
        fn no_packet_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut packet = ((bytes.len() + 4) as u32).to_be_bytes().to_vec();
            packet.extend_from_slice(&bytes);
            let _ = take(&packet);
        }
    }
}
