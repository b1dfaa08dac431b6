//! The beginning of a rehearsal: settings, BEGIN, two tripwires, and the proof that they work.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Settings;
use crate::postgres::connect::{ConnectError, Raw, Stream};
use crate::postgres::wait;
use crate::rehearsal::transaction::{COUNT_WRITERS, Control, Names, Opening, Savepoint};
use crate::rehearsal::wire::{
    Backend, Frame, FrameDecoder, Frontend, Piece, Reassembly, SqlState, WireError,
};

const READ_ONLY_DEFAULT: &str = "default_transaction_read_only";

/// Why a rehearsal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no connection.
    #[error("no connection for the rehearsal")]
    Connect(#[source] ConnectError),
    /// The connection was lost while the transaction was being prepared.
    #[error("the connection was lost while the rehearsal was being prepared")]
    Lost(#[source] std::io::Error),
    /// What arrived is not the protocol.
    #[error("the server's answer could not be read")]
    Protocol(#[source] WireError),
    /// The server refused a statement of ours.
    #[error("the server refused to {step}: {code}: {message}")]
    Refused {
        /// What we were about to do.
        step: &'static str,
        /// SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
    },
    /// A COMMIT would not have failed.
    #[error("no tripwire works on this server, so a COMMIT could not be kept from committing")]
    NoTripwire,
}

/// The answers to one message.
#[derive(Debug, Default)]
struct Answers {
    rows: Vec<Vec<Option<String>>>,
    error: Option<(SqlState, String)>,
}

/// What became of the role's own timeouts.
struct Timeouts {
    lock_timeout_is_ours: bool,
    /// In milliseconds.
    statement_timeout: u64,
}

struct Session {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    decoder: FrameDecoder,
    reassembly: Reassembly,
    names: Names,
}

/// Begins the transaction. `random` is what the names of our own objects are made of.
pub(super) async fn open(
    raw: Raw,
    random: u64,
    settings: &Settings,
) -> Result<(Box<dyn Stream>, Opening), OpenError> {
    let mut parameters = raw.parameters.clone();
    if let Some(shown) = parameters.get_mut(READ_ONLY_DEFAULT) {
        // As it is inside of our transaction.
        "off".clone_into(shown);
    }
    let parameters = parameters.into_iter().collect();
    let mut session = Session {
        stream: raw.stream,
        buffer: BytesMut::new(),
        decoder: FrameDecoder::backend(),
        reassembly: Reassembly::default(),
        names: Names::new(random),
    };
    let (mut baseline, own) = session.baseline().await?;
    session.control(&Control::Begin).await?;
    baseline.push(session.show_default_as_writable().await?);
    let table = session.set_constraint_tripwire().await?;
    let cursor = session.set_cursor_tripwire().await?;
    if !table && !cursor {
        return Err(OpenError::NoTripwire);
    }
    let xid = session
        .rows(
            "ask for the transaction id",
            "SELECT pg_current_xact_id_if_assigned()::text, session_user, \
             EXISTS (SELECT FROM pg_catalog.pg_language WHERE lanname = 'plpgsql' \
             AND pg_catalog.has_language_privilege('public', oid, 'USAGE'))",
        )
        .await?;
    let top_xid = xid
        .first()
        .and_then(|row| row.first()?.as_deref()?.parse().ok());
    let sequences = session
        .rows(
            "list the sequences",
            "SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'S'",
        )
        .await?
        .into_iter()
        .filter_map(|row| row.into_iter().next()??.parse().ok())
        .collect();
    let locks = session
        .rows("count its own transaction ids", COUNT_WRITERS)
        .await?;
    let own_locks = locks
        .first()
        .and_then(|row| row.first()?.as_deref()?.parse().ok())
        .unwrap_or(0);
    let mut rest = xid.into_iter().flatten().skip(1);
    let login = rest.next().flatten().unwrap_or_default();
    let speaks_plpgsql = rest.next().flatten().as_deref() == Some("t");
    let opening = Opening {
        login,
        sequences,
        own_locks,
        names: session.names,
        parameters,
        baseline,
        top_xid,
        substitute_below: settings.substitute_below,
        count_millis: u64::try_from(settings.counting.as_millis()).unwrap_or(u64::MAX),
        show_values: settings.show_values,
        our_lock_timeout: own.lock_timeout_is_ours,
        statement_timeout: own.statement_timeout,
        tests_tripwire: table && speaks_plpgsql,
    };
    Ok((session.stream, opening))
}

impl Session {
    /// Reads the role's own timeouts, and sets what a rehearsal needs: a lock timeout, and none of
    /// the timeouts that would end one long transaction.
    async fn baseline(&mut self) -> Result<(Vec<(String, String)>, Timeouts), OpenError> {
        let rows = self
            .rows(
                "read its timeouts",
                "SELECT name, setting FROM pg_settings WHERE name IN ('deadlock_timeout', 'lock_timeout', 'statement_timeout', \
                 'idle_in_transaction_session_timeout', 'transaction_timeout')",
            )
            .await?;
        let value = |name: &str| {
            rows.iter()
                .find(|row| row.first().and_then(Option::as_deref) == Some(name))
                .and_then(|row| row.get(1)?.as_deref()?.parse::<u64>().ok())
        };
        let deadlock_timeout = Duration::from_millis(value("deadlock_timeout").unwrap_or(1000));
        let ours = u64::try_from(wait::patience(deadlock_timeout).as_millis()).unwrap_or(u64::MAX);
        let own = value("lock_timeout").unwrap_or(0);
        let our_lock_timeout = own == 0 || own > ours;
        let mut baseline = Vec::new();
        if our_lock_timeout {
            baseline.push(("lock_timeout".to_owned(), format!("{ours}ms")));
        }
        for name in ["idle_in_transaction_session_timeout", "transaction_timeout"] {
            if value(name).is_some_and(|value| value > 0) {
                baseline.push((name.to_owned(), "0".to_owned()));
            }
        }
        for (name, value) in &baseline {
            self.rows("set its timeouts", &format!("SET {name} = '{value}'"))
                .await?;
        }
        let timeouts = Timeouts {
            lock_timeout_is_ours: our_lock_timeout,
            statement_timeout: value("statement_timeout").unwrap_or(0),
        };
        Ok((baseline, timeouts))
    }

    /// Outside of our transaction nothing can be written: the connection began with
    /// `default_transaction_read_only` on. Inside, the command must not see that, and its value is
    /// set for our transaction only.
    async fn show_default_as_writable(&mut self) -> Result<(String, String), OpenError> {
        self.rows(
            "set its default access mode",
            &format!("SET LOCAL {READ_ONLY_DEFAULT} = off"),
        )
        .await?;
        Ok((READ_ONLY_DEFAULT.to_owned(), "off".to_owned()))
    }

    /// A constraint that is violated already and checked at COMMIT. False if the role may not make
    /// temporary tables, or its triggers do not fire.
    async fn set_constraint_tripwire(&mut self) -> Result<bool, OpenError> {
        let (table, constraint) = (self.names.table(), self.names.constraint());
        self.control(&Control::Savepoint(Savepoint::Inner)).await?;
        let made = self
            .ask(&format!(
                "CREATE TEMP TABLE {table} (k int CONSTRAINT {constraint} UNIQUE DEFERRABLE INITIALLY DEFERRED)"
            ))
            .await?;
        let filled = match made.error {
            None => {
                self.ask(&format!("INSERT INTO {table} VALUES (1), (1)"))
                    .await?
            }
            Some(_) => made,
        };
        if filled.error.is_some() {
            self.control(&Control::RollbackTo(Savepoint::Inner)).await?;
            self.control(&Control::Release(Savepoint::Inner)).await?;
            return Ok(false);
        }
        self.control(&Control::Release(Savepoint::Inner)).await?;
        self.control(&Control::Savepoint(Savepoint::Inner)).await?;
        let tested = self
            .ask(&format!("SET CONSTRAINTS pg_temp.{constraint} IMMEDIATE"))
            .await?;
        self.control(&Control::RollbackTo(Savepoint::Inner)).await?;
        self.control(&Control::Release(Savepoint::Inner)).await?;
        let works = tested
            .error
            .is_some_and(|(code, _)| code == SqlState::UNIQUE_VIOLATION);
        Ok(works)
    }

    /// A cursor that outlives the transaction, so that a COMMIT must run its query, which fails.
    async fn set_cursor_tripwire(&mut self) -> Result<bool, OpenError> {
        let cursor = self.names.cursor();
        self.control(&Control::Savepoint(Savepoint::Inner)).await?;
        let made = self
            .ask(&format!(
                "DECLARE {cursor} CURSOR WITH HOLD FOR SELECT 1 / (random() * 0)::int"
            ))
            .await?;
        if made.error.is_some() {
            self.control(&Control::RollbackTo(Savepoint::Inner)).await?;
        }
        self.control(&Control::Release(Savepoint::Inner)).await?;
        Ok(made.error.is_none())
    }

    async fn control(&mut self, control: &Control) -> Result<(), OpenError> {
        let mut out = BytesMut::new();
        control.encode(&self.names, &mut out);
        Frontend::Sync.encode(&mut out);
        let answers = self.exchange(&out).await?;
        refused("control the transaction", answers).map(drop)
    }

    async fn rows(
        &mut self,
        step: &'static str,
        sql: &str,
    ) -> Result<Vec<Vec<Option<String>>>, OpenError> {
        let answers = self.ask(sql).await?;
        refused(step, answers)
    }

    async fn ask(&mut self, sql: &str) -> Result<Answers, OpenError> {
        let mut out = BytesMut::new();
        Frontend::Query(sql.as_bytes()).encode(&mut out);
        self.exchange(&out).await
    }

    async fn exchange(&mut self, out: &[u8]) -> Result<Answers, OpenError> {
        self.stream.write_all(out).await.map_err(OpenError::Lost)?;
        self.stream.flush().await.map_err(OpenError::Lost)?;
        let mut answers = Answers::default();
        loop {
            while let Some(piece) = self
                .decoder
                .decode(&mut self.buffer)
                .map_err(OpenError::Protocol)?
            {
                match piece {
                    Piece::Data(data) => {
                        for row in self.reassembly.push(&data).map_err(OpenError::Protocol)? {
                            answers.rows.push(columns(&row)?);
                        }
                    }
                    Piece::Frame(frame) => {
                        match Backend::parse(&frame).map_err(OpenError::Protocol)? {
                            Backend::ErrorResponse(error) => {
                                answers.error = Some((error.code(), error.message().into_owned()));
                            }
                            Backend::ReadyForQuery(_) => return Ok(answers),
                            _ => {}
                        }
                    }
                }
            }
            let count = self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(OpenError::Lost)?;
            if count == 0 {
                return Err(OpenError::Lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn columns(row: &Frame) -> Result<Vec<Option<String>>, OpenError> {
    Backend::columns(row.body())
        .map_err(OpenError::Protocol)?
        .map(|column| {
            column
                .map(|bytes| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
                .map_err(OpenError::Protocol)
        })
        .collect()
}

fn refused(step: &'static str, answers: Answers) -> Result<Vec<Vec<Option<String>>>, OpenError> {
    match answers.error {
        Some((code, message)) => Err(OpenError::Refused {
            step,
            code: code.to_string(),
            message,
        }),
        None => Ok(answers.rows),
    }
}
