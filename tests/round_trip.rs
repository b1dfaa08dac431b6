//! The second transaction of a dry run: models, second upgrade, downgrade, upgrade again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};

use drydock::report::{Report, StepName};
use drydock::schema::Change;
use drydock::verdict::{RollbackProof, Verdict};
use postgres::{Database, Server};
use program::{Done, drydock};
use rstest::rstest;

/// Alembic on the project, as one of its kinds, with words of its own.
fn alembic(kind: &str, words: &[&str]) -> Vec<String> {
    let (program, _) = python::warm_alembic();
    let mut command = vec![program];
    command.extend(["-n".to_owned(), kind.to_owned()]);
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

/// The same, started like anybody's.
fn cold(mut command: Vec<String>) -> Vec<String> {
    command[0] = python::program("alembic");
    command
}

/// Databases that are lent to one test at a time. They are made before any test rehearses, since one
/// that comes meanwhile is a move of pg_database, which the witness cannot attribute to anybody; and
/// they come back as they were, since nothing is ever applied to them.
struct Lent {
    kind: Kind,
    database: Option<Database<'static>>,
}

/// Of which major version, and what is in it.
type Kind = (u8, Contents);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Contents {
    AtTheFirst,
    Nothing,
    /// Nothing yet: each test that takes one makes tables of its own.
    ToBeFilled,
}

static POOL: Mutex<Option<BTreeMap<Kind, Vec<Database<'static>>>>> = Mutex::new(None);
static GIVEN_BACK: Condvar = Condvar::new();

/// As many tests may use the same kind at the same time.
const AT_ONCE: usize = 3;

/// A database at the first revision.
fn at_the_first(major: u8) -> Lent {
    lend((major, Contents::AtTheFirst))
}

fn empty(major: u8) -> Lent {
    lend((major, Contents::Nothing))
}

fn lend(kind: Kind) -> Lent {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let free = pool.get_or_insert_with(databases).get_mut(&kind);
        if let Some(database) = free.expect("a kind of the pool").pop() {
            return Lent {
                kind,
                database: Some(database),
            };
        }
        pool = GIVEN_BACK
            .wait(pool)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

fn databases() -> BTreeMap<Kind, Vec<Database<'static>>> {
    let mut pool = BTreeMap::new();
    for major in BTreeSet::from([13, 18, postgres::major()]) {
        let server = Server::shared_of(major);
        let first = server.database();
        upgrade(&first, "alembic");
        let mut at_the_first: Vec<_> = (1..AT_ONCE).map(|_| server.copy_of(&first)).collect();
        at_the_first.push(first);
        pool.insert((major, Contents::AtTheFirst), at_the_first);
        for (empty, number) in [(Contents::Nothing, 1), (Contents::ToBeFilled, AT_ONCE)] {
            let databases = (0..number).map(|_| server.database()).collect();
            pool.insert((major, empty), databases);
        }
    }
    pool
}

/// Really upgrades.
fn upgrade(database: &Database<'_>, kind: &str) {
    let command = alembic(kind, &["upgrade", "head"]);
    let done = Command::new(&command[0])
        .args(&command[1..])
        .current_dir(python::project("round_trip"))
        .env("DATABASE_URL", &database.url)
        .envs([python::warm_alembic().1])
        .status()
        .unwrap();
    assert!(done.success());
}

impl std::ops::Deref for Lent {
    type Target = Database<'static>;

    fn deref(&self) -> &Self::Target {
        self.database.as_ref().unwrap()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(database) = self.database.take() else {
            return;
        };
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = pool.as_mut().and_then(|pool| pool.get_mut(&self.kind)) {
            free.push(database);
        }
        GIVEN_BACK.notify_all();
    }
}

fn rehearse(database: &Database<'_>, flags: &[&str], command: &[String]) -> Done {
    let mut program = drydock(&database.url);
    program
        .current_dir(python::project("round_trip"))
        .envs([python::warm_alembic().1])
        .args(["rehearse", "-o", "json"])
        .args(flags);
    if !command.is_empty() {
        program.arg("--").args(command);
    }
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

fn message(report: &Report, code: &str) -> String {
    let found = report.findings.iter().find(|finding| finding.code == code);
    found.expect(code).message.clone()
}

#[rstest]
#[case::good("good", &[])]
#[case::leftovers("leftovers", &["DowngradeLeftovers", "UpgradeAgainFailed"])]
#[case::stub("stub", &["StubDowngrade", "UpgradeAgainFailed"])]
#[case::missing("missing", &["MissingDowngrade"])]
#[case::absent("absent", &["MissingDowngrade"])]
#[case::failing("failing", &["DowngradeFailed"])]
#[case::lossy("lossy", &["DowngradeLostData"])]
#[case::truncating("truncating", &["DowngradeLostData"])]
#[case::deleting("deleting", &["DowngradeLostData"])]
#[case::data("data", &[])]
#[case::index("index", &[])]
// What the backfill wrote into the forgotten column is not lost.
#[case::backfill("backfill", &["DowngradeLeftovers", "UpgradeAgainFailed"])]
fn what_a_downgrade_forgets_is_found(
    #[case] kind: &str,
    #[case] expected: &[&str],
    #[values(13, 18)] major: u8,
) {
    let database = at_the_first(major);
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

#[rstest]
fn everything_that_is_left_is_named(#[values(13, 18)] major: u8) {
    let database = at_the_first(major);
    let command = alembic("leftovers", &["upgrade", "head"]);
    let report = rehearse(&database, &[], &command).expect(0).report();
    let difference = report.round_trip.unwrap().left;
    let left: Vec<String> = difference
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
    let orders = difference
        .iter()
        .find(|(id, _)| id.kind == "relation" && id.identity == "public.orders");
    let Some((_, Change::Altered { before, after })) = orders else {
        panic!("the grant: {left:?}");
    };
    let acl = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["acl"].clone();
    assert!(acl(before).is_null(), "{before}");
    assert!(
        acl(after).to_string().contains("\"=r/postgres\""),
        "{after}"
    );
}

#[rstest]
fn lost_rows_are_told_with_their_numbers_and_what_is_left_is_listed_for_people(
    #[values(13, 18)] major: u8,
) {
    let database = at_the_first(major);
    let done = rehearse(&database, &[], &alembic("lossy", &["upgrade", "head"])).expect(0);
    let said = message(&done.report(), "DowngradeLostData");
    assert!(said.contains("orders: 100 rows, then"), "{said}");
    let command = alembic("leftovers", &["upgrade", "head"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rehearse(&database, &[], &command).stdout).unwrap();
    let mut program = drydock(&database.url);
    program.args(["report", "-o", "text"]).arg(file.path());
    let done = Done::of(program).expect(0);
    for name in ["public.priority", "public.orders_state", "public.paid"] {
        let line = done
            .stdout
            .lines()
            .find(|line| line.contains("left behind") && line.contains(name));
        assert!(line.is_some(), "{name}: {done}");
    }
}

/// A file with two shell lines of psql, for the way there and the way back.
fn there_and_back(upgrade: &str, downgrade: &str) -> tempfile::NamedTempFile {
    let psql = |sql| {
        [
            "sh",
            "-c",
            &format!("psql \"$DATABASE_URL\" -Xqc \"{sql}\""),
        ]
        .map(str::to_owned)
    };
    let spec = serde_json::json!({
        "command": {"upgrade": psql(upgrade), "downgrade": psql(downgrade)},
        "dryRun": {"roundTrip": true},
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), spec.to_string()).unwrap();
    file
}

#[rstest]
fn rows_that_others_write_meanwhile_are_not_the_migrations(#[values(13, 18)] major: u8) {
    let database = at_the_first(major);
    let file = there_and_back(
        "UPDATE orders SET state = lower(state) WHERE id < 50; SELECT pg_sleep(0.3)",
        "UPDATE orders SET state = initcap(state) WHERE id < 50",
    );
    let file = file.path().display().to_string();
    // From another address than the command's.
    let url = Server::shared_of(major).socket_url(&database.name);
    let over = std::sync::atomic::AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                postgres::psql(&url, "INSERT INTO orders (state) VALUES ('New')");
            }
        });
        let done = rehearse(&database, &["-f", &file], &[]);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        done.expect(0).report()
    });
    postgres::psql(&url, "DELETE FROM orders WHERE id > 100");
    assert_eq!(
        codes(&report)
            .iter()
            .filter(|code| **code == "DowngradeLostData")
            .count(),
        0
    );
    let said = message(&report, "RowsNotCompared");
    assert!(
        said.contains("others wrote into orders meanwhile"),
        "{said}"
    );
    assert_eq!(report.round_trip.unwrap().cut, None);
}

#[rstest]
fn rows_that_only_the_way_back_writes_are_said_not_to_be_compared(#[values(13, 18)] major: u8) {
    let database = lend((major, Contents::ToBeFilled));
    database.psql("CREATE TABLE bills (id int); CREATE TABLE notes (id int)");
    let file = there_and_back(
        "INSERT INTO bills VALUES (1)",
        "DELETE FROM bills; TRUNCATE notes",
    );
    let file = file.path().display().to_string();
    let report = rehearse(&database, &["-f", &file], &[]).expect(0).report();
    let said = message(&report, "RowsNotCompared");
    assert!(
        said.contains("the rows of public.notes were not compared"),
        "{said}"
    );
}

#[rstest]
fn of_a_partitioned_table_the_partitions_are_compared(#[values(13, 18)] major: u8) {
    let database = lend((major, Contents::ToBeFilled));
    database.psql(
        "CREATE TABLE visits (id int, note text) PARTITION BY RANGE (id);
         CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (10);
         CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM (10) TO (20);
         INSERT INTO visits SELECT n, 'note' FROM generate_series(1, 12) n",
    );
    let file = there_and_back(
        "ALTER TABLE visits DROP COLUMN note",
        "ALTER TABLE visits ADD COLUMN note text",
    );
    let file = file.path().display().to_string();
    let report = rehearse(&database, &["-f", &file], &[]).expect(0).report();
    let said = message(&report, "DowngradeLostData");
    for partition in ["visits_1: 9 rows", "visits_2: 3 rows"] {
        assert!(said.contains(partition), "{said}");
    }
    assert_eq!(
        report.round_trip.unwrap().compared,
        ["visits_1", "visits_2"]
    );
}

#[rstest]
fn rows_of_a_table_that_is_too_great_are_said_not_to_be_compared(#[values(13, 18)] major: u8) {
    let database = lend((major, Contents::ToBeFilled));
    database.psql(
        "CREATE TABLE events (id int, payload text);
         ALTER TABLE events ALTER payload SET STORAGE PLAIN;
         INSERT INTO events SELECT n, repeat('x', 8000) FROM generate_series(1, 9000) n;
         CREATE TABLE counts (events int)",
    );
    let file = there_and_back(
        "INSERT INTO events VALUES (0, 'first'); INSERT INTO counts VALUES (9001)",
        "DELETE FROM events WHERE id < 2; DELETE FROM counts",
    );
    let file = file.path().display().to_string();
    let report = rehearse(&database, &["-f", &file], &[]).expect(0).report();
    let said = message(&report, "RowsNotCompared");
    assert!(
        said.contains("the rows of events were not compared"),
        "{said}"
    );
    assert!(!codes(&report).contains(&"DowngradeLostData"), "{report:?}");
}

#[rstest]
#[case::again("again", true)]
#[case::once("once", false)]
fn rows_that_every_upgrade_writes_are_found(
    #[case] seed: &str,
    #[case] expected: bool,
    #[values(13, 18)] major: u8,
) {
    let database = at_the_first(major);
    let x = format!("seed={seed}");
    let command = alembic("good", &["-x", &x, "upgrade", "head"]);
    let done = rehearse(&database, &[], &command).expect(0);
    let report = done.report();
    let found = codes(&report).contains(&"SecondUpgradeChanged");
    assert_eq!(found, expected, "{done}");
    if expected {
        let said = message(&report, "SecondUpgradeChanged");
        assert!(said.ends_with("rows of orders"), "{said}");
    }
}

#[rstest]
#[case(&["--no-round-trip", "--deny", "StubDowngrade"])]
#[case(&["--deny", "RerunChanged"])]
fn what_nobody_looks_for_cannot_be_denied(#[case] flags: &[&str], #[values(13, 18)] major: u8) {
    let database = at_the_first(major);
    let done = rehearse(&database, flags, &alembic("good", &["upgrade", "head"])).expect(2);
    assert!(done.stderr.contains(flags[flags.len() - 1]), "{done}");
}

#[rstest]
fn a_round_trip_that_is_not_done_can_be_denied(#[values(13, 18)] major: u8) {
    let database = at_the_first(major);
    let command = alembic("chain_merge", &["upgrade", "head"]);
    let done = rehearse(
        &database,
        &["--each", "--deny", "RoundTripNotDone"],
        &command,
    )
    .expect(1);
    let said = done.report().message;
    assert!(said.contains("RoundTripNotDone"), "{said}");
}

#[rstest]
fn models_that_were_not_compared_can_be_denied(#[values(13, 18)] major: u8) {
    let database = at_the_first(major);
    let command = alembic("good", &["upgrade", "head"]);
    rehearse(&database, &["--deny", "NoModels"], &command).expect(1);
}

#[rstest]
fn what_is_denied_makes_the_dry_run_fail(#[values(13, 18)] major: u8) {
    let database = at_the_first(major);
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
fn the_models_are_compared_with_the_database(
    #[case] models: &str,
    #[case] code: Option<&str>,
    #[values(13, 18)] major: u8,
) {
    let database = at_the_first(major);
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

#[rstest]
fn the_first_upgrade_of_all_goes_back_to_nothing(#[values(13, 18)] major: u8) {
    let database = empty(major);
    let command = cold(alembic("good", &["upgrade", "head"]));
    let done = rehearse(&database, &[], &command).expect(0);
    let report = done.report();
    assert_eq!(codes(&report), ["NoModels"], "{done}");
    assert!(report.round_trip.unwrap().left.is_empty());
}

#[test]
fn any_tool_goes_back_when_it_is_said_how() {
    let database = empty(postgres::major());
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
    let database = at_the_first(postgres::major());
    let command = alembic("good", &["upgrade", "head"]);
    let report = rehearse(&database, &["--no-round-trip"], &command)
        .expect(0)
        .report();
    assert!(report.round_trip.is_none());
}

/// Upgrades, and says where it then holds its lock for longer than anybody may be blocked.
fn slow_downgrade(tool: &str, holds: &Path) -> serde_json::Value {
    match tool {
        "alembic" => serde_json::json!({"alembic": {"command": alembic("slow", &[])}}),
        _ => {
            let script = format!(
                "psql \"$DATABASE_URL\" -Xqc 'ALTER TABLE orders DROP COLUMN note' \
                 -c '\\! echo now > {}' -c 'SELECT pg_sleep(20)'",
                holds.display()
            );
            let upgrade = "psql \"$DATABASE_URL\" -Xqc 'ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text'";
            serde_json::json!({"command": {
                "upgrade": ["sh", "-c", upgrade],
                "downgrade": ["sh", "-c", script],
            }})
        }
    }
}

/// A reader that comes only in the second transaction is kept waiting by the downgrade; the guard
/// ends it, and the verdict of the first one stands.
#[rstest]
fn what_is_cut_by_a_budget_leaves_the_verdict(
    #[values(13, 18)] major: u8,
    #[values("alembic", "psql")] tool: &str,
) {
    let database = at_the_first(major);
    let before = database.dump();
    let holds = tempfile::NamedTempFile::new().unwrap();
    let mut spec = slow_downgrade(tool, holds.path());
    spec["dryRun"] = serde_json::json!({"roundTrip": true, "budgets": {"blocking": "300ms"}});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), spec.to_string()).unwrap();
    let mut program = drydock(&database.url);
    program
        .current_dir(python::project("round_trip"))
        .envs([python::warm_alembic().1])
        .env("HOLDS", holds.path())
        .args(["rehearse", "-o", "json", "-f"])
        .arg(file.path());
    let url = database.url.clone();
    let path = holds.path().to_owned();
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
    let done = Done::of(program).expect(0);
    reader.join().unwrap();
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Passed);
    assert_eq!(
        report.witness.as_ref().unwrap().rollback,
        RollbackProof::Verified,
        "{done}"
    );
    let cut = report.round_trip.unwrap().cut.unwrap();
    assert!(cut.contains("downgrade"), "{cut}");
    assert_eq!(database.dump(), before);
}

/// Revision by revision, with what is found of which.
fn each(database: &Database<'_>, kind: &str, flags: &[&str]) -> (Done, Vec<(String, String)>) {
    let flags = [&["--each"], flags].concat();
    let command = alembic(kind, &["upgrade", "head"]);
    let done = rehearse(database, &flags, &command).expect(0);
    let mut found: Vec<_> = done
        .report()
        .findings
        .into_iter()
        .filter_map(|finding| {
            let (name, _) = finding
                .message
                .strip_prefix("revision `")?
                .split_once('`')?;
            Some((name.to_owned(), finding.code))
        })
        .collect();
    found.sort_unstable();
    (done, found)
}

#[rstest]
#[case::good("chain", &[])]
// Its states stay in small letters.
#[case::stub("chain_stub", &["DowngradeLostData", "StubDowngrade", "UpgradeAgainFailed"])]
#[case::forgets_a_type("chain_enum", &["DowngradeLeftovers", "UpgradeAgainFailed"])]
fn revision_by_revision_it_is_said_which_one_has_no_good_way_back(
    #[case] kind: &str,
    #[case] expected: &[&str],
    #[values(13, 18)] major: u8,
) {
    let database = at_the_first(major);
    let before = database.dump();
    let (done, found) = each(&database, kind, &[]);
    let report = done.report();
    let expected: Vec<_> = expected
        .iter()
        .map(|code| ("0003".to_owned(), (*code).to_owned()))
        .collect();
    assert_eq!(found, expected, "{done}");
    let trip = report.round_trip.as_ref().unwrap();
    assert_eq!(trip.cut, None);
    let legs: Vec<_> = trip
        .revisions
        .iter()
        .map(|leg| (leg.revision.as_str(), leg.data_only, leg.steps.len()))
        .collect();
    // What one revision leaves is not in the way of the next.
    assert_eq!(
        legs,
        [("0002", false, 3), ("0003", false, 3), ("0004", true, 3)]
    );
    if kind == "chain_enum" {
        let left: Vec<_> = trip.revisions[1]
            .left
            .iter()
            .map(|(id, _)| &id.kind)
            .collect();
        assert!(left.contains(&&"type".to_owned()), "{left:?}");
    }
    assert!(
        trip.steps
            .iter()
            .any(|step| step.name == StepName::SecondUpgrade)
    );
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(witness.rollback, RollbackProof::Verified, "{done}");
    assert_eq!(database.dump(), before);
}

#[rstest]
fn from_nothing_to_the_head_every_revision_is_gone_back_from(#[values(13, 18)] major: u8) {
    let database = empty(major);
    let (done, found) = each(&database, "chain", &[]);
    assert_eq!(found, [], "{done}");
    let trip = done.report().round_trip.unwrap();
    assert_eq!((trip.cut, trip.revisions.len()), (None, 4));
}

#[rstest]
fn a_revision_that_is_denied_by_what_is_found_of_it_fails_the_dry_run(#[values(13, 18)] major: u8) {
    let database = at_the_first(major);
    let command = alembic("chain_stub", &["upgrade", "head"]);
    let done = rehearse(&database, &["--each", "--deny", "StubDowngrade"], &command).expect(1);
    let message = done.report().message;
    assert!(message.contains("revision `0003`"), "{message}");
}

#[test]
fn branches_are_not_gone_back_from_one_by_one() {
    let database = at_the_first(postgres::major());
    let (done, found) = each(&database, "chain_merge", &[]);
    assert_eq!(found, [], "{done}");
    let cut = done.report().round_trip.unwrap().cut.unwrap();
    assert!(cut.contains("branch"), "{cut}");
}

#[rstest]
#[case::on_conflict("again", &[])]
#[case::twice("twice", &["RerunChanged"])]
#[case::clash("clash", &["RerunFailed"])]
fn a_data_migration_that_is_not_idempotent_is_found(
    #[case] kind: &str,
    #[case] expected: &[&str],
    #[values(13, 18)] major: u8,
) {
    let database = at_the_first(major);
    let before = database.dump();
    let command = alembic(kind, &["upgrade", "head"]);
    let done = rehearse(&database, &["--no-round-trip", "--rerun"], &command).expect(0);
    let report = done.report();
    assert_eq!(codes(&report), expected, "{done}");
    let trip = report.round_trip.as_ref().unwrap();
    assert_eq!(trip.cut, None);
    let legs: Vec<_> = trip
        .revisions
        .iter()
        .map(|leg| (leg.data_only, leg.steps.len(), leg.rerun_changed.clone()))
        .collect();
    let changed = match kind {
        "again" => Some(Vec::new()),
        "twice" => Some(vec!["orders".to_owned()]),
        _ => None,
    };
    assert_eq!(legs, [(false, 1, None), (true, 3, changed)]);
    let witness = report.witness.as_ref().unwrap();
    assert_eq!(witness.rollback, RollbackProof::Verified, "{done}");
    assert_eq!(database.dump(), before);
}

#[test]
fn a_second_run_may_be_asked_for_in_the_file_and_beside_the_round_trip_and_denied() {
    let database = at_the_first(postgres::major());
    let file = tempfile::NamedTempFile::new().unwrap();
    let command = serde_json::to_string(&alembic("twice", &[])).unwrap();
    let spec = format!(
        "{{alembic: {{command: {command}}}, dryRun: {{rerun: Pending, roundTrip: true, deny: [RerunChanged]}}}}"
    );
    std::fs::write(file.path(), spec).unwrap();
    let file = file.path().display().to_string();
    let done = rehearse(&database, &["-f", &file], &[]).expect(1);
    let report = done.report();
    assert!(report.message.contains("RerunChanged"), "{done}");
    let trip = report.round_trip.unwrap();
    assert_eq!((trip.cut, trip.revisions.len()), (None, 2));
    assert!(
        trip.steps
            .iter()
            .any(|step| step.name == StepName::Downgrade)
    );
}

#[test]
fn where_revisions_branch_no_data_migration_is_run_twice_and_the_round_trip_is() {
    let database = at_the_first(postgres::major());
    let command = alembic("chain_merge", &["upgrade", "head"]);
    let done = rehearse(&database, &["--rerun"], &command).expect(0);
    let report = done.report();
    assert!(codes(&report).contains(&"RerunNotDone"), "{done}");
    assert_eq!(report.round_trip.unwrap().cut, None);
}
