//! What a client believes to be transactions ends as on a direct connection: the rules by which one
//! transaction that cannot commit stands for many that do. Each test says which rule it holds the
//! rehearsal to.
//!
//! Where the server's own behaviour is the measure, the same messages go to a server directly and
//! through a rehearsal, and the answers must be the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "lab/rehearse.rs"]
mod rehearse;
#[path = "lab/wire.rs"]
mod wire;

use drydock::postgres::connect::{self, StartupSettings};
use drydock::postgres::url::{Environment, parse};
use drydock::rehearsal::proxy::Record;
use drydock::verdict::{Budget, NotRehearsed, Verdict};
use postgres::{Database, Server};
use rehearse::Rehearsed;
use rstest::rstest;
use wire::Client;

/// How many transaction ids the session has, the rehearsal's own among them.
const IDS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' \
                   AND mode = 'ExclusiveLock' AND pid = pg_backend_pid()";

/// Says the same to a server and to a rehearsal of it, and compares the answers. Each part is one
/// write, and ends with a Query or a Sync.
fn same(setup: &str, parts: &[&[&str]]) -> Vec<Record> {
    [13, 18]
        .into_iter()
        .map(|major| same_of(major, setup, parts))
        .collect()
}

fn same_of(major: u8, setup: &str, parts: &[&[&str]]) -> Record {
    same_as("postgres", major, setup, parts)
}

/// The same as another role, which the setup makes.
fn same_as(role: &str, major: u8, setup: &str, parts: &[&[&str]]) -> Record {
    let server = Server::shared_of(major);
    let (direct, through) = (server.database(), server.database());
    for database in [&direct, &through] {
        database.psql(setup);
    }
    let before = through.dump();
    let url_of = |database: &Database<'_>| database.url.replace("postgres@", &format!("{role}@"));
    let rehearsed = Rehearsed::start_at(&url_of(&through), &through.name, major);
    let (mut one, mut other) = (Client::new(&url_of(&direct)), Client::new(&rehearsed.url));
    for part in parts {
        assert_eq!(other.talk(part), one.talk(part), "{major}: {part:?}");
        assert_eq!(other.settings, one.settings, "{major}: {part:?}");
    }
    drop(other);
    let record = rehearsed.finish();
    assert!(record.gapless, "{major}: {:?}", record.verdict);
    assert_eq!(through.dump(), before, "{major}: nothing is left");
    record
}

fn cause(record: &Record) -> Option<NotRehearsed> {
    match record.verdict.clone()?.0 {
        Verdict::NotRehearsed(cause) => Some(cause),
        other => panic!("{other:?}: {:?}", record.verdict),
    }
}

/// The same, and nothing where there is no verdict yet or another one.
fn cause_of(record: &Record) -> Option<NotRehearsed> {
    match record.verdict.clone()?.0 {
        Verdict::NotRehearsed(cause) => Some(cause),
        _ => None,
    }
}

fn finding<'a>(record: &'a Record, code: &str) -> Option<&'a str> {
    let mut findings = record.findings.iter();
    findings
        .find(|finding| finding.code == code)
        .map(|finding| finding.message.as_str())
}

fn database(setup: &str) -> Database<'static> {
    let database = Server::shared().database();
    database.psql(setup);
    database
}

#[test]
fn rule_1_read_only_statements_get_no_transaction_id() {
    let database = database("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    for sql in [
        "SELECT * FROM t",
        "BEGIN; SELECT count(*) FROM pg_class; COMMIT",
        "SET search_path = public; SHOW search_path",
        "EXPLAIN SELECT * FROM t",
        "PREPARE p AS SELECT 1; EXECUTE p",
    ] {
        client.talk(&[&format!("Q {sql}")]);
        assert_eq!(client.ask(IDS), "1", "{sql}");
    }
    assert!(!rehearsed.finish().wrote);
}

#[test]
fn rule_1_one_savepoint_stands_for_all_transactions() {
    let database = database("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    for _ in 0..70 {
        client.talk(&["Q INSERT INTO t VALUES (1)"]);
    }
    client.talk(&["Q BEGIN", "Q INSERT INTO t VALUES (1)"]);
    assert_eq!(client.ask(IDS), "2");
    let record = rehearsed.finish();
    let message = finding(&record, "SubtransactionsOverflowed").expect("a finding");
    assert!(message.contains(" 70 "), "{message}");
}

#[test]
fn rule_1_up_to_64_writing_transactions_are_nothing_to_speak_of() {
    let database = database("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    for _ in 0..60 {
        client.talk(&["Q INSERT INTO t VALUES (1)"]);
    }
    assert_eq!(
        finding(&rehearsed.finish(), "SubtransactionsOverflowed"),
        None
    );
}

#[test]
fn rule_2_modes_of_a_transaction_hold_and_isolation_levels_are_absorbed() {
    for record in same(
        "CREATE TABLE t (a int)",
        &[
            &["Q BEGIN READ ONLY"],
            &["Q INSERT INTO t VALUES (1)"],
            &["Q ROLLBACK"],
            &["Q BEGIN ISOLATION LEVEL SERIALIZABLE"],
            &["Q INSERT INTO t VALUES (1)"],
            &["Q COMMIT"],
            &["Q BEGIN"],
            &["Q SELECT 1"],
            &["Q SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
            &["Q ROLLBACK"],
            &["Q BEGIN; SET TRANSACTION READ ONLY; CREATE TABLE u (a int)"],
            &["Q ROLLBACK"],
            &["Q SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"],
            &["Q INSERT INTO t VALUES (1)"],
            &["Q BEGIN READ WRITE"],
            &["Q INSERT INTO t VALUES (1)"],
            &["Q COMMIT"],
        ],
    ) {
        assert!(finding(&record, "IsolationLevelAbsorbed").is_some());
    }
}

#[test]
fn rule_3_a_failed_transaction_answers_as_the_server_does() {
    same(
        "",
        &[
            &["Q BEGIN"],
            &["Q SELECT 1/0"],
            &["Q SELECT 1"],
            &["P - SELECT 1", "B - -", "E -", "S"],
            &["Q SAVEPOINT a"],
            &["Q BEGIN"],
            &["P - COMMIT", "B - -", "E -", "S"],
            &["Q BEGIN", "Q SELECT 1/0", "Q ROLLBACK AND CHAIN"],
            &["Q SELECT 1", "Q COMMIT"],
            &[
                "Q BEGIN",
                "Q SAVEPOINT a",
                "Q SELECT 1/0",
                "Q ROLLBACK TO a",
            ],
            &["Q SELECT 1", "Q RELEASE a", "Q COMMIT"],
        ],
    );
}

#[test]
fn rule_4_what_needs_a_transaction_is_answered_outside_of_one() {
    same(
        "",
        &[
            &["Q SAVEPOINT a"],
            &["Q RELEASE a"],
            &["Q ROLLBACK TO a"],
            &["Q LOCK TABLE pg_class"],
            &["Q DECLARE c CURSOR FOR SELECT 1"],
            &["Q COMMIT"],
            &["Q ROLLBACK"],
            &["Q SET LOCAL work_mem = '1MB'"],
            &["Q SET TRANSACTION READ ONLY"],
            &["Q SET CONSTRAINTS ALL DEFERRED"],
            &["Q BEGIN", "Q BEGIN", "Q COMMIT"],
            &["Q COMMIT AND CHAIN"],
            &["Q BEGIN", "Q COMMIT AND CHAIN", "Q SELECT 1", "Q ROLLBACK"],
        ],
    );
}

#[test]
fn rule_4_what_has_no_effect_outside_of_a_transaction_is_read_by_the_server_all_the_same() {
    for record in same(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1);
         CREATE TABLE later (id int CONSTRAINT later_unique UNIQUE DEFERRABLE)",
        &[
            &["Q VACUUM t"],
            &["Q VACUUM (ANALYZE) t (a), later"],
            &["Q VACUUM FULL public.t"],
            &["Q VACUUM t, nosuch"],
            &["Q VACUUM nosuch.t"],
            &["Q VACUUM t later x"],
            &["P - VACUUM nosuch", "B - -", "E -", "S"],
            &["P v VACUUM t", "B - v", "E -", "S"],
            &["Q SET LOCAL statment_timeout = 1"],
            &["Q SET LOCAL work_mem = 'much'"],
            &["Q SET LOCAL work_mem = '8MB'"],
            &["Q SHOW work_mem"],
            &["Q SET CONSTRAINTS nowhere IMMEDIATE"],
            &["Q SET CONSTRAINTS later_unique DEFERRED"],
            &["Q INSERT INTO later VALUES (1)"],
            &["Q BEGIN"],
            &["Q INSERT INTO later VALUES (1)"],
            &["Q ROLLBACK"],
            &["Q SET CONSTRAINTS ALL DEFERRED"],
        ],
    ) {
        assert_eq!(record.verdict, None);
    }
}

#[test]
fn rule_5_a_string_of_statements_is_one_transaction_and_is_read_before_it_runs() {
    same(
        "CREATE TABLE t (a int PRIMARY KEY)",
        &[
            &["Q INSERT INTO t VALUES (1); SELECT 1/0"],
            &["Q SELECT count(*) FROM t"],
            &["Q INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2); ROLLBACK; SELECT 'x'"],
            &["Q SELECT count(*) FROM t"],
            &["Q INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (1)"],
            &["Q SELECT count(*) FROM t"],
            &["Q INSERT INTO t VALUES (5); SELEKT 1"],
            &["Q SELECT 'ä'; SELECT missing"],
            &["Q SELECT count(*) FROM t;;  ; "],
            &["Q "],
            &["Q ;"],
            &["Q SELECT $1"],
            &["Q SELECT 1; SELECT pg_typeof($2)"],
        ],
    );
}

#[test]
fn rule_6_deferred_constraints_are_checked_where_a_commit_would() {
    const SETUP: &str = "CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE c (p int CONSTRAINT fk REFERENCES p DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE u (a int CONSTRAINT un UNIQUE DEFERRABLE);";
    same(
        SETUP,
        &[
            &["Q INSERT INTO c VALUES (1)"],
            &["P - INSERT INTO c VALUES (1)", "B - -", "E -", "S"],
            &["Q BEGIN", "Q INSERT INTO c VALUES (1)", "Q COMMIT"],
            &[
                "Q BEGIN",
                "Q INSERT INTO c VALUES (1)",
                "Q INSERT INTO p VALUES (1)",
                "Q COMMIT",
            ],
            &["Q BEGIN", "Q INSERT INTO c VALUES (2)"],
            &["P - COMMIT", "B - -", "E -", "S"],
            &[
                "Q BEGIN",
                "Q SET CONSTRAINTS fk IMMEDIATE",
                "Q INSERT INTO c VALUES (2)",
                "Q ROLLBACK",
            ],
            &["Q BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO u VALUES (1), (1); COMMIT"],
            &[
                "Q BEGIN",
                "Q SET CONSTRAINTS un DEFERRED",
                "Q INSERT INTO u VALUES (1), (1)",
                "Q DELETE FROM u",
                "Q COMMIT",
            ],
            &["Q INSERT INTO u VALUES (1), (1)"],
            &[
                "Q CREATE TABLE n (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO n VALUES (9)",
            ],
            &["Q BEGIN", "Q DROP TABLE c", "Q COMMIT"],
            &["Q SELECT count(*) FROM u"],
        ],
    );
}

/// Findings about deferred constraints that a COMMIT of the rehearsal did not check.
fn unchecked(record: &Record) -> Vec<&str> {
    let findings = record.findings.iter();
    findings
        .filter(|finding| finding.code == "DeferredConstraintNotChecked")
        .map(|finding| finding.message.as_str())
        .collect()
}

#[test]
fn rule_6_deferred_constraints_in_schemas_of_others_fail_no_commit_and_are_reported_once() {
    const SETUP: &str = "DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN END $$;
        CREATE SCHEMA \"Billing\"; CREATE TABLE \"Billing\".p (id int PRIMARY KEY);
        CREATE TABLE \"Billing\".c (p int CONSTRAINT bill REFERENCES \"Billing\".p DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE \"Billing\".d (p int CONSTRAINT late UNIQUE DEFERRABLE);
        CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE c (p int CONSTRAINT fk REFERENCES p DEFERRABLE INITIALLY DEFERRED);
        ALTER TABLE p OWNER TO stranger; ALTER TABLE c OWNER TO stranger;";
    for major in [13, 18] {
        let record = same_as(
            "stranger",
            major,
            SETUP,
            &[
                &["Q INSERT INTO p VALUES (1)"],
                &["P - INSERT INTO p VALUES (2)", "B - -", "E -", "S"],
                &["Q BEGIN", "Q INSERT INTO c VALUES (1)", "Q COMMIT"],
                &["Q BEGIN", "Q INSERT INTO c VALUES (9)", "Q COMMIT"],
                &["Q INSERT INTO c VALUES (9)"],
                &[
                    "Q BEGIN",
                    "Q SET CONSTRAINTS ALL IMMEDIATE",
                    "Q INSERT INTO c VALUES (2)",
                    "Q COMMIT",
                ],
                &["Q SELECT count(*) FROM c"],
            ],
        );
        assert!(record.verdict.is_none(), "{:?}", record.verdict);
        let found = unchecked(&record);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("\"Billing\".bill") && found[0].contains("USAGE"));
        assert!(found[1].contains("\"Billing\".late") && found[1].contains("USAGE"));
    }
}

#[test]
fn rule_6_a_role_without_the_right_to_a_schema_commits_as_on_a_direct_connection() {
    for record in same(
        "DO $$ BEGIN CREATE ROLE narrow; EXCEPTION WHEN duplicate_object THEN END $$;
         CREATE SCHEMA closed; CREATE TABLE closed.u (a int CONSTRAINT un UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE t (a int); GRANT ALL ON t TO narrow",
        &[
            &["Q INSERT INTO closed.u VALUES (1)"],
            &["Q SET ROLE narrow", "Q INSERT INTO t VALUES (1)"],
            &["Q BEGIN", "Q INSERT INTO t VALUES (1)", "Q COMMIT"],
            &["Q RESET ROLE", "Q INSERT INTO closed.u VALUES (1)"],
            &[
                "Q BEGIN",
                "Q SET LOCAL ROLE narrow",
                "Q INSERT INTO t VALUES (1)",
                "Q COMMIT",
            ],
            &["Q INSERT INTO closed.u VALUES (1)"],
        ],
    ) {
        assert_eq!(unchecked(&record).len(), 1, "{:?}", record.findings);
    }
}

#[test]
fn rule_6_a_deferrable_constraint_with_a_namesake_that_is_not_fails_no_commit_and_is_reported() {
    for record in same(
        "CREATE TABLE a (a int CONSTRAINT same CHECK (a > 0));
         CREATE TABLE b (b int CONSTRAINT same UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE d (d int CONSTRAINT later CHECK (d > 0));
         CREATE TABLE e (e int CONSTRAINT later UNIQUE DEFERRABLE);
         CREATE TABLE u (u int CONSTRAINT un UNIQUE DEFERRABLE INITIALLY DEFERRED);",
        &[
            &["Q INSERT INTO b VALUES (1)"],
            &["P - INSERT INTO b VALUES (2)", "B - -", "E -", "S"],
            &["Q BEGIN", "Q INSERT INTO b VALUES (3)", "Q COMMIT"],
            &["Q BEGIN", "Q INSERT INTO u VALUES (1), (1)", "Q COMMIT"],
            &["Q INSERT INTO u VALUES (1), (1)"],
            &[
                "Q BEGIN",
                "Q SET CONSTRAINTS ALL IMMEDIATE",
                "Q INSERT INTO e VALUES (1), (1)",
                "Q COMMIT",
            ],
            &["Q INSERT INTO e VALUES (1), (1)"],
            &["Q SELECT count(*) FROM b"],
        ],
    ) {
        assert!(record.verdict.is_none(), "{:?}", record.verdict);
        let found = unchecked(&record);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("public.same"), "{found:?}");
    }
}

#[test]
fn rule_6_constraints_are_checked_whatever_the_client_encoding_is() {
    for record in same(
        "CREATE TABLE a (a int CONSTRAINT \"zähler\" UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE b (b int CONSTRAINT \"漢\" UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE u (u int CONSTRAINT un UNIQUE DEFERRABLE INITIALLY DEFERRED);",
        &[
            &["Q INSERT INTO a VALUES (1), (1)"],
            &["Q SET client_encoding = latin1"],
            &["Q INSERT INTO u VALUES (1)"],
            &["Q INSERT INTO u VALUES (2), (2)"],
            &["Q CREATE TABLE n (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"],
            &["Q INSERT INTO u VALUES (3)"],
            &["Q BEGIN", "Q INSERT INTO u VALUES (3)", "Q COMMIT"],
        ],
    ) {
        assert_eq!(unchecked(&record).len(), 2, "{:?}", record.findings);
    }
}

#[test]
fn rule_8_cursors_and_portals_end_with_their_transaction() {
    same(
        "CREATE TABLE t (a int)",
        &[
            &[
                "Q BEGIN",
                "Q DECLARE c CURSOR FOR SELECT * FROM t",
                "Q FETCH c",
                "Q COMMIT",
            ],
            &["Q FETCH c"],
            &["Q ALTER TABLE t ADD b int"],
            &["P s SELECT * FROM t", "B p s", "E/1 p", "S"],
            &["E p", "S"],
            &["Q ALTER TABLE t ADD c int"],
            &[
                "Q BEGIN",
                "Q DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                "Q COMMIT",
                "Q FETCH c",
            ],
            &["Q CLOSE ALL"],
            &["Q FETCH c"],
        ],
    );
}

#[test]
fn rule_8_cursors_of_a_string_of_statements_end_with_it() {
    same(
        "CREATE TABLE t (a int)",
        &[
            &["Q DECLARE c CURSOR FOR SELECT * FROM t; FETCH c"],
            &["Q DECLARE c CURSOR FOR SELECT * FROM t; FETCH c"],
            &["Q FETCH c"],
            &["Q ALTER TABLE t ADD b int"],
            &["Q DECLARE c CURSOR FOR SELECT 1; COMMIT; FETCH c"],
            &["Q DECLARE c CURSOR FOR SELECT 1; ROLLBACK; SELECT 1"],
            &["Q DECLARE c CURSOR FOR SELECT 1; SELECT 1/0"],
            &["Q DECLARE c CURSOR FOR SELECT 1; BEGIN; FETCH c"],
            &["Q FETCH c", "Q COMMIT"],
            &["Q FETCH c"],
            &["Q DECLARE c CURSOR FOR SELECT 1; CLOSE c; DECLARE c CURSOR WITH HOLD FOR SELECT 2"],
            &["Q FETCH c"],
            &["Q CLOSE c"],
            &["Q DECLARE c CURSOR FOR SELECT * FROM t; FETCH c"],
        ],
    );
}

#[test]
fn rule_8_cursors_that_functions_open_end_with_their_transaction() {
    for record in same(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);
         CREATE FUNCTION look(c refcursor) RETURNS refcursor LANGUAGE plpgsql AS
         $$BEGIN OPEN c FOR SELECT a FROM t; RETURN c; END$$",
        &[
            &["Q SELECT look('one')"],
            &["Q ALTER TABLE t ADD b int"],
            &["Q BEGIN"],
            &["Q SELECT look('a \"name')"],
            &["Q FETCH \"a \"\"name\""],
            &["Q COMMIT"],
            &["Q ALTER TABLE t ADD c int"],
            &["P - SELECT look('three')", "B - -", "E -", "S"],
            &["Q FETCH three"],
            &["Q ALTER TABLE t ADD d int"],
        ],
    ) {
        assert_eq!(record.verdict, None);
    }
}

#[test]
fn rule_8_a_table_that_a_cursor_with_hold_still_reads_is_not_rehearsed() {
    let database = database("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)");
    for (close, expected) in [
        ("SELECT 1", Some(NotRehearsed::CannotRunInTransaction)),
        ("CLOSE c", None),
    ] {
        let rehearsed = Rehearsed::start(&database);
        let mut client = Client::new(&rehearsed.url);
        client.talk(&[
            "Q DECLARE c CURSOR WITH HOLD FOR SELECT a FROM t",
            "Q FETCH c",
        ]);
        client.talk(&[&format!("Q {close}"), "Q ALTER TABLE t ADD b int"]);
        assert_eq!(cause_of(&rehearsed.finish()), expected, "{close}");
    }
}

#[test]
fn rule_9_temporary_tables_are_emptied_and_dropped_at_commit() {
    same(
        "",
        &[
            &[
                "Q BEGIN",
                "Q CREATE TEMP TABLE d (a int) ON COMMIT DROP",
                "Q INSERT INTO d VALUES (1)",
            ],
            &["Q SELECT * FROM d", "Q COMMIT", "Q SELECT * FROM d"],
            &["Q CREATE TEMP TABLE d (a int) ON COMMIT DROP"],
            &["Q SELECT * FROM d"],
            &["Q CREATE TEMP TABLE e (a int) ON COMMIT DELETE ROWS"],
            &[
                "Q BEGIN",
                "Q INSERT INTO e VALUES (1)",
                "Q SELECT * FROM e",
                "Q COMMIT",
            ],
            &["Q SELECT * FROM e"],
            &["Q INSERT INTO e VALUES (2)"],
            &["Q SELECT * FROM e"],
            &[
                "P - CREATE TEMP TABLE \"D d\" ON COMMIT DROP AS SELECT 1",
                "B - -",
                "E -",
                "S",
            ],
            &["Q SELECT * FROM \"D d\""],
            &[
                "Q BEGIN",
                "Q CREATE TEMP TABLE r (a int) ON COMMIT DROP",
                "Q ROLLBACK",
            ],
            &[
                "Q CREATE TEMP TABLE r (a int)",
                "Q BEGIN",
                "Q ALTER TABLE e RENAME TO f",
                "Q COMMIT",
            ],
            &[
                "Q INSERT INTO f VALUES (3)",
                "Q SELECT * FROM f",
                "Q SELECT * FROM r",
            ],
            &["Q DISCARD TEMP", "Q SELECT * FROM r"],
        ],
    );
}

#[test]
fn rule_9_temporary_objects_of_a_client_go_with_it() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let (mut one, mut other) = (Client::new(&rehearsed.url), Client::new(&rehearsed.url));
    one.talk(&["Q CREATE TEMP TABLE mine (id serial PRIMARY KEY); CREATE TEMP VIEW v AS SELECT * FROM mine"]);
    one.talk(&["Q CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"]);
    other.talk(&["Q CREATE TEMP TABLE others (a int)"]);
    one.send(&["X"]);
    drop(one);
    let mut third = Client::new(&rehearsed.url);
    let left = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
                WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'v', 'S') \
                AND relname NOT LIKE 'drydock%'";
    assert_eq!(third.ask(left), "others");
    assert_eq!(
        third.ask("SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()"),
        "0"
    );
    assert_eq!(other.ask("SELECT count(*) FROM others"), "0");
    assert!(rehearsed.finish().gapless);
}

#[test]
fn rule_10_prepared_statements_of_several_clients_may_have_one_name() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let (mut one, mut other) = (Client::new(&rehearsed.url), Client::new(&rehearsed.url));
    for (client, sql) in [(&mut one, "SELECT 1"), (&mut other, "SELECT 2")] {
        let parse = format!("P s {sql}");
        assert_eq!(client.talk(&[&parse, "S"]), ["ParseComplete", "ready I"]);
        client.talk(&[&format!("Q PREPARE p AS {sql}0")]);
        client.talk(&[&format!("P - {sql}00"), "S"]);
    }
    let check = |client: &mut Client, row: &str| {
        let answers = client.talk(&["B - s", "E -", "S"]);
        assert!(answers.contains(&format!("row {row}")), "{answers:?}");
        assert_eq!(client.ask("EXECUTE p"), format!("{row}0"));
    };
    check(&mut one, "1");
    check(&mut other, "2");
    check(&mut one, "1");
    let answers = other.talk(&["B - -", "E -", "S"]);
    // A Query has destroyed the unnamed statement.
    assert_eq!(answers, ["error 26000", "ready I"]);
    one.talk(&["Q DEALLOCATE ALL"]);
    assert_eq!(one.talk(&["B - s", "S"]), ["error 26000", "ready I"]);
    assert_eq!(other.ask("EXECUTE p"), "20");
    assert!(rehearsed.finish().gapless);
}

#[test]
fn rule_10_sql_addresses_the_clients_own_prepared_statement() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let (mut one, mut other) = (Client::new(&rehearsed.url), Client::new(&rehearsed.url));
    let mut third = Client::new(&rehearsed.url);
    one.talk(&["P s SELECT 1", "S"]);
    other.talk(&["P s SELECT 2", "S"]);
    assert_eq!(one.ask("EXECUTE s"), "1");
    assert_eq!(other.ask("EXECUTE s"), "2");
    // One that has none of that name finds nobody else's, and may make its own.
    assert_eq!(third.talk(&["Q EXECUTE s"]), ["error 26000", "ready I"]);
    assert_eq!(third.talk(&["Q DEALLOCATE s"]), ["error 26000", "ready I"]);
    third.talk(&["Q PREPARE s AS SELECT 3"]);
    assert_eq!(one.ask("EXECUTE s"), "1");
    assert_eq!(third.ask("EXECUTE s"), "3");
    assert_eq!(
        third.talk(&["Q PREPARE s AS SELECT 3"]),
        ["error 42P05", "ready I"]
    );
    assert!(
        third
            .talk(&["P - EXECUTE s", "B - -", "E -", "S"])
            .contains(&"row 3".to_owned())
    );
    other.talk(&["Q DEALLOCATE PREPARE \"s\""]);
    assert_eq!(other.talk(&["B - s", "S"]), ["error 26000", "ready I"]);
    assert_eq!(other.talk(&["Q EXECUTE s"]), ["error 26000", "ready I"]);
    assert_eq!(one.ask("EXECUTE s"), "1");
    third.talk(&["Q DEALLOCATE s"]);
    assert_eq!(third.talk(&["Q EXECUTE s"]), ["error 26000", "ready I"]);
    assert_eq!(one.ask("EXECUTE s"), "1");
    // A name of SQL's PREPARE that was put by is taken, too.
    one.talk(&["Q PREPARE p AS SELECT 10"]);
    other.talk(&["P p SELECT 20", "S"]);
    assert_eq!(one.ask("EXECUTE p"), "10");
    assert_eq!(other.ask("EXECUTE p"), "20");
    assert!(rehearsed.finish().gapless);
}

#[test]
fn rule_11_control_statements_work_in_the_extended_protocol() {
    let batch = |sql: &str| format!("P - {sql}");
    for control in [
        ["BEGIN", "COMMIT"],
        ["START TRANSACTION READ ONLY", "ROLLBACK"],
        ["BEGIN", "END"],
        ["COMMIT", "ABORT"],
    ] {
        let [begin, end] = control.map(batch);
        same(
            "",
            &[
                &[&begin, "DS -", "B - -", "D -", "E -", "S"],
                &["P - SELECT 1", "B - -", "D -", "E -", "S"],
                &[&end, "DS -", "B - -", "D -", "E -", "S"],
            ],
        );
    }
    same(
        "",
        &[
            &[
                "P b BEGIN",
                "P c COMMIT",
                "P s SAVEPOINT x",
                "P r ROLLBACK TO x",
                "S",
            ],
            &["B - b", "E -", "S"],
            &["B - s", "E -", "S"],
            &["P - SELECT 1/0", "B - -", "E -", "S"],
            &["B - r", "E -", "S"],
            &["B - c", "E -", "S"],
            &["B - b", "E -", "B - c", "E -", "S"],
        ],
    );
}

#[test]
fn rule_12_transactions_may_share_a_batch_whose_own_ends_at_sync() {
    same(
        "CREATE TABLE t (a int PRIMARY KEY)",
        &[
            &[
                "P b BEGIN",
                "P c COMMIT",
                "P i INSERT INTO t VALUES (1)",
                "P n SELECT count(*) FROM t",
                "S",
            ],
            &[
                "B - b", "E -", "B - i", "E -", "B - c", "E -", "B - b", "E -", "B - n", "E -",
                "B - c", "E -", "S",
            ],
            &["B - i", "E -", "B - n", "E -", "S"],
            &["B - b", "E -", "B - i", "E -", "B - c", "E -", "S"],
            &["B - c", "E -", "S"],
            &["P d DELETE FROM t", "B - d", "E -", "P x SELEKT", "S"],
            &["B - n", "E -", "S"],
        ],
    );
}

#[test]
fn rule_13_after_an_error_nothing_is_answered_up_to_the_sync() {
    same(
        "CREATE TABLE t (a int)",
        &[
            &[
                "P - SELECT 1/0",
                "B - -",
                "E -",
                "P - SELECT 1",
                "B - -",
                "E -",
                "S",
            ],
            &["B - missing", "E -", "P - SELECT 3", "S"],
            &["S"],
            &["S", "S"],
        ],
    );
}

#[test]
fn rule_13_a_query_may_come_in_the_middle_of_a_batch() {
    // PostgreSQL 18 stays in the batch's implicit transaction behind such a Query, and says `T`.
    same_of(
        13,
        "CREATE TABLE t (a int)",
        &[
            &["P a SELECT 1", "B - a", "E -", "Q SELECT 2"],
            &[
                "P b INSERT INTO t VALUES (1)",
                "B - b",
                "E -",
                "H",
                "Q SELECT count(*) FROM t",
            ],
        ],
    );
}

#[test]
fn rule_14_a_block_that_wrote_by_a_function_call_keeps_its_turn_and_its_rollback() {
    for major in [13, 18] {
        let database = Server::shared_of(major).database();
        let rehearsed = Rehearsed::start(&database);
        let (mut one, mut other) = (Client::new(&rehearsed.url), Client::new(&rehearsed.url));
        // lo_creat
        let answers = one.talk(&["Q BEGIN", "F 957 -1"]);
        assert_eq!(answers[2..], ["FunctionCallResponse", "ready T"], "{major}");
        other.send(&["Q SELECT 1"]);
        std::thread::sleep(std::time::Duration::from_millis(300));
        one.talk(&["Q ROLLBACK"]);
        other.hear(1);
        let count = "SELECT count(*) FROM pg_largeobject_metadata";
        assert_eq!(one.ask(count), "0", "{major}");
        assert!(rehearsed.finish().gapless);
    }
}

#[test]
fn rule_14_a_function_call_alone_is_a_transaction_that_writes() {
    const SETUP: &str = "CREATE TABLE u (a int CONSTRAINT un UNIQUE DEFERRABLE INITIALLY DEFERRED);
        CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'INSERT INTO u VALUES ($1), ($1) RETURNING a'";
    for major in [13, 18] {
        let server = Server::shared_of(major);
        let (direct, through) = (server.database(), server.database());
        let rehearsed = Rehearsed::start(&through);
        for database in [&direct, &through] {
            database.psql(SETUP);
        }
        let urls = [(&direct, &direct.url), (&through, &rehearsed.url)];
        let told = urls.map(|(database, url)| {
            let call = database.psql("SELECT 'F ' || 'twice'::regproc::oid || ' 7'");
            let mut client = Client::new(url);
            let mut told = client.talk(&[&call]);
            told.extend(client.talk(&["Q SELECT count(*) FROM u"]));
            told.retain(|answer| answer != "FunctionCallResponse");
            told
        });
        assert_eq!(told[1], told[0], "{major}");
        rehearsed.finish();
    }
}

#[test]
fn rule_14_copy_takes_data_in_both_protocols() {
    same(
        "CREATE TABLE t (a int)",
        &[
            &["Q BEGIN"],
            &["Q SELECT 1", "d 1\n", "c", "f no"],
            &["Q COMMIT"],
            &["P - SELECT count(*) FROM t", "B - -", "E -", "S"],
        ],
    );
    for major in [13, 18] {
        let server = Server::shared_of(major);
        let (direct, through) = (server.database(), server.database());
        let rehearsed = Rehearsed::start(&through);
        let told = [&direct.url, &rehearsed.url].map(|url| {
            let mut client = Client::new(url);
            client.talk(&["Q CREATE TABLE t (a int)"]);
            let mut told = Vec::new();
            for (messages, ready) in [
                (&["Q COPY t FROM STDIN", "d 1\n2\n", "d 3\n", "c"][..], 1),
                (
                    &[
                        "P - COPY t FROM STDIN",
                        "B - -",
                        "E -",
                        "S",
                        "d 4\n",
                        "c",
                        "S",
                    ],
                    1,
                ),
                (&["Q COPY t FROM STDIN", "f no"], 1),
                (&["Q COPY t FROM STDIN", "d x\n", "c"], 1),
                (
                    &["Q COPY t FROM STDIN; SELECT count(*) FROM t", "d 5\n", "c"],
                    1,
                ),
                (&["Q SELECT count(*) FROM t"], 1),
            ] {
                client.send(messages);
                told.push(client.hear(ready));
            }
            told
        });
        assert_eq!(told[1], told[0]);
        assert!(rehearsed.finish().gapless);
    }
}

#[test]
fn rule_15_what_a_transaction_set_for_itself_does_not_keep_it_from_committing() {
    for record in same(
        "CREATE TABLE t (a int); GRANT ALL ON t TO pg_monitor",
        &[
            &["Q BEGIN; SET LOCAL transaction_read_only = on; SELECT 1; COMMIT; SELECT 2"],
            &["Q BEGIN"],
            &["Q SET LOCAL transaction_read_only = on"],
            &["Q INSERT INTO t VALUES (0)"],
            &["Q ROLLBACK"],
            &["Q BEGIN"],
            &["Q SAVEPOINT a"],
            &["Q SET LOCAL nosuch = 1"],
            &["Q ROLLBACK TO a"],
            &["Q INSERT INTO t VALUES (1)"],
            &["Q COMMIT"],
            &["Q BEGIN; SET LOCAL our.own = 'x'; COMMIT"],
            &["Q SELECT current_setting('our.own', true)"],
            // As this role the first one could not be put back.
            &["Q BEGIN"],
            &["Q SET LOCAL session_replication_role = replica"],
            &["Q SET LOCAL ROLE pg_monitor"],
            &["Q INSERT INTO t VALUES (2)"],
            &["Q COMMIT"],
            &[
                "Q SELECT current_user, current_setting('session_replication_role'), count(*) FROM t",
            ],
        ],
    ) {
        assert_eq!(record.verdict, None);
    }
}

#[test]
fn rule_2_the_access_mode_may_be_changed_until_the_first_statement() {
    for record in same(
        "CREATE TABLE t (a int)",
        &[
            &["Q BEGIN READ ONLY"],
            &["Q SET TRANSACTION READ WRITE"],
            &["Q INSERT INTO t VALUES (1)"],
            &["Q COMMIT"],
            &["Q BEGIN"],
            &["Q SET TRANSACTION READ ONLY"],
            &["Q INSERT INTO t VALUES (2)"],
            &["Q ROLLBACK"],
            &["Q SELECT count(*) FROM t"],
        ],
    ) {
        assert_eq!(record.verdict, None);
    }
}

#[test]
fn rule_15_a_commit_whose_own_work_fails_is_not_acknowledged() {
    let database = database("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    // A real COMMIT reads all of the cursor before it drops the table.
    let answers = client.talk(&[
        "Q BEGIN",
        "Q CREATE TEMP TABLE own ON COMMIT DROP AS SELECT 1 AS a",
        "Q INSERT INTO t VALUES (1)",
        "Q DECLARE c CURSOR WITH HOLD FOR SELECT * FROM own",
        "Q FETCH c",
        "Q COMMIT",
    ]);
    assert!(!answers.contains(&"done COMMIT".to_owned()), "{answers:?}");
    assert!(answers.iter().any(|a| a.contains("0A000")), "{answers:?}");
    assert_eq!(client.ask("SELECT count(*) FROM t"), "0");
    let record = rehearsed.finish();
    assert_eq!(cause(&record), Some(NotRehearsed::CannotRunInTransaction));
}

#[test]
fn rule_15_settings_that_a_rollback_changes_are_reported() {
    same(
        "",
        &[
            &["Q SET TimeZone = 'Asia/Tokyo'"],
            &["Q BEGIN", "Q SET TimeZone = 'UTC'", "Q ROLLBACK"],
            &["Q SHOW TimeZone"],
            &["Q BEGIN", "Q SET LOCAL TimeZone = 'UTC'", "Q COMMIT"],
            &["Q SHOW TimeZone"],
            &["Q RESET ALL"],
        ],
    );
}

#[test]
fn rule_16_a_reading_transaction_is_parked_and_keeps_its_session() {
    let database = database("CREATE ROLE rule_16; CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let mut one = Client::with(&rehearsed.url, &[("search_path", "pg_catalog, public")]);
    let mut other = Client::new(&rehearsed.url);
    one.talk(&["Q SET work_mem = '7MB'", "Q SET ROLE rule_16"]);
    one.talk(&["Q BEGIN", "Q SELECT 1"]);
    other.talk(&[
        "Q SET SESSION AUTHORIZATION rule_16",
        "Q SET work_mem = '8MB'",
    ]);
    let check = |client: &mut Client, expected: &str| {
        let state = "SELECT current_user, session_user, current_setting('work_mem'), \
                     current_setting('search_path')";
        assert_eq!(client.ask(state), expected);
    };
    check(&mut one, "rule_16|postgres|7MB|pg_catalog, public");
    check(&mut other, "rule_16|rule_16|8MB|\"$user\", public");
    check(&mut one, "rule_16|postgres|7MB|pg_catalog, public");
    assert_eq!(one.talk(&["Q COMMIT"]).last().unwrap(), "ready I");
    let mut third = Client::new(&rehearsed.url);
    assert_eq!(
        third.ask("SELECT current_user, session_user"),
        "postgres|postgres"
    );
    let record = rehearsed.finish();
    assert!(
        record.gapless && record.verdict.is_none(),
        "{:?}",
        record.verdict
    );
    Server::shared().database().psql("DROP ROLE rule_16");
}

#[rstest]
#[case(&["Q SELECT 1"], &[], 1)]
#[case(&["P - SELECT 1", "B - -", "E -", "S"], &[], 1)]
#[case(&["P - SELECT 1"], &["B - -", "E -", "S"], 1)]
#[case(&["P - SELECT 1", "B - -", "Q SELECT 1"], &["S"], 1)]
fn rule_16_interleaved_writers_are_refused_up_to_their_sync(
    #[case] at_once: &[&str],
    #[case] later: &[&str],
    #[case] ready: usize,
) {
    let database = database("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let (mut writer, mut waiting) = (Client::new(&rehearsed.url), Client::new(&rehearsed.url));
    writer.talk(&["Q BEGIN", "Q INSERT INTO t VALUES (1)"]);
    waiting.send(at_once);
    assert_eq!(waiting.answer().as_deref(), Some("error 0A000"));
    waiting.send(later);
    assert_eq!(waiting.hear(ready), ["ready I"]);
    writer.talk(&["Q COMMIT"]);
    // What was skipped has no answers of its own.
    assert_eq!(waiting.ask("SELECT count(*) FROM t"), "1");
    let record = rehearsed.finish();
    assert_eq!(cause(&record), Some(NotRehearsed::InterleavedWriters));
}

#[test]
fn rule_16_a_client_that_stays_in_a_copy_is_not_waited_for_for_ever() {
    let database = database("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let (mut writer, mut waiting) = (Client::new(&rehearsed.url), Client::new(&rehearsed.url));
    writer.send(&["Q COPY t FROM STDIN", "d 1\n"]);
    assert_eq!(writer.answer().as_deref(), Some("CopyInResponse"));
    waiting.send(&["Q SELECT 1"]);
    assert_eq!(waiting.hear(1), ["error 0A000", "ready I"]);
    writer.send(&["c"]);
    assert_eq!(writer.hear(1), ["done COPY 1", "ready I"]);
    let record = rehearsed.finish();
    assert_eq!(cause(&record), Some(NotRehearsed::InterleavedWriters));
}

#[test]
fn rule_16_a_client_that_does_not_read_its_rows_is_not_waited_for_for_ever() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let (mut one, mut other) = (Client::new(&rehearsed.url), Client::new(&rehearsed.url));
    one.send(&["Q SELECT repeat('x', 10000) FROM generate_series(1, 5000)"]);
    let answers = other.talk(&["Q SELECT 1"]);
    assert_eq!(answers, ["error 0A000", "ready I"]);
    let rows = one.hear(1);
    assert_eq!(&rows[rows.len() - 2..], ["done SELECT 5000", "ready I"]);
    let record = rehearsed.finish();
    assert_eq!(cause(&record), Some(NotRehearsed::InterleavedWriters));
}

#[test]
fn rule_17_the_statement_of_a_client_that_is_gone_is_cancelled() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let mut gone = Client::new(&rehearsed.url);
    gone.send(&["P - SELECT pg_sleep(600)", "H"]);
    assert_eq!(gone.answer().as_deref(), Some("ParseComplete"));
    gone.send(&["B - -", "E -", "S"]);
    drop(gone);
    // It would wait for ten minutes otherwise.
    assert_eq!(Client::new(&rehearsed.url).ask("SELECT 1"), "1");
    assert!(rehearsed.finish().gapless);
}

#[test]
fn rule_18_the_default_access_mode_is_shown_as_the_client_set_it() {
    same(
        "CREATE TABLE t (a int)",
        &[
            &["Q SHOW default_transaction_read_only"],
            &[
                "P - SHOW default_transaction_read_only",
                "DS -",
                "B - -",
                "D -",
                "E -",
                "S",
            ],
            &["Q SELECT current_setting('default_transaction_read_only')"],
            &[
                "Q SELECT setting, reset_val FROM pg_settings WHERE name = 'session_replication_role'",
            ],
            &["Q SET default_transaction_read_only = on"],
            &[
                "Q SHOW default_transaction_read_only",
                "Q INSERT INTO t VALUES (1)",
            ],
            &[
                "Q BEGIN",
                "Q SET default_transaction_read_only = off",
                "Q ROLLBACK",
            ],
            &["Q INSERT INTO t VALUES (1)"],
            &[
                "Q RESET default_transaction_read_only",
                "Q INSERT INTO t VALUES (1)",
            ],
            &["Q SET default_transaction_read_only = maybe"],
            &[
                "Q SET default_transaction_read_only TO tru",
                "Q SHOW default_transaction_read_only",
            ],
            &[
                "Q RESET ALL",
                "Q SHOW default_transaction_read_only",
                "Q INSERT INTO t VALUES (1)",
            ],
            &[
                "Q BEGIN",
                "Q SET LOCAL default_transaction_read_only = on",
                "Q COMMIT",
            ],
            &["Q SHOW default_transaction_read_only"],
            &[
                "Q SET session_replication_role = replica",
                "Q SHOW session_replication_role",
            ],
            &[
                "Q DISCARD ALL",
                "Q SHOW session_replication_role",
                "Q SHOW default_transaction_read_only",
            ],
        ],
    );
}

#[test]
fn rule_18_a_clients_timeouts_of_transactions_do_not_end_the_one_of_all() {
    let database = database("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let short = ("idle_in_transaction_session_timeout", "100");
    let mut client = Client::with(&rehearsed.url, &[short, ("transaction_timeout", "100")]);
    for say in [
        "SET idle_in_transaction_session_timeout = 100",
        "SET transaction_timeout = 100",
        "BEGIN; SET LOCAL transaction_timeout = 100",
        "SET idle_in_transaction_session_timeout TO DEFAULT; COMMIT",
        "SELECT set_config('idle_in_transaction_session_timeout', '100ms', false)",
        "DO $$BEGIN SET transaction_timeout = 100; END$$",
        "RESET ALL",
    ] {
        let answers = client.talk(&[&format!("Q {say}")]);
        assert!(
            answers.iter().all(|a| !a.contains("error")),
            "{say}: {answers:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(250));
        assert_eq!(client.ask("SELECT 1"), "1", "{say}");
    }
    let answers = client.talk(&["Q SET transaction_timeout = 'soon'"]);
    assert_eq!(answers, ["error 22023", "ready I"]);
    assert_eq!(rehearsed.finish().verdict, None);
}

#[test]
fn rule_18_the_rehearsals_own_lock_timeout_comes_back_when_the_clients_ends() {
    for says in [
        &["Q RESET lock_timeout"][..],
        &[
            "Q SET lock_timeout = 10000",
            "Q SET lock_timeout TO DEFAULT",
        ],
        &["Q SET lock_timeout = 10000", "Q RESET ALL"],
        &["Q BEGIN", "Q SET LOCAL lock_timeout = 10000", "Q COMMIT"],
        &["Q BEGIN", "Q SET lock_timeout = 10000", "Q ROLLBACK"],
    ] {
        let database = database("CREATE TABLE t (a int)");
        let mut holder = Client::new(&database.url);
        holder.talk(&["Q BEGIN", "Q LOCK TABLE t"]);
        let rehearsed = Rehearsed::start(&database);
        let mut client = Client::new(&rehearsed.url);
        let ours = client.ask("SHOW lock_timeout");
        client.talk(says);
        assert_eq!(client.ask("SHOW lock_timeout"), ours, "{says:?}");
        let answers = client.talk(&["Q LOCK TABLE t IN ACCESS SHARE MODE; SELECT 1"]);
        assert!(answers.contains(&"error 55P03".to_owned()), "{answers:?}");
        let verdict = rehearsed.finish().verdict.map(|(verdict, _)| verdict);
        let expected = Verdict::BudgetExceeded(Budget::LockWait);
        assert_eq!(verdict, Some(expected), "{says:?}");
    }
}

#[test]
fn rule_18_the_roles_statement_timeout_is_for_its_statements_and_not_for_our_questions() {
    let database = database("");
    let name = &database.name;
    database.psql(&format!(
        "ALTER DATABASE {name} SET statement_timeout = 300"
    ));
    let rehearsed = Rehearsed::start(&database);
    assert_eq!(rehearsed.ask("SELECT 1 FROM pg_sleep(0.6)").len(), 1);
    let mut client = Client::new(&rehearsed.url);
    let answers = client.talk(&["Q SELECT pg_sleep(0.6)"]);
    assert_eq!(answers.last().unwrap(), "ready I");
    assert!(answers.contains(&"error 57014".to_owned()), "{answers:?}");
    assert_eq!(rehearsed.ask("SELECT 1 FROM pg_sleep(0.6)").len(), 1);
    assert_eq!(client.ask("SHOW statement_timeout"), "300ms");
    rehearsed.finish();
}

#[test]
fn what_wrote_where_nothing_could_be_seen_of_it_counts_as_written() {
    let database = database(
        "CREATE TABLE t (a int);
         CREATE FUNCTION note() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING a';
         CREATE VIEW v AS SELECT note()",
    );
    for (says, wrote) in [
        (&["Q TABLE v"][..], true),
        (&["Q BEGIN", "Q TABLE v", "Q ROLLBACK"], false),
        (&["Q BEGIN", "Q TABLE v"], false),
        (&["Q SELECT 1"], false),
    ] {
        let rehearsed = Rehearsed::start(&database);
        let mut client = Client::new(&rehearsed.url);
        client.talk(says);
        assert_eq!(rehearsed.finish().wrote, wrote, "{says:?}");
    }
}

#[test]
fn rule_18_once_upstream_is_gone_new_clients_are_told_until_the_run_ends() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    let pid = rehearsed.upstream_pid();
    database.psql(&format!("SELECT pg_terminate_backend({pid})"));
    client.hear(1);
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let refused = postgres::try_psql(&rehearsed.url, "SELECT 1").unwrap_err();
        assert!(
            refused.contains("FATAL:  the rehearsal has ended"),
            "{refused}"
        );
        let (target, _) = parse(&rehearsed.url, &Environment::new()).unwrap();
        let startup = StartupSettings::first("test");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let error = runtime.block_on(connect::raw(&target, &startup)).err();
        let said = format!("{:?}", error.unwrap());
        assert!(said.contains("57P01"), "{said}");
    }
    let url = rehearsed.url.clone();
    rehearsed.finish();
    let refused = postgres::try_psql(&url, "SELECT 1").unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
}

#[test]
fn rule_18_a_client_that_nobody_has_had_time_for_is_told_when_upstream_goes() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    client.send(&["Q SELECT pg_sleep(60)"]);
    let url = rehearsed.url.clone();
    let queued = std::thread::spawn(move || postgres::try_psql(&url, "SELECT 1"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let pid = rehearsed.upstream_pid();
    database.psql(&format!("SELECT pg_terminate_backend({pid})"));
    let refused = queued.join().unwrap().unwrap_err();
    assert!(
        refused.contains("FATAL:  the rehearsal has ended"),
        "{refused}"
    );
}

#[test]
fn rule_18_settings_of_the_startup_packet_are_the_clients_defaults() {
    for major in [13, 18] {
        let server = Server::shared_of(major);
        let (direct, through) = (server.database(), server.database());
        let rehearsed = Rehearsed::start(&through);
        let settings = [
            ("options", "-c work_mem=9MB -csearch_path=pg_catalog"),
            ("DateStyle", "German"),
            ("default_transaction_read_only", "on"),
        ];
        let told = [&direct.url, &rehearsed.url].map(|url| {
            let mut client = Client::with(url, &settings);
            [
                "SHOW work_mem",
                "SHOW search_path",
                "SHOW DateStyle",
                "CREATE TABLE public.t (a int)",
                "SET work_mem = '1MB'; RESET work_mem; SHOW work_mem",
                "SET work_mem = '1MB'; SET work_mem TO DEFAULT; SHOW work_mem",
                "SET search_path = public; RESET ALL; SHOW search_path",
                "SHOW default_transaction_read_only",
                "SET default_transaction_read_only = off",
                "RESET default_transaction_read_only; SHOW default_transaction_read_only",
                "DISCARD ALL",
                "SHOW work_mem",
            ]
            .map(|sql| (client.talk(&[&format!("Q {sql}")]), client.settings.clone()))
        });
        assert_eq!(told[1], told[0], "{major}");
        assert!(rehearsed.finish().gapless);
    }
}

#[test]
fn an_answer_to_a_question_of_our_own_is_whole_however_long_it_is() {
    let database = database("");
    let rehearsed = Rehearsed::start(&database);
    let rows =
        rehearsed.ask("SELECT n, repeat('x', n) FROM generate_series(60000, 300000, 40000) n");
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap().len()))
        .collect();
    let expected: Vec<_> = (60_000..=300_000)
        .step_by(40_000)
        .map(|n| (n.to_string(), n))
        .collect();
    assert_eq!(found, expected);
    rehearsed.finish();
}

#[rstest]
#[case("created timestamptz NOT NULL DEFAULT now(), UNIQUE (created)")]
#[case(
    "created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, n int DEFAULT 1, UNIQUE (n, created)"
)]
#[case("n int DEFAULT 1, xid bigint DEFAULT txid_current(), EXCLUDE (xid WITH =)")]
fn rule_19_a_violation_only_because_time_stands_still_is_not_rehearsed(#[case] columns: &str) {
    let database = database(&format!("CREATE TABLE t (id serial, {columns})"));
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    let insert = "Q INSERT INTO t DEFAULT VALUES";
    assert_eq!(client.talk(&[insert]).last().unwrap(), "ready I");
    let answers = client.talk(&["Q BEGIN", insert, "Q ROLLBACK"]);
    assert!(
        answers.iter().any(|a| a.starts_with("error 23")),
        "{answers:?}"
    );
    assert_eq!(cause(&rehearsed.finish()), Some(NotRehearsed::FrozenTime));
}

#[test]
fn rule_19_other_violations_are_the_migrations_own() {
    let columns = "a int UNIQUE, created timestamptz DEFAULT now()";
    let database = database(&format!(
        "CREATE TABLE t ({columns}); INSERT INTO t VALUES (1)"
    ));
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::new(&rehearsed.url);
    client.talk(&["Q INSERT INTO t VALUES (1)"]);
    client.talk(&[
        "Q BEGIN",
        "Q SAVEPOINT a",
        "Q INSERT INTO t VALUES (1)",
        "Q ROLLBACK TO a",
        "Q COMMIT",
    ]);
    let record = rehearsed.finish();
    assert!(
        record.gapless && record.verdict.is_none(),
        "{:?}",
        record.verdict
    );
}
