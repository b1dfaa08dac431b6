//! The application reads the migrated table while it is rehearsed there and back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drydock::postgres::ask::Ask;
use drydock::postgres::connect::{self, StartupSettings};
use drydock::postgres::url;
use drydock::verdict::{Budget, RollbackProof, Verdict};
use postgres::{Database, Options, Server};
use program::{Done, drydock};

/// `dryRun.budgets.blocking` where nobody says anything else.
const BUDGET: f64 = 300.0;

/// Between the guard's looks, and for ending the rehearsal.
const MORE: f64 = 50.0;

/// A sleeper that oversleeps by less than this is on time, in milliseconds.
const ON_TIME: f64 = 5.0;

/// Runs something beside what follows, until it is dropped.
struct Beside {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Beside {
    fn start(turn: impl FnMut() + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (ended, mut turn) = (Arc::clone(&over), turn);
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                turn();
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Reads the table every 10 ms. The server writes down how long each read waited for its lock.
fn reader(database: &Database<'_>) -> Beside {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (target, _) = url::parse(&database.url, &url::Environment::default()).unwrap();
    let mut client = runtime.block_on(async {
        let mut client = connect::client(&target, &StartupSettings::first("orders-api"))
            .await
            .unwrap();
        // Waits of more than that are logged once they are over.
        client
            .ask("SET deadlock_timeout = '1ms'; SET log_lock_waits = on")
            .await
            .unwrap();
        client
    });
    Beside::start(move || {
        let read = runtime.block_on(client.ask("SELECT count(*) FROM orders"));
        assert_eq!(read.unwrap()[0][0].as_deref(), Some("100"));
        std::thread::sleep(Duration::from_millis(10));
    })
}

/// How long a thread that wants to sleep for 5 ms oversleeps at most, in microseconds: neither the
/// guard nor the server is awake any earlier.
fn sleeper(longest: &Arc<AtomicU64>) -> Beside {
    const NAP: Duration = Duration::from_millis(5);
    let longest = Arc::clone(longest);
    Beside::start(move || {
        let began = Instant::now();
        std::thread::sleep(NAP);
        let over = began.elapsed().saturating_sub(NAP).as_micros();
        longest.fetch_max(u64::try_from(over).unwrap(), Ordering::Relaxed);
    })
}

/// The waits for locks that the server has logged, in milliseconds.
fn waits(server: &Server) -> Vec<f64> {
    server
        .log()
        .lines()
        .filter(|line| line.contains(" acquired AccessShareLock on relation "))
        .filter_map(|line| {
            let (_, rest) = line.rsplit_once(" after ")?;
            rest.split_once(" ms")?.0.parse().ok()
        })
        .collect()
}

/// What a run asks for beside its migration, in turn.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// The way back, a second run of the data migration, an assertion and a check.
    Everything,
    /// The way back, revision by revision.
    Each,
}

impl Asked {
    /// `drydock rehearse` with the project's revisions that it is about.
    fn rehearse(self, database: &Database<'_>, everything: &Path) -> Command {
        let (alembic, warm) = python::warm_alembic();
        let mut program = drydock(&database.url);
        program
            .current_dir(python::project("round_trip"))
            .envs([warm])
            .args(["rehearse", "-o", "json"]);
        let kind = match self {
            Self::Everything => {
                program.arg("-f").arg(everything);
                "again"
            }
            Self::Each => {
                program.arg("--each");
                "chain"
            }
        };
        program.args(["--", &alembic, "-n", kind, "upgrade", "head"]);
        program
    }
}

/// The file of [`Asked::Everything`].
fn everything() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let spec = serde_json::json!({"dryRun": {
        "roundTrip": true,
        "rerun": "Pending",
        "fixtures": [{"name": "one-more", "sql": "INSERT INTO orders (id, state) VALUES (-1, 'New')"}],
        "assertions": [{
            "name": "all-there", "expect": "Value", "value": "102",
            "sql": "SELECT count(*) FROM orders WHERE note IS NULL",
        }],
        "checks": [{
            "name": "reads", "command": ["sh", "-c", "psql \"$DATABASE_URL\" -Xqc 'SELECT note FROM orders'"],
        }],
    }});
    std::fs::write(file.path(), spec.to_string()).unwrap();
    file
}

/// A database at the project's first revision, on a server of its own, whose log tells of no other.
fn at_the_first(server: &Server) -> Database<'_> {
    let database = server.database();
    let (alembic, warm) = python::warm_alembic();
    let done = Command::new(&alembic)
        .args(["upgrade", "head"])
        .current_dir(python::project("round_trip"))
        .env("DATABASE_URL", &database.url)
        .envs([warm])
        .status()
        .unwrap();
    assert!(done.success());
    database
}

/// `TRAFFIC_RUNS` says how often; `make soak` takes 50.
#[test]
fn a_reader_never_waits_longer_than_the_budget_whatever_is_asked_of_the_rehearsal() {
    let runs: usize = std::env::var("TRAFFIC_RUNS").map_or(2, |runs| runs.parse().unwrap());
    let servers = [18, 13].map(|major| Options::new(major).start());
    let databases = [0, 1].map(|at| at_the_first(&servers[at]));
    let everything = everything();
    let before = [0, 1].map(|at: usize| databases[at].dump());
    let (mut longest, mut overslept) = (Vec::new(), 0.0_f64);
    let (mut gone, mut cut) = (0, 0);
    for run in 0..runs {
        let (server, database) = (&servers[run % 2], &databases[run % 2]);
        let asked = [Asked::Everything, Asked::Each][(run + run / 2) % 2];
        let late = Arc::new(AtomicU64::new(0));
        let seen = waits(server).len();
        let beside = (reader(database), sleeper(&late));
        let done = Done::of(asked.rehearse(database, everything.path()));
        drop(beside);
        let report = done.report();
        assert!(
            matches!(
                report.verdict,
                Verdict::Passed | Verdict::BudgetExceeded(Budget::Blocking)
            ),
            "{done}"
        );
        assert_eq!(
            report.witness.as_ref().unwrap().rollback,
            RollbackProof::Verified,
            "{done}"
        );
        let ended = match &report.round_trip {
            Some(trip) => trip.cut.is_some(),
            None => true,
        };
        gone += usize::from(report.round_trip.is_some());
        cut += usize::from(report.round_trip.is_some() && ended);
        #[allow(clippy::cast_precision_loss)]
        let late = late.load(Ordering::Relaxed) as f64 / 1000.0;
        let waits = waits(server).split_off(seen);
        let wait = waits.iter().copied().fold(0.0, f64::max);
        assert!(
            !ended || wait > BUDGET / 2.0,
            "waits are not seen: {wait:.0} ms"
        );
        // On a full machine nobody is on time: the guard's look and its end are two moments.
        let slack = if late < ON_TIME { 0.0 } else { 2.0 * late };
        assert!(
            wait <= BUDGET + MORE + slack,
            "run {run}, {asked:?}: a read waited {wait:.0} ms; a sleeper overslept {late:.0} ms\n{done}"
        );
        longest.push(wait);
        overslept = overslept.max(late);
    }
    assert_eq!([0, 1].map(|at: usize| databases[at].dump()), before);
    longest.sort_by(f64::total_cmp);
    println!(
        "{runs} runs, {gone} of them with a second transaction, of which the budget cut {cut}; the \
         longest wait of each run: median {:.0} ms, greatest {:.0} ms; a sleeper overslept \
         {overslept:.0} ms at most",
        longest[runs / 2],
        longest[runs - 1]
    );
}
