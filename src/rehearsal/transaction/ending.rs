//! How a rehearsal ends.

use super::event::{Note, Surroundings};
use super::order::Statement;
use super::{ClientId, Flow, Transaction, answers};
use crate::rehearsal::wire::SqlState;
use crate::report::{Finding, Severity};
use crate::verdict::{Environment, NotRehearsed, Verdict};

/// As many ids of subtransactions a backend shows to the others; with one more they must look into
/// `pg_subtrans` (manual, "Subtransactions").
const SUBTRANSACTIONS: u64 = 64;

/// Why the conversation stopped.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    /// The final ROLLBACK was answered.
    RolledBack,
    /// Upstream is gone, with the server's last words.
    Lost(String),
    /// An answer did not fit: nothing more may be sent.
    Slipped(String),
    /// The rehearsal cannot go on.
    Ended(Verdict, String),
}

/// The end of a rehearsal, as the core saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The final ROLLBACK was sent and answered.
    pub rolled_back: bool,
    /// Each answer of the server, from the first to the last, was the expected one.
    pub gapless: bool,
    /// Anything that a client wrote was still there before the final ROLLBACK.
    pub wrote: bool,
    /// The top transaction id.
    pub xid: Option<u64>,
    /// What the rehearsal itself has to say, when it ended from inside.
    pub verdict: Option<(Verdict, String)>,
}

impl<S: Surroundings> Transaction<S> {
    /// Says good-bye to all clients and gives the ending.
    pub(super) fn end(&mut self, stop: Option<Stop>) -> Ending {
        self.leave_aside();
        let mut gapless = self.upstream.gapless;
        let mut rolled_back = false;
        let verdict = match stop {
            None | Some(Stop::RolledBack) => {
                rolled_back = true;
                None
            }
            Some(Stop::Lost(words)) => Some((
                Verdict::Environment(Environment::ConnectionLost),
                format!("the connection to the server was lost: {words}"),
            )),
            Some(Stop::Slipped(what)) => {
                gapless = false;
                Some((
                    Verdict::RollbackNotVerified,
                    format!(
                        "the server gave an answer that was not expected, and the connection was closed at once: {what}"
                    ),
                ))
            }
            Some(Stop::Ended(verdict, message)) => Some((verdict, message)),
        };
        if !rolled_back {
            // Whatever was not sent yet must not be.
            self.output.upstream.clear();
        }
        // Those that nobody has had time for yet are told, too.
        for (id, _) in self.joining.drain(..) {
            self.output.clients.entry(id).or_default();
        }
        let outlets = self.output.clients.values_mut();
        for outlet in outlets.filter(|outlet| !outlet.close) {
            answers::fatal(
                &mut outlet.bytes,
                SqlState::ADMIN_SHUTDOWN,
                "the rehearsal has ended",
            );
            outlet.close = true;
        }
        if self.subtransactions > SUBTRANSACTIONS {
            self.output.notes.push(Note::Finding(Finding {
                code: "SubtransactionsOverflowed".to_owned(),
                severity: Severity::Warning,
                message: format!(
                    "the rehearsal held {} subtransactions that had written, one for each transaction of the command; beyond {SUBTRANSACTIONS} other sessions look up each of its rows in pg_subtrans, which slows them down while it runs",
                    self.subtransactions
                ),
                statement: None,
            }));
        }
        if let Some((verdict, message)) = &verdict {
            self.output
                .notes
                .push(Note::Verdict(verdict.clone(), message.clone()));
        }
        Ending {
            rolled_back,
            gapless,
            wrote: self.output.wrote,
            xid: self.upstream.top_xid,
            verdict,
        }
    }

    /// Records that the command cannot be rehearsed. The first cause is kept.
    pub(super) fn not_rehearsed(&mut self, cause: NotRehearsed, message: &str) {
        if !std::mem::replace(&mut self.refused, true) {
            self.output.notes.push(Note::Verdict(
                Verdict::NotRehearsed(cause),
                message.to_owned(),
            ));
        }
    }

    /// The client is told that this is not rehearsed; the transaction that it is in fails.
    pub(super) async fn refuse(&mut self, cause: NotRehearsed, message: &str) -> Flow<()> {
        self.not_rehearsed(cause, message);
        let text = format!("drydock: {message}");
        self.raise(SqlState::FEATURE_NOT_SUPPORTED, &text).await
    }

    /// The same for a statement that is not sent.
    pub(super) async fn refuse_statement(
        &mut self,
        id: ClientId,
        statement: &Statement,
        cause: NotRehearsed,
        message: &str,
    ) -> Flow<()> {
        self.upstream.committing = Some(self.begin_statement(id, statement));
        self.refuse(cause, message).await?;
        self.upstream.committing = None;
        Ok(())
    }
}
