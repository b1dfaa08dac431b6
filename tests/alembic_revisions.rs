//! What drydock says of Alembic's revisions: with a database in the dry run, without one in `check`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::sync::{Mutex, MutexGuard, PoisonError};

use drydock::report::{Report, Revisions};
use drydock::verdict::Verdict;
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
    let mut command = vec![python::program("alembic")];
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

fn rehearse(database: &Database<'_>, command: &[String]) -> Done {
    let mut program = drydock(&database.url);
    program
        .current_dir(python::project("revisions"))
        .args(["rehearse", "--no-round-trip", "-o", "json", "--"])
        .args(command);
    Done::of(program)
}

fn upgrade(database: &Database<'_>, words: &[&str]) {
    let mut program = std::process::Command::new(python::program("alembic"));
    program
        .args(words)
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

#[test]
fn several_heads_are_named_where_one_is_wanted() {
    let _alone = alone();
    let database = Server::shared().database();
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

#[test]
fn a_revision_that_no_file_has_is_named() {
    let _alone = alone();
    let database = Server::shared().database();
    let done = rehearse(&database, &alembic(&["-n", "gap", "upgrade", "head"])).expect(1);
    let said = found(&done.report(), "MissingRevision").to_owned();
    assert!(done.report().message.contains(&said), "{done}");
    assert!(said.contains("ffff") && said.contains("d4"), "{said}");
}

#[test]
fn a_database_ahead_of_the_code_is_recognised() {
    let _alone = alone();
    let database = Server::shared().database();
    upgrade(&database, &["upgrade", "b2"]);
    database.psql("UPDATE alembic_version SET version_num = 'newer'");
    let done = rehearse(&database, &alembic(&["upgrade", "head"])).expect(1);
    let said = found(&done.report(), "UnknownRevision").to_owned();
    assert!(done.report().message.contains(&said), "{done}");
    assert!(said.contains("newer"), "{said}");
}

#[test]
fn a_version_table_of_another_name_and_schema_is_found() {
    let _alone = alone();
    let database = Server::shared().database();
    database.psql("CREATE SCHEMA admin");
    let table = ["-x", "table=migrated", "-x", "schema=admin", "upgrade"];
    upgrade(&database, &[&table[..], &["a1"]].concat());
    let done = rehearse(&database, &alembic(&[&table[..], &["head"]].concat())).expect(0);
    let report = done.report();
    assert_eq!(named(&report).tables, ["admin.migrated"]);
    assert_eq!(named(&report).current, ["a1"]);
}

#[test]
fn a_script_of_the_users_own_is_not_guessed_at() {
    let _alone = alone();
    let database = Server::shared().database();
    let script = format!("{} upgrade head", python::program("alembic"));
    let done = rehearse(&database, &["sh".to_owned(), "-c".to_owned(), script]).expect(0);
    assert!(done.report().revisions.is_none());
}

fn check(words: &[&str]) -> Done {
    let mut program = bare();
    program
        .current_dir(python::project("revisions"))
        .args(["check", "--"])
        .args(alembic(words));
    Done::of(program)
}

#[rstest]
#[case::good(&["upgrade", "head"], 0, "b2")]
#[case::two_heads(&["-n", "two_heads", "upgrade", "head"], 1, "c3")]
#[case::gap(&["-n", "gap", "upgrade", "head"], 1, "ffff")]
#[case::circle(&["-n", "circle", "upgrade", "head"], 1, "e5")]
fn check_needs_no_database(#[case] words: &[&str], #[case] code: i32, #[case] names: &str) {
    let done = check(words).expect(code);
    assert!(done.stdout.contains(names), "{done}");
}
