//! Commands of the team's own that look at a migration through the rehearsal, and leave no trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drydock::report::{CheckOutcome, Checked, Report};
use drydock::verdict::{Budget, Environment, NotRehearsed, RollbackProof, Verdict};
use postgres::{Database, Server};
use program::{Done, drydock};
use rstest::rstest;
use serde_json::{Value, json};

/// A database that another test of the same role creates meanwhile is a move of pg_database, which
/// the witness cannot attribute to anybody.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shop(server: &Server) -> Database<'_> {
    let database = server.database();
    database.psql(
        "CREATE TABLE orders (id serial PRIMARY KEY, total int);
         CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
         INSERT INTO alembic_version VALUES ('0001');
         INSERT INTO orders (total) SELECT n FROM generate_series(1, 10) n;",
    );
    database
}

/// The database but for the numbers that its sequences gave: no rollback takes them back.
fn dump(database: &Database<'_>) -> String {
    let dump = database.dump();
    let lines = dump
        .lines()
        .filter(|line| !line.starts_with("SELECT pg_catalog.setval("));
    lines.collect::<Vec<_>>().join("\n")
}

/// A check that is a line of the shell.
fn sh(name: &str, at: &str, script: &str) -> Value {
    json!({"name": name, "at": at, "command": ["sh", "-c", script]})
}

/// A check that sends SQL.
fn psql(name: &str, at: &str, sql: &str) -> Value {
    let script = format!("psql \"$DATABASE_URL\" -X -v ON_ERROR_STOP=1 <<'SQL'\n{sql}\nSQL");
    sh(name, at, &script)
}

fn file(checks: &[Value], budget: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let spec = json!({"dryRun": {"checks": checks, "budgets": {"check": budget}}});
    std::fs::write(file.path(), spec.to_string()).unwrap();
    file
}

fn drydock_with(database: &Database<'_>, words: &[&str], file: &Path, sql: &str) -> Done {
    let script = format!("psql \"$DATABASE_URL\" -X -v ON_ERROR_STOP=1 <<'SQL'\n{sql}\nSQL");
    let mut command = drydock(&database.url);
    command.args(words).args(["-o", "json", "-f"]).arg(file);
    command.args(["--", "sh", "-c", &script]);
    Done::of(command)
}

fn rehearse(database: &Database<'_>, checks: &[Value], sql: &str) -> Done {
    let file = file(checks, "60s");
    drydock_with(database, &["rehearse"], file.path(), sql)
}

#[track_caller]
fn rolled_back(report: &Report) {
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(
        witness.rollback,
        RollbackProof::Verified,
        "{}",
        report.message
    );
}

fn check<'a>(report: &'a Report, name: &str) -> &'a Checked {
    let found = report.checks.iter().find(|it| it.name == name);
    found.unwrap_or_else(|| panic!("no check {name}: {:?}", report.checks))
}

fn alembic(kind: &str, words: &[&str]) -> Vec<String> {
    let mut command = vec![python::program("alembic")];
    command.extend(["-n".to_owned(), kind.to_owned()]);
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

/// The project at its first revision.
fn at_the_first(server: &Server) -> Database<'_> {
    let database = server.database();
    let command = alembic("alembic", &["upgrade", "head"]);
    let done = Command::new(&command[0])
        .args(&command[1..])
        .current_dir(python::project("data"))
        .env("DATABASE_URL", &database.url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .unwrap();
    assert!(done.success());
    database
}

fn rehearse_project(database: &Database<'_>, kind: &str, flags: &[&str]) -> Done {
    let python = python::program("python");
    let bin = Path::new(&python).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = drydock(&database.url);
    command
        .env("PATH", path)
        .current_dir(python::project("data"))
        .args(["rehearse", "-o", "json"])
        .args(flags)
        .arg("--")
        .args(alembic(kind, &["upgrade", "head"]));
    Done::of(command)
}

#[rstest]
fn a_backfill_that_loses_rows_is_found_by_the_teams_own_check(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = at_the_first(Server::shared_of(major));
    let before = dump(&database);
    let caches =
        || [".pytest_cache", "__pycache__"].map(|it| python::project("data").join(it).exists());
    let caches_before = caches();
    let flags = ["-f", "drydock.yaml"];

    let good = rehearse_project(&database, "good", &flags).expect(0);
    let report = good.report();
    assert!(
        report.message.ends_with(", and all 2 checks passed"),
        "{good}"
    );
    assert!(report.checks.iter().all(Checked::passed), "{good}");
    assert_eq!(check(&report, "no-order-is-lost").output, "");
    assert!(check(&report, "no-order-is-lost").statements >= 8, "{good}");
    assert_eq!(report.round_trip.as_ref().unwrap().cut, None, "{good}");
    rolled_back(&report);
    let plain = rehearse_project(&database, "good", &["--no-round-trip"])
        .expect(0)
        .report();
    let without = |report: &Report| {
        let statements = report.statements.iter();
        let told = statements.map(|it| (it.client, it.transaction, it.text.clone()));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        without(&report),
        without(&plain),
        "no check is in the record"
    );
    let predicted = |report: &Report| {
        let prediction = report.prediction.clone().unwrap();
        (prediction.predicted, prediction.difference)
    };
    assert_eq!(
        predicted(&report),
        predicted(&plain),
        "nor in the prediction"
    );

    let bad = rehearse_project(&database, "bad", &flags).expect(1);
    let report = bad.report();
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        report
            .message
            .starts_with("the command ended well, but the check no-order-is-lost failed with exit code 1 (1 of 2 passed)"),
        "{bad}"
    );
    let lost = check(&report, "no-order-is-lost");
    assert_eq!(lost.outcome, CheckOutcome::Failed { exit: 1 });
    for line in [
        "FAILED test_orders.py::test_every_order_is_there",
        "AssertionError: an order was lost",
        "1 failed, 2 passed",
    ] {
        assert!(lost.output.contains(line), "{}", lost.output);
    }
    assert!(report.round_trip.is_none(), "it had not passed");
    rolled_back(&report);
    assert_eq!(dump(&database), before);
    assert_eq!(caches(), caches_before, "pytest wrote into the project");
}

#[rstest]
fn what_a_check_does_is_undone_behind_it(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = shop(Server::shared_of(major));
    let before = dump(&database);
    let writes =
        "BEGIN; CREATE TABLE made (a int); UPDATE alembic_version SET version_num = '0009';
         LOCK TABLE orders; INSERT INTO orders (total) VALUES (99); COMMIT;
         SET search_path = nowhere; CREATE TEMP TABLE temporary ();
         DO $$BEGIN PERFORM pg_catalog.pg_advisory_lock(7); END$$;";
    let as_before = "DO $$BEGIN
         ASSERT to_regclass('made') IS NULL; ASSERT to_regclass('temporary') IS NULL;
         ASSERT (SELECT version_num FROM alembic_version) = '0001';
         ASSERT (SELECT count(*) FROM orders) = 10;
         ASSERT current_setting('search_path') <> 'nowhere';
         ASSERT NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'orders'::regclass
             AND mode = 'AccessExclusiveLock');
       END$$;";
    let checks = [
        psql("first", "Before", writes),
        psql("second", "Before", as_before),
        psql("third", "After", writes),
        psql("fourth", "After", as_before),
    ];
    let done = rehearse(&database, &checks, "SELECT count(*) FROM orders;").expect(0);
    let report = done.report();
    assert!(
        report.nothing_to_do,
        "a check's writes are not the command's: {done}"
    );
    assert_eq!(report.checks.len(), 4);
    assert_eq!(report.statements.len(), 1, "{done}");
    assert_eq!(report.statements[0].client, 1);
    assert!(report.prediction.as_ref().unwrap().difference.is_empty());
    rolled_back(&report);
    assert_eq!(dump(&database), before);
    // The same with a command that does something, and for real.
    let file = file(&checks[..3], "60s");
    let done = drydock_with(
        &database,
        &["run", "--yes"],
        file.path(),
        "CREATE TABLE t (a int);",
    )
    .expect(0);
    assert_eq!(done.report().verdict, Verdict::Passed, "{done}");
    assert_eq!(database.psql("SELECT count(*) FROM t, orders").trim(), "0");
}

#[rstest]
#[case::exit_code("exit 3", 1, Verdict::Failed, "failed with exit code 3")]
#[case::signal("kill -SEGV $$", 1, Verdict::Failed, "was killed by signal 11")]
#[case::refused(
    "psql \"$DATABASE_URL\" -Xc 'CREATE DATABASE other'; exit 0",
    1,
    Verdict::Failed,
    "wanted what cannot be rehearsed: CREATE DATABASE"
)]
#[case::slow(
    "sleep 60",
    5,
    Verdict::BudgetExceeded(Budget::Check),
    "took longer than its budget"
)]
#[case::slow_at_the_server(
    "psql \"$DATABASE_URL\" -Xc 'SELECT pg_sleep(60)'",
    5,
    Verdict::BudgetExceeded(Budget::Check),
    "took longer than its budget"
)]
#[case::slow_in_a_session_of_its_own(
    "setsid psql \"$DATABASE_URL\" -Xc 'BEGIN; CREATE TABLE held ()' -c 'SELECT pg_sleep(60)' & sleep 60",
    5,
    Verdict::BudgetExceeded(Budget::Check),
    "took longer than its budget"
)]
fn a_check_that_does_not_pass_is_named_with_what_it_said(
    #[case] script: &str,
    #[case] code: i32,
    #[case] verdict: Verdict,
    #[case] words: &str,
    #[values("Before", "After")] at: &str,
) {
    let _alone = alone();
    let database = shop(Server::shared());
    let before = dump(&database);
    let script = format!("echo looking at it; {script}");
    let checks = [
        sh("wrong", at, &script),
        psql("later", "After", "SELECT 1;"),
    ];
    let file = file(&checks, "1s");
    let began = Instant::now();
    let done = drydock_with(
        &database,
        &["rehearse"],
        file.path(),
        "ALTER TABLE orders ADD COLUMN note text;",
    )
    .expect(code);
    assert!(began.elapsed() < Duration::from_secs(40), "{done}");
    let report = done.report();
    assert_eq!(report.verdict, verdict, "{done}");
    assert!(
        report.message.contains("the check wrong") && report.message.contains(words),
        "{done}"
    );
    assert!(
        check(&report, "wrong").output.contains("looking at it"),
        "{done}"
    );
    let rehearsed = report.prediction.is_some();
    assert_eq!(rehearsed, at == "After", "{done}");
    assert_eq!(report.statements.len(), usize::from(rehearsed), "{done}");
    assert_eq!(report.command_exit, rehearsed.then_some(0));
    assert_eq!(
        report.checks.len(),
        1 + usize::from(rehearsed && code == 1),
        "{done}"
    );
    rolled_back(&report);
    assert_eq!(dump(&database), before);
}

#[test]
fn a_check_that_does_not_exist_is_no_failure_of_the_migration() {
    let _alone = alone();
    let database = shop(Server::shared());
    let checks = [json!({"name": "missing", "command": ["./no-such-check"]})];
    let done = rehearse(&database, &checks, "CREATE TABLE t ();").expect(6);
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::Environment(Environment::CommandNotStarted)
    );
    assert!(
        report
            .message
            .contains("the check missing could not be started: `./no-such-check` was not found"),
        "{done}"
    );
    rolled_back(&report);
}

#[test]
fn a_check_needs_no_connection_and_makes_none_for_the_command() {
    let _alone = alone();
    let database = shop(Server::shared());
    let checks = [
        sh("true", "Before", "exit 0"),
        psql("reader", "Before", "SELECT 1;"),
    ];
    let file = file(&checks, "60s");
    let mut command = drydock(&database.url);
    command
        .args(["rehearse", "-o", "json", "-f"])
        .arg(file.path())
        .args(["--", "true"]);
    let report = Done::of(command).expect(3).report();
    assert_eq!(
        report.verdict,
        Verdict::NotRehearsed(NotRehearsed::NeverConnected)
    );
    assert!(report.checks.iter().all(Checked::passed));
    assert_eq!(check(&report, "true").statements, 0);
}

#[test]
fn passwords_and_rows_in_errors_are_not_kept_of_what_a_check_says() {
    let _alone = alone();
    let database = shop(Server::shared());
    let script = "echo \"$DATABASE_URL\"; psql \"$DATABASE_URL\" -Xc 'INSERT INTO orders VALUES (1, 4711)'; exit 1";
    let done = rehearse(&database, &[sh("chatty", "After", script)], "SELECT 1;").expect(1);
    let report = done.report();
    let said = &check(&report, "chatty").output;
    assert!(said.contains(":***@127.0.0.1"), "{said}");
    assert!(
        said.contains("violates unique constraint") && !said.contains("4711"),
        "{said}"
    );
    for format in ["text", "markdown", "html"] {
        let file = file(&[sh("chatty", "After", script)], "60s");
        let mut command = drydock(&database.url);
        command
            .args(["rehearse", "-o", format, "-f"])
            .arg(file.path())
            .args(["--", "sh", "-c", "psql \"$DATABASE_URL\" -Xc 'SELECT 1'"]);
        let done = Done::of(command).expect(1);
        assert!(
            done.stdout.contains("chatty failed with exit code 1"),
            "{done}"
        );
        assert!(done.stdout.contains("violates unique constraint"), "{done}");
    }
}

#[test]
fn who_waits_behind_a_check_is_protected() {
    let _alone = alone();
    let database = shop(Server::shared());
    let url = database.url.clone();
    let reader = std::thread::spawn(move || {
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND mode = 'AccessExclusiveLock' AND granted";
        while postgres::psql(&url, locked).trim() != "1" {
            std::thread::sleep(Duration::from_millis(20));
        }
        let began = Instant::now();
        postgres::psql(&url, "SELECT count(*) FROM orders");
        began.elapsed()
    });
    let done = rehearse(
        &database,
        &[sh("long", "After", "sleep 30")],
        "ALTER TABLE orders ADD COLUMN note text;",
    );
    let waited = reader.join().unwrap();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    let report = done.expect(5).report();
    assert_eq!(report.verdict, Verdict::BudgetExceeded(Budget::Blocking));
    rolled_back(&report);
}

#[test]
fn a_signal_ends_a_check_at_once() {
    let _alone = alone();
    let database = shop(Server::shared());
    let before = dump(&database);
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("here");
    let script = format!("touch {}; sleep 60", here.display());
    let file = file(&[sh("long", "After", &script)], "60s");
    let mut command = drydock(&database.url);
    command
        .args(["rehearse", "-o", "json", "-f"])
        .arg(file.path())
        .args([
            "--",
            "sh",
            "-c",
            "psql \"$DATABASE_URL\" -Xc 'CREATE TABLE t ()'",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    while !here.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let began = Instant::now();
    let id = child.id().to_string();
    Command::new("kill").args(["-INT", &id]).status().unwrap();
    let done = Done::from(child.wait_with_output().unwrap()).expect(130);
    assert!(began.elapsed() < Duration::from_secs(20), "{done}");
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Interrupted);
    rolled_back(&report);
    assert_eq!(dump(&database), before);
}

#[test]
fn an_open_rehearsal_starts_no_checks() {
    let file = file(&[sh("x", "After", "true")], "60s");
    let mut command = drydock("postgresql://nobody@127.0.0.1:1/nothing");
    command
        .args(["rehearse", "--listen", "127.0.0.1:0", "-f"])
        .arg(file.path());
    let done = Done::of(command).expect(2);
    assert!(done.stderr.contains("no checks either"), "{done}");
}
