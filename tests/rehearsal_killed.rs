//! Whatever is killed in the middle of a long ALTER: nothing is committed, the locks are gone at
//! once, the report says what happened, and the next run finds nothing in its way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "lab/relay.rs"]
mod relay;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use drydock::report::Report;
use drydock::verdict::{Environment, RollbackProof, Verdict};
use postgres::{Database, Server};
use program::{Done, drydock, rehearse_sql};
use relay::Relay;

/// Rewrites 400 rows at 50 ms each, under an AccessExclusiveLock.
const LONG_ALTER: &str = "ALTER TABLE orders ALTER COLUMN id TYPE bigint \
                          USING id + length(pg_sleep(0.05)::text)";

/// How long a test waits for what must happen, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

fn database(server: &Server) -> Database<'_> {
    let database = server.database();
    database.psql(
        "CREATE TABLE orders (id int PRIMARY KEY);
         INSERT INTO orders SELECT generate_series(1, 400)",
    );
    database
}

/// A rehearsal in the middle of the ALTER.
struct Rehearsing<'a> {
    database: &'a Database<'a>,
    dump: String,
    /// `drydock` itself.
    child: Child,
    /// The server process that runs the ALTER.
    backend: u32,
}

impl<'a> Rehearsing<'a> {
    fn start(database: &'a Database<'a>) -> Self {
        Self::start_at(database, &database.url)
    }

    fn start_at(database: &'a Database<'a>, url: &str) -> Self {
        let dump = database.dump();
        let script = format!("exec psql \"$DATABASE_URL\" -Xqc '{LONG_ALTER}'");
        let child = drydock(url)
            .args(["rehearse", "-o", "json", "--", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let backend = wait("the ALTER runs", || {
            database
                .psql(
                    "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l USING (pid)
                     WHERE l.relation = 'orders'::regclass AND l.mode = 'AccessExclusiveLock'
                       AND l.granted AND a.wait_event = 'PgSleep'",
                )
                .parse()
                .ok()
        });
        Self {
            database,
            dump,
            child,
            backend,
        }
    }

    /// The process of the user's command.
    fn command(&self) -> u32 {
        let children = Command::new("pgrep")
            .args(["--parent", &self.child.id().to_string()])
            .output()
            .unwrap();
        String::from_utf8_lossy(&children.stdout)
            .trim()
            .parse()
            .expect("one child")
    }

    /// Waits for the end and the report, and makes sure of what must hold in each case.
    fn ended(self, code: i32) -> Report {
        let Self {
            database,
            dump,
            child,
            ..
        } = self;
        let done = Done::from(child.wait_with_output().unwrap()).expect(code);
        assert_eq!(database.dump(), dump, "something was committed:\n{done}");
        assert_eq!(left(database), "", "{done}");
        retried(database);
        done.report()
    }
}

/// Sessions of drydock's, and locks on the table.
fn left(database: &Database<'_>) -> String {
    database.psql(
        "SELECT pid, application_name, state FROM pg_stat_activity
         WHERE application_name LIKE 'drydock/%' AND datname = current_database();
         SELECT pid, mode FROM pg_locks
         WHERE relation = 'orders'::regclass AND pid <> pg_backend_pid()",
    )
}

/// The next rehearsal passes.
#[track_caller]
fn retried(database: &Database<'_>) {
    let done = rehearse_sql(
        &database.url,
        "ALTER TABLE orders ALTER COLUMN id TYPE bigint",
    )
    .expect(0);
    let witnessed = done.report().witness.unwrap();
    assert_eq!(witnessed.rollback, RollbackProof::Verified, "{done}");
}

#[track_caller]
fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(pid: u32) {
    let status = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[track_caller]
fn lost_and_rolled_back(report: &Report) {
    assert_eq!(
        report.verdict,
        Verdict::Environment(Environment::ConnectionLost),
        "{}",
        report.message
    );
    let witnessed = report.witness.as_ref().unwrap();
    assert_eq!(
        witnessed.rollback,
        RollbackProof::Verified,
        "{witnessed:#?}"
    );
    assert_eq!(witnessed.xact_status.as_deref(), Some("aborted"));
}

#[test]
fn the_whole_rehearsal_is_killed_and_its_locks_are_gone_within_a_second() {
    let database = database(Server::shared());
    let mut rehearsing = Rehearsing::start(&database);
    rehearsing.child.kill().unwrap();
    rehearsing.child.wait().unwrap();
    if postgres::major() >= 14 {
        // Two looks of the server at its client, and a little for a busy machine.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(left(&database), "");
    } else {
        // Before, a server looks when it has something to say: when the ALTER is over.
        wait("the locks go", || left(&database).is_empty().then_some(()));
    }
    assert_eq!(database.dump(), rehearsing.dump);
    retried(&database);
}

#[test]
fn the_servers_process_is_terminated_and_the_rollback_is_still_proven() {
    let database = database(Server::shared());
    let rehearsing = Rehearsing::start(&database);
    database.psql(&format!(
        "SELECT pg_terminate_backend({})",
        rehearsing.backend
    ));
    let report = rehearsing.ended(6);
    lost_and_rolled_back(&report);
    assert!(
        report.message.contains("administrator command"),
        "{}",
        report.message
    );
}

#[test]
fn the_servers_process_is_killed_and_the_witness_waits_for_the_recovery() {
    let server = Server::start(postgres::major());
    let database = database(&server);
    let rehearsing = Rehearsing::start(&database);
    kill(rehearsing.backend);
    // Every session is gone now, and the server refuses new ones until it has recovered.
    wait("the server recovers", || {
        postgres::try_psql(&server.socket_url(&database.name), "SELECT 1").ok()
    });
    lost_and_rolled_back(&rehearsing.ended(6));
}

#[test]
fn the_command_is_killed_and_its_statement_is_cancelled_at_once() {
    let database = database(Server::shared());
    let rehearsing = Rehearsing::start(&database);
    kill(rehearsing.command());
    let began = Instant::now();
    let report = rehearsing.ended(1);
    // The ALTER alone would have taken 20 s.
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        report.message.contains("killed by signal 9"),
        "{}",
        report.message
    );
    assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);
}

#[test]
fn the_connection_is_cut_and_the_rollback_is_proven_over_a_new_one() {
    let database = database(Server::shared());
    let relay = Relay::to(&database.server.host, database.server.port);
    let rehearsing = Rehearsing::start_at(&database, &relay.url(&database.url));
    relay.cut();
    lost_and_rolled_back(&rehearsing.ended(6));
}

#[test]
fn without_a_way_back_to_the_server_nothing_is_called_proven() {
    let database = database(Server::shared());
    let relay = Relay::to(&database.server.host, database.server.port);
    let rehearsing = Rehearsing::start_at(&database, &relay.url(&database.url));
    relay.close();
    let report = rehearsing.ended(4);
    assert_eq!(report.verdict, Verdict::RollbackNotVerified);
    assert!(
        report.message.contains("could not be verified"),
        "{}",
        report.message
    );
}
