//! The shell around the pure core: one upstream connection inside its transaction, a listener for
//! clients, one task that owns all sockets.
//!
//! A rehearsal is opened, serves clients, answers questions of our own inside its transaction, and
//! is finished by the one ROLLBACK. However it ends, upstream is never reconnected.

mod lasting;
mod listener;
mod lookout;
mod opening;
mod recorder;
mod session;
mod sockets;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use lasting::Lasted;
pub use opening::OpenError;
pub use recorder::{Beside, KEPT, Progress};

use crate::postgres::ask::{Ask, AskError, Row};
use crate::postgres::connect::{self, StartupSettings};
use crate::postgres::url::{Password, Target};
use crate::report::{Finding, RunId, Statement};
use crate::verdict::{Environment, Verdict};

use super::transaction::{Ending, Place, Transaction};
pub use super::transaction::{Examination, Examined, NotExamined, PlainLock};
use listener::Arrival;
use recorder::{Recorded, Recorder};
use session::{Entrance, OneTimePassword};
use sockets::{Request, Sockets};

/// How long a client may wait behind another one that does nothing, before it is refused.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a rehearsal needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which run.
    pub run: RunId,
    /// The role that clients must name.
    pub user: String,
    /// The one-time password that clients must know; `None` admits nobody.
    pub password: Option<Password>,
    /// The database that clients must name.
    pub database: String,
    /// Tables below this size in bytes get the plain form of a CONCURRENTLY statement.
    pub substitute_below: u64,
    /// How long rows that violate a constraint may be counted while its locks are held; zero: not at
    /// all.
    pub counting: Duration,
    /// Whether statements are recorded as they were sent, too.
    pub show_values: bool,
    /// Settings for the startup packet of the upstream connection.
    pub startup: StartupSettings,
}

/// A transaction that cannot commit, being held.
#[derive(Debug)]
pub struct Rehearsal {
    requests: mpsc::Sender<Request>,
    arrivals: mpsc::Sender<Arrival>,
    entrance: Entrance,
    task: JoinHandle<(Ending, Recorded)>,
    /// The listener ends with it.
    open: watch::Sender<()>,
    over: watch::Receiver<bool>,
    progress: watch::Receiver<Progress>,
    upstream: Upstream,
}

/// Who holds the rehearsal's transaction, by the server's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// The process id of the backend.
    pub pid: i32,
    /// The top transaction id, when the rehearsal began with one.
    pub xid: Option<u64>,
}

/// What a rehearsal leaves.
#[derive(Debug)]
pub struct Record {
    /// Whether any client was ever admitted.
    pub connected: bool,
    /// The top transaction id. The rehearsal's own objects take one, so there usually is one.
    pub xid: Option<u64>,
    /// Whether clients wrote anything that a real commit would have kept; also true when it could
    /// not be asked any more.
    pub wrote: bool,
    /// Each answer of the server was the expected one, up to the final ROLLBACK's.
    pub gapless: bool,
    /// What was executed, in order.
    pub statements: Vec<Statement>,
    /// Statements beyond the bound of the list.
    pub omitted: u64,
    /// What a reader should know.
    pub findings: Vec<Finding>,
    /// What the rehearsal itself has to say, with its sentence.
    pub verdict: Option<(Verdict, String)>,
    /// Virtual transactions that committed, implicit ones among them.
    pub commits: u32,
    /// Those of them that may have written.
    pub pieces: u32,
    /// Connections that were admitted.
    pub clients: u32,
    /// What the plain forms of CONCURRENTLY statements locked, and the real ones do not.
    pub substituted: Vec<PlainLock>,
    /// The longest pause of a client inside a transaction block, with the statement behind which it
    /// was; as long as the command sets no timeouts of its own.
    pub longest_pause: Option<Lasted>,
    /// The longest transaction, pauses included, with its last statement; as long as the command sets
    /// no timeouts of its own.
    pub longest_transaction: Option<Lasted>,
}

impl Rehearsal {
    /// Connects, begins the transaction, sets the tripwires and tests them.
    ///
    /// # Errors
    /// When there is no connection, or the server does not answer as a rehearsal needs it.
    pub async fn open(target: &Target, settings: Settings) -> Result<Self, OpenError> {
        let startup = settings
            .startup
            .clone()
            .with("default_transaction_read_only", "on");
        let raw = connect::raw(target, &startup)
            .await
            .map_err(OpenError::Connect)?;
        let upstream_pid = raw.backend_pid();
        let (host, key) = (raw.host.clone(), raw.cancel_key);
        let (stream, opening) = opening::open(raw, rand::random(), &settings).await?;
        let upstream = Upstream {
            pid: upstream_pid,
            xid: opening.top_xid,
        };
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (over_sender, over) = watch::channel(false);
        let (arrivals, arrivals_receiver) = mpsc::channel(16);
        let (requests, requests_receiver) = mpsc::channel(16);
        let target = target.clone();
        let cancel = move || {
            let (target, host) = (target.clone(), host.clone());
            tokio::spawn(async move {
                if let Err(error) = connect::cancel(&target, &host, key).await {
                    tracing::warn!(%error, "a statement could not be cancelled");
                }
            });
        };
        let sockets = Sockets::new(
            stream,
            Box::new(cancel),
            arrivals_receiver,
            requests_receiver,
            PATIENCE,
            Recorder::new(progress_sender),
        );
        let task = tokio::spawn(async move {
            let (ending, sockets, output) = Transaction::new(opening, sockets).run().await;
            let recorder = sockets.close(output).await;
            // Nobody may be waiting for it.
            let _ = over_sender.send(true);
            (ending, recorder.finish())
        });
        let password = settings
            .password
            .as_ref()
            .map(|password| OneTimePassword::of(password.reveal(), rand::random()));
        Ok(Self {
            requests,
            arrivals,
            entrance: Entrance {
                user: settings.user,
                database: settings.database,
                password,
            },
            task,
            over,
            open: watch::Sender::new(()),
            progress,
            upstream,
        })
    }

    /// Admits clients from a listener until the rehearsal is over.
    pub fn serve(&self, listener: TcpListener) {
        tokio::spawn(listener::listen(
            listener,
            self.entrance.clone(),
            self.arrivals.clone(),
            self.open.subscribe(),
        ));
    }

    /// Who holds the transaction.
    #[must_use]
    pub fn upstream(&self) -> Upstream {
        self.upstream
    }

    /// How far it is: to be looked at, since nobody is woken when it changes.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Resolves when the rehearsal has ended by itself: upstream lost, or an answer that did not fit.
    pub async fn ended(&self) {
        let mut over = self.over.clone();
        // A dropped sender means the same.
        let _ = over.wait_for(|over| *over).await;
    }

    /// Asks inside the transaction, once no client is in the middle of something.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker {
            requests: self.requests.clone(),
        }
    }

    /// Rolls back, closes everything, and gives the record.
    pub async fn finish(self) -> Record {
        // It may be over already.
        let _ = self.requests.send(Request::Finish).await;
        let Ok((ending, recorded)) = self.task.await else {
            return Record::lost();
        };
        Record {
            connected: recorded.clients > 0,
            xid: ending.xid,
            wrote: ending.wrote || !ending.rolled_back,
            gapless: ending.gapless && ending.rolled_back,
            statements: recorded.statements,
            omitted: recorded.omitted,
            findings: recorded.findings,
            verdict: recorded.verdict,
            commits: recorded.commits,
            pieces: recorded.pieces,
            clients: recorded.clients,
            substituted: recorded.locked,
            longest_pause: recorded.longest.pause,
            longest_transaction: recorded.longest.transaction,
        }
    }

    /// Closes the upstream socket at once; the server rolls back.
    pub fn abort(self) {
        self.task.abort();
    }
}

impl Record {
    fn lost() -> Self {
        Self {
            connected: false,
            xid: None,
            wrote: true,
            gapless: false,
            statements: Vec::new(),
            omitted: 0,
            findings: Vec::new(),
            verdict: Some((
                Verdict::Environment(Environment::ConnectionLost),
                "the rehearsal ended without a record".to_owned(),
            )),
            commits: 0,
            pieces: 0,
            clients: 0,
            substituted: Vec::new(),
            longest_pause: None,
            longest_transaction: None,
        }
    }
}

/// Asks inside a rehearsal's transaction.
#[derive(Debug, Clone)]
pub struct Asker {
    requests: mpsc::Sender<Request>,
}

impl Asker {
    /// Asks a question of the user's. It reads, and nothing else: see [`Examination`].
    ///
    /// # Errors
    /// When the rehearsal is over. The inner error says why there is no answer.
    pub async fn examine(
        &self,
        examination: Examination,
    ) -> Result<Result<Examined, NotExamined>, AskError> {
        let (sender, receiver) = oneshot::channel();
        self.requests
            .send(Request::Examine(examination, sender))
            .await
            .map_err(|_| AskError::Lost(None))?;
        receiver.await.map_err(|_| AskError::Lost(None))
    }

    /// Sets the place to which [`Asker::undo`] leads, once every client is gone: after that, what
    /// commands do can be undone although they commit. It takes the place of an earlier one.
    ///
    /// # Errors
    /// When the rehearsal is over.
    pub async fn set_place(&self) -> Result<(), AskError> {
        self.place(Place::Set).await
    }

    /// Undoes all that was done since [`Asker::set_place`], locks included, once every client is
    /// gone. The place is no more then.
    ///
    /// # Errors
    /// When the rehearsal is over.
    pub async fn undo(&self) -> Result<(), AskError> {
        self.place(Place::Return).await
    }

    async fn place(&self, place: Place) -> Result<(), AskError> {
        let (sender, receiver) = oneshot::channel();
        self.requests
            .send(Request::Place(place, sender))
            .await
            .map_err(|_| AskError::Lost(None))?;
        receiver.await.map_err(|_| AskError::Lost(None))
    }
}

impl Asker {
    /// Puts rows of the user's in, all or none: they count as nobody's writes. For the time before
    /// the first client.
    ///
    /// # Errors
    /// When the rehearsal is over. The inner error says why they are not in.
    pub async fn insert(&self, sql: String) -> Result<Result<(), NotExamined>, AskError> {
        let (sender, receiver) = oneshot::channel();
        self.requests
            .send(Request::Insert(sql, sender))
            .await
            .map_err(|_| AskError::Lost(None))?;
        let answer = receiver.await.map_err(|_| AskError::Lost(None))?;
        Ok(answer.map(drop))
    }
}

impl Asker {
    /// Lets a check of the user's begin: sends away whoever is connected, and takes down nothing of
    /// what comes until [`Asker::back`].
    ///
    /// # Errors
    /// When the rehearsal is over.
    pub async fn aside(&self) -> Result<(), AskError> {
        let (sender, receiver) = oneshot::channel();
        self.turn(Request::Aside(sender), receiver).await.map(drop)
    }

    /// The check is over: sends away whoever is still connected, and undoes everything that it did.
    /// Where there was none, nothing but what those had not committed.
    ///
    /// # Errors
    /// When the rehearsal is over.
    pub async fn back(&self) -> Result<Beside, AskError> {
        let (sender, receiver) = oneshot::channel();
        self.turn(Request::Back(sender), receiver).await
    }

    async fn turn(
        &self,
        request: Request,
        receiver: oneshot::Receiver<Beside>,
    ) -> Result<Beside, AskError> {
        self.requests
            .send(request)
            .await
            .map_err(|_| AskError::Lost(None))?;
        receiver.await.map_err(|_| AskError::Lost(None))
    }
}

impl Ask for Asker {
    async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, AskError> {
        let (sender, receiver) = oneshot::channel();
        self.requests
            .send(Request::Ask(sql.to_owned(), sender))
            .await
            .map_err(|_| AskError::Lost(None))?;
        receiver
            .await
            .map_err(|_| AskError::Lost(None))?
            .map_err(|error| AskError::Server {
                code: error.code,
                message: error.message,
            })
    }
}
