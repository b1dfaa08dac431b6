//! The guard protects live traffic while a rehearsal looks: a connection of its own sees who is
//! blocked by the rehearsal, and ends the rehearsal when somebody has waited too long.
//!
//! It terminates the rehearsal's backend rather than cancelling its statement: a backend that is
//! idle in a transaction has nothing to cancel and keeps its locks (PostgreSQL manual, "Server
//! Signaling Functions").

mod held;
mod observation;
mod patience;
mod watching;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::postgres::connect::{self, ConnectError, StartupSettings};
use crate::postgres::identity::{self, IdentityError, Place};
use crate::postgres::url::Target;
use crate::report::{Finding, RunId, Severity};
use crate::verdict::Verdict;
pub use held::HeldLock;
use watching::{Seen, Watching};

/// What the sessions of a command that is being rehearsed are called, if its driver takes a name from
/// `PGAPPNAME` and nothing else gives them one. A session of that name that is not the rehearsal's
/// is the command's own, and nobody else's: role and address may be shared with the application.
///
/// Runs of a Migration of one name in two namespaces are called alike, and may be on one server at the
/// same time; the process id `watched` of the rehearsal's backend is of one of them alone.
#[must_use]
pub fn name_of_command(run: &RunId, watched: i32) -> String {
    let name = format!("drydock-dry/{watched}/{}", run.0);
    // The server cuts it there.
    name.chars().take(63).collect()
}

/// What a rehearsal may cost others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// How long any session may wait behind the rehearsal.
    pub blocking: Duration,
    /// How long the whole rehearsal may take.
    pub duration: Duration,
}

/// Why the guard ended a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exceeded budget, or that the command went around the rehearsal.
    pub verdict: Verdict,
    /// Who was blocked, by how much, or who went around, and what to do.
    pub message: String,
}

/// What the guard sees at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// How many sessions are blocked by the rehearsal.
    pub blocked: usize,
    /// Locks of the rehearsal that keep others from reading or writing, strongest first.
    pub held: Vec<HeldLock>,
}

/// A lock on a relation that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The relation, as `pg_class.oid`.
    pub relation: u32,
    /// The mode in PostgreSQL's words, e.g. `RowExclusiveLock`.
    pub mode: String,
}

/// What the guard saw from start to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Why the guard ended the rehearsal, if it did. The end of the rehearsal may be noticed before
    /// the message in [`Guard::events`].
    pub ended: Option<Ended>,
    /// What the session waited for whose wait exhausted the budget, when that is a relation.
    pub blocked_on: Option<Wanted>,
    /// A session of the command's role and address was seen that was not the rehearsal's.
    pub bypass: bool,
    /// The longest that any session waited behind the rehearsal.
    pub longest_wait: Duration,
    /// What a reader should know.
    pub findings: Vec<Finding>,
}

/// When the guard ends the rehearsal, besides its budgets.
#[derive(Debug, Clone)]
pub struct Deadline(watch::Sender<Option<(Instant, Ended)>>);

impl Deadline {
    /// Ends the rehearsal after that time, unless it is lifted or set again.
    pub fn set(&self, after: Duration, ended: Ended) {
        self.0.send_replace(Some((Instant::now() + after, ended)));
    }

    /// There is none any more.
    pub fn lift(&self) {
        self.0.send_replace(None);
    }
}

/// Why a guard could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Its connection could not be made.
    #[error("the guard cannot connect")]
    Connect(#[source] ConnectError),
    /// Its connection leads elsewhere.
    #[error("the guard would watch another server")]
    Elsewhere(#[source] IdentityError),
}

/// A running guard. Dropping it without [`Guard::stop`] ends its connection too.
#[derive(Debug)]
pub struct Guard {
    /// At most one message: the rehearsal was ended. Closed without one: the guard's own
    /// connection was lost, so nobody protects the traffic any more and the run must end.
    pub events: mpsc::Receiver<Ended>,
    moments: watch::Receiver<Moment>,
    deadline: Deadline,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Seen>,
}

impl Guard {
    /// Starts watching the backend with process id `watched` at `place`, and for sessions of the
    /// command of `run` that go around it.
    ///
    /// # Errors
    /// When the guard's own connection cannot be made or leads elsewhere; a rehearsal must not go on
    /// without it.
    pub async fn start(
        target: &Target,
        settings: &StartupSettings,
        place: &Place,
        run: &RunId,
        watched: i32,
        budgets: Budgets,
    ) -> Result<Self, GuardError> {
        let settings = settings.clone().unbounded(place.major);
        let mut client = connect::client(target, &settings)
            .await
            .map_err(GuardError::Connect)?;
        let pid = client.backend_pid();
        identity::agree(&mut client, pid, place)
            .await
            .map_err(GuardError::Elsewhere)?;
        let (say, events) = mpsc::channel(1);
        let (show, moments) = watch::channel(Moment::default());
        let (stop, stopped) = oneshot::channel();
        let (limit, limited) = watch::channel(None);
        let watching = Watching::new(
            client,
            watched,
            name_of_command(run, watched),
            budgets,
            show,
            limited,
        );
        Ok(Self {
            events,
            moments,
            deadline: Deadline(limit),
            stop: Some(stop),
            task: tokio::spawn(watching.run(say, stopped)),
        })
    }

    /// Who is blocked by the rehearsal now, and what it holds.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Moment> {
        self.moments.clone()
    }

    /// For a part of the rehearsal that has less time than all of it.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline.clone()
    }

    /// Ends the guard and says what it saw.
    pub async fn stop(mut self) -> Record {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        match self.task.await {
            Ok(seen) => seen.into_record(),
            Err(_) => Record {
                findings: vec![Finding {
                    code: "GuardLost".to_owned(),
                    severity: Severity::Warning,
                    message: "what the guard saw is lost".to_owned(),
                    statement: None,
                }],
                ..Record::default()
            },
        }
    }
}
