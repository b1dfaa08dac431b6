//! Mistakes on the command line, one list: exact words, exit code 2, nothing on standard output,
//! nothing started.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/program.rs"]
mod program;

use std::io::Write;

use program::{Done, bare};
use rstest::rstest;

/// A database that nobody asks, because the mistake is found first.
const URL: &str = "postgresql://u@h/d";

#[rstest]
#[case::unknown_command(&["nosuch"], "error: unrecognized subcommand 'nosuch'\n")]
#[case::unknown_flag(&["rehearse", "--nosuch"], "error: unexpected argument '--nosuch' found\n")]
#[case::no_command(
    &["rehearse", "--database-url", URL],
    "drydock: no migration command: give it after `--`, e.g. `drydock rehearse -- alembic upgrade head`, or in a file with -f\n"
)]
#[case::values_in_a_report(
    &["rehearse", "--show-values", "--database-url", URL, "--", "true"],
    "drydock: --show-values is for scripts only: add --output sql\n"
)]
#[case::each_revision_and_no_way_back(
    &["rehearse", "--each", "--no-round-trip", "--database-url", URL, "--", "alembic", "upgrade", "head"],
    "error: the argument '--each' cannot be used with '--no-round-trip'\n"
)]
#[case::each_revision_of_what_is_not_alembics(
    &["rehearse", "--each", "--database-url", URL, "--", "./migrate.sh"],
    "drydock: --each goes the way back revision by revision, and this command is not Alembic's: leave it out\n"
)]
#[case::each_revision_of_an_unknown_call(
    &["rehearse", "--each", "--database-url", URL, "--", "alembic", "current"],
    "drydock: --each goes the way back revision by revision, but how Alembic is called is not known from this command: say so in alembic.command (a wrapper that passes its arguments on will do)\n"
)]
#[case::a_second_run_of_what_is_not_alembics(
    &["rehearse", "--rerun", "--database-url", URL, "--", "./migrate.sh"],
    "drydock: --rerun (dryRun.rerun) runs Alembic's data migrations a second time, and this command is not Alembic's: leave it out\n"
)]
#[case::no_database(
    &["rehearse", "--", "true"],
    "drydock: no database given: use --database-url, or set DRYDOCK_DATABASE_URL, DATABASE_URL or libpq's PGHOST, PGDATABASE, …\n"
)]
#[case::listen_with_a_command(
    &["rehearse", "--listen", "127.0.0.1:0", "--", "true"],
    "drydock: --listen opens the rehearsal to any tool; leave out the command\n"
)]
#[case::listen_nowhere(
    &["rehearse", "--listen", "nowhere"],
    "error: invalid value 'nowhere' for '--listen <ADDRESS>': write an IP address and a port, e.g. 127.0.0.1:6543; port 0 takes any free one\n"
)]
#[case::nobody_to_ask(
    &["run", "--", "true"],
    "drydock: nobody is there to be asked: add --yes to upgrade without asking\n"
)]
#[case::bad_variable(
    &["rehearse", "--env", "A=B", "--", "true"],
    "drydock: --env \"A=B\" is not the name of an environment variable\n"
)]
#[case::duration_without_a_unit(
    &["rehearse", "--blocking", "3", "--", "true"],
    "error: invalid value '3' for '--blocking <DURATION>': \"3\" is not a duration: write e.g. 300ms, 90s, 10m or 1h30m\n"
)]
#[case::negative_duration(
    &["rehearse", "--duration=-1s", "--", "true"],
    "error: invalid value '-1s' for '--duration <DURATION>': \"-1s\" is not a duration: write e.g. 300ms, 90s, 10m or 1h30m\n"
)]
#[case::unknown_unit(
    &["rehearse", "--substitute-below", "1Q", "--", "true"],
    "error: invalid value '1Q' for '--substitute-below <SIZE>': \"1Q\" is not a size in bytes: write e.g. 512Ki, 64Mi or 1Gi\n"
)]
#[case::unknown_form(
    &["rehearse", "-o", "yaml", "--", "true"],
    "error: invalid value 'yaml' for '--output <OUTPUT>'\n  [possible values: text, markdown, html, json, sql]\n"
)]
#[case::wait_for_nothing(
    &["wait"],
    "error: the following required arguments were not provided:\n  <NAME>\n"
)]
#[case::wait_for_two(
    &["wait", "orders", "--apply", "orders.yaml"],
    "error: the argument '[NAME]' cannot be used with '--apply <FILE>'\n"
)]
#[case::apply_a_missing_file(
    &["wait", "--apply", "/no/such.yaml"],
    "drydock: cannot read /no/such.yaml: No such file or directory (os error 2)\n"
)]
#[case::report_of_a_missing_file(
    &["report", "/no/such.json"],
    "drydock: cannot read /no/such.json: No such file or directory (os error 2)\n"
)]
#[case::report_from_a_namespace_only(
    &["report", "-n", "shop"],
    "drydock: --namespace needs the name of a Migration\n"
)]
#[case::a_command_that_names_the_database(
    &["rehearse", "--database-url", "postgresql://u:hunter2@db.example/orders", "--", "psql", "postgresql://u:hunter2@db.example/orders"],
    "drydock: the command itself names the database (orders at db.example:5432), so it would go around the rehearsal: let it read the address from the variable, e.g. `-- sh -c 'psql \"$DATABASE_URL\" …'`, with single quotes\n"
)]
fn a_mistake_is_named_and_nothing_is_started(#[case] arguments: &[&str], #[case] words: &str) {
    let mut command = bare();
    command.args(arguments);
    let done = Done::of(command).expect(2);
    assert!(done.stderr.starts_with(words), "{done}\nexpected: {words}");
    if words.starts_with("drydock:") {
        assert_eq!(done.stderr, words);
    }
    assert_eq!(done.stdout, "");
}

#[rstest]
#[case::mysql(
    "mysql+pymysql://root:hunter2@localhost/db",
    "mysql+pymysql: MySQL commits before and after every DDL statement by itself, so a migration cannot be rehearsed and rolled back there; run it on a restored copy instead; drydock speaks to PostgreSQL only"
)]
#[case::sqlite(
    "sqlite:///app.db",
    "sqlite: SQLite is a file without a server, and Python's driver begins no transaction before DDL unless told to, so a rollback would not undo it; copy the file and run the migration on the copy; drydock speaks to PostgreSQL only"
)]
#[case::oracle(
    "oracle://u:hunter2@h/d",
    "oracle: Oracle commits before and after every DDL statement by itself, so a migration cannot be rehearsed and rolled back there; run it on a restored copy instead; drydock speaks to PostgreSQL only"
)]
#[case::cockroach(
    "cockroachdb://u:hunter2@h/d",
    "cockroachdb: it speaks PostgreSQL's protocol but not all of its schema changes are undone by ROLLBACK, so they cannot be rehearsed; run them on a copy instead; drydock speaks to PostgreSQL only"
)]
#[case::jdbc(
    "jdbc:postgresql://h/d",
    "jdbc:postgresql: JDBC URLs are not read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
)]
#[case::another_protocol(
    "http://u:hunter2@h/d",
    "http: not a PostgreSQL URL; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
)]
#[case::unknown_driver(
    "postgresql+nosuch://u:hunter2@h/d",
    "postgresql+nosuch: unknown driver; write postgresql:// or one of postgresql+psycopg, +psycopg2, +psycopg2cffi, +asyncpg, +pg8000"
)]
#[case::empty("", "the database URL is empty")]
#[case::nonsense(
    "nonsense",
    "the database URL is malformed: it is neither a URL (postgresql://…) nor keyword=value"
)]
#[case::no_user(
    "postgresql://h/d",
    "no user: put it into the URL (postgresql://USER@…) or set PGUSER"
)]
#[case::port(
    "postgresql://u:hunter2@h:99999/d",
    "the port is not a number from 1 to 65535"
)]
#[case::unknown_keyword("host=h user=u nosuch=1", "unknown connection parameter \"nosuch\"")]
#[case::percent(
    "postgresql://u:hunter2@h/%zz",
    "the database name holds a % that does not encode a byte; a literal % is written %25"
)]
fn a_database_that_cannot_be_rehearsed_on_is_refused_with_the_reason(
    #[case] url: &str,
    #[case] words: &str,
) {
    let mut command = bare();
    command.args(["rehearse", "--database-url", url, "--", "true"]);
    let done = Done::of(command).expect(2);
    assert_eq!(done.stderr, format!("drydock: --database-url: {words}\n"));
    assert_eq!(done.stdout, "");
}

#[rstest]
#[case::misspelt(
    "spec: {alembic: {tarket: head}}",
    "spec.alembic.tarket: unknown field; known here are command, config, target, x"
)]
#[case::both(
    "spec: {alembic: {}, command: {upgrade: [a]}}",
    "spec: give exactly one of alembic and command"
)]
#[case::no_words(
    "spec: {command: {upgrade: []}}",
    "spec.command.upgrade: must have at least 1 item"
)]
#[case::duration(
    "spec: {alembic: {}, dryRun: {budgets: {blocking: soon}}}",
    "spec.dryRun.budgets.blocking: \"soon\" is not a duration: write e.g. 300ms, 90s, 10m or 1h30m"
)]
#[case::a_number_for_a_duration(
    "spec: {alembic: {}, dryRun: {budgets: {blocking: 5}}}",
    "spec.dryRun.budgets.blocking: must be a text, not the number 5"
)]
#[case::no_yaml("{", "the file is not YAML: ")]
#[case::empty(
    "",
    "the file is empty: it must hold a Migration, or the fields of a Migration's spec (e.g. `alembic: {}`)"
)]
fn a_mistake_in_a_file_is_named_with_its_place(#[case] yaml: &str, #[case] words: &str) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    let mut command = bare();
    command
        .args(["rehearse", "--database-url", URL, "-f"])
        .arg(file.path());
    let done = Done::of(command).expect(2);
    let words = format!("drydock: {}: {words}", file.path().display());
    assert!(done.stderr.starts_with(&words), "{done}\nexpected: {words}");
}

#[rstest]
#[case::missing("/no/such.yaml", "No such file or directory (os error 2)")]
#[case::a_folder("/tmp", "Is a directory (os error 21)")]
fn a_file_that_cannot_be_read_is_named(#[case] path: &str, #[case] reason: &str) {
    let mut command = bare();
    command.args(["rehearse", "-f", path]);
    let done = Done::of(command).expect(2);
    assert_eq!(
        done.stderr,
        format!("drydock: cannot read {path}: {reason}\n")
    );
}

#[rstest]
#[case(&["--help"], "Exit codes:")]
#[case(&["rehearse", "--help"], "drydock rehearse -- alembic upgrade head")]
#[case(&["run", "--help"], "drydock run -- alembic upgrade head")]
#[case(&["wait", "--help"], "drydock wait --apply migration.yaml")]
#[case(&["report", "--help"], "drydock report orders -n shop")]
#[case(&["completions", "--help"], "drydock completions bash")]
#[case(&["controller", "--help"], "--listen")]
#[case(&["completions", "zsh"], "#compdef drydock")]
#[case(&["crd"], "kind: CustomResourceDefinition")]
#[case(&["--version"], concat!("drydock ", env!("CARGO_PKG_VERSION")))]
fn what_was_asked_for_goes_to_standard_output(#[case] arguments: &[&str], #[case] words: &str) {
    let mut command = bare();
    command.args(arguments);
    let done = Done::of(command).expect(0);
    assert!(done.stdout.contains(words), "{done}");
    assert_eq!(done.stderr, "");
}

#[test]
fn the_steps_of_a_pod_are_not_in_the_short_help() {
    let mut command = bare();
    command.arg("--help");
    assert!(!Done::of(command).expect(0).stdout.contains("step"));
}

#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let mut command = bare();
    command.arg("crd");
    command.stdout(std::fs::File::create("/dev/full").unwrap());
    let done = Done::from(command.output().unwrap()).expect(2);
    assert_eq!(
        done.stderr,
        "drydock: cannot write to standard output: No space left on device (os error 28)\n"
    );
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
