//! drydock's own chart, and the two ways in which an application's chart uses it, with Helm 3 on a
//! real cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cluster/alerts.rs"]
mod alerts;
#[path = "lab/cluster.rs"]
mod cluster;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cluster/shop.rs"]
mod shop;

use std::process::Command;
use std::time::{Duration, Instant};

use cluster::{Cluster, Namespace, condition};
use postgres::Server;
use serde_json::{Value, json};
use shop::{MIGRATION, install_crd, migration};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A namespace with drydock installed by its chart, and the database of `orders`.
struct Harbour {
    namespace: Namespace<'static>,
    server: Server,
}

impl Harbour {
    fn open(name: &str) -> Self {
        let cluster = Cluster::get();
        install_crd(cluster);
        let server = cluster.postgres(postgres::major()).start();
        let namespace = cluster.namespace(name);
        let harbour = Self { namespace, server };
        harbour.drydock(&["--set", "crds.install=false"]).unwrap();
        let url = harbour.server.url("postgres");
        harbour.namespace.secret(
            "orders-db",
            &[("url", &url.replace("postgresql:", "postgresql+psycopg:"))],
        );
        harbour
    }

    fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let mut all = vec!["--namespace", &self.namespace.name];
        all.extend(arguments);
        Cluster::get().try_helm(&all)
    }

    /// `helm upgrade --install` of drydock's chart, for this namespace alone.
    fn drydock(&self, more: &[&str]) -> Result<String, String> {
        install_drydock(&self.namespace, more)
    }

    /// `helm upgrade --install` of the application's chart at a release.
    fn orders(&self, way: &str, release: &str, timeout: &str) -> Result<String, String> {
        let image = Cluster::get().orders_image(release);
        let (repository, tag) = image.rsplit_once(':').unwrap();
        let sets = format!(
            "image.repository={repository},image.tag={tag},drydock.way={way},drydock.image={},drydock.blocking=60s,replicas=1",
            Cluster::get().drydock_image()
        );
        let chart = format!("{ROOT}/examples/orders/chart");
        let upgrade = ["upgrade", "--install", "orders", &chart, "--wait"];
        self.helm(&[&upgrade[..], &["--timeout", timeout, "--set", &sets]].concat())
    }

    /// Which release the running, ready pods of the application are of, by their images' tags.
    fn serving(&self) -> Vec<String> {
        let pods = self.namespace.list("v1/Pod", "app=orders");
        let mut tags: Vec<String> = pods
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .filter(|pod| condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True"))
            .filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str())
            .filter_map(|image| image.rsplit_once(':'))
            .map(|(_, tag)| tag.to_owned())
            .collect();
        tags.sort();
        tags
    }

    fn serves(&self, release: &str) {
        let what = format!("only {release} serves");
        self.namespace
            .wait(60, &what, || (self.serving() == [release]).then_some(()));
    }

    /// The condition Ready of `orders`.
    fn reason(&self) -> Value {
        let orders = self.namespace.object(MIGRATION, "orders");
        condition(&orders, "Ready").unwrap()["reason"].clone()
    }

    fn revision(&self) -> String {
        let url = self.server.socket_url("postgres");
        postgres::psql(&url, "SELECT version_num FROM alembic_version")
    }

    fn migration_jobs(&self) -> usize {
        let jobs = self.namespace.list("batch/v1/Job", "drydock.dev/phase");
        jobs.len()
    }
}

fn install_drydock(namespace: &Namespace<'_>, more: &[&str]) -> Result<String, String> {
    let image = Cluster::get().drydock_image();
    let (repository, tag) = image.rsplit_once(':').unwrap();
    let sets = format!("namespaced=true,image.repository={repository},image.tag={tag}");
    let chart = format!("{ROOT}/charts/drydock");
    let install = [
        "upgrade",
        "--install",
        "drydock",
        &chart,
        "--namespace",
        &namespace.name,
        "--wait",
        "--timeout=180s",
        "--set",
        &sets,
    ];
    Cluster::get().try_helm(&[&install[..], more].concat())
}

fn may(namespace: &Namespace<'_>, verb: &str, resource: &str) -> bool {
    let who = format!("--as=system:serviceaccount:{}:drydock", namespace.name);
    let output = Command::new("kubectl")
        .args(["auth", "can-i", verb, resource, &who])
        .args(["--namespace", &namespace.name])
        .output()
        .expect("kubectl");
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!("can-i {verb} {resource}: {other}"),
    }
}

#[test]
fn the_chart_installs_and_upgrades_and_its_end_leaves_migrations_alone() {
    let cluster = Cluster::get();
    install_crd(cluster);
    let namespace = cluster.namespace("chart");
    // The definition may be there already, from this or another test.
    install_drydock(&namespace, &["--take-ownership"]).unwrap();
    let ready = |revision: &str| {
        let pods = namespace.list("v1/Pod", "app.kubernetes.io/name=drydock");
        let pods: Vec<_> = pods
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        assert_eq!(pods.len(), 1, "{revision}");
        assert_eq!(condition(pods[0], "Ready").unwrap()["status"], "True");
        pods[0]["metadata"]["name"].clone()
    };
    let first = ready("after the installation");
    for verb in ["get", "list", "watch", "create", "update", "delete"] {
        assert!(!may(&namespace, verb, "secrets"), "{verb} secrets");
    }
    assert!(!may(&namespace, "create", "pods"));
    assert!(!may(&namespace, "patch", "events.events.k8s.io"));
    assert!(may(&namespace, "create", "jobs.batch"));

    // It acts with what it may, and on its own namespace only.
    let elsewhere = cluster.namespace("elsewhere");
    for place in [&namespace, &elsewhere] {
        place.apply(&migration(
            "orders",
            &cluster.orders_image("v1"),
            &json!({}),
        ));
    }
    let stalled = namespace.wait_condition(60, MIGRATION, "orders", "Stalled", "True");
    assert_eq!(stalled["reason"], "SecretNotFound");
    assert!(elsewhere.list("batch/v1/Job", "").is_empty());

    install_drydock(
        &namespace,
        &["--take-ownership", "--set", "log=drydock=debug"],
    )
    .unwrap();
    assert_ne!(ready("after the upgrade"), first);

    let uninstall = ["uninstall", "drydock", "--wait", "--namespace"];
    cluster
        .try_helm(&[&uninstall[..], &[namespace.name.as_str()]].concat())
        .unwrap();
    assert!(namespace.list("apps/v1/Deployment", "").is_empty());
    assert!(namespace.find(MIGRATION, "orders").is_some());
    assert!(elsewhere.find(MIGRATION, "orders").is_some());
}

#[test]
fn a_hook_lets_a_good_release_through_and_stops_a_bad_one_before_anything_is_applied() {
    let harbour = Harbour::open("hook");
    harbour.orders("hook", "v1", "180s").unwrap();
    harbour.serves("v1");
    harbour.orders("hook", "v2", "180s").unwrap();
    harbour.serves("v2");
    assert_eq!(harbour.revision(), "0006");

    let refused = harbour.orders("hook", "v3-commit", "300s").unwrap_err();
    let verdict = harbour.namespace.object(MIGRATION, "orders");
    let stalled = condition(&verdict, "Stalled").unwrap();
    assert_eq!(stalled["reason"], "Failed");
    // Helm gave up because of the verdict, and long before its timeout.
    let since: jiff::Timestamp = stalled["lastTransitionTime"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let late = jiff::Timestamp::now().duration_since(since);
    assert!(late.as_secs() < 60, "{late:?} after the verdict");
    assert!(refused.contains("pre-upgrade hooks failed"), "{refused}");
    assert!(refused.contains("orders-migrate"), "{refused}");
    let log = harbour.namespace.kubectl(&["logs", "job/orders-migrate"]);
    assert!(log.contains("orders_customer_fkey"), "{log}");
    assert!(log.contains("drydock report orders"), "{log}");
    harbour.serves("v2");
    assert_eq!(harbour.revision(), "0006");

    // Every dry run is announced by its own name, though all with one reason.
    let events = harbour.namespace.kubectl(&[
        "events",
        "--for=migration/orders",
        "--output=jsonpath={.items[*].message}",
    ]);
    for job in harbour
        .namespace
        .list("batch/v1/Job", "drydock.dev/phase=dryrun")
    {
        let name = shop::name(&job).unwrap();
        assert!(events.contains(&name), "{name}: {events}");
    }
    let service = harbour.namespace.object("v1/Service", "drydock-metrics");
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let metrics = Command::new("curl")
        .args(["--silent", "--fail"])
        .arg(format!("http://{address}:8080/metrics"))
        .output()
        .expect("curl");
    alerts::dry_run_alert_fires(
        &String::from_utf8_lossy(&metrics.stdout),
        &harbour.namespace.name,
        "Failed",
    );

    // The schema stays where it is, and nothing is migrated on the way back.
    let jobs = harbour.migration_jobs();
    let back = ["rollback", "orders", "1", "--wait", "--timeout=120s"];
    harbour.helm(&back).unwrap();
    harbour.serves("v1");
    assert_eq!(harbour.migration_jobs(), jobs);
    assert_eq!(harbour.revision(), "0006");

    // Released already: the way forward needs no run either.
    harbour.orders("hook", "v2", "120s").unwrap();
    harbour.serves("v2");
    assert_eq!(harbour.migration_jobs(), jobs);
    assert_eq!(harbour.reason(), "AlreadyReleased");
}

#[test]
fn a_migration_in_the_chart_gates_installation_upgrade_and_rollback() {
    let harbour = Harbour::open("gate");
    harbour.orders("gate", "v1", "180s").unwrap();
    harbour.serves("v1");
    harbour.orders("gate", "v2", "180s").unwrap();
    harbour.serves("v2");
    assert_eq!(harbour.revision(), "0006");

    // Helm 3 knows nothing of Migrations: it waits for the pods, until its time is over.
    let began = Instant::now();
    let refused = harbour.orders("gate", "v3-commit", "40s").unwrap_err();
    assert!(began.elapsed() >= Duration::from_secs(40), "{refused}");
    let stalled = harbour
        .namespace
        .wait_condition(60, MIGRATION, "orders", "Stalled", "True");
    assert_eq!(stalled["reason"], "Failed");
    harbour.serves("v2");
    assert_eq!(harbour.revision(), "0006");

    let back = ["rollback", "orders", "--wait", "--timeout=120s"];
    harbour.helm(&back).unwrap();
    harbour
        .namespace
        .wait_condition(30, MIGRATION, "orders", "Ready", "True");
    assert_eq!(harbour.reason(), "AlreadyReleased");
    harbour.serves("v2");
    let waiting = harbour.namespace.list("v1/Pod", "app=orders");
    assert_eq!(waiting.len(), 1, "the pod of the bad release is gone");

    // A Migration that Helm keeps is not for a hook to change.
    harbour.orders("hook", "v1", "120s").unwrap_err();
    let log = harbour.namespace.kubectl(&["logs", "job/orders-migrate"]);
    assert!(log.contains("belongs to a Helm release"), "{log}");
    let pods = harbour
        .namespace
        .list("v1/Pod", "batch.kubernetes.io/job-name=orders-migrate");
    let status = &pods[0]["status"]["containerStatuses"][0]["state"];
    assert_eq!(status["terminated"]["exitCode"], 2);
    harbour.serves("v2");
}
