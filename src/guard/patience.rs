//! How long each session has waited, from look to look. Time is a value here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::observation::Session;

/// Remembers since when sessions wait. PostgreSQL tells it itself from version 14 on
/// (`pg_locks.waitstart`); our own clock serves all versions alike.
#[derive(Debug)]
pub(super) struct Patience {
    budget: Duration,
    since: BTreeMap<i32, Duration>,
    longest: Duration,
}

/// Somebody waited longer than the budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// Who.
    pub session: Session,
    /// How long so far.
    pub waited: Duration,
}

impl Patience {
    pub(super) fn new(budget: Duration) -> Self {
        Self {
            budget,
            since: BTreeMap::new(),
            longest: Duration::ZERO,
        }
    }

    /// Takes in who is blocked `now`, which counts from any fixed moment; says whose patience is
    /// at its end.
    pub(super) fn observe(&mut self, now: Duration, blocked: &[Session]) -> Option<Exhausted> {
        self.since
            .retain(|pid, _| blocked.iter().any(|session| session.pid == *pid));
        let mut exhausted: Option<Exhausted> = None;
        for session in blocked {
            let since = *self.since.entry(session.pid).or_insert(now);
            let waited = now.saturating_sub(since);
            self.longest = self.longest.max(waited);
            if waited >= self.budget && exhausted.as_ref().is_none_or(|e| e.waited < waited) {
                exhausted = Some(Exhausted {
                    session: session.clone(),
                    waited,
                });
            }
        }
        exhausted
    }

    /// The longest wait so far.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: i32) -> Session {
        Session {
            pid,
            application: String::new(),
            mode: "RowExclusiveLock".into(),
            object: "orders".into(),
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn patience_ends_when_one_session_has_waited_for_the_whole_budget() {
        let mut patience = Patience::new(ms(300));
        assert_eq!(patience.observe(ms(1000), &[session(1)]), None);
        assert_eq!(patience.observe(ms(1299), &[session(1), session(2)]), None);
        let exhausted = patience
            .observe(ms(1300), &[session(1), session(2)])
            .unwrap();
        assert_eq!((exhausted.session.pid, exhausted.waited), (1, ms(300)));
    }

    #[test]
    fn a_session_that_went_on_in_between_starts_anew() {
        let mut patience = Patience::new(ms(300));
        patience.observe(ms(0), &[session(1)]);
        patience.observe(ms(200), &[]);
        patience.observe(ms(250), &[session(1)]);
        assert_eq!(patience.observe(ms(500), &[session(1)]), None);
        assert_eq!(patience.longest(), ms(250));
    }

    #[test]
    fn the_longest_waiting_session_is_the_one_that_is_named() {
        let mut patience = Patience::new(ms(100));
        patience.observe(ms(0), &[session(5)]);
        patience.observe(ms(50), &[session(1), session(5)]);
        assert_eq!(
            patience
                .observe(ms(200), &[session(1), session(5)])
                .unwrap()
                .session
                .pid,
            5
        );
    }
}
