//! Who comes in: accepts connections, lets them authenticate, hands them to the core's task.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};

use super::session::{Admission, Entrance, admit};
use crate::rehearsal::wire::{
    Backend, CancelRequest, Diagnostic, SqlState, StartupMessage, split_options,
};

/// A client that has not authenticated by then is hung up on (`authentication_timeout` of a server
/// is a minute; on loopback less will do).
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(20);

/// Something that came in.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An authenticated client.
    Client(Newcomer),
    /// A CancelRequest; whose it is, its key tells.
    Cancel(CancelRequest),
}

/// An authenticated client.
#[derive(Debug)]
pub(super) struct Newcomer {
    /// Its socket.
    pub stream: TcpStream,
    /// What it sent behind its authentication.
    pub buffer: BytesMut,
    /// Settings of the startup packet, those of `options` first, as in a server.
    pub settings: Vec<(String, String)>,
    /// Our BackendKeyData.
    pub process_id: i32,
    /// Our BackendKeyData.
    pub key: [u8; 4],
}

/// Accepts clients until `over` is closed. Once `arrivals` is, upstream is gone, and they are told.
pub(super) async fn listen(
    listener: TcpListener,
    entrance: Entrance,
    arrivals: mpsc::Sender<Arrival>,
    mut over: watch::Receiver<()>,
) {
    let entrance = Arc::new(entrance);
    let last_process_id = Arc::new(AtomicI32::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Nothing is ever sent.
            _ = over.changed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files: others may close theirs.
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (entrance, arrivals) = (Arc::clone(&entrance), arrivals.clone());
        let process_id = last_process_id
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        tokio::spawn(async move {
            let welcomed = welcome(stream, &entrance, process_id);
            match tokio::time::timeout(AUTHENTICATION_TIMEOUT, welcomed).await {
                Ok(Ok(arrival)) => {
                    if let Err(SendError(Arrival::Client(newcomer))) = arrivals.send(arrival).await
                    {
                        turn_away(newcomer.stream).await;
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "a client was not admitted"),
                Err(_) => tracing::debug!("a client did not authenticate in time"),
            }
        });
    }
}

/// What a server says whose sessions an administrator ends.
pub(super) async fn turn_away(mut stream: TcpStream) {
    let mut out = BytesMut::new();
    let text = "the rehearsal has ended";
    let diagnostic = Diagnostic::new("FATAL", SqlState::ADMIN_SHUTDOWN, text);
    Backend::ErrorResponse(diagnostic).encode(&mut out);
    if let Err(error) = stream.write_all(&out).await {
        tracing::debug!(%error, "a client left before it was told of the end");
    }
}

async fn welcome(
    mut stream: TcpStream,
    entrance: &Entrance,
    process_id: i32,
) -> io::Result<Arrival> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(8 * 1024);
    let admission = admit(&mut stream, &mut buffer, entrance, rand::random())
        .await
        .map_err(io::Error::other)?;
    match admission {
        Admission::Cancel(request) => Ok(Arrival::Cancel(request)),
        Admission::Client(startup) => Ok(Arrival::Client(Newcomer {
            settings: settings(&startup),
            stream,
            buffer,
            process_id,
            key: rand::random(),
        })),
    }
}

/// What a startup packet asks for, in the order in which a server applies it.
fn settings(startup: &StartupMessage) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let options = startup.options().map(text).unwrap_or_default();
    // What a server would refuse at startup is refused when it is applied.
    let mut settings = split_options(&options).unwrap_or_default();
    settings.extend(
        startup
            .settings()
            .map(|(name, value)| (text(name), text(value))),
    );
    settings
}
