//! What a run shows to whoever waits for it, and how it is told to stop.

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Connecting, checking the server, taking the state before.
    Prepare,
    /// Rows are put in that the command will find.
    Fixtures,
    /// A check of the team's own runs inside the rehearsal.
    Check,
    /// The command runs inside the rehearsal.
    Rehearse,
    /// Reading the predicted state and rolling back.
    Predict,
    /// Back and forth again, in a second transaction.
    RoundTrip,
    /// The witness looks.
    Verify,
    /// The command really runs.
    Upgrade,
    /// Comparing the state after with the predicted one.
    Compare,
}

/// A moment of a run.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Where it stands.
    pub step: Step,
    /// Statements so far.
    pub statements: u64,
    /// The statement that runs now, and since when.
    pub current: Option<(String, Instant)>,
    /// Locks that keep the application from reading or writing, strongest first.
    pub held: Vec<String>,
    /// Sessions of the application that wait behind the rehearsal.
    pub blocked: usize,
    /// For an open rehearsal: the URL to connect to.
    pub open_at: Option<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            step: Step::Prepare,
            statements: 0,
            current: None,
            held: Vec::new(),
            blocked: 0,
            open_at: None,
        }
    }
}

/// The ends that a run holds; the other ends belong to whoever watches it.
#[derive(Debug, Clone)]
pub struct Console {
    /// What the command writes, as it comes.
    pub output: mpsc::Sender<Bytes>,
    /// Where the run stands.
    pub progress: watch::Sender<Progress>,
    /// Turns true when the run is to stop.
    pub stop: watch::Receiver<bool>,
}

impl Console {
    /// Notes that another step begins.
    pub fn step(&self, step: Step) {
        self.progress.send_modify(|progress| {
            progress.step = step;
            progress.current = None;
            progress.held.clear();
            progress.blocked = 0;
        });
    }

    /// Ends when the run is to stop.
    pub async fn stopped(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could ask for it.
            std::future::pending().await
        }
    }
}
