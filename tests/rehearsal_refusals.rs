//! What a rehearsal does not run: each statement is stopped before the server sees it, or something
//! stands for it, and the record says so with a cause.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "lab/rehearse.rs"]
mod rehearse;
#[path = "lab/wire.rs"]
mod wire;

use drydock::rehearsal::proxy::Record;
use drydock::report::StatementOutcome;
use drydock::verdict::{Budget, NotRehearsed, Verdict};
use postgres::{Database, Server};
use rehearse::Rehearsed;
use rstest::rstest;
use wire::Client;

/// Rehearses queries one by one, and gives the answers to the last of them.
fn rehearse(database: &Database<'_>, queries: &[&str]) -> (Vec<String>, Record) {
    let rehearsed = Rehearsed::start(database);
    let mut client = Client::new(&rehearsed.url);
    let mut last = Vec::new();
    for query in queries {
        last = client.talk(&[&format!("Q {query}")]);
    }
    drop(client);
    let record = rehearsed.finish();
    assert!(record.gapless, "{queries:?}: {:?}", record.verdict);
    (last, record)
}

fn cause(record: &Record) -> Option<NotRehearsed> {
    match record.verdict.as_ref().map(|(verdict, _)| verdict)? {
        Verdict::NotRehearsed(cause) => Some(*cause),
        other => panic!("{other:?}"),
    }
}

fn finding(record: &Record, code: &str) -> bool {
    record.findings.iter().any(|finding| finding.code == code)
}

#[test]
fn effects_that_outlive_a_rollback_are_stopped_and_are_the_cause() {
    let database = Server::shared().database();
    database.psql("CREATE SEQUENCE s; CREATE TABLE t (a int)");
    for statement in [
        "SELECT setval('s', 100)",
        "SELECT setval('s'::regclass, 100) FROM t",
        "DO $$ BEGIN PERFORM setval('s', 100); END $$",
        "ALTER SEQUENCE s RESTART WITH 100",
        "COPY t FROM PROGRAM 'echo 1'",
        "COPY t TO '/tmp/drydock-never'",
        "SELECT * FROM dblink('dbname=postgres', 'CREATE TABLE never (a int)') AS t(a int)",
        "SELECT dblink_exec('dbname=postgres', 'CREATE TABLE never (a int)')",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_cancel_backend(1)",
        "SELECT pg_create_physical_replication_slot('never')",
        "SELECT pg_drop_replication_slot('never')",
        "SELECT pg_logical_emit_message(false, 'a', 'b')",
        "SELECT lo_export(1, '/tmp/drydock-never')",
        "SELECT pg_file_write('never', 'x', false)",
        "SELECT pg_switch_wal()",
        "SELECT pg_reload_conf()",
        "SELECT pg_stat_reset()",
        "SELECT http_get('http://localhost')",
        "SELECT aws_s3.query_export_to_s3('x')",
        "DO $$BEGIN COPY t TO PROGRAM 'touch /tmp/drydock-never'; END$$",
        "DO $$BEGIN EXECUTE 'COPY t TO PROGRAM ''touch /tmp/drydock-never'''; END$$",
        "DO $$BEGIN EXECUTE format('COPY %I TO PROGRAM %L', 't', 'cat'); END$$",
        "DO $$BEGIN ALTER SEQUENCE s RESTART WITH 100; END$$",
        "SELECT U&\"setv\\0061l\"('s', 100)",
        "SELECT U&\"setv!0061l\" UESCAPE '!' ('s', 100)",
    ] {
        for queries in [&[statement][..], &["BEGIN", statement][..]] {
            let (answers, record) = rehearse(&database, queries);
            assert_eq!(answers[0], "error 0A000", "{queries:?}");
            let expected = Some(NotRehearsed::EffectOutlivesRollback);
            assert_eq!(cause(&record), expected, "{queries:?}");
            let last = &record.statements.last().unwrap().outcome;
            assert!(
                matches!(last, StatementOutcome::Error(error) if error.code == "0A000"),
                "{queries:?}: {last:?}"
            );
        }
    }
    assert_eq!(database.psql("SELECT last_value FROM s"), "1");
}

/// By their numbers in `pg_proc`: `setval`, both, `pg_terminate_backend`, `lo_export`.
#[rstest]
#[case(1576)]
#[case(1765)]
#[case(2096)]
#[case(765)]
fn a_function_called_by_its_number_is_stopped_as_one_that_is_called_by_its_name(
    #[case] function: u32,
) {
    let database = Server::shared().database();
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    let call = format!("F {function} 1");
    let answers = client.talk(&[&call, "Q SELECT 1"]);
    assert_eq!(answers[..2], ["error 0A000", "ready I"]);
    assert_eq!(answers[3], "row 1");
    let answers = client.talk(&["Q BEGIN", &call, "Q SELECT 1"]);
    assert_eq!(
        answers[2..],
        ["error 0A000", "ready E", "error 25P02", "ready E"]
    );
    let record = rehearsed.finish();
    assert!(record.gapless, "{:?}", record.verdict);
    assert_eq!(cause(&record), Some(NotRehearsed::EffectOutlivesRollback));
}

#[test]
fn names_that_only_look_like_calls_are_rehearsed() {
    let database = Server::shared().database();
    let (answers, record) = rehearse(
        &database,
        &[
            "CREATE TABLE http_get (id int PRIMARY KEY)",
            "CREATE TABLE dblink_logs (id int REFERENCES http_get (id))",
            "INSERT INTO http_get (id) VALUES (1)",
            "CREATE INDEX ON http_get (id)",
            "CREATE FUNCTION dblink_x(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION dblink_x(int)",
            "GRANT EXECUTE ON FUNCTION pg_stat_reset() TO CURRENT_USER",
            "WITH http_get (a) AS (SELECT 1) SELECT a FROM http_get",
        ],
    );
    assert_eq!(answers[1], "row 1");
    assert!(record.verdict.is_none(), "{:?}", record.verdict);
}

#[test]
fn a_sequence_of_the_rehearsal_itself_may_be_moved() {
    let database = Server::shared().database();
    let (answers, record) = rehearse(
        &database,
        &[
            "CREATE TABLE t (id serial PRIMARY KEY)",
            "SELECT setval(pg_get_serial_sequence('t', 'id'), 100)",
            "ALTER SEQUENCE t_id_seq RESTART WITH 7",
            "SELECT nextval('t_id_seq')",
        ],
    );
    assert_eq!(answers[1], "row 7");
    assert!(record.verdict.is_none(), "{:?}", record.verdict);
}

const MOVES: &str = "SELECT setval('s', 100)";

#[test]
fn a_sequence_that_somebody_else_makes_meanwhile_is_never_moved() {
    for major in [13, 18] {
        let database = Server::shared_of(major).database();
        let rehearsed = Rehearsed::start(&database);
        let mut client = Client::new(&rehearsed.url);
        client.talk(&["Q CREATE TABLE t (a int)"]);
        database.psql("CREATE SEQUENCE s");
        let answers = client.talk(&[&format!("Q {MOVES}")]);
        assert_eq!(answers[0], "error 0A000", "{major}");
        let expected = Some(NotRehearsed::EffectOutlivesRollback);
        assert_eq!(cause(&rehearsed.finish()), expected, "{major}");
        assert_eq!(database.psql("SELECT last_value FROM s"), "1", "{major}");
    }
}

#[test]
fn a_sequence_from_before_is_not_new_because_the_rehearsal_changed_its_rows() {
    for major in [13, 18] {
        for change in [
            "GRANT SELECT (last_value, log_cnt, is_called) ON s TO public",
            "ALTER SEQUENCE s MAXVALUE 1000",
            "ALTER SEQUENCE s AS int",
            "ALTER SEQUENCE s RENAME TO r; ALTER SEQUENCE r RENAME TO s",
        ] {
            let database = Server::shared_of(major).database();
            database.psql("CREATE SEQUENCE s");
            let (answers, record) = rehearse(&database, &[change, MOVES]);
            assert_eq!(answers[0], "error 0A000", "{major}: {change}");
            let expected = Some(NotRehearsed::EffectOutlivesRollback);
            assert_eq!(cause(&record), expected, "{major}: {change}");
            let last = database.psql("SELECT last_value FROM s");
            assert_eq!(last, "1", "{major}: {change}");
        }
    }
}

#[test]
fn a_sequence_is_new_in_whatever_subtransaction_it_was_made() {
    for major in [13, 18] {
        let server = Server::shared_of(major);
        let (direct, through) = (server.database(), server.database());
        for database in [&direct, &through] {
            database.psql("CREATE SEQUENCE prod");
        }
        let rehearsed = Rehearsed::start(&through);
        let (mut one, mut other) = (Client::new(&direct.url), Client::new(&rehearsed.url));
        for query in [
            "CREATE SEQUENCE a",
            "SELECT setval('a', 2)",
            "BEGIN",
            "SAVEPOINT x",
            "CREATE SEQUENCE s",
            "SELECT setval('s', 5)",
            "RELEASE x",
            "SELECT setval('s', 6)",
            "SAVEPOINT y",
            "DROP SEQUENCE s",
            "CREATE SEQUENCE s",
            "SELECT setval('s', 7)",
            "ROLLBACK TO y",
            "SELECT nextval('s')",
            "COMMIT",
            "SELECT setval('s', 8), setval('a', 9)",
            "DROP SEQUENCE s",
            "SELECT setval('s', 8)",
            "DROP SEQUENCE prod",
            "CREATE SEQUENCE prod",
            "SELECT setval('prod', 8)",
            "SELECT setval('missing', 1)",
            "SELECT setval('pg_class', 1)",
            "SELECT 1",
        ] {
            let said = [&mut one, &mut other].map(|client| client.talk(&[&format!("Q {query}")]));
            assert_eq!(said[1], said[0], "{major}: {query}");
        }
        let record = rehearsed.finish();
        assert!(record.verdict.is_none(), "{major}: {:?}", record.verdict);
    }
}

#[rstest]
#[case("Q SELECT setval('OID', 100)")]
#[case("Q SELECT setval('OID'::regclass, 100)")]
#[case("QL SELECT setval('zähler', 100)")]
#[case("QL SELECT setval('\"zähler\"', 100)")]
#[case("QL SELECT setval(pg_get_serial_sequence('zähl', 'a'), 100)")]
#[case("QL SELECT setval(pg_get_serial_sequence('t', 'ä'), 100)")]
#[case("QL ALTER SEQUENCE zähler RESTART")]
fn a_sequence_whose_name_cannot_be_looked_up_as_the_server_does_is_not_moved(
    #[case] statement: &str,
) {
    for major in [13, 18] {
        let database = Server::shared_of(major).database();
        database.psql(
            "CREATE SEQUENCE \"zähler\"; CREATE TABLE \"zähl\" (a serial); CREATE TABLE t (\"ä\" serial)",
        );
        let oid = database.psql("SELECT '\"zähler\"'::regclass::oid");
        let values = "SELECT string_agg(coalesce(last_value, 0)::text, ',') FROM pg_sequences";
        let before = database.psql(values);
        let rehearsed = Rehearsed::start(&database);
        let mut client = Client::new(&rehearsed.url);
        if statement.starts_with("QL") {
            client.talk(&["Q SET client_encoding = latin1"]);
        }
        let answers = client.talk(&[&statement.replace("OID", &oid)]);
        assert_eq!(answers[0], "error 0A000", "{major}");
        let record = rehearsed.finish();
        let expected = Some(NotRehearsed::EffectOutlivesRollback);
        assert_eq!(cause(&record), expected, "{major}");
        assert_eq!(database.psql(values), before, "{major}");
    }
}

#[rstest]
#[case("QL CREATE INDEX CONCURRENTLY i ON tä (a)")]
#[case("QL DROP INDEX CONCURRENTLY iä")]
#[case("QL REINDEX TABLE CONCURRENTLY tä")]
#[case("QL CREATE TEMP TABLE dä (a int) ON COMMIT DROP")]
fn what_depends_on_an_object_that_cannot_be_looked_up_is_not_rehearsed(#[case] statement: &str) {
    for major in [13, 18] {
        let database = Server::shared_of(major).database();
        database.psql("CREATE TABLE \"tä\" (a int); CREATE INDEX \"iä\" ON \"tä\" (a)");
        let rehearsed = Rehearsed::start(&database);
        let mut client = Client::new(&rehearsed.url);
        if statement.starts_with("QL") {
            client.talk(&["Q SET client_encoding = latin1"]);
        }
        let answers = client.talk(&[statement]);
        assert!(
            answers.contains(&"error 0A000".to_owned()),
            "{major}: {answers:?}"
        );
        let record = rehearsed.finish();
        let expected = Some(NotRehearsed::AmbiguousStatement);
        assert_eq!(cause(&record), expected, "{major}");
        assert!(record.gapless, "{major}");
    }
}

#[test]
fn a_look_up_that_the_server_refuses_is_the_statements_own_error() {
    for major in [13, 18] {
        let server = Server::shared_of(major);
        server.database().psql(
            "DO $$ BEGIN CREATE ROLE outsider LOGIN; EXCEPTION WHEN duplicate_object THEN END $$",
        );
        let database = server.database();
        database
            .psql("CREATE SCHEMA closed; CREATE TABLE closed.t (a int); CREATE SEQUENCE closed.s");
        let url = database.url.replace("postgres@", "outsider@");
        for (statement, code) in [
            ("CREATE INDEX CONCURRENTLY i ON closed.t (a)", "error 42501"),
            ("DROP INDEX CONCURRENTLY closed.i", "error 42501"),
            ("SELECT setval('closed.s', 1)", "error 42501"),
            ("ALTER SEQUENCE closed.s RESTART", "error 42501"),
            (
                "SELECT setval(pg_get_serial_sequence('pg_class', 'missing'), 1)",
                "error 42703",
            ),
        ] {
            let rehearsed = Rehearsed::start_at(&url, &database.name, major);
            let mut client = Client::new(&rehearsed.url);
            let answers = client.talk(&[&format!("Q {statement}"), "Q SELECT 1"]);
            assert_eq!(answers[0], code, "{major}: {statement}");
            assert_eq!(
                answers[2..],
                ["RowDescription", "row 1", "done SELECT 1", "ready I"]
            );
            let record = rehearsed.finish();
            assert!(record.gapless && record.verdict.is_none(), "{statement}");
        }
    }
}

#[rstest]
#[case("PREPARE TRANSACTION 'x'", NotRehearsed::TwoPhaseCommit)]
#[case("COMMIT PREPARED 'x'", NotRehearsed::TwoPhaseCommit)]
#[case("SELECT pg_export_snapshot()", NotRehearsed::SnapshotExchange)]
#[case(
    "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
    NotRehearsed::SnapshotExchange
)]
#[case(
    "ALTER SYSTEM SET work_mem = '1MB'",
    NotRehearsed::CannotRunInTransaction
)]
#[case("CREATE DATABASE never", NotRehearsed::CannotRunInTransaction)]
#[case("DROP DATABASE never", NotRehearsed::CannotRunInTransaction)]
#[case(
    "CREATE TABLESPACE never LOCATION '/never'",
    NotRehearsed::CannotRunInTransaction
)]
#[case("DROP TABLESPACE never", NotRehearsed::CannotRunInTransaction)]
#[case(
    "CREATE SUBSCRIPTION never CONNECTION 'x' PUBLICATION y",
    NotRehearsed::CannotRunInTransaction
)]
#[case("DROP SUBSCRIPTION never", NotRehearsed::CannotRunInTransaction)]
#[case("REINDEX SCHEMA public", NotRehearsed::CannotRunInTransaction)]
#[case("REINDEX DATABASE postgres", NotRehearsed::CannotRunInTransaction)]
fn what_no_transaction_can_hold_is_refused(
    #[case] statement: &str,
    #[case] expected: NotRehearsed,
) {
    let (answers, record) = rehearse(&Server::shared().database(), &[statement]);
    assert_eq!(answers, ["error 0A000", "ready I"]);
    assert_eq!(cause(&record), Some(expected));
}

#[test]
fn in_a_transaction_block_the_servers_own_25001_is_the_answer() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE t (a int)");
    for statement in [
        "VACUUM t",
        "CREATE INDEX CONCURRENTLY i ON t (a)",
        "CREATE DATABASE never",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "REINDEX SCHEMA public",
        "DISCARD ALL",
    ] {
        let (answers, record) = rehearse(&database, &["BEGIN", statement]);
        assert_eq!(answers, ["error 25001", "ready E"], "{statement}");
        assert!(
            record.verdict.is_none(),
            "{statement}: {:?}",
            record.verdict
        );
    }
    // Several statements of one string are a transaction too.
    let (answers, _) = rehearse(
        &database,
        &["SELECT 1; CREATE INDEX CONCURRENTLY i ON t (a)"],
    );
    assert!(answers.contains(&"error 25001".to_owned()), "{answers:?}");
}

#[test]
fn what_only_the_server_knows_to_be_impossible_in_a_transaction_is_not_rehearsed() {
    let database = Server::shared().database();
    database.psql(
        "CREATE TABLE p (a int) PARTITION BY RANGE (a); \
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (2); CREATE INDEX pi ON p (a)",
    );
    for statement in [
        "CLUSTER",
        "REINDEX INDEX pi",
        "REINDEX TABLE CONCURRENTLY p",
    ] {
        let (answers, record) = rehearse(&database, &[statement]);
        assert_eq!(answers[0], "error 25001", "{statement}");
        let expected = Some(NotRehearsed::CannotRunInTransaction);
        assert_eq!(cause(&record), expected, "{statement}");
    }
}

#[test]
fn commit_inside_of_code_is_not_rehearsed() {
    let (answers, record) = rehearse(
        &Server::shared().database(),
        &["DO $$ BEGIN COMMIT; END $$"],
    );
    assert_eq!(answers[0], "error 2D000");
    let expected = Some(NotRehearsed::TransactionControlInBlock);
    assert_eq!(cause(&record), expected);
}

#[test]
fn an_enum_value_that_is_used_before_its_commit_is_not_rehearsed() {
    let database = Server::shared().database();
    database.psql("CREATE TYPE e AS ENUM ('a')");
    let (answers, record) = rehearse(&database, &["ALTER TYPE e ADD VALUE 'b'", "SELECT 'b'::e"]);
    assert_eq!(answers[0], "error 55P04 at 8");
    assert_eq!(cause(&record), Some(NotRehearsed::CannotRunInTransaction));
}

#[test]
fn vacuum_is_skipped_and_reported() {
    let (answers, record) = rehearse(&Server::shared().database(), &["VACUUM"]);
    assert_eq!(answers, ["done VACUUM", "ready I"]);
    assert!(record.verdict.is_none());
    assert!(finding(&record, "VacuumSkipped"));
}

const PARTITIONED: &str = "CREATE TABLE t (a int CONSTRAINT un UNIQUE, b text);
    CREATE TABLE p (a int, b text) PARTITION BY LIST (b);
    CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('x', 'y');
    CREATE TABLE p2 PARTITION OF p DEFAULT;
    CREATE TABLE q (a int, b text) PARTITION BY RANGE (a);
    CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (1) TO (5);
    CREATE TABLE r (a int, b text) PARTITION BY LIST (b);
    CREATE TABLE r1 PARTITION OF r FOR VALUES IN ('x', 'y');
    CREATE INDEX pi ON p (a); CREATE INDEX ti ON t (b); CREATE INDEX tj ON t (b, a);";

/// What a CONCURRENTLY statement leaves.
const STATE: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT pg_get_indexdef(indexrelid) || indisvalid::text AS line FROM pg_index
     WHERE indrelid::regclass::text IN ('t', 'p', 'p1', 'q1', 'r1')
    UNION ALL SELECT conrelid::regclass::text || conname::text || pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid::regclass::text IN ('t', 'p1', 'q1', 'r1')
    UNION ALL SELECT inhrelid::regclass::text FROM pg_inherits) lines(line)";

#[test]
fn concurrently_ends_and_is_refused_as_the_real_form_is() {
    let server = Server::shared();
    for (statement, runs) in [
        ("CREATE INDEX CONCURRENTLY i ON t (b)", true),
        ("CREATE UNIQUE INDEX CONCURRENTLY ON t (a)", true),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS ti ON t (b)", true),
        ("DROP INDEX CONCURRENTLY ti", true),
        ("REINDEX INDEX CONCURRENTLY ti", true),
        ("REINDEX TABLE CONCURRENTLY t", true),
        ("ALTER TABLE q DETACH PARTITION q1 CONCURRENTLY", true),
        ("ALTER TABLE r DETACH PARTITION r1 CONCURRENTLY", true),
        ("DROP INDEX CONCURRENTLY un", false),
        ("DROP INDEX CONCURRENTLY ti, tj", false),
        ("DROP INDEX CONCURRENTLY ti CASCADE", false),
        ("DROP INDEX CONCURRENTLY pi", false),
        ("DROP INDEX CONCURRENTLY p1_a_idx", false),
        ("DROP INDEX CONCURRENTLY t", false),
        ("DROP INDEX CONCURRENTLY nowhere", false),
        ("CREATE INDEX CONCURRENTLY ON p (b)", false),
        ("CREATE INDEX CONCURRENTLY ON nowhere (b)", false),
        ("CREATE INDEX CONCURRENTLY ON t (nowhere)", false),
        ("REINDEX TABLE CONCURRENTLY pg_class", false),
        ("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY", false),
        ("ALTER TABLE q DETACH PARTITION q1 FINALIZE", false),
    ] {
        let (direct, through) = (server.database(), server.database());
        direct.psql(PARTITIONED);
        through.psql(PARTITIONED);
        let rehearsed = Rehearsed::start(&through);
        let told = [&direct.url, &rehearsed.url].map(|url| {
            let mut client = Client::new(url);
            let answers = client.talk(&[&format!("Q {statement}")]);
            (answers, client.ask(STATE))
        });
        assert_eq!(told[1], told[0], "{statement}");
        let record = rehearsed.finish();
        assert!(record.gapless && record.verdict.is_none(), "{statement}");
        let substituted = finding(&record, "ConcurrentlySubstituted");
        assert_eq!(substituted, runs, "{statement}");
        if runs {
            let outcome = &record.statements[0].outcome;
            assert!(
                matches!(outcome, StatementOutcome::Substituted { by } if !by.contains("CONCURRENTLY")),
                "{statement}: {outcome:?}"
            );
        }
    }
}

#[test]
fn concurrently_that_would_wait_for_another_transaction_says_so() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE t (a int)");
    let mut other = Client::new(&database.url);
    other.talk(&[
        "Q BEGIN ISOLATION LEVEL REPEATABLE READ",
        "Q SELECT count(*), pg_sleep(1.2) FROM t",
    ]);
    let (_, record) = rehearse(&database, &["CREATE INDEX CONCURRENTLY i ON t (a)"]);
    assert!(
        finding(&record, "ConcurrentlyWouldWait"),
        "{:?}",
        record.findings
    );
    other.talk(&["Q COMMIT"]);
    let (_, record) = rehearse(&database, &["CREATE INDEX CONCURRENTLY i ON t (a)"]);
    assert!(!finding(&record, "ConcurrentlyWouldWait"));
}

#[test]
fn concurrently_in_a_pipeline_is_refused_as_in_a_transaction() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    let answers = client.talk(&[
        "P - SELECT 1",
        "B - -",
        "E -",
        "P - CREATE INDEX CONCURRENTLY i ON t (a)",
        "B - -",
        "E -",
        "S",
    ]);
    assert!(answers.contains(&"error 25001".to_owned()), "{answers:?}");
    assert!(rehearsed.finish().verdict.is_none());
}

#[test]
fn a_deadlock_ends_the_rehearsal_and_never_the_application_that_came_later() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE a (a int); CREATE TABLE b (b int)");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    let mut application = Client::new(&database.url);
    application.talk(&["Q BEGIN", "Q LOCK TABLE b"]);
    client.talk(&["Q BEGIN", "Q LOCK TABLE a"]);
    client.send(&["Q LOCK TABLE b"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    application.send(&["Q LOCK TABLE a"]);
    assert_eq!(client.hear(1), ["error 40P01", "ready E"]);
    assert_eq!(application.hear(1), ["done LOCK TABLE", "ready T"]);
    drop(client);
    let (verdict, _) = rehearsed.finish().verdict.expect("a verdict");
    assert_eq!(verdict, Verdict::BudgetExceeded(Budget::LockWait));
}

#[test]
fn a_superuser_is_warned_of() {
    let database = Server::shared().database();
    let warnings = tokio::runtime::Runtime::new().unwrap().block_on(async {
        use drydock::postgres::connect::{self, StartupSettings};
        use drydock::postgres::url::{Environment, parse};
        let (target, _) = parse(&database.url, &Environment::new()).unwrap();
        let settings = StartupSettings::first("test");
        let mut client = connect::client(&target, &settings).await.unwrap();
        let identity = drydock::postgres::identity::check(&mut client)
            .await
            .unwrap();
        identity.warnings
    });
    assert!(
        warnings[0].to_string().contains("is a superuser"),
        "{warnings:?}"
    );
}

/// As a driver that prepares first and executes what could be prepared.
#[test]
fn a_statement_that_cannot_even_be_parsed_is_recorded_as_the_one_that_failed() {
    let database = Server::shared().database();
    let failed = |record: &Record| {
        let last = record.statements.last().unwrap();
        match &last.outcome {
            StatementOutcome::Error(error) => (last.text.clone(), error.code.clone()),
            other => panic!("{other:?}"),
        }
    };
    for (says, text, code) in [
        (
            &["P - INSERT INTO missing VALUES ('secret')", "S"][..],
            "INSERT INTO missing VALUES (?)",
            "42P01",
        ),
        (
            &["Q SELECT 1; SELECT 2; SELEKT 'secret'"][..],
            "SELEKT ?",
            "42601",
        ),
    ] {
        let rehearsed = Rehearsed::start(&database);
        let mut client = Client::new(&rehearsed.url);
        client.talk(&["Q SELECT 1"]);
        client.talk(says);
        let record = rehearsed.finish();
        assert_eq!(failed(&record), (text.to_owned(), code.to_owned()));
    }
    // What the server says of a failed block is not what failed.
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    client.talk(&["Q BEGIN", "Q SELECT missing"]);
    client.talk(&["P - SELECT 1", "S"]);
    assert_eq!(failed(&rehearsed.finish()).1, "42703");
}
