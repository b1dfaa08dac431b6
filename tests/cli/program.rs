//! The program under test, in surroundings where nothing but the test's own word names a database.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output, Stdio};

use drydock::report::Report;

/// `drydock` with the database's URL in `DATABASE_URL`.
pub(crate) fn drydock(url: &str) -> Command {
    let mut command = bare();
    command.env("DATABASE_URL", url);
    command
}

/// `drydock` without any database.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drydock"));
    for (name, _) in std::env::vars() {
        if name.starts_with("PG") || name.starts_with("DRYDOCK_") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

/// Rehearses a shell script that finds its database in `DATABASE_URL`.
pub(crate) fn rehearse(url: &str, script: &str) -> Done {
    let mut command = drydock(url);
    command.args(["rehearse", "-o", "json", "--", "sh", "-c", script]);
    Done::of(command)
}

/// Rehearses SQL that psql sends statement by statement.
pub(crate) fn rehearse_sql(url: &str, sql: &str) -> Done {
    rehearse(
        url,
        &format!("psql \"$DATABASE_URL\" -X -v ON_ERROR_STOP=1 <<'SQL'\n{sql}\nSQL"),
    )
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(mut command: Command) -> Self {
        Self::from(command.output().expect("drydock starts"))
    }

    /// The last report on standard output.
    pub(crate) fn report(&self) -> Report {
        let line = self
            .stdout
            .lines()
            .rfind(|line| line.starts_with('{'))
            .unwrap_or_else(|| panic!("no report:\n{self}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}:\n{self}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {}\n--- stderr\n{}\n--- stdout\n{}",
            self.code, self.stderr, self.stdout
        )
    }
}
