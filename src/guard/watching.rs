//! The guard's task: looks, judges, ends.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::observation::{Locks, Observation, Session, count_locks, look, prepare};
use super::patience::{Exhausted, Patience};
use super::{Budgets, Ended, Moment, Record, Wanted, held};
use crate::postgres::ask::{Ask, AskError, literal, one};
use crate::postgres::connect::Client;
use crate::report::{Finding, Severity, WAITED_FOR_LOCK};
use crate::verdict::{Budget, NotRehearsed, Verdict};

/// Between two looks, and less when somebody's patience ends earlier.
const BETWEEN: Duration = Duration::from_millis(25);

/// Every how many looks it is shown which locks are held.
const SHOW_EVERY: u64 = 20;
/// Between two counts of the rehearsal's locks.
const BETWEEN_COUNTS: Duration = Duration::from_secs(1);

/// Strangers and blockers beyond it are counted, not named.
const NAMED: usize = 5;

/// The guard at work.
pub(super) struct Watching {
    client: Client,
    watched: i32,
    command: String,
    budgets: Budgets,
    began: Instant,
    patience: Patience,
    show: watch::Sender<Moment>,
    deadline: watch::Receiver<Option<(Instant, Ended)>>,
    seen: Seen,
}

/// What it saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ended: Option<Ended>,
    blocked_on: Option<Wanted>,
    longest_wait: Duration,
    strangers: BTreeMap<i32, Session>,
    blockers: BTreeMap<i32, Session>,
}

impl Watching {
    pub(super) fn new(
        client: Client,
        watched: i32,
        command: String,
        budgets: Budgets,
        show: watch::Sender<Moment>,
        deadline: watch::Receiver<Option<(Instant, Ended)>>,
    ) -> Self {
        Self {
            client,
            watched,
            command,
            budgets,
            began: Instant::now(),
            patience: Patience::new(budgets.blocking),
            show,
            deadline,
            seen: Seen::default(),
        }
    }

    /// Watches until stopped, until a budget is exceeded, or until its connection is lost; then
    /// `say` is closed without a message.
    pub(super) async fn run(
        mut self,
        say: mpsc::Sender<Ended>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Seen {
        let ended = tokio::select! {
            _ = &mut stopped => None,
            watched = self.watch() => match watched {
                Ok(ended) => Some(ended),
                Err(error) => {
                    tracing::warn!(%error, "the guard's connection failed");
                    None
                }
            },
        };
        if let Some(ended) = ended {
            // Whoever listened may have ended the run meanwhile.
            let _ = say.send(ended).await;
        }
        self.seen.longest_wait = self.patience.longest();
        self.seen
    }

    async fn watch(&mut self) -> Result<Ended, AskError> {
        let began = one(&mut self.client, "the time", "SELECT clock_timestamp()").await?;
        prepare(
            &mut self.client,
            self.watched,
            &self.command,
            &literal(&began),
        )
        .await?;
        let mut looks = 0_u64;
        let mut counted = Duration::ZERO;
        loop {
            looks += 1;
            let seen = look(&mut self.client).await?;
            let now = self.began.elapsed();
            let calm = seen.blocked.is_empty();
            let mut ended = self.judge(now, seen).or_else(|| self.overdue());
            if ended.is_none() && now >= counted + BETWEEN_COUNTS {
                counted = now;
                ended = lock_table(count_locks(&mut self.client).await?);
            }
            if let Some(ended) = ended {
                self.seen.ended = Some(ended.clone());
                self.end().await?;
                return Ok(ended);
            }
            // What is only shown waits while somebody else does.
            if calm && looks.is_multiple_of(SHOW_EVERY) {
                let held = held::look(&mut self.client, self.watched).await?;
                self.show.send_if_modified(|shown| {
                    let changed = shown.held != held;
                    shown.held = held;
                    changed
                });
            }
            let next = self
                .patience
                .ends()
                .map_or(now + BETWEEN, |ends| ends.min(now + BETWEEN));
            sleep_until(self.began + next).await;
        }
    }

    /// Ends the rehearsal, and whatever of the command goes around it: it would go on at the server
    /// when the command is killed, and might commit when the witness has looked.
    async fn end(&mut self) -> Result<(), AskError> {
        let watched = format!("SELECT pg_terminate_backend({})", self.watched);
        self.client.ask(&watched).await?;
        let around = format!(
            "SELECT a.pid FROM pg_catalog.pg_stat_get_activity(NULL) a
              WHERE a.application_name = {} AND a.pid <> {}",
            literal(&self.command),
            self.watched
        );
        let around = self.client.ask(&around).await?;
        for pid in around.into_iter().flatten().flatten() {
            let end = format!("SELECT pg_terminate_backend({pid})");
            if let Err(error) = self.client.ask(&end).await {
                // One of a greater role is not ours to end; it ends with the command, which is killed.
                tracing::warn!(%error, pid, "a session of the command could not be ended");
            }
        }
        Ok(())
    }

    fn overdue(&self) -> Option<Ended> {
        let deadline = self.deadline.borrow();
        let (at, ended) = deadline.as_ref()?;
        (Instant::now() >= *at).then(|| ended.clone())
    }

    fn judge(&mut self, now: Duration, seen: Observation) -> Option<Ended> {
        self.show.send_if_modified(|shown| {
            let changed = shown.blocked != seen.blocked.len();
            shown.blocked = seen.blocked.len();
            changed
        });
        let exhausted = self.patience.observe(now, &seen.blocked);
        let around = seen.around.first().map(went_around);
        let strangers = [seen.strangers, seen.around].concat();
        for (known, sessions) in [
            (&mut self.seen.strangers, strangers),
            (&mut self.seen.blockers, seen.blockers),
        ] {
            known.extend(sessions.into_iter().map(|session| (session.pid, session)));
        }
        if around.is_some() {
            return around;
        }
        if let Some(exhausted) = exhausted {
            let own = self.seen.strangers.contains_key(&exhausted.session.pid);
            let session = &exhausted.session;
            self.seen.blocked_on = session.relation.map(|relation| Wanted {
                relation,
                mode: session.mode.clone(),
            });
            return Some(blocking(&exhausted, own, self.budgets.blocking));
        }
        (now >= self.budgets.duration).then(|| duration(self.budgets.duration))
    }
}

fn went_around(session: &Session) -> Ended {
    let (place, advice) = match session.object.as_str() {
        "" => (String::new(), String::new()),
        other => (
            format!(" in database {other}"),
            format!(
                ". A rehearsal is of one database: look at what is in {other} now, and give each \
                 database its own run"
            ),
        ),
    };
    Ended {
        verdict: Verdict::NotRehearsed(NotRehearsed::WentAround),
        message: format!(
            "{} is a session of the command{place} that does not go through the rehearsal, and the \
             run was ended at once, and the session with it. All of the command must read its \
             database's address from the variable that drydock sets (--env NAME, or \
             database.exposeAs){advice}",
            session.name()
        ),
    }
}

/// `own` is a session that looks like the command's: with a command that goes around the rehearsal
/// in the middle of it, the two wait for each other.
fn blocking(exhausted: &Exhausted, own: bool, budget: Duration) -> Ended {
    let Exhausted { session, waited } = exhausted;
    let advice = if own {
        "It is of the command's role and address and was opened during the rehearsal: does a part \
         of the command go around the rehearsal? All of it must read its database's address from \
         the variable that drydock sets (--env NAME, or database.exposeAs)"
    } else {
        "Rehearse when there is less traffic, split the migration, or raise the blocking budget"
    };
    Ended {
        verdict: Verdict::BudgetExceeded(Budget::Blocking),
        message: format!(
            "{} waited {} ms behind the rehearsal for {} on {}, and the blocking budget is {} ms; \
             the rehearsal was ended at once, so it went on. {advice}",
            session.name(),
            waited.as_millis(),
            session.mode,
            session.object,
            budget.as_millis()
        ),
    }
}

/// Half of it is for the application.
fn lock_table(locks: Locks) -> Option<Ended> {
    let message = format!(
        "the rehearsal held {} of the about {} locks that the server has room for, and was ended \
         before others got none (max_locks_per_transaction); in one transaction the migration \
         needs more than it does in many. Split it, or rehearse on a clone",
        locks.held, locks.room
    );
    (locks.held > locks.room / 2).then_some(Ended {
        verdict: Verdict::NotRehearsed(NotRehearsed::LockTable),
        message,
    })
}

fn duration(budget: Duration) -> Ended {
    Ended {
        verdict: Verdict::BudgetExceeded(Budget::Duration),
        message: format!(
            "the rehearsal took longer than its duration budget of {} s and was ended; raise the \
             duration budget if the migration may take that long",
            budget.as_secs()
        ),
    }
}

impl Seen {
    pub(super) fn into_record(self) -> Record {
        let mut findings = Vec::new();
        let mut tell = |code: &str, severity, sessions: &BTreeMap<i32, Session>, text: &str| {
            if !sessions.is_empty() {
                findings.push(Finding {
                    code: code.to_owned(),
                    severity,
                    message: format!("{text}: {}", names(sessions)),
                    statement: None,
                });
            }
        };
        tell(
            WAITED_FOR_LOCK,
            Severity::Warning,
            &self.blockers,
            "the rehearsal had to wait for locks of other sessions",
        );
        tell(
            "SessionBesideTheRehearsal",
            Severity::Warning,
            &self.strangers,
            "sessions of the same role from the same address were opened during the rehearsal, \
             which may be the command going around it",
        );
        if self.longest_wait > Duration::ZERO {
            findings.push(Finding {
                code: "TrafficWaited".to_owned(),
                severity: Severity::Info,
                message: format!(
                    "the longest that another session waited behind the rehearsal: {} ms",
                    self.longest_wait.as_millis()
                ),
                statement: None,
            });
        }
        Record {
            ended: self.ended,
            blocked_on: self.blocked_on,
            bypass: !self.strangers.is_empty(),
            longest_wait: self.longest_wait,
            findings,
        }
    }
}

fn names(sessions: &BTreeMap<i32, Session>) -> String {
    let mut names: Vec<String> = sessions.values().take(NAMED).map(Session::name).collect();
    if sessions.len() > NAMED {
        names.push(format!("{} more", sessions.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_lock_table_is_left_to_the_application() {
        let locks = |held| Locks { held, room: 6400 };
        assert_eq!(lock_table(locks(3200)), None);
        let ended = lock_table(locks(3201)).unwrap();
        assert_eq!(
            ended.verdict,
            Verdict::NotRehearsed(NotRehearsed::LockTable)
        );
        assert!(ended.message.contains("3201 of the about 6400"));
    }
}
