//! A node that is lost to the cluster, and goes on working.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/cluster.rs"]
mod cluster;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cluster/shop.rs"]
mod shop;
#[path = "cluster/trial.rs"]
mod trial;

use cluster::{Cluster, Node};
use trial::{Point, Trial};

/// The kubelet is started again however the test ends: other tests need it.
struct Lost(Node);

impl Lost {
    fn now(node: Node) -> Self {
        node.kill("kubelet");
        Self(node)
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.0.start("kubelet");
    }
}

#[test]
fn an_upgrade_on_a_lost_node_is_unknown_and_never_attempted_beside_itself() {
    let Some(node) = Cluster::get().node() else {
        return;
    };
    let trial = Trial::open("node-lost");
    trial.alembic();
    trial.rehearsed_and_suspended();
    let hold = trial.hold(Point::Within);
    trial.shop.suspend(false);
    trial.arrives(Point::Within);
    let command = trial.running("upgrade", "migration");

    let lost = Lost::now(node);
    trial.shop.namespace.kubectl(&[
        "delete",
        "pod",
        "--selector=drydock.dev/phase=upgrade",
        "--force",
        "--grace-period=0",
        // The Job's finalizer keeps it in the API, being deleted.
        "--wait=false",
    ]);
    let message = trial.stalls("UpgradeUnknown");
    assert!(
        message.contains("whether its command still runs"),
        "{message}"
    );
    trial.stays("UpgradeUnknown");
    assert!(lost.0.runs(&command), "the command has ended");
    assert_eq!(trial.upgrades().len(), 1);

    // It does what it was about to do, and nobody in the cluster can see it.
    drop(hold);
    trial.wait(30, "the upgrade commits", || {
        (trial.charged() == 1).then_some(())
    });
    trial.stays("UpgradeUnknown");
    drop(lost);
    trial.shop.retry();
    trial.is_released();
    assert_eq!(trial.charged(), 1, "it was applied twice");
    assert_eq!(trial.upgrades().len(), 2);
}
