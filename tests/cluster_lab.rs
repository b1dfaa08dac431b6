//! The cluster that every other test in `cluster_*.rs` stands on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/cluster.rs"]
mod cluster;
#[path = "lab/postgres.rs"]
mod postgres;

use std::sync::{Mutex, MutexGuard, PoisonError};

use cluster::{Cluster, Namespace};
use serde_json::{Value, json};

fn pod(name: &str, image: &str, command: &[&str], url: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": image, "command": command,
                "env": [{"name": "DATABASE_URL", "value": url}],
            }],
        },
    })
    .to_string()
}

/// A kubelet that is killed or stopped by one test would fail another one's pod.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn phase(namespace: &Namespace<'_>, name: &str) -> Option<String> {
    let pod = namespace.find("v1/Pod", name)?;
    pod["status"]["phase"].as_str().map(str::to_owned)
}

fn main_container(namespace: &Namespace<'_>, name: &str) -> Option<Value> {
    let pod = namespace.find("v1/Pod", name)?;
    let container = pod["status"]["containerStatuses"].get(0)?;
    container["state"]["running"]
        .is_object()
        .then(|| container.clone())
}

#[test]
fn a_pod_migrates_a_database_of_the_test_and_speaks_to_the_api_server() {
    let _alone = alone();
    let cluster = Cluster::get();
    let server = cluster.postgres(postgres::major()).start();
    let database = server.database();
    let namespace = cluster.namespace("lab-pod");
    let script = "alembic upgrade head && python -c \"
import os, ssl, urllib.request
address = 'https://' + os.environ['KUBERNETES_SERVICE_HOST'] + '/version'
print(urllib.request.urlopen(address, context=ssl._create_unverified_context()).read().decode())\"";
    let url = database.url.replace("postgresql:", "postgresql+psycopg:");
    namespace.apply(&pod(
        "orders",
        &cluster.orders_image("v1"),
        &["sh", "-c", script],
        &url,
    ));
    let end = namespace.wait(60, "the pod's end", || {
        phase(&namespace, "orders").filter(|phase| phase == "Succeeded" || phase == "Failed")
    });
    let printed = namespace.logs("orders", "main");
    assert_eq!(end, "Succeeded", "{printed}");
    assert!(printed.contains("gitVersion"), "{printed}");
    assert_eq!(database.psql("SELECT count(*) FROM orders"), "1000");
}

#[test]
fn a_container_outlives_a_stopped_kubelet_and_dies_of_a_kill_on_the_node() {
    let _alone = alone();
    let cluster = Cluster::get();
    let Some(node) = cluster.node() else { return };
    let namespace = cluster.namespace("lab-node");
    let sleep = pod(
        "sleeper",
        &cluster.orders_image("v1"),
        &["sleep", "600"],
        "",
    );
    namespace.apply(&sleep);
    let container = namespace.wait(60, "a running container", || {
        main_container(&namespace, "sleeper")
    });
    node.kill("kubelet");
    namespace.kubectl(&["delete", "pod", "sleeper", "--force"]);
    assert!(namespace.find("v1/Pod", "sleeper").is_none());
    assert!(
        node.runs(&container),
        "the kubelet's death ended the container"
    );
    node.kill_container(&container);
    namespace.wait(5, "the end of the container", || {
        (!node.runs(&container)).then_some(())
    });
    node.start("kubelet");
    namespace.apply(&sleep);
    namespace.wait(60, "a pod after the kubelet's return", || {
        main_container(&namespace, "sleeper")
    });
}

#[test]
fn the_cluster_says_what_is_wrong_with_an_object() {
    let _alone = alone();
    let namespace = Cluster::get().namespace("lab-refused");
    let refused = namespace
        .try_apply(r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "empty"}}"#)
        .unwrap_err();
    assert!(refused.contains("spec.containers"), "{refused}");
}
