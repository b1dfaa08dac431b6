//! Following commands over the link, one after the other, from whichever side holds the database.

use std::time::Duration;

use super::link::{Answer, Ended, Order, Sidecar, Start};

/// How long a runner that was told to stop may take to say so.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A command, as the side that holds the database sees it.
#[derive(Debug)]
pub struct Command {
    link: Sidecar,
    ended: Option<Ended>,
}

impl Command {
    /// Has the command started.
    pub async fn start(link: Sidecar, start: Start) -> Self {
        let ended = match link.orders.send(Order::Start(start)).await {
            Ok(()) => None,
            Err(_) => Some(Ended::lost()),
        };
        Self { link, ended }
    }

    /// The link over which the next command may be started, once this one has ended.
    #[must_use]
    pub fn over(self) -> Sidecar {
        self.link
    }

    /// Tells a runner that there is nothing to run.
    pub async fn nothing(link: Sidecar, reason: &str) {
        let reason = reason.to_owned();
        // A runner that is gone has nothing to run either.
        let _ = link.orders.send(Order::NothingToRun { reason }).await;
    }

    /// Which of these revision files is written for several databases, as far as the runner can read
    /// them where it is.
    pub async fn look(link: &mut Sidecar, files: Vec<String>) -> Option<String> {
        link.orders.send(Order::Look { files }).await.ok()?;
        match link.answers.recv().await {
            Some(Answer::Looked { for_several }) => for_several,
            _ => None,
        }
    }

    /// Waits until it has ended. May be dropped and called again.
    pub async fn ended(&mut self) -> Ended {
        loop {
            if let Some(ended) = &self.ended {
                return ended.clone();
            }
            match self.link.answers.recv().await {
                Some(Answer::Ended(ended)) => {
                    self.ended = Some(ended);
                    let _ = self.link.orders.send(Order::Received).await;
                }
                Some(Answer::Started | Answer::Looked { .. }) => {}
                None => self.ended = Some(Ended::lost()),
            }
        }
    }

    /// Asks it to end and waits as long as that takes.
    pub async fn finish(mut self) -> Ended {
        if self.ended.is_none() {
            let _ = self.link.orders.send(Order::Stop).await;
        }
        self.ended().await
    }

    /// Ends it, however it stands, and says how it ended.
    pub async fn stop(&mut self) -> Ended {
        if self.ended.is_none() {
            let _ = self.link.orders.send(Order::Stop).await;
        }
        tokio::time::timeout(STOP_GRACE, self.ended())
            .await
            .unwrap_or_else(|_| Ended::lost())
    }
}
