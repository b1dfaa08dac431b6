//! The role's own timeouts on transactions. A rehearsal has to switch them off, because all of it is
//! one transaction; the upgrade has them.

use crate::postgres::identity::Timeouts;
use crate::report::units::millis;
use crate::report::{Finding, Severity, Statement};

/// What the upgrade may meet, by how long the command took here. `command` is all of its time, in
/// milliseconds: no transaction, and no pause in one, can have been longer.
pub(super) fn ahead(timeouts: &Timeouts, command: u64, statements: &[Statement]) -> Vec<Finding> {
    let limit = |timeout: Option<std::time::Duration>| {
        timeout
            .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
            .filter(|timeout| command >= *timeout)
    };
    let mut findings = Vec::new();
    if let Some(limit) = limit(timeouts.transaction) {
        let longest = longest_transaction(statements);
        let (severity, words) = if longest >= limit {
            (Severity::Warning, "would have ended it")
        } else {
            (Severity::Info, "may end it")
        };
        findings.push(finding(
            severity,
            &format!(
                "the role's transaction_timeout of {} {words}: the statements of one transaction took {}, \
                 the whole command {}. It is off in a rehearsal, and on in the upgrade",
                millis(limit),
                millis(longest),
                millis(command)
            ),
        ));
    }
    if let Some(limit) = limit(timeouts.idle_in_transaction) {
        findings.push(finding(
            Severity::Info,
            &format!(
                "the role's idle_in_transaction_session_timeout of {} is off in a rehearsal, and on in the \
                 upgrade: a pause of the command inside a transaction that is longer would end it there",
                millis(limit)
            ),
        ));
    }
    findings
}

/// In milliseconds, the pauses between statements left out.
fn longest_transaction(statements: &[Statement]) -> u64 {
    let mut spent = std::collections::BTreeMap::new();
    for statement in statements {
        if let Some(transaction) = statement.transaction {
            *spent
                .entry((statement.client, transaction))
                .or_insert(0_u64) += statement.micros;
        }
    }
    spent.into_values().max().unwrap_or_default() / 1000
}

fn finding(severity: Severity, message: &str) -> Finding {
    Finding {
        code: "RoleTimeout".to_owned(),
        severity,
        message: message.to_owned(),
        statement: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::StatementOutcome;

    fn statement(transaction: Option<u32>, millis: u64) -> Statement {
        Statement {
            text: "UPDATE orders SET total = total".into(),
            whole: true,
            sent: None,
            revision: None,
            violation: None,
            client: 1,
            transaction,
            micros: millis * 1000,
            outcome: StatementOutcome::Done {
                tag: "UPDATE 1".into(),
            },
        }
    }

    fn timeouts(transaction: u64, idle: u64) -> Timeouts {
        let some = |seconds| Some(Duration::from_secs(seconds)).filter(|it| !it.is_zero());
        Timeouts {
            transaction: some(transaction),
            idle_in_transaction: some(idle),
            ..Timeouts::default()
        }
    }

    #[test]
    fn a_transaction_longer_than_the_roles_timeout_is_a_warning() {
        let statements = [
            statement(Some(1), 4_000),
            statement(None, 9_000),
            statement(Some(1), 3_000),
            statement(Some(2), 1_000),
        ];
        let found = ahead(&timeouts(5, 0), 20_000, &statements);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Warning);
        assert!(found[0].message.contains("5.00 s would have ended it"));
        assert!(found[0].message.contains("took 7.00 s"));
        let found = ahead(&timeouts(10, 0), 20_000, &statements);
        assert_eq!(found[0].severity, Severity::Info);
    }

    #[test]
    fn a_command_shorter_than_the_timeouts_meets_none() {
        let statements = [statement(Some(1), 900)];
        assert!(ahead(&timeouts(5, 3), 1_000, &statements).is_empty());
        assert!(ahead(&timeouts(0, 0), 60_000, &statements).is_empty());
    }

    #[test]
    fn a_pause_that_may_be_too_long_is_said() {
        let found = ahead(&timeouts(0, 3), 4_000, &[statement(Some(1), 1)]);
        assert!(found[0].message.contains("idle_in_transaction"));
    }
}
