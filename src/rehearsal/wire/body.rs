//! Reading and writing the inside of a message: the data types of the manual's section "Message
//! Data Types" (Int8, Int16, Int32, String, Byten).

use super::WireError;
use bytes::{BufMut, BytesMut};

/// Reads a body front to back. Every read names the message in its error.
pub(super) struct Body<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    pub(super) fn new(message: &'static str, rest: &'a [u8]) -> Self {
        Self { message, rest }
    }

    pub(super) fn malformed(&self) -> WireError {
        WireError::Malformed {
            message: self.message,
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A String: everything up to the next zero byte.
    pub(super) fn string(&mut self) -> Result<&'a [u8], WireError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| self.malformed())?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(text)
    }

    /// Whatever is left, to be passed on as it is.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The server refuses a message with bytes behind its last field.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }
}

/// Appends one message: tag, a length filled in afterwards, and what `body` writes.
///
/// A body beyond 4 GiB gets the largest length word there is, which no peer accepts; nothing that
/// the proxy builds comes near it, since its parts arrived in frames of at most 1 GiB.
pub(super) fn put_message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    put_untagged(out, body);
}

/// Appends a packet that has a length but no tag, as the first packets of a connection.
pub(super) fn put_untagged(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a String. A zero byte ends it early: the protocol has no way to say one, and writing it
/// would shift every field behind it.
pub(super) fn put_string(out: &mut BytesMut, text: &[u8]) {
    let end = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    out.put_slice(&text[..end]);
    out.put_u8(0);
}
