//! The second transaction of a dry run: models, second upgrade, downgrade, upgrade again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drydock::report::{Report, StepName};
use drydock::verdict::{RollbackProof, Verdict};
use postgres::{Database, Server};
use program::{Done, drydock};
use rstest::rstest;

/// Alembic on the project, as one of its kinds, with words of its own.
fn alembic(kind: &str, words: &[&str]) -> Vec<String> {
    let mut command = vec![python::program("alembic")];
    command.extend(["-n".to_owned(), kind.to_owned()]);
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

/// A database that another test of the same role creates meanwhile is a move of pg_database, which
/// the witness cannot attribute to anybody.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database at the first revision.
fn at_the_first(server: &Server) -> Database<'_> {
    let database = server.database();
    let command = alembic("alembic", &["upgrade", "head"]);
    let done = Command::new(&command[0])
        .args(&command[1..])
        .current_dir(python::project("round_trip"))
        .env("DATABASE_URL", &database.url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .unwrap();
    assert!(done.success());
    database
}

fn rehearse(database: &Database<'_>, flags: &[&str], command: &[String]) -> Done {
    let mut program = drydock(&database.url);
    program
        .current_dir(python::project("round_trip"))
        .args(["rehearse", "-o", "json"])
        .args(flags)
        .arg("--")
        .args(command);
    Done::of(program)
}

fn codes(report: &Report) -> Vec<&str> {
    let mut codes: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .filter(|code| *code != "SuperuserRole")
        .collect();
    codes.sort_unstable();
    codes
}

#[rstest]
#[case::good("good", &[])]
#[case::leftovers("leftovers", &["DowngradeLeftovers", "UpgradeAgainFailed"])]
#[case::stub("stub", &["StubDowngrade", "UpgradeAgainFailed"])]
#[case::missing("missing", &["MissingDowngrade"])]
#[case::failing("failing", &["DowngradeFailed"])]
#[case::lossy("lossy", &["DowngradeLostData"])]
#[case::data("data", &[])]
fn what_a_downgrade_forgets_is_found(
    #[case] kind: &str,
    #[case] expected: &[&str],
    #[values(13, 18)] major: u8,
) {
    let _alone = alone();
    let database = at_the_first(Server::shared_of(major));
    let before = database.dump();
    let done = rehearse(
        &database,
        &[],
        &alembic(kind, &["-x", "models=good", "upgrade", "head"]),
    );
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Passed, "{done}");
    // Only the good revision makes what the models say.
    let mut found = codes(&report);
    if kind != "good" {
        found.retain(|code| *code != "ModelsDiffer");
    }
    assert_eq!(found, expected, "{done}");
    let trip = report.round_trip.as_ref().unwrap();
    assert_eq!(trip.cut, None);
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(witness.rollback, RollbackProof::Verified, "{done}");
    assert_eq!(database.dump(), before);
}

#[test]
fn everything_that_is_left_is_named() {
    let _alone = alone();
    let database = at_the_first(Server::shared());
    let command = alembic("leftovers", &["upgrade", "head"]);
    let report = rehearse(&database, &[], &command).expect(0).report();
    let left: Vec<String> = report
        .round_trip
        .unwrap()
        .left
        .iter()
        .map(|(id, _)| format!("{} {}", id.kind, id.identity))
        .collect();
    for name in [
        "public.priority",
        "public.orders_state",
        "public.invoices",
        "public.paid",
    ] {
        assert!(
            left.iter().any(|left| left.contains(name)),
            "{name}: {left:?}"
        );
    }
    assert!(
        left.iter().any(|left| left.contains("public.orders")),
        "the grant: {left:?}"
    );
}

#[test]
fn what_is_denied_makes_the_dry_run_fail() {
    let _alone = alone();
    let database = at_the_first(Server::shared());
    let command = alembic("stub", &["upgrade", "head"]);
    let done = rehearse(&database, &["--deny", "StubDowngrade"], &command).expect(1);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        report.message.contains("StubDowngrade"),
        "{}",
        report.message
    );
    rehearse(&database, &["--deny", "DowngradeLostData"], &command).expect(0);
}

#[rstest]
#[case("good", None)]
#[case("ahead", Some("ModelsDiffer"))]
#[case("", Some("NoModels"))]
fn the_models_are_compared_with_the_database(#[case] models: &str, #[case] code: Option<&str>) {
    let _alone = alone();
    let database = at_the_first(Server::shared());
    let x = format!("models={models}");
    let command = alembic("good", &["-x", &x, "upgrade", "head"]);
    let done = rehearse(&database, &[], &command).expect(0);
    let report = done.report();
    assert_eq!(codes(&report), Vec::from_iter(code), "{done}");
    let trip = report.round_trip.unwrap();
    let check = trip
        .steps
        .iter()
        .find(|step| step.name == StepName::ModelCheck)
        .unwrap();
    if models == "ahead" {
        assert!(check.output.contains("paid_at"), "{}", check.output);
    }
}

#[test]
fn the_first_upgrade_of_all_goes_back_to_nothing() {
    let _alone = alone();
    let database = Server::shared().database();
    let command = alembic("good", &["upgrade", "head"]);
    let done = rehearse(&database, &[], &command).expect(0);
    let report = done.report();
    assert_eq!(codes(&report), ["NoModels"], "{done}");
    assert!(report.round_trip.unwrap().left.is_empty());
}

#[test]
fn any_tool_goes_back_when_it_is_said_how() {
    let _alone = alone();
    let database = Server::shared().database();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "command:
  upgrade: [sh, -c, 'psql \"$DATABASE_URL\" -Xqc \"CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)\"']
  downgrade: [sh, -c, 'psql \"$DATABASE_URL\" -Xqc \"DROP TABLE t\"']
dryRun: {roundTrip: true}
",
    )
    .unwrap();
    let mut program = drydock(&database.url);
    program
        .args(["rehearse", "-o", "json", "-f"])
        .arg(file.path());
    let report = Done::of(program).expect(0).report();
    assert_eq!(report.round_trip.unwrap().cut, None);
}

#[test]
fn the_way_back_is_not_gone_where_nobody_asked() {
    let _alone = alone();
    let database = at_the_first(Server::shared());
    let command = alembic("good", &["upgrade", "head"]);
    let report = rehearse(&database, &["--no-round-trip"], &command)
        .expect(0)
        .report();
    assert!(report.round_trip.is_none());
}

/// A reader that comes only in the second transaction is waited for by the second downgrade; the
/// guard ends it, and the verdict of the first one stands.
#[test]
fn what_is_cut_by_a_budget_leaves_the_verdict() {
    let _alone = alone();
    let database = at_the_first(Server::shared());
    let marker = tempfile::NamedTempFile::new().unwrap();
    // The downgrade says that it is its turn, takes its lock, then sleeps longer than anybody may be blocked.
    let script = format!(
        "echo now > {}; psql \"$DATABASE_URL\" -Xqc 'ALTER TABLE orders DROP COLUMN note' -c 'SELECT pg_sleep(20)'",
        marker.path().display()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let spec = serde_json::json!({
        "command": {
            "upgrade": ["sh", "-c", "psql \"$DATABASE_URL\" -Xqc 'ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text'"],
            "downgrade": ["sh", "-c", script],
        },
        "dryRun": {"roundTrip": true, "budgets": {"blocking": "300ms"}},
    });
    std::fs::write(file.path(), spec.to_string()).unwrap();
    let mut program = drydock(&database.url);
    program
        .args(["rehearse", "-o", "json", "-f"])
        .arg(file.path());
    let url = database.url.clone();
    let path = marker.path().to_owned();
    let reader = std::thread::spawn(move || {
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let read = Command::new("psql")
            .args([&url, "-Xqc", "SELECT count(*) FROM orders"])
            .output()
            .unwrap();
        assert!(read.status.success());
    });
    let done = Done::of(program);
    reader.join().unwrap();
    let report = done.expect(0).report();
    assert_eq!(report.verdict, Verdict::Passed);
    let cut = report.round_trip.unwrap().cut.unwrap();
    assert!(cut.contains("downgrade"), "{cut}");
}
