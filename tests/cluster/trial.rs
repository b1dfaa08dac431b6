//! A release whose runs can be held at an exact point, so that what is killed there is killed
//! before, in or behind its COMMIT and not about then.

// A file of several test programs: none of them uses all of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Watched, condition};
use crate::postgres::{self, Database, Server};
use crate::shop::{MIGRATION, Shop};

/// Where a run can be held, seen from its COMMIT. The number is that of the advisory lock that it asks for there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The work is done, the COMMIT is not sent.
    Before = 1,
    /// The server works on the COMMIT.
    Within = 2,
    /// The COMMIT is answered, the command still runs.
    After = 3,
}

/// How often the orders were charged is how often the migration was applied. Everything asks for
/// its lock in shared mode: it goes through unless a [`Hold`] is there.
const SCHEMA: &str = "
CREATE TABLE orders (id int PRIMARY KEY, total numeric NOT NULL);
INSERT INTO orders SELECT n, 0 FROM generate_series(1, 10) AS n;
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0006');
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::int); RETURN NULL; END';
CREATE TRIGGER before_commit AFTER UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION hold(1);
CREATE CONSTRAINT TRIGGER in_commit AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hold(2);
CREATE TABLE pace (seconds float NOT NULL);
INSERT INTO pace VALUES (0);
CREATE FUNCTION slowly() RETURNS int LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep((SELECT seconds FROM pace)); RETURN 0; END';
";

/// What every command of these tests begins with.
const PYTHON: &str = "import os, psycopg
def connect():
    return psycopg.connect(os.environ['DATABASE_URL'].replace('+psycopg', ''))
";

const PASS_THE_END: &str = "connect().execute('SELECT pg_advisory_xact_lock_shared(3)')";

/// One namespace, one controller, one database, and everything that upgrades there ever were.
pub struct Trial {
    pub shop: Shop<'static>,
    pub database: Database<'static>,
    dump: String,
    upgrades: Watched,
    pods: Watched,
}

/// Keeps every run from passing a point; gone with the value.
pub struct Hold(Child);

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Cluster::get().postgres(postgres::major()).start())
}

impl Trial {
    pub fn open(name: &str) -> Self {
        let cluster = Cluster::get();
        let shop = Shop::open(cluster, name, &cluster.drydock_image());
        let database = server().database();
        database.psql(SCHEMA);
        let url = database.url.replace("postgresql:", "postgresql+psycopg:");
        shop.namespace.secret("orders-db", &[("url", &url)]);
        Self {
            dump: database.dump(),
            upgrades: shop
                .namespace
                .watch("batch/v1/Job", "drydock.dev/phase=upgrade"),
            pods: shop.namespace.watch("v1/Pod", "drydock.dev/phase=upgrade"),
            database,
            shop,
        }
    }

    /// A release that charges every order, with Alembic.
    pub fn alembic(&self) {
        let script = format!("alembic \"$@\" && python -c \"{PYTHON}{PASS_THE_END}\"");
        self.apply(&json!({"alembic": {"command": ["sh", "-c", script, "alembic"]}}));
    }

    /// The same with a command that remembers nothing.
    pub fn raw(&self) {
        let script = format!(
            "{PYTHON}
with connect() as c: c.execute('UPDATE orders SET total = total + 1')
{PASS_THE_END}"
        );
        self.command(&script);
    }

    /// A release that rewrites the table, at the pace that the table `pace` says.
    pub fn long_alter(&self) {
        let alter = "ALTER TABLE orders ALTER total TYPE float USING total + slowly()";
        self.command(&format!(
            "{PYTHON}\nwith connect() as c: c.execute('{alter}')"
        ));
    }

    /// Seconds that the ALTER needs for each of ten rows, from now on.
    pub fn pace(&self, seconds: f64) {
        self.database
            .psql(&format!("UPDATE pace SET seconds = {seconds}"));
    }

    fn command(&self, script: &str) {
        let command = json!({"upgrade": ["python", "-c", script]});
        self.apply(&json!({"alembic": null, "command": command}));
    }

    fn apply(&self, more: &Value) {
        let mut spec = json!({"upgrade": {"lockTimeout": "10m"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        self.shop
            .migrate(&Cluster::get().orders_image("v3-data"), &spec);
    }

    /// Lets the dry run pass and nothing begin behind it.
    pub fn rehearsed_and_suspended(&self) {
        self.wait(60, "the dry run is begun", || {
            (!self.shop.jobs().is_empty()).then_some(())
        });
        self.shop.suspend(true);
        self.wait(120, "the dry run passes", || {
            let orders = self.shop.namespace.find(MIGRATION, "orders")?;
            let passed = condition(&orders, "DryRunPassed")?;
            (passed["status"] == "True").then_some(())
        });
        assert_eq!(self.charged(), 0);
    }

    /// Lets the namespace have so many Jobs.
    pub fn quota(&self, jobs: usize) {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "jobs"},
            "spec": {"hard": {"count/jobs.batch": jobs.to_string()}},
        });
        self.shop.namespace.apply(&quota.to_string());
        // Until it is counted, nothing is refused.
        self.wait(30, "the quota is in force", || {
            let quota = self.shop.namespace.find("v1/ResourceQuota", "jobs")?;
            (quota["status"]["hard"] == quota["spec"]["hard"]).then_some(())
        });
    }

    /// Keeps the database from every run, as another run would.
    pub fn hold_database(&self) -> Hold {
        let (high, low) = drydock::postgres::lock::KEY;
        let hold = self.session(&format!("SELECT pg_advisory_lock({high}, {low})"));
        self.wait(20, "the database is held", || {
            let held = format!(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
                 AND granted AND classid = {high} AND objid = {low}
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            );
            (self.database.psql(&held) == "1").then_some(())
        });
        hold
    }

    /// Closes a point.
    pub fn hold(&self, point: Point) -> Hold {
        let number = point as u8;
        let hold = self.session(&format!("SELECT pg_advisory_lock({number})"));
        self.wait(20, "the point is closed", || {
            (self.locks(number, true) == "1").then_some(())
        });
        hold
    }

    fn session(&self, sql: &str) -> Hold {
        let mut child = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--dbname"])
            .arg(self.database.server.socket_url(&self.database.name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{sql};\n").as_bytes()).unwrap();
        Hold(child)
    }

    /// Waits until a run stands at a closed point.
    pub fn arrives(&self, point: Point) {
        self.wait(120, &format!("a run comes to {point:?}"), || {
            (self.locks(point as u8, false) != "0").then_some(())
        });
    }

    fn locks(&self, number: u8, granted: bool) -> String {
        self.database.psql(&format!(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {number}
             AND objsubid = 1 AND granted = {granted}
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ))
    }

    /// How often the migration was applied.
    pub fn charged(&self) -> u32 {
        let total = self
            .database
            .psql("SELECT DISTINCT total::int FROM orders WHERE total IS NOT NULL");
        total.parse().unwrap()
    }

    /// Makes sure that the database is as it was in the beginning.
    #[track_caller]
    pub fn unchanged(&self) {
        assert_eq!(self.database.dump(), self.dump);
    }

    /// Whether nobody holds a strong lock on the table.
    pub fn unlocked(&self) -> bool {
        self.database.psql(
            "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass
             AND mode = 'AccessExclusiveLock' AND granted",
        ) == "0"
    }

    /// The pods of a phase, `dryrun` or `upgrade`, that are there now.
    pub fn pods(&self, phase: &str) -> Vec<Value> {
        let selector = format!("drydock.dev/phase={phase}");
        self.shop.namespace.list("v1/Pod", &selector)
    }

    /// The status of a container that runs now.
    pub fn running(&self, phase: &str, container: &str) -> Value {
        self.wait(60, &format!("{container} runs"), || {
            self.pods(phase).iter().find_map(|pod| {
                let found = status(pod, container)?;
                found["state"]["running"].is_object().then_some(found)
            })
        })
    }

    /// The names of all upgrade Jobs that there ever were.
    pub fn upgrades(&self) -> Vec<String> {
        let jobs = self.upgrades.all();
        jobs.values().filter_map(crate::shop::name).collect()
    }

    /// How many pods of upgrades there ever were.
    pub fn upgrade_pods(&self) -> usize {
        self.pods.all().len()
    }

    pub fn wait<T>(&self, seconds: u64, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        self.shop.namespace.wait(seconds, what, ask)
    }

    pub fn stalls(&self, reason: &str) -> String {
        self.shop.says(60, "Stalled", "True", reason)
    }

    /// Stalls for one of several reasons.
    pub fn stalls_for(&self, reasons: &[&str]) {
        self.wait(60, &format!("Stalled for one of {reasons:?}"), || {
            let orders = self.shop.namespace.find(MIGRATION, "orders")?;
            let stalled = condition(&orders, "Stalled")?;
            let reason = stalled["reason"].as_str()?;
            reasons.contains(&reason).then_some(())
        });
    }

    pub fn is_released(&self) {
        self.shop
            .namespace
            .wait_condition(180, MIGRATION, "orders", "Ready", "True");
    }

    /// Makes sure that nothing is begun for a while.
    pub fn stays(&self, reason: &str) {
        let jobs = self.shop.jobs();
        std::thread::sleep(Duration::from_secs(4));
        self.stalls(reason);
        assert_eq!(self.shop.jobs(), jobs);
    }
}

/// A container's status in its pod.
pub fn status(pod: &Value, container: &str) -> Option<Value> {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|status| status["name"] == container)
        .cloned()
}
