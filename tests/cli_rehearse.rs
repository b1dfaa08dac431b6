//! `drydock rehearse` against a real server: what passes, what fails, and what it leaves behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use drydock::report::{Severity, StatementOutcome};
use drydock::verdict::{Budget, Environment, NotRehearsed, RollbackProof, Verdict};
use postgres::{Database, Options, Server};
use program::{Done, bare, drydock, rehearse, rehearse_sql};
use rstest::rstest;

fn orders() -> Database<'static> {
    let database = Server::shared().database();
    database.psql(
        "CREATE TABLE customers (id int PRIMARY KEY);
         CREATE TABLE orders (id serial PRIMARY KEY, customer int, total int);
         INSERT INTO customers VALUES (1);
         INSERT INTO orders (customer, total) SELECT 1, n FROM generate_series(1, 100) n;
         ALTER TABLE orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer)
             REFERENCES customers DEFERRABLE INITIALLY DEFERRED;",
    );
    database
}

#[test]
fn a_good_migration_passes_and_leaves_the_database_as_it_was() {
    let database = orders();
    let before = database.dump();
    let done = rehearse_sql(
        &database.url,
        "BEGIN; ALTER TABLE orders ADD COLUMN note text; COMMIT;
         CREATE INDEX orders_note ON orders (note);",
    )
    .expect(0);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Passed);
    assert!(!report.nothing_to_do);
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(witness.rollback, RollbackProof::Verified, "{done}");
    assert_eq!(witness.xact_status.as_deref(), Some("aborted"));
    let changed: Vec<String> = report
        .prediction
        .as_ref()
        .unwrap()
        .difference
        .iter()
        .map(|(id, _)| format!("{} {}", id.kind, id.identity))
        .collect();
    assert_eq!(
        changed,
        ["column public.orders.note", "index public.orders_note"]
    );
    assert_eq!(database.dump(), before);
}

#[test]
fn a_command_that_writes_nothing_has_nothing_to_do() {
    let database = orders();
    let report = rehearse_sql(&database.url, "SELECT count(*) FROM orders;")
        .expect(0)
        .report();
    assert!(report.nothing_to_do);
}

#[test]
fn a_deferred_constraint_fails_at_commit() {
    let database = orders();
    let before = database.dump();
    let done = rehearse_sql(
        &database.url,
        "BEGIN; UPDATE orders SET customer = 2 WHERE id = 1; COMMIT;",
    )
    .expect(1);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(report.message.contains("23503"), "{done}");
    let last = report.statements.last().unwrap();
    assert_eq!(last.text, "COMMIT");
    assert!(matches!(last.outcome, StatementOutcome::Error(_)));
    assert_eq!(database.dump(), before);
}

#[test]
fn exit_code_1_after_every_statement_succeeded_is_a_failure() {
    let database = orders();
    let done = rehearse(
        &database.url,
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE t ()'; exit 1",
    )
    .expect(1);
    assert!(
        done.report()
            .message
            .contains("ended with exit code 1 although every statement succeeded"),
        "{done}"
    );
}

/// In force for every role in this database.
fn orders_with(setting: &str, value: &str) -> Database<'static> {
    let database = orders();
    let name = &database.name;
    database.psql(&format!("ALTER DATABASE {name} SET {setting} = '{value}'"));
    database
}

const IDLE: &str = "idle_in_transaction_session_timeout";

/// Pauses between the lines of a script for psql.
fn pausing(lines: &[&str], seconds: f32) -> String {
    let lines: Vec<_> = lines.iter().map(|line| format!("echo '{line}'")).collect();
    let lines = lines.join(&format!("; sleep {seconds}; "));
    format!("({lines}) | psql -X -v ON_ERROR_STOP=1 \"$DATABASE_URL\"")
}

#[test]
fn a_pause_that_the_roles_own_timeout_would_end_fails_the_run() {
    let database = orders_with(IDLE, "300ms");
    let script = pausing(&["BEGIN; DELETE FROM orders;", "COMMIT;"], 1.5);
    let report = rehearse(&database.url, &script).expect(1).report();
    assert_eq!(report.verdict, Verdict::Failed);
    let message = &report.message;
    assert!(message.starts_with("the command paused for "), "{message}");
    assert!(
        message.contains(
            "inside a transaction, behind statement 2; the role's \
             idle_in_transaction_session_timeout of 300 ms would have ended its session there (25P03)"
        ),
        "{message}"
    );
    let found = report.findings.iter().find(|it| it.code == "RoleTimeout");
    assert_eq!(found.unwrap().severity, Severity::Error);
}

#[rstest]
#[case::shorter("10s", &["BEGIN; DELETE FROM orders;", "COMMIT;"], false)]
#[case::outside_of_a_transaction("300ms", &["DELETE FROM orders;", "SELECT 1;"], true)]
#[case::under_a_timeout_of_the_commands_own(
    "300ms",
    &["SET idle_in_transaction_session_timeout = 0; BEGIN; DELETE FROM orders;", "COMMIT;"],
    true
)]
fn a_pause_that_the_roles_own_timeout_does_not_end_is_no_failure(
    #[case] timeout: &str,
    #[case] lines: &[&str],
    #[case] said: bool,
) {
    let database = orders_with(IDLE, timeout);
    let report = rehearse(&database.url, &pausing(lines, 1.0))
        .expect(0)
        .report();
    let found = report.findings.iter().find(|it| it.code == "RoleTimeout");
    assert_eq!(
        found.map(|it| it.severity),
        said.then_some(Severity::Info),
        "{report:?}"
    );
}

#[test]
fn a_transaction_that_the_roles_own_timeout_would_end_fails_the_run() {
    let database = Server::shared_of(18).database();
    database.psql(&format!(
        "ALTER DATABASE {} SET transaction_timeout = '700ms'",
        database.name
    ));
    let lines = ["BEGIN; CREATE TABLE notes ();", "SELECT 1;", "COMMIT;"];
    let report = rehearse(&database.url, &pausing(&lines, 1.0))
        .expect(1)
        .report();
    let message = &report.message;
    assert!(
        message.contains(
            "the role's transaction_timeout of 700 ms would have ended its session there (25P04)"
        ),
        "{message}"
    );
    let lines = ["CREATE TABLE notes ();", "SELECT 1;", "SELECT 2;"];
    let report = rehearse(&database.url, &pausing(&lines, 1.0))
        .expect(0)
        .report();
    let found = report.findings.iter().find(|it| it.code == "RoleTimeout");
    assert_eq!(found.unwrap().severity, Severity::Info);
}

#[test]
fn a_lock_that_another_session_holds_is_not_waited_for_and_its_holder_is_named() {
    let database = orders();
    let before = database.dump();
    let sql = "BEGIN; LOCK TABLE orders IN SHARE MODE; SELECT pg_sleep(600)";
    let mut holder = std::process::Command::new("psql")
        .args(["-qX", "-d", &database.url, "-c", sql])
        .env("PGAPPNAME", "nightly-report")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while database.psql("SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock'") == "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let done = rehearse_sql(&database.url, "ALTER TABLE orders ADD COLUMN note text").expect(5);
    holder.kill().unwrap();
    holder.wait().unwrap();
    database.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nightly-report'");
    let report = done.report();
    assert_eq!(report.verdict, Verdict::BudgetExceeded(Budget::LockWait));
    assert!(report.message.contains("\"nightly-report\""), "{done}");
    assert_eq!(database.dump(), before);
}

#[test]
fn an_autovacuum_worker_in_the_way_is_waited_for_until_the_server_cancels_it() {
    let server = Options::new(postgres::major())
        .conf("autovacuum_naptime = 1s")
        // A table of a few pages keeps a worker for minutes.
        .conf("autovacuum_vacuum_cost_delay = 100ms")
        .conf("autovacuum_vacuum_cost_limit = 1")
        .start();
    let database = server.database();
    database.psql(
        "CREATE TABLE orders (id int, note text) WITH (autovacuum_vacuum_threshold = 1);
         INSERT INTO orders SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n;
         DELETE FROM orders WHERE id % 2 = 0;",
    );
    let worker = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                   WHERE a.backend_type = 'autovacuum worker' AND l.granted
                     AND l.relation = 'orders'::regclass AND l.mode = 'ShareUpdateExclusiveLock'";
    while database.psql(worker) == "0" {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let began = std::time::Instant::now();
    // Not the first statement of its transaction: it is waited where the statement stands.
    let done = rehearse_sql(
        &database.url,
        "BEGIN; CREATE TABLE notes (); ALTER TABLE orders ADD COLUMN total int; COMMIT;",
    )
    .expect(0);
    assert!(began.elapsed() >= std::time::Duration::from_secs(1));
    let found = done.report().findings;
    let waited = found.iter().find(|it| it.code == "WaitedForLock");
    let message = &waited.expect("a finding").message;
    assert!(message.contains("autovacuum worker"), "{message}");
    assert!(
        server.log().contains("canceling autovacuum task"),
        "{}",
        server.log()
    );
}

#[test]
fn a_command_that_never_connects_is_not_rehearsed() {
    // Whatever moves meanwhile may be the command's own doing, so nothing else may move.
    let server = Server::start(postgres::major());
    let database = server.database();
    let done = rehearse(&database.url, "true").expect(3);
    assert_eq!(
        done.report().verdict,
        Verdict::NotRehearsed(NotRehearsed::NeverConnected)
    );
}

#[test]
fn a_command_that_goes_around_the_rehearsal_and_commits_is_exit_4() {
    let database = orders();
    let around = format!(
        "PGAPPNAME=mine psql 'host=127.0.0.1 port={} user=postgres dbname={}' \
         -Xqc 'ALTER TABLE orders ADD COLUMN leaked int'",
        database.server.port, database.name
    );
    let done = rehearse(&database.url, &around).expect(4);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::RollbackNotVerified);
    assert!(report.message.contains("--env NAME"), "{done}");
}

#[test]
fn rows_that_a_session_beside_the_rehearsal_committed_are_never_a_pass() {
    let database = orders();
    let around = format!(
        "psql \"$DATABASE_URL\" -Xqc 'ALTER TABLE orders ADD COLUMN note text' &&
         PGAPPNAME=mine psql 'host=127.0.0.1 port={} user=postgres dbname={}' \
         -Xqc 'INSERT INTO customers VALUES (2)' -c 'SELECT pg_sleep(1)'",
        database.server.port, database.name
    );
    let done = rehearse(&database.url, &around).expect(4);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::RollbackNotVerified);
    assert!(
        report.message.contains("went around the rehearsal"),
        "{done}"
    );
    assert!(report.message.contains("--env NAME"), "{done}");
}

#[test]
fn a_command_that_goes_around_the_rehearsal_is_ended_before_it_commits() {
    // Whatever is committed meanwhile may be the command's own doing, so nothing else may be.
    let server = Options::new(postgres::major())
        .conf("autovacuum = off")
        .start();
    let database = server.database();
    database.psql("CREATE TABLE orders ()");
    let before = database.dump();
    let around = format!(
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE notes ()' &&
         psql 'host=127.0.0.1 port={} user=postgres dbname={}' -Xq \
         -c 'BEGIN' -c 'DROP TABLE orders' -c 'SELECT pg_sleep(60)' -c 'COMMIT'",
        database.server.port, database.name
    );
    let done = rehearse(&database.url, &around).expect(3);
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::NotRehearsed(NotRehearsed::WentAround)
    );
    assert!(report.message.contains("--env NAME"), "{done}");
    assert_eq!(database.dump(), before);
}

/// Of another role in another database: it is known by its name alone.
#[test]
fn a_session_of_the_command_in_another_database_is_ended_before_it_commits() {
    let server = Options::new(postgres::major())
        .conf("autovacuum = off")
        .start();
    let (database, other) = (server.database(), server.database());
    other.psql("CREATE ROLE billing LOGIN; CREATE TABLE invoices (); ALTER TABLE invoices OWNER TO billing");
    let before = other.dump();
    let around = format!(
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE notes ()' &&
         psql 'host=127.0.0.1 port={} user=billing dbname={}' -Xq \
         -c 'BEGIN' -c 'DROP TABLE invoices' -c 'SELECT pg_sleep(60)' -c 'COMMIT'",
        server.port, other.name
    );
    let done = rehearse(&database.url, &around).expect(3);
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::NotRehearsed(NotRehearsed::WentAround)
    );
    assert!(report.message.contains(&other.name), "{done}");
    assert_eq!(other.dump(), before);
}

#[test]
fn an_application_of_the_same_role_and_address_does_not_end_the_run() {
    let database = orders();
    let application = format!(
        "psql 'host=127.0.0.1 port={} user=postgres dbname={} application_name=orders-api' \
         -Xqc 'SELECT pg_sleep(1)' && psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE last ()'",
        database.server.port, database.name
    );
    let report = rehearse(&database.url, &application).report();
    assert_eq!(report.statements.len(), 1);
    assert_ne!(
        report.verdict,
        Verdict::NotRehearsed(NotRehearsed::WentAround)
    );
}

#[test]
fn concurrently_is_substituted_on_a_small_table_and_refused_on_a_large_one() {
    let database = orders();
    let sql = "CREATE INDEX CONCURRENTLY orders_total ON orders (total);";
    let report = rehearse_sql(&database.url, sql).expect(0).report();
    assert!(
        report
            .statements
            .iter()
            .any(|statement| matches!(statement.outcome, StatementOutcome::Substituted { .. })),
        "{report:?}"
    );
    let mut command = drydock(&database.url);
    command.args(["rehearse", "-o", "json", "--substitute-below", "1Ki", "--"]);
    command.args(["sh", "-c", &format!("psql \"$DATABASE_URL\" -Xqc '{sql}'")]);
    let done = Done::of(command).expect(3);
    assert_eq!(
        done.report().verdict,
        Verdict::NotRehearsed(NotRehearsed::CannotRunInTransaction)
    );
}

/// What the rehearsal has locked, who comes, and whose fault it is that they wait.
#[rstest]
#[case::writer_behind_the_plain_form(CREATE, "INSERT INTO orders (id) VALUES (0)", true)]
#[case::writer_behind_the_migrations_own_lock(CREATE, "INSERT INTO notes (id) VALUES (0)", false)]
#[case::reader_behind_the_migrations_own_lock(
    &["CREATE INDEX CONCURRENTLY i ON orders (total)", "ALTER TABLE orders ADD note text"],
    "SELECT count(*) FROM orders",
    false
)]
#[case::reader_behind_the_plain_form(
    &["REINDEX TABLE CONCURRENTLY orders"],
    "SELECT * FROM orders WHERE id = 1",
    true
)]
fn traffic_behind_the_plain_form_of_concurrently_is_no_budget_and_other_traffic_is(
    #[case] migration: &[&str],
    #[case] traffic: &str,
    #[case] plain_form: bool,
) {
    let database = orders();
    database.psql("CREATE TABLE notes (id int)");
    let holds = tempfile::NamedTempFile::new().unwrap();
    let statements: String = migration.iter().map(|sql| format!(" -c '{sql}'")).collect();
    let script = format!(
        "psql \"$DATABASE_URL\" -Xq {statements} -c '\\! echo now > {}' -c 'SELECT pg_sleep(20)'",
        holds.path().display()
    );
    let mut command = drydock(&database.url);
    command.args(["rehearse", "-o", "json", "--", "sh", "-c", &script]);
    // Over the socket: from another address than the command's.
    let url = Server::shared().socket_url(&database.name);
    let (path, traffic) = (holds.path().to_owned(), traffic.to_owned());
    let application = std::thread::spawn(move || {
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        postgres::psql(&url, &traffic);
    });
    let done = Done::of(command).expect(if plain_form { 3 } else { 5 });
    application.join().unwrap();
    let expected = if plain_form {
        Verdict::NotRehearsed(NotRehearsed::SubstitutionBlockedTraffic)
    } else {
        Verdict::BudgetExceeded(Budget::Blocking)
    };
    assert_eq!(done.report().verdict, expected, "{done}");
}

const CREATE: &[&str] = &[
    "CREATE INDEX CONCURRENTLY i ON orders (total)",
    "ALTER TABLE notes ADD note text",
];

#[test]
fn another_run_on_the_same_database_is_told_by_whom_it_is_busy() {
    let database = orders();
    let mut first = drydock(&database.url)
        .args([
            "rehearse",
            "--",
            "sh",
            "-c",
            "sleep 2; psql \"$DATABASE_URL\" -Xqc 'SELECT 1'",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while database.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        == "0"
    {
        assert!(began.elapsed().as_secs() < 10, "the first run never began");
    }
    let done = rehearse(&database.url, "true").expect(6);
    assert_eq!(
        done.report().verdict,
        Verdict::Environment(Environment::Busy)
    );
    assert!(done.report().message.contains("drydock/local-"), "{done}");
    assert!(first.wait().unwrap().success());
}

#[test]
fn the_variables_of_libpq_lead_to_the_rehearsal_too() {
    let database = orders();
    let before = database.dump();
    let mut command = bare();
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", database.server.port.to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", &database.name)
        .args([
            "rehearse",
            "-o",
            "json",
            "--",
            "psql",
            "-Xqc",
            "CREATE TABLE t ()",
        ]);
    let report = Done::of(command).expect(0).report();
    assert_eq!(report.statements.len(), 1);
    assert_eq!(database.dump(), before);
}

#[test]
fn standard_output_carries_the_report_and_nothing_else() {
    let database = orders();
    let done = rehearse(
        &database.url,
        "echo from the command; psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE t ()'",
    )
    .expect(0);
    assert_eq!(done.stdout.lines().count(), 1, "{done}");
    assert!(done.stderr.contains("from the command"), "{done}");
}
