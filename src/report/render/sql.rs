//! The statements as they were executed, as a script for psql.
//!
//! A report keeps no literal of a statement on rows, so such a statement cannot be run from it: it is
//! commented out, and says what is missing. Only statements that were kept as they were sent are
//! whole.

use std::collections::BTreeMap;

use crate::report::units::{count, micros};
use crate::report::{Phase, Report, Statement, StatementOutcome};

/// Renders the statements, each virtual transaction between its BEGIN and its end, in the order in
/// which they take effect.
#[must_use]
pub fn sql(report: &Report) -> String {
    let mut script = Script {
        text: String::new(),
        missing: 0,
    };
    for unit in units(&report.statements) {
        script.unit(&unit);
    }
    let mut head = format!(
        "-- {} as drydock {} saw it, run {}. For psql.\n",
        if report.command.is_empty() {
            "An open rehearsal".to_owned()
        } else {
            one_line(&report.command.join(" "))
        },
        report.drydock,
        report.run.0
    );
    if report.statements.is_empty() {
        head.push_str(match report.phase {
            Phase::DryRun => "-- No statement was recorded.\n",
            Phase::Upgrade => {
                "-- The upgrade spoke to the server itself, so its statements were not recorded; see those of the dry run.\n"
            }
        });
        return head;
    }
    if script.missing > 0 {
        head.push_str(&format!(
            "-- {} left out: a report keeps no values. `drydock rehearse --output sql --show-values` writes them.\n",
            count(script.missing, "statement")
        ));
    }
    if report.statements_omitted > 0 {
        head.push_str(&format!(
            "-- {} more were not recorded: this is not the whole migration.\n",
            count(report.statements_omitted, "statement")
        ));
    }
    head.push_str("\\set ON_ERROR_STOP on\n");
    head + &script.text
}

/// Statements that take effect together, or one that does so alone.
struct Unit<'a> {
    transaction: Option<u32>,
    statements: Vec<&'a Statement>,
}

/// A transaction that had to wait for another one had not written anything until then: it takes
/// effect where it ends.
fn units(statements: &[Statement]) -> Vec<Unit<'_>> {
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for (index, statement) in statements.iter().enumerate() {
        if let Some(number) = statement.transaction {
            last.insert(number, index);
        }
    }
    let mut units = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        match statement.transaction {
            None => units.push(Unit {
                transaction: None,
                statements: vec![statement],
            }),
            Some(number) if last.get(&number) == Some(&index) => units.push(Unit {
                transaction: Some(number),
                statements: statements
                    .iter()
                    .filter(|it| it.transaction == Some(number))
                    .collect(),
            }),
            Some(_) => {}
        }
    }
    units
}

struct Script {
    text: String,
    missing: u64,
}

impl Script {
    fn unit(&mut self, unit: &Unit<'_>) {
        let Some(number) = unit.transaction else {
            for statement in &unit.statements {
                self.text.push('\n');
                self.statement(statement);
            }
            return;
        };
        let client = unit.statements.first().map_or(0, |first| first.client);
        self.text
            .push_str(&format!("\n-- transaction {number}, connection {client}\n"));
        let first = unit.statements.first();
        if !first.is_some_and(|first| starts_with(first, &["begin", "start"])) {
            self.text.push_str("BEGIN;\n");
        }
        for statement in &unit.statements {
            self.statement(statement);
        }
        let ended = unit.statements.last().is_some_and(|last| {
            starts_with(last, &["commit", "end", "rollback", "abort"])
                && !is_to_a_savepoint(last)
                && is_done(last)
        });
        let failed = unit.statements.iter().any(|statement| !is_done(statement));
        match (ended, failed) {
            (true, _) => {}
            // Several statements in one string take effect together.
            (false, false) => self.text.push_str("COMMIT;\n"),
            (false, true) => self
                .text
                .push_str("ROLLBACK;  -- it never came to its end\n"),
        }
    }

    fn statement(&mut self, statement: &Statement) {
        let duration = micros(statement.micros);
        match &statement.outcome {
            StatementOutcome::Done { tag } => {
                // A COMMIT of a transaction that had failed.
                if tag == "ROLLBACK" && starts_with(statement, &["commit", "end"]) {
                    self.text.push_str(&format!(
                        "ROLLBACK;  -- was a COMMIT after an error, {duration}\n"
                    ));
                    return;
                }
                self.run(statement, &format!("{}, {duration}", one_line(tag)));
            }
            StatementOutcome::Error(error) => {
                self.leave_out(
                    statement,
                    &format!("ERROR {}: {}", error.code, one_line(&error.message)),
                );
            }
            StatementOutcome::Cut => {
                self.leave_out(statement, &format!("did not come to its end, {duration}"));
            }
            StatementOutcome::Substituted { by } if by.is_empty() => {
                self.run(statement, "skipped in the rehearsal");
            }
            StatementOutcome::Substituted { by } => {
                self.run(statement, &format!("rehearsed as: {}", one_line(by)));
            }
        }
    }

    /// The statement, when it is all there.
    fn run(&mut self, statement: &Statement, note: &str) {
        let text = match &statement.sent {
            Some(sent) => sent,
            None if statement.whole && !is_copy_in(statement) => &statement.text,
            None => {
                self.missing += 1;
                let missing = if is_copy_in(statement) {
                    "the rows that were sent are missing"
                } else if statement.text.ends_with('…') {
                    "its end is missing"
                } else {
                    "its values are missing"
                };
                return self.leave_out(statement, &format!("{missing}; {note}"));
            }
        };
        let text = text.trim().trim_end_matches(';');
        self.text.push_str(text);
        // A comment at its end would take the semicolon in.
        let last = text.lines().last().unwrap_or_default();
        self.text
            .push_str(if last.contains("--") { "\n;" } else { ";" });
        self.text.push_str(&format!("  -- {note}\n"));
    }

    fn leave_out(&mut self, statement: &Statement, why: &str) {
        // The server ends a comment at each of these.
        for line in statement.text.trim_end().split(['\n', '\r']) {
            self.text.push_str(&format!("-- {}\n", line.trim_end()));
        }
        self.text.push_str(&format!("--   {why}\n"));
    }
}

fn is_done(statement: &Statement) -> bool {
    matches!(
        statement.outcome,
        StatementOutcome::Done { .. } | StatementOutcome::Substituted { .. }
    )
}

fn starts_with(statement: &Statement, words: &[&str]) -> bool {
    let first = statement
        .text
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    words.iter().any(|word| first.eq_ignore_ascii_case(word))
}

fn is_to_a_savepoint(statement: &Statement) -> bool {
    statement
        .text
        .split_whitespace()
        .any(|word| word.eq_ignore_ascii_case("to"))
}

fn is_copy_in(statement: &Statement) -> bool {
    starts_with(statement, &["copy"]) && {
        let text = statement.text.to_ascii_lowercase();
        text.contains("from stdin")
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ServerError;

    fn done(text: &str, transaction: Option<u32>) -> Statement {
        Statement {
            text: text.to_owned(),
            whole: !text.contains('?'),
            sent: None,
            client: 1,
            transaction,
            revision: None,
            violation: None,
            micros: 5,
            outcome: StatementOutcome::Done {
                tag: text.split(' ').next().unwrap_or_default().to_uppercase(),
            },
        }
    }

    fn script(statements: &[Statement]) -> Vec<String> {
        let mut script = Script {
            text: String::new(),
            missing: 0,
        };
        for unit in units(statements) {
            script.unit(&unit);
        }
        let lines = script.text.lines();
        lines
            .filter(|line| !line.is_empty() && !line.starts_with("-- transaction"))
            .map(|line| line.split("  -- ").next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn what_was_one_transaction_is_one_again() {
        // Several statements in one string, then a transaction of the client's own.
        let statements = [
            done("CREATE TABLE a ()", Some(1)),
            done("CREATE TABLE b ()", Some(1)),
            done("BEGIN", Some(2)),
            done("DROP TABLE a", Some(2)),
            done("COMMIT", Some(2)),
            done("CREATE INDEX CONCURRENTLY i ON b (c)", None),
        ];
        assert_eq!(
            script(&statements),
            [
                "BEGIN;",
                "CREATE TABLE a ();",
                "CREATE TABLE b ();",
                "COMMIT;",
                "BEGIN;",
                "DROP TABLE a;",
                "COMMIT;",
                "CREATE INDEX CONCURRENTLY i ON b (c);",
            ]
        );
    }

    #[test]
    fn a_transaction_that_waited_comes_where_it_ended() {
        let statements = [
            done("BEGIN", Some(1)),
            done("CREATE TABLE a ()", None),
            done("DROP TABLE a", Some(1)),
            done("COMMIT", Some(1)),
        ];
        let expected = ["CREATE TABLE a ();", "BEGIN;", "DROP TABLE a;", "COMMIT;"];
        assert_eq!(script(&statements), expected);
    }

    #[test]
    fn what_failed_is_not_run_again() {
        let mut failed = done("DROP TABLE a", Some(1));
        failed.outcome = StatementOutcome::Error(ServerError {
            code: "42P01".to_owned(),
            message: "no such table".to_owned(),
            constraint: None,
            table: None,
            ..ServerError::default()
        });
        let mut commit = done("COMMIT", Some(1));
        commit.outcome = StatementOutcome::Done {
            tag: "ROLLBACK".to_owned(),
        };
        let lines = script(&[done("BEGIN", Some(1)), failed.clone(), commit]);
        assert_eq!(
            lines,
            [
                "BEGIN;",
                "-- DROP TABLE a",
                "--   ERROR 42P01: no such table",
                "ROLLBACK;"
            ]
        );
        let cut = script(&[done("BEGIN", Some(1)), failed]);
        assert_eq!(cut.last().map(String::as_str), Some("ROLLBACK;"));
    }

    #[test]
    fn what_is_missing_is_left_out_unless_it_was_kept_as_it_was_sent() {
        let mut insert = done("INSERT INTO a VALUES (?)", None);
        assert_eq!(
            script(std::slice::from_ref(&insert))[0],
            "-- INSERT INTO a VALUES (?)"
        );
        insert.sent = Some("insert into a values ('x') -- why".to_owned());
        assert_eq!(
            script(&[insert]),
            ["insert into a values ('x') -- why", ";"]
        );
        let copy = done("COPY a FROM STDIN", None);
        assert_eq!(script(&[copy])[0], "-- COPY a FROM STDIN");
    }
}
