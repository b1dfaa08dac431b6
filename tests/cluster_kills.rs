//! Kills in the cluster: of the dry run's pod and of each of its containers, of the upgrade's at
//! exact points around its COMMIT, of the controller at every step. Nothing is lost, nothing is
//! done twice, and what cannot be known is said to be unknown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/cluster.rs"]
mod cluster;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cluster/shop.rs"]
mod shop;
#[path = "cluster/trial.rs"]
mod trial;

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Node, condition};
use serde_json::Value;
use shop::MIGRATION;
use trial::{Hold, Point, Trial, status};

/// A name, and what happens in a namespace of that name.
type Scenario = (&'static str, Box<dyn FnOnce(&'static str) + Send>);

/// Runs all of them at once, but one test after the other: what is killed must be seen to end while
/// it is still there. One that panics fails the test.
fn together(scenarios: Vec<Scenario>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failed = Vec::new();
    thread::scope(|scope| {
        let started: Vec<_> = scenarios
            .into_iter()
            .map(|(name, scenario)| (name, scope.spawn(move || scenario(name))))
            .collect();
        for (name, scenario) in started {
            if scenario.join().is_err() {
                failed.push(name);
            }
        }
    });
    assert!(failed.is_empty(), "failed: {failed:?}");
}

fn scenario<F: FnOnce(&'static str) + Send + 'static>(name: &'static str, run: F) -> Scenario {
    (name, Box::new(run))
}

#[test]
fn a_dry_run_that_is_killed_in_a_long_alter_commits_nothing_and_can_be_retried() {
    if Cluster::get().node().is_none() {
        return;
    }
    together(vec![
        scenario("kill-dry-pod", |name| {
            killed(name, "Interrupted", |trial, _| {
                trial.shop.namespace.kubectl(&[
                    "delete",
                    "pod",
                    "--selector=drydock.dev/phase=dryrun",
                    "--wait=false",
                ]);
            });
        }),
        scenario("kill-rehearsal", |name| {
            killed(name, "Environment", |trial, node| {
                node.kill_container(&trial.running("dryrun", "rehearsal"));
            });
        }),
        scenario("kill-command", |name| {
            killed(name, "Environment", |trial, node| {
                node.kill_container(&trial.running("dryrun", "migration"));
            });
        }),
        scenario("kill-witness", |name| {
            killed(name, "DryRunLost", |trial, node| {
                node.kill_container(&trial.running("dryrun", "witness"));
                // Nobody ends the command: it has its budget, and nothing that it does counts.
                trial.pace(0.0);
            });
        }),
        scenario("kill-prepare", kill_prepare),
    ]);
}

fn killed(name: &str, reason: &str, kill: impl FnOnce(&Trial, &Node)) {
    let node = Cluster::get().node().unwrap();
    let trial = Trial::open(name);
    trial.pace(3.0);
    trial.long_alter();
    trial.wait(120, "the ALTER runs", || (!trial.unlocked()).then_some(()));
    kill(&trial, &node);
    trial.wait(5, "the locks are gone", || trial.unlocked().then_some(()));
    trial.pace(0.0);
    trial.stalls(reason);
    trial.unchanged();
    let orders = trial.shop.orders();
    assert_ne!(
        condition(&orders, "RollbackVerified").unwrap()["status"],
        "False"
    );
    assert_eq!(trial.upgrades(), [""; 0]);
    trial.shop.retry();
    trial.is_released();
    assert_eq!(trial.upgrades().len(), 1);
}

/// `prepare` is over in a moment; it is kept waiting for the lock that every run takes.
fn kill_prepare(name: &str) {
    let node = Cluster::get().node().unwrap();
    let trial = Trial::open(name);
    let busy = trial.hold_database();
    trial.long_alter();
    node.kill_container(&trial.running("dryrun", "prepare"));
    let message = trial.stalls("Environment");
    assert!(message.contains("the command was not started"), "{message}");
    drop(busy);
    trial.unchanged();
    trial.shop.retry();
    trial.is_released();
}

#[test]
fn an_upgrade_that_is_killed_around_its_commit_is_classified_rightly_and_applied_once() {
    if Cluster::get().node().is_none() {
        return;
    }
    together(vec![
        scenario("alembic-before", |name| {
            let (trial, hold) = upgrading(name, Trial::alembic, Point::Before);
            trial.shop.namespace.kubectl(&[
                "delete",
                "pod",
                "--selector=drydock.dev/phase=upgrade",
                "--wait=false",
            ]);
            open_after_a_while(&trial, hold);
            // A pod that is deleted may be gone before its end was seen; then nobody can say more
            // than that it is unknown. The second attempt finds out.
            trial.stalls_for(&["UpgradeFailed", "UpgradeUnknown"]);
            trial.unchanged();
            trial.shop.retry();
            trial.is_released();
            assert_eq!(trial.charged(), 1);
        }),
        scenario("alembic-in", |name| {
            let (trial, hold) = upgrading(name, Trial::alembic, Point::Within);
            kill(&trial, &["migration"]);
            // The server goes on with a COMMIT whose client is gone, and so it is waited for.
            open_after_a_while(&trial, hold);
            let message = trial.stalls("UpgradeFailed");
            assert!(
                message.contains("exactly in the state that was rehearsed"),
                "{message}"
            );
            retried_and_found_applied(&trial);
        }),
        scenario("alembic-after", |name| {
            let (trial, hold) = upgrading(name, Trial::alembic, Point::After);
            kill(&trial, &["witness", "migration", "guard"]);
            trial.stalls("UpgradeUnknown");
            drop(hold);
            trial.stays("UpgradeUnknown");
            retried_and_found_applied(&trial);
        }),
        scenario("alembic-guard", |name| {
            let (trial, hold) = upgrading(name, Trial::alembic, Point::Within);
            // The runner then asks the command to end, and waits for it; so does the witness.
            kill(&trial, &["guard"]);
            open_after_a_while(&trial, hold);
            trial.stalls("UpgradeFailed");
            retried_and_found_applied(&trial);
        }),
        scenario("raw-before", |name| {
            let (trial, hold) = upgrading(name, Trial::raw, Point::Before);
            kill(&trial, &["migration"]);
            open_after_a_while(&trial, hold);
            trial.stays("UpgradeUnknown");
            trial.unchanged();
            // A person has looked, and says so.
            trial.shop.retry();
            trial.is_released();
            assert_eq!(trial.charged(), 1);
        }),
        scenario("raw-after", |name| {
            let (trial, hold) = upgrading(name, Trial::raw, Point::After);
            kill(&trial, &["migration"]);
            drop(hold);
            trial.stays("UpgradeUnknown");
            assert_eq!(trial.charged(), 1);
            // A person has looked, and releases what is applied.
            let image = Cluster::get().orders_image("v3-data");
            trial.shop.annotate(&format!("drydock.dev/release={image}"));
            trial.is_released();
            assert_eq!(trial.charged(), 1);
            assert_eq!(trial.upgrades().len(), 1);
        }),
    ]);
}

/// An upgrade that stands at that point.
fn upgrading(name: &str, apply: fn(&Trial), point: Point) -> (Trial, Hold) {
    let trial = Trial::open(name);
    apply(&trial);
    trial.rehearsed_and_suspended();
    let hold = trial.hold(point);
    trial.shop.suspend(false);
    trial.arrives(point);
    (trial, hold)
}

fn kill(trial: &Trial, containers: &[&str]) {
    let running: Vec<Value> = containers
        .iter()
        .map(|name| trial.running("upgrade", name))
        .collect();
    for container in &running {
        Cluster::get().node().unwrap().kill_container(container);
    }
}

/// Nothing is said about the upgrade while the server still works on it.
fn open_after_a_while(trial: &Trial, hold: Hold) {
    thread::sleep(Duration::from_secs(3));
    let orders = trial.shop.orders();
    let outcome = &orders["status"]["run"]["upgrade"]["outcome"];
    assert!(outcome.is_null(), "too early: {outcome}");
    drop(hold);
}

/// The second attempt finds the database in the predicted state and runs nothing.
fn retried_and_found_applied(trial: &Trial) {
    assert_eq!(trial.charged(), 1);
    trial.shop.retry();
    trial.is_released();
    assert_eq!(trial.charged(), 1);
    assert_eq!(trial.upgrades().len(), 2);
}

/// A point on the controller's way, and how it is seen from beside it.
type Step = (&'static str, fn(&Sight) -> bool);

/// What somebody beside the controller can see of its way, in order.
const STEPS: [Step; 11] = [
    ("intent", |sight| {
        sight.orders["status"]["run"]["dryRun"].is_object()
    }),
    ("dry-run Job", |sight| !sight.jobs("dryrun").is_empty()),
    ("dry run", |sight| {
        sight.has("dryrun", "migration", "running")
    }),
    ("its end", |sight| {
        sight.has("dryrun", "witness", "terminated")
    }),
    ("evidence", |sight| !sight.maps.is_empty()),
    ("upgrade intent", |sight| {
        sight.orders["status"]["run"]["upgrade"].is_object()
    }),
    ("upgrade Job", |sight| !sight.jobs("upgrade").is_empty()),
    ("its record", |sight| {
        sight.orders["status"]["run"]["upgrade"]["uid"].is_string()
    }),
    ("upgrade", |sight| {
        sight.has("upgrade", "migration", "running")
    }),
    ("its end", |sight| {
        sight.has("upgrade", "witness", "terminated")
    }),
    ("release", |sight| {
        sight.orders["status"]["released"].is_array()
    }),
];

/// One look at the namespace.
struct Sight {
    orders: Value,
    jobs: Vec<Value>,
    pods: Vec<Value>,
    maps: Vec<Value>,
}

impl Sight {
    fn of(trial: &Trial) -> Self {
        let namespace = &trial.shop.namespace;
        Self {
            orders: namespace.find(MIGRATION, "orders").unwrap_or_default(),
            jobs: namespace.list("batch/v1/Job", ""),
            pods: namespace.list("v1/Pod", "drydock.dev/phase"),
            maps: namespace.list("v1/ConfigMap", "drydock.dev/migration=orders"),
        }
    }

    fn jobs(&self, phase: &str) -> Vec<&Value> {
        of_phase(&self.jobs, phase)
    }

    fn has(&self, phase: &str, container: &str, state: &str) -> bool {
        of_phase(&self.pods, phase)
            .into_iter()
            .filter_map(|pod| status(pod, container))
            .any(|status| status["state"][state].is_object())
    }
}

fn of_phase<'a>(objects: &'a [Value], phase: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["metadata"]["labels"]["drydock.dev/phase"] == phase)
        .collect()
}

#[test]
fn a_controller_that_is_killed_at_every_step_comes_to_the_same_end() {
    together(vec![
        scenario("steps", |name| {
            let mut trial = Trial::open(name);
            trial.alembic();
            for (step, reached) in STEPS {
                trial.wait(60, step, || reached(&Sight::of(&trial)).then_some(()));
                trial.shop.restart_controller();
            }
            applied_once(&trial);
        }),
        scenario("moments", |name| {
            let mut trial = Trial::open(name);
            trial.alembic();
            let began = Instant::now();
            let mut kills = 0;
            while Sight::of(&trial).orders["status"]["released"].is_null() {
                assert!(began.elapsed() < Duration::from_secs(180));
                thread::sleep(Duration::from_millis(rand::random_range(50..1500)));
                trial.shop.restart_controller();
                kills += 1;
            }
            assert!(kills > 2);
            applied_once(&trial);
        }),
        scenario("intent", killed_between_intent_and_job),
    ]);
}

/// A quota keeps the Jobs away from an intent that is on record, for as long as it takes to kill.
fn killed_between_intent_and_job(name: &str) {
    let mut trial = Trial::open(name);
    trial.quota(0);
    trial.alembic();
    for (phase, allowed) in [("dryRun", 1), ("upgrade", 2)] {
        let record = trial.wait(60, "the intent is on record", || {
            let record = Sight::of(&trial).orders["status"]["run"][phase].clone();
            record["name"].is_string().then_some(record)
        });
        assert!(record["uid"].is_null(), "{record}");
        trial.shop.says(60, "Stalled", "True", "JobRefused");
        trial.shop.stop_controller();
        trial.quota(allowed);
        trial.shop.restart_controller();
        trial.wait(60, "the Job is created", || {
            (trial.shop.jobs().len() == allowed).then_some(())
        });
    }
    applied_once(&trial);
}

#[track_caller]
fn applied_once(trial: &Trial) {
    trial.is_released();
    trial.shop.says(30, "Ready", "True", "Upgraded");
    assert_eq!(trial.charged(), 1);
    assert_eq!(trial.upgrades().len(), 1, "{:?}", trial.upgrades());
    assert_eq!(trial.upgrade_pods(), 1);
    assert_eq!(trial.shop.jobs().len(), 2, "{:?}", trial.shop.jobs());
}
