//! Drydock's own connections, which the role's own timeouts do not end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use std::path::Path;
use std::time::{Duration, Instant};

use drydock::report::Phase;
use drydock::verdict::RollbackProof;
use postgres::Server;
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
