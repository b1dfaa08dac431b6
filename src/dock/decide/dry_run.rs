//! The verdict on a dry run.

use super::{words, worst};
use crate::dock::link::How;
use crate::dock::record::{DryRun, Said};
use crate::dock::timeouts;
use crate::rehearsal::proxy::KEPT;
use crate::report::{
    AssertionOutcome, CheckOutcome, Checked, CheckedAt, Severity, Statement, StatementOutcome,
    WAITED_FOR_LOCK, Witnessed,
};
use crate::verdict::{Budget, Environment, NotRehearsed, RollbackProof, Verdict};

/// Codes of findings for which Alembic ends without an upgrade.
const REVISIONS: [&str; 7] = [
    "MissingRevision",
    "MultipleHeads",
    "RepeatedRevision",
    "RevisionCircle",
    "RevisionFileBroken",
    "RevisionsRefused",
    "UnknownRevision",
];

/// SQLSTATE of a lock that was not granted in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Decides. `witness` is what the witness saw, or why it could not look; `None` when the rehearsal
/// never opened, so that there is nothing to prove.
#[must_use]
pub fn dry_run(record: &DryRun, witness: Option<Result<&Witnessed, &str>>) -> Said {
    let sayings = [
        witness.and_then(|witness| rollback(record, witness)),
        record.guard.clone().map(|said| guard(record, said)),
        record
            .rehearsal
            .verdict
            .clone()
            .map(|said| lock(record, said)),
        record.broken.clone(),
        command(record),
        assertions(record),
        checks(record),
        timeouts::exceeded(&record.timeouts, &record.rehearsal).filter(|_| !is_open(record)),
        record.denied.clone(),
        record
            .interrupted
            .then(interrupted)
            .filter(|_| !is_open(record)),
    ];
    worst(sayings.into_iter().flatten()).unwrap_or_else(|| passed(record))
}

/// Traffic that waited for the plain form of a CONCURRENTLY statement would not have waited for the
/// real one.
fn guard(record: &DryRun, said: Said) -> Said {
    let substituted = record.rehearsal.blocked_by_substitution;
    if !substituted || said.verdict != Verdict::BudgetExceeded(Budget::Blocking) {
        return said;
    }
    Said::new(
        Verdict::NotRehearsed(NotRehearsed::SubstitutionBlockedTraffic),
        format!(
            "{}. That is locked by the plain form of a CONCURRENTLY statement, which the real one does \
             not do: lower concurrently.substituteBelow, or rehearse on a clone",
            said.message
        ),
    )
}

/// Who held the lock that was waited for, as the guard saw it.
fn lock(record: &DryRun, said: Said) -> Said {
    let seen = record.findings.iter().find(|it| it.code == WAITED_FOR_LOCK);
    match seen {
        Some(seen) if said.verdict == Verdict::BudgetExceeded(Budget::LockWait) => {
            Said::new(said.verdict, format!("{} ({})", said.message, seen.message))
        }
        _ => said,
    }
}

fn is_open(record: &DryRun) -> bool {
    record.run.command.is_empty()
}

fn rollback(record: &DryRun, witness: Result<&Witnessed, &str>) -> Option<Said> {
    let message = match witness {
        Err(reason) => format!(
            "it could not be verified that nothing was left behind: {reason}; look at the database \
             before anything else"
        ),
        Ok(witness) => match witness.rollback {
            RollbackProof::Verified => return None,
            RollbackProof::Violated => {
                let mut found = Vec::new();
                if let (Some(xid), Some(status)) = (witness.xid, witness.xact_status.as_deref())
                    && status != "aborted"
                {
                    found.push(format!("transaction {xid} is {status}"));
                }
                found.extend(
                    witness
                        .moved
                        .iter()
                        .filter(|moved| moved.attributed_to.is_none())
                        .map(|moved| format!("{} moved", moved.catalogue)),
                );
                found.extend(witness.leftovers.iter().cloned());
                if record.bypass {
                    found.push("a session of the command went around the rehearsal".to_owned());
                }
                let found = if found.is_empty() {
                    "the database is not as it was".to_owned()
                } else {
                    found.join("; ")
                };
                format!(
                    "something was left behind: {found}. Look at the database before anything else{}",
                    bypass_advice(record)
                )
            }
            RollbackProof::Unknown => format!(
                "it is not provable that nothing was left behind{}{}",
                if witness.unproven.is_empty() {
                    String::new()
                } else {
                    format!(": {}", witness.unproven.join("; "))
                },
                bypass_advice(record)
            ),
        },
    };
    Some(Said::new(Verdict::RollbackNotVerified, message))
}

fn bypass_advice(record: &DryRun) -> &'static str {
    if record.bypass || !record.rehearsal.connected {
        "; does the command read its database's address from the variable that drydock sets \
         (--env NAME, or database.exposeAs)?"
    } else {
        ""
    }
}

fn interrupted() -> Said {
    Said::new(
        Verdict::Interrupted,
        "stopped before it ended; everything was rolled back",
    )
}

/// Whether the run lost the server: what the command says after that is a consequence.
fn lost_the_server(record: &DryRun) -> bool {
    [&record.guard, &record.rehearsal.verdict, &record.broken]
        .into_iter()
        .flatten()
        .any(|said| said.verdict == Verdict::Environment(Environment::ConnectionLost))
}

/// What the command's own end says. A command that we ended says nothing by it.
fn command(record: &DryRun) -> Option<Said> {
    let failing = failing(&record.rehearsal.statements);
    let ended = record.ended.as_ref()?;
    let name = words(&record.run.command);
    let said = match &ended.how {
        How::Exited { code: 0 } if record.rehearsal.connected => return None,
        How::Exited { code: 0 } => Said::new(
            Verdict::NotRehearsed(NotRehearsed::NeverConnected),
            format!(
                "`{name}` ended without ever connecting to the rehearsal; does it read its \
                 database's address from the variable that drydock sets (--env NAME, or \
                 database.exposeAs)?"
            ),
        ),
        How::Exited { .. } if lost_the_server(record) => return None,
        How::Exited { code } => Said::new(
            Verdict::Failed,
            match failing.or_else(|| {
                refused(record).map(|said| format!("`{name}` ended with exit code {code}: {said}"))
            }) {
                Some(said) => said,
                None if !record.rehearsal.connected => format!(
                    "`{name}` ended with exit code {code} before it connected to the database; its \
                     own output says why"
                ),
                None => format!(
                    "`{name}` ended with exit code {code} although every statement succeeded; its \
                     own output says why"
                ),
            },
        ),
        How::Signalled { signal } => Said::new(
            Verdict::Failed,
            format!("`{name}` was killed by signal {signal}, which drydock did not send"),
        ),
        How::NotStarted { reason } => Said::new(
            Verdict::Environment(Environment::CommandNotStarted),
            reason.clone(),
        ),
        How::Lost => Said::new(
            Verdict::Environment(Environment::CommandNotStarted),
            format!(
                "the container that ran `{name}` is gone and did not say how the command ended; \
                 was it evicted or out of memory?"
            ),
        ),
        How::Stopped => return None,
    };
    Some(said)
}

/// What is wrong with the revisions themselves: Alembic refuses them before it sends anything.
fn refused(record: &DryRun) -> Option<&str> {
    record
        .findings
        .iter()
        .find(|it| it.severity == Severity::Error && REVISIONS.contains(&it.code.as_str()))
        .map(|it| it.message.as_str())
}

/// What the questions about the data say: the first that did not hold, and how many did.
fn assertions(record: &DryRun) -> Option<Said> {
    let first = record.assertions.iter().find(|it| !it.held())?;
    let held = record.assertions.iter().filter(|it| it.held()).count();
    let verdict = match &first.outcome {
        AssertionOutcome::TimedOut => Verdict::BudgetExceeded(Budget::Assertion),
        AssertionOutcome::Error(error) if error.code == LOCK_NOT_AVAILABLE => {
            Verdict::BudgetExceeded(Budget::LockWait)
        }
        _ => Verdict::Failed,
    };
    let message = format!(
        "the command ended well, but the assertion {} {} ({held} of {} held)",
        first.name,
        first.words(),
        record.assertions.len()
    );
    Some(Said::new(verdict, message))
}

/// What the team's own checks say: of those that did not pass the worst.
fn checks(record: &DryRun) -> Option<Said> {
    let passed = record.checks.iter().filter(|it| it.passed()).count();
    let all = record.checks.len();
    let sayings = record.checks.iter().filter(|it| !it.passed()).map(|it| {
        let said = check(it);
        Said::new(
            said.verdict,
            format!("{} ({passed} of {all} passed)", said.message),
        )
    });
    worst(sayings)
}

fn check(check: &Checked) -> Said {
    let verdict = match &check.outcome {
        CheckOutcome::TimedOut => Verdict::BudgetExceeded(Budget::Check),
        CheckOutcome::LockWait => Verdict::BudgetExceeded(Budget::LockWait),
        CheckOutcome::NotStarted { .. } => Verdict::Environment(Environment::CommandNotStarted),
        _ => Verdict::Failed,
    };
    let words = check.words();
    Said::new(
        verdict,
        match check.at {
            CheckedAt::Before => format!(
                "the check {}, before the upgrade, {words}; the upgrade was not rehearsed",
                check.name
            ),
            CheckedAt::After => {
                format!(
                    "the command ended well, but the check {} {words}",
                    check.name
                )
            }
        },
    )
}

/// The statement that a failed command most likely failed on: the last one that got an error.
fn failing(statements: &[Statement]) -> Option<String> {
    statements
        .iter()
        .enumerate()
        .rev()
        .find_map(|(index, statement)| match &statement.outcome {
            StatementOutcome::Error(error) => {
                let which = if index < KEPT {
                    format!("statement {}", index + 1)
                } else {
                    format!("a statement behind the first {KEPT}")
                };
                Some(format!(
                    "{which}{} failed: ERROR {}: {}",
                    keyword(&statement.text),
                    error.code,
                    error.message
                ))
            }
            _ => None,
        })
}

/// Above all a reader should see at once that it was the COMMIT.
fn keyword(text: &str) -> String {
    let first = text.split(|c: char| !c.is_ascii_alphabetic()).next();
    match first {
        Some(word) if !word.is_empty() => format!(" ({})", word.to_ascii_uppercase()),
        _ => String::new(),
    }
}

/// Whether the command ran well and changed nothing: it wrote nothing that a commit would have
/// kept, the database stood where it had stood before, and every statement was executed as it is.
/// A VACUUM that was skipped is still to be run.
#[must_use]
pub fn nothing_to_do(record: &DryRun) -> bool {
    let stood_still = record
        .prediction
        .as_ref()
        .is_some_and(|prediction| prediction.before == prediction.predicted);
    let as_they_are = record.rehearsal.omitted == 0
        && !record
            .rehearsal
            .statements
            .iter()
            .any(|statement| matches!(statement.outcome, StatementOutcome::Substituted { .. }));
    !is_open(record)
        && record.rehearsal.connected
        && !record.rehearsal.wrote
        && stood_still
        && as_they_are
}

fn passed(record: &DryRun) -> Said {
    let statements = record.rehearsal.statements.len() as u64 + record.rehearsal.omitted;
    let message = if nothing_to_do(record) {
        "nothing is pending: the command connected, ended well and wrote nothing".to_owned()
    } else if is_open(record) && !record.rehearsal.connected {
        "nobody connected; nothing was done and nothing was left behind".to_owned()
    } else {
        format!(
            "{} ran in a transaction that was rolled back; the rollback is verified{}",
            if statements == 1 {
                "one statement".to_owned()
            } else {
                format!("all {statements} statements")
            },
            held(record)
        )
    };
    Said::new(Verdict::Passed, message)
}

/// What else was asked of it.
fn held(record: &DryRun) -> String {
    let asserted = match record.assertions.len() {
        0 => String::new(),
        1 => ", and the assertion held".to_owned(),
        several => format!(", and all {several} assertions held"),
    };
    match record.checks.len() {
        0 => asserted,
        1 => format!("{asserted}, and the check passed"),
        several => format!("{asserted}, and all {several} checks passed"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dock::link::Ended;
    use crate::dock::record::{Lasted, Rehearsed, RoleTimeouts, Run};
    use crate::report::{CatalogueClass, CatalogueMove, Finding, Prediction, RunId, ServerError};
    use crate::schema::{Difference, Fingerprint, Snapshot, State};

    fn statement(outcome: StatementOutcome) -> Statement {
        Statement {
            text: "COMMIT".into(),
            whole: true,
            sent: None,
            revision: None,
            violation: None,
            client: 1,
            transaction: Some(1),
            micros: 5,
            outcome,
        }
    }

    fn record(how: How) -> DryRun {
        DryRun {
            run: Run {
                id: RunId("r".into()),
                attempt: 1,
                command: vec!["alembic".into(), "upgrade".into(), "head".into()],
                tool: "alembic".into(),
                started: jiff::Timestamp::UNIX_EPOCH,
            },
            database: None,
            ended: Some(Ended {
                how,
                output: String::new(),
                millis: 1,
            }),
            rehearsal: Rehearsed {
                connected: true,
                xid: Some(7),
                wrote: true,
                gapless: true,
                statements: vec![statement(StatementOutcome::Done {
                    tag: "COMMIT".into(),
                })],
                ..Rehearsed::default()
            },
            guard: None,
            bypass: false,
            longest_wait_millis: None,
            prediction: None,
            findings: vec![],
            fixtures: vec![],
            assertions: vec![],
            checks: vec![],
            revisions: None,
            second: None,
            timeouts: RoleTimeouts::default(),
            denied: None,
            interrupted: false,
            broken: None,
        }
    }

    fn standing_still() -> Prediction {
        let state = State {
            fingerprint: Fingerprint::of(&Snapshot::default()),
            versions: BTreeMap::new(),
        };
        Prediction {
            before: state.clone(),
            predicted: state,
            difference: Difference::default(),
            during: None,
            pieces: Some(1),
        }
    }

    fn witness(rollback: RollbackProof) -> Witnessed {
        Witnessed {
            rollback,
            xid: Some(7),
            xact_status: Some("aborted".into()),
            unchanged: vec![],
            moved: vec![],
            not_covered: vec![],
            nothing_committed_meanwhile: false,
            leftovers: vec![],
            unproven: vec![],
            millis: 1,
        }
    }

    fn decided(record: &DryRun) -> Said {
        dry_run(record, Some(Ok(&witness(RollbackProof::Verified))))
    }

    #[test]
    fn a_command_that_succeeds_passes() {
        assert_eq!(
            decided(&record(How::Exited { code: 0 })).verdict,
            Verdict::Passed
        );
    }

    #[test]
    fn a_command_that_wrote_nothing_has_nothing_to_do() {
        let mut record = record(How::Exited { code: 0 });
        record.rehearsal.wrote = false;
        assert!(!nothing_to_do(&record), "nobody looked at the schema");
        record.prediction = Some(standing_still());
        assert!(nothing_to_do(&record));
        assert!(decided(&record).message.starts_with("nothing is pending"));
    }

    #[test]
    fn a_command_of_which_a_statement_was_skipped_has_something_to_do() {
        let mut record = record(How::Exited { code: 0 });
        record.rehearsal.wrote = false;
        record.prediction = Some(standing_still());
        record
            .rehearsal
            .statements
            .push(statement(StatementOutcome::Substituted {
                by: String::new(),
            }));
        assert!(!nothing_to_do(&record), "the upgrade is to run the VACUUM");
        record.rehearsal.statements.pop();
        record.rehearsal.omitted = 1;
        assert!(!nothing_to_do(&record), "nobody knows what it was");
    }

    #[test]
    fn a_command_that_ends_badly_after_the_server_was_lost_has_not_failed() {
        let mut record = record(How::Exited { code: 2 });
        let lost = Verdict::Environment(Environment::ConnectionLost);
        record.rehearsal.verdict = Some(Said::new(lost.clone(), "lost"));
        assert_eq!(decided(&record).verdict, lost);
        // Nor has it passed.
        record.ended = Some(Ended {
            how: How::Exited { code: 0 },
            output: String::new(),
            millis: 1,
        });
        assert_eq!(decided(&record).verdict, lost);
    }

    #[test]
    fn an_exit_code_other_than_zero_fails_even_when_every_statement_succeeded() {
        let said = decided(&record(How::Exited { code: 1 }));
        assert_eq!(said.verdict, Verdict::Failed);
        assert!(said.message.contains("although every statement succeeded"));
    }

    #[test]
    fn a_pause_that_the_roles_own_timeout_would_end_is_a_failure_unless_worse_is_said() {
        let mut record = record(How::Exited { code: 0 });
        record.timeouts.idle_in_transaction_millis = Some(300);
        let pause = |millis| {
            Some(Lasted {
                millis,
                statement: 3,
            })
        };
        record.rehearsal.longest_pause = pause(299);
        assert_eq!(decided(&record).verdict, Verdict::Passed);
        assert!(record.may_go_on());
        record.rehearsal.longest_pause = pause(1000);
        let said = decided(&record);
        assert_eq!(said.verdict, Verdict::Failed);
        assert!(said.message.starts_with(
            "the command paused for 1.00 s inside a transaction, behind statement 3; the role's \
             idle_in_transaction_session_timeout of 300 ms would have ended its session there (25P03)"
        ));
        assert!(!record.may_go_on());
        record.guard = Some(Said::new(
            Verdict::BudgetExceeded(Budget::Blocking),
            "blocked",
        ));
        let worse = Verdict::Failed.worst(Verdict::BudgetExceeded(Budget::Blocking));
        assert_eq!(decided(&record).verdict, worse);
        record.guard = None;
        // Who types a rehearsal by hand takes his time.
        record.run.command.clear();
        record.ended = None;
        assert_eq!(decided(&record).verdict, Verdict::Passed);
    }

    #[test]
    fn a_transaction_that_the_roles_own_timeout_would_end_is_a_failure() {
        let mut record = record(How::Exited { code: 0 });
        record.timeouts.transaction_millis = Some(5_000);
        record.rehearsal.longest_transaction = Some(Lasted {
            millis: 7_000,
            statement: 9,
        });
        let said = decided(&record);
        assert_eq!(said.verdict, Verdict::Failed);
        assert!(said.message.contains("(25P04)"), "{}", said.message);
    }

    #[test]
    fn of_the_checks_that_did_not_pass_the_worst_is_told() {
        let mut record = record(How::Exited { code: 0 });
        let checked = |name: &str, at, outcome| Checked {
            name: name.into(),
            at,
            command: vec!["x".into()],
            outcome,
            statements: 0,
            millis: 1,
            output: String::new(),
        };
        let missing = CheckOutcome::NotStarted {
            reason: "`x` was not found".into(),
        };
        record.checks = vec![
            checked("old", CheckedAt::Before, CheckOutcome::Passed),
            checked("missing", CheckedAt::After, missing.clone()),
            checked("lost", CheckedAt::After, CheckOutcome::Failed { exit: 2 }),
        ];
        let said = decided(&record);
        assert_eq!(said.verdict, Verdict::Failed);
        assert_eq!(
            said.message,
            "the command ended well, but the check lost failed with exit code 2 (1 of 3 passed)"
        );
        record
            .checks
            .push(checked("slow", CheckedAt::After, CheckOutcome::TimedOut));
        assert_eq!(
            decided(&record).verdict,
            Verdict::BudgetExceeded(Budget::Check)
        );
        record.checks = vec![checked("missing", CheckedAt::Before, missing)];
        record.ended = None;
        let said = decided(&record);
        assert_eq!(
            said.verdict,
            Verdict::Environment(Environment::CommandNotStarted)
        );
        assert!(said.message.contains("the upgrade was not rehearsed"));
    }

    #[test]
    fn a_failure_names_the_statement_and_the_servers_words() {
        let mut record = record(How::Exited { code: 1 });
        record
            .rehearsal
            .statements
            .push(statement(StatementOutcome::Error(ServerError {
                code: "23503".into(),
                message: "violates foreign key constraint".into(),
                constraint: None,
                table: None,
                ..ServerError::default()
            })));
        assert_eq!(
            decided(&record).message,
            "statement 2 (COMMIT) failed: ERROR 23503: violates foreign key constraint"
        );
    }

    #[test]
    fn who_held_a_lock_for_too_long_is_in_the_verdict() {
        let mut record = record(How::Exited { code: 1 });
        let verdict = Verdict::BudgetExceeded(Budget::LockWait);
        record.rehearsal.verdict = Some(Said::new(verdict.clone(), "a lock was not granted"));
        assert_eq!(decided(&record).message, "a lock was not granted");
        record.findings.push(Finding {
            code: "WaitedForLock".into(),
            severity: Severity::Warning,
            message: "session 7".into(),
            statement: None,
        });
        let said = decided(&record);
        assert_eq!(said.verdict, verdict);
        assert_eq!(said.message, "a lock was not granted (session 7)");
    }

    #[test]
    fn a_command_that_never_connected_is_not_rehearsed_although_it_succeeded() {
        let mut record = record(How::Exited { code: 0 });
        record.rehearsal.connected = false;
        assert_eq!(
            decided(&record).verdict,
            Verdict::NotRehearsed(NotRehearsed::NeverConnected)
        );
    }

    #[test]
    fn what_the_guard_ended_is_no_failure_of_the_migration() {
        let mut record = record(How::Stopped);
        record.guard = Some(Said::new(
            Verdict::BudgetExceeded(Budget::Blocking),
            "blocked",
        ));
        assert_eq!(
            decided(&record).verdict,
            Verdict::BudgetExceeded(Budget::Blocking)
        );
    }

    #[test]
    fn traffic_that_a_substitution_blocked_was_not_rehearsed() {
        let mut record = record(How::Stopped);
        record.rehearsal.blocked_by_substitution = true;
        record.guard = Some(Said::new(
            Verdict::BudgetExceeded(Budget::Blocking),
            "blocked",
        ));
        assert_eq!(
            decided(&record).verdict,
            Verdict::NotRehearsed(NotRehearsed::SubstitutionBlockedTraffic)
        );
    }

    #[test]
    fn nothing_outranks_a_rollback_that_is_not_proven() {
        let mut record = record(How::Exited { code: 1 });
        record.guard = Some(Said::new(
            Verdict::BudgetExceeded(Budget::Blocking),
            "blocked",
        ));
        record.bypass = true;
        let mut violated = witness(RollbackProof::Violated);
        violated.moved.push(CatalogueMove {
            catalogue: "pg_class".into(),
            class: CatalogueClass::Real,
            attributed_to: None,
            detail: String::new(),
        });
        let said = dry_run(&record, Some(Ok(&violated)));
        assert_eq!(said.verdict, Verdict::RollbackNotVerified);
        assert!(said.message.contains("pg_class moved"));
        assert!(said.message.contains("went around"));
        for unproven in [Ok(&witness(RollbackProof::Unknown)), Err("no connection")] {
            assert_eq!(
                dry_run(&record, Some(unproven)).verdict,
                Verdict::RollbackNotVerified
            );
        }
    }

    #[test]
    fn an_interrupted_run_says_so_and_an_open_rehearsal_ends_well_by_it() {
        let mut stopped = record(How::Stopped);
        stopped.interrupted = true;
        assert_eq!(decided(&stopped).verdict, Verdict::Interrupted);
        stopped.run.command.clear();
        stopped.ended = None;
        assert_eq!(decided(&stopped).verdict, Verdict::Passed);
    }
}
