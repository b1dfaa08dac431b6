//! Tests of data migrations on real data: assertions inside the rehearsal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::fmt::Write as _;
use std::process::Command;

use drydock::report::{Assertion, AssertionOutcome, Report};
use drydock::verdict::{Budget, RollbackProof, Verdict};
use postgres::{Database, Server};
use program::{Done, drydock};
use rstest::rstest;

fn orders() -> Database<'static> {
    orders_of(postgres::major())
}

fn orders_of(major: u8) -> Database<'static> {
    let database = Server::shared_of(major).database();
    database.psql(
        "CREATE TABLE customers (id int PRIMARY KEY, email text);
         CREATE TABLE orders (id serial PRIMARY KEY, customer int, total int);
         INSERT INTO customers SELECT n, 'c' || n % 99 FROM generate_series(1, 100) n;
         INSERT INTO orders (customer, total) SELECT n, n FROM generate_series(1, 100) n;",
    );
    database
}

/// A file with assertions, each a name, what it expects, and its SQL.
fn file(assertions: &[(&str, &str, &str)], more: &str) -> tempfile::NamedTempFile {
    let mut text = format!("dryRun:\n{more}  assertions:\n");
    for (name, expect, sql) in assertions {
        let sql = serde_json::to_string(sql).unwrap();
        writeln!(text, "  - {{name: {name}, {expect}, sql: {sql}}}").unwrap();
    }
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// Rehearses SQL with a file.
fn rehearse(database: &Database<'_>, file: &tempfile::NamedTempFile, sql: &str) -> Done {
    rehearse_with(database, file, sql, &["-o", "json"])
}

fn rehearse_with(
    database: &Database<'_>,
    file: &tempfile::NamedTempFile,
    sql: &str,
    flags: &[&str],
) -> Done {
    let script = format!("psql \"$DATABASE_URL\" -X -v ON_ERROR_STOP=1 <<'SQL'\n{sql}\nSQL");
    let mut command = drydock(&database.url);
    command
        .arg("rehearse")
        .args(flags)
        .arg("-f")
        .arg(file.path());
    command.args(["--", "sh", "-c", &script]);
    Done::of(command)
}

fn outcome<'a>(report: &'a Report, name: &str) -> &'a Assertion {
    let found = report.assertions.iter().find(|it| it.name == name);
    found.unwrap_or_else(|| panic!("no assertion {name}: {:?}", report.assertions))
}

fn code(assertion: &Assertion) -> &str {
    match &assertion.outcome {
        AssertionOutcome::Error(error) => &error.code,
        other => panic!("{}: {other:?}", assertion.name),
    }
}

const NO_ORPHANS: (&str, &str, &str) = (
    "no-orphans",
    "expect: Empty",
    "SELECT o.id FROM orders o LEFT JOIN customers c ON c.id = o.customer WHERE c.id IS NULL",
);

#[rstest]
fn assertions_see_what_the_migration_did_and_leave_no_trace(#[values(13, 18)] major: u8) {
    let database = orders_of(major);
    let before = database.dump();
    let file = file(
        &[
            NO_ORPHANS,
            (
                "notes",
                "expect: NonEmpty",
                "SELECT note FROM orders WHERE note = 'new'",
            ),
            (
                "all-there",
                "expect: Value, value: '100'",
                "SELECT count(*) FROM orders;",
            ),
        ],
        "",
    );
    let done = rehearse(
        &database,
        &file,
        "ALTER TABLE orders ADD COLUMN note text; UPDATE orders SET note = 'new';",
    )
    .expect(0);
    let report = done.report();
    assert!(report.message.contains("all 3 assertions held"), "{done}");
    let rows: Vec<_> = report
        .assertions
        .iter()
        .map(|it| (it.held(), it.rows))
        .collect();
    assert_eq!(rows, [(true, Some(0)), (true, Some(100)), (true, Some(1))]);
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(witness.rollback, RollbackProof::Verified, "{done}");
    assert_eq!(report.prediction.unwrap().difference.iter().count(), 1);
    assert_eq!(database.dump(), before);
}

#[test]
fn an_assertion_that_fails_fails_the_dry_run_by_its_name_and_no_row_is_in_the_report() {
    let database = orders();
    let file = file(
        &[
            NO_ORPHANS,
            (
                "emails",
                "expect: Value, value: secret-a",
                "SELECT 'secret-b'::text",
            ),
        ],
        "",
    );
    let lossy = "DELETE FROM customers WHERE id > 60;";
    let done = rehearse(&database, &file, lossy).expect(1);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        report.message.contains(
            "the assertion no-orphans failed: 40 rows, where none is expected (0 of 2 held)"
        ),
        "{done}"
    );
    assert_eq!(outcome(&report, "no-orphans").rows, Some(40));
    assert!(!done.stdout.contains("secret"), "{done}");
    assert!(report.prediction.is_some(), "it is read all the same");
    for format in ["text", "markdown", "html"] {
        let done = rehearse_with(&database, &file, lossy, &["-o", format]).expect(1);
        assert!(done.stdout.contains("no-orphans failed: 40 rows"), "{done}");
    }
}

#[test]
fn a_row_that_violates_an_assertion_counts_however_long_it_is() {
    let database = orders();
    let long = "SELECT repeat(chr(64 + n), 100 * 1024) FROM generate_series(1, 7) n";
    let file = file(
        &[
            ("empty", "expect: Empty", long),
            ("there", "expect: NonEmpty", long),
        ],
        "",
    );
    let done = rehearse(&database, &file, "ALTER TABLE orders ADD note text;").expect(1);
    let report = done.report();
    let rows = report.assertions.iter().map(|it| (it.held(), it.rows));
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [(false, Some(7)), (true, Some(7))],
        "{done}"
    );
}

#[rstest]
fn rows_are_shown_on_standard_error_only_and_only_to_who_asks(#[values(13, 18)] major: u8) {
    let database = orders_of(major);
    let file = file(
        &[(
            "mails",
            "expect: Empty",
            "SELECT email, NULL FROM customers WHERE id < 9",
        )],
        "",
    );
    let done =
        rehearse_with(&database, &file, "SELECT 1", &["-o", "json", "--show-rows"]).expect(1);
    assert!(
        done.stderr.contains("drydock: mails found 8 rows:"),
        "{done}"
    );
    assert_eq!(done.stderr.matches(" | NULL").count(), 5, "{done}");
    assert!(!done.stdout.contains("c1"), "{done}");
    let done = rehearse(&database, &file, "SELECT 1").expect(1);
    assert!(!done.stderr.contains(" | NULL"), "{done}");
}

#[rstest]
fn a_backfill_that_loses_rows_is_found_by_an_assertion(#[values(13, 18)] major: u8) {
    let database = Server::shared_of(major).database();
    let (alembic, warm) = python::warm_alembic();
    let done = Command::new(&alembic)
        .args(["upgrade", "head"])
        .current_dir(python::project("data"))
        .env("DATABASE_URL", &database.url)
        .envs([warm.clone()])
        .status()
        .unwrap();
    assert!(done.success());
    let rehearsed = |kind: &str, code| {
        let mut command = drydock(&database.url);
        command
            .current_dir(python::project("data"))
            .envs([warm.clone()])
            .args(["rehearse", "-o", "json", "-f", "assertions.yaml", "--"])
            .args([&alembic, "-n", kind, "upgrade", "head"]);
        Done::of(command).expect(code)
    };

    let good = rehearsed("good", 0);
    assert!(
        good.report().assertions.iter().all(Assertion::held),
        "{good}"
    );
    assert_eq!(good.report().round_trip.unwrap().cut, None, "{good}");

    let bad = rehearsed("bad", 1);
    let report = bad.report();
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        report
            .message
            .contains("the assertion no-order-is-lost failed"),
        "{bad}"
    );
    assert!(!outcome(&report, "no-order-is-lost").held(), "{bad}");
    assert!(
        outcome(&report, "every-order-has-a-customer").held(),
        "{bad}"
    );
    assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
    assert_eq!(database.psql("SELECT count(*) FROM orders"), "100");
}

#[rstest]
fn assertions_cannot_write(#[values(13, 18)] major: u8) {
    let database = orders_of(major);
    database.psql(
        "CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS $$BEGIN
           DELETE FROM orders; RETURN 1; END$$;
         CREATE FUNCTION slyer() RETURNS int LANGUAGE plpgsql AS $$BEGIN
           SET LOCAL transaction_read_only = off; DELETE FROM orders; RETURN 1; END$$;
         CREATE FUNCTION catching() RETURNS int LANGUAGE plpgsql AS $$BEGIN
           BEGIN DELETE FROM orders; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN 1; END$$;",
    );
    let before = database.dump();
    let file = file(
        &[
            (
                "cte",
                "expect: Empty",
                "WITH d AS (DELETE FROM orders RETURNING 1) SELECT * FROM d",
            ),
            ("function", "expect: Empty", "SELECT sly()"),
            ("local", "expect: Empty", "SELECT slyer()"),
            (
                "config",
                "expect: Empty",
                "SELECT set_config('transaction_read_only', 'off', true)",
            ),
            (
                "config-session",
                "expect: Empty",
                "SELECT set_config('transaction_read_only', 'off', false)",
            ),
            (
                "for-update",
                "expect: Empty",
                "SELECT * FROM orders FOR UPDATE",
            ),
            (
                "nextval",
                "expect: Empty",
                "SELECT nextval('orders_id_seq')",
            ),
            ("catching", "expect: NonEmpty", "SELECT catching()"),
            ("into", "expect: Empty", "SELECT * INTO TEMP x FROM orders"),
            (
                "do",
                "expect: Empty",
                "DO $$BEGIN DELETE FROM orders; END$$",
            ),
            ("set", "expect: Empty", "SET transaction_read_only = off"),
            (
                "update",
                "expect: Empty",
                "UPDATE orders SET total = 0 RETURNING id",
            ),
            ("lock", "expect: Empty", "SELECT pg_advisory_lock(1)"),
            (
                "dblink",
                "expect: Empty",
                "SELECT dblink_exec('dbname=x', 'DROP TABLE orders')",
            ),
            (
                "setval",
                "expect: Empty",
                "SELECT setval('orders_id_seq', 1)",
            ),
            (
                "count",
                "expect: Value, value: '100'",
                "SELECT count(*) FROM orders",
            ),
        ],
        "",
    );
    let done = rehearse(&database, &file, "CREATE TABLE t ()").expect(1);
    let report = done.report();
    for name in [
        "cte",
        "function",
        "local",
        "config",
        "config-session",
        "for-update",
        "nextval",
    ] {
        let code = code(outcome(&report, name));
        assert!(["25006", "25001"].contains(&code), "{name}: {code}");
    }
    for name in ["into", "do", "set", "update", "lock", "dblink", "setval"] {
        let outcome = &outcome(&report, name).outcome;
        assert!(
            matches!(outcome, AssertionOutcome::Refused { .. }),
            "{name}: {outcome:?}"
        );
    }
    assert!(outcome(&report, "catching").held());
    assert!(outcome(&report, "count").held(), "{done}");
    assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
    assert_eq!(database.dump(), before);
}

#[rstest]
fn assertions_cannot_end_the_transaction(#[values(13, 18)] major: u8) {
    let database = orders_of(major);
    database.psql(
        "CREATE PROCEDURE ending() LANGUAGE plpgsql AS $$BEGIN COMMIT; END$$;
         CREATE FUNCTION calling() RETURNS int LANGUAGE plpgsql AS $$BEGIN CALL ending(); RETURN 1; END$$;
         CREATE FUNCTION ending_itself() RETURNS int LANGUAGE plpgsql AS $$BEGIN COMMIT; RETURN 1; END$$;",
    );
    let before = database.dump();
    let file = file(
        &[
            ("commit", "expect: Empty", "COMMIT"),
            ("two", "expect: Empty", "SELECT 1; COMMIT"),
            ("quoted", "expect: Empty", "SELECT '\\'; COMMIT; --'"),
            ("escaped", "expect: Empty", "SELECT E'\\''; COMMIT; --'"),
            ("constant", "expect: Empty", "SELECT E'\\'; COMMIT; --'"),
            ("rollback", "expect: Empty", "ROLLBACK AND CHAIN"),
            ("release", "expect: Empty", "RELEASE SAVEPOINT a"),
            ("prepared", "expect: Empty", "PREPARE TRANSACTION 'a'"),
            ("call", "expect: Empty", "CALL ending()"),
            ("function-calls", "expect: Empty", "SELECT calling()"),
            ("function", "expect: Empty", "SELECT ending_itself()"),
            (
                "still-there",
                "expect: NonEmpty",
                "SELECT FROM pg_class WHERE relname = 'made_by_the_migration'",
            ),
        ],
        "",
    );
    let done = rehearse(&database, &file, "CREATE TABLE made_by_the_migration ()").expect(1);
    let report = done.report();
    for name in [
        "commit", "two", "quoted", "rollback", "release", "prepared", "call", "escaped",
    ] {
        let outcome = &outcome(&report, name).outcome;
        assert!(
            matches!(outcome, AssertionOutcome::Refused { .. }),
            "{name}: {outcome:?}"
        );
    }
    assert_eq!(code(outcome(&report, "function-calls")), "2D000");
    assert!(!outcome(&report, "function").held());
    assert_eq!(outcome(&report, "constant").rows, Some(1));
    assert!(outcome(&report, "still-there").held(), "{done}");
    assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
    assert_eq!(database.dump(), before);
}

#[rstest]
fn assertions_cannot_run_longer_than_their_budget(#[values(13, 18)] major: u8) {
    let database = orders_of(major);
    let file = file(
        &[
            ("sleeping", "expect: NonEmpty", "SELECT pg_sleep(60)"),
            (
                "unlimited",
                "expect: NonEmpty",
                "SELECT set_config('statement_timeout', '0', true), pg_sleep(60)",
            ),
            ("quick", "expect: NonEmpty", "SELECT 1"),
        ],
        "  budgets: {assertion: 300ms}\n",
    );
    let done = rehearse(&database, &file, "CREATE TABLE t ()").expect(5);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::BudgetExceeded(Budget::Assertion));
    assert!(
        report
            .message
            .contains("the assertion sleeping took longer than its budget"),
        "{done}"
    );
    for name in ["sleeping", "unlimited"] {
        let asked = outcome(&report, name);
        assert_eq!(asked.outcome, AssertionOutcome::TimedOut);
        assert!(asked.micros < 5_000_000, "{asked:?}");
    }
    assert!(outcome(&report, "quick").held());
}

#[test]
fn a_function_that_catches_its_cancellation_ends_the_rehearsal() {
    let database = orders();
    database.psql(
        "CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$BEGIN LOOP
           BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
         END LOOP; END$$;",
    );
    let file = file(
        &[("stubborn", "expect: NonEmpty", "SELECT stubborn()")],
        "  budgets: {assertion: 200ms}\n",
    );
    let began = std::time::Instant::now();
    let done = rehearse(&database, &file, "CREATE TABLE t ()").expect(5);
    assert!(began.elapsed().as_secs() < 20);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::BudgetExceeded(Budget::Assertion));
    assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
}

#[test]
fn a_constraint_that_fails_only_on_real_rows_is_named_with_its_columns_and_no_value() {
    let database = orders();
    database.psql(
        "INSERT INTO customers VALUES (1000, NULL);
         ALTER TABLE orders ADD CONSTRAINT fk FOREIGN KEY (customer) REFERENCES customers
             DEFERRABLE INITIALLY DEFERRED;",
    );
    let file = file(&[NO_ORPHANS], "");
    for (sql, code, table, columns) in [
        (
            "ALTER TABLE customers ALTER COLUMN email SET NOT NULL",
            "23502",
            "customers",
            "email",
        ),
        (
            "CREATE UNIQUE INDEX u ON customers (email)",
            "23505",
            "customers",
            "email",
        ),
        (
            "BEGIN; UPDATE orders SET customer = 4711 WHERE id = 1; COMMIT",
            "23503",
            "orders",
            "customer",
        ),
        (
            "ALTER TABLE orders ADD CONSTRAINT c CHECK (total > 9)",
            "23514",
            "orders",
            "",
        ),
    ] {
        let done = rehearse(&database, &file, &format!("{sql};"));
        let report = done.expect(1).report();
        assert!(
            report.assertions.is_empty(),
            "nothing is asked of a failed upgrade"
        );
        let error = report.statements.iter().find_map(|it| match &it.outcome {
            drydock::report::StatementOutcome::Error(error) => Some(error),
            _ => None,
        });
        let error = error.unwrap();
        let found = (
            error.code.as_str(),
            error.schema.as_deref(),
            error.table.as_deref(),
            error.columns.join(", "),
        );
        assert_eq!(
            found,
            (code, Some("public"), Some(table), columns.to_owned())
        );
        let kept = serde_json::to_string(&report.statements).unwrap();
        assert!(!kept.contains("4711") && !kept.contains("c17"), "{kept}");
    }
}
