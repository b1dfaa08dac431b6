//! Mistakes on the command line: exact words, exit code 2, nothing on standard output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/program.rs"]
mod program;

use std::io::Write;

use program::{Done, bare};
use rstest::rstest;

#[rstest]
#[case::no_command(
    &["rehearse", "--database-url", "postgresql://u@h/d"],
    "drydock: no migration command: give it after `--`, e.g. `drydock rehearse -- alembic upgrade head`, or in a file with -f\n"
)]
#[case::no_database(
    &["rehearse", "--", "true"],
    "drydock: no database given: use --database-url, or set DRYDOCK_DATABASE_URL, DATABASE_URL or libpq's PGHOST, PGDATABASE, …\n"
)]
#[case::listen_with_a_command(
    &["rehearse", "--listen", "127.0.0.1:0", "--", "true"],
    "drydock: --listen opens the rehearsal to any tool; leave out the command\n"
)]
#[case::nobody_to_ask(
    &["run", "--", "true"],
    "drydock: nobody is there to be asked: add --yes to upgrade without asking\n"
)]
#[case::no_such_file(
    &["rehearse", "-f", "/no/such.yaml"],
    "drydock: cannot read /no/such.yaml: No such file or directory (os error 2)\n"
)]
#[case::bad_variable(
    &["rehearse", "--env", "A=B", "--", "true"],
    "drydock: --env \"A=B\" is not the name of an environment variable\n"
)]
fn a_mistake_is_named_and_nothing_is_started(#[case] arguments: &[&str], #[case] words: &str) {
    let mut command = bare();
    command.args(arguments);
    let done = Done::of(command).expect(2);
    assert_eq!(done.stderr, words);
    assert_eq!(done.stdout, "");
}

#[rstest]
#[case::mysql("mysql://root@localhost/db")]
#[case::sqlite("sqlite:///app.db")]
fn a_database_that_cannot_be_rehearsed_on_is_refused_with_the_reason(#[case] url: &str) {
    let mut command = bare();
    command.args(["rehearse", "--database-url", url, "--", "true"]);
    let done = Done::of(command).expect(2);
    assert!(
        done.stderr.starts_with("drydock: --database-url: "),
        "{done}"
    );
}

#[test]
fn a_misspelt_field_of_a_file_is_named_with_its_place() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "spec: {{alembic: {{tarket: head}}}}").unwrap();
    let mut command = bare();
    command.args(["rehearse", "-f"]).arg(file.path());
    let done = Done::of(command).expect(2);
    assert!(
        done.stderr.contains(
            "spec.alembic.tarket: unknown field; known here are command, config, target, x"
        ),
        "{done}"
    );
}

#[test]
fn a_password_in_a_malformed_url_is_not_repeated() {
    let mut command = bare();
    command.args([
        "rehearse",
        "--database-url",
        "postgresql://u:hunter2@h:port/d",
        "--",
        "true",
    ]);
    let done = Done::of(command).expect(2);
    assert!(!done.stderr.contains("hunter2"), "{done}");
}

#[test]
fn the_help_goes_to_standard_output() {
    let mut command = bare();
    command.args(["rehearse", "--help"]);
    let done = Done::of(command).expect(0);
    assert!(
        done.stdout
            .contains("drydock rehearse -- alembic upgrade head")
    );
    assert_eq!(done.stderr, "");
}

#[test]
fn what_is_no_report_is_refused() {
    let mut file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    writeln!(file, "{{\"format\": 99}}").unwrap();
    let mut command = bare();
    command.arg("report").arg(file.path());
    let done = Done::of(command).expect(2);
    assert!(
        done.stderr
            .contains("the report has format 99, and this drydock reads up to 1"),
        "{done}"
    );
}
