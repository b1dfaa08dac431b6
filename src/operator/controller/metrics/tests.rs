//! The page, before and after.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::operator::controller::fixture::migration;
use crate::operator::pipeline::StoredReport;
use crate::report::Summary;
use crate::verdict::EvidenceDigest;

fn world(status: &MigrationStatus) -> World {
    let mut migration = migration();
    migration.status = Some(status.clone());
    let summary: Summary = serde_json::from_value(json!({
        "run": "r", "attempt": 1, "verdict": "Passed", "digest": "sha256:1", "bytes": 1,
        "message": "",
    }))
    .unwrap();
    let report = |duration, longest_wait: Option<u64>| StoredReport {
        summary: summary.clone(),
        digest: EvidenceDigest::new("sha256:1"),
        bound_to: None,
        figures: Figures {
            duration: Some(Duration::from_secs(duration)),
            command: None,
            longest_wait: longest_wait.map(Duration::from_millis),
        },
    };
    World {
        now: jiff::Timestamp::UNIX_EPOCH,
        migration,
        jobs: Vec::new(),
        reports: BTreeMap::from([
            ("orders-dryrun-01234567-1".to_owned(), report(9, Some(120))),
            ("orders-upgrade-01234567-1".to_owned(), report(30, None)),
        ]),
        kept: Vec::new(),
        unfetched: BTreeMap::new(),
        refused: BTreeMap::new(),
        taken: BTreeMap::new(),
        gone: None,
        app_pods: Vec::new(),
    }
}

/// A run whose Jobs have ended; `dry_run` is the name of the first, `told` what the history says,
/// the latest first.
fn ended(dry_run: &str, told: &[(u32, &str, &str)]) -> MigrationStatus {
    let told: Vec<_> = told
        .iter()
        .map(|(attempt, phase, reason)| {
            json!({
                "image": "i", "inputDigest": "0123456789", "attempt": attempt, "phase": phase,
                "reason": reason, "started": "1970-01-01T00:00:00Z",
                "finished": "1970-01-01T00:00:05Z",
            })
        })
        .collect();
    let outcome = |reason| json!({"reason": reason, "message": "", "at": "1970-01-01T00:00:05Z"});
    serde_json::from_value(json!({"run": {
        "inputDigest": "0123456789", "image": "i", "commands": "c", "attempt": 1,
        "started": "1970-01-01T00:00:00Z",
        "dryRun": {"name": dry_run, "outcome": outcome("Passed")},
        "upgrade": {"name": "orders-upgrade-01234567-1", "outcome": outcome("Upgraded")},
    }, "history": told}))
    .unwrap()
}

/// What the page says, without explanations and buckets.
fn page(metrics: &Metrics) -> Vec<String> {
    let text = metrics.text().unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_run_that_ended_shows_what_it_took() {
    let rehearsed = ended("orders-dryrun-01234567-1", &[(1, "DryRun", "Passed")]);
    let status = ended("orders-dryrun-01234567-1", &[(1, "Upgrade", "Upgraded")]);
    let world = world(&status);
    let metrics = Metrics::new().unwrap();
    metrics.count(&world, &MigrationStatus::default(), &rehearsed);
    metrics.count(&world, &rehearsed, &status);
    metrics.show(&world, &status);
    // It ended once.
    metrics.count(&world, &status, &status);
    let of = "migration=\"orders\",namespace=\"shop\"";
    assert_eq!(
        page(&metrics),
        [
            format!("drydock_dry_run_duration_seconds_sum{{{of}}} 9"),
            format!("drydock_dry_run_duration_seconds_count{{{of}}} 1"),
            format!("drydock_dry_runs_total{{{of},reason=\"Passed\"}} 1"),
            format!("drydock_gated_pods{{{of}}} 0"),
            format!("drydock_last_dry_run_longest_wait_seconds{{{of}}} 0.12"),
            format!("drydock_last_dry_run_timestamp_seconds{{{of}}} 5"),
            format!("drydock_released_images{{{of}}} 0"),
            format!("drydock_upgrade_duration_seconds_sum{{{of}}} 30"),
            format!("drydock_upgrade_duration_seconds_count{{{of}}} 1"),
            format!("drydock_upgrades_total{{{of},reason=\"Upgraded\"}} 1"),
        ]
    );
    metrics.keep_only(|_, _| true);
    assert!(!page(&metrics).is_empty());
    metrics.keep_only(|namespace, name| (namespace, name) != ("shop", "orders"));
    assert_eq!(page(&metrics), [""; 0]);
}

#[test]
fn a_drift_that_is_rehearsed_again_at_once_is_counted() {
    let metrics = Metrics::new().unwrap();
    let before = ended("dry", &[(1, "DryRun", "Passed")]);
    // The next attempt's run has not ended.
    let mut after = ended("dry", &[(1, "Upgrade", "Drift")]);
    after.run = None;
    metrics.count(&world(&after), &before, &after);
    let drifts =
        "drydock_upgrades_total{migration=\"orders\",namespace=\"shop\",reason=\"Drift\"} 1";
    assert!(page(&metrics).contains(&drifts.to_owned()));
}

#[test]
fn a_dry_run_that_nobody_watched_shows_no_wait_of_an_earlier_one() {
    let metrics = Metrics::new().unwrap();
    for dry_run in ["orders-dryrun-01234567-1", "without a report"] {
        let status = ended(dry_run, &[]);
        metrics.show(&world(&status), &status);
    }
    let text = metrics.text().unwrap();
    assert!(!text.contains("longest_wait"), "{text}");
    assert!(text.contains("drydock_last_dry_run_timestamp_seconds{"));
}
