//! A command that is killed while the server works on its COMMIT: the server does not know, goes on,
//! and commits. Whoever looks too early reports a state that is not the last one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use drydock::verdict::{UpgradeFailure, Verdict};
use postgres::Server;
use program::{Done, drydock};

const SCHEMA: &str = "
CREATE TABLE orders (id int);
INSERT INTO orders VALUES (1);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared(2); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER in_commit AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hold();
";

/// The second time, which is the upgrade, it says so and waits.
const SCRIPT: &str = r#"
if [ -e "$FOLDER/rehearsed" ]; then
    touch "$FOLDER/upgrading"
    until [ -e "$FOLDER/held" ]; do sleep 0.05; done
fi
touch "$FOLDER/rehearsed"
exec psql "$DATABASE_URL" -Xq -v ON_ERROR_STOP=1 -c 'SET lock_timeout = 0' -c 'BEGIN' \
    -c 'UPDATE orders SET id = 2' -c 'CREATE TABLE notes (id int)' -c 'COMMIT'
"#;

#[track_caller]
fn wait(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_upgrade_is_judged_when_the_server_has_done_with_it() {
    let database = Server::shared().database();
    database.psql(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let mark = |name: &str| folder.path().join(name);
    let mut drydock = drydock(&database.url)
        .env("FOLDER", folder.path())
        .args(["run", "--yes", "-o", "json", "--", "sh", "-c", SCRIPT])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait("the upgrade begins", || mark("upgrading").exists());

    let mut holder = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--dbname"])
        .arg(database.server.socket_url(&database.name))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lock = holder.stdin.take().unwrap();
    writeln!(lock, "SELECT pg_advisory_lock(2);").unwrap();
    let locks = |granted: bool| {
        database.psql(&format!(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 2
             AND objsubid = 1 AND granted = {granted}"
        ))
    };
    wait("the COMMIT is held", || locks(true) == "1");
    touch(&mark("held"));
    wait("the COMMIT is begun", || locks(false) == "1");

    let command = Command::new("pkill")
        .args(["-KILL", "--parent", &drydock.id().to_string()])
        .status()
        .unwrap();
    assert!(command.success());
    std::thread::sleep(Duration::from_secs(1));
    assert!(drydock.try_wait().unwrap().is_none(), "judged too early");

    drop(lock);
    holder.wait().unwrap();
    let done = Done::from(drydock.wait_with_output().unwrap()).expect(8);
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::UpgradeFailed(UpgradeFailure::AllApplied),
        "{}",
        report.message
    );
    assert_eq!(database.psql("SELECT id FROM orders"), "2");
}

fn touch(path: &Path) {
    std::fs::write(path, "").unwrap();
}
