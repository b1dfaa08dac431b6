//! The statements as they were executed, as a script for reading; literals of DML are normalised,
//! so it is no script for running.

use crate::report::units::micros;
use crate::report::{Report, StatementOutcome};

/// Renders the statements with their virtual transactions marked.
#[must_use]
pub fn sql(report: &Report) -> String {
    let mut script = format!(
        "-- {} as drydock {} saw it, run {}.\n-- Literals in DML are normalised: for reading, not for running.\n",
        if report.command.is_empty() {
            "An open rehearsal".to_owned()
        } else {
            one_line(&report.command.join(" "))
        },
        report.drydock,
        report.run.0
    );
    let mut open = None;
    for statement in &report.statements {
        if statement.transaction != open {
            script.push('\n');
            match statement.transaction {
                Some(number) => script.push_str(&format!(
                    "-- transaction {number}, connection {}\n",
                    statement.client
                )),
                None => {
                    script.push_str(&format!("-- autocommit, connection {}\n", statement.client))
                }
            }
            open = statement.transaction;
        }
        let duration = micros(statement.micros);
        let text = statement.text.trim_end().trim_end_matches(';');
        match &statement.outcome {
            StatementOutcome::Done { tag } => {
                script.push_str(&format!("{text};  -- {}, {duration}\n", one_line(tag)));
            }
            StatementOutcome::Error(error) => script.push_str(&format!(
                "{text};\n--   ERROR {}: {}\n",
                error.code,
                one_line(&error.message)
            )),
            StatementOutcome::Cut => {
                script.push_str(&format!("{text};\n--   cut after {duration}\n"));
            }
            StatementOutcome::Substituted { by } if by.is_empty() => {
                script.push_str(&format!("{text};\n--   skipped\n"));
            }
            StatementOutcome::Substituted { by } => {
                script.push_str(&format!("{text};\n--   ran as: {}\n", one_line(by)));
            }
        }
    }
    if report.statements_omitted > 0 {
        script.push_str(&format!(
            "\n-- {} more statements were not recorded\n",
            report.statements_omitted
        ));
    }
    script
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
