//! What the side that holds the database says to the side that runs the command, and back.
//!
//! In one process the two are joined by channels; in a pod by JSON lines over a loopback socket,
//! where the first line must bear the run's token. Either way both sides hold the same ends, and an
//! end whose other side is gone receives `None`: the runner then kills the command, the sidecar
//! takes the command for lost.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A line longer than this is no message of ours.
const LONGEST_LINE: u64 = 1 << 20;

/// From the side that holds the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "camelCase")]
pub enum Order {
    /// Start this command.
    Start(Start),
    /// Start nothing and end well; says why.
    NothingToRun {
        /// For the log.
        reason: String,
    },
    /// End the command.
    Stop,
    /// Look into these revision files: whether one of them is written for several databases.
    Look {
        /// Their paths, as Alembic gives them.
        files: Vec<String>,
    },
    /// The result has arrived. Another command may follow; the runner goes when the link closes.
    Received,
}

/// A command with the variables that carry the database's address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The command, word by word.
    pub command: Vec<String>,
    /// Variables that are set, over whatever the environment holds.
    pub set: Vec<(String, String)>,
    /// Variables that are taken away first.
    pub unset: Vec<String>,
    /// Texts that must not appear in what is kept of the output.
    pub secrets: Vec<String>,
    /// Whether the command may be killed at any time: true in a dry run, where nothing can be lost.
    pub expendable: bool,
    /// A question of ours, not the user's command: its output is not shown, and more of it is kept.
    #[serde(default)]
    pub question: bool,
}

/// Values may hold passwords.
impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.set.iter().map(|(name, _)| name).collect();
        f.debug_struct("Start")
            .field("command", &self.command)
            .field("set", &names)
            .field("unset", &self.unset)
            .field("expendable", &self.expendable)
            .finish_non_exhaustive()
    }
}

/// From the side that runs the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "camelCase")]
pub enum Answer {
    /// The command runs.
    Started,
    /// The command has ended, or could not be started.
    Ended(Ended),
    /// What the files say.
    Looked {
        /// The first that is written for several databases; files that cannot be read are none.
        for_several: Option<String>,
    },
}

/// Stands at the end of an answer to us of which only the beginning was kept.
pub const CUT: &str = "\n[drydock: cut]\n";

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// In which way.
    pub how: How,
    /// The last lines of its output, passwords removed.
    pub output: String,
    /// How long it ran, in milliseconds.
    pub millis: u64,
}

impl Ended {
    /// Nobody knows how.
    #[must_use]
    pub fn lost() -> Self {
        Self {
            how: How::Lost,
            output: String::new(),
            millis: 0,
        }
    }
}

/// The ways to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "camelCase")]
pub enum How {
    /// By itself, with this exit code.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// By a signal that was not ours.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// Because we ended it.
    Stopped,
    /// It could not be started; says why.
    NotStarted {
        /// The operating system's reason and what to do.
        reason: String,
    },
    /// The runner is gone and nobody knows.
    Lost,
}

/// The end that holds the database.
#[derive(Debug)]
pub struct Sidecar {
    /// To the runner.
    pub orders: mpsc::Sender<Order>,
    /// From the runner.
    pub answers: mpsc::Receiver<Answer>,
}

/// The end that runs the command.
#[derive(Debug)]
pub struct Runner {
    /// From the sidecar.
    pub orders: mpsc::Receiver<Order>,
    /// To the sidecar.
    pub answers: mpsc::Sender<Answer>,
}

/// Why the link could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No port could be had.
    #[error("cannot listen for the runner")]
    Listen(#[source] std::io::Error),
    /// The sidecar does not answer.
    #[error("cannot reach the rehearsal at {address}")]
    Connect {
        /// Where it should be.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke during the greeting.
    #[error("cannot greet the rehearsal")]
    Greet(#[source] std::io::Error),
}

/// Joins two ends within one process.
#[must_use]
pub fn channel() -> (Sidecar, Runner) {
    let (orders, take_orders) = mpsc::channel(4);
    let (answers, take_answers) = mpsc::channel(4);
    (
        Sidecar {
            orders,
            answers: take_answers,
        },
        Runner {
            orders: take_orders,
            answers,
        },
    )
}

/// Waits for the one runner that knows the token; connections with another first line are dropped.
///
/// # Errors
/// When the listener fails.
pub async fn accept(listener: &TcpListener, token: &str) -> Result<Sidecar, LinkError> {
    loop {
        let (stream, _) = listener.accept().await.map_err(LinkError::Listen)?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        let mut limited = (&mut stream).take(LONGEST_LINE);
        let greeting = limited.read_line(&mut line);
        let heard = tokio::time::timeout(std::time::Duration::from_secs(5), greeting).await;
        if matches!(heard, Ok(Ok(_))) && line.trim_end() == token {
            let (orders, answers) = pump(stream);
            return Ok(Sidecar { orders, answers });
        }
        tracing::warn!("a connection to the link did not know the token");
    }
}

/// Connects to the sidecar.
///
/// # Errors
/// When the sidecar does not answer.
pub async fn connect(address: SocketAddr, token: &str) -> Result<Runner, LinkError> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|source| LinkError::Connect { address, source })?;
    stream
        .write_all(format!("{token}\n").as_bytes())
        .await
        .map_err(LinkError::Greet)?;
    let (answers, orders) = pump(BufReader::new(stream));
    Ok(Runner { orders, answers })
}

/// Carries messages between a socket and two channels until either ends.
fn pump<Out, In>(stream: BufReader<TcpStream>) -> (mpsc::Sender<Out>, mpsc::Receiver<In>)
where
    Out: Serialize + Send + 'static,
    In: DeserializeOwned + Send + 'static,
{
    let (to_socket, mut outgoing) = mpsc::channel::<Out>(4);
    let (incoming, from_socket) = mpsc::channel::<In>(4);
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            let Ok(mut line) = serde_json::to_vec(&message) else {
                break;
            };
            line.push(b'\n');
            if writer.write_all(&line).await.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
    });
    tokio::spawn(async move {
        let mut lines = BufReader::new(&mut reader);
        loop {
            let mut line = String::new();
            let read = (&mut lines).take(LONGEST_LINE).read_line(&mut line).await;
            if !matches!(read, Ok(length) if length > 0) {
                break;
            }
            let Ok(message) = serde_json::from_str(&line) else {
                break;
            };
            if incoming.send(message).await.is_err() {
                break;
            }
        }
    });
    (to_socket, from_socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runner_with_the_token_gets_the_order_and_a_stranger_gets_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sidecar = tokio::spawn(async move { accept(&listener, "secret").await.unwrap() });
        let mut stranger = connect(address, "guess").await.unwrap();
        assert!(stranger.orders.recv().await.is_none());
        let mut runner = connect(address, "secret").await.unwrap();
        let mut sidecar = sidecar.await.unwrap();
        sidecar.orders.send(Order::Stop).await.unwrap();
        assert_eq!(runner.orders.recv().await, Some(Order::Stop));
        let ended = Answer::Ended(Ended {
            how: How::Exited { code: 3 },
            output: "line\nline".into(),
            millis: 5,
        });
        runner.answers.send(ended.clone()).await.unwrap();
        assert_eq!(sidecar.answers.recv().await, Some(ended));
    }

    #[tokio::test]
    async fn a_runner_whose_sidecar_is_gone_is_told_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sidecar = tokio::spawn(async move { accept(&listener, "secret").await.unwrap() });
        let mut runner = connect(address, "secret").await.unwrap();
        drop(sidecar.await.unwrap());
        drop(runner.answers);
        assert!(runner.orders.recv().await.is_none());
    }

    #[test]
    fn the_debug_form_of_an_order_never_shows_a_value() {
        let order = Order::Start(Start {
            command: vec!["alembic".into()],
            set: vec![("DATABASE_URL".into(), "postgresql://u:hunter2@h/d".into())],
            unset: vec![],
            secrets: vec!["hunter2".into()],
            expendable: true,
            question: false,
        });
        assert!(!format!("{order:?}").contains("hunter2"));
    }
}
