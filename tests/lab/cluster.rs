//! A real Kubernetes for tests in `tests/cluster_*.rs`, which `make test-cluster` runs:
//!
//! ```ignore
//! #[path = "lab/cluster.rs"]
//! mod cluster;
//! #[path = "lab/postgres.rs"]
//! mod postgres;
//!
//! let namespace = Cluster::get().namespace("good-release");
//! namespace.apply("…");
//! let job = namespace.wait(15, "the Job's end", || namespace.done("batch/v1/Job", "orders-…"));
//! ```
//!
//! The tests themselves run in the lab's network, so they reach API server, services and pods, and
//! a PostgreSQL that they start with [`Cluster::postgres`] is reached by pods. With a cluster of the
//! user's own (`make test KUBECONFIG=…`) the same tests run on it; those that need the node's inside
//! ask [`Cluster::node`], which such a cluster does not have.

// A file of several test programs: none of them uses all of it.
#![allow(dead_code, unreachable_pub)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::postgres;

/// A cluster to test on.
pub struct Cluster {
    runtime: Runtime,
    client: kube::Client,
    /// What images' names begin with.
    images: String,
    loaded: Mutex<BTreeSet<String>>,
}

impl Cluster {
    /// The cluster of this run of the tests.
    ///
    /// # Panics
    /// When there is none: a test that did not run must not pass.
    pub fn get() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| {
            assert!(
                std::env::var_os("KUBECONFIG").is_some(),
                "tests in the cluster run in its network: run `make test-cluster`"
            );
            let runtime = Runtime::new().expect("a runtime");
            let client = runtime
                .block_on(kube::Client::try_default())
                .expect("a client for KUBECONFIG");
            Self {
                runtime,
                client,
                images: match external() {
                    None => "drydock.local".to_owned(),
                    Some(images) => images,
                },
                loaded: Mutex::default(),
            }
        })
    }

    /// A namespace of the test's own; it goes when the value does, unless `DRYDOCK_TEST_KEEP` is set.
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        let name = format!("{name}-{:06x}", rand::random_range(0..0x0100_0000));
        kubectl(&["create", "namespace", &name], "");
        Namespace {
            cluster: self,
            name,
        }
    }

    /// One object of the cluster, such as `("v1/Node", "lab")`.
    pub fn find(&self, kind: &str, name: &str) -> Option<Value> {
        let resource = resource(kind);
        self.fetch(&Api::all_with(self.client.clone(), &resource), name)
    }

    /// The image of drydock as the tests have built it.
    pub fn drydock_image(&self) -> String {
        self.image("drydock", "dev", || {
            let binary = std::env::var("DRYDOCK_TEST_BINARY")
                .expect("DRYDOCK_TEST_BINARY: run `make test-cluster`");
            vec!["drydock".to_owned(), binary]
        })
    }

    /// The image of `examples/orders` at a release.
    pub fn orders_image(&self, release: &str) -> String {
        self.image("orders", release, || {
            vec!["orders".to_owned(), release.to_owned()]
        })
    }

    /// What a service answers on a path, by way of the API server.
    pub fn ask(&self, namespace: &str, service: &str, path: &str) -> Result<String, String> {
        let services = format!("/api/v1/namespaces/{namespace}/services");
        let request = kube::core::Request::new(services)
            .get_subresource(&format!("proxy/{path}"), service)
            .map_err(|error| error.to_string())?;
        self.runtime
            .block_on(self.client.request_text(request))
            .map_err(|error| error.to_string())
    }

    fn image(&self, repository: &str, tag: &str, make: impl FnOnce() -> Vec<String>) -> String {
        let image = format!("{}/{repository}:{tag}", self.images);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        // A cluster of the user's own pulls it.
        if external().is_none() && loaded.insert(image.clone()) {
            let mut arguments = vec!["image".to_owned()];
            arguments.extend(make());
            arguments.push(image.clone());
            lab(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        }
        image
    }

    /// A PostgreSQL server that pods can reach, and must show a password to.
    pub fn postgres(&self, major: u8) -> postgres::Options {
        let host = std::env::var("DRYDOCK_TEST_POSTGRES_HOST").ok();
        let host = host.filter(|host| !host.is_empty());
        assert!(
            host.is_some() || external().is_none(),
            "POSTGRES_HOST: the address under which the cluster's pods reach this machine"
        );
        postgres::Options::new(major).listen(host.unwrap_or_else(|| "10.88.0.1".to_owned()))
    }

    /// Runs Helm, which must succeed, and gives what it prints.
    pub fn helm(&self, arguments: &[&str]) -> String {
        run("helm", arguments, "").unwrap_or_else(|error| panic!("helm {arguments:?}: {error}"))
    }

    /// Runs Helm; the error is what it says against it.
    pub fn try_helm(&self, arguments: &[&str]) -> Result<String, String> {
        run("helm", arguments, "")
    }

    /// The node's inside; `None` for a cluster of the user's own.
    pub fn node(&self) -> Option<Node> {
        if external().is_some() {
            eprintln!("not tried: this cluster's nodes are out of reach");
            return None;
        }
        Some(Node)
    }

    fn fetch(&self, api: &Api<DynamicObject>, name: &str) -> Option<Value> {
        let object = self.runtime.block_on(api.get_opt(name));
        object
            .unwrap_or_else(|error| panic!("could not get {name}: {error}"))
            .map(|object| serde_json::to_value(object).expect("JSON"))
    }
}

/// A namespace for one test.
pub struct Namespace<'cluster> {
    cluster: &'cluster Cluster,
    /// Its name.
    pub name: String,
}

impl Namespace<'_> {
    /// Applies YAML or JSON, which the cluster must take.
    pub fn apply(&self, manifest: &str) {
        self.try_apply(manifest)
            .unwrap_or_else(|error| panic!("the cluster refused: {error}\n{manifest}"));
    }

    /// Applies YAML or JSON; the error is what the cluster says against it.
    pub fn try_apply(&self, manifest: &str) -> Result<String, String> {
        let arguments = ["--namespace", &self.name, "apply", "--filename=-"];
        run("kubectl", &arguments, manifest)
    }

    /// Runs kubectl in this namespace; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["--namespace", &self.name];
        all.extend(arguments);
        kubectl(&all, "")
    }

    /// A Secret of string values.
    pub fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: serde_json::Map<String, Value> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect();
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
        });
        self.apply(&secret.to_string());
    }

    /// One object, such as `("batch/v1/Job", "orders-dryrun-…")`.
    pub fn find(&self, kind: &str, name: &str) -> Option<Value> {
        self.cluster.fetch(&self.api(kind), name)
    }

    /// One object that must exist.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        self.find(kind, name)
            .unwrap_or_else(|| panic!("no {kind} {name} in {}", self.name))
    }

    /// The objects with that label selector; an empty selector means all.
    pub fn list(&self, kind: &str, selector: &str) -> Vec<Value> {
        let parameters = ListParams::default().labels(selector);
        let listed = self.cluster.runtime.block_on(async {
            let api = self.api(kind);
            api.list(&parameters).await
        });
        listed
            .unwrap_or_else(|error| panic!("could not list {kind}: {error}"))
            .items
            .into_iter()
            .map(|object| serde_json::to_value(object).expect("JSON"))
            .collect()
    }

    /// From now on notes everything of that kind that appears, however short it lives.
    pub fn watch(&self, kind: &str, selector: &str) -> Watched {
        let seen = Watched::default();
        let noted = Arc::clone(&seen.0);
        let settings = watcher::Config::default().labels(selector);
        let mut objects = watcher(self.api(kind), settings)
            .default_backoff()
            .applied_objects()
            .boxed();
        self.cluster.runtime.spawn(async move {
            while let Some(object) = objects.next().await {
                let Ok(object) = object else { continue };
                let uid = object.metadata.uid.clone().unwrap_or_default();
                let object = serde_json::to_value(object).expect("JSON");
                noted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(uid, object);
            }
        });
        seen
    }

    /// Asks every 50 ms until there is an answer, and gives it.
    ///
    /// # Panics
    /// When there is none in time, with everything that the namespace then holds.
    pub fn wait<T>(&self, seconds: u64, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            if Instant::now() > end {
                panic!("{what}: not within {seconds} s\n{}", self.describe());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a condition of an object has a status, and gives the condition.
    pub fn wait_condition(
        &self,
        seconds: u64,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
    ) -> Value {
        let what = format!("{condition}={status} on {kind} {name}");
        self.wait(seconds, &what, || {
            self.find(kind, name)
                .and_then(|object| self::condition(&object, condition).cloned())
                .filter(|found| found["status"] == status)
        })
    }

    /// Everything that a container has printed.
    pub fn logs(&self, pod: &str, container: &str) -> String {
        self.kubectl(&["logs", pod, "--container", container])
    }

    /// What the namespace holds, for the message of a failed test.
    pub fn describe(&self) -> String {
        let kinds = "migrations,jobs,deployments,pods,events";
        // Migrations may not be known to the cluster; the rest is then still worth a look.
        run(
            "kubectl",
            &["--namespace", &self.name, "get", kinds, "--output=wide"],
            "",
        )
        .or_else(|_| {
            let kinds = "jobs,deployments,pods,events";
            run("kubectl", &["--namespace", &self.name, "get", kinds], "")
        })
        .unwrap_or_else(|error| error)
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client.clone(), &self.name, &resource(kind))
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.describe());
        }
        if std::env::var_os("DRYDOCK_TEST_KEEP").is_none() {
            let _ = run(
                "kubectl",
                &["delete", "namespace", &self.name, "--wait=false"],
                "",
            );
        }
    }
}

/// What was seen since a watch began.
#[derive(Default)]
pub struct Watched(Arc<Mutex<BTreeMap<String, Value>>>);

impl Watched {
    /// The last sight of each object, by UID.
    pub fn all(&self) -> BTreeMap<String, Value> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A condition of an object's status.
pub fn condition<'object>(object: &'object Value, name: &str) -> Option<&'object Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)
}

/// The lab's node: what only somebody with root on the machine can do.
pub struct Node;

impl Node {
    /// SIGKILL for a component of the node: `kubelet`, `containerd`, `kube-apiserver`, ….
    pub fn kill(&self, component: &str) {
        lab(&["kill", component]);
    }

    /// Starts a component that was killed.
    pub fn start(&self, component: &str) {
        lab(&["start", component]);
    }

    /// SIGKILL for a container's processes. `container` is an entry of a pod's `containerStatuses`;
    /// with the last one of its pod, containerd may lose its own answer.
    pub fn kill_container(&self, container: &Value) {
        let kill = ["ctr", "tasks", "kill", "--signal=SIGKILL", id(container)];
        if let Err(error) = try_lab(&kill) {
            assert!(!self.runs(container), "{error}");
        }
    }

    /// `PgBouncer` in transaction mode in front of a server; ends with the value.
    pub fn pooler(&self, url: &str) -> Pooler {
        let port = rand::random_range(20_000..30_000).to_string();
        let url = lab(&["pgbouncer", "up", &port, url]);
        Pooler { url, port }
    }

    /// Whether a container's processes run, whatever the API server believes.
    pub fn runs(&self, container: &Value) -> bool {
        lab(&["ctr", "tasks", "list"])
            .lines()
            .any(|line| line.starts_with(id(container)) && line.ends_with("RUNNING"))
    }
}

/// A running `PgBouncer`.
pub struct Pooler {
    /// The URL through it.
    pub url: String,
    port: String,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        lab(&["pgbouncer", "down", &self.port]);
    }
}

fn id(container: &Value) -> &str {
    let id = container["containerID"].as_str();
    id.and_then(|id| id.strip_prefix("containerd://"))
        .unwrap_or_else(|| panic!("not a container of containerd: {container}"))
}

/// Where a cluster of the user's own finds the images; `None` in the lab.
fn external() -> Option<String> {
    std::env::var("DRYDOCK_TEST_IMAGES").ok()
}

/// `group/version/Kind`, or `v1/Kind` of the core group.
fn resource(kind: &str) -> ApiResource {
    let parts: Vec<&str> = kind.split('/').collect();
    let kind = match parts[..] {
        [version, kind] => GroupVersionKind::gvk("", version, kind),
        [group, version, kind] => GroupVersionKind::gvk(group, version, kind),
        _ => panic!("{kind} is not like batch/v1/Job or v1/Pod"),
    };
    ApiResource::from_gvk(&kind)
}

fn kubectl(arguments: &[&str], input: &str) -> String {
    run("kubectl", arguments, input)
        .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
}

fn lab(arguments: &[&str]) -> String {
    try_lab(arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn try_lab(arguments: &[&str]) -> Result<String, String> {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab");
    run(program.to_str().expect("UTF-8"), arguments, "")
        .map_err(|error| format!("lab {arguments:?}: {error}"))
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    // A program that fails early has not read everything.
    let _ = child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("a program's output");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned())
    }
}
