//! Releases on a real cluster with a real PostgreSQL: what passes, is applied, and opens the gate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/cluster.rs"]
mod cluster;
#[path = "cluster/orders.rs"]
mod orders;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cluster/shop.rs"]
mod shop;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use orders::{Orders, PATIENCE, container, image, time};
use serde_json::{Value, json};
use shop::{MIGRATION, migration};

/// The conditions of a release, as `True Passed`.
fn released(passed: &str, upgraded: &str) -> BTreeMap<String, String> {
    [
        ("Ready", upgraded),
        ("DryRunPassed", passed),
        ("RollbackVerified", "Verified"),
        ("Upgraded", upgraded),
        ("GateOpen", "Released"),
    ]
    .map(|(kind, reason)| (kind.to_owned(), format!("True {reason}")))
    .into()
}

#[test]
fn good_releases_are_rehearsed_without_a_trace_then_applied_and_only_then_their_pods_start() {
    let orders = Orders::open("good");
    let (v1, v2) = (image("v1"), image("v2"));

    // The first release, into an empty database.
    orders.release(&v1, &json!({}));
    orders.wait_at_the_gate(&v1);
    orders.says(PATIENCE, "GateOpen", "True", "Released");
    assert_eq!(orders.conditions(), released("Passed", "Upgraded"));
    orders.rolled_out(&v1);
    let client = orders.client();

    // The second one: between its dry run and its upgrade nothing is different from before.
    let before = orders.dump("orders");
    orders.release(&v2, &json!({}));
    orders.wait_at_the_gate(&v2);
    orders.pause_after_the_dry_run();
    assert_eq!(orders.dump("orders"), before);
    let conditions = orders.conditions();
    assert_eq!(conditions["RollbackVerified"], "True Verified");
    assert_eq!(conditions["Upgraded"], "Unknown Pending");
    assert_eq!(conditions["GateOpen"], "False Suspended");
    orders.wait_at_the_gate(&v2);
    orders.suspend(false);
    orders.says(PATIENCE, "GateOpen", "True", "Released");
    assert_eq!(orders.conditions(), released("Passed", "Upgraded"));
    orders.rolled_out(&v2);
    orders.namespace.wait(PATIENCE, "v2 serves", || {
        client.served().contains_key("v2").then_some(())
    });
    assert_eq!(
        client.served().into_keys().collect::<Vec<_>>(),
        ["v1", "v2"]
    );

    // Alembic by itself comes to the same, in another order of rows on disk.
    orders.create_database("direct");
    orders.alembic(&v2, "direct");
    assert_eq!(
        sorted(&orders.dump("orders")),
        sorted(&orders.dump("direct"))
    );
    assert_eq!(orders.upgrades().len(), 2);

    // Both are told, the latest first.
    let status = orders.orders()["status"].clone();
    let history = status["history"].as_array().unwrap().clone();
    let images: Vec<&str> = history
        .iter()
        .filter_map(|past| past["image"].as_str())
        .collect();
    assert_eq!(images, [v2.as_str(), v1.as_str()]);
    for past in &history {
        assert_eq!(past["phase"], "Upgrade", "{past}");
        assert_eq!(past["reason"], "Upgraded", "{past}");
        assert_eq!(past["attempt"], 1, "{past}");
        assert!(past["dryRunMillis"].as_u64() > Some(0), "{past}");
        assert!(past["upgradeMillis"].as_u64() > Some(0), "{past}");
        assert!(time(&past["started"]) < time(&past["finished"]), "{past}");
    }
    assert_eq!(history[0]["evidence"], status["run"]["evidence"]);
    assert_eq!(history[0]["inputDigest"], status["run"]["inputDigest"]);
}

#[test]
fn the_way_back_and_the_teams_own_questions_are_answered_in_the_cluster() {
    let orders = Orders::at("deep", &image("v1"));
    let (v2, fee) = (image("v2"), image("v3-data"));
    let look = "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL'].replace('+psycopg', ''))\
                .execute('SELECT currency FROM orders')";
    let deep = json!({
        "roundTrip": true,
        "rerun": "Pending",
        "deny": ["DowngradeFailed", "DowngradeLeftovers", "ModelsDiffer", "RerunChanged"],
        "assertions": [{
            "name": "every-order-has-a-currency", "expect": "Empty",
            "sql": "SELECT FROM orders WHERE currency IS NULL",
        }],
        "checks": [{"name": "the-new-code-reads-it", "command": ["python3", "-c", look]}],
    });

    // The good twin: what is asked holds, and it is applied.
    orders.release(&v2, &json!({"dryRun": deep}));
    let dry_run = orders
        .namespace
        .wait(PATIENCE, "the dry run's Job", || orders.job("dryRun"));
    orders.says(PATIENCE, "GateOpen", "True", "Released");
    assert_eq!(orders.conditions(), released("Passed", "Upgraded"));
    let report = orders.report(&dry_run);
    assert_eq!(report["assertions"][0]["outcome"], "held", "{report}");
    assert_eq!(report["checks"][0]["outcome"], "passed", "{report}");
    let trip = &report["roundTrip"];
    assert_eq!(trip["cut"], Value::Null, "{trip}");
    assert_eq!(trip["revisions"].as_array().unwrap().len(), 5, "{trip}");
    let steps: Vec<&str> = trip["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["name"].as_str())
        .collect();
    assert_eq!(
        steps,
        ["modelCheck", "secondUpgrade", "downgrade", "upgradeAgain"]
    );
    orders.rolled_out(&v2);

    // The bad one: its data migration is not to be run twice.
    let before = orders.dump("orders");
    orders.release(&fee, &json!({"dryRun": deep}));
    let why = orders.says(PATIENCE, "Stalled", "True", "Failed");
    assert!(why.contains("RerunChanged, which is denied"), "{why}");
    assert_eq!(orders.conditions()["GateOpen"], "False Failed");
    assert_eq!(orders.dump("orders"), before);
    orders.wait_at_the_gate(&fee);
}

#[test]
fn a_database_that_others_change_before_the_upgrade_is_rehearsed_again_three_times_at_most() {
    let orders = Orders::at("drift", &image("v1"));
    orders.release(&image("v2"), &json!({}));
    orders.pause_after_the_dry_run();
    orders.psql("CREATE TABLE somebody_elses (id int)");
    orders.suspend(false);
    orders.says(PATIENCE, "GateOpen", "True", "Released");
    assert_eq!(orders.attempt(), 2);
    assert_eq!(
        orders.psql("SELECT version_num FROM alembic_version"),
        "0006"
    );

    let old = orders.rolled_out(&image("v2"));
    let client = orders.client();

    // Now somebody does it again and again, always between dry run and upgrade.
    orders.release(&image("v3-data"), &json!({}));
    let total = orders.psql("SELECT sum(total) FROM orders");
    for attempt in 1..=4 {
        orders.pause_after_the_dry_run();
        assert_eq!(
            orders.attempt(),
            attempt,
            "the first rehearsal and three more"
        );
        orders.psql(&format!("CREATE TABLE stray_{attempt} (id int)"));
        orders.suspend(false);
    }
    let message = orders.says(PATIENCE, "Stalled", "True", "Drift");
    assert!(
        message.contains("the schema has changed since"),
        "{message}"
    );
    assert_eq!(orders.attempt(), 4);
    assert_eq!(
        orders.psql("SELECT version_num FROM alembic_version"),
        "0006"
    );
    assert_eq!(orders.psql("SELECT sum(total) FROM orders"), total);
    assert_eq!(orders.conditions()["GateOpen"], "False Drift");

    // It was said promptly, and the old pods serve.
    let pod = orders.pod_of(&orders.job("upgrade").unwrap());
    let found = time(&container(&pod, "prepare")["state"]["terminated"]["finishedAt"]);
    let took = orders.since("Stalled").duration_since(found);
    assert!(took < SignedDuration::from_secs(15), "{took:#}");
    orders.wait_at_the_gate(&image("v3-data"));
    let serving = orders.pods(&image("v2"));
    assert_eq!(serving.len(), 1);
    assert_eq!(serving[0]["metadata"]["uid"], old["metadata"]["uid"]);
    assert_eq!(client.served().into_keys().collect::<Vec<_>>(), ["v2"]);
}

#[test]
fn a_data_only_migration_is_applied_once_however_often_its_upgrade_is_tried() {
    let orders = Orders::at("data", &image("v2"));
    let total = || {
        orders
            .psql("SELECT sum(total)::int FROM orders")
            .parse::<i32>()
    };
    let before = total().unwrap();
    // In the dry run the command exits as Alembic does; in the upgrade something fails after it.
    let fails = "alembic \"$@\" && case $DATABASE_URL in *@127.0.0.1:*) ;; *) exit 1 ;; esac";
    let command = json!({"alembic": {"command": ["sh", "-c", fails, "alembic"]}});
    orders.migrate(&image("v3-data"), &command);
    orders.pause_after_the_dry_run();
    let holder = orders.hold_writers_off();
    orders.suspend(false);
    let message = orders.says(PATIENCE, "Upgraded", "False", "UpgradeFailed");
    assert!(
        message.contains("the database is exactly as it was before"),
        "{message}"
    );
    assert_eq!(total(), Ok(before));
    drop(holder);

    // The second attempt commits, and nobody is told.
    orders.retry();
    orders.namespace.wait(PATIENCE, "the second upgrade", || {
        (orders.attempt() == 2).then_some(())
    });
    let message = orders.says(PATIENCE, "Upgraded", "False", "UpgradeFailed");
    assert!(
        message.contains("the database is nevertheless exactly in the state that was rehearsed"),
        "{message}"
    );
    assert_eq!(orders.conditions()["GateOpen"], "False UpgradeFailed");
    assert_eq!(total(), Ok(before + 1000), "a fee for each of 1,000 orders");

    // The third one finds that there is nothing left to do, and does not start the command.
    orders.retry();
    orders.says(PATIENCE, "GateOpen", "True", "Released");
    assert_eq!(orders.conditions(), released("Passed", "Upgraded"));
    assert_eq!(total(), Ok(before + 1000), "a fee for each of 1,000 orders");
    let report = orders.report(&orders.job("upgrade").unwrap());
    assert_eq!(report["commandExit"], Value::Null, "{report}");
    assert_eq!(orders.upgrades().len(), 3);
    orders.retry();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(orders.conditions()["Ready"], "True Upgraded");
    assert_eq!(orders.attempt(), 3);
}

fn sorted(dump: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = dump.lines().collect();
    lines.sort_unstable();
    lines
}

/// Psycopg with the variable's URL, as a script of a user's own would have it.
const SCRIPT: &str = "
import os, signal, psycopg
url = os.environ['DATABASE_URL'].replace('+psycopg', '')
with psycopg.connect(url) as connection:
    connection.execute('UPDATE orders SET total = total + 1')
";

#[test]
fn an_upgrade_that_was_interrupted_and_left_no_version_is_unknown_until_a_person_has_looked() {
    let orders = Orders::at("raw", &image("v2"));
    let before = orders.psql("SELECT sum(total) FROM orders");
    // As the kernel does when memory is short.
    let killed = "if '@127.0.0.1:' not in url: os.kill(os.getpid(), signal.SIGKILL)";
    let command = json!(["python3", "-c", format!("{SCRIPT}{killed}\n")]);
    let spec = json!({"alembic": null, "command": {"upgrade": command}});
    orders.migrate(&image("v2"), &spec);
    let message = orders.says(PATIENCE, "Upgraded", "Unknown", "UpgradeUnknown");
    assert!(message.contains("killed by signal 9"), "{message}");
    assert!(
        message.contains("no version table says whether it was committed"),
        "{message}"
    );
    assert_eq!(orders.conditions()["GateOpen"], "False UpgradeUnknown");
    assert_ne!(
        orders.psql("SELECT sum(total) FROM orders"),
        before,
        "it was committed"
    );

    // Whatever is applied now waits; nothing runs by itself.
    orders.migrate(&image("v3-data"), &json!({}));
    let message = orders.says(PATIENCE, "Stalled", "True", "UpgradeUnknown");
    assert!(
        message.contains("waits until a person has looked"),
        "{message}"
    );
    assert_eq!(orders.jobs().len(), 2, "{:?}", orders.jobs());

    // It does not cling to the cluster.
    orders
        .namespace
        .kubectl(&["delete", "migration", "orders", "--timeout=60s"]);
}

#[test]
fn two_migrations_of_one_database_run_one_after_the_other_and_both_are_released() {
    let orders = Orders::at("two", &image("v1"));
    // Both say when they run; neither can be done in a moment.
    let alembic =
        "date +begin=%s.%N; alembic \"$@\" && sleep 1; status=$?; date +end=%s.%N; exit $status";
    let audit = "
import os, time, psycopg
print(f'begin={time.time()}', flush=True)
with psycopg.connect(os.environ['DATABASE_URL'].replace('+psycopg', '')) as connection:
    connection.execute('CREATE TABLE IF NOT EXISTS audit (id int)')
    time.sleep(1)
print(f'end={time.time()}', flush=True)
";
    let first = json!({"alembic": {"command": ["sh", "-c", alembic, "alembic"]}});
    let second = json!({"alembic": null, "command": {"upgrade": ["python3", "-c", audit]}});
    orders
        .namespace
        .apply(&migration("orders", &image("v2"), &first));
    orders
        .namespace
        .apply(&migration("audit", &image("v1"), &second));
    for name in ["orders", "audit"] {
        orders
            .namespace
            .wait_condition(2 * PATIENCE, MIGRATION, name, "GateOpen", "True");
    }
    assert_eq!(
        orders.psql("SELECT version_num FROM alembic_version"),
        "0006"
    );
    assert_eq!(orders.psql("SELECT count(*) FROM audit"), "0");

    let mut runs: Vec<(f64, f64)> = orders
        .namespace
        .list("v1/Pod", "drydock.dev/phase")
        .iter()
        .filter_map(|pod| ran(&orders, pod))
        .collect();
    runs.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert!(runs.len() >= 4, "{runs:?}");
    for pair in runs.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two runs at a time: {runs:?}");
    }
}

/// From when to when the command of a pod ran, by its own words; `None` when it was not started.
fn ran(orders: &Orders, pod: &Value) -> Option<(f64, f64)> {
    container(pod, "migration")["state"]["terminated"].as_object()?;
    let log = orders.namespace.logs(&shop::name(pod)?, "migration");
    let said = |what: &str| {
        let words = log.lines().find_map(|line| line.strip_prefix(what));
        words.map(|seconds| seconds.trim().parse().unwrap())
    };
    Some((said("begin=")?, said("end=")?))
}
