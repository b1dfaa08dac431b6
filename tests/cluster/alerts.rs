//! The alerts that are shipped, on the metrics that the controller exposes.

// A file of two test programs.
#![allow(unreachable_pub)]

use std::path::Path;
use std::process::Command;

use serde_json::json;

/// Gives the metrics, as they were exposed, to promtool with the shipped rules: the alert that a dry
/// run did not pass must fire for `orders`, with that reason.
///
/// # Panics
/// When it does not.
pub fn dry_run_alert_fires(metrics: &str, namespace: &str, reason: &str) {
    let series: Vec<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, value)| json!({"series": series, "values": format!("{value}x5")}))
        .collect();
    let root = env!("CARGO_MANIFEST_DIR");
    let test = json!({
        "rule_files": [format!("{root}/deploy/prometheus-rules.yaml")],
        "tests": [{
            "interval": "1m",
            "input_series": series,
            "alert_rule_test": [{
                "eval_time": "2m", "alertname": "DrydockDryRunFailed",
                "exp_alerts": [{
                    "exp_labels": {
                        "severity": "warning", "namespace": namespace,
                        "migration": "orders", "reason": reason,
                    },
                    "exp_annotations": {
                        "summary": format!("The dry run of {namespace}/orders did not pass: {reason}"),
                        "description": format!("Its new pods wait and the old ones go on. drydock report orders --namespace {namespace}"),
                    },
                }],
            }],
        }],
    });
    let file = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    std::fs::write(file.path(), test.to_string()).expect("a file");
    promtool(file.path());
}

/// The tests that are shipped with the rules.
///
/// # Panics
/// When one fails.
#[allow(dead_code)] // in one of the two programs
pub fn shipped_tests_pass() {
    let root = env!("CARGO_MANIFEST_DIR");
    promtool(Path::new(&format!(
        "{root}/deploy/prometheus-rules.test.yaml"
    )));
}

fn promtool(tests: &Path) {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lab"))
        .args(["promtool", "test", "rules"])
        .arg(tests)
        .output()
        .expect("promtool");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
