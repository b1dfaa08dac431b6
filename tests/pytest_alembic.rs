//! pytest-alembic's checks and drydock's answers, on projects of the kinds that its examples are of.
//!
//! Where one of its checks fails, drydock's own two commands do not both pass; where they differ, the
//! table says so, and docs/alembic.md says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::collections::BTreeSet;
use std::process::Command;

use postgres::{Database, Server};
use program::{Done, bare, drydock};
use rstest::rstest;

const CHECKS: [&str; 5] = [
    "downgrade_leaves_no_trace",
    "model_definitions_match_ddl",
    "single_head_revision",
    "up_down_consistency",
    "upgrade",
];

/// Those that cannot pass where the upgrade fails.
const ALL_THAT_UPGRADE: [&str; 4] = [
    "downgrade_leaves_no_trace",
    "model_definitions_match_ddl",
    "up_down_consistency",
    "upgrade",
];

/// What the table names of a round trip: all of it is denied.
const DENIED: [&str; 7] = [
    "DowngradeFailed",
    "DowngradeLeftovers",
    "MissingDowngrade",
    "ModelsDiffer",
    "StubDowngrade",
    "UpgradeAgainDiffers",
    "UpgradeAgainFailed",
];

/// What it names of the revisions.
const OF_REVISIONS: [&str; 2] = ["MultipleHeads", "NoRevisions"];

/// A section of the project's alembic.ini.
struct Kind {
    name: &'static str,
    /// Which of pytest-alembic's checks fail.
    theirs: &'static [&'static str],
    /// What drydock names: of `drydock check`, and of what is denied in a rehearsal.
    ours: &'static [&'static str],
    /// The exit codes of `drydock check` and of `drydock rehearse`.
    codes: (i32, i32),
}

const KINDS: [Kind; 13] = [
    Kind {
        name: "in_sync",
        theirs: &[],
        ours: &[],
        codes: (0, 0),
    },
    Kind {
        name: "empty",
        theirs: &["single_head_revision"],
        ours: &["NoRevisions"],
        codes: (1, 0),
    },
    Kind {
        name: "heads",
        theirs: &["downgrade_leaves_no_trace", "single_head_revision"],
        ours: &["MultipleHeads"],
        codes: (1, 1),
    },
    Kind {
        name: "failing_upgrade",
        theirs: &ALL_THAT_UPGRADE,
        ours: &[],
        codes: (0, 1),
    },
    // Its rows are put in by before_revision_data there; here they are in the database.
    Kind {
        name: "rows",
        theirs: &ALL_THAT_UPGRADE,
        ours: &[],
        codes: (0, 1),
    },
    Kind {
        name: "out_of_sync",
        theirs: &["model_definitions_match_ddl"],
        ours: &["ModelsDiffer"],
        codes: (0, 1),
    },
    Kind {
        name: "unregistered",
        theirs: &["model_definitions_match_ddl"],
        ours: &["ModelsDiffer"],
        codes: (0, 1),
    },
    Kind {
        name: "failing_downgrade",
        theirs: &["downgrade_leaves_no_trace", "up_down_consistency"],
        ours: &["DowngradeFailed"],
        codes: (0, 1),
    },
    Kind {
        name: "one_way",
        theirs: &["downgrade_leaves_no_trace", "up_down_consistency"],
        ours: &["MissingDowngrade", "StubDowngrade", "UpgradeAgainFailed"],
        codes: (0, 1),
    },
    Kind {
        name: "leaves_column",
        theirs: &["downgrade_leaves_no_trace"],
        ours: &["StubDowngrade"],
        codes: (0, 1),
    },
    // A type is nothing that Alembic compares.
    Kind {
        name: "leaves_type",
        theirs: &[],
        ours: &["DowngradeLeftovers"],
        codes: (0, 1),
    },
    // A warning there.
    Kind {
        name: "not_implemented",
        theirs: &[],
        ours: &["MissingDowngrade"],
        codes: (0, 1),
    },
    // Both downgrades are good: the experimental check compares one branch with what the other made.
    Kind {
        name: "merge",
        theirs: &["downgrade_leaves_no_trace"],
        ours: &[],
        codes: (0, 0),
    },
];

#[rstest]
fn where_a_check_of_pytest_alembic_fails_drydock_does_not_pass(#[values(13, 18)] major: u8) {
    let server = Server::shared_of(major);
    // All of them before anything is rehearsed: the witness cannot tell whose one that comes is.
    let (theirs, ours, with_rows) = (server.database(), server.database(), server.database());
    upgrade(&with_rows, "rows", "0001");
    with_rows.psql("INSERT INTO customers (id, name) VALUES (1, NULL)");
    for kind in &KINDS {
        let failed = pytest_alembic(&theirs, kind.name);
        assert_eq!(
            failed,
            kind.theirs.iter().copied().collect(),
            "{}",
            kind.name
        );

        let checked = check(kind.name);
        let database = if kind.name == "rows" {
            &with_rows
        } else {
            &ours
        };
        let rehearsed = rehearse(database, kind.name);
        let found: BTreeSet<String> = [&checked, &rehearsed]
            .into_iter()
            .flat_map(codes)
            .filter(|code| {
                DENIED
                    .iter()
                    .chain(&OF_REVISIONS)
                    .any(|named| named == code)
            })
            .collect();
        let said = format!("{}\n{checked}\n{rehearsed}", kind.name);
        assert!(
            found
                .iter()
                .map(String::as_str)
                .eq(kind.ours.iter().copied()),
            "{found:?}\n{said}"
        );
        assert_eq!((checked.code, rehearsed.code), kind.codes, "{said}");
        // At least as strict, but where the table says that they are mistaken.
        let stricter = checked.code != 0 || rehearsed.code != 0;
        assert!(
            failed.is_empty() || stricter || kind.name == "merge",
            "{said}"
        );
    }
}

/// The checks that fail, of all five.
fn pytest_alembic(database: &Database<'_>, kind: &str) -> BTreeSet<&'static str> {
    let output = Command::new(python::program("python"))
        .args([
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            "--tb=short",
            "-rA",
        ])
        .current_dir(python::project("pytest_alembic"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DATABASE_URL", &database.url)
        .env("KIND", kind)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let ended = |word: &str| -> BTreeSet<&'static str> {
        let begins = |check: &str| format!("{word} test_migrations.py::test_{check}");
        let of = |line: &str, check| line.split(" - ").next().unwrap().trim() == begins(check);
        CHECKS
            .into_iter()
            .filter(|check| said.lines().any(|line| of(line, check)))
            .collect()
    };
    let (passed, failed) = (ended("PASSED"), ended("FAILED"));
    assert_eq!(passed.len() + failed.len(), CHECKS.len(), "{kind}\n{said}");
    failed
}

/// What the report of a check or of a rehearsal finds.
fn codes(done: &Done) -> Vec<String> {
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("a report");
    let findings = report["findings"].as_array().expect("findings");
    let code = |finding: &serde_json::Value| finding["code"].as_str().map(str::to_owned);
    findings.iter().filter_map(code).collect()
}

fn alembic(kind: &str) -> [String; 3] {
    [python::warm_alembic().0, "-n".to_owned(), kind.to_owned()]
}

fn upgrade(database: &Database<'_>, kind: &str, target: &str) {
    let [program, words @ ..] = alembic(kind);
    let done = Command::new(program)
        .args(words)
        .args(["upgrade", target])
        .current_dir(python::project("pytest_alembic"))
        .env("DATABASE_URL", &database.url)
        .envs([python::warm_alembic().1])
        .status()
        .unwrap();
    assert!(done.success());
}

fn check(kind: &str) -> Done {
    let mut program = bare();
    program
        .current_dir(python::project("pytest_alembic"))
        .envs([python::warm_alembic().1])
        .args(["check", "-o", "json"])
        // Errors by themselves; to name them is no mistake.
        .args(OF_REVISIONS.map(|code| format!("--deny={code}")))
        .arg("--")
        .args(alembic(kind))
        .args(["upgrade", "head"]);
    Done::of(program)
}

fn rehearse(database: &Database<'_>, kind: &str) -> Done {
    let mut program = drydock(&database.url);
    program
        .current_dir(python::project("pytest_alembic"))
        .envs([python::warm_alembic().1])
        .args(["rehearse", "-o", "json"])
        // A revision by itself, as theirs; a branched history has no order to go in.
        .args((kind != "merge").then_some("--each"))
        .args(DENIED.map(|code| format!("--deny={code}")))
        .arg("--")
        .args(alembic(kind))
        .args(["upgrade", "head"]);
    Done::of(program)
}
