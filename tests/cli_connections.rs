//! Drydock's own connections: what the role's own timeouts do not end, and what the loss of one does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use drydock::postgres::lock::KEY;
use drydock::report::{Phase, Report};
use drydock::verdict::{Environment, RollbackProof, Verdict};
use postgres::{Database, Server};
use program::{Done, drydock, rehearse};

#[track_caller]
fn wait(mut reached: impl FnMut() -> bool, otherwise: &str) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(20), "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_database_that_ends_idle_sessions_does_not_end_drydocks_own() {
    for major in [14, 18] {
        let database = Server::shared_of(major).database();
        database.psql(&format!(
            "ALTER DATABASE {} SET idle_session_timeout = '500ms'",
            database.name
        ));
        let script = "sleep 2; psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE t ()'";
        let report = rehearse(&database.url, script).expect(0).report();
        assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
    }
}

/// What drydock reads before a run and behind an upgrade waits here for somebody's lock.
#[test]
fn the_roles_own_timeouts_do_not_end_what_drydock_itself_reads() {
    let newest = postgres::major() >= 17;
    for setting in ["statement_timeout", "transaction_timeout"] {
        if setting == "transaction_timeout" && !newest {
            continue;
        }
        let database = Server::shared().database();
        database.psql(&format!(
            "CREATE TABLE orders (a int); CREATE VIEW recent AS SELECT a FROM orders; \
             ALTER DATABASE {} SET {setting} = '1s'",
            database.name
        ));
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (held, second, nightly) = (path("held"), path("second"), path("nightly"));
        std::fs::write(
            &nightly,
            format!(
                "PGAPPNAME=nightly psql '{}' -Xq -c 'SET {setting} = 0' -c BEGIN \
                 -c 'LOCK TABLE orders IN ACCESS EXCLUSIVE MODE' -c '\\! touch {held}' \
                 -c 'SELECT pg_sleep(3)' >/dev/null 2>&1",
                database.url
            ),
        )
        .unwrap();
        let mut holder = std::process::Command::new("sh")
            .arg(&nightly)
            .spawn()
            .unwrap();
        wait(|| Path::new(&held).exists(), "nobody holds the lock");
        let script = format!(
            "if [ -e {second} ]; then rm {held}; sh {nightly} & \
             while [ ! -e {held} ]; do sleep 0.05; done; fi; touch {second}; \
             psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE notes ()'"
        );
        let mut command = drydock(&database.url);
        command.args(["run", "--yes", "-o", "json", "--", "sh", "-c", &script]);
        let done = Done::of(command).expect(0);
        assert_eq!(done.report().phase, Phase::Upgrade, "{setting}: {done}");
        holder.wait().unwrap();
    }
}

/// The session that holds the lock on this database.
fn lock() -> String {
    let (high, low) = KEY;
    format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted \
         AND classid = {high} AND objid = {low} \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
}

/// The session of ours that neither holds the lock nor the rehearsal.
fn guard() -> String {
    format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
         AND starts_with(application_name, 'drydock/') AND backend_xid IS NULL \
         AND pid NOT IN ({})",
        lock()
    )
}

fn terminate(database: &Database<'_>, session: &str) {
    assert_eq!(
        database.psql(&format!(
            "SELECT pg_terminate_backend(pid) FROM ({session}) s"
        )),
        "t"
    );
}

fn start(url: &str, subcommand: &[&str], script: &str) -> Child {
    drydock(url)
        .args(subcommand)
        .args(["-o", "json", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Ends a session in the middle of a rehearsal, which must be over soon, and leave nothing.
#[track_caller]
fn ends_the_rehearsal(session: &str) -> Report {
    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let holds = folder.path().join("holds");
    let script = format!(
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE t (a int)'; touch {}; sleep 60",
        holds.display()
    );
    let child = start(&database.url, &["rehearse"], &script);
    wait(|| holds.exists(), "nothing was rehearsed");
    let began = Instant::now();
    terminate(&database, session);
    let done = Done::from(child.wait_with_output().unwrap()).expect(6);
    assert!(began.elapsed() < Duration::from_secs(10), "{done}");
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::Environment(Environment::ConnectionLost),
        "{done}"
    );
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(witness.rollback, RollbackProof::Verified, "{done}");
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    wait(
        || database.psql(others) == "0",
        "a session is left, with its locks",
    );
    assert_eq!(database.psql("SELECT to_regclass('t') IS NULL"), "t");
    report
}

#[test]
fn a_rehearsal_whose_lock_is_lost_is_ended_and_leaves_nothing() {
    let report = ends_the_rehearsal(&lock());
    assert_eq!(
        report.message,
        "the connection that holds drydock's lock was lost, so the rehearsal was ended"
    );
}

#[test]
fn a_rehearsal_whose_guard_is_lost_is_ended_and_leaves_nothing() {
    let report = ends_the_rehearsal(&guard());
    assert_eq!(
        report.message,
        "the guard's connection was lost, so the rehearsal was ended"
    );
}

/// It is not taken back: nobody knows what of it is committed.
#[test]
fn an_upgrade_whose_lock_is_lost_goes_on_and_the_report_says_so() {
    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let (second, upgrading) = (
        folder.path().join("second"),
        folder.path().join("upgrading"),
    );
    let script = format!(
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE one ()'; \
         if [ -e {second} ]; then touch {upgrading}; sleep 2; fi; touch {second}; \
         psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE two ()'",
        second = second.display(),
        upgrading = upgrading.display()
    );
    let child = start(&database.url, &["run", "--yes"], &script);
    wait(|| upgrading.exists(), "the upgrade never began");
    terminate(&database, &lock());
    let done = Done::from(child.wait_with_output().unwrap()).expect(0);
    let report = done.report();
    assert_eq!(report.phase, Phase::Upgrade);
    let lost = report.findings.iter().find(|it| it.code == "LockLost");
    assert_eq!(
        lost.unwrap().message,
        "the connection that holds drydock's lock was lost during the upgrade"
    );
    assert_eq!(
        database.psql("SELECT to_regclass('one') || ' ' || to_regclass('two')"),
        "one two"
    );
}
