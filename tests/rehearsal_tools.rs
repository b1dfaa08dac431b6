//! Real tools end through a rehearsal as they end on a direct connection, and leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "lab/rehearse.rs"]
mod rehearse;

use std::process::{Command, Output};

use postgres::Server;
use rehearse::Rehearsed;

fn psql(url: &str, script: &str) -> Output {
    Command::new("psql")
        .args([
            "-X",
            "-a",
            "-v",
            "VERBOSITY=verbose",
            "-d",
            url,
            "-c",
            script,
        ])
        .env("PGOPTIONS", "")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    // The place in the server's source differs between versions and between protocols.
    let err: Vec<_> = err
        .lines()
        .filter(|line| !line.starts_with("LOCATION"))
        .collect();
    format!(
        "{}\n{}\n{:?}",
        String::from_utf8_lossy(&output.stdout),
        err.join("\n"),
        output.status.code()
    )
}

/// Locks of the rehearsal on a table.
fn locks(database: &postgres::Database<'_>, table: &str) -> String {
    database.psql(&format!(
        "SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND mode = 'AccessExclusiveLock'"
    ))
}

#[test]
fn what_was_committed_behind_a_place_is_undone_and_the_rehearsal_goes_on() {
    let server = Server::shared();
    let database = server.database();
    database.psql(
        "CREATE TABLE a (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); CREATE TABLE b ()",
    );
    let rehearsed = Rehearsed::start(&database);
    let run = |script: &str| {
        let done = psql(&rehearsed.url, script);
        (done.status.success(), text(&done))
    };
    assert!(run("INSERT INTO a VALUES (1)").0);
    for _ in 0..2 {
        rehearsed.set_place();
        let done = run(
            "SET work_mem = '1MB'; CREATE TEMP TABLE mine (); ALTER TABLE b ADD c int; \
                        INSERT INTO a VALUES (2)",
        );
        assert!(done.0, "{}", done.1);
        assert_eq!(locks(&database, "b"), "1");
        rehearsed.undo();
        assert_eq!(locks(&database, "b"), "0");
        let done = run("DO $$BEGIN ASSERT (SELECT count(*) FROM a) = 1; \
                        ASSERT to_regclass('mine') IS NULL; END$$");
        assert!(done.0, "{}", done.1);
        // A deferred constraint is checked as before.
        assert!(!run("INSERT INTO a VALUES (1)").0);
    }
    // Without a place there is nothing to undo.
    rehearsed.undo();
    assert!(run("DO $$BEGIN ASSERT (SELECT count(*) FROM a) = 1; END$$").0);
    let record = rehearsed.finish();
    assert!(record.gapless && record.wrote);
    assert_eq!(record.verdict, None);
    assert_eq!(database.psql("SELECT count(*) FROM a"), "0");
}

/// Scripts, each one string for a simple Query.
const STRINGS: &[&str] = &[
    "SELECT 1 AS a, 'x' AS b",
    "",
    "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); SELECT count(*) FROM t",
    "BEGIN; CREATE TABLE t (id int); COMMIT; SELECT count(*) FROM t",
    "CREATE TABLE t (id int); BEGIN; INSERT INTO t VALUES (1); ROLLBACK; SELECT count(*) FROM t",
    "CREATE TABLE t (id int); SELECT 1/0",
    "SELECT 1; SELEKT 2",
    "BEGIN; SAVEPOINT a; CREATE TABLE t (id int); ROLLBACK TO a; RELEASE a; COMMIT",
    "SAVEPOINT a",
    "COMMIT",
    "ROLLBACK",
    "BEGIN; BEGIN; COMMIT",
    "BEGIN; SELECT 1/0; SELECT 1; COMMIT",
    "BEGIN READ ONLY; CREATE TABLE t (id int)",
    "COMMIT AND CHAIN",
    "BEGIN; COMMIT AND CHAIN; SELECT 1; ROLLBACK",
    "LOCK TABLE pg_class",
    "DECLARE c CURSOR FOR SELECT 1",
    "BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH ALL FROM c; COMMIT",
    "SET LOCAL work_mem = '1MB'",
    "CREATE INDEX CONCURRENTLY i ON nowhere (id)",
    "SHOW transaction_isolation",
    "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (7)",
    "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED); BEGIN; INSERT INTO c VALUES (7); COMMIT",
    "DO $$ BEGIN RAISE NOTICE 'hello'; END $$",
];

#[test]
fn strings_of_statements_end_as_on_a_direct_connection() {
    for major in [18, 13] {
        let server = Server::shared_of(major);
        for script in STRINGS {
            let (direct, through) = (server.database(), server.database());
            let before = through.dump();
            let rehearsed = Rehearsed::start(&through);
            let expected = text(&psql(&direct.url, script));
            let found = text(&psql(&rehearsed.url, script));
            let record = rehearsed.finish();
            assert_eq!(found, expected, "{major}: {script}");
            assert!(record.gapless, "{major}: {script}: {:?}", record.verdict);
            assert_eq!(through.dump(), before, "{script}");
        }
    }
}

#[test]
fn copy_goes_both_ways() {
    let server = Server::shared();
    let database = server.database();
    database.psql("CREATE TABLE t (a int, b text)");
    let rehearsed = Rehearsed::start(&database);
    let script =
        "COPY t FROM STDIN;\n1\tone\n2\ttwo\n\\.\nCOPY t TO STDOUT;\nSELECT count(*) FROM t;\n";
    let file = std::env::temp_dir().join(format!("drydock-copy-{}.sql", std::process::id()));
    std::fs::write(&file, script).unwrap();
    let output = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-d", &rehearsed.url, "-f"])
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1\tone\n2\ttwo\n2\n"
    );
    assert!(rehearsed.finish().gapless);
    assert_eq!(database.psql("SELECT count(*) FROM t"), "0");
}

#[test]
fn concurrently_on_a_small_table_is_substituted_and_reported() {
    let server = Server::shared();
    let database = server.database();
    database.psql("CREATE TABLE t (a int)");
    let rehearsed = Rehearsed::start(&database);
    let output = psql(&rehearsed.url, "CREATE INDEX CONCURRENTLY i ON t (a)");
    assert!(output.status.success(), "{}", text(&output));
    let record = rehearsed.finish();
    assert!(record.verdict.is_none());
    assert!(
        record
            .findings
            .iter()
            .any(|f| f.code == "ConcurrentlySubstituted")
    );
    assert_eq!(database.psql("SELECT to_regclass('i') IS NULL"), "t");
}

#[test]
fn a_command_that_only_reads_was_assigned_no_transaction_id() {
    let database = Server::shared().database();
    let rehearsed = Rehearsed::start(&database);
    psql(&rehearsed.url, "SELECT count(*) FROM pg_class");
    assert!(!rehearsed.finish().wrote);
    let rehearsed = Rehearsed::start(&database);
    psql(&rehearsed.url, "CREATE TABLE t (a int)");
    assert!(rehearsed.finish().wrote);
}
