//! A stream that plays back a startup that has already happened, so that a client library which
//! insists on its own startup runs over a connection that we have authenticated.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CancelKey, Stream};

/// Swallows the first message written (StartupMessage) and answers it from memory.
pub(super) struct Replay {
    stream: Box<dyn Stream>,
    answer: BytesMut,
    startup: Startup,
}

/// How much of the StartupMessage is still to be swallowed.
enum Startup {
    Length(BytesMut),
    Rest(usize),
    Over,
}

impl Replay {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        parameters: &BTreeMap<String, String>,
        key: CancelKey,
    ) -> Self {
        Self {
            stream,
            answer: startup_answer(parameters, key),
            startup: Startup::Length(BytesMut::new()),
        }
    }

    /// How many bytes of `written` belong to the StartupMessage.
    fn swallow(&mut self, written: &[u8]) -> usize {
        match &mut self.startup {
            Startup::Over => 0,
            Startup::Rest(left) => {
                let taken = written.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    self.startup = Startup::Over;
                }
                taken
            }
            Startup::Length(seen) => {
                let taken = written.len().min(4 - seen.len());
                seen.extend_from_slice(written.get(..taken).unwrap_or_default());
                if seen.len() == 4 {
                    let length = seen.get_u32() as usize;
                    self.startup = Startup::Rest(length.saturating_sub(4));
                }
                taken
            }
        }
    }
}

/// AuthenticationOk, ParameterStatus, BackendKeyData, ReadyForQuery.
fn startup_answer(parameters: &BTreeMap<String, String>, key: CancelKey) -> BytesMut {
    let mut out = BytesMut::new();
    let mut message = |tag: u8, body: &[u8]| {
        out.put_u8(tag);
        out.put_u32(body.len() as u32 + 4);
        out.put_slice(body);
    };
    message(b'R', &[0; 4]);
    for (name, value) in parameters {
        let body = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat();
        message(b'S', &body);
    }
    message(
        b'K',
        &[key.pid.to_be_bytes(), key.secret.to_be_bytes()].concat(),
    );
    message(b'Z', b"I");
    out
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answer.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.answer.len().min(buffer.remaining());
        buffer.put_slice(&self.answer.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let swallowed = self.swallow(buffer);
        if swallowed > 0 {
            return Poll::Ready(Ok(swallowed));
        }
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_startup_message_is_swallowed_however_it_is_cut_and_all_else_passes() {
        for cut in 1..12 {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            let mut replay = Replay::new(
                Box::new(ours),
                &BTreeMap::from([("server_version".to_owned(), "18.0".to_owned())]),
                CancelKey { pid: 7, secret: 9 },
            );
            let mut written = vec![0, 0, 0, 9, 0, 3, 0, 0, 0];
            written.extend_from_slice(b"Qabc");
            for piece in written.chunks(cut) {
                replay.write_all(piece).await.unwrap();
            }
            replay.flush().await.unwrap();
            let mut passed = [0; 4];
            theirs.read_exact(&mut passed).await.unwrap();
            assert_eq!(&passed, b"Qabc");

            theirs.write_all(b"live").await.unwrap();
            let mut read = [0; 9 + 25 + 13 + 6 + 4];
            replay.read_exact(&mut read).await.unwrap();
            assert_eq!(&read[..9], [b'R', 0, 0, 0, 8, 0, 0, 0, 0]);
            assert!(read.ends_with(b"Ilive"));
        }
    }
}
