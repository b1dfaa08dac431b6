//! The frontend/backend protocol, version 3: bytes to messages and back, without any I/O.
//!
//! PostgreSQL manual, chapter "Frontend/Backend Protocol": the message formats are those of section
//! "Message Formats", the fields of errors those of "Error and Notice Message Fields".
//!
//! What the proxy only passes on stays the bytes that arrived: [`FrameDecoder`] cuts a stream into
//! [`Piece`]s that are forwarded raw, and [`Frontend`] and [`Backend`] are borrowed views into a
//! [`Frame`] for the few messages that must be understood. The same enums encode the messages that
//! the proxy says itself.
//!
//! Strings are bytes. What they mean depends on `client_encoding`, and nothing here needs to know.
//! `Debug` of anything that can hold a statement's text, a bind value, a row or a password shows
//! lengths, never contents.

mod backend;
mod body;
mod diagnostic;
mod frame;
mod frontend;
mod options;
mod reassembly;
mod sqlstate;
mod startup;
mod values;

pub use backend::{Authentication, Backend, Columns, TransactionStatus};
pub use diagnostic::{Diagnostic, Field};
pub use frame::{Data, Frame, FrameDecoder, Frames, Piece, STREAM_ABOVE};
pub use frontend::{Bind, Frontend, Parse, SaslInitialResponse, Target};
pub use options::{OptionsError, split_options};
pub use reassembly::{KEPT_AT_MOST, Reassembly};
pub use sqlstate::SqlState;
pub use startup::{CancelRequest, ProtocolVersion, StartupMessage, StartupPacket, take_startup};
pub use values::{BindValue, bind_values, parse_types};

/// Why bytes are not a message of the protocol. A server ends the connection on each of these with
/// SQLSTATE 08P01 (`protocol_violation`), and so must whoever sees one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length word is below its minimum or above what the server would accept for this message.
    #[error("invalid length {length} of message {:?}", char::from(*.tag))]
    InvalidLength {
        /// The message's tag, 0 for a startup packet.
        tag: u8,
        /// The length word as sent: it counts itself but not the tag.
        length: u32,
    },
    /// The tag belongs to no message of this side of the protocol.
    #[error("invalid {side} message type {:?}", char::from(*.tag))]
    UnknownMessage {
        /// "frontend" or "backend".
        side: &'static str,
        /// The tag as sent.
        tag: u8,
    },
    /// The body is too short, too long, or misses a terminator.
    #[error("invalid format of message {message}")]
    Malformed {
        /// The message's name in the manual.
        message: &'static str,
    },
    /// A message that must be read as a whole, and is too long to be kept.
    #[error("message {:?} of {length} bytes is too long to be read", char::from(*.tag))]
    TooLong {
        /// The message's tag.
        tag: u8,
        /// Its length in all.
        length: usize,
    },
    /// A major version of the protocol other than 3.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0")]
    UnsupportedProtocol {
        /// Upper half of the version word.
        major: u16,
        /// Lower half of the version word.
        minor: u16,
    },
}
