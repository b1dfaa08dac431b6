//! Cutting a byte stream into frames (manual, section "Overview" of "Frontend/Backend Protocol"),
//! with the length limits of the server's own reader.
//!
//! Rows and COPY data are not held back until a frame is whole and are not cut up one by one: they
//! come out as [`Data`], runs of bytes with a count of the frames that end in them. So a row of
//! 500 MB passes in pieces of the read buffer's size, and ten million small ones cost a length
//! check each.

use super::WireError;
use super::body::put_message;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// A CopyData or DataRow message longer than this (in bytes, with its header) is handed out before
/// it is complete.
pub const STREAM_ABOVE: usize = 64 * 1024;

/// Tag and length word.
const HEADER: usize = 5;
/// The longest startup-time answer that the server reads (`PG_MAX_AUTH_TOKEN_LENGTH`).
const AUTHENTICATION_LIMIT: u32 = 65_535;
/// The server's limit for messages without text or data (`PQ_SMALL_MESSAGE_LIMIT`).
const SMALL_LIMIT: u32 = 10_000;
/// The server's limit for all others, one byte below its 1 GiB allocation limit
/// (`PQ_LARGE_MESSAGE_LIMIT`).
const LARGE_LIMIT: u32 = 0x3fff_fffe;

/// One whole message as it is on the wire: tag, length, body. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    tag: u8,
    bytes: Bytes,
}

impl Frame {
    /// Builds a frame of `tag` around what `body` writes.
    pub(super) fn build(tag: u8, body: impl FnOnce(&mut BytesMut)) -> Self {
        let mut bytes = BytesMut::with_capacity(64);
        put_message(&mut bytes, tag, body);
        Self {
            tag,
            bytes: bytes.freeze(),
        }
    }

    /// A message whose parts were put together.
    pub(super) fn from_whole(bytes: Bytes) -> Option<Self> {
        let tag = *bytes.first()?;
        Some(Self { tag, bytes })
    }

    /// The message's tag.
    #[must_use]
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// The message without tag and length.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// The whole message, to be forwarded.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole message, to be forwarded.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frame({:?}, {})",
            char::from(self.tag),
            self.bytes.len() - 1
        )
    }
}

/// What a decoder hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Any message but CopyData and DataRow.
    Frame(Frame),
    /// CopyData or DataRow messages, or a part of one.
    Data(Data),
}

/// A stretch of consecutive CopyData (`d`) or DataRow (`D`) messages. It begins where the one
/// before ended, which may be inside a message, and may end inside one.
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    tag: u8,
    bytes: Bytes,
    begun: usize,
    ended: usize,
    owed: usize,
}

impl Data {
    /// `d` or `D`.
    #[must_use]
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// The bytes, to be forwarded.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, to be forwarded.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// How many messages begin here.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// How many messages end here.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// How many bytes of the last message are still to come. Until they have been sent nothing else
    /// may be written to the same connection.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// The whole messages in here. A message that is only partly here is not among them: whoever
    /// must read all of them reads through a [`Reassembly`](super::Reassembly).
    #[must_use]
    pub fn frames(&self) -> Frames {
        let mut rest = self.bytes.clone();
        if self.begun == 0 {
            // Begins inside a message, and then ends with that message at the latest.
            rest.clear();
        }
        Frames { rest }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Data({:?}, {} bytes, {} ended, {} owed)",
            char::from(self.tag),
            self.bytes.len(),
            self.ended,
            self.owed
        )
    }
}

/// Iterator over the whole messages of a [`Data`].
#[derive(Debug)]
pub struct Frames {
    rest: Bytes,
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let (tag, length) = header(&self.rest)?;
        let total = length as usize + 1;
        (total <= self.rest.len() && length >= 4).then(|| Frame {
            tag,
            bytes: self.rest.split_to(total),
        })
    }
}

/// Cuts one direction of a connection into pieces. Startup packets, which have no tag, are read by
/// [`take_startup`](super::take_startup) before.
#[derive(Debug)]
pub struct FrameDecoder {
    side: Side,
    /// Tag and missing bytes of a message that was handed out in part.
    open: Option<(u8, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Authenticating,
    Frontend,
    Backend,
}

impl FrameDecoder {
    /// For what a client sends before it is authenticated: password messages only, and short ones.
    #[must_use]
    pub fn authenticating() -> Self {
        Self::new(Side::Authenticating)
    }

    /// For what an authenticated client sends.
    #[must_use]
    pub fn frontend() -> Self {
        Self::new(Side::Frontend)
    }

    /// For what a server sends.
    #[must_use]
    pub fn backend() -> Self {
        Self::new(Side::Backend)
    }

    fn new(side: Side) -> Self {
        Self { side, open: None }
    }

    /// How many bytes of a message that was handed out in part have not arrived yet. A peer that
    /// got the first part waits for exactly as many.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.open.map_or(0, |(_, missing)| missing)
    }

    /// Takes the next piece from the front of `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// A length or a tag for which a server would end the connection. The stream cannot be read any
    /// further then.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, WireError> {
        if let Some((tag, missing)) = self.open {
            return Ok(self.rest_of_open(tag, missing, buffer));
        }
        let Some((tag, total)) = self.peek(buffer)? else {
            return Ok(None);
        };
        if self.streams(tag) {
            return Ok(self.run(tag, buffer));
        }
        if buffer.len() < total {
            return Ok(None);
        }
        Ok(Some(Piece::Frame(Frame {
            tag,
            bytes: buffer.split_to(total).freeze(),
        })))
    }

    fn rest_of_open(&mut self, tag: u8, missing: usize, buffer: &mut BytesMut) -> Option<Piece> {
        if buffer.is_empty() {
            return None;
        }
        let bytes = buffer.split_to(missing.min(buffer.len())).freeze();
        let owed = missing - bytes.len();
        self.open = (owed > 0).then_some((tag, owed));
        Some(Piece::Data(Data {
            tag,
            bytes,
            begun: 0,
            ended: usize::from(owed == 0),
            owed,
        }))
    }

    /// As many messages of one tag as are here, the last one only in part if it is a long one.
    fn run(&mut self, tag: u8, buffer: &mut BytesMut) -> Option<Piece> {
        let mut end = 0;
        let (mut begun, mut ended, mut owed) = (0, 0, 0);
        // A wrong header ends the run and is reported when it is first in line.
        while let Ok(Some((next, total))) = self.peek(&buffer[end..]) {
            if next != tag {
                break;
            }
            let here = buffer.len() - end;
            if total <= here {
                end += total;
                begun += 1;
                ended += 1;
            } else if total > STREAM_ABOVE {
                end += here;
                begun += 1;
                owed = total - here;
                self.open = Some((tag, owed));
                break;
            } else {
                break;
            }
        }
        (end > 0).then(|| {
            Piece::Data(Data {
                tag,
                bytes: buffer.split_to(end).freeze(),
                begun,
                ended,
                owed,
            })
        })
    }

    /// Tag and total size of the message at the front, once its header is here and acceptable.
    fn peek(&self, bytes: &[u8]) -> Result<Option<(u8, usize)>, WireError> {
        // The server checks the tag before it waits for the length.
        let Some(&tag) = bytes.first() else {
            return Ok(None);
        };
        let limit = self.limit(tag)?;
        let Some((_, length)) = header(bytes) else {
            return Ok(None);
        };
        if length < 4 || length > limit {
            return Err(WireError::InvalidLength { tag, length });
        }
        Ok(Some((tag, length as usize + 1)))
    }

    fn limit(&self, tag: u8) -> Result<u32, WireError> {
        match (self.side, tag) {
            (Side::Authenticating, b'p') => Ok(AUTHENTICATION_LIMIT),
            (Side::Frontend, b'Q' | b'F' | b'P' | b'B' | b'd') => Ok(LARGE_LIMIT),
            (Side::Frontend, b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f') => {
                Ok(SMALL_LIMIT)
            }
            (Side::Backend, _) => Ok(LARGE_LIMIT),
            (Side::Authenticating | Side::Frontend, _) => Err(WireError::UnknownMessage {
                side: "frontend",
                tag,
            }),
        }
    }

    fn streams(&self, tag: u8) -> bool {
        matches!(
            (self.side, tag),
            (Side::Frontend | Side::Backend, b'd') | (Side::Backend, b'D')
        )
    }
}

fn header(bytes: &[u8]) -> Option<(u8, u32)> {
    let &[tag, a, b, c, d] = bytes.first_chunk::<HEADER>()?;
    Some((tag, u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn drain(decoder: &mut FrameDecoder, buffer: &mut BytesMut) -> Vec<Piece> {
        std::iter::from_fn(|| decoder.decode(buffer).unwrap()).collect()
    }

    #[test]
    fn a_frame_comes_out_raw_and_only_when_whole() {
        let bytes = message(b'Q', b"select 1\0");
        let mut decoder = FrameDecoder::frontend();
        let mut buffer = BytesMut::new();
        for byte in &bytes[..bytes.len() - 1] {
            buffer.extend_from_slice(&[*byte]);
            assert_eq!(decoder.decode(&mut buffer).unwrap(), None);
        }
        buffer.extend_from_slice(&bytes[bytes.len() - 1..]);
        let Some(Piece::Frame(frame)) = decoder.decode(&mut buffer).unwrap() else {
            panic!("no frame");
        };
        assert_eq!(frame.tag(), b'Q');
        assert_eq!(frame.body(), b"select 1\0");
        assert_eq!(frame.into_bytes(), bytes);
    }

    #[test]
    fn debug_shows_tag_and_length_and_nothing_else() {
        let secret = message(b'd', b"secret");
        let mut decoder = FrameDecoder::frontend();
        let data = decoder.decode(&mut BytesMut::from(&secret[..])).unwrap();
        assert_eq!(
            format!("{data:?}"),
            "Some(Data(Data('d', 11 bytes, 1 ended, 0 owed)))"
        );
        let mut buffer = BytesMut::from(&message(b'Q', b"secret\0")[..]);
        let frame = decoder.decode(&mut buffer).unwrap();
        assert_eq!(format!("{frame:?}"), "Some(Frame(Frame('Q', 11)))");
    }

    #[test]
    fn small_rows_come_out_as_one_run() {
        let mut buffer = BytesMut::new();
        for body in [&b"one"[..], b"", b"three"] {
            buffer.extend_from_slice(&message(b'D', body));
        }
        buffer.extend_from_slice(&message(b'C', b"SELECT 3\0"));
        let mut decoder = FrameDecoder::backend();
        let Some(Piece::Data(data)) = decoder.decode(&mut buffer).unwrap() else {
            panic!("no data");
        };
        assert_eq!((data.begun(), data.ended(), data.owed()), (3, 3, 0));
        let bodies: Vec<_> = data.frames().map(|f| f.body().to_vec()).collect();
        assert_eq!(bodies, [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
        let next = decoder.decode(&mut buffer).unwrap();
        assert!(matches!(next, Some(Piece::Frame(f)) if f.tag() == b'C'));
    }

    #[test]
    fn a_long_row_is_handed_out_before_it_is_complete_and_says_what_it_owes() {
        let whole = message(b'd', &vec![7; STREAM_ABOVE]);
        let mut decoder = FrameDecoder::frontend();
        let mut buffer = BytesMut::from(&whole[..100]);
        let Some(Piece::Data(head)) = decoder.decode(&mut buffer).unwrap() else {
            panic!("no data");
        };
        assert_eq!((head.begun(), head.ended()), (1, 0));
        assert_eq!(head.owed(), whole.len() - 100);
        assert_eq!(decoder.owed(), whole.len() - 100);
        assert_eq!(head.frames().count(), 0);
        buffer.extend_from_slice(&whole[100..]);
        buffer.extend_from_slice(&message(b'c', b""));
        let Some(Piece::Data(tail)) = decoder.decode(&mut buffer).unwrap() else {
            panic!("no data");
        };
        assert_eq!((tail.begun(), tail.ended(), tail.owed()), (0, 1, 0));
        assert_eq!(tail.frames().count(), 0);
        assert_eq!(decoder.owed(), 0);
    }

    #[test]
    fn a_describe_of_a_client_is_a_frame_although_it_shares_its_tag_with_a_row() {
        let mut buffer = BytesMut::from(&message(b'D', b"S\0")[..]);
        let piece = FrameDecoder::frontend().decode(&mut buffer).unwrap();
        assert!(matches!(piece, Some(Piece::Frame(_))));
    }

    #[test]
    fn lengths_beyond_the_servers_limits_and_unknown_tags_are_refused() {
        let length = |tag: u8, length: u32| {
            let mut bytes = vec![tag];
            bytes.extend_from_slice(&length.to_be_bytes());
            BytesMut::from(&bytes[..])
        };
        let cases = [
            (FrameDecoder::frontend(), b'S', 3),
            (FrameDecoder::frontend(), b'S', 10_001),
            (FrameDecoder::frontend(), b'Q', 0x3fff_ffff),
            (FrameDecoder::frontend(), b'd', 0xffff_ffff),
            (FrameDecoder::authenticating(), b'p', 65_536),
            (FrameDecoder::backend(), b'T', 0x8000_0000),
        ];
        for (mut decoder, tag, word) in cases {
            let error = decoder.decode(&mut length(tag, word)).unwrap_err();
            assert_eq!(error, WireError::InvalidLength { tag, length: word });
        }
        for (mut decoder, tag) in [
            (FrameDecoder::frontend(), b'p'),
            (FrameDecoder::frontend(), b'Z'),
            (FrameDecoder::authenticating(), b'Q'),
        ] {
            let error = decoder.decode(&mut BytesMut::from(&[tag][..])).unwrap_err();
            let side = "frontend";
            assert_eq!(error, WireError::UnknownMessage { side, tag });
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_bytes_and_the_same_messages(
            messages in prop::collection::vec(
                (prop::sample::select(b"QPBdSH".to_vec()), prop_oneof![
                    4 => 0..40usize, 1 => STREAM_ABOVE - 8..STREAM_ABOVE + 8,
                ]),
                1..8,
            ),
            cuts in prop::collection::vec(1..70_000usize, 1..20),
        ) {
            let whole: Vec<u8> = messages
                .iter()
                .enumerate()
                .flat_map(|(n, (tag, size))| {
                    let size = if matches!(tag, b'S' | b'H') { size % 9_000 } else { *size };
                    message(*tag, &vec![n as u8; size])
                })
                .collect();
            let mut decoder = FrameDecoder::frontend();
            let mut buffer = BytesMut::new();
            let (mut bytes, mut tags) = (Vec::new(), Vec::new());
            let mut rest = &whole[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                buffer.extend_from_slice(now);
                rest = later;
                for piece in drain(&mut decoder, &mut buffer) {
                    match piece {
                        Piece::Frame(frame) => {
                            tags.push(frame.tag());
                            bytes.extend_from_slice(frame.bytes());
                        }
                        Piece::Data(data) => {
                            tags.extend(vec![data.tag(); data.ended()]);
                            bytes.extend_from_slice(data.bytes());
                        }
                    }
                }
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(bytes, whole);
            prop_assert_eq!(tags, messages.iter().map(|(tag, _)| *tag).collect::<Vec<_>>());
            prop_assert_eq!(decoder.owed(), 0);
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for mut decoder in [FrameDecoder::frontend(), FrameDecoder::backend()] {
                let mut buffer = BytesMut::from(&bytes[..]);
                while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
            }
        }
    }
}
