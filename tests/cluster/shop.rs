//! A namespace with a controller of its own, run as a process beside the test so that it can be
//! killed, and what tests say to it.

// A file of several test programs: none of them uses all of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Namespace, condition};

/// The kind, as the harness names it.
pub const MIGRATION: &str = "drydock.dev/v1alpha1/Migration";

/// A namespace under a controller's care.
pub struct Shop<'cluster> {
    /// The namespace.
    pub namespace: Namespace<'cluster>,
    /// The port of the controller's metrics.
    pub port: u16,
    image: String,
    controller: Child,
}

impl Drop for Shop<'_> {
    fn drop(&mut self) {
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}

/// Makes the cluster know Migrations, as this tree defines them.
pub fn install_crd(cluster: &Cluster) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/migrations.drydock.dev.yaml");
        let applied = Command::new("kubectl")
            .args(["apply", "--server-side", "--force-conflicts", "--filename"])
            .arg(&file)
            .output()
            .expect("kubectl");
        assert!(applied.status.success(), "{applied:?}");
        // `kubectl wait` ends with an error as long as there are no conditions at all.
        let served = (0..50).any(|_| {
            let waited = Command::new("kubectl")
                .args(["wait", "--for=condition=Established", "--timeout=30s"])
                .arg("crd/migrations.drydock.dev")
                .output()
                .expect("kubectl");
            waited.status.success() || {
                std::thread::sleep(Duration::from_millis(200));
                false
            }
        });
        assert!(served, "the definition is not served");
    });
    assert!(
        cluster
            .find(
                "apiextensions.k8s.io/v1/CustomResourceDefinition",
                "migrations.drydock.dev"
            )
            .is_some()
    );
}

impl Shop<'_> {
    /// Opens one whose Jobs use that image of drydock.
    pub fn open(cluster: &'static Cluster, name: &str, image: &str) -> Self {
        install_crd(cluster);
        let namespace = cluster.namespace(name);
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let controller = start(&namespace.name, image, port);
        Self {
            controller,
            port,
            image: image.to_owned(),
            namespace,
        }
    }

    /// SIGKILL for the controller.
    pub fn stop_controller(&mut self) {
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }

    /// SIGKILL for the controller, and another one in its place.
    pub fn restart_controller(&mut self) {
        self.stop_controller();
        self.controller = start(&self.namespace.name, &self.image, self.port);
    }

    /// Applies a Migration called `orders` with `alembic: {}` and the Secret `orders-db`; `more` is
    /// laid over its spec.
    pub fn migrate(&self, image: &str, more: &Value) {
        self.namespace.apply(&migration("orders", image, more));
    }

    /// Sets `suspend` of `orders`.
    pub fn suspend(&self, yes: bool) {
        let patch = json!({"spec": {"suspend": yes}}).to_string();
        let arguments = [
            "patch",
            "migration",
            "orders",
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.namespace.kubectl(&arguments);
    }

    /// Annotates `orders` with `key=value`.
    pub fn annotate(&self, annotation: &str) {
        let arguments = ["annotate", "--overwrite", "migration", "orders", annotation];
        self.namespace.kubectl(&arguments);
    }

    /// Asks for another attempt.
    pub fn retry(&self) {
        self.annotate(&format!("drydock.dev/retry={}", rand::random::<u32>()));
    }

    /// How the Migration `orders` stands.
    pub fn orders(&self) -> Value {
        self.namespace.object(MIGRATION, "orders")
    }

    /// Waits until a condition of `orders`, said of its present specification, has that status and
    /// reason, and gives its message.
    pub fn says(&self, seconds: u64, kind: &str, status: &str, reason: &str) -> String {
        let what = format!("{kind}={status} {reason}");
        self.namespace.wait(seconds, &what, || {
            let orders = self.namespace.find(MIGRATION, "orders")?;
            let found = condition(&orders, kind)?;
            let present = found["observedGeneration"] == orders["metadata"]["generation"];
            (present && found["status"] == status && found["reason"] == reason)
                .then(|| found["message"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// The names of the Jobs.
    pub fn jobs(&self) -> Vec<String> {
        let jobs = self.namespace.list("batch/v1/Job", "");
        jobs.iter().filter_map(name).collect()
    }

    /// What the controller tells Prometheus.
    pub fn metrics(&self) -> String {
        let address = format!("http://127.0.0.1:{}/metrics", self.port);
        let output = Command::new("curl")
            .args(["--silent", "--fail", &address])
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `drydock` with the namespace; gives its exit code and what it wrote.
    pub fn drydock(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_drydock"))
            .args(arguments)
            .args(["--namespace", &self.namespace.name])
            .stdin(Stdio::null())
            .output()
            .expect("drydock");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    }

    /// A pod of the application that waits for `orders`.
    pub fn gated_pod(&self, pod: &str, image: &str) {
        self.namespace.apply(&application(pod, image, true));
    }

    /// A pod of the application without the gate.
    pub fn running_pod(&self, pod: &str, image: &str) {
        self.namespace.apply(&application(pod, image, false));
        self.namespace
            .wait_condition(60, "v1/Pod", pod, "Ready", "True");
    }

    /// Whether a pod still waits at the gate.
    pub fn waits(&self, pod: &str) -> bool {
        let pod = self.namespace.object("v1/Pod", pod);
        pod["spec"]["schedulingGates"]
            .as_array()
            .is_some_and(|gates| !gates.is_empty())
    }
}

/// The name of an object.
pub fn name(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

/// A Migration as JSON.
pub fn migration(name: &str, image: &str, more: &Value) -> String {
    let mut spec = json!({
        "image": image,
        "alembic": {},
        "database": {"urlFrom": {"secretKeyRef": {"name": "orders-db", "key": "url"}}},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "drydock.dev/v1alpha1",
        "kind": "Migration",
        "metadata": {"name": name},
        "spec": spec,
    })
    .to_string()
}

fn application(pod: &str, image: &str, gated: bool) -> String {
    let gates = if gated {
        json!([{"name": "drydock.dev/migration"}])
    } else {
        json!([])
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "labels": {"drydock.dev/migration": "orders"}},
        "spec": {
            "schedulingGates": gates,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": image, "command": ["sleep", "600"]}],
        },
    })
    .to_string()
}

fn start(namespace: &str, image: &str, port: u16) -> Child {
    Command::new(env!("CARGO_BIN_EXE_drydock"))
        .args(["controller", "--namespace", namespace, "--image", image])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .env("DRYDOCK_LOG", "drydock=debug")
        .stderr(Stdio::null())
        .spawn()
        .expect("drydock")
}
