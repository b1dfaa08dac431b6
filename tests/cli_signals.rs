//! Ctrl-C, and worse, in the middle of a rehearsal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Database, Server};
use program::{Done, drydock};

fn database() -> Database<'static> {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int)");
    database
}

/// Starts a rehearsal that alters the table and then holds its lock.
fn long_alter(database: &Database<'_>) -> Child {
    let script = "psql \"$DATABASE_URL\" -Xqc \
                  'BEGIN; ALTER TABLE orders ADD COLUMN note text; SELECT pg_sleep(60)'";
    let child = drydock(&database.url)
        .args(["rehearse", "-o", "json", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait(|| database.psql(LOCKED) == "1", "the lock was never taken");
    child
}

const LOCKED: &str = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass \
                      AND mode = 'AccessExclusiveLock' AND granted";

#[track_caller]
fn wait(mut reached: impl FnMut() -> bool, otherwise: &str) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(20), "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn an_interrupted_rehearsal_is_rolled_back_verified_and_reported() {
    let database = database();
    let child = long_alter(&database);
    signal(&child, "INT");
    signal(&child, "INT");
    let done = Done::from(child.wait_with_output().unwrap()).expect(130);
    let report = done.report();
    assert_eq!(
        report.witness.unwrap().rollback,
        drydock::verdict::RollbackProof::Verified
    );
    assert_eq!(database.psql(LOCKED), "0");
}

#[test]
fn after_a_kill_nothing_is_committed_and_the_locks_are_gone_within_a_second() {
    let database = database();
    let mut child = long_alter(&database);
    child.kill().unwrap();
    child.wait().unwrap();
    if postgres::major() >= 14 {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(database.psql(LOCKED), "0");
    } else {
        wait(
            || database.psql(LOCKED) == "0",
            "the lock was never given back",
        );
    }
    assert_eq!(
        database.psql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'"),
        "0"
    );
}

/// An open rehearsal in which something was altered, the lines that it prints, and its URL.
fn open_dock(database: &Database<'_>) -> (Child, Lines<BufReader<ChildStdout>>, String) {
    let mut child = drydock(&database.url)
        .args(["rehearse", "--listen", "127.0.0.1:0", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    postgres::psql(&url, "ALTER TABLE orders ADD COLUMN note text;");
    (child, lines, url)
}

#[test]
fn ctrl_c_is_the_normal_end_of_an_open_rehearsal() {
    let database = database();
    let (mut child, mut lines, url) = open_dock(&database);
    assert_eq!(postgres::psql(&url, "SELECT count(note) FROM orders;"), "0");
    signal(&child, "INT");
    let report = lines.next().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{report}");
    assert!(report.contains("public.orders.note"), "{report}");
    assert!(postgres::try_psql(&database.url, "SELECT note FROM orders;").is_err());
}

#[test]
fn ctrl_c_does_not_wait_for_who_is_idle_in_a_transaction_block() {
    let database = database();
    let (mut child, mut lines, url) = open_dock(&database);
    let mut idle = Command::new("psql")
        .args(["-Xq", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut says = idle.stdin.take().unwrap();
    says.write_all(b"BEGIN; ALTER TABLE orders ADD COLUMN late text;\n")
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    signal(&child, "INT");
    let report = lines.next().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{report}");
    assert!(began.elapsed() < Duration::from_secs(20), "{report}");
    assert!(report.contains("public.orders.note"), "{report}");
    assert!(!report.contains("public.orders.late"), "{report}");
    drop(says);
    idle.wait().unwrap();
    assert!(postgres::try_psql(&database.url, "SELECT note FROM orders;").is_err());
}
