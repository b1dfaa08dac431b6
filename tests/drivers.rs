//! The same command, directly and through drydock: the same exit code and the same database.
//!
//! Alembic with four drivers, with one transaction for all revisions and one for each, and psql
//! with files that it sends statement by statement. The projects are in tests/projects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

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

/// Runs the command on two equal databases, directly on one and through drydock on the other.
fn compare(args: &[String], driver: Option<&str>, sqlstate: Option<&str>) {
    // One after the other: a database that another test creates meanwhile is a move of the shared
    // catalogue pg_database, which the witness cannot attribute to anybody.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::shared();
    let (plain, docked) = (server.database(), server.database());
    let before = contents(&docked);

    let direct = directly(args, &url(&plain, driver));
    let drydock = through_drydock(args, &url(&docked, driver));

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
fn alembic_ends_through_drydock_as_it_ends_directly(
    #[values("psycopg", "psycopg2", "asyncpg", "pg8000")] driver: &str,
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
    compare(&args, Some(driver), release.1);
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
    compare(&psql(arguments), None, None);
}

#[rstest]
#[case::stopping_at_errors("--set=ON_ERROR_STOP=1 --file=../psql/error.sql", "23505")]
#[case::a_later_statement_undoes_the_earlier_ones_of_its_message(
    "--command=\"CREATE TABLE a (id int); SELECT 1/0; CREATE TABLE b (id int)\"",
    "22012"
)]
fn what_psql_stops_at_stops_the_release(#[case] arguments: &str, #[case] sqlstate: &str) {
    compare(&psql(arguments), None, Some(sqlstate));
}
