//! Questions about the data, asked inside the rehearsal between the prediction and the rollback.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::record::Said;
use super::rehearse::Stage;
use super::trouble::asking;
use crate::api::{AssertionSpec, Expectation};
use crate::guard::{Deadline, Ended};
use crate::rehearsal::proxy::{Asker, Examination, Examined, NotExamined};
use crate::report::{Assertion, AssertionOutcome};
use crate::verdict::{Budget, Verdict};

/// The server ends a question in time, unless code of the database keeps it from that: then the
/// guard ends the rehearsal, this much later.
const GRACE: Duration = Duration::from_secs(1);

/// SQLSTATE of a statement that was cancelled, here by its timeout.
const CANCELLED: &str = "57014";

impl Stage<'_> {
    /// Asks one assertion after the other. The answers so far stay when something ends the run.
    pub(super) async fn ask_assertions(
        &self,
        asker: &Asker,
        deadline: &Deadline,
        answers: &mut Vec<Assertion>,
    ) -> Result<(), Said> {
        let budget = self.plan.budgets.assertion;
        for spec in &self.plan.assertions {
            deadline.set(budget + GRACE, overdue(spec, budget));
            let began = Instant::now();
            let answer = asker
                .examine(Examination {
                    sql: spec.sql.clone(),
                    budget_millis: u64::try_from(budget.as_millis()).unwrap_or(u64::MAX),
                })
                .await
                .map_err(|error| asking("ask an assertion", &error))?;
            deadline.lift();
            let rows = answer.as_ref().ok().map(|examined| examined.found);
            let text = answer.as_ref().ok().and_then(|it| shown(spec, it));
            let outcome = judge(spec, answer);
            if self.plan.show_rows
                && outcome != AssertionOutcome::Held
                && let Some(text) = text
            {
                // Nobody may be listening.
                let _ = self.console.output.send(text).await;
            }
            answers.push(Assertion {
                name: spec.name.clone(),
                rows,
                outcome,
                micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            });
        }
        Ok(())
    }
}

fn overdue(spec: &AssertionSpec, budget: Duration) -> Ended {
    Ended {
        verdict: Verdict::BudgetExceeded(Budget::Assertion),
        message: format!(
            "the assertion {} went on after its budget of {} ms although the server had cancelled it, \
             so the rehearsal was ended; a function that it calls catches the cancellation",
            spec.name,
            budget.as_millis()
        ),
    }
}

fn judge(spec: &AssertionSpec, answer: Result<Examined, NotExamined>) -> AssertionOutcome {
    let examined = match answer {
        Ok(examined) => examined,
        Err(NotExamined::Refused(reason)) => return AssertionOutcome::Refused { reason },
        Err(NotExamined::Server(error)) if error.code == CANCELLED => {
            return AssertionOutcome::TimedOut;
        }
        Err(NotExamined::Server(error)) => return AssertionOutcome::Error(error),
    };
    let found = match (spec.expect, examined.found) {
        (Expectation::Empty, 0) => return AssertionOutcome::Held,
        (Expectation::Empty, _) => format!("{}, where none is expected", rows(&examined)),
        (Expectation::NonEmpty, 0) => "no row, where at least one is expected".to_owned(),
        (Expectation::NonEmpty, _) => return AssertionOutcome::Held,
        (Expectation::Value, 1) => match &examined.rows[..] {
            [row] if row.len() != 1 => {
                format!(
                    "one row of {} columns, where one value is expected",
                    row.len()
                )
            }
            [row] if row.first() == Some(&spec.value) => return AssertionOutcome::Held,
            _ => "another value than the one that is expected".to_owned(),
        },
        (Expectation::Value, _) => format!("{}, where one value is expected", rows(&examined)),
    };
    AssertionOutcome::Failed { found }
}

fn rows(examined: &Examined) -> String {
    match examined.found {
        0 => "no row".to_owned(),
        1 => "1 row".to_owned(),
        found if examined.more => format!("more than {found} rows"),
        found => format!("{found} rows"),
    }
}

/// The first rows, for whoever asked to see them on this machine.
fn shown(spec: &AssertionSpec, examined: &Examined) -> Option<Bytes> {
    if examined.rows.is_empty() {
        return None;
    }
    let printable = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).collect() };
    let mut text = format!("drydock: {} found {}:\n", spec.name, rows(examined));
    for row in &examined.rows {
        let cells: Vec<String> = row
            .iter()
            .map(|cell| cell.as_deref().map_or_else(|| "NULL".to_owned(), printable))
            .collect();
        text.push_str(&format!("drydock:   {}\n", cells.join(" | ")));
    }
    Some(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::report::ServerError;

    fn spec(expect: Expectation) -> AssertionSpec {
        AssertionSpec {
            name: "a".to_owned(),
            sql: "SELECT 1".to_owned(),
            expect,
            value: (expect == Expectation::Value).then(|| "7".to_owned()),
        }
    }

    fn found(rows: &[&[Option<&str>]]) -> Examined {
        Examined {
            rows: rows
                .iter()
                .map(|row| row.iter().map(|c| c.map(str::to_owned)).collect())
                .collect(),
            found: rows.len() as u64,
            more: false,
        }
    }

    #[rstest]
    #[case(Expectation::Empty, &[], None)]
    #[case(Expectation::Empty, &[&[Some("1")] as &[_]], Some("1 row, where none is expected"))]
    #[case(Expectation::NonEmpty, &[&[None] as &[_]], None)]
    #[case(Expectation::NonEmpty, &[], Some("no row, where at least one is expected"))]
    #[case(Expectation::Value, &[&[Some("7")] as &[_]], None)]
    #[case(Expectation::Value, &[&[Some("secret")] as &[_]], Some("another value than the one that is expected"))]
    #[case(Expectation::Value, &[&[None] as &[_]], Some("another value than the one that is expected"))]
    #[case(Expectation::Value, &[], Some("no row, where one value is expected"))]
    #[case(Expectation::Value, &[&[Some("7"), Some("7")] as &[_]], Some("one row of 2 columns, where one value is expected"))]
    #[case(Expectation::Value, &[&[Some("7")] as &[_], &[Some("7")] as &[_]], Some("2 rows, where one value is expected"))]
    fn an_answer_is_compared_with_what_is_expected(
        #[case] expect: Expectation,
        #[case] rows: &[&[Option<&str>]],
        #[case] failure: Option<&str>,
    ) {
        let expected = failure.map_or(AssertionOutcome::Held, |failure| AssertionOutcome::Failed {
            found: failure.to_owned(),
        });
        assert_eq!(judge(&spec(expect), Ok(found(rows))), expected);
    }

    #[test]
    fn a_question_that_was_cancelled_took_too_long_and_any_other_error_is_one() {
        let error = |code: &str| {
            let error = ServerError {
                code: code.to_owned(),
                message: "m".to_owned(),
                constraint: None,
                table: None,
                ..ServerError::default()
            };
            judge(&spec(Expectation::Empty), Err(NotExamined::Server(error)))
        };
        assert_eq!(error("57014"), AssertionOutcome::TimedOut);
        assert!(matches!(error("25006"), AssertionOutcome::Error(_)));
    }

    #[test]
    fn rows_that_are_shown_cannot_drive_the_terminal() {
        let shown = shown(
            &spec(Expectation::Empty),
            &found(&[&[Some("a\x1b[31m"), None]]),
        )
        .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&shown),
            "drydock: a found 1 row:\ndrydock:   a[31m | NULL\n"
        );
    }
}
