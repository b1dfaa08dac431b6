//! Rows of the team's own in a rehearsal: they are there for the migration, and leave no trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drydock::report::{FixtureOutcome, Report};
use drydock::verdict::{Budget, Environment, RollbackProof, Verdict};
use postgres::{Database, Server};
use program::{Done, drydock};
use rstest::rstest;

/// A database that another test of the same role creates meanwhile is a move of pg_database, which
/// the witness cannot attribute to anybody.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shop(server: &Server) -> Database<'_> {
    let database = server.database();
    database.psql(
        "CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL);
         CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers
             DEFERRABLE INITIALLY DEFERRED, total smallint);
         CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
         INSERT INTO alembic_version VALUES ('0001');
         INSERT INTO customers SELECT n, 'c' || n FROM generate_series(1, 10) n;
         INSERT INTO orders (customer, total) SELECT n, n FROM generate_series(1, 10) n;
         CREATE FUNCTION makes_a_table() RETURNS int LANGUAGE plpgsql AS $$BEGIN
           CREATE TABLE made (a int); RETURN 1; END$$;
         CREATE FUNCTION makes_an_order() RETURNS int LANGUAGE sql AS
           'INSERT INTO orders (customer, total) VALUES (1, 77) RETURNING id';",
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

/// A file with fixtures, each a name and its SQL.
fn file(fixtures: &[(&str, &str)], more: &str) -> tempfile::NamedTempFile {
    let mut text = format!("dryRun:\n{more}  fixtures:\n");
    for (name, sql) in fixtures {
        let sql = serde_json::to_string(sql).unwrap();
        writeln!(text, "  - {{name: {name}, sql: {sql}}}").unwrap();
    }
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn rehearse(url: &str, file: &tempfile::NamedTempFile, sql: &str) -> Done {
    let script = format!("psql \"$DATABASE_URL\" -X -v ON_ERROR_STOP=1 <<'SQL'\n{sql}\nSQL");
    let mut command = drydock(url);
    command
        .args(["rehearse", "-o", "json", "-f"])
        .arg(file.path())
        .args(["--", "sh", "-c", &script]);
    Done::of(command)
}

#[track_caller]
fn rolled_back(report: &Report) {
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(
        witness.rollback,
        RollbackProof::Verified,
        "{:?}",
        report.message
    );
}

#[rstest]
fn fixtures_are_there_for_the_migration_and_leave_nothing(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = shop(Server::shared_of(major));
    let before = dump(&database);
    let file = file(
        &[
            ("customer", "INSERT INTO customers VALUES (99, 'secret');"),
            (
                "orders",
                "-- two of them\nINSERT INTO orders (customer, total) VALUES (99, 1);
                 WITH it AS (SELECT 99 AS id) INSERT INTO orders (customer, total) SELECT id, 2 FROM it;
                 SELECT makes_an_order();",
            ),
        ],
        "  assertions:\n  - {name: there, expect: Value, value: '2', sql: 'SELECT count(*) FROM orders WHERE note = 99'}\n",
    );
    let done = rehearse(
        &database.url,
        &file,
        "ALTER TABLE orders ADD COLUMN note int; UPDATE orders SET note = customer WHERE customer = 99;",
    )
    .expect(0);
    let report = done.report();
    assert!(
        report.fixtures.iter().all(drydock::report::Fixture::is_in),
        "{done}"
    );
    let prediction = report.prediction.as_ref().unwrap();
    let changed: Vec<_> = prediction
        .difference
        .iter()
        .map(|(id, _)| &*id.identity)
        .collect();
    assert_eq!(changed, ["public.orders.note"], "{done}");
    assert_eq!(report.statements.len(), 2, "a fixture is no statement");
    assert_eq!(report.statements[0].client, 1);
    let moved: Vec<_> = report.ledger.sequences.iter().map(|it| &*it.name).collect();
    assert_eq!(moved, ["public.orders_id_seq"], "{done}");
    assert!(!done.stdout.contains("secret"), "{done}");
    rolled_back(&report);
    assert_eq!(dump(&database), before);
}

#[test]
fn a_command_that_writes_nothing_has_nothing_to_do_whatever_was_put_in() {
    let _alone = alone();
    let server = Server::shared();
    let database = shop(server);
    let name = &database.name;
    // Without a temporary table the rehearsal has no transaction id of its own.
    database.psql(&format!(
        "DO $$BEGIN CREATE ROLE fixing LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
         REVOKE TEMP ON DATABASE {name} FROM PUBLIC;
         GRANT ALL ON ALL TABLES IN SCHEMA public TO fixing;
         GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO fixing;"
    ));
    let poor = database.url.replacen("postgres@", "fixing@", 1);
    assert_ne!(poor, database.url);
    let file = file(
        &[(
            "order",
            "INSERT INTO orders (customer, total) VALUES (1, 1)",
        )],
        "",
    );
    for url in [&database.url, &poor] {
        let report = rehearse(url, &file, "SELECT count(*) FROM orders;")
            .expect(0)
            .report();
        assert!(report.nothing_to_do, "{report:?}");
        assert!(report.witness.as_ref().unwrap().xid.is_some());
        rolled_back(&report);
        let report = rehearse(url, &file, "UPDATE orders SET total = 3 WHERE id = 1;")
            .expect(0)
            .report();
        assert!(!report.nothing_to_do, "{report:?}");
    }
}

#[rstest]
#[case::commits(
    "INSERT INTO customers VALUES (11, 'a'); COMMIT",
    "it controls the transaction"
)]
#[case::schema("CREATE TABLE made (a int)", "it does more than change rows")]
#[case::through_a_function("SELECT makes_a_table()", "it changes the schema (")]
#[case::version(
    "UPDATE alembic_version SET version_num = '0002'",
    "it writes into public.alembic_version"
)]
#[case::setval("SELECT setval('orders_id_seq', 1)", "setval")]
#[case::lexing(
    "SELECT set_config('standard_conforming_strings', 'off', false); INSERT INTO customers VALUES (11, '\\')",
    "would be read differently"
)]
#[case::unique(
    "INSERT INTO customers VALUES (1, 'a')",
    "ERROR 23505: duplicate key value violates unique constraint \"customers_pkey\""
)]
#[case::not_null("INSERT INTO customers VALUES (11, NULL)", "ERROR 23502")]
#[case::deferred(
    "INSERT INTO orders (customer, total) VALUES (4711, 1)",
    "ERROR 23503: insert or update on table \"orders\" violates foreign key constraint"
)]
#[case::value(
    "INSERT INTO orders (customer, total) VALUES (1, 99999)",
    "ERROR 22003"
)]
#[case::typo(
    "INSRT INTO customers VALUES (11, 'a')",
    "it does more than change rows"
)]
#[case::missing("INSERT INTO nowhere VALUES (1)", "ERROR 42P01")]
fn a_fixture_that_is_not_in_is_no_failure_of_the_migration(#[case] sql: &str, #[case] why: &str) {
    let _alone = alone();
    let database = shop(Server::shared());
    let before = dump(&database);
    let file = file(
        &[
            ("fine", "INSERT INTO customers VALUES (98, 'b')"),
            ("wrong", sql),
            ("later", "SELECT 1"),
        ],
        "",
    );
    let done = rehearse(&database.url, &file, "CREATE TABLE t ();").expect(6);
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::Environment(Environment::FixtureFailed)
    );
    assert!(
        report.message.starts_with("the fixture wrong ") && report.message.contains(why),
        "{done}"
    );
    assert!(
        report.message.ends_with("the command was not started"),
        "{done}"
    );
    assert!(
        !done.stdout.contains("4711") && !done.stdout.contains("99999"),
        "{done}"
    );
    assert_eq!(report.fixtures.len(), 2, "{done}");
    assert_eq!(report.fixtures[0].outcome, FixtureOutcome::Inserted);
    assert!(report.statements.is_empty() && report.command_exit.is_none());
    rolled_back(&report);
    assert_eq!(dump(&database), before);
}

#[test]
fn a_fixture_that_waits_for_a_lock_is_a_budget_and_who_waits_behind_it_is_protected() {
    let _alone = alone();
    let database = shop(Server::shared());
    let mut holder = Command::new("psql")
        .args([&database.url, "-X", "-c"])
        .arg("SET application_name = 'holder'; BEGIN; LOCK TABLE customers IN SHARE MODE; SELECT pg_sleep(60)")
        .spawn()
        .unwrap();
    while database.psql("SELECT count(*) FROM pg_locks WHERE relation = 'customers'::regclass AND mode = 'ShareLock' AND granted") .trim() != "1" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let file = file(&[("waits", "INSERT INTO customers VALUES (98, 'b')")], "");
    let done = rehearse(&database.url, &file, "SELECT 1;");
    database.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'",
    );
    holder.wait().unwrap();
    let report = done.expect(5).report();
    assert_eq!(report.verdict, Verdict::BudgetExceeded(Budget::LockWait));
    assert!(
        report
            .message
            .starts_with("the fixture waits failed: ERROR 55P03"),
        "{}",
        report.message
    );
}

#[test]
fn fixtures_are_for_rehearsals_alone() {
    let _alone = alone();
    let database = shop(Server::shared());
    let file = file(&[("order", "SELECT makes_an_order()")], "");
    let mut command = drydock(&database.url);
    command
        .args(["run", "--yes", "-f"])
        .arg(file.path())
        .args(["--", "true"]);
    let done = Done::of(command).expect(2);
    assert!(
        done.stderr
            .contains("dryRun.fixtures are for `drydock rehearse`"),
        "{done}"
    );
}

fn alembic(kind: &str, words: &[&str]) -> Vec<String> {
    let mut command = vec![python::program("alembic")];
    command.extend(["-n".to_owned(), kind.to_owned()]);
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

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

/// No row of the database shows what is wrong with the bad one: the fixture's do.
#[rstest]
#[case::good("good", &[])]
#[case::bad("bad", &["DowngradeLostData"])]
fn the_way_back_is_gone_with_the_fixtures_too(
    #[case] kind: &str,
    #[case] expected: &[&str],
    #[values(13, 18)] major: u8,
) {
    let _alone = alone();
    let database = at_the_first(Server::shared_of(major));
    let before = dump(&database);
    for (flags, expected) in [
        (&[] as &[&str], &[] as &[&str]),
        (&["-f", "fixtures.yaml"], expected),
    ] {
        let mut command = drydock(&database.url);
        command
            .current_dir(python::project("data"))
            .args(["rehearse", "-o", "json"])
            .args(flags)
            .arg("--")
            .args(alembic(kind, &["upgrade", "head"]));
        let done = Done::of(command).expect(0);
        let report = done.report();
        let found: Vec<&str> = report
            .findings
            .iter()
            .map(|finding| &*finding.code)
            .filter(|code| *code != "SuperuserRole" && *code != "NoModels")
            .collect();
        assert_eq!(found, expected, "{done}");
        let trip = report.round_trip.as_ref().unwrap();
        assert_eq!(trip.cut, None, "{done}");
        assert!(trip.compared.contains(&"orders".to_owned()), "{done}");
        rolled_back(&report);
    }
    assert_eq!(dump(&database), before);
}
