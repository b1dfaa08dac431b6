//! The steps of a pod as processes on one machine: the files that they hand over, who may die when,
//! and what the kubelet would read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use drydock::report::{Phase, Report, Summary};
use drydock::verdict::{Environment, RollbackProof, UpgradeFailure, Verdict};
use postgres::{Database, Server};
use program::{Done, bare};

/// One pod: its volumes, and what its containers have in their environment.
struct Pod {
    folder: tempfile::TempDir,
    url: String,
    script: String,
    run: String,
    evidence: Option<String>,
    /// The specification's `dryRun`.
    dry_run: serde_json::Value,
    /// The command that goes back.
    downgrade: Option<String>,
}

impl Pod {
    /// The pod of a dry run of a shell script.
    fn dry_run(database: &Database<'_>, script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for volume in ["bin", "work", "results", "evidence"] {
            std::fs::create_dir(folder.path().join(format!("drydock-{volume}"))).unwrap();
        }
        std::fs::create_dir(folder.path().join("dev")).unwrap();
        Self {
            folder,
            url: database.url.clone(),
            script: script.to_owned(),
            run: format!("orders-dryrun-0123abcd-{}", database.name),
            evidence: None,
            dry_run: serde_json::json!({}),
            downgrade: None,
        }
    }

    /// The pod of the upgrade that a dry run's report allows.
    fn upgrade(database: &Database<'_>, script: &str, rehearsed: &Done) -> Self {
        let mut pod = Self::dry_run(database, script);
        pod.run = format!("orders-upgrade-0123abcd-{}", database.name);
        let line = rehearsed.stdout.trim_end().as_bytes();
        pod.evidence = Some(Report::digest_of(line).to_string());
        let file = std::fs::File::create(pod.path("drydock-evidence/report.json.gz")).unwrap();
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packed.write_all(line).unwrap();
        packed.finish().unwrap();
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A container of ours.
    fn step(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_step(arguments);
        let mut spec = serde_json::json!({
            "image": "registry.example/orders:v1",
            "command": {"upgrade": ["sh", "-c", self.script]},
            "database": {"exposeAs": {"url": "DATABASE_URL"}},
            "dryRun": self.dry_run,
        });
        if let Some(script) = &self.downgrade {
            spec["command"]["downgrade"] = serde_json::json!(["sh", "-c", script]);
        }
        command
            .env("DRYDOCK_RUN", &self.run)
            .env("DRYDOCK_SPEC", spec.to_string())
            .env("DRYDOCK_DATABASE_URL", &self.url);
        if let Some(evidence) = &self.evidence {
            command.env("DRYDOCK_EVIDENCE", evidence);
        }
        command
    }

    /// The user's container: it knows neither the database nor the specification.
    fn bare_step(&self, arguments: &[&str]) -> Command {
        let mut command = bare();
        command
            .arg("step")
            .args(arguments)
            .env("DRYDOCK_ROOT", self.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn prepare(&self) -> Done {
        let phase = match self.evidence {
            Some(_) => "upgrade",
            None => "dry-run",
        };
        Done::of(self.step(&["prepare", "--phase", phase]))
    }

    fn sidecar(&self) -> Container {
        let step = match self.evidence {
            Some(_) => "upgrade",
            None => "rehearse",
        };
        Container(Some(self.step(&[step]).spawn().unwrap()))
    }

    fn runner(&self) -> Container {
        Container(Some(self.bare_step(&["run"]).spawn().unwrap()))
    }

    fn witness(&self) -> Container {
        Container(Some(self.step(&["verify"]).spawn().unwrap()))
    }

    /// The whole pod as the kubelet runs it; gives what the witness left.
    fn complete(&self) -> Done {
        self.prepare().expect(0);
        let sidecar = self.sidecar();
        let (runner, witness) = (self.runner(), self.witness());
        let done = witness.end();
        runner.end().expect(0);
        sidecar.signal("TERM");
        sidecar.end().expect(0);
        done
    }

    /// The termination message of the container that wrote last.
    #[track_caller]
    fn summary(&self, done: &Done) -> Summary {
        let message = std::fs::read(self.path("dev/termination-log")).unwrap();
        assert!(message.len() <= Summary::LIMIT, "{}", message.len());
        let summary: Summary = serde_json::from_slice(&message).unwrap();
        assert_eq!(done.stdout.lines().count(), 1, "{done}");
        let line = done.stdout.trim_end().as_bytes();
        assert_eq!(summary.digest, Report::digest_of(line));
        assert_eq!(summary.bytes, line.len() as u64);
        assert_eq!(summary.run.0, self.run);
        summary
    }
}

/// A container that runs; it is killed when the test is over.
struct Container(Option<Child>);

impl Container {
    fn signal(&self, name: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(status.unwrap().success());
    }

    fn end(mut self) -> Done {
        let child = self.0.take().unwrap();
        Done::from(child.wait_with_output().unwrap())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn orders() -> Database<'static> {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)");
    database
}

/// A script that runs SQL as the user's command would.
fn sql(text: &str) -> String {
    format!("psql \"$DATABASE_URL\" -Xq -v ON_ERROR_STOP=1 -c '{text}'")
}

/// Alters the table, says by a file that it holds the lock, and goes on for a minute.
fn long(pid: &Path) -> String {
    format!(
        "echo $$ > {pid}.part; mv {pid}.part {pid}; exec psql \"$DATABASE_URL\" -Xq \
         -c 'BEGIN; ALTER TABLE orders ADD COLUMN note text; SELECT pg_sleep(60)'",
        pid = pid.display()
    )
}

#[track_caller]
fn wait(mut reached: impl FnMut() -> bool, otherwise: &str) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(60), "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const LOCKED: &str = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass \
                      AND mode = 'AccessExclusiveLock' AND granted";

fn wait_for_lock(database: &Database<'_>) {
    wait(|| database.psql(LOCKED) == "1", "the command never began");
}

fn runs(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

const NOTE: &str = "ALTER TABLE orders ADD COLUMN note text";

#[test]
fn a_good_dry_run_leaves_a_report_a_summary_and_the_database_as_it_was() {
    let database = orders();
    let before = database.dump();
    let script = format!("env | grep -c DRYDOCK_ >&2; {}", sql(NOTE));
    let pod = Pod::dry_run(&database, &script);
    let done = pod.complete().expect(0);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Passed, "{done}");
    assert_eq!(report.phase, Phase::DryRun);
    assert!(!report.command_output.contains(&database.url), "{done}");
    let summary = pod.summary(&done);
    assert_eq!(summary.verdict, Verdict::Passed);
    assert_eq!(summary.rollback, Some(RollbackProof::Verified));
    assert_ne!(summary.before, summary.predicted);
    assert_eq!(database.dump(), before);
    assert!(pod.path("drydock-bin/drydock").exists());
}

#[test]
fn the_teams_own_checks_run_in_the_users_container_between_the_same_two_ends() {
    let database = orders();
    let check = |name: &str, at: &str, condition: &str| {
        let script = format!("test \"$(psql \"$DATABASE_URL\" -XAtc \"SELECT {condition}\")\" = t");
        serde_json::json!({"name": name, "at": at, "command": ["sh", "-c", script]})
    };
    let mut pod = Pod::dry_run(&database, &sql(NOTE));
    let old =
        "count(*) = 0 FROM pg_attribute WHERE attname = 'note' AND attrelid = 'orders'::regclass";
    let new =
        "count(*) = 1 FROM pg_attribute WHERE attname = 'note' AND attrelid = 'orders'::regclass";
    pod.dry_run =
        serde_json::json!({"checks": [check("old", "Before", old), check("new", "After", new)]});
    let done = pod.complete();
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Passed, "{done}");
    assert_eq!(report.checks.len(), 2);
    let mut pod = Pod::dry_run(&database, &sql(NOTE));
    pod.dry_run = serde_json::json!({"checks": [check("old", "After", old)]});
    let done = pod.complete();
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Failed, "{done}");
    assert!(
        report
            .message
            .contains("the check old failed with exit code 1")
    );
    let witness = report.witness.unwrap();
    assert_eq!(witness.rollback, RollbackProof::Verified);
}

#[test]
fn a_pod_goes_the_way_back_too_and_asks_about_the_data() {
    let database = orders();
    let before = database.dump();
    let asked = |expect: &str| {
        serde_json::json!({
            "roundTrip": true,
            "deny": ["StubDowngrade"],
            "assertions": [{"name": "notes", "expect": expect, "sql": "SELECT FROM orders WHERE note IS NULL"}],
        })
    };
    let back = sql("ALTER TABLE orders DROP COLUMN IF EXISTS note");
    let again = sql("ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text");
    let mut pod = Pod::dry_run(&database, &again);
    (pod.dry_run, pod.downgrade) = (asked("NonEmpty"), Some(back.clone()));
    let report = pod.complete().expect(0).report();
    assert_eq!(report.verdict, Verdict::Passed);
    let trip = report.round_trip.unwrap();
    assert_eq!((trip.cut, trip.steps.len()), (None, 4));
    assert_eq!(report.assertions.len(), 1);

    let mut pod = Pod::dry_run(&database, &again);
    (pod.dry_run, pod.downgrade) = (asked("Empty"), Some(back));
    let report = pod.complete().expect(1).report();
    assert!(
        report.message.contains("the assertion notes failed"),
        "{}",
        report.message
    );
    assert_eq!(report.witness.unwrap().rollback, RollbackProof::Verified);

    let mut pod = Pod::dry_run(&database, &again);
    (pod.dry_run, pod.downgrade) = (asked("NonEmpty"), Some("true".to_owned()));
    let report = pod.complete().expect(1).report();
    assert!(
        report.message.contains("StubDowngrade, which is denied"),
        "{}",
        report.message
    );
    assert_eq!(database.dump(), before);
}

#[test]
fn a_command_that_fails_is_the_witnesss_verdict_and_not_the_runners() {
    let database = orders();
    let pod = Pod::dry_run(&database, &sql("ALTER TABLE nosuch ADD COLUMN note text"));
    let done = pod.complete().expect(1);
    let summary = pod.summary(&done);
    assert_eq!(summary.verdict, Verdict::Failed);
    assert!(summary.message.contains("42P01"), "{}", summary.message);
}

#[test]
fn the_longest_message_fits_into_the_termination_message() {
    let database = orders();
    let name = "x".repeat(60);
    let script = sql(&format!(
        "DO $$BEGIN RAISE EXCEPTION $q${}$q$; END$$",
        name.repeat(60)
    ));
    let pod = Pod::dry_run(&database, &script);
    let done = pod.complete().expect(1);
    assert!(done.report().message.len() > Summary::LIMIT, "{done}");
    pod.summary(&done);
}

#[test]
fn a_sidecar_that_is_killed_takes_the_command_along_and_its_second_start_reports_the_crash() {
    let database = orders();
    let mut pod = Pod::dry_run(&database, "");
    let pid = pod.path("pid");
    pod.script = long(&pid);
    pod.prepare().expect(0);
    let sidecar = pod.sidecar();
    let (runner, witness) = (pod.runner(), pod.witness());
    wait_for_lock(&database);
    sidecar.signal("KILL");
    sidecar.end();
    runner.end().expect(0);
    assert!(!runs(&pid), "the command outlived its sidecar");
    // The kubelet starts it again.
    let again = pod.sidecar();
    let done = witness.end().expect(6);
    assert!(
        done.report()
            .message
            .contains("was killed (out of memory?)"),
        "{done}"
    );
    assert_eq!(pod.summary(&done).rollback, Some(RollbackProof::Verified));
    assert_eq!(database.psql(LOCKED), "0");
    again.signal("TERM");
    again.end().expect(0);
}

#[test]
fn a_runner_that_is_stopped_in_a_dry_run_kills_the_command_at_once() {
    let database = orders();
    let mut pod = Pod::dry_run(&database, "");
    let pid = pod.path("pid");
    // A command that does not listen to SIGTERM.
    pod.script = format!("trap '' TERM; {}", long(&pid));
    pod.prepare().expect(0);
    let sidecar = pod.sidecar();
    let (runner, witness) = (pod.runner(), pod.witness());
    wait_for_lock(&database);
    runner.signal("TERM");
    witness.signal("TERM");
    runner.end().expect(0);
    assert!(!runs(&pid), "the command outlived its runner");
    let done = witness.end().expect(130);
    assert_eq!(pod.summary(&done).rollback, Some(RollbackProof::Verified));
    sidecar.signal("TERM");
    sidecar.end().expect(0);
    assert_eq!(database.psql(LOCKED), "0");
}

#[test]
fn a_dry_run_whose_command_does_not_come_keeps_nobody_from_the_database() {
    let database = orders();
    let mut waiting = Pod::dry_run(&database, &sql(NOTE));
    waiting.run.push_str("-waits");
    waiting.prepare().expect(0);
    let sidecar = waiting.sidecar();
    let witness = waiting.witness();
    wait(
        || waiting.path("drydock-results/link.json").exists(),
        "the sidecar never listened",
    );
    let other = Pod::dry_run(&database, &sql(NOTE));
    other.complete().expect(0);
    // Its image is there at last.
    waiting.runner().end().expect(0);
    let done = witness.end().expect(0);
    assert_eq!(done.report().verdict, Verdict::Passed, "{done}");
    sidecar.signal("TERM");
    sidecar.end().expect(0);
}

#[test]
fn a_witness_that_is_stopped_does_not_wait_for_ever() {
    let database = orders();
    let pod = Pod::dry_run(&database, "true");
    let witness = pod.witness();
    // Its handler is in place once it has looked for the record.
    std::thread::sleep(Duration::from_millis(500));
    witness.signal("TERM");
    let done = witness.end().expect(130);
    assert_eq!(pod.summary(&done).verdict, Verdict::Interrupted);
}

/// A database, and the report of a dry run on it that passed.
fn rehearsed() -> (Database<'static>, Done) {
    let database = orders();
    let done = Pod::dry_run(&database, &sql(NOTE)).complete().expect(0);
    (database, done)
}

#[test]
fn an_upgrade_from_the_state_before_runs_the_command_and_lands_where_it_was_predicted() {
    let (database, evidence) = rehearsed();
    let pod = Pod::upgrade(&database, &sql(NOTE), &evidence);
    let done = pod.complete().expect(0);
    let report = done.report();
    assert_eq!(
        (report.phase, &report.verdict),
        (Phase::Upgrade, &Verdict::Passed)
    );
    let summary = pod.summary(&done);
    let predicted: Summary = Summary::of(&evidence.report(), evidence.stdout.trim_end().as_bytes());
    assert_eq!(summary.predicted, predicted.predicted);
    assert_eq!(report.bound_to, Some(predicted.digest));
    assert_eq!(database.psql("SELECT count(note) FROM orders"), "0");
}

#[test]
fn an_upgrade_that_finds_the_predicted_state_runs_nothing() {
    let (database, evidence) = rehearsed();
    database.psql(NOTE);
    let pod = Pod::upgrade(&database, "echo started >&2; exit 1", &evidence);
    let done = pod.complete().expect(0);
    assert_eq!(
        done.report().message,
        "the database was in the predicted state already; nothing was run"
    );
}

#[test]
fn an_upgrade_that_finds_another_state_is_drift_and_never_starts() {
    let (database, evidence) = rehearsed();
    database.psql("CREATE TABLE somebody_elses ()");
    let pod = Pod::upgrade(&database, &sql(NOTE), &evidence);
    let done = pod.prepare().expect(7);
    assert_eq!(pod.summary(&done).verdict, Verdict::Drift);
    // The sidecar looks again, under the lock.
    let sidecar = pod.sidecar();
    let (runner, witness) = (pod.runner(), pod.witness());
    let done = witness.end().expect(7);
    assert_eq!(pod.summary(&done).verdict, Verdict::Drift);
    runner.end().expect(0);
    sidecar.signal("TERM");
    sidecar.end().expect(0);
    assert!(postgres::try_psql(&database.url, "SELECT note FROM orders").is_err());
}

#[test]
fn an_upgrade_as_another_role_than_was_rehearsed_is_drift() {
    let (database, evidence) = rehearsed();
    database.psql(&format!(
        "CREATE ROLE other_{name} LOGIN SUPERUSER",
        name = database.name
    ));
    let mut pod = Pod::upgrade(&database, &sql(NOTE), &evidence);
    pod.url = pod
        .url
        .replace("postgres@", &format!("other_{}@", database.name));
    let done = pod.prepare().expect(7);
    assert!(
        pod.summary(&done).message.contains("instead of postgres"),
        "{done}"
    );
}

#[test]
fn evidence_that_is_not_the_announced_one_starts_nothing() {
    let (database, evidence) = rehearsed();
    let mut pod = Pod::upgrade(&database, &sql(NOTE), &evidence);
    pod.evidence = Some(Report::digest_of(b"another").to_string());
    let done = pod.prepare().expect(6);
    assert!(
        pod.summary(&done)
            .message
            .contains("is not the announced one"),
        "{done}"
    );
    let sidecar = pod.sidecar();
    let (runner, witness) = (pod.runner(), pod.witness());
    let done = witness.end().expect(6);
    assert_eq!(
        pod.summary(&done).verdict,
        Verdict::Environment(Environment::Configuration)
    );
    runner.end().expect(0);
    sidecar.signal("TERM");
    sidecar.end().expect(0);

    std::fs::remove_file(pod.path("drydock-evidence/report.json.gz")).unwrap();
    let done = pod.prepare().expect(6);
    assert_eq!(
        pod.summary(&done).verdict,
        Verdict::Environment(Environment::Storage)
    );
}

#[test]
fn an_upgrade_whose_command_is_still_alive_keeps_the_next_attempt_out() {
    let (database, evidence) = rehearsed();
    let pod = Pod::upgrade(&database, "", &evidence);
    let name = "drydock-upgrade/orders-upgrade-0123abcd-1";
    let mut orphan = Command::new("psql")
        .args(["-Xqc", "SELECT pg_sleep(120)", &database.url])
        .env("PGAPPNAME", name)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    wait(|| database.psql(&count) == "1", "the session never came");
    let done = pod.prepare().expect(6);
    orphan.kill().unwrap();
    orphan.wait().unwrap();
    let summary = pod.summary(&done);
    assert_eq!(
        summary.verdict,
        Verdict::Environment(Environment::EarlierRunAlive)
    );
    assert!(summary.message.contains(name), "{done}");
    assert!(summary.message.contains("pg_terminate_backend"), "{done}");
}

#[test]
fn the_command_of_an_upgrade_bears_the_name_by_which_the_next_attempt_knows_it() {
    let (database, evidence) = rehearsed();
    let script = sql("CREATE TABLE seen AS SELECT current_setting(''application_name'') AS name")
        .replace("''", "'\\''");
    let pod = Pod::upgrade(&database, &script, &evidence);
    pod.complete().expect(9);
    assert_eq!(
        database.psql("SELECT name FROM seen"),
        format!("drydock-upgrade/{}", pod.run)
    );
}

#[test]
fn an_upgrade_that_is_stopped_asks_its_command_and_waits_for_it() {
    let (database, evidence) = rehearsed();
    let mut pod = Pod::upgrade(&database, "", &evidence);
    let pid = pod.path("pid");
    // It goes on to its end when it is asked to stop.
    pod.script = format!(
        "trap 'echo asked >&2' TERM; echo $$ > {}; sleep 1; sleep 1; {}",
        pid.display(),
        sql(NOTE)
    );
    pod.prepare().expect(0);
    let sidecar = pod.sidecar();
    let (runner, witness) = (pod.runner(), pod.witness());
    wait(|| pid.exists(), "the command never began");
    runner.signal("TERM");
    witness.signal("TERM");
    let log = runner.end().expect(0);
    assert!(log.stdout.contains("asked"), "{log}");
    witness.end().expect(0);
    sidecar.signal("TERM");
    sidecar.end().expect(0);
    assert_eq!(database.psql("SELECT count(note) FROM orders"), "0");
}

#[test]
fn a_guard_that_is_killed_leaves_the_end_of_the_upgrade_to_what_the_database_says() {
    let (database, evidence) = rehearsed();
    let mut pod = Pod::upgrade(&database, "", &evidence);
    let pid = pod.path("pid");
    pod.script = long(&pid);
    pod.prepare().expect(0);
    let sidecar = pod.sidecar();
    let (runner, witness) = (pod.runner(), pod.witness());
    wait_for_lock(&database);
    sidecar.signal("KILL");
    sidecar.end();
    // psql ends at SIGTERM, and its open transaction with it.
    runner.end().expect(0);
    let again = pod.sidecar();
    let done = witness.end().expect(8);
    assert_eq!(
        done.report().verdict,
        Verdict::UpgradeFailed(UpgradeFailure::NothingApplied),
        "{done}"
    );
    again.signal("TERM");
    again.end().expect(0);
}

#[test]
fn a_pod_without_its_variables_says_which_one_is_missing() {
    let database = orders();
    let pod = Pod::dry_run(&database, "true");
    let mut command = pod.bare_step(&["prepare", "--phase", "dry-run"]);
    command.env("DRYDOCK_RUN", &pod.run);
    let done = Done::of(command).expect(6);
    assert_eq!(
        pod.summary(&done).message,
        "the variable DRYDOCK_SPEC is not set"
    );
}
