//! A constraint that fails on real rows: the report's query finds exactly those rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/client.rs"]
mod client;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;
#[path = "lab/rehearse.rs"]
mod rehearse;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drydock::report::{Before, ConstraintKind, Report, Statement, StatementOutcome, Violation};
use drydock::verdict::{RollbackProof, Verdict};
use postgres::{Database, Server, try_psql};
use program::{Done, drydock, rehearse_sql};
use rehearse::Rehearsed;
use rstest::rstest;

/// A database that another test of the same role creates meanwhile is a move of pg_database.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(statements: &[Statement]) -> &Statement {
    let failed = |it: &&Statement| matches!(it.outcome, StatementOutcome::Error(_));
    statements.iter().find(failed).expect("a failed statement")
}

fn violation(report: &Report) -> &Violation {
    let violation = failed(&report.statements).violation.as_ref();
    violation.expect("what is known of the violation")
}

/// What a query finds behind these statements, in a transaction that is rolled back.
fn ids(database: &Database<'_>, behind: &str, query: &str) -> String {
    let said = database.psql(&format!(
        "BEGIN; {behind}; SELECT string_agg(id::text, ',' ORDER BY id) FROM ({query}) found; \
         ROLLBACK;"
    ));
    said.lines().last().unwrap_or_default().to_owned()
}

/// Each violated in one transaction, behind `earlier` statements.
struct Case {
    setup: &'static str,
    earlier: &'static str,
    failing: &'static str,
    kind: ConstraintKind,
    ids: &'static str,
}

const SHOP: &str = "CREATE TABLE customers (id int PRIMARY KEY, email text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int, total int, \"Note it\" text, during tsrange,
      \"from\" timestamp, until timestamp, gone bool NOT NULL DEFAULT false);
    INSERT INTO customers SELECT n, CASE WHEN n % 4 = 0 THEN 'X@x' ELSE n::text END
      FROM generate_series(1, 10) n;
    INSERT INTO orders SELECT n, n, n, n::text, tsrange(t, t + '10 min'), t, t + '10 min'
      FROM (SELECT n, '2026-01-01'::timestamp + n * interval '1 hour' AS t
            FROM generate_series(1, 20) n) rows;";

const CASES: &[Case] = &[
    Case {
        setup: "UPDATE orders SET customer = NULL WHERE id IN (3, 7);",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders ALTER customer SET NOT NULL",
        kind: ConstraintKind::NotNull,
        ids: "3,7",
    },
    Case {
        setup: "",
        earlier: "ALTER TABLE orders ADD COLUMN code text; UPDATE orders SET code = id WHERE id <> 4",
        failing: "ALTER TABLE orders ALTER COLUMN code SET NOT NULL",
        kind: ConstraintKind::NotNull,
        ids: "4",
    },
    Case {
        setup: "DELETE FROM orders WHERE id > 2;",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders ADD COLUMN code text NOT NULL",
        kind: ConstraintKind::NotNull,
        ids: "1,2",
    },
    Case {
        setup: "UPDATE orders SET \"Note it\" = 'it''s'  WHERE id IN (5, 6);
                UPDATE orders SET \"Note it\" = NULL WHERE id IN (8, 9);",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders ADD CONSTRAINT \"U u\" UNIQUE (\"Note it\"), ADD UNIQUE (id)",
        kind: ConstraintKind::Unique,
        ids: "5,6",
    },
    Case {
        setup: "",
        earlier: "UPDATE orders SET customer = 1, total = 2 WHERE id IN (11, 12, 13);
                  UPDATE orders SET gone = true WHERE id = 13",
        failing: "CREATE UNIQUE INDEX CONCURRENTLY_ ON orders (customer, total) WHERE NOT gone",
        kind: ConstraintKind::Unique,
        ids: "11,12",
    },
    Case {
        setup: "",
        earlier: "SELECT 1",
        failing: "CREATE UNIQUE INDEX mails ON customers (lower(email) text_pattern_ops)",
        kind: ConstraintKind::Unique,
        ids: "4,8",
    },
    Case {
        setup: "UPDATE customers SET email = id; UPDATE customers SET email = NULL WHERE id IN (2, 3);",
        earlier: "SELECT 1",
        failing: "ALTER TABLE customers DROP CONSTRAINT customers_pkey, ADD PRIMARY KEY (email)",
        kind: ConstraintKind::NotNull,
        ids: "2,3",
    },
    Case {
        setup: "",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders ADD CONSTRAINT c CHECK (total > 3 AND 'it''s)' <> ''), ADD CHECK (id > 0)",
        kind: ConstraintKind::Check,
        ids: "1,2,3",
    },
    Case {
        setup: "ALTER TABLE orders ADD CONSTRAINT few CHECK (total < 19) NOT VALID;",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders VALIDATE CONSTRAINT few",
        kind: ConstraintKind::Check,
        ids: "19,20",
    },
    Case {
        setup: "UPDATE orders SET customer = NULL WHERE id > 12;",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers",
        kind: ConstraintKind::ForeignKey,
        ids: "11,12",
    },
    Case {
        setup: "ALTER TABLE orders ADD CONSTRAINT whose FOREIGN KEY (customer) REFERENCES customers (id) NOT VALID;
                UPDATE orders SET total = 0 WHERE false;",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders VALIDATE CONSTRAINT whose",
        kind: ConstraintKind::ForeignKey,
        ids: "11,12,13,14,15,16,17,18,19,20",
    },
    Case {
        setup: "DELETE FROM orders WHERE id > 10;
                ALTER TABLE orders ADD CONSTRAINT whose FOREIGN KEY (customer) REFERENCES customers
                  DEFERRABLE INITIALLY DEFERRED;",
        earlier: "DELETE FROM customers WHERE id IN (4, 5)",
        failing: "SELECT 2",
        kind: ConstraintKind::ForeignKey,
        ids: "4,5",
    },
    Case {
        setup: "ALTER TABLE orders ADD CONSTRAINT once UNIQUE (total) DEFERRABLE INITIALLY DEFERRED;",
        earlier: "UPDATE orders SET total = 1 WHERE id = 9",
        failing: "SELECT 2",
        kind: ConstraintKind::Unique,
        ids: "1,9",
    },
    Case {
        setup: "UPDATE orders SET during = tsrange('2027-01-01', '2027-01-02') WHERE id IN (6, 7, 8);
                UPDATE orders SET gone = true WHERE id = 8;",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders ADD EXCLUDE USING gist (during WITH &&) WHERE (NOT gone)",
        kind: ConstraintKind::Exclusion,
        ids: "6,7",
    },
    Case {
        setup: "UPDATE orders SET until = until + interval '1 hour' WHERE id = 15;",
        earlier: "SELECT 1",
        failing: "ALTER TABLE orders ADD CONSTRAINT x EXCLUDE USING gist (tsrange(\"from\", until) WITH OPERATOR(pg_catalog.&&))",
        kind: ConstraintKind::Exclusion,
        ids: "15,16",
    },
    Case {
        setup: "ALTER TABLE orders ADD EXCLUDE USING gist (tsrange(\"from\", until) WITH &&)
                  DEFERRABLE INITIALLY DEFERRED;",
        earlier: "UPDATE orders SET until = until + interval '1 hour' WHERE id = 15",
        failing: "SELECT 2",
        kind: ConstraintKind::Exclusion,
        ids: "15,16",
    },
    Case {
        setup: "CREATE DOMAIN amount AS int; ALTER TABLE orders ALTER total TYPE amount;",
        earlier: "SELECT 1",
        failing: "ALTER DOMAIN amount ADD CONSTRAINT most CHECK (VALUE < 20 AND VALUE > 1)",
        kind: ConstraintKind::Check,
        ids: "1,20",
    },
    Case {
        setup: "CREATE DOMAIN amount AS int; ALTER TABLE orders ALTER total TYPE amount;
                UPDATE orders SET total = NULL WHERE id = 2;",
        earlier: "SELECT 1",
        failing: "ALTER DOMAIN amount SET NOT NULL",
        kind: ConstraintKind::NotNull,
        ids: "2",
    },
    Case {
        setup: "CREATE TABLE parts (id int, day int, customer int) PARTITION BY RANGE (day);
                CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
                CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
                INSERT INTO parts SELECT n, n, nullif(n, 13) FROM generate_series(1, 19) n;
                INSERT INTO parts VALUES (101, 5, 1), (102, 15, 1);",
        earlier: "SELECT 1",
        failing: "ALTER TABLE parts ADD CONSTRAINT one_a_day UNIQUE (day)",
        kind: ConstraintKind::Unique,
        ids: "5,15,101,102",
    },
    Case {
        setup: "CREATE TABLE parts (id int, day int, customer int) PARTITION BY RANGE (day);
                CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
                CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
                INSERT INTO parts SELECT n, n, n FROM generate_series(1, 10) n;
                ALTER TABLE parts ADD CONSTRAINT whose FOREIGN KEY (customer) REFERENCES customers
                  DEFERRABLE INITIALLY DEFERRED;",
        earlier: "INSERT INTO parts VALUES (101, 5, 71), (102, 15, 72)",
        failing: "SELECT 2",
        kind: ConstraintKind::ForeignKey,
        ids: "101,102",
    },
    Case {
        setup: "CREATE TABLE archive () INHERITS (customers);
                INSERT INTO archive SELECT n, 'same' FROM generate_series(100, 110) n;
                UPDATE customers SET email = 'twice' WHERE id IN (1, 2);",
        earlier: "UPDATE ONLY customers SET email = id WHERE id > 2",
        failing: "ALTER TABLE customers ADD UNIQUE (email)",
        kind: ConstraintKind::Unique,
        ids: "1,2",
    },
];

#[rstest]
#[case(13)]
#[case(18)]
fn the_query_finds_exactly_the_rows_and_without_them_the_migration_passes(#[case] major: u8) {
    let _alone = alone();
    for case in CASES {
        let failing = case.failing.replace("CONCURRENTLY_", "i");
        let database = Server::shared_of(major).database();
        database.psql(SHOP);
        database.psql(case.setup);
        let (earlier, setup) = (case.earlier, case.setup);
        let migration = format!("BEGIN;\n{earlier};\n{failing};\nCOMMIT;");
        let done = rehearse_sql(&database.url, &migration).expect(1);
        let report = done.report();
        assert_eq!(report.verdict, Verdict::Failed, "{done}");
        assert_eq!(
            report.witness.as_ref().unwrap().rollback,
            RollbackProof::Verified
        );
        let found = violation(&report);
        assert_eq!(found.kind, case.kind, "{failing}");
        let query = found.query.as_deref();
        let query = query.unwrap_or_else(|| panic!("{setup} {failing}: {found:?}"));
        let count = case.ids.split(',').count() as u64;
        assert_eq!((found.rows, found.more), (Some(count), false), "{query}");
        let behind = match found.before {
            Before::Statement => earlier.to_owned(),
            Before::Commit => format!("{earlier}; {failing}"),
        };
        assert_eq!(ids(&database, &behind, query), case.ids, "{query}");
        let without = format!(
            "BEGIN;\n{earlier};\n{};\n{failing};\nCOMMIT;",
            removal(case.kind, &failing, case.ids)
        );
        database.psql(&without);
    }
}

/// Takes the rows away, or all but one of those that are in each other's way.
fn removal(kind: ConstraintKind, failing: &str, ids: &str) -> String {
    let table = ["customers", "parts"]
        .into_iter()
        .find(|table| failing.contains(&format!(" {table} ")))
        .unwrap_or("orders");
    let table = if kind == ConstraintKind::ForeignKey && ids == "101,102" {
        "parts"
    } else {
        table
    };
    format!("DELETE FROM {table} WHERE id IN ({ids})")
}

#[rstest]
#[case::autocommit("CREATE UNIQUE INDEX i ON customers (lower(email))")]
#[case::concurrently("CREATE UNIQUE INDEX CONCURRENTLY i ON customers (lower(email))")]
fn outside_of_a_block_too(#[case] sql: &str) {
    let _alone = alone();
    let database = Server::shared().database();
    database.psql(SHOP);
    let report = rehearse_sql(&database.url, &format!("{sql};"))
        .expect(1)
        .report();
    let found = violation(&report);
    assert_eq!(found.rows, Some(2), "{found:?}");
    assert_eq!(
        ids(&database, "SELECT 1", found.query.as_deref().unwrap()),
        "4,8"
    );
}

#[rstest]
#[case::insert("INSERT INTO orders (id) VALUES (1)", "23505")]
#[case::update("UPDATE customers SET id = NULL WHERE id = 1", "23502")]
#[case::delete("DELETE FROM customers WHERE id = 1", "23503")]
#[case::own_code("DO 'BEGIN ALTER TABLE orders ADD CHECK (total > 7); END'", "23514")]
fn what_a_statement_itself_writes_has_no_query_and_says_so(#[case] sql: &str, #[case] code: &str) {
    let _alone = alone();
    let database = Server::shared().database();
    database.psql(SHOP);
    database.psql("DELETE FROM orders WHERE id > 10; ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers;");
    let done = rehearse_sql(&database.url, &format!("{sql};")).expect(1);
    let report = done.report();
    let StatementOutcome::Error(error) = &failed(&report.statements).outcome else {
        panic!("{done}");
    };
    assert_eq!(error.code, code);
    let found = violation(&report);
    assert_eq!((&found.query, found.rows), (&None, None));
    assert!(
        found
            .unknown
            .as_ref()
            .unwrap()
            .contains("rows that the statement itself wrote")
    );
}

#[test]
fn the_text_for_people_has_the_query_and_the_number() {
    let _alone = alone();
    let database = Server::shared().database();
    database.psql(SHOP);
    database.psql("UPDATE orders SET customer = NULL WHERE id = 3;");
    for format in ["text", "markdown", "html"] {
        let mut command = drydock(&database.url);
        command.args(["rehearse", "-o", format, "--", "sh", "-c"]);
        command.arg("psql \"$DATABASE_URL\" -Xc 'ALTER TABLE orders ALTER customer SET NOT NULL'");
        let done = Done::of(command).expect(1);
        let query = "finds them, before this statement: SELECT * FROM public.orders WHERE customer IS NULL\n";
        assert!(done.stdout.contains(query), "{done}");
        assert!(done.stdout.contains("1 row\n"), "{done}");
    }
}

fn alembic(database: &Database<'_>, section: &str, driver: &str) -> Done {
    let mut command = drydock(&database.url);
    command
        .current_dir(python::project("constraints"))
        .env("DRIVER", driver)
        .args(["rehearse", "--no-round-trip", "-o", "json", "--"])
        .args([
            &python::program("alembic"),
            "-n",
            section,
            "upgrade",
            "head",
        ]);
    Done::of(command)
}

fn bookings(major: u8) -> Database<'static> {
    let database = Server::shared_of(major).database();
    database.psql(
        "CREATE TABLE customers (id int PRIMARY KEY);
         INSERT INTO customers SELECT generate_series(1, 100);
         CREATE TABLE bookings (id int PRIMARY KEY, email text, during int4range,
           cancelled bool NOT NULL DEFAULT false,
           customer int REFERENCES customers DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO bookings SELECT n, 'C' || n, int4range(n * 10, n * 10 + 9), false, n
           FROM generate_series(1, 100) n;
         UPDATE bookings SET customer = NULL, email = 'c8' WHERE id IN (7, 9);
         UPDATE bookings SET during = int4range(0, 15) WHERE id = 50;
         UPDATE bookings SET cancelled = true, during = '[0, 9000)' WHERE id = 9;",
    );
    database
}

#[rstest]
#[case(13, "psycopg")]
#[case(18, "psycopg")]
#[case(18, "psycopg2")]
fn alembics_migrations_in_one_transaction_too(#[case] major: u8, #[case] driver: &str) {
    let _alone = alone();
    let added = "ALTER TABLE bookings ADD COLUMN code text; \
                 UPDATE bookings SET code = 'B' || id WHERE customer IS NOT NULL";
    for (section, behind, expected) in [
        ("alembic", added, "7,9"),
        ("unique", "SELECT 1", "7,8"),
        ("exclude", "SELECT 1", "1,50"),
        (
            "deferred",
            "DELETE FROM customers WHERE id > 60",
            &(61..=100)
                .map(|n| n.to_string())
                .collect::<Vec<_>>()
                .join(","),
        ),
    ] {
        let database = bookings(major);
        let done = alembic(&database, section, driver).expect(1);
        let report = done.report();
        let found = violation(&report);
        let query = found
            .query
            .as_deref()
            .unwrap_or_else(|| panic!("{section}: {found:?}"));
        assert_eq!(ids(&database, behind, query), expected, "{query}");
        assert_eq!(found.rows, Some(expected.split(',').count() as u64));
        assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
    }

    // The same four constraints over rows that were put right before.
    let done = alembic(&bookings(major), "good", driver).expect(0);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Passed, "{done}");
    assert!(report.statements.iter().all(|it| it.violation.is_none()));
    assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
}

#[rstest]
#[case(13)]
#[case(18)]
fn statements_of_the_extended_protocol_too_and_the_block_stays_failed(#[case] major: u8) {
    let database = Server::shared_of(major).database();
    database.psql(SHOP);
    let rehearsal = Rehearsed::start(&database);
    let mut client = client::Client::connect(&rehearsal.url);
    client.ask("BEGIN");
    client.ask("UPDATE customers SET email = 'one' WHERE id < 3");
    let mut batch = client::extended("ALTER TABLE customers ADD COLUMN note text");
    batch.extend(client::sync());
    client.send(&batch);
    client.until(b'Z');
    let mut batch =
        client::extended("CREATE UNIQUE INDEX i ON customers (email, note) WHERE id < 4");
    batch.extend(client::sync());
    client.send(&batch);
    client.until(b'Z');
    // NULLs are distinct: it was made. The next is not.
    let mut batch =
        client::extended("ALTER TABLE customers ADD CONSTRAINT c CHECK (email <> 'one')");
    batch.extend(client::sync());
    client.send(&batch);
    assert_eq!(client::errors(&client.until(b'Z')), ["23514"]);
    assert_eq!(client::errors(&client.ask("SELECT 1")), ["25P02"]);
    assert!(client::errors(&client.ask("ROLLBACK")).is_empty());
    assert!(client::errors(&client.ask("SELECT 1 FROM customers")).is_empty());
    drop(client);
    let record = rehearsal.finish();
    assert!(record.gapless, "{:?}", record.verdict);
    assert_eq!(record.verdict, None);
    let found = failed(&record.statements).violation.as_ref().unwrap();
    assert_eq!(found.rows, Some(2), "{found:?}");
    assert_eq!(
        found.query.as_deref(),
        Some("SELECT * FROM public.customers WHERE NOT (email <> 'one')")
    );
}

#[test]
fn a_savepoint_of_the_clients_is_where_it_was() {
    let database = Server::shared().database();
    database.psql(SHOP);
    let rehearsal = Rehearsed::start(&database);
    let mut client = client::Client::connect(&rehearsal.url);
    for sql in [
        "BEGIN",
        "CREATE TABLE t (a int)",
        "INSERT INTO t VALUES (1), (1)",
        "SAVEPOINT a",
        "INSERT INTO t VALUES (2)",
    ] {
        assert!(client::errors(&client.ask(sql)).is_empty());
    }
    assert_eq!(
        client::errors(&client.ask("ALTER TABLE t ADD UNIQUE (a)")),
        ["23505"]
    );
    for sql in [
        "ROLLBACK TO a",
        "DELETE FROM t WHERE a > 1",
        "INSERT INTO t SELECT 3 / (count(*) - 1) FROM t",
        "COMMIT",
        "INSERT INTO t SELECT 3 / (count(*) - 2) FROM t",
    ] {
        assert!(client::errors(&client.ask(sql)).is_empty(), "{sql}");
    }
    drop(client);
    let record = rehearsal.finish();
    assert!(
        record.gapless && record.verdict.is_none(),
        "{:?}",
        record.verdict
    );
    let found = failed(&record.statements).violation.as_ref().unwrap();
    assert_eq!(found.rows, Some(2), "{found:?}");
}

#[test]
fn a_name_that_is_no_word_and_rows_that_are_many_are_told() {
    let database = Server::shared().database();
    database.psql(
        "CREATE SCHEMA \"Sh\"\"op\";
         CREATE TABLE \"Sh\"\"op\".\"Tä b\" (\"select\" int, \"A;--\" int);
         INSERT INTO \"Sh\"\"op\".\"Tä b\" SELECT n FROM generate_series(1, 20000) n;",
    );
    let rehearsal = Rehearsed::start(&database);
    let mut client = client::Client::connect(&rehearsal.url);
    client.ask("SET search_path = \"Sh\"\"op\"");
    client.ask("ALTER TABLE \"Tä b\" ALTER \"A;--\" SET NOT NULL");
    drop(client);
    let record = rehearsal.finish();
    let found = failed(&record.statements).violation.as_ref().unwrap();
    let query = found.query.as_deref().unwrap();
    assert_eq!((found.rows, found.more), (Some(10_000), true), "{found:?}");
    let count = format!("SELECT count(*) FROM ({query}) found;");
    assert_eq!(database.psql(&count).trim(), "20000");
}

/// Takes long, and calls a function whose rows cannot be counted in time.
fn slow(database: &Database<'_>) {
    database.psql(
        "CREATE FUNCTION slow(n int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN
           IF n > 1 THEN PERFORM pg_sleep(0.01); END IF; RETURN n > 1; END$$;
         CREATE TABLE numbers (n int);
         INSERT INTO numbers SELECT generate_series(1, 10000);",
    );
}

#[test]
fn a_count_that_takes_too_long_is_given_up_and_a_writer_does_not_end_the_rehearsal() {
    let _alone = alone();
    let database = Server::shared().database();
    slow(&database);
    let mut application = client::Client::connect(&database.url);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while stopped.try_recv().is_err() {
            let began = Instant::now();
            let heard = application.ask("UPDATE numbers SET n = n WHERE n = 5000");
            assert!(client::errors(&heard).is_empty());
            longest = longest.max(began.elapsed());
        }
        longest
    });
    for _ in 0..5 {
        let sql = "ALTER TABLE numbers ADD CONSTRAINT big CHECK (slow(n));";
        let done = rehearse_sql(&database.url, sql).expect(1);
        let report = done.report();
        assert_eq!(report.verdict, Verdict::Failed, "{done}");
        let found = violation(&report);
        assert!(found.query.is_some() && found.rows.is_none(), "{found:?}");
        let why = found.unknown.as_deref().unwrap();
        assert!(
            why.contains("longer than 150 ms") || why.contains("waited"),
            "{why}"
        );
    }
    stop.send(()).unwrap();
    let longest = writer.join().unwrap();
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

#[test]
fn nothing_is_counted_while_somebody_waits() {
    let database = Server::shared().database();
    slow(&database);
    let rehearsal = Rehearsed::start(&database);
    let mut migration = client::Client::connect(&rehearsal.url);
    migration.ask("BEGIN");
    migration.ask("ALTER TABLE numbers ADD COLUMN m int");
    let url = database.url.clone();
    let waiting = std::thread::spawn(move || try_psql(&url, "SELECT count(*) FROM numbers"));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock';";
    while database.psql(waits).trim() != "1" {
        std::thread::sleep(Duration::from_millis(10));
    }
    let sql = "ALTER TABLE numbers ADD CONSTRAINT big CHECK (slow(n))";
    assert_eq!(client::errors(&migration.ask(sql)), ["23514"]);
    drop(migration);
    let record = rehearsal.finish();
    waiting.join().unwrap().unwrap();
    let found = failed(&record.statements).violation.as_ref().unwrap();
    assert!(found.query.is_some() && found.rows.is_none(), "{found:?}");
    assert!(
        found.unknown.as_ref().unwrap().contains("waited"),
        "{found:?}"
    );
}

#[test]
fn a_query_that_could_do_more_than_read_is_not_asked() {
    let database = Server::shared().database();
    database.psql(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE TABLE log (a int);
         CREATE FUNCTION logging(a int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN
           INSERT INTO log VALUES (a); RETURN false; END$$;",
    );
    let rehearsal = Rehearsed::start(&database);
    let mut client = client::Client::connect(&rehearsal.url);
    client.ask("ALTER TABLE t ADD CHECK (logging(a))");
    drop(client);
    let record = rehearsal.finish();
    assert!(
        record.gapless && record.verdict.is_none(),
        "{:?}",
        record.verdict
    );
    let found = failed(&record.statements).violation.as_ref().unwrap();
    assert_eq!(found.rows, None);
    assert!(
        found.unknown.as_ref().unwrap().contains("25006"),
        "{found:?}"
    );
}

#[test]
fn rows_that_are_hidden_from_the_role_are_not_counted() {
    let _alone = alone();
    let database = Server::shared().database();
    let role = format!("hidden_{}", database.name);
    database.psql(&format!(
        "CREATE ROLE {role} LOGIN; CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);
         ALTER TABLE t OWNER TO {role};
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON t USING (a > 1);"
    ));
    let url = database.url.replace("postgres@", &format!("{role}@"));
    let rehearsal = Rehearsed::start_at(&url, &database.name, database.server.major);
    let mut client = client::Client::connect(&rehearsal.url);
    let heard = client.ask("ALTER TABLE t ADD CHECK (a > 1)");
    assert_eq!(client::errors(&heard), ["23514"]);
    drop(client);
    let record = rehearsal.finish();
    let found = failed(&record.statements).violation.as_ref().unwrap();
    assert_eq!((&found.query, found.rows), (&None, None));
    assert!(
        found.unknown.as_ref().unwrap().contains("row security"),
        "{found:?}"
    );
}

#[test]
fn only_so_many_statements_get_a_savepoint_of_their_own() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE t (a int); INSERT INTO t VALUES (1);");
    let rehearsal = Rehearsed::start(&database);
    let mut client = client::Client::connect(&rehearsal.url);
    for n in 1..=16 {
        let heard = client.ask(&format!("ALTER TABLE t ADD CHECK (a < 1 + {n})"));
        assert!(client::errors(&heard).is_empty());
    }
    let heard = client.ask("ALTER TABLE t ADD CHECK (a < 1)");
    assert_eq!(client::errors(&heard), ["23514"]);
    drop(client);
    let record = rehearsal.finish();
    assert!(
        record.gapless && record.verdict.is_none(),
        "{:?}",
        record.verdict
    );
    let found = failed(&record.statements).violation.as_ref().unwrap();
    assert!(
        found.unknown.as_ref().unwrap().contains("first 16"),
        "{found:?}"
    );
}
