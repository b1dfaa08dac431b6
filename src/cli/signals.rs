//! SIGINT and SIGTERM ask a run to stop; nothing but SIGKILL skips its rollback.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns true at the first SIGINT or SIGTERM; later ones change nothing.
///
/// # Errors
/// When no handler can be installed.
pub(super) fn stop() -> std::io::Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if *sender.borrow() {
                tracing::warn!("still rolling back and verifying; this cannot be skipped");
            }
            sender.send_replace(true);
        }
    });
    Ok(stop)
}
