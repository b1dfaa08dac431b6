//! How long each session has waited, from look to look. Time is a value here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::observation::Session;

/// Remembers since when sessions wait for the rehearsal.
///
/// The server says since when (`pg_locks.waitstart`), but may count what the session waited for
/// somebody else before; and it does not say so before PostgreSQL 14. A session that did not wait at
/// the look before waits since then at the earliest, and where nothing else is known that is what
/// counts: the guard rather ends a rehearsal between two looks too early than an application waits
/// too long.
#[derive(Debug)]
pub(super) struct Patience {
    budget: Duration,
    /// When it was looked the last time.
    looked: Duration,
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
            looked: Duration::ZERO,
            since: BTreeMap::new(),
            longest: Duration::ZERO,
        }
    }

    /// Takes in who is blocked `now`, which counts from the moment at which nobody could be blocked
    /// yet; says whose patience is at its end.
    pub(super) fn observe(&mut self, now: Duration, blocked: &[Session]) -> Option<Exhausted> {
        self.since
            .retain(|pid, _| blocked.iter().any(|session| session.pid == *pid));
        let looked = std::mem::replace(&mut self.looked, now);
        let mut exhausted: Option<Exhausted> = None;
        for session in blocked {
            let since = *self.since.entry(session.pid).or_insert_with(|| {
                let told = session.waited.map(|waited| now.saturating_sub(waited));
                told.map_or(looked, |since| since.max(looked))
            });
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

    /// When somebody's patience will be at its end, if it goes on like this.
    pub(super) fn ends(&self) -> Option<Duration> {
        self.since.values().min().map(|since| *since + self.budget)
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
            relation: None,
            object: "orders".into(),
            waited: None,
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn patience_ends_when_one_session_has_waited_for_the_whole_budget() {
        let mut patience = Patience::new(ms(300));
        assert_eq!(patience.observe(ms(1000), &[]), None);
        assert_eq!(patience.observe(ms(1025), &[session(1)]), None);
        assert_eq!(patience.ends(), Some(ms(1300)));
        assert_eq!(patience.observe(ms(1299), &[session(1), session(2)]), None);
        let exhausted = patience
            .observe(ms(1300), &[session(1), session(2)])
            .unwrap();
        assert_eq!((exhausted.session.pid, exhausted.waited), (1, ms(300)));
    }

    #[test]
    fn a_wait_begins_when_the_server_says_but_not_before_it_was_for_the_rehearsal() {
        let told = |millis| Session {
            waited: Some(ms(millis)),
            ..session(1)
        };
        let mut patience = Patience::new(ms(300));
        patience.observe(ms(1000), &[]);
        patience.observe(ms(1025), &[told(10)]);
        assert_eq!(patience.ends(), Some(ms(1315)));
        patience.observe(ms(1050), &[]);
        assert_eq!(patience.ends(), None);
        patience.observe(ms(1075), &[told(5000)]);
        assert_eq!(patience.ends(), Some(ms(1350)));
    }

    #[test]
    fn a_session_that_went_on_in_between_starts_anew() {
        let mut patience = Patience::new(ms(300));
        patience.observe(ms(0), &[session(1)]);
        patience.observe(ms(200), &[]);
        patience.observe(ms(250), &[session(1)]);
        assert_eq!(patience.observe(ms(499), &[session(1)]), None);
        assert_eq!(patience.longest(), ms(299));
    }

    #[test]
    fn the_longest_waiting_session_is_the_one_that_is_named() {
        let mut patience = Patience::new(ms(100));
        patience.observe(ms(0), &[session(5)]);
        patience.observe(ms(25), &[session(5)]);
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
