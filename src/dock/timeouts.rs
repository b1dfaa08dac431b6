//! The role's own timeouts on transactions. A rehearsal has to switch them off, because all of it is
//! one transaction; the upgrade has them. What they would have ended is a failure; what they only may
//! end is a finding.

use super::record::{Rehearsed, RoleTimeouts, Said};
use crate::postgres::identity::Timeouts;
use crate::report::units::millis;
use crate::report::{Finding, Severity};
use crate::verdict::Verdict;

/// Those of the role.
pub(super) fn of_role(timeouts: &Timeouts) -> RoleTimeouts {
    let millis = |timeout: Option<std::time::Duration>| {
        timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
    };
    RoleTimeouts {
        idle_in_transaction_millis: millis(timeouts.idle_in_transaction),
        transaction_millis: millis(timeouts.transaction),
    }
}

/// What a timeout would have ended, were it on.
pub(super) fn exceeded(role: &RoleTimeouts, rehearsal: &Rehearsed) -> Option<Said> {
    let message = pause(role, rehearsal).or_else(|| transaction(role, rehearsal))?;
    Some(Said::new(Verdict::Failed, message))
}

fn pause(role: &RoleTimeouts, rehearsal: &Rehearsed) -> Option<String> {
    let limit = role.idle_in_transaction_millis?;
    let pause = rehearsal.longest_pause.filter(|it| it.millis >= limit)?;
    Some(format!(
        "the command paused for {} inside a transaction, behind statement {}; the role's \
         idle_in_transaction_session_timeout of {} would have ended its session there (25P03). Commit \
         before the pause, or give the role of the upgrade a longer one",
        millis(pause.millis),
        pause.statement,
        millis(limit)
    ))
}

fn transaction(role: &RoleTimeouts, rehearsal: &Rehearsed) -> Option<String> {
    let limit = role.transaction_millis?;
    let longest = rehearsal.longest_transaction;
    let longest = longest.filter(|it| it.millis >= limit)?;
    Some(format!(
        "a transaction of the command took {} up to statement {}; the role's transaction_timeout of {} \
         would have ended its session there (25P04). Make it shorter, or give the role of the upgrade \
         a longer one",
        millis(longest.millis),
        longest.statement,
        millis(limit)
    ))
}

/// What the upgrade meets, or may meet, by how long the command took here. `command` is all of its
/// time, in milliseconds: no transaction, and no pause in one, can have been longer.
pub(super) fn ahead(role: &RoleTimeouts, command: u64, rehearsal: &Rehearsed) -> Vec<Finding> {
    let may = |limit: Option<u64>| limit.filter(|limit| command >= *limit);
    let mut findings = Vec::new();
    if let Some(limit) = may(role.transaction_millis) {
        findings.push(finding(transaction(role, rehearsal), || {
            format!(
                "the role's transaction_timeout of {} may end a transaction of the upgrade: the command took \
                 {}. It is off in a rehearsal, and on in the upgrade",
                millis(limit),
                millis(command)
            )
        }));
    }
    if let Some(limit) = may(role.idle_in_transaction_millis) {
        findings.push(finding(pause(role, rehearsal), || {
            format!(
                "the role's idle_in_transaction_session_timeout of {} is off in a rehearsal, and on in the \
                 upgrade: a pause of the command inside a transaction that is longer would end it there",
                millis(limit)
            )
        }));
    }
    findings
}

fn finding(exceeded: Option<String>, otherwise: impl FnOnce() -> String) -> Finding {
    let severity = match exceeded {
        Some(_) => Severity::Error,
        None => Severity::Info,
    };
    Finding {
        code: "RoleTimeout".to_owned(),
        severity,
        message: exceeded.unwrap_or_else(otherwise),
        statement: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dock::record::Lasted;

    fn role(transaction: u64, idle: u64) -> RoleTimeouts {
        let some = |seconds: u64| Some(seconds * 1000).filter(|millis| *millis > 0);
        RoleTimeouts {
            idle_in_transaction_millis: some(idle),
            transaction_millis: some(transaction),
        }
    }

    fn rehearsed(transaction: u64, pause: u64) -> Rehearsed {
        let lasted = |millis, statement| Some(Lasted { millis, statement });
        Rehearsed {
            longest_pause: lasted(pause, 2),
            longest_transaction: lasted(transaction, 5),
            ..Rehearsed::default()
        }
    }

    #[test]
    fn a_transaction_longer_than_the_roles_timeout_would_have_been_ended() {
        let (role, rehearsal) = (role(5, 0), rehearsed(7_000, 6_000));
        let said = exceeded(&role, &rehearsal).unwrap();
        assert_eq!(said.verdict, Verdict::Failed);
        assert!(
            said.message.contains(
                "took 7.00 s up to statement 5; the role's transaction_timeout of 5.00 s"
            )
        );
        let found = ahead(&role, 20_000, &rehearsal);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Error);
        assert_eq!(found[0].message, said.message);
    }

    #[test]
    fn a_pause_as_long_as_the_roles_timeout_would_have_been_ended() {
        let said = exceeded(&role(0, 3), &rehearsed(9_000, 3_000)).unwrap();
        assert!(said.message.contains("25P03"));
        assert_eq!(exceeded(&role(0, 3), &rehearsed(9_000, 2_999)), None);
    }

    #[test]
    fn what_only_may_be_too_long_is_said_and_no_failure() {
        for role in [role(10, 0), role(0, 10)] {
            for rehearsal in [rehearsed(9_999, 9_999), Rehearsed::default()] {
                assert_eq!(exceeded(&role, &rehearsal), None);
                let found = ahead(&role, 20_000, &rehearsal);
                assert_eq!(found[0].severity, Severity::Info);
            }
        }
    }

    #[test]
    fn a_command_shorter_than_the_timeouts_meets_none() {
        assert!(ahead(&role(5, 3), 1_000, &rehearsed(900, 800)).is_empty());
        assert!(ahead(&role(0, 0), 60_000, &rehearsed(50_000, 50_000)).is_empty());
    }
}
