//! The same command, directly and through drydock: the same exit code and the same database.
//!
//! Alembic with four drivers, with one transaction for all revisions and one for each, and psql
//! with files that it sends statement by statement. The projects are in tests/projects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use drydock::report::{Phase, Report};
use postgres::{Database, Server};
use rstest::rstest;

fn projects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects")
}

/// The folder of the pinned Alembic and its Python.
fn python() -> &'static str {
    static FOLDER: OnceLock<String> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new(projects().join("python"))
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/projects/python");
        assert!(
            output.status.success(),
            "no Python environment; its error is above"
        );
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim()
            .to_owned()
    })
}

/// The database's URL as SQLAlchemy wants it for a driver; `postgresql://` for none.
fn url(database: &Database<'_>, driver: Option<&str>) -> String {
    match driver {
        // pg8000 asks for a password even where the server does not.
        Some(driver) => database.url.replacen(
            "postgresql://postgres@",
            &format!("postgresql+{driver}://postgres:any@"),
            1,
        ),
        None => database.url.clone(),
    }
}

fn run(mut command: Command, url: &str) -> Output {
    command
        .current_dir(projects().join("drivers"))
        .env("DATABASE_URL", url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("DRYDOCK_DATABASE_URL")
        .stdin(Stdio::null())
        .output()
        .expect("a program that starts")
}

fn directly(args: &[String], url: &str) -> Output {
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]);
    run(command, url)
}

fn through_drydock(args: &[String], url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drydock"));
    command
        .args(["run", "--yes", "--output", "json", "--"])
        .args(args);
    run(command, url)
}

fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    )
}

/// A database's contents, whatever the order in which its rows lie: a rolled-back transaction leaves
/// dead rows, and the next UPDATE may use their places.
fn contents(database: &Database<'_>) -> Vec<String> {
    let mut lines: Vec<String> = database.dump().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// One after the other: a database that another test creates meanwhile is a move of the shared
/// catalogue pg_database, which the witness cannot attribute to anybody.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The command's own exit code in the rehearsal, as its report has it. The upgrade's report is behind
/// that one.
fn exit_in_rehearsal(output: &Output) -> Option<i32> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    let report: Report = serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("no report: {error}: {}", told(output)));
    assert_eq!(report.phase, Phase::DryRun, "{}", told(output));
    report.command_exit
}

/// Runs the command on two equal databases, directly on one and through drydock on the other.
fn compare(args: &[String], driver: Option<&str>, sqlstate: Option<&str>, major: u8) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::shared_of(major);
    let (plain, docked) = (server.database(), server.database());
    let before = contents(&docked);

    let direct = directly(args, &url(&plain, driver));
    let drydock = through_drydock(args, &url(&docked, driver));
    assert_eq!(
        exit_in_rehearsal(&drydock),
        direct.status.code(),
        "directly: {}\nthrough drydock: {}",
        told(&direct),
        told(&drydock)
    );

    match sqlstate {
        None => {
            assert_eq!(direct.status.code(), Some(0), "directly: {}", told(&direct));
            assert_eq!(
                drydock.status.code(),
                Some(0),
                "through drydock: {}",
                told(&drydock)
            );
            assert_eq!(
                contents(&docked),
                contents(&plain),
                "two ends of one migration"
            );
        }
        Some(sqlstate) => {
            assert_ne!(direct.status.code(), Some(0), "directly: {}", told(&direct));
            assert_eq!(
                drydock.status.code(),
                Some(1),
                "through drydock: {}",
                told(&drydock)
            );
            let report = String::from_utf8_lossy(&drydock.stdout);
            assert!(
                report.contains(sqlstate),
                "no {sqlstate} in the report: {}",
                told(&drydock)
            );
            assert_eq!(
                contents(&docked),
                before,
                "a refused migration left something behind"
            );
        }
    }
}

#[rstest]
#[case::psycopg("psycopg", 13)]
#[case::psycopg("psycopg", 18)]
#[case::psycopg2("psycopg2", 18)]
#[case::asyncpg("asyncpg", 13)]
#[case::asyncpg("asyncpg", 18)]
#[case::pg8000("pg8000", 18)]
fn alembic_ends_through_drydock_as_it_ends_directly(
    #[case] driver: &str,
    #[case] major: u8,
    #[values(false, true)] transaction_per_migration: bool,
    #[values(
        ("alembic", None),
        ("bad_statement", Some("42701")),
        ("bad_commit", Some("23503"))
    )]
    release: (&str, Option<&str>),
) {
    let mut args = vec![
        format!("{}/alembic", python()),
        "-n".into(),
        release.0.into(),
    ];
    if transaction_per_migration {
        args.extend(["-x".into(), "per-migration".into()]);
    }
    args.extend(["upgrade".into(), "head".into()]);
    compare(&args, Some(driver), release.1, major);
}

/// What `drydock rehearse` writes as SQL, with whether values are shown.
fn script(args: &[String], url: &str, show_values: bool) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drydock"));
    command.args(["rehearse", "--output", "sql"]);
    if show_values {
        command.arg("--show-values");
    }
    command.arg("--").args(args);
    let output = run(command, url);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[rstest]
fn the_script_of_a_rehearsal_does_what_the_migration_does(
    #[values("psycopg", "psycopg2")] driver: &str,
    #[values(false, true)] transaction_per_migration: bool,
    #[values(13, 18)] major: u8,
) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut args = vec![
        format!("{}/alembic", python()),
        "-n".into(),
        "alembic".into(),
    ];
    if transaction_per_migration {
        args.extend(["-x".into(), "per-migration".into()]);
    }
    args.extend(["upgrade".into(), "head".into()]);
    let server = Server::shared_of(major);
    let (rehearsed, plain, by_script) = (server.database(), server.database(), server.database());
    let before = rehearsed.dump();
    let script = script(&args, &url(&rehearsed, Some(driver)), true);
    assert_eq!(rehearsed.dump(), before);
    assert!(!script.contains("missing"), "{script}");
    let direct = directly(&args, &url(&plain, Some(driver)));
    assert_eq!(direct.status.code(), Some(0), "{}", told(&direct));

    assert_eq!(psql_of(&by_script, &script), "", "{script}");
    // What failed in a savepoint is no part of the script, and moved a sequence.
    let rows = |database| {
        let lines = contents(database).into_iter();
        let lines = lines.filter(|line| !line.contains("pg_catalog.setval("));
        lines.collect::<BTreeSet<_>>()
    };
    let (found, expected) = (rows(&by_script), rows(&plain));
    let different: Vec<_> = found.symmetric_difference(&expected).collect();
    assert!(different.is_empty(), "{different:#?}\n{script}");
}

#[test]
fn a_script_without_values_runs_as_far_as_it_is_kept_and_says_what_is_not() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let database = Server::shared().database();
    let args = vec![
        format!("{}/alembic", python()),
        "upgrade".into(),
        "0001".into(),
    ];
    let script = script(&args, &url(&database, Some("psycopg2")), false);
    assert!(
        script.contains("statements left out: a report keeps no values"),
        "{script}"
    );
    assert!(
        script.contains("--   its values are missing; INSERT 0 1"),
        "{script}"
    );
    assert!(!script.contains("'0001'"), "{script}");
    let text = psql_of(&database, &script);
    assert_eq!(text, "", "{script}");
    let tables = database.psql("SELECT count(*) FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'r'");
    assert_eq!(tables, "2");
}

/// Runs a script from standard input; what psql complains about.
fn psql_of(database: &Database<'_>, script: &str) -> String {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-d", &database.url, "-f", "-"]);
    let mut child = psql
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, script.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn psql(arguments: &str) -> Vec<String> {
    let command = format!("exec psql --no-psqlrc --quiet {arguments} \"$DATABASE_URL\"");
    vec!["sh".into(), "-c".into(), command]
}

#[rstest]
#[case::statement_by_statement("--file=../psql/good.sql")]
#[case::stopping_at_errors("--set=ON_ERROR_STOP=1 --file=../psql/good.sql")]
#[case::going_on_after_errors("--file=../psql/error.sql")]
#[case::several_statements_in_one_message(
    "--command=\"CREATE TABLE a (id int); INSERT INTO a VALUES (1); CREATE TABLE b AS TABLE a\""
)]
#[case::transactions_inside_one_message(
    "--command=\"CREATE TABLE a (id int); BEGIN; INSERT INTO a VALUES (1); COMMIT; INSERT INTO a VALUES (2)\""
)]
fn psql_ends_through_drydock_as_it_ends_directly(#[case] arguments: &str) {
    compare(&psql(arguments), None, None, postgres::major());
}

#[rstest]
#[case::stopping_at_errors("--set=ON_ERROR_STOP=1 --file=../psql/error.sql", "23505")]
#[case::a_later_statement_undoes_the_earlier_ones_of_its_message(
    "--command=\"CREATE TABLE a (id int); SELECT 1/0; CREATE TABLE b (id int)\"",
    "22012"
)]
fn what_psql_stops_at_stops_the_release(#[case] arguments: &str, #[case] sqlstate: &str) {
    compare(&psql(arguments), None, Some(sqlstate), postgres::major());
}
