//! `examples/orders` in a shop: its database, its Deployment, and a client that asks it all the
//! time.

// A file of several test programs: none of them uses all of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{Cluster, condition};
use crate::postgres::{self, Server};
use crate::shop::{Shop, name};

/// As users apply them.
const DEPLOYMENT: &str = include_str!("../../examples/orders/deploy/deployment.yaml");
const SERVICE: &str = include_str!("../../examples/orders/deploy/service.yaml");

const PASSWORD: &str = "high-and-dry";

/// How long anything may take that is not what a test is about: this machine may be busy.
pub const PATIENCE: u64 = 300;

/// The application in a namespace, and the server of its database `orders`.
pub struct Orders {
    /// The namespace with its controller.
    pub shop: Shop<'static>,
    /// The server; the role `orders` owns the database and is nothing else.
    pub server: Server,
}

impl Deref for Orders {
    type Target = Shop<'static>;

    fn deref(&self) -> &Self::Target {
        &self.shop
    }
}

impl Orders {
    /// An empty database, and its URL in the Secret `orders-db`.
    pub fn open(name: &str) -> Self {
        let cluster = Cluster::get();
        let server = cluster.postgres(postgres::major()).start();
        let orders = Self {
            shop: Shop::open(cluster, name, &cluster.drydock_image()),
            server,
        };
        let role = format!("CREATE ROLE orders LOGIN PASSWORD '{PASSWORD}'");
        postgres::psql(&orders.server.socket_url("postgres"), &role);
        orders.create_database("orders");
        let url = orders.url("orders");
        orders.namespace.secret("orders-db", &[("url", &url)]);
        orders
    }

    /// With the database of a release that was migrated before anybody had heard of drydock.
    pub fn at(name: &str, image: &str) -> Self {
        let orders = Self::open(name);
        orders.alembic(image, "orders");
        orders
    }

    /// Another database of the same role.
    pub fn create_database(&self, database: &str) {
        let sql = format!("CREATE DATABASE {database} OWNER orders");
        postgres::psql(&self.server.socket_url("postgres"), &sql);
    }

    /// A database's URL, as the application gives it to SQLAlchemy.
    pub fn url(&self, database: &str) -> String {
        let Server { host, port, .. } = &self.server;
        format!("postgresql+psycopg://orders:{PASSWORD}@{host}:{port}/{database}")
    }

    /// Runs SQL as the superuser, as somebody who has nothing to do with the migration.
    pub fn psql(&self, sql: &str) -> String {
        postgres::psql(&self.server.socket_url("orders"), sql)
    }

    /// Structure, rows and sequence values of a database.
    pub fn dump(&self, database: &str) -> String {
        postgres::pg_dump(&self.server.socket_url(database))
    }

    /// `alembic upgrade head` in a pod, without drydock.
    pub fn alembic(&self, image: &str, database: &str) {
        let pod = format!("alembic-{database}");
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod},
            "spec": {"restartPolicy": "Never", "containers": [{
                "name": "alembic", "image": image, "command": ["alembic", "upgrade", "head"],
                "env": [{"name": "DATABASE_URL", "value": self.url(database)}],
            }]},
        });
        self.namespace.apply(&manifest.to_string());
        let phase = self.namespace.wait(PATIENCE, "alembic's end", || {
            let pod = self.namespace.object("v1/Pod", &pod);
            let phase = pod["status"]["phase"].as_str()?.to_owned();
            ["Succeeded", "Failed"].contains(&&*phase).then_some(phase)
        });
        assert_eq!(
            phase,
            "Succeeded",
            "{}",
            self.namespace.logs(&pod, "alembic")
        );
    }

    /// What a user does for a release: applies its Deployment and its Migration. `more` is laid over
    /// the Migration's specification.
    pub fn release(&self, image: &str, more: &Value) {
        let mut more = more.clone();
        // On a busy machine its client would end rehearsals that are about something else.
        more["dryRun"]["budgets"]["blocking"] = json!("5s");
        self.deploy(image);
        self.migrate(image, &more);
    }

    /// Applies the Deployment and the Service, with one replica and patient probes.
    pub fn deploy(&self, image: &str) {
        let mut deployment = DEPLOYMENT.to_owned();
        for (theirs, ours) in [
            ("replicas: 2", "replicas: 1"),
            (
                "periodSeconds: 1",
                "periodSeconds: 1\n            timeoutSeconds: 10",
            ),
            ("image: orders:v2", &format!("image: {image}")),
        ] {
            assert!(deployment.contains(theirs), "{theirs}");
            deployment = deployment.replace(theirs, ours);
        }
        self.namespace
            .apply(&format!("{deployment}\n---\n{SERVICE}"));
    }

    /// Waits until the dry run of the present run has begun, suspends, and waits until it has
    /// passed: whatever happens then, happens between dry run and upgrade.
    pub fn pause_after_the_dry_run(&self) {
        self.namespace.wait(PATIENCE, "the dry run's Job", || {
            let orders = self.orders();
            let present =
                orders["status"]["observedGeneration"] == orders["metadata"]["generation"];
            let run = &orders["status"]["run"];
            (present && run["dryRun"]["uid"].is_string() && run["upgrade"].is_null()).then_some(())
        });
        self.suspend(true);
        self.says(PATIENCE, "DryRunPassed", "True", "Passed");
        assert_eq!(self.job("upgrade"), None, "it was suspended in time");
    }

    /// A session that lets nobody write to `orders`, until the value goes.
    pub fn hold_writers_off(&self) -> Holder<'_> {
        let url = self.server.socket_url("orders");
        let sql = "BEGIN; LOCK TABLE orders IN SHARE MODE; SELECT pg_sleep(600)";
        let session = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--dbname", &url, "--command", sql])
            .env("PGAPPNAME", HOLDER)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.namespace.wait(PATIENCE, "the lock", || {
            let locks = "SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' AND granted";
            (self.psql(locks) == "1").then_some(())
        });
        Holder {
            orders: self,
            session,
        }
    }

    /// The name of the present run's Job; `dryRun` or `upgrade`.
    pub fn job(&self, phase: &str) -> Option<String> {
        let orders = self.orders();
        let name = orders["status"]["run"][phase]["name"].as_str();
        name.map(str::to_owned)
    }

    /// Which attempt the present run is.
    pub fn attempt(&self) -> u64 {
        self.orders()["status"]["run"]["attempt"]
            .as_u64()
            .unwrap_or_default()
    }

    /// The report that a Job's witness printed.
    pub fn report(&self, job: &str) -> Value {
        let job = format!("job/{job}");
        let log = self
            .namespace
            .kubectl(&["logs", &job, "--container=witness"]);
        let report = log.lines().rfind(|line| line.starts_with('{'));
        serde_json::from_str(report.unwrap_or_else(|| panic!("no report: {log}"))).unwrap()
    }

    /// The pod of a Job.
    pub fn pod_of(&self, job: &str) -> Value {
        let pods = self.namespace.list("v1/Pod", &format!("job-name={job}"));
        assert_eq!(pods.len(), 1, "{job}");
        pods[0].clone()
    }

    /// The application's pods with that image.
    pub fn pods(&self, image: &str) -> Vec<Value> {
        let mut pods = self.namespace.list("v1/Pod", "app=orders");
        pods.retain(|pod| pod["spec"]["containers"][0]["image"] == image);
        pods
    }

    /// Waits until the Deployment runs nothing but that image, and gives its pod.
    pub fn rolled_out(&self, image: &str) -> Value {
        let what = format!("{image} is rolled out");
        self.namespace.wait(PATIENCE, &what, || {
            let all = self.namespace.list("v1/Pod", "app=orders");
            let new = self.pods(image);
            (all.len() == 1 && new.len() == 1 && is_ready(&new[0])).then(|| new[0].clone())
        })
    }

    /// Waits until there are pods with that image; all of them wait at the gate.
    pub fn wait_at_the_gate(&self, image: &str) {
        let pods = self
            .namespace
            .wait(PATIENCE, &format!("pods of {image}"), || {
                Some(self.pods(image)).filter(|pods| !pods.is_empty())
            });
        for pod in pods {
            assert_eq!(
                pod["spec"]["schedulingGates"],
                json!([{"name": "drydock.dev/migration"}])
            );
        }
    }

    /// Conditions by type, as `True Passed`.
    pub fn conditions(&self) -> BTreeMap<String, String> {
        let orders = self.orders();
        let conditions = orders["status"]["conditions"].as_array();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |one: &Value| {
            let said = format!("{} {}", text(&one["status"]), text(&one["reason"]));
            (text(&one["type"]), said)
        };
        conditions.into_iter().flatten().map(one).collect()
    }

    /// Since when a condition of `orders` has its status.
    pub fn since(&self, kind: &str) -> Timestamp {
        let orders = self.orders();
        time(&condition(&orders, kind).unwrap()["lastTransitionTime"])
    }

    /// The names of all Jobs of upgrades.
    pub fn upgrades(&self) -> Vec<String> {
        let jobs = self
            .namespace
            .list("batch/v1/Job", "drydock.dev/phase=upgrade");
        jobs.iter().filter_map(name).collect()
    }

    /// A client that asks `/healthz` all the time from now on.
    pub fn client(&self) -> Client {
        let namespace = self.namespace.name.clone();
        let answers = Arc::new(Mutex::new(Answers::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let asking = {
            let (answers, ended) = (Arc::clone(&answers), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let answer = Cluster::get().ask(&namespace, "orders:80", "healthz");
                    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer.map(|body| release_of(&body)) {
                        Ok(Some(release)) => *answers.served.entry(release).or_default() += 1,
                        Ok(None) => answers.failures.push("not a health answer".to_owned()),
                        Err(error) => answers.failures.push(error),
                    }
                    drop(answers);
                    std::thread::sleep(Duration::from_millis(100));
                }
            })
        };
        Client {
            answers,
            ended,
            asking: Some(asking),
        }
    }
}

const HOLDER: &str = "holder";

/// A session that holds a lock.
pub struct Holder<'orders> {
    orders: &'orders Orders,
    session: Child,
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        self.orders.psql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{HOLDER}'"
        ));
        let _ = self.session.wait();
    }
}

/// What a client got.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// How often, by release.
    pub served: BTreeMap<String, u32>,
    /// What went wrong.
    pub failures: Vec<String>,
}

/// Asks until it goes.
pub struct Client {
    answers: Arc<Mutex<Answers>>,
    ended: Arc<AtomicBool>,
    asking: Option<JoinHandle<()>>,
}

impl Client {
    /// What it got so far: not one failure.
    pub fn served(&self) -> BTreeMap<String, u32> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(answers.failures, [""; 0], "{:?}", answers.served);
        answers.served.clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(asking) = self.asking.take() {
            let _ = asking.join();
        }
    }
}

/// The image of a release.
pub fn image(release: &str) -> String {
    Cluster::get().orders_image(release)
}

/// A time as Kubernetes writes it.
pub fn time(value: &Value) -> Timestamp {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("not a time: {value}"));
    text.parse().unwrap()
}

/// The status of a pod's container, an init container or another.
pub fn container(pod: &Value, name: &str) -> Value {
    let of = |kind: &str| pod["status"][kind].as_array().cloned().unwrap_or_default();
    let statuses = [of("initContainerStatuses"), of("containerStatuses")].concat();
    let found = statuses.into_iter().find(|status| status["name"] == name);
    found.unwrap_or_else(|| panic!("no container {name}: {pod}"))
}

/// Whether a pod is Ready.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn release_of(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    body["release"].as_str().map(str::to_owned)
}
