//! examples/pytest: a test suite whose database is a rehearsal, run by pytest itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postgres::{Database, Server};
use rstest::rstest;
use tempfile::TempDir;

/// A database that another test of the same role creates meanwhile is a move of pg_database, which
/// the witness cannot attribute to anybody.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database as release v1 of examples/orders has left it, with the code and the tests of v2.
struct Suite {
    _alone: MutexGuard<'static, ()>,
    folder: TempDir,
    database: Database<'static>,
    before: String,
}

impl Suite {
    fn of(major: u8) -> Self {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let database = Server::shared_of(major).database();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let into = folder.path().to_owned();
        let assemble = |release: &str| {
            let mut command = Command::new(examples.join("orders/assemble"));
            assert!(command.arg(release).arg(&into).status().unwrap().success());
        };
        assemble("v1");
        let mut suite = Self {
            _alone,
            before: String::new(),
            folder,
            database,
        };
        let migrated = suite.command("alembic").args(["upgrade", "head"]).status();
        assert!(migrated.unwrap().success());
        assemble("v2");
        for name in ["conftest.py", "test_orders.py"] {
            let from = examples.join("pytest").join(name);
            std::fs::copy(from, suite.folder.path().join(name)).unwrap();
        }
        suite.before = suite.database.dump();
        suite
    }

    /// A program of the project's environment, with drydock beside it.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(python::program(name));
        let drydock = Path::new(env!("CARGO_BIN_EXE_drydock")).parent().unwrap();
        let path = std::env::join_paths(
            [drydock, Path::new(&python::program(""))]
                .map(Path::to_path_buf)
                .into_iter()
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let url = self
            .database
            .url
            .replacen("postgresql", "postgresql+psycopg", 1);
        command
            .current_dir(self.folder.path())
            .env("PATH", path.unwrap())
            .env("DATABASE_URL", url)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("DRYDOCK_DATABASE_URL")
            .stdin(Stdio::null());
        command
    }

    /// Runs the tests of one file.
    fn pytest(&self, file: &str) -> Command {
        let mut command = self.command("pytest");
        command.args(["-q", "-p", "no:cacheprovider", file]);
        command
    }

    fn add(&self, name: &str, tests: &str) {
        std::fs::write(self.folder.path().join(name), tests).unwrap();
    }

    fn sessions(&self) -> String {
        self.database.psql(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!(self.sessions(), "0");
        assert_eq!(unnumbered(&self.database.dump()), unnumbered(&self.before));
    }
}

/// Without the sequences' values: what `nextval` has given out no rollback takes back.
fn unnumbered(dump: &str) -> String {
    dump.lines()
        .filter(|line| !line.starts_with("SELECT pg_catalog.setval("))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[rstest]
fn a_suite_runs_on_the_real_rows_and_leaves_the_database_as_it_was(#[values(13, 18)] major: u8) {
    let suite = Suite::of(major);
    let output = suite.pytest("test_orders.py").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("4 passed"), "{}", said(&output));
    suite.nothing_is_left();
}

#[test]
fn a_suite_that_fails_leaves_nothing_either() {
    let suite = Suite::of(postgres::major());
    suite.add(
        "test_wrong.py",
        "def test_wrong(session):\n    assert False\n",
    );
    let output = suite.pytest("test_wrong.py").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        !said(&output).contains("drydock ended"),
        "{}",
        said(&output)
    );
    suite.nothing_is_left();
}

#[test]
fn a_test_that_goes_around_the_rehearsal_fails_the_suite() {
    let suite = Suite::of(postgres::major());
    suite.add(
        "test_around.py",
        "import os
from sqlalchemy import create_engine, text

def test_around(session):
    with create_engine(os.environ['DATABASE_URL']).begin() as connection:
        connection.execute(text('CREATE TABLE around (id int)'))
",
    );
    let output = suite.pytest("test_around.py").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for words in ["1 passed, 1 error", "drydock ended with 4"] {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}

/// SIGKILL: no fixture is torn down, and the kernel alone tells drydock.
#[test]
fn a_suite_that_is_killed_leaves_nothing_and_its_locks_are_gone() {
    let suite = Suite::of(postgres::major());
    suite.add(
        "test_long.py",
        "import pathlib, time

def test_long(session):
    pathlib.Path('ready').touch()
    time.sleep(60)
",
    );
    let mut child = suite
        .pytest("test_long.py")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the tests never began", || {
        suite.folder.path().join("ready").exists()
    });
    assert_ne!(suite.sessions(), "0");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the rehearsal has outlived the suite", || {
        suite.sessions() == "0"
    });
    suite.nothing_is_left();
}

#[track_caller]
fn until(otherwise: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(20), "{otherwise}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
