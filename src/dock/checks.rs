//! Commands of the team's own, started through the rehearsal before and after the upgrade's.
//!
//! Each is a guest: what it writes is undone when it has ended, and its locks are gone with it, so it
//! changes neither the prediction nor what the next one finds.

use std::time::Duration;

use super::command::Command;
use super::console::Step;
use super::holding::{Holding, Stop};
use super::lease::Lease;
use super::link::{Ended, How, Sidecar};
use super::record::Said;
use super::rehearse::Stage;
use super::trouble::asking;
use crate::api::{CheckSpec, CheckTime};
use crate::guard;
use crate::rehearsal::proxy::Beside;
use crate::report::{CheckOutcome, Checked, CheckedAt};
use crate::verdict::{Budget, Verdict};

/// A check that is over has to be undone, and its statement to be cancelled, in this time: then the
/// guard ends the rehearsal.
const GRACE: Duration = Duration::from_secs(5);

/// What keeps the rest of a run from being done.
pub(super) enum Halt {
    /// Something ends the run.
    Stop(Stop),
    /// The rehearsal does not answer.
    Broken(Said),
}

impl Stage<'_> {
    /// Runs the checks of one time, one after the other. Before the upgrade the first that does not
    /// pass ends it, since nothing follows; after it all are run, unless one takes too long.
    pub(super) async fn run_checks(
        &self,
        time: CheckTime,
        lease: &Lease,
        holding: &mut Holding,
        mut link: Sidecar,
        done: &mut Vec<Checked>,
    ) -> (Sidecar, Option<Halt>) {
        for spec in self.plan.checks.iter().filter(|spec| spec.at == time) {
            self.console.step(Step::Check);
            let (back, ran) = self.run_check(spec, lease, holding, link).await;
            link = back;
            let checked = match ran {
                Ok(checked) => checked,
                Err(halt) => return (link, Some(halt)),
            };
            let enough = match time {
                CheckTime::Before => !checked.passed(),
                CheckTime::After => checked.outcome == CheckOutcome::TimedOut,
            };
            done.push(checked);
            if enough {
                break;
            }
        }
        (link, None)
    }

    async fn run_check(
        &self,
        spec: &CheckSpec,
        lease: &Lease,
        holding: &mut Holding,
        link: Sidecar,
    ) -> (Sidecar, Result<Checked, Halt>) {
        let asker = holding.asker();
        let deadline = holding.deadline();
        let budget = self.plan.budgets.check;
        deadline.set(budget + GRACE, overdue(spec, budget));
        let ready = tokio::select! {
            ready = asker.aside() => ready.map_err(|error| {
                Halt::Broken(asking("begin a check", &error))
            }),
            found = holding.watch(lease, self.console) => Err(Halt::Stop(found)),
        };
        if let Err(halt) = ready {
            deadline.lift();
            return (link, Err(halt));
        }
        let start = holding.start(self, spec.command.clone());
        let mut command = Command::start(link, start).await;
        let mut in_time = true;
        let mut ended = tokio::select! {
            ended = command.ended() => Ok(ended),
            () = tokio::time::sleep(budget) => {
                in_time = false;
                Ok(command.stop().await)
            }
            found = holding.watch(lease, self.console) => Err(Halt::Stop(found)),
        };
        if ended.is_err() {
            command.stop().await;
        } else if in_time && ended.as_ref().is_ok_and(|ended| ended.how == How::Stopped) {
            // Whoever runs the commands was told to stop.
            ended = Err(Halt::Stop(Stop::Asked));
        }
        let link = command.over();
        let ended = match ended {
            Ok(ended) => ended,
            Err(halt) => return (link, Err(halt)),
        };
        let beside = tokio::select! {
            beside = asker.back() => beside.map_err(|error| {
                Halt::Broken(asking("undo what a check did", &error))
            }),
            found = holding.watch(lease, self.console) => Err(Halt::Stop(found)),
        };
        deadline.lift();
        (
            link,
            beside.map(|beside| checked(spec, &ended, in_time, beside)),
        )
    }
}

fn overdue(spec: &CheckSpec, budget: Duration) -> guard::Ended {
    guard::Ended {
        verdict: Verdict::BudgetExceeded(Budget::Check),
        message: format!(
            "the check {} took longer than its budget of {} ms and could not be ended in time, so \
             the rehearsal was",
            spec.name,
            budget.as_millis()
        ),
    }
}

fn checked(spec: &CheckSpec, ended: &Ended, in_time: bool, beside: Beside) -> Checked {
    let outcome = outcome(&ended.how, in_time, beside.verdict);
    let passed = outcome == CheckOutcome::Passed;
    Checked {
        name: spec.name.clone(),
        at: match spec.at {
            CheckTime::Before => CheckedAt::Before,
            CheckTime::After => CheckedAt::After,
        },
        command: spec.command.clone(),
        outcome,
        statements: beside.statements,
        millis: ended.millis,
        output: if passed {
            String::new()
        } else {
            ended.output.clone()
        },
    }
}

/// A check of which a part could not be done in a rehearsal has not passed, whatever it says itself;
/// one that had to wait has, if it says so.
fn outcome(how: &How, in_time: bool, said: Option<(Verdict, String)>) -> CheckOutcome {
    if !in_time {
        return CheckOutcome::TimedOut;
    }
    match (how, said) {
        (_, Some((Verdict::NotRehearsed(_), reason))) => CheckOutcome::NotRehearsed { reason },
        (How::Exited { code: 0 }, _) => CheckOutcome::Passed,
        (How::Exited { .. }, Some((Verdict::BudgetExceeded(_), _))) => CheckOutcome::LockWait,
        (How::Exited { code }, _) => CheckOutcome::Failed { exit: *code },
        (How::Signalled { signal }, _) => CheckOutcome::Killed { signal: *signal },
        (How::NotStarted { reason }, _) => CheckOutcome::NotStarted {
            reason: reason.clone(),
        },
        (How::Stopped | How::Lost, _) => CheckOutcome::NotStarted {
            reason: "the container that ran it is gone and did not say how it ended; was it \
                     evicted or out of memory?"
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::NotRehearsed;

    #[test]
    fn a_check_has_passed_when_it_says_so_and_all_of_it_was_done() {
        let refused = || {
            let verdict = Verdict::NotRehearsed(NotRehearsed::CannotRunInTransaction);
            Some((verdict, "CREATE DATABASE".to_owned()))
        };
        let waited = || {
            let verdict = Verdict::BudgetExceeded(Budget::LockWait);
            Some((verdict, String::new()))
        };
        let exited = |code| How::Exited { code };
        assert_eq!(outcome(&exited(0), true, None), CheckOutcome::Passed);
        assert_eq!(outcome(&exited(0), true, waited()), CheckOutcome::Passed);
        assert_eq!(outcome(&exited(1), true, waited()), CheckOutcome::LockWait);
        assert_eq!(
            outcome(&exited(0), true, refused()),
            CheckOutcome::NotRehearsed {
                reason: "CREATE DATABASE".to_owned()
            }
        );
        assert_eq!(
            outcome(&exited(2), true, None),
            CheckOutcome::Failed { exit: 2 }
        );
        assert_eq!(outcome(&exited(0), false, None), CheckOutcome::TimedOut);
        assert_eq!(
            outcome(&How::Signalled { signal: 11 }, true, None),
            CheckOutcome::Killed { signal: 11 }
        );
    }
}
