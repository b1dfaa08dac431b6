use rstest::rstest;

use super::super::decide;
use super::super::model::{Cluster, Going, IN_DRY_RUN, IN_UPGRADE, V1, V2};
use super::*;
use crate::api::Released;
use crate::verdict::{Environment, UpgradeFailure, Verdict};

/// Each entry as `v1 1 Upgrade Upgraded`.
fn told(cluster: &Cluster) -> Vec<String> {
    let history = cluster.status().history;
    history
        .iter()
        .map(|past| {
            let (_, tag) = past.image.rsplit_once(':').unwrap();
            format!("{tag} {} {:?} {}", past.attempt, past.phase, past.reason)
        })
        .collect()
}

#[test]
fn a_release_is_told_with_its_digests_times_and_the_commands_durations() {
    let mut cluster = Cluster::new();
    let began = cluster.now;
    cluster.run();
    assert_eq!(told(&cluster), ["v1 1 Upgrade Upgraded"]);
    let status = cluster.status();
    let (past, run) = (&status.history[0], status.run.as_ref().unwrap());
    assert_eq!(past.input_digest, run.input_digest);
    assert!(past.evidence.is_some());
    assert_eq!(past.evidence, run.evidence);
    assert_eq!(past.started, began);
    assert_eq!(past.finished, run.outcome(RunPhase::Upgrade).unwrap().at);
    assert_eq!(
        past.dry_run_millis.map(u128::from),
        Some(IN_DRY_RUN.as_millis())
    );
    assert_eq!(
        past.upgrade_millis.map(u128::from),
        Some(IN_UPGRADE.as_millis())
    );
}

#[rstest]
#[case(Going::Says(Verdict::Failed), Going::NothingToDo, &["v1 1 DryRun Failed"])]
#[case(Going::NothingToDo, Going::NothingToDo, &["v1 1 DryRun Passed"])]
#[case(Going::Mute, Going::NothingToDo, &["v1 1 DryRun EvidenceLost"])]
#[case(Going::Vanishes, Going::NothingToDo, &["v1 1 DryRun DryRunLost"])]
#[case(
    Going::Says(Verdict::Passed),
    Going::Says(Verdict::UpgradeFailed(UpgradeFailure::Partial)),
    &["v1 1 Upgrade UpgradePartial"]
)]
#[case(Going::Says(Verdict::Passed), Going::Vanishes, &["v1 1 Upgrade UpgradeUnknown"])]
// The database changed, and it was rehearsed again by itself.
#[case(
    Going::Says(Verdict::Passed),
    Going::Refuses(Verdict::Drift),
    &["v1 2 Upgrade Upgraded", "v1 1 Upgrade Drift"]
)]
fn an_attempt_is_told_as_it_ended(
    #[case] dry_run: Going,
    #[case] upgrade: Going,
    #[case] expected: &[&str],
) {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(dry_run);
    cluster.upgrades.push_back(upgrade);
    cluster.run();
    assert_eq!(told(&cluster), expected);
    // Nor does looking again add anything.
    cluster.sleep(60);
    cluster.run();
    assert_eq!(told(&cluster), expected);
}

#[test]
fn history_is_kept_across_images_and_says_what_became_of_each() {
    let mut cluster = Cluster::new();
    cluster.run();
    cluster.edit_image(V2);
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.run();
    cluster.edit_image(V1);
    cluster.run();
    assert_eq!(
        told(&cluster),
        ["v2 1 DryRun Failed", "v1 1 Upgrade Upgraded"]
    );
    assert_eq!(cluster.status().run, None);
}

#[test]
fn an_upgrade_that_is_tried_again_does_not_tell_its_dry_run_twice() {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Vanishes);
    cluster.run();
    cluster.at_large.clear();
    cluster.retry();
    cluster.settle();
    assert_eq!(told(&cluster), ["v1 1 Upgrade UpgradeUnknown"]);
    cluster.run();
    assert_eq!(
        told(&cluster),
        ["v1 2 Upgrade Upgraded", "v1 1 Upgrade UpgradeUnknown"]
    );
    let history = cluster.status().history;
    assert_eq!(history[0].evidence, history[1].evidence);
    assert!(history[0].dry_run_millis.is_some());
}

#[test]
fn a_dry_run_that_was_superseded_before_it_ended_is_not_told() {
    let mut cluster = Cluster::new();
    cluster.settle();
    cluster.kubelet();
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(told(&cluster), ["v2 1 Upgrade Upgraded"]);
}

#[test]
fn a_passed_dry_run_that_was_superseded_before_its_upgrade_is_told() {
    let mut cluster = Cluster::new();
    cluster.settle();
    cluster.kubelet();
    cluster.suspend(true);
    cluster.run();
    assert_eq!(told(&cluster), ["v1 1 DryRun Passed"]);
    cluster.edit_image(V2);
    cluster.suspend(false);
    cluster.run();
    assert_eq!(
        told(&cluster),
        ["v2 1 Upgrade Upgraded", "v1 1 DryRun Passed"]
    );
}

#[test]
fn waiting_for_another_run_is_told_once() {
    let busy = || Going::Refuses(Verdict::Environment(Environment::Busy));
    let mut cluster = Cluster::new();
    cluster.dry_runs.extend([busy(), busy(), busy()]);
    for _ in 0..20 {
        cluster.run();
        cluster.sleep(10);
    }
    assert_eq!(
        told(&cluster),
        ["v1 4 Upgrade Upgraded", "v1 3 DryRun Environment"]
    );
}

#[test]
fn a_figure_that_was_told_stays_when_the_report_is_gone() {
    let mut cluster = Cluster::new();
    cluster.run();
    let before = cluster.status().history;
    cluster.reports.clear();
    cluster.run();
    assert_eq!(cluster.status().history, before);
}

#[test]
fn an_attempt_in_the_history_is_never_numbered_again() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.run();
    cluster.jobs.clear();
    cluster.reports.clear();
    for version in 10..40 {
        cluster.edit_image(&format!("registry.example/orders:v{version}"));
        cluster.reconcile(usize::MAX);
    }
    cluster.edit_image(V1);
    cluster.run();
    assert_eq!(
        told(&cluster),
        ["v1 2 Upgrade Upgraded", "v1 1 DryRun Failed"]
    );
}

#[test]
fn the_latest_ten_attempts_are_kept() {
    let mut cluster = Cluster::new();
    for version in 1..=15 {
        cluster.edit_image(&format!("registry.example/orders:v{version}"));
        cluster.run();
    }
    let told = told(&cluster);
    assert_eq!(told.len(), 10);
    assert_eq!(told[0], "v15 1 Upgrade Upgraded");
    assert_eq!(told[9], "v6 1 Upgrade Upgraded");
}

#[test]
fn the_past_gives_way_where_a_status_would_become_too_large() {
    let mut cluster = Cluster::new();
    for version in 1..=12 {
        cluster.edit_image(&format!("registry.example/orders:v{version}"));
        cluster.run();
    }
    // Pods of many images, with long names.
    let entry = cluster.status().released[0].clone();
    for number in 0..200 {
        if cluster.status().history.len() < 5 {
            break;
        }
        let image = format!("registry.example/{}:{number}", "o".repeat(400));
        let status = cluster.migration.status.as_mut().unwrap();
        status.released.push(Released {
            image: image.clone(),
            ..entry.clone()
        });
        cluster.running_pod(&format!("pod-{number}"), &image);
        cluster.settle();
    }
    let status = cluster.status();
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size <= STATUS_LIMIT, "{size}");
    assert_eq!(status.history.len(), 4);
    assert_eq!(told(&cluster)[0], "v12 1 Upgrade Upgraded");
    assert_eq!(decide(&cluster.world()).status, status);
}
