//! How a session waits for what comes next: awake for a moment, then asleep.
//!
//! A process between a client and a server puts two more processes to sleep in each round trip, and
//! waking one costs more than all the rest of the relaying, most of all on a virtual machine with an
//! idle processor. The next message of a conversation is mostly less than [`AWAKE`] away; what takes
//! longer is slept through. Whoever else could use the processor gets it first.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long one stays awake after the last thing that happened.
const AWAKE: Duration = Duration::from_micros(200);

/// Waits for what `poll` will say. `alert` says whether a next message may be a moment away.
pub(super) async fn wait<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>, alert: bool) -> T {
    let mut since = None;
    while alert && since.get_or_insert_with(Instant::now).elapsed() < AWAKE {
        if let Poll::Ready(seen) = poll_fn(|cx| Poll::Ready(poll(cx))).await {
            return seen;
        }
        // To other processes, then to this one's other tasks; the latter looks at the sockets, too.
        std::thread::yield_now();
        tokio::task::yield_now().await;
    }
    poll_fn(poll).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_comes_at_once_needs_nobody_to_wake_anybody() {
        let looks = Cell::new(0);
        let seen = wait(
            |_| {
                looks.set(looks.get() + 1);
                // No waker is kept: whoever slept now would sleep for ever.
                if looks.get() == 2 {
                    Poll::Ready("here")
                } else {
                    Poll::Pending
                }
            },
            true,
        );
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(5), seen).await,
            Ok("here")
        );
    }

    #[tokio::test]
    async fn what_takes_longer_is_slept_through() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let waiting = tokio::spawn(wait(
            move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Poll::<()>::Pending
            },
            true,
        ));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = looks.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(looks.load(Ordering::Relaxed), before);
        waiting.abort();
    }

    #[tokio::test]
    async fn who_is_not_alert_looks_once() {
        let looks = Cell::new(0);
        let waiting = wait(
            |_| {
                looks.set(looks.get() + 1);
                Poll::<()>::Pending
            },
            false,
        );
        let _ = tokio::time::timeout(Duration::from_millis(20), waiting).await;
        assert!(looks.get() <= 2, "{}", looks.get());
    }
}
