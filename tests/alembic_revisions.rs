//! What drydock says of Alembic's revisions: with a database in the dry run, without one in `check`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::ffi::OsString;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drydock::report::{Report, Revisions, StepName};
use drydock::verdict::{NotRehearsed, Verdict};
use postgres::{Database, Server};
use program::{Done, bare, drydock};
use rstest::rstest;

/// A database that another test of the same role creates meanwhile is a move of pg_database, which
/// the witness cannot attribute to anybody.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn alembic(words: &[&str]) -> Vec<String> {
    let mut command = vec![python::warm_alembic().0];
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

fn rehearse(database: &Database<'_>, command: &[String]) -> Done {
    let mut program = drydock(&database.url);
    program
        .current_dir(python::project("revisions"))
        .envs([python::warm_alembic().1])
        .args(["rehearse", "--no-round-trip", "-o", "json", "--"])
        .args(command);
    Done::of(program)
}

/// By a file, with the round trip where a way back is known. The file is there as long as the second
/// value.
fn by_file(
    database: &Database<'_>,
    spec: &serde_json::Value,
) -> (Command, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), spec.to_string()).unwrap();
    let mut program = drydock(&database.url);
    program
        .current_dir(python::project("revisions"))
        .env("ALEMBIC", python::warm_alembic().0)
        .envs([python::warm_alembic().1])
        .args(["rehearse", "-o", "json", "-f"])
        .arg(file.path());
    (program, file)
}

fn rehearse_file(database: &Database<'_>, spec: &serde_json::Value) -> Done {
    let (program, _file) = by_file(database, spec);
    Done::of(program)
}

/// A program `poetry` that starts what is behind `run`, and knows nothing else.
struct Poetry(tempfile::TempDir);

impl Poetry {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("poetry");
        let script = "#!/bin/sh\n[ \"$1\" = run ] || exit 2\nshift\nexec \"$@\"\n";
        std::fs::write(&program, script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, executable).unwrap();
        Self(folder)
    }

    fn path(&self) -> OsString {
        let others = std::env::var_os("PATH").unwrap();
        let own = std::iter::once(self.0.path().to_owned());
        std::env::join_paths(own.chain(std::env::split_paths(&others))).unwrap()
    }
}

fn pending(report: &Report) -> Vec<&str> {
    let pending = &named(report).pending;
    pending.iter().map(|it| it.revision.as_str()).collect()
}

fn upgrade(database: &Database<'_>, words: &[&str]) {
    let (alembic, warm) = python::warm_alembic();
    let mut program = Command::new(alembic);
    program
        .args(words)
        .envs([warm])
        .current_dir(python::project("revisions"))
        .env("DATABASE_URL", &database.url)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    assert!(program.status().unwrap().success());
}

fn named(report: &Report) -> &Revisions {
    report.revisions.as_ref().expect("a section on revisions")
}

fn found<'a>(report: &'a Report, code: &str) -> &'a str {
    report
        .findings
        .iter()
        .find(|finding| finding.code == code)
        .map(|finding| finding.message.as_str())
        .unwrap_or_else(|| panic!("no {code} in {:?}", report.findings))
}

#[rstest]
#[case(13)]
#[case(18)]
fn what_is_pending_is_listed_with_its_message_and_duration(#[case] major: u8) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    upgrade(&database, &["upgrade", "a1"]);
    let done = rehearse(&database, &alembic(&["upgrade", "head"])).expect(0);
    let report = done.report();
    let revisions = named(&report);
    assert_eq!(revisions.known, 2);
    assert_eq!(revisions.current, ["a1"]);
    let pending = &revisions.pending[0];
    assert_eq!(
        (pending.revision.as_str(), pending.message.as_str()),
        ("b2", "a note for each order")
    );
    assert!(pending.micros.is_some());
    assert_eq!(revisions.heads[0].revision, "b2");
}

#[rstest]
fn several_heads_are_named_where_one_is_wanted(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    let done = rehearse(&database, &alembic(&["-n", "two_heads", "upgrade", "head"])).expect(1);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Failed);
    let said = found(&report, "MultipleHeads");
    assert!(report.message.contains(said), "{}", report.message);
    assert!(said.contains("b2") && said.contains("c3"), "{said}");
    let done = rehearse(
        &database,
        &alembic(&["-n", "two_heads", "upgrade", "heads"]),
    )
    .expect(0);
    assert_eq!(named(&done.report()).pending.len(), 3);
}

#[rstest]
fn a_revision_that_no_file_has_is_named(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    let done = rehearse(&database, &alembic(&["-n", "gap", "upgrade", "head"])).expect(1);
    let said = found(&done.report(), "MissingRevision").to_owned();
    assert!(done.report().message.contains(&said), "{done}");
    assert!(said.contains("ffff") && said.contains("d4"), "{said}");
}

#[rstest]
fn a_database_ahead_of_the_code_is_recognised(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    upgrade(&database, &["upgrade", "b2"]);
    database.psql("UPDATE alembic_version SET version_num = 'newer'");
    let done = rehearse(&database, &alembic(&["upgrade", "head"])).expect(1);
    let said = found(&done.report(), "UnknownRevision").to_owned();
    assert!(done.report().message.contains(&said), "{done}");
    assert!(said.contains("newer"), "{said}");
}

#[rstest]
fn a_version_table_of_another_name_and_schema_is_found(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    database.psql("CREATE SCHEMA admin");
    let table = ["-x", "table=migrated", "-x", "schema=admin", "upgrade"];
    upgrade(&database, &[&table[..], &["a1"]].concat());
    let done = rehearse(&database, &alembic(&[&table[..], &["head"]].concat())).expect(0);
    let report = done.report();
    assert_eq!(named(&report).tables, ["admin.migrated"]);
    assert_eq!(named(&report).current, ["a1"]);
    assert!(named(&report).pending[0].micros.is_some());
}

/// Another application's table is beside ours, and our first release comes, or a later one.
#[rstest]
#[case::first_release(None, "base")]
#[case::later(Some("a1"), "a1")]
fn the_way_back_leads_by_the_version_table_of_these_revisions(
    #[case] at: Option<&str>,
    #[case] back_to: &str,
    #[values(13, 18)] major: u8,
) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    database.psql(
        "CREATE SCHEMA billing;
         CREATE TABLE billing.alembic_version (version_num varchar(32) NOT NULL);
         INSERT INTO billing.alembic_version VALUES ('b9')",
    );
    if let Some(at) = at {
        upgrade(&database, &["upgrade", at]);
    }
    let command = serde_json::json!([python::warm_alembic().0]);
    let done = rehearse_file(
        &database,
        &serde_json::json!({"alembic": {"command": command}}),
    );
    let report = done.expect(0).report();
    assert_eq!(named(&report).tables, ["public.alembic_version"]);
    let said = found(&report, "SeveralVersionTables");
    assert!(said.contains("billing.alembic_version"), "{said}");
    let trip = report.round_trip.as_ref().unwrap();
    assert_eq!(trip.cut, None);
    let downgrade = trip
        .steps
        .iter()
        .find(|step| step.name == StepName::Downgrade)
        .unwrap();
    assert_eq!(downgrade.command.last().unwrap(), back_to);
    assert_eq!(downgrade.exit, Some(0), "{}", downgrade.output);
    assert!(trip.left.is_empty(), "{:?}", trip.left);
}

#[rstest]
#[case::to_a_lower_one(&["upgrade", "a1"], &["a1"])]
#[case::heads(&["-n", "branches", "upgrade", "heads"], &["b1", "b2", "o1"])]
#[case::a_label_with_what_it_depends_on(&["-n", "branches", "upgrade", "billing@head"], &["b1", "b2", "o1"])]
#[case::a_label(&["-n", "branches", "upgrade", "orders@head"], &["o1"])]
#[case::another_configuration(&["-c", "db/alembic.ini", "upgrade", "head"], &["a1", "b2"])]
fn what_is_pending_goes_as_far_as_the_target(
    #[case] words: &[&str],
    #[case] expected: &[&str],
    #[values(13, 18)] major: u8,
) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    let report = rehearse(&database, &alembic(words)).expect(0).report();
    let mut pending = pending(&report);
    pending.sort_unstable();
    assert_eq!(pending, expected);
}

#[rstest]
fn behind_a_wrapper_alembic_is_called_as_it_is_without_one(
    #[values("uv", "poetry", "poetry_and_python", "script", "configuration")] wrapper: &str,
    #[values(13, 18)] major: u8,
) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    let python = python::program("python");
    let alembic = python::warm_alembic().0;
    let spec = match wrapper {
        "uv" => serde_json::json!({"alembic": {"command": [
            python::program("uv"), "run", "--no-project", "--offline", "--no-cache", "--python",
            python, python::program("alembic"),
        ]}}),
        "poetry" => serde_json::json!({"command": {"upgrade": [
            "poetry", "run", alembic, "upgrade", "head",
        ]}}),
        "poetry_and_python" => serde_json::json!({"command": {"upgrade": [
            "poetry", "run", python, "-m", "alembic", "upgrade", "head",
        ]}}),
        "script" => serde_json::json!({"alembic": {"command": ["./alembic.sh"]}}),
        _ => serde_json::json!({"alembic": {"command": [alembic], "config": "db/alembic.ini"}}),
    };
    let poetry = Poetry::new();
    let (mut program, _file) = by_file(&database, &spec);
    program.env("PATH", poetry.path());
    let done = Done::of(program).expect(0);
    let report = done.report();
    assert_eq!(pending(&report), ["a1", "b2"], "{done}");
    assert_eq!(report.round_trip.as_ref().unwrap().cut, None, "{done}");
}

#[rstest]
fn behind_make_the_upgrade_is_rehearsed_and_nothing_else_is_known(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    let spec = serde_json::json!({"command": {"upgrade": ["make", "-s", "migrate"]}});
    let report = rehearse_file(&database, &spec).expect(0).report();
    assert!(report.revisions.is_none());
    assert!(report.round_trip.is_none());
    assert!(!report.prediction.unwrap().difference.is_empty());
}

#[rstest]
fn an_environment_that_is_run_for_a_list_is_named_by_its_setting(#[values(13, 18)] major: u8) {
    let _alone = alone();
    let database = Server::shared_of(major).database();
    let words = ["-n", "environment", "upgrade", "head"];
    let done = rehearse(&database, &alembic(&words)).expect(0);
    let report = done.report();
    let said = found(&report, "RevisionEnvironment");
    assert!(
        said.contains("revision_environment") && said.contains("env.py"),
        "{said}"
    );
    let done = check(&words).expect(3);
    assert!(done.stdout.contains("revision_environment"), "{done}");

    // What they are about is not known then, and a downgrade may be of several databases.
    let spec = serde_json::json!({
        "alembic": {"command": alembic(&["-n", "environment"])},
        "dryRun": {"roundTrip": true},
    });
    let report = rehearse_file(&database, &spec).expect(0).report();
    let said = found(&report, "RoundTripNotDone");
    assert!(said.contains("did not list its revisions"), "{said}");
}

#[rstest]
fn revisions_for_several_databases_are_refused_before_any_of_them_is_written(
    #[values(13, 18)] major: u8,
) {
    let _alone = alone();
    let server = Server::shared_of(major);
    let (orders, billing) = (server.database(), server.database());
    let run = |words: &[&str]| {
        let mut program = drydock(&orders.url);
        program
            .current_dir(python::project("multidb"))
            .env("BILLING_URL", &billing.url)
            .envs([python::warm_alembic().1])
            .args(["rehearse", "-o", "json", "--"])
            .args(alembic(words));
        Done::of(program)
    };
    let before = (orders.dump(), billing.dump());
    let done = run(&["upgrade", "head"]).expect(3);
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::NotRehearsed(NotRehearsed::SeveralDatabases)
    );
    assert!(report.message.contains("0001_notes.py"), "{done}");
    assert_eq!((orders.dump(), billing.dump()), before);
    run(&["-n", "one", "upgrade", "head"]).expect(0);
    assert_eq!((orders.dump(), billing.dump()), before);
}

#[test]
fn a_script_of_the_users_own_is_not_guessed_at() {
    let _alone = alone();
    let database = Server::shared().database();
    let script = format!("{} upgrade head", python::warm_alembic().0);
    let done = rehearse(&database, &["sh".to_owned(), "-c".to_owned(), script]).expect(0);
    assert!(done.report().revisions.is_none());
}

fn check(words: &[&str]) -> Done {
    let mut program = bare();
    program
        .current_dir(python::project("revisions"))
        .envs([python::warm_alembic().1])
        .args(["check", "--"])
        .args(alembic(words));
    Done::of(program)
}

#[rstest]
#[case::good(&["upgrade", "head"], 0, "b2")]
#[case::two_heads(&["-n", "two_heads", "upgrade", "head"], 1, "c3")]
#[case::gap(&["-n", "gap", "upgrade", "head"], 1, "ffff")]
#[case::circle(&["-n", "circle", "upgrade", "head"], 1, "e5")]
#[case::repeated(&["-n", "repeated", "upgrade", "head"], 1, "several files call themselves revision `b2`")]
#[case::broken(&["-n", "broken", "upgrade", "head"], 1, "no_such_module")]
#[case::branches(&["-n", "branches", "upgrade", "heads"], 0, "o1")]
fn check_needs_no_database(#[case] words: &[&str], #[case] code: i32, #[case] names: &str) {
    let done = check(words).expect(code);
    assert!(done.stdout.contains(names), "{done}");
}

#[test]
fn check_denies_what_the_command_line_and_the_file_name_and_nothing_that_it_cannot_find() {
    let run = |deny: serde_json::Value, flags: &[&str]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let spec = serde_json::json!({
            "alembic": {"command": [python::warm_alembic().0, "-n", "missing"]},
            "dryRun": {"roundTrip": true, "deny": deny},
        });
        std::fs::write(file.path(), spec.to_string()).unwrap();
        let mut program = bare();
        program
            .current_dir(python::project("round_trip"))
            .envs([python::warm_alembic().1])
            .args(["check", "-f"])
            .arg(file.path())
            .args(flags);
        Done::of(program)
    };
    let none = serde_json::json!([]);
    run(none.clone(), &[]).expect(0);
    run(none.clone(), &["--deny", "MissingDowngrade"]).expect(1);
    run(serde_json::json!(["MissingDowngrade"]), &[]).expect(1);
    let done = run(none, &["--deny", "MissingDowngrad"]).expect(2);
    assert!(done.stderr.contains("MissingDowngrade"), "{done}");
}
