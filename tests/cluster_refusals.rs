//! Bad releases on a real cluster with a real PostgreSQL: their pods never start, the database stays
//! as it was, the old pods go on serving, and the Migration says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// How soon each refusal was said is worth reading.
#![allow(clippy::print_stdout)]

#[path = "lab/cluster.rs"]
mod cluster;
#[path = "cluster/orders.rs"]
mod orders;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cluster/shop.rs"]
mod shop;

use cluster::Cluster;
use jiff::{SignedDuration, Timestamp};
use orders::{Client, Orders, PATIENCE, container, image, is_ready, time};
use serde_json::{Value, json};

/// How soon after the fact it must be said.
const PROMPTLY: SignedDuration = SignedDuration::from_secs(15);

/// What makes a release bad, as far as its pod tells.
#[derive(Clone, Copy)]
enum Fact {
    /// The migration command ended.
    CommandEnded,
    /// drydock's first container began to look at the database.
    PrepareBegan,
    /// The pod could not be started.
    PodCreated,
}

/// A bad release.
struct Bad<'a> {
    image: String,
    /// Laid over the Migration's specification.
    more: Value,
    fact: Fact,
    reason: &'a str,
    /// All of them are in the message.
    says: &'a [&'a str],
}

/// The release v2 in service, on a database to which nothing is pending.
struct Old {
    orders: Orders,
    image: String,
    pod: Value,
    client: Client,
}

impl Old {
    fn serving(name: &str) -> Self {
        let image = image("v2");
        let orders = Orders::at(name, &image);
        orders.release(&image, &json!({}));
        orders.says(PATIENCE, "Ready", "True", "NothingToDo");
        assert_eq!(
            orders.upgrades(),
            [""; 0],
            "nothing is pending, so no upgrade is run"
        );
        let pod = orders.rolled_out(&image);
        let client = orders.client();
        Self {
            orders,
            image,
            pod,
            client,
        }
    }

    /// Applies a bad release and checks everything that is promised about it. `unchanged` is off for
    /// a command that changes the database by itself.
    fn refuses(&self, bad: &Bad<'_>, unchanged: bool) {
        let orders = &self.orders;
        let before = orders.dump("orders");
        orders.release(&bad.image, &bad.more);
        let message = orders.says(PATIENCE, "Stalled", "True", bad.reason);
        let since = orders.since("Stalled");
        for words in bad.says {
            assert!(message.contains(words), "{words:?} is not in: {message}");
        }
        let job = orders.job("dryRun").unwrap();
        let pod = orders.pod_of(&job);
        let took = since.duration_since(when(&pod, bad.fact));
        println!(
            "{} {}: said {took:#} after the fact: {message}",
            bad.image, bad.reason
        );
        assert!(took < PROMPTLY, "{}: {took:#}", bad.reason);

        self.stays_shut(bad);
        if unchanged {
            assert_eq!(orders.dump("orders"), before, "{}", bad.reason);
        }
    }

    /// The gate is shut, the old pods serve, and an event says why.
    fn stays_shut(&self, bad: &Bad<'_>) {
        let orders = &self.orders;
        orders.namespace.wait(15, "the event", || {
            let events = orders.namespace.list("events.k8s.io/v1/Event", "");
            let told = |event: &&Value| {
                let note = event["note"].as_str().unwrap_or_default();
                event["reason"] == bad.reason && bad.says.iter().all(|words| note.contains(words))
            };
            events.iter().find(told).map(|_| ())
        });
        let conditions = orders.conditions();
        assert_eq!(conditions["Ready"], format!("False {}", bad.reason));
        assert_eq!(conditions["GateOpen"], format!("False {}", bad.reason));
        assert_ne!(&conditions["DryRunPassed"][..4], "True");
        assert_eq!(orders.upgrades(), [""; 0]);
        orders.wait_at_the_gate(&bad.image);
        let old = orders.pods(&self.image);
        assert_eq!(old.len(), 1);
        assert_eq!(old[0]["metadata"]["uid"], self.pod["metadata"]["uid"]);
        assert!(is_ready(&old[0]));
        self.only_v2_serves();
    }

    /// A quota that has room for the new version's pod, and none for the Job's.
    fn refuses_for_want_of_room(&self) {
        let orders = &self.orders;
        let before = orders.dump("orders");
        let bad = Bad {
            image: image("v3-data"),
            more: json!({}),
            fact: Fact::PodCreated,
            reason: "QuotaExceeded",
            says: &["exceeded quota: full", "pods"],
        };
        orders.deploy(&bad.image);
        orders.wait_at_the_gate(&bad.image);
        // The old version's pod and the new one's; what has ended needs no room.
        orders.namespace.wait(60, "all runs have ended", || {
            let ended = |pod: &Value| {
                let phase = pod["status"]["phase"].as_str();
                matches!(phase, Some("Succeeded" | "Failed"))
            };
            let mut pods = orders.namespace.list("v1/Pod", "");
            pods.retain(|pod| !ended(pod));
            (pods.len() == 2).then_some(())
        });
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"},
            "spec": {"hard": {"pods": "2"}},
        });
        orders.namespace.apply(&quota.to_string());
        orders.namespace.wait(30, "the quota is in force", || {
            let quota = orders.namespace.find("v1/ResourceQuota", "full")?;
            (quota["status"]["used"]["pods"] == "2").then_some(())
        });
        orders.migrate(&bad.image, &bad.more);
        let message = orders.says(PATIENCE, "Stalled", "True", bad.reason);
        for words in bad.says {
            assert!(message.contains(words), "{words:?} is not in: {message}");
        }
        let job = orders
            .namespace
            .object("batch/v1/Job", &orders.job("dryRun").unwrap());
        let took = orders
            .since("Stalled")
            .duration_since(time(&job["metadata"]["creationTimestamp"]));
        println!("QuotaExceeded: said {took:#} after the fact: {message}");
        assert!(took < PROMPTLY, "{took:#}");
        self.stays_shut(&bad);
        assert_eq!(orders.dump("orders"), before);
        orders
            .namespace
            .kubectl(&["delete", "resourcequota", "full"]);
    }

    fn only_v2_serves(&self) {
        let served = self.client.served();
        assert_eq!(served.into_keys().collect::<Vec<_>>(), ["v2"]);
    }
}

fn when(pod: &Value, fact: Fact) -> Timestamp {
    match fact {
        Fact::CommandEnded => {
            time(&container(pod, "migration")["state"]["terminated"]["finishedAt"])
        }
        Fact::PrepareBegan => time(&container(pod, "prepare")["state"]["terminated"]["startedAt"]),
        Fact::PodCreated => time(&pod["metadata"]["creationTimestamp"]),
    }
}

/// Writes through the rehearsal and, beside it, rows only: no catalogue shows them.
const BESIDE: &str = "
import os, psycopg
def url(name): return os.environ[name].replace('+psycopg', '')
with psycopg.connect(url('DATABASE_URL')) as connection:
    connection.execute('CREATE TABLE notes (id int)')
with psycopg.connect(url('ORDERS_PRIMARY_URL')) as connection:
    connection.execute('UPDATE orders SET total = total + 1')
    connection.execute('SELECT pg_sleep(0.5)')
";

#[test]
fn a_release_with_a_bad_migration_never_starts_while_the_old_pods_serve() {
    let old = Old::serving("bad");
    // Under a name of its own: by drydock's it would be ended before it commits anything.
    let primary = format!("{}?application_name=orders", old.orders.url("orders"));
    let primary = json!({"template": {"env": [
        {"name": "ORDERS_PRIMARY_URL", "value": primary},
    ]}});
    let bad = |release: &str, more: Value, reason, says| Bad {
        image: image(release),
        more,
        fact: Fact::CommandEnded,
        reason,
        says,
    };
    for bad in [
        bad(
            "v3-broken",
            json!({}),
            "Failed",
            &[
                "statement ",
                "42703",
                "column customers.title does not exist",
            ][..],
        ),
        bad(
            "v3-commit",
            json!({}),
            "Failed",
            &["23503", "orders_customer_fkey"],
        ),
        bad(
            "v3-concurrently",
            json!({"dryRun": {"concurrently": {"substituteBelow": "1Ki"}}}),
            "NotRehearsed",
            &["CannotRunInTransaction", "CONCURRENTLY"],
        ),
        bad(
            "v3-silent",
            json!({}),
            "NotRehearsed",
            &["NeverConnected", "database.exposeAs"],
        ),
        bad(
            "v3-exit",
            json!({}),
            "Failed",
            &["exit code 1 although every statement succeeded"],
        ),
    ] {
        old.refuses(&bad, true);
        assert_eq!(old.orders.conditions()["RollbackVerified"], "True Verified");
    }

    // Commands that go around the rehearsal change the database; no further harm is done.
    let mut around = bad(
        "v3-bypass",
        primary.clone(),
        "RollbackNotVerified",
        &["pg_attribute moved", "database.exposeAs"],
    );
    old.refuses(&around, false);
    assert_eq!(
        old.orders.conditions()["RollbackVerified"],
        "False RollbackNotVerified"
    );
    old.orders.psql(
        "ALTER TABLE orders DROP COLUMN note; UPDATE alembic_version SET version_num = '0006'",
    );
    around.more["alembic"] = Value::Null;
    around.more["command"] = json!({"upgrade": ["python3", "-c", BESIDE]});
    around.says = &["went around the rehearsal", "database.exposeAs"];
    old.refuses(&around, false);
    assert_eq!(
        old.orders.conditions()["RollbackVerified"],
        "Unknown NotProven"
    );

    // Below the limit the plain form stands in for CONCURRENTLY, and the report says so.
    let good = image("v3-concurrently");
    old.orders.release(&good, &json!({}));
    old.orders.says(PATIENCE, "Ready", "True", "Upgraded");
    let report = old.orders.report(&old.orders.job("dryRun").unwrap());
    let substituted = |statement: &&Value| statement["outcome"].to_string().contains("ubstituted");
    let statements = report["statements"].as_array().unwrap();
    assert_eq!(
        statements.iter().filter(substituted).count(),
        1,
        "{statements:?}"
    );
    let valid =
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_customer_idx'::regclass";
    assert_eq!(old.orders.psql(valid), "t");
    old.orders.rolled_out(&good);
}

#[test]
fn a_release_whose_surroundings_are_wrong_never_starts_while_the_old_pods_serve() {
    let old = Old::serving("wrong");
    let url = old.orders.url("orders");
    // Bound and closed again: nobody listens there.
    let host = &old.orders.server.host;
    let free = std::net::TcpListener::bind((host.as_str(), 0)).unwrap();
    let down = free.local_addr().unwrap().port();
    drop(free);
    let pooler = Cluster::get()
        .node()
        .map(|node| node.pooler(&url.replace("+psycopg", "")));
    let mut keys = vec![
        ("url", url.clone()),
        (
            "wrong-password",
            url.replace("high-and-dry", "high-and-wet"),
        ),
        (
            "down",
            url.replace(
                &format!(":{}/", old.orders.server.port),
                &format!(":{down}/"),
            ),
        ),
    ];
    keys.extend(pooler.iter().map(|pooler| ("pooled", pooler.url.clone())));
    let data: Vec<(&str, &str)> = keys.iter().map(|(key, url)| (*key, url.as_str())).collect();
    old.orders.namespace.secret("orders-db", &data);

    let bad = |secret: &str, key: &str, fact, reason, says| Bad {
        image: image("v3-data"),
        more: json!({"database": {"urlFrom": {"secretKeyRef": {"name": secret, "key": key}}}}),
        fact,
        reason,
        says,
    };
    let mut all = vec![
        bad(
            "orders-database",
            "url",
            Fact::PodCreated,
            "SecretNotFound",
            &["secret \"orders-database\" not found"][..],
        ),
        bad(
            "orders-db",
            "uri",
            Fact::PodCreated,
            "SecretNotFound",
            &["couldn't find key uri in Secret"],
        ),
        bad(
            "orders-db",
            "wrong-password",
            Fact::PrepareBegan,
            "Environment",
            &["AuthenticationFailed", "check the role and its password"],
        ),
        bad(
            "orders-db",
            "down",
            Fact::PrepareBegan,
            "Environment",
            &["Unreachable", "is the server up"],
        ),
        Bad {
            image: format!("{}-of-nobody", image("v3-data")),
            more: json!({}),
            fact: Fact::PodCreated,
            reason: "ImagePullFailed",
            says: &["v3-data-of-nobody"],
        },
    ];
    if pooler.is_some() {
        all.push(bad(
            "orders-db",
            "pooled",
            Fact::PrepareBegan,
            "Environment",
            &["Pooler", "database.directUrlFrom"],
        ));
    }
    for bad in &all {
        old.refuses(bad, true);
    }
    old.refuses_for_want_of_room();

    // With the right key it is a good release.
    old.orders.release(&image("v3-data"), &json!({}));
    old.orders.says(PATIENCE, "Ready", "True", "Upgraded");
    old.orders.rolled_out(&image("v3-data"));
}
