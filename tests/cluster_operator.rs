//! The custom resource, the controller and the gate in a real cluster, as far as no database is
//! needed to tell.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cluster/alerts.rs"]
mod alerts;
#[path = "lab/cluster.rs"]
mod cluster;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cluster/shop.rs"]
mod shop;

use std::fmt::Write as _;

use cluster::Cluster;
use serde_json::json;
use shop::{MIGRATION, Shop, install_crd, migration};

/// An image that exists on the node, so that only what is tested goes wrong.
fn present() -> String {
    Cluster::get().orders_image("v1")
}

#[test]
fn a_mistaken_migration_is_refused_with_its_place() {
    let cluster = Cluster::get();
    install_crd(cluster);
    let namespace = cluster.namespace("mistakes");
    let secret = json!({"secretKeyRef": {"name": "a", "key": "b"}});
    let mut refusals = String::new();
    for more in [
        json!({"image": "orders:latest"}),
        json!({"image": "orders"}),
        json!({"image": "registry:5000/orders"}),
        json!({"command": {"upgrade": ["x"]}}),
        json!({"alembic": null}),
        json!({"database": {}}),
        json!({"database": {"urlFrom": secret, "user": "me"}}),
        json!({"database": {"host": "h"}}),
        json!({"database": {"urlFrom": secret, "tls": {"caFrom": {}}}}),
        json!({"dryRun": {"budgets": {"blocking": "fast"}}}),
        json!({"dryRun": {"budgets": {"duration": ""}}}),
        json!({"dryRun": {"concurrently": {"substituteBelow": "64MB"}}}),
        json!({"dryRun": {"budgets": {"blocking": "99999999999999999999h"}}}),
        json!({"dryRun": {"concurrently": {"substituteBelow": "99999999999Ti"}}}),
        json!({"upgrade": {"lockTimeout": "-1s"}}),
        json!({"alembic": {"command": []}}),
        json!({"alembic": null, "command": {}}),
        json!({"alembic": null, "command": {"upgrade": "./migrate.sh"}}),
        json!({"database": null}),
        json!({"database": {"urlFrom": {"secretKeyRef": {"name": "", "key": "b"}}}}),
        json!({"database": {"urlFrom": {"secretKeyRef": {"name": "a"}}}}),
        json!({"database": {"urlFrom": secret, "exposeAs": {"url": "DATABASE-URL"}}}),
        json!({"database": {"host": "h", "name": "n", "user": "u", "port": 0, "passwordFrom": secret}}),
        json!({"suspend": "yes"}),
        json!({"approval": "Manual"}),
        json!({"dryRun": {"fixtures": [{"name": "a", "sql": "SELECT 1"}]}}),
        json!({"dryRun": {"assertions": [{"name": "a", "expect": "Value", "sql": "SELECT 1"}]}}),
        json!({"dryRun": {"assertions": [{"name": "a", "expect": "Some", "sql": "SELECT 1"}]}}),
        json!({"dryRun": {"checks": [{"name": "a", "command": ["x"], "at": "During"}]}}),
        json!({"dryRun": {"rerun": "Always"}}),
        json!({"dryRun": {"deny": ["Everything"]}}),
    ] {
        let refusal = namespace
            .try_apply(&migration("orders", "orders:v1", &more))
            .expect_err(&more.to_string());
        writeln!(refusals, "{more}\n{refusal}").unwrap();
    }
    let long = "m".repeat(41);
    let refusal = namespace
        .try_apply(&migration(&long, "orders:v1", &json!({})))
        .unwrap_err();
    writeln!(refusals, "{long}\n{refusal}").unwrap();
    insta::assert_snapshot!(refusals);
    for image in [
        "orders:v1",
        "registry:5000/orders:v1",
        "registry:5000/orders@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        namespace.apply(&migration("orders", image, &json!({})));
    }
    let fresh = namespace.object(MIGRATION, "orders");
    assert!(
        fresh["spec"].get("suspend").is_none(),
        "no default is written into objects"
    );
}

#[test]
fn a_migration_that_cannot_be_read_keeps_no_other_one_waiting() {
    let shop = Shop::open(Cluster::get(), "unreadable", &present());
    shop.namespace
        .apply(&migration("broken", "orders:v1", &json!({})));
    shop.namespace
        .wait_condition(15, MIGRATION, "broken", "Stalled", "True");
    // A time that the API server takes, and nothing else can.
    let released = json!([{"image": "orders:v0", "at": "9999-12-31T23:59:59Z"}]);
    let patch = json!({"status": {"released": released}}).to_string();
    shop.namespace.kubectl(&[
        "patch",
        "migration",
        "broken",
        "--subresource=status",
        "--type=merge",
        "--patch",
        &patch,
    ]);
    shop.migrate("orders:v1", &json!({}));
    shop.says(15, "Stalled", "True", "SecretNotFound");
    let errors = "drydock_reconcile_errors_total{category=\"unreadable\"}";
    shop.namespace.wait(10, "the metrics tell", || {
        shop.metrics().contains(errors).then_some(())
    });
}

#[test]
fn a_missing_secret_and_a_missing_key_are_named_within_15_seconds_and_heal() {
    let shop = Shop::open(Cluster::get(), "secret", &present());
    shop.migrate("orders:v1", &json!({}));
    let message = shop.says(15, "Stalled", "True", "SecretNotFound");
    assert!(
        message.contains("secret \"orders-db\" not found"),
        "{message}"
    );
    shop.namespace.secret("orders-db", &[("uri", "x")]);
    shop.namespace.wait(30, "the message names the key", || {
        let message = shop.says(30, "Stalled", "True", "SecretNotFound");
        message.contains("couldn't find key url").then_some(())
    });
    let (code, text) = shop.drydock(&["wait", "orders", "--timeout", "20s"]);
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("SecretNotFound"), "{text}");
}

#[test]
fn a_quota_without_room_is_named_within_15_seconds() {
    let shop = Shop::open(Cluster::get(), "quota", &present());
    shop.namespace.apply(
        &json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}},
        })
        .to_string(),
    );
    shop.migrate("orders:v1", &json!({}));
    let message = shop.says(15, "Stalled", "True", "QuotaExceeded");
    assert!(message.contains("exceeded quota: none"), "{message}");
}

#[test]
fn a_pod_that_pod_security_forbids_is_named_within_15_seconds() {
    let shop = Shop::open(Cluster::get(), "forbidden", &present());
    let namespace = shop.namespace.name.clone();
    shop.namespace.kubectl(&[
        "label",
        "namespace",
        &namespace,
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    shop.migrate("orders:v1", &json!({}));
    let message = shop.says(15, "Stalled", "True", "PodForbidden");
    // Only the user's own container is at fault: ours satisfy the standard.
    assert!(message.contains("runAsNonRoot != true"), "{message}");
    assert!(message.contains("container \"migration\""), "{message}");
    let user = json!({"template": {"securityContext": {"runAsNonRoot": true, "runAsUser": 10001}}});
    shop.migrate("orders:v1", &user);
    shop.says(15, "Stalled", "True", "SecretNotFound");
}

#[test]
fn what_runs_is_adopted_and_only_released_images_pass_the_gate() {
    let shop = Shop::open(Cluster::get(), "gate", &present());
    let image = present();
    shop.running_pod("old", &image);
    shop.migrate(&image, &json!({}));
    shop.says(15, "Ready", "True", "AlreadyReleased");
    assert_eq!(shop.jobs(), [""; 0]);
    shop.gated_pod("more", &image);
    shop.namespace
        .wait_condition(30, "v1/Pod", "more", "Ready", "True");

    // Another tag of the same repository waits for its own migration.
    let repository = image.rsplit_once(':').unwrap().0;
    let next = format!("{repository}:v2");
    shop.migrate(&next, &json!({}));
    shop.gated_pod("new", &next);
    shop.says(15, "Stalled", "True", "SecretNotFound");
    assert!(shop.waits("new"));
    shop.namespace.kubectl(&[
        "annotate",
        "migration",
        "orders",
        &format!("drydock.dev/release={next}"),
    ]);
    shop.says(15, "Ready", "True", "ReleasedByHand");
    shop.namespace
        .wait(15, "the gate opens", || (!shop.waits("new")).then_some(()));
    shop.namespace.wait(30, "its dry run is ended", || {
        shop.jobs().is_empty().then_some(())
    });
}

#[test]
fn a_dry_run_that_is_taken_away_before_it_began_says_so_and_fires_the_alert() {
    let shop = Shop::open(Cluster::get(), "alert", &present());
    shop.migrate("orders:v1", &json!({}));
    shop.says(15, "Stalled", "True", "SecretNotFound");
    shop.namespace.kubectl(&["delete", "jobs", "--all"]);
    let message = shop.says(15, "DryRunPassed", "False", "Environment");
    assert!(
        message.contains("the command was not started: its Job is gone"),
        "{message}"
    );
    let metrics = shop.namespace.wait(10, "the metrics follow", || {
        let metrics = shop.metrics();
        metrics
            .contains("reason=\"Environment\",status=\"False\",type=\"DryRunPassed\"")
            .then_some(metrics)
    });
    alerts::dry_run_alert_fires(&metrics, &shop.namespace.name, "Environment");
}

#[test]
fn wait_says_why_there_is_nothing_to_wait_for_and_never_takes_from_helm() {
    let shop = Shop::open(Cluster::get(), "wait", &present());
    let (code, text) = shop.drydock(&["wait", "orders"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("there is no Migration orders"), "{text}");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), migration("orders", "orders:v1", &json!({}))).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, text) = shop.drydock(&["wait", "--apply", path, "--timeout", "25s"]);
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("SecretNotFound"), "{text}");
    let managers = shop.orders()["metadata"]["managedFields"].to_string();
    assert!(managers.contains("drydock-wait"), "{managers}");

    // Applying once more is a retry.
    let (code, _) = shop.drydock(&["wait", "--apply", path, "--timeout", "25s"]);
    assert_eq!(code, 6);
    assert!(
        shop.jobs().iter().any(|job| job.ends_with("-2")),
        "{:?}",
        shop.jobs()
    );

    shop.namespace.kubectl(&[
        "label",
        "migration",
        "orders",
        "app.kubernetes.io/managed-by=Helm",
    ]);
    let (code, text) = shop.drydock(&["wait", "--apply", path]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("belongs to a Helm release"), "{text}");
}

#[test]
fn wait_ends_when_its_time_is_over() {
    let mut shop = Shop::open(Cluster::get(), "late", &present());
    shop.stop_controller();
    shop.migrate("orders:v1", &json!({}));
    let (code, text) = shop.drydock(&["wait", "orders", "--timeout", "1s"]);
    assert_eq!(code, 10, "{text}");
    assert!(text.contains("has not looked at"), "{text}");
}

#[test]
fn the_metrics_of_a_migration_go_when_it_goes() {
    let shop = Shop::open(Cluster::get(), "forgotten", &present());
    shop.migrate("orders:v1", &json!({}));
    shop.says(15, "Stalled", "True", "SecretNotFound");
    let of = "migration=\"orders\"";
    shop.namespace.wait(10, "its metrics", || {
        shop.metrics().contains(of).then_some(())
    });
    shop.namespace.kubectl(&["delete", "migration", "orders"]);
    shop.namespace.wait(10, "its metrics go", || {
        (!shop.metrics().contains(of)).then_some(())
    });
}

#[test]
fn the_rules_for_prometheus_pass_their_own_tests() {
    Cluster::get();
    alerts::shipped_tests_pass();
}

#[test]
fn the_chart_gives_the_controller_no_access_to_secrets() {
    let cluster = Cluster::get();
    let chart = format!("{}/charts/drydock", env!("CARGO_MANIFEST_DIR"));
    for namespaced in ["true", "false"] {
        let rendered = cluster.helm(&[
            "template",
            "drydock",
            &chart,
            "--kube-version=1.33.0",
            "--set",
            &format!("namespaced={namespaced}"),
        ]);
        let rules: Vec<&str> = rendered
            .split("\n---")
            .filter(|document| document.contains("\nrules:"))
            .collect();
        assert_eq!(rules.len(), 1);
        assert!(rules[0].contains("resources: [jobs]"));
        for line in rules[0]
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
        {
            assert!(!line.contains("secrets") && !line.contains('*'), "{line}");
        }
    }
}
