//! A client for everybody but the rehearsal.

use std::collections::BTreeMap;
use std::fmt;

use futures::FutureExt;
use futures::future::Shared;
use tokio::sync::oneshot;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::replay::Replay;
use super::{CancelKey, ConnectError, Raw, major};
use crate::postgres::ask::{Ask, AskError, Row};
use crate::postgres::url::Host;

/// A connection that answers SQL. Dropping it closes the session.
pub struct Client {
    inner: tokio_postgres::Client,
    parameters: BTreeMap<String, String>,
    cancel_key: CancelKey,
    host: Host,
    closed: Shared<oneshot::Receiver<()>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.host)
            .field("pid", &self.cancel_key.pid)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Runs the client library over an authenticated connection.
    pub(super) async fn over(raw: Raw) -> Result<Self, ConnectError> {
        let replay = Replay::new(raw.stream, &raw.parameters, raw.cancel_key);
        // The user is never sent: the startup has happened.
        let (inner, connection) = tokio_postgres::Config::new()
            .user("replayed")
            .connect_raw(replay, NoTls)
            .await
            .map_err(ConnectError::Client)?;
        let (closing, closed) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(closing);
        });
        Ok(Self {
            inner,
            parameters: raw.parameters,
            cancel_key: raw.cancel_key,
            host: raw.host,
            closed: closed.shared(),
        })
    }

    /// The backend's process id, as announced at the start.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.cancel_key.pid
    }

    /// For [`super::cancel`].
    #[must_use]
    pub fn cancel_key(&self) -> CancelKey {
        self.cancel_key
    }

    /// Where it leads.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The server's major version, by its `server_version`.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        major(&self.parameters)
    }

    /// A ParameterStatus of the startup.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Ends when the connection is gone, whoever closed it.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closed.clone().map(|_| ())
    }
}

impl Ask for Client {
    async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, AskError> {
        let messages =
            self.inner
                .simple_query(sql)
                .await
                .map_err(|error| match error.as_db_error() {
                    Some(server) => AskError::Server {
                        code: server.code().code().to_owned(),
                        message: server.message().to_owned(),
                    },
                    None => AskError::Lost(Some(error)),
                })?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|at| row.get(at).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect())
    }
}
