//! Each transition, then what holds in every history.

use jiff::SignedDuration;
use proptest::prelude::*;
use rstest::rstest;

use super::model::{Cluster, Going, V1, V2};
use super::{GonePod, KeptMap, Problem, decide, transitions};
use crate::api::{
    ACCEPT_ANNOTATION, MigrationStatus, Past, PastPhase, Phase, RELEASE_ANNOTATION,
    RETRY_ANNOTATION, RunPhase, condition, job_name, reason,
};
use crate::verdict::{Budget, Environment, NotRehearsed, UpgradeFailure, Verdict};

fn released(cluster: &Cluster) -> Vec<String> {
    let status = cluster.status();
    status.released.iter().map(|r| r.image.clone()).collect()
}

fn job_names(cluster: &Cluster) -> Vec<String> {
    cluster
        .jobs
        .iter()
        .map(|job| {
            let (rest, attempt) = job.name.rsplit_once('-').unwrap();
            let (rest, _) = rest.rsplit_once('-').unwrap();
            format!("{rest} {attempt}")
        })
        .collect()
}

#[test]
fn a_good_release_is_rehearsed_upgraded_and_released() {
    let mut cluster = Cluster::new();
    cluster.gated_pod("new", V1);
    cluster.run();
    assert_eq!(job_names(&cluster), ["orders-dryrun 1", "orders-upgrade 1"]);
    assert_eq!(released(&cluster), [V1]);
    assert_eq!(cluster.reason(), reason::UPGRADED);
    for kind in [
        condition::READY,
        condition::DRY_RUN_PASSED,
        condition::ROLLBACK_VERIFIED,
        condition::UPGRADED,
        condition::GATE_OPEN,
    ] {
        assert!(cluster.is(kind), "{kind}");
    }
    let status = cluster.status();
    assert!(status.condition(condition::RECONCILING).is_none());
    assert!(status.condition(condition::STALLED).is_none());
    assert_eq!(status.phase, Some(Phase::Released));
    assert_eq!(status.observed_generation, 1);
    assert_eq!(status.released[0].digest.as_deref(), Some("sha256:11"));
    assert_eq!(cluster.app_pods[0].gate, None);
    assert!(!cluster.has_finalizer());
}

#[test]
fn the_intent_is_on_record_before_the_job_exists_and_the_finalizer_before_the_upgrade() {
    let mut cluster = Cluster::new();
    cluster.reconcile(1);
    assert!(cluster.jobs.is_empty());
    assert_eq!(cluster.status().run.unwrap().dry_run.unwrap().uid, None);
    cluster.settle();
    cluster.kubelet();
    cluster.kubelet();
    cluster.kubelet();
    // Dies after each single act; the next one begins with the same world.
    let mut finalizer_first = false;
    for _ in 0..40 {
        if cluster.status().run.unwrap().upgrade.is_some() {
            break;
        }
        cluster.reconcile(1);
    }
    for survives in 1..4 {
        cluster.reconcile(survives);
        finalizer_first |= cluster.has_finalizer() && cluster.jobs.len() == 1;
    }
    assert!(finalizer_first);
    assert_eq!(cluster.jobs.len(), 2);
}

#[test]
fn nothing_to_do_releases_without_an_upgrade() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::NothingToDo);
    cluster.run();
    assert_eq!(job_names(&cluster), ["orders-dryrun 1"]);
    assert_eq!(released(&cluster), [V1]);
    assert_eq!(cluster.reason(), reason::NOTHING_TO_DO);
    assert!(cluster.is(condition::UPGRADED));
}

#[rstest]
#[case(Verdict::Failed, reason::FAILED)]
#[case(
    Verdict::NotRehearsed(NotRehearsed::NeverConnected),
    reason::NOT_REHEARSED
)]
#[case(Verdict::RollbackNotVerified, reason::ROLLBACK_NOT_VERIFIED)]
#[case(Verdict::BudgetExceeded(Budget::Blocking), reason::BUDGET_EXCEEDED)]
#[case(
    Verdict::Environment(Environment::AuthenticationFailed),
    reason::ENVIRONMENT
)]
#[case(Verdict::Interrupted, reason::INTERRUPTED)]
fn a_bad_dry_run_keeps_the_gate_shut_and_says_why(#[case] verdict: Verdict, #[case] why: &str) {
    for going in [Going::Says(verdict.clone()), Going::Refuses(verdict)] {
        let mut cluster = Cluster::new();
        cluster.gated_pod("new", V1);
        cluster.dry_runs.push_back(going);
        cluster.run();
        assert_eq!(job_names(&cluster), ["orders-dryrun 1"]);
        assert_eq!(released(&cluster), [""; 0]);
        assert_eq!(cluster.reason(), why);
        assert!(cluster.is(condition::STALLED));
        assert!(!cluster.is(condition::DRY_RUN_PASSED));
        assert_eq!(cluster.app_pods[0].gate, Some(0));
        let status = cluster.status();
        let message = &status.condition(condition::READY).unwrap().message;
        assert!(
            message.ends_with("kubectl --namespace shop annotate --overwrite migration orders drydock.dev/retry=\"$(date +%s)\""),
            "{message}"
        );
    }
}

#[test]
fn a_retry_is_another_attempt_and_counts_once() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.run();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.retry();
    cluster.run();
    assert_eq!(job_names(&cluster), ["orders-dryrun 1", "orders-dryrun 2"]);
    assert_eq!(cluster.reason(), reason::FAILED);
    cluster.sleep(60);
    cluster.run();
    assert_eq!(cluster.jobs.len(), 2);
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn an_attempt_never_has_the_name_of_an_earlier_one_that_left_no_trace() {
    let mut cluster = Cluster::new();
    for image in [V1, V2, V1] {
        cluster
            .upgrades
            .push_back(Going::Says(Verdict::UpgradeDiverged));
        cluster.edit_image(image);
        cluster.run();
        assert_eq!(cluster.reason(), reason::UPGRADE_DIVERGED);
        if image == V2 {
            cluster.jobs.clear();
            cluster.reports.clear();
        }
    }
    assert_eq!(job_names(&cluster), ["orders-dryrun 2", "orders-upgrade 2"]);
}

#[test]
fn attempts_are_counted_for_the_latest_inputs_only() {
    let mut cluster = Cluster::new();
    for version in 0..30 {
        cluster.edit_image(&format!("registry.example/orders:v{version}"));
        cluster.reconcile(usize::MAX);
    }
    let status = cluster.status();
    assert_eq!(status.attempts.len(), 20);
    let latest = status.attempts.last().unwrap();
    assert_eq!(latest.input_digest, status.run.unwrap().input_digest);
}

#[test]
fn a_run_that_ended_as_it_was_superseded_by_a_released_image_is_left_behind() {
    let mut cluster = Cluster::new();
    cluster.run();
    cluster.edit_image(V2);
    while cluster.jobs.len() < 3 {
        cluster.settle();
    }
    for _ in 0..3 {
        cluster.reconcile(1);
        cluster.kubelet();
    }
    cluster.edit_image(V1);
    cluster.run();
    assert_eq!(cluster.reason(), reason::ALREADY_RELEASED);
    assert_eq!(cluster.upgrades_started.len(), 1);
}

#[test]
fn a_retry_that_was_asked_for_while_something_ran_does_not_wait_for_its_end() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.retry();
    cluster.run();
    assert_eq!(cluster.jobs.len(), 1);
    assert!(cluster.is(condition::STALLED));
}

#[test]
fn a_new_image_ends_the_old_dry_run_and_starts_its_own() {
    let mut cluster = Cluster::new();
    cluster.settle();
    cluster.kubelet();
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(released(&cluster), [V2]);
    assert_eq!(job_names(&cluster), ["orders-dryrun 1", "orders-upgrade 1"]);
}

#[test]
fn a_new_image_waits_for_a_running_upgrade() {
    let mut cluster = Cluster::new();
    while cluster.at_large.is_empty() {
        cluster.settle();
        cluster.kubelet();
    }
    cluster.edit_image(V2);
    cluster.settle();
    assert_eq!(cluster.reason(), reason::WAITING_FOR_UPGRADE);
    assert_eq!(cluster.status().observed_generation, 2);
    cluster.run();
    assert_eq!(released(&cluster), [V1, V2]);
}

#[rstest]
fn an_upgrade_that_vanished_is_unknown_until_a_person_says_retry(
    #[values(Going::Vanishes, Going::IsReplaced, Going::Strands)] going: Going,
) {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(going);
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    assert!(cluster.is(condition::STALLED));
    assert!(cluster.has_finalizer());
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    assert_eq!(cluster.upgrades_started.len(), 1);
    let status = cluster.status();
    let message = &status.condition(condition::READY).unwrap().message;
    assert!(message.contains("registry.example/orders:v2 waits until a person has looked"));
    cluster.at_large.clear();
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V2]);
    assert!(!cluster.has_finalizer());
}

#[rstest]
#[case(
    Verdict::UpgradeFailed(UpgradeFailure::NothingApplied),
    reason::UPGRADE_FAILED
)]
#[case(
    Verdict::UpgradeFailed(UpgradeFailure::Partial),
    reason::UPGRADE_PARTIAL
)]
#[case(Verdict::UpgradeDiverged, reason::UPGRADE_DIVERGED)]
// It landed, but the report that would show it went with the pod.
#[case(Verdict::Passed, reason::EVIDENCE_LOST)]
fn an_upgrade_whose_pod_was_deleted_ends_as_its_last_state_said(
    #[case] verdict: Verdict,
    #[case] why: &str,
    #[values(true, false)] job_is_gone_too: bool,
) {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::EndsUnseen(verdict));
    while cluster.gone.is_none() {
        cluster.settle();
        cluster.kubelet();
    }
    if job_is_gone_too {
        cluster.jobs.pop();
    }
    cluster.run();
    assert_eq!(cluster.reason(), why);
    assert!(!cluster.has_finalizer());
    assert_eq!(cluster.upgrades_started.len(), 1);
    assert_eq!(released(&cluster), [""; 0]);
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[rstest]
#[case(Verdict::Interrupted, reason::INTERRUPTED)]
#[case(Verdict::Failed, reason::FAILED)]
// The upgrade needs the evidence, which went with the pod.
#[case(Verdict::Passed, reason::EVIDENCE_LOST)]
fn a_dry_run_whose_pod_was_deleted_ends_as_its_last_state_said(
    #[case] verdict: Verdict,
    #[case] why: &str,
    #[values(true, false)] job_is_gone_too: bool,
) {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::EndsUnseen(verdict));
    while cluster.gone.is_none() {
        cluster.settle();
        cluster.kubelet();
    }
    let began = cluster.now;
    let job = cluster.jobs.last_mut().unwrap();
    // Passed or not: the Job has not seen it end.
    (job.failed, job.complete) = (true, false);
    if job_is_gone_too {
        cluster.jobs.pop();
    }
    cluster.settle();
    assert_eq!(cluster.reason(), why);
    assert_eq!(cluster.now, began, "nothing is waited for");
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn a_dry_run_whose_pod_was_evicted_waits_for_the_pod_in_its_place() {
    let mut cluster = Cluster::new();
    cluster
        .dry_runs
        .push_back(Going::EndsUnseen(Verdict::Interrupted));
    while cluster.gone.is_none() {
        cluster.settle();
        cluster.kubelet();
    }
    // `podFailurePolicy` ignores an eviction: the Job goes on.
    let job = cluster.jobs.last_mut().unwrap();
    (job.failed, job.complete) = (false, false);
    cluster.reconcile(1);
    assert_eq!(cluster.reason(), reason::DRY_RUN_IN_PROGRESS);
}

/// The pod of an upgrade that runs is gone; what a watch saw of it, and whether that was its end.
fn gone_while_it_ran(last: bool) -> Cluster {
    let mut cluster = Cluster::new();
    while cluster.at_large.is_empty() {
        cluster.settle();
        cluster.kubelet();
    }
    let job = cluster.jobs.last_mut().unwrap();
    job.failed = true;
    cluster.gone = job.pod.take().map(|pod| GonePod { pod, last });
    cluster.settle();
    cluster
}

#[test]
fn an_upgrade_whose_pod_was_deleted_while_its_command_ran_is_unknown() {
    let mut cluster = gone_while_it_ran(true);
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    // What is seen of another pod says nothing about it.
    let mut other = gone_while_it_ran(false);
    other.gone.as_mut().unwrap().pod.uid = "another".into();
    for cluster in [&mut cluster, &mut other] {
        cluster.run();
        assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    }
}

#[test]
fn the_last_word_of_a_pod_that_is_gone_is_waited_for() {
    let mut cluster = gone_while_it_ran(false);
    assert_eq!(cluster.reason(), reason::UPGRADE_IN_PROGRESS);
    assert!(decide(&cluster.world()).requeue.is_some());
    cluster.gone.as_mut().unwrap().last = true;
    cluster.settle();
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
}

#[test]
fn an_upgrade_whose_pod_was_deleted_at_its_gate_has_run_nothing() {
    let mut cluster = unrecorded();
    cluster.reconcile(1);
    let job = cluster.jobs.last_mut().unwrap();
    job.failed = true;
    cluster.gone = job.pod.take().map(|pod| GonePod { pod, last: true });
    cluster.run();
    assert_eq!(cluster.reason(), reason::ENVIRONMENT);
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn an_unknown_upgrade_that_a_person_found_applied_is_released_by_hand() {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Vanishes);
    cluster.gated_pod("new", V1);
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    cluster.annotate(RELEASE_ANNOTATION, V1);
    cluster.run();
    assert_eq!(cluster.reason(), reason::RELEASED_BY_HAND);
    assert_eq!(cluster.app_pods[0].gate, None);
    assert_eq!(cluster.upgrades_started.len(), 1);
    assert!(!cluster.has_finalizer());
}

#[test]
fn an_unknown_upgrade_stays_unknown_when_another_image_is_released_by_hand() {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Vanishes);
    cluster.run();
    cluster.edit_image(V2);
    cluster.annotate(RELEASE_ANNOTATION, V2);
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    assert_eq!(released(&cluster), [""; 0]);
}

#[rstest]
#[case(
    Verdict::UpgradeFailed(UpgradeFailure::NothingApplied),
    reason::UPGRADE_FAILED
)]
#[case(
    Verdict::UpgradeFailed(UpgradeFailure::Partial),
    reason::UPGRADE_PARTIAL
)]
#[case(
    Verdict::UpgradeFailed(UpgradeFailure::Unknown),
    reason::UPGRADE_UNKNOWN
)]
#[case(Verdict::UpgradeDiverged, reason::UPGRADE_DIVERGED)]
#[case(Verdict::Environment(Environment::Unreachable), reason::ENVIRONMENT)]
fn a_bad_upgrade_keeps_the_gate_shut_and_is_never_repeated_by_itself(
    #[case] verdict: Verdict,
    #[case] why: &str,
) {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Says(verdict));
    cluster.run();
    cluster.sleep(3600);
    cluster.run();
    assert_eq!(cluster.reason(), why);
    assert_eq!(cluster.upgrades_started.len(), 1);
    assert_eq!(released(&cluster), [""; 0]);
    assert!(cluster.is(condition::STALLED));
    assert!(cluster.is(condition::DRY_RUN_PASSED));
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn drift_is_rehearsed_again_three_times_and_no_more() {
    let mut cluster = Cluster::new();
    cluster
        .upgrades
        .extend(vec![Going::Refuses(Verdict::Drift); 9]);
    cluster.run();
    assert_eq!(cluster.reason(), reason::DRIFT);
    assert!(cluster.is(condition::STALLED));
    assert_eq!(cluster.upgrades_started.len(), 4);
    let mut once = Cluster::new();
    once.upgrades.push_back(Going::Refuses(Verdict::Drift));
    once.run();
    assert_eq!(
        job_names(&once),
        [
            "orders-dryrun 1",
            "orders-upgrade 1",
            "orders-dryrun 2",
            "orders-upgrade 2"
        ]
    );
    assert_eq!(released(&once), [V1]);
}

#[test]
fn a_busy_database_is_tried_again_by_itself_and_an_upgrade_keeps_its_evidence() {
    let busy = || Going::Refuses(Verdict::Environment(Environment::Busy));
    let mut cluster = Cluster::new();
    cluster.dry_runs.extend([busy(), busy()]);
    cluster.upgrades.push_back(busy());
    cluster.settle();
    cluster.kubelet();
    cluster.kubelet();
    cluster.settle();
    assert!(cluster.is(condition::RECONCILING));
    assert_eq!(cluster.reason(), reason::ENVIRONMENT);
    for _ in 0..20 {
        cluster.sleep(10);
        cluster.run();
    }
    assert_eq!(
        job_names(&cluster),
        [
            // Attempts that found the database busy leave nothing.
            "orders-dryrun 3",
            "orders-upgrade 4"
        ]
    );
    assert_eq!(released(&cluster), [V1]);
}

/// The upgrade's Job is there, and its pod was asked to begin.
fn upgrade_that_cannot_begin(going: Going) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(going);
    while cluster.reason() != reason::SECRET_NOT_FOUND {
        cluster.settle();
        cluster.kubelet();
    }
    cluster.sleep(5);
    cluster.settle();
    assert!(cluster.is(condition::STALLED));
    assert_eq!(cluster.upgrades_started.len(), 1);
    cluster
}

#[test]
fn an_upgrade_that_cannot_begin_gives_way_to_a_retry_to_another_image_and_to_the_migrations_end() {
    let mut cluster = upgrade_that_cannot_begin(Going::CannotStart);
    cluster.retry();
    cluster.run();
    assert_eq!(cluster.upgrades_started.len(), 2);
    assert_eq!(cluster.reason(), reason::UPGRADED);
    assert_eq!(released(&cluster), [V1]);

    let mut cluster = upgrade_that_cannot_begin(Going::CannotStart);
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(released(&cluster), [V2]);

    let mut cluster = upgrade_that_cannot_begin(Going::CannotStart);
    cluster.delete();
    cluster.settle();
    assert!(cluster.has_finalizer());
    cluster.kubelet();
    cluster.settle();
    assert!(!cluster.has_finalizer());
}

#[test]
fn an_upgrade_that_begins_as_it_is_taken_back_is_unknown_and_is_not_retried_unseen() {
    let mut cluster = upgrade_that_cannot_begin(Going::BeginsLate);
    cluster.retry();
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(cluster.upgrades_started.len(), 1);
    assert!(cluster.has_finalizer());
}

#[test]
fn an_upgrade_that_runs_or_was_taken_away_by_force_is_never_taken_back() {
    let mut cluster = upgrade_that_cannot_begin(Going::CannotStart);
    cluster.edit_image(V2);
    cluster.settle();
    // Its node does not answer, and somebody removes the pod: it may have begun behind that.
    let job = cluster.jobs.last_mut().unwrap();
    let pod = job.pod.take().unwrap();
    for (finished, disrupted) in [(false, false), (true, true)] {
        let pod = super::RunPod {
            finished,
            disrupted,
            ..pod.clone()
        };
        cluster.gone = Some(GonePod { pod, last: true });
        let status = decide(&cluster.world()).status;
        let run = status.run.unwrap();
        let outcome = run.outcome(RunPhase::Upgrade).unwrap();
        assert_eq!(outcome.reason, reason::UPGRADE_UNKNOWN);
    }
}

#[rstest]
#[case(Environment::CommandNotStarted)]
#[case(Environment::Busy)]
fn an_upgrade_whose_command_was_never_begun_ends_with_its_witness(#[case] cause: Environment) {
    let mut cluster = Cluster::new();
    let verdict = Verdict::Environment(cause);
    cluster.upgrades.push_back(Going::IsNotBegun(verdict));
    while !cluster
        .status()
        .history
        .iter()
        .any(|past| past.phase == PastPhase::Upgrade && past.reason == reason::ENVIRONMENT)
    {
        cluster.settle();
        cluster.kubelet();
    }
    cluster.settle();
    assert_eq!(
        job_names(&cluster),
        ["orders-dryrun 1"],
        "the pod would wait for ever"
    );
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn a_report_is_asked_for_again_after_longer_and_longer_pauses() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Mute);
    let start = cluster.now;
    let mut asked = Vec::new();
    while cluster.reason() != reason::EVIDENCE_LOST {
        let effects = decide(&cluster.world()).effects;
        if effects
            .iter()
            .any(|effect| matches!(effect, super::Effect::StoreReport { .. }))
        {
            asked.push(cluster.now.duration_since(start).as_millis());
        }
        cluster.settle();
        cluster.kubelet();
        cluster.now += SignedDuration::from_millis(10);
    }
    let pauses: Vec<i128> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800]);
}

#[test]
fn a_pod_without_a_node_is_no_standstill_before_an_autoscaler_had_its_time() {
    let mut cluster = Cluster::new();
    cluster.settle();
    cluster.kubelet();
    let pod = cluster.jobs[0].pod.as_mut().unwrap();
    pod.unschedulable = Some("0/3 nodes are available: insufficient cpu".into());
    cluster.sleep(60);
    cluster.settle();
    assert_eq!(cluster.reason(), reason::UNSCHEDULABLE);
    assert!(!cluster.is(condition::STALLED));
    cluster.sleep(240);
    cluster.settle();
    assert!(cluster.is(condition::STALLED));
}

#[test]
fn a_job_without_a_pod_is_what_there_is_to_look_at() {
    let mut cluster = Cluster::new();
    cluster.settle();
    let event = "Error creating: pods \"o\" is forbidden: exceeded quota: small";
    cluster.jobs[0].event = Some(Problem::of_failed_create(event));
    cluster.settle();
    let status = cluster.status();
    let message = &status.condition(condition::READY).unwrap().message;
    let command = format!("describe job {}", cluster.jobs[0].name);
    assert!(message.ends_with(&command), "{message}");
}

#[test]
fn the_gate_of_a_released_image_is_open_whatever_became_of_another_ones_upgrade() {
    let mut cluster = Cluster::new();
    cluster.run();
    cluster.edit_image(V2);
    cluster.upgrades.push_back(Going::Vanishes);
    while cluster.at_large.is_empty() {
        cluster.settle();
        cluster.kubelet();
    }
    cluster.edit_image(V1);
    cluster.settle();
    for why in [reason::WAITING_FOR_UPGRADE, reason::UPGRADE_UNKNOWN] {
        assert_eq!(cluster.reason(), why);
        assert!(cluster.is(condition::GATE_OPEN));
        assert!(!cluster.is(condition::READY));
        cluster.run();
    }
}

#[test]
fn a_retry_of_any_length_counts_once_and_leaves_the_status_small() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.run();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.annotate(RETRY_ANNOTATION, &"x".repeat(200_000));
    cluster.run();
    assert_eq!(cluster.jobs.len(), 2);
    let status = serde_json::to_string(&cluster.status()).unwrap();
    assert!(status.len() < 32 * 1024, "{}", status.len());
}

fn diverged() -> (Cluster, String) {
    let mut cluster = Cluster::new();
    cluster.gated_pod("new", V1);
    let diverges = Going::Says(Verdict::UpgradeDiverged);
    cluster.upgrades.push_back(diverges);
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_DIVERGED);
    let status = cluster.status();
    let landed = status.run.unwrap().landed.unwrap();
    (cluster, landed)
}

#[test]
fn a_state_that_a_person_accepts_releases_its_image_and_no_other_state_does() {
    let (mut cluster, landed) = diverged();
    let status = cluster.status();
    let message = &status.condition(condition::READY).unwrap().message;
    let command = format!("drydock.dev/accept={landed}");
    assert!(message.ends_with(&command), "{message}");
    cluster.annotate(ACCEPT_ANNOTATION, "sha256:another");
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_DIVERGED);
    cluster.annotate(ACCEPT_ANNOTATION, &landed);
    cluster.run();
    assert_eq!(cluster.reason(), reason::ACCEPTED);
    assert_eq!(cluster.app_pods[0].gate, None);
    assert_eq!(cluster.status().unaccepted, None);
    assert_eq!(decide(&cluster.world()).effects, vec![]);
    // A later image for which nothing is pending begins with an accepted state.
    cluster.dry_runs.push_back(Going::NothingToDo);
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(cluster.reason(), reason::NOTHING_TO_DO);
}

#[test]
fn an_accepted_state_counts_only_where_the_database_still_is() {
    for moved in [false, true] {
        let (mut cluster, landed) = diverged();
        cluster.state += u32::from(moved);
        cluster.dry_runs.push_back(Going::NothingToDo);
        cluster.edit_image(V2);
        cluster.annotate(ACCEPT_ANNOTATION, &landed);
        cluster.run();
        let expected = if moved {
            reason::UPGRADE_DIVERGED
        } else {
            reason::NOTHING_TO_DO
        };
        assert_eq!(cluster.reason(), expected);
    }
}

#[test]
fn a_pod_that_cannot_start_is_named_at_once_a_standstill_soon_and_goes_on_when_mended() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::CannotStart);
    cluster.settle();
    cluster.kubelet();
    cluster.kubelet();
    cluster.settle();
    assert_eq!(cluster.reason(), reason::SECRET_NOT_FOUND);
    assert!(cluster.is(condition::RECONCILING));
    let wake = decide(&cluster.world()).requeue.unwrap();
    assert!(wake <= std::time::Duration::from_secs(5));
    cluster.sleep(5);
    cluster.settle();
    assert!(cluster.is(condition::STALLED));
    // A person asks for a new pod: the old one goes.
    cluster.retry();
    cluster.run();
    assert_eq!(job_names(&cluster), ["orders-dryrun 2", "orders-upgrade 2"]);
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn a_job_that_the_api_server_refuses_is_said_and_tried_again() {
    let mut cluster = Cluster::new();
    cluster.refuse_jobs = Some(Problem {
        reason: reason::JOB_REFUSED,
        message: "exceeded quota: jobs".into(),
    });
    cluster.settle();
    assert_eq!(cluster.reason(), reason::JOB_REFUSED);
    assert!(decide(&cluster.world()).requeue.is_some());
    cluster.refuse_jobs = None;
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

fn taken(what: &str) -> Option<Problem> {
    Some(Problem {
        reason: reason::NAME_TAKEN,
        message: format!("{what} exists already and is not this Migration's"),
    })
}

/// The events that the controller tells while it looks again and again.
fn told(cluster: &mut Cluster, times: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..times {
        let before = cluster.status();
        cluster.reconcile(usize::MAX);
        let news = transitions(&before, &cluster.status());
        told.extend(news.into_iter().map(|news| news.reason));
    }
    told
}

#[test]
fn a_job_of_somebody_else_in_the_way_is_said_once_and_waited_for() {
    let mut cluster = Cluster::new();
    cluster.refuse_jobs = taken("the Job orders-dryrun-1");
    let news = told(&mut cluster, 5);
    assert_eq!(news, [reason::DRY_RUN_IN_PROGRESS, reason::NAME_TAKEN]);
    assert_eq!(cluster.reason(), reason::NAME_TAKEN);
    assert!(cluster.is(condition::STALLED));
    let decision = decide(&cluster.world());
    assert_eq!(decision.requeue, Some(std::time::Duration::from_secs(10)));
    cluster.refuse_jobs = None;
    cluster.run();
    assert_eq!(job_names(&cluster), ["orders-dryrun 1", "orders-upgrade 1"]);
    assert_eq!(released(&cluster), [V1]);
}

#[rstest]
fn a_config_map_of_somebody_else_in_the_way_of_a_report_loses_nothing(
    #[values(RunPhase::DryRun, RunPhase::Upgrade)] phase: RunPhase,
) {
    let mut cluster = Cluster::new();
    while !cluster.jobs.iter().any(|job| job.phase == Some(phase)) {
        cluster.kubelet();
        cluster.settle();
    }
    cluster.refuse_reports = taken("the ConfigMap orders-1");
    for _ in 0..20 {
        cluster.kubelet();
        cluster.settle();
        cluster.sleep(10);
    }
    assert_eq!(cluster.reason(), reason::NAME_TAKEN);
    assert!(cluster.is(condition::STALLED));
    assert_eq!(told(&mut cluster, 3), [""; 0]);
    let decision = decide(&cluster.world());
    assert_eq!(decision.requeue, Some(std::time::Duration::from_secs(10)));
    assert_eq!(released(&cluster), [""; 0]);
    cluster.refuse_reports = None;
    cluster.run();
    assert_eq!(job_names(&cluster), ["orders-dryrun 1", "orders-upgrade 1"]);
    assert_eq!(cluster.reason(), reason::UPGRADED);
}

#[test]
fn config_maps_of_somebody_else_are_never_deleted() {
    let mut cluster = Cluster::new();
    cluster.others_maps = (0..20)
        .map(|n| KeptMap {
            name: format!("settings-{n}"),
            created: cluster.now,
            owned: false,
        })
        .collect();
    cluster.run();
    assert_eq!(decide(&cluster.world()).effects, vec![]);
}

#[test]
fn a_report_that_cannot_be_fetched_is_never_a_pass() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Mute);
    cluster.run();
    assert_eq!(cluster.reason(), reason::EVIDENCE_LOST);
    assert!(cluster.upgrades_started.is_empty());

    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Mute);
    cluster.run();
    assert_eq!(cluster.reason(), reason::EVIDENCE_LOST);
    assert_eq!(released(&cluster), [""; 0]);
}

#[test]
fn evidence_that_vanished_before_the_upgrade_starts_none() {
    let mut cluster = Cluster::new();
    cluster.suspend(false);
    cluster.settle();
    cluster.kubelet();
    cluster.kubelet();
    cluster.settle();
    cluster.suspend(true);
    cluster.kubelet();
    cluster.settle();
    cluster.reports.clear();
    cluster.suspend(false);
    cluster.run();
    assert_eq!(cluster.reason(), reason::EVIDENCE_LOST);
    assert!(cluster.upgrades_started.is_empty());
}

#[test]
fn a_job_that_is_missing_is_never_created_anew() {
    for phase in [RunPhase::DryRun, RunPhase::Upgrade] {
        let mut cluster = Cluster::new();
        while !cluster.jobs.iter().any(|job| job.phase == Some(phase)) {
            cluster.kubelet();
            cluster.settle();
        }
        cluster.settle();
        cluster.kubelet();
        cluster.settle();
        cluster.jobs.retain(|job| job.phase != Some(phase));
        let created = cluster.upgrades_started.len();
        cluster.run();
        let expected = match phase {
            RunPhase::DryRun => reason::DRY_RUN_LOST,
            RunPhase::Upgrade => reason::UPGRADE_UNKNOWN,
        };
        assert_eq!(cluster.reason(), expected);
        assert_eq!(cluster.upgrades_started.len(), created);
    }
}

/// The upgrade's Job exists, and the controller has died before it wrote down which one it is.
fn unrecorded() -> Cluster {
    let mut cluster = Cluster::new();
    while !cluster
        .jobs
        .iter()
        .any(|job| job.phase == Some(RunPhase::Upgrade))
    {
        if !cluster.reconcile(3) {
            cluster.kubelet();
        }
    }
    cluster.kubelet();
    let upgrade = cluster.status().run.unwrap().upgrade.unwrap();
    assert_eq!(upgrade.uid, None);
    cluster
}

#[test]
fn an_upgrade_runs_nothing_before_its_job_is_on_record() {
    let mut cluster = unrecorded();
    for _ in 0..5 {
        cluster.kubelet();
    }
    assert_eq!(cluster.at_large, [""; 0]);
    // The status, and then no more.
    cluster.reconcile(1);
    assert_eq!(cluster.upgrades_started, [""; 0]);
    cluster.run();
    assert_eq!(cluster.upgrades_started.len(), 1);
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn a_job_that_vanished_before_it_was_on_record_is_created_again_and_started_once() {
    let mut cluster = unrecorded();
    cluster.jobs.pop();
    cluster.run();
    assert_eq!(job_names(&cluster), ["orders-dryrun 1", "orders-upgrade 1"]);
    assert_eq!(cluster.upgrades_started.len(), 1);
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn an_upgrade_that_was_superseded_before_it_started_is_ended() {
    let mut cluster = unrecorded();
    cluster.edit_image(V2);
    cluster.settle();
    assert!(
        !cluster
            .jobs
            .iter()
            .any(|job| job.phase == Some(RunPhase::Upgrade))
    );
    cluster.run();
    assert_eq!(cluster.upgrades_started.len(), 1);
    assert_eq!(released(&cluster), [V2]);
}

#[test]
fn an_upgrade_that_may_have_landed_is_attempted_again_on_the_same_evidence() {
    for going in [
        Going::Vanishes,
        Going::Mute,
        Going::Says(Verdict::UpgradeFailed(UpgradeFailure::AllApplied)),
    ] {
        let mut cluster = Cluster::new();
        cluster.upgrades.push_back(going);
        cluster.run();
        assert!(cluster.is(condition::STALLED));
        cluster.at_large.clear();
        cluster.retry();
        cluster.run();
        assert_eq!(
            job_names(&cluster),
            ["orders-dryrun 1", "orders-upgrade 1", "orders-upgrade 2"]
        );
        assert_eq!(released(&cluster), [V1]);
    }
}

#[test]
fn an_upgrade_whose_evidence_is_gone_is_rehearsed_before_it_is_attempted_again() {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Vanishes);
    cluster.run();
    cluster.at_large.clear();
    cluster.reports.clear();
    cluster.retry();
    cluster.run();
    assert_eq!(
        job_names(&cluster)[2..],
        ["orders-dryrun 2", "orders-upgrade 2"]
    );
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn an_upgrade_that_was_killed_before_its_command_is_known_not_to_have_begun() {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Dies);
    cluster.run();
    assert_eq!(cluster.reason(), reason::ENVIRONMENT);
    cluster.retry();
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn an_image_that_was_released_before_comes_back_without_a_run() {
    let mut cluster = Cluster::new();
    cluster.run();
    cluster.edit_image(V2);
    cluster.run();
    let jobs = cluster.jobs.len();
    cluster.edit_image(V1);
    cluster.gated_pod("back", V1);
    cluster.run();
    assert_eq!(cluster.jobs.len(), jobs);
    assert_eq!(cluster.reason(), reason::ALREADY_RELEASED);
    assert!(cluster.is(condition::READY));
    assert_eq!(cluster.app_pods[0].gate, None);
    // With other commands it is another matter.
    cluster.migration.spec.alembic.as_mut().unwrap().target = Some("base".into());
    cluster.run();
    assert_eq!(cluster.jobs.len(), jobs + 2);
}

#[test]
fn the_first_look_adopts_what_runs_and_no_later_look_does() {
    let mut cluster = Cluster::new();
    cluster.running_pod("old", V1);
    cluster.run();
    assert_eq!(cluster.reason(), reason::ALREADY_RELEASED);
    assert!(cluster.jobs.is_empty());

    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.settle();
    cluster.running_pod("late", V1);
    cluster.run();
    assert_eq!(released(&cluster), [""; 0]);
}

#[test]
fn a_pod_that_waits_is_not_adopted() {
    let mut cluster = Cluster::new();
    cluster.gated_pod("new", V1);
    cluster.settle();
    assert_eq!(released(&cluster), [""; 0]);
    assert_eq!(cluster.jobs.len(), 1);
}

#[rstest]
#[case(Verdict::UpgradeDiverged, reason::UPGRADE_DIVERGED)]
#[case(
    Verdict::UpgradeFailed(UpgradeFailure::Partial),
    reason::UPGRADE_PARTIAL
)]
fn nothing_pending_never_releases_a_state_that_nobody_predicted(
    #[case] verdict: Verdict,
    #[case] why: &str,
) {
    let mut cluster = Cluster::new();
    cluster.gated_pod("new", V1);
    cluster.gated_pod("newer", V2);
    cluster.upgrades.push_back(Going::Says(verdict));
    cluster.run();
    // A plain retry, a second one, and another image: the database is where it is.
    for (attempt, image) in [(2, V1), (3, V1), (1, V2)] {
        cluster.dry_runs.push_back(Going::NothingToDo);
        cluster.edit_image(image);
        if image == V1 {
            cluster.retry();
        }
        cluster.run();
        let last = job_names(&cluster).pop().unwrap();
        assert_eq!(last, format!("orders-dryrun {attempt}"));
        assert_eq!(cluster.reason(), why);
        assert_eq!(released(&cluster), [""; 0]);
        assert!(cluster.is(condition::STALLED));
        assert!(cluster.is(condition::DRY_RUN_PASSED));
        assert!(!cluster.is(condition::UPGRADED));
        let status = cluster.status();
        let message = &status.condition(condition::READY).unwrap().message;
        assert!(message.contains("about Upgrade"), "{message}");
        assert!(
            message.ends_with(&format!("drydock.dev/release={image}")),
            "{message}"
        );
        cluster.sleep(60);
    }
    cluster.annotate(RELEASE_ANNOTATION, V2);
    cluster.run();
    assert_eq!(cluster.reason(), reason::RELEASED_BY_HAND);
    assert_eq!(released(&cluster), [V2]);
    // Accepted once, it is the state that later releases begin with.
    cluster.dry_runs.push_back(Going::NothingToDo);
    cluster.edit_image(V1);
    cluster.run();
    assert_eq!(cluster.reason(), reason::NOTHING_TO_DO);
}

/// An upgrade of which nobody knows how it ended, and a person who goes on with another image, for
/// which nothing is pending.
fn nothing_pending_after(going: Going, arrives: bool) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(going);
    cluster.run();
    cluster.state = u32::from(arrives);
    cluster.at_large.clear();
    cluster.dry_runs.push_back(Going::NothingToDo);
    cluster.edit_image(V2);
    cluster.retry();
    cluster.run();
    cluster
}

#[rstest]
#[case(Going::Vanishes, reason::UPGRADE_UNKNOWN)]
#[case(
    Going::Says(Verdict::UpgradeFailed(UpgradeFailure::Unknown)),
    reason::UPGRADE_UNKNOWN
)]
#[case(Going::Mute, reason::EVIDENCE_LOST)]
fn nothing_pending_after_an_unknown_upgrade_releases_only_the_state_that_was_predicted(
    #[case] going: Going,
    #[case] why: &str,
) {
    let mut cluster = nothing_pending_after(going.clone(), false);
    assert_eq!(cluster.reason(), why);
    assert_eq!(released(&cluster), [""; 0]);
    assert!(cluster.is(condition::STALLED));
    let status = cluster.status();
    let upgraded = status.condition(condition::UPGRADED).unwrap();
    assert_eq!(upgraded.status, "Unknown");
    let message = &status.condition(condition::READY).unwrap().message;
    assert!(message.contains("it is not shown that"), "{message}");
    assert!(message.ends_with(&format!("drydock.dev/release={V2}")));
    cluster.annotate(RELEASE_ANNOTATION, V2);
    cluster.run();
    assert_eq!(cluster.reason(), reason::RELEASED_BY_HAND);
    assert_eq!(cluster.status().unaccepted, None);

    let arrived = nothing_pending_after(going, true);
    assert_eq!(arrived.reason(), reason::NOTHING_TO_DO);
    assert_eq!(released(&arrived), [V2]);
    assert_eq!(arrived.status().unaccepted, None);
}

#[test]
fn a_state_that_is_the_same_before_and_after_shows_no_arrival() {
    let mut cluster = Cluster::new();
    cluster.upgrades.push_back(Going::Vanishes);
    while cluster.at_large.is_empty() {
        cluster.settle();
        cluster.kubelet();
    }
    // The migration changes data only.
    let run = cluster.migration.status.as_mut().unwrap().run.as_mut();
    let run = run.unwrap();
    run.predicted.clone_from(&run.before);
    cluster.run();
    cluster.at_large.clear();
    cluster.dry_runs.push_back(Going::NothingToDo);
    cluster.edit_image(V2);
    cluster.retry();
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_UNKNOWN);
    assert_eq!(released(&cluster), [""; 0]);
}

#[test]
fn a_state_that_nobody_predicted_is_remembered_across_a_rollback_of_the_image() {
    let mut cluster = Cluster::new();
    cluster.running_pod("old", V2);
    cluster
        .upgrades
        .push_back(Going::Says(Verdict::UpgradeDiverged));
    cluster.run();
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(cluster.reason(), reason::ALREADY_RELEASED);
    cluster.edit_image(V1);
    cluster.dry_runs.push_back(Going::NothingToDo);
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADE_DIVERGED);
}

#[test]
fn an_upgrade_that_lands_as_predicted_begins_anew() {
    let mut cluster = Cluster::new();
    cluster
        .upgrades
        .push_back(Going::Says(Verdict::UpgradeDiverged));
    cluster.run();
    cluster.edit_image(V2);
    cluster.run();
    assert_eq!(cluster.reason(), reason::UPGRADED);
    cluster.dry_runs.push_back(Going::NothingToDo);
    cluster.edit_image(V1);
    cluster.run();
    assert_eq!(cluster.reason(), reason::NOTHING_TO_DO);
}

#[test]
fn break_glass_releases_exactly_the_image_that_it_names() {
    let mut cluster = Cluster::new();
    cluster.dry_runs.push_back(Going::Says(Verdict::Failed));
    cluster.gated_pod("new", V1);
    cluster.run();
    cluster.annotate(RELEASE_ANNOTATION, V2);
    cluster.run();
    assert!(cluster.is(condition::STALLED));
    cluster.annotate(RELEASE_ANNOTATION, V1);
    cluster.run();
    assert_eq!(cluster.reason(), reason::RELEASED_BY_HAND);
    assert_eq!(cluster.app_pods[0].gate, None);
    assert!(!cluster.is(condition::UPGRADED));
}

#[test]
fn a_template_that_holds_the_databases_secret_is_said() {
    let mut cluster = Cluster::new();
    cluster.run();
    assert!(!cluster.is(condition::CREDENTIALS_EXPOSED));
    let from = serde_json::json!({"secretKeyRef": {"name": "orders-db", "key": "url"}});
    let template = serde_json::json!({"env": [{"name": "PRIMARY", "valueFrom": from}]});
    cluster.migration.spec.template = Some(serde_json::from_value(template).unwrap());
    cluster.run();
    assert!(cluster.is(condition::CREDENTIALS_EXPOSED));
}

#[test]
fn suspended_starts_nothing_and_stops_nothing() {
    let mut cluster = Cluster::new();
    cluster.suspend(true);
    cluster.run();
    assert!(cluster.jobs.is_empty());
    assert_eq!(cluster.reason(), reason::SUSPENDED);
    cluster.suspend(false);
    while cluster.at_large.is_empty() {
        cluster.settle();
        cluster.kubelet();
    }
    cluster.suspend(true);
    cluster.run();
    assert_eq!(released(&cluster), [V1]);
}

#[test]
fn a_migration_that_goes_away_waits_for_its_upgrade() {
    let mut cluster = Cluster::new();
    while cluster.at_large.is_empty() {
        cluster.settle();
        cluster.kubelet();
    }
    cluster.delete();
    cluster.settle();
    assert!(cluster.has_finalizer());
    cluster.kubelet();
    cluster.settle();
    assert!(!cluster.has_finalizer());
}

#[test]
fn events_tell_transitions_and_nothing_twice() {
    let mut cluster = Cluster::new();
    let mut told = Vec::new();
    for _ in 0..30 {
        let before = cluster.status();
        if !cluster.reconcile(usize::MAX) {
            cluster.kubelet();
        }
        told.extend(
            transitions(&before, &cluster.status())
                .into_iter()
                .map(|t| t.reason),
        );
    }
    assert_eq!(
        told,
        [
            reason::DRY_RUN_IN_PROGRESS,
            reason::PASSED,
            reason::UPGRADE_IN_PROGRESS,
            reason::UPGRADED
        ]
    );
}

/// What can happen between two decisions.
#[derive(Debug, Clone)]
enum Happening {
    /// The controller acts, and dies after so many acts.
    Controller(usize),
    Kubelet,
    Sleep(i64),
    Image(bool),
    Suspend(bool),
    Retry,
    LoseJob,
    LoseReports,
}

fn going() -> impl Strategy<Value = Going> {
    prop_oneof![
        6 => Just(Going::Says(Verdict::Passed)),
        2 => Just(Going::NothingToDo),
        1 => Just(Going::Says(Verdict::Failed)),
        1 => Just(Going::Says(Verdict::RollbackNotVerified)),
        1 => Just(Going::Refuses(Verdict::Drift)),
        1 => Just(Going::Refuses(Verdict::Environment(Environment::Busy))),
        1 => Just(Going::Says(Verdict::UpgradeFailed(UpgradeFailure::Partial))),
        1 => Just(Going::Says(Verdict::UpgradeDiverged)),
        1 => Just(Going::Vanishes),
        1 => Just(Going::EndsUnseen(Verdict::Passed)),
        1 => Just(Going::EndsUnseen(Verdict::UpgradeDiverged)),
        1 => Just(Going::IsReplaced),
        1 => Just(Going::Strands),
        1 => Just(Going::Dies),
        1 => Just(Going::Mute),
        1 => Just(Going::CannotStart),
        1 => Just(Going::BeginsLate),
        1 => Just(Going::IsNotBegun(Verdict::Environment(Environment::CommandNotStarted))),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Happening::Controller),
        6 => Just(Happening::Kubelet),
        2 => (1..20_i64).prop_map(Happening::Sleep),
        1 => any::<bool>().prop_map(Happening::Image),
        1 => any::<bool>().prop_map(Happening::Suspend),
        1 => Just(Happening::Retry),
        1 => Just(Happening::LoseJob),
        1 => Just(Happening::LoseReports),
    ]
}

fn check(cluster: &Cluster) -> Result<(), TestCaseError> {
    let status = cluster.status();
    // The type of the effect demands the proof; the model checks what it proves.
    for pod in &cluster.app_pods {
        if pod.gate.is_none() {
            prop_assert!(status.released.iter().any(|r| r.image == pod.images[0]));
        }
    }
    for entry in &status.released {
        prop_assert!(entry.evidence.is_some(), "released without evidence");
    }
    check_history(cluster)?;
    if let Some(ready) = status.condition(condition::READY) {
        let settled = ready.status == "True"
            || status.condition(condition::STALLED).is_some()
            || ready.reason == reason::SUSPENDED;
        let decision = decide(&cluster.world());
        let acts = !decision.effects.is_empty() || decision.status != status;
        let runs = cluster.jobs.iter().any(|job| !job.failed && !job.complete);
        prop_assert!(
            settled || acts || runs || decision.requeue.is_some(),
            "nothing will wake {status:#?}"
        );
    }
    Ok(())
}

/// What has ended is told once, as it was, and nothing else is.
fn check_history(cluster: &Cluster) -> Result<(), TestCaseError> {
    let status = cluster.status();
    let history = &status.history;
    prop_assert!(history.len() <= 10);
    let names = |past: &Past| {
        let of = |phase| job_name("orders", phase, &past.input_digest, past.attempt);
        [of(RunPhase::DryRun), of(RunPhase::Upgrade)]
    };
    for (index, past) in history.iter().enumerate() {
        prop_assert!(past.started <= past.finished);
        for earlier in &history[index + 1..] {
            prop_assert!(earlier.finished <= past.finished);
            let same = earlier.input_digest == past.input_digest;
            prop_assert!(!same || earlier.attempt < past.attempt, "{history:#?}");
        }
        let [dry_run, upgrade] = names(past);
        let job = match past.phase {
            PastPhase::DryRun => dry_run,
            PastPhase::Upgrade => upgrade,
        };
        let landed = [reason::PASSED, reason::UPGRADED].contains(&past.reason.as_str());
        let lands = matches!(
            cluster.goings.get(&job),
            Some(Going::Says(Verdict::Passed) | Going::NothingToDo)
        );
        prop_assert!(!landed || lands, "{past:#?}");
    }
    // A run whose Job has ended is the latest entry.
    if let Some(run) = &status.run {
        let ended = |phase| {
            let name = job_name("orders", phase, &run.input_digest, run.attempt);
            let record = run.job(phase).filter(|record| record.name == name)?;
            record.outcome.as_ref()
        };
        let (phase, outcome) = match ended(RunPhase::Upgrade) {
            Some(outcome) => (PastPhase::Upgrade, Some(outcome)),
            None => (PastPhase::DryRun, ended(RunPhase::DryRun)),
        };
        if let Some(outcome) = outcome {
            let told = history
                .first()
                .map(|past| (past.attempt, past.phase, past.reason.as_str()));
            prop_assert_eq!(told, Some((run.attempt, phase, outcome.reason.as_str())));
        }
    }
    // What was released after its migration is told, unless it is too long ago.
    for entry in status.released.iter().filter(|_| history.len() < 10) {
        prop_assert!(history.iter().any(|past| past.evidence == entry.evidence));
    }
    Ok(())
}

/// Nothing that was told is told otherwise later, but of the run that goes on.
fn only_adds(before: &MigrationStatus, after: &MigrationStatus) -> Result<(), TestCaseError> {
    let goes_on = before
        .run
        .as_ref()
        .map(|run| (&run.input_digest, run.attempt));
    for past in &before.history {
        let waited = past.reason == reason::ENVIRONMENT && past.cause.as_deref() == Some("Busy");
        let kept = after.history.contains(past)
            || goes_on == Some((&past.input_digest, past.attempt))
            || after.history.len() == 10
            || waited;
        prop_assert!(kept, "{past:#?} was forgotten");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever happens, and wherever the controller dies: never two upgrades at a time, never one
    /// without evidence, never a gate opened without, nor after an upgrade that landed elsewhere, or
    /// nobody knows where, before the database is where an upgrade was to take it; and something will always wake it. (The model itself
    /// refuses to start an upgrade beside another one.)
    #[test]
    fn no_history_breaks_the_promises(
        happenings in prop::collection::vec(happening(), 1..60),
        begins_elsewhere in any::<bool>(),
        dry_runs in prop::collection::vec(going(), 0..6),
        upgrades in prop::collection::vec(going(), 0..6),
    ) {
        let mut cluster = Cluster::new();
        cluster.gated_pod("one", V1);
        cluster.gated_pod("two", V2);
        if begins_elsewhere {
            let diverged = Going::Says(Verdict::UpgradeDiverged);
            cluster.upgrades.push_back(diverged);
            cluster.run();
        }
        cluster.dry_runs.extend(dry_runs);
        cluster.upgrades.extend(upgrades);
        let mut elsewhere = None;
        for happening in happenings {
            let before = cluster.status();
            let upgrading = before.run.clone().filter(|run| {
                let upgrade = run.upgrade.as_ref();
                upgrade.is_some_and(|record| record.outcome.is_none())
            });
            match happening {
                Happening::Controller(survives) => {
                    cluster.reconcile(survives);
                }
                Happening::Kubelet => cluster.kubelet(),
                Happening::Sleep(seconds) => cluster.sleep(seconds),
                Happening::Image(second) => cluster.edit_image(if second { V2 } else { V1 }),
                Happening::Suspend(suspend) => cluster.suspend(suspend),
                Happening::Retry => {
                    // A person says retry only when nothing runs any more.
                    cluster.at_large.retain(|name| {
                        cluster.jobs.iter().any(|job| job.name == *name && !job.failed)
                    });
                    if cluster.at_large.is_empty() {
                        cluster.retry();
                    }
                }
                Happening::LoseJob => {
                    cluster.jobs.pop();
                }
                Happening::LoseReports => cluster.reports.clear(),
            }
            check(&cluster)?;
            only_adds(&before, &cluster.status())?;
            let upgrade = cluster.status().run.and_then(|run| run.upgrade);
            match upgrade.and_then(|record| record.outcome) {
                Some(outcome) if outcome.reason == reason::UPGRADED => elsewhere = None,
                Some(outcome)
                    if [reason::UPGRADE_UNKNOWN, reason::EVIDENCE_LOST]
                        .contains(&outcome.reason.as_str())
                        && cluster.has_arrived() =>
                {
                    elsewhere = None;
                }
                Some(outcome)
                    if [
                        reason::UPGRADE_DIVERGED,
                        reason::UPGRADE_PARTIAL,
                        reason::UPGRADE_UNKNOWN,
                        reason::EVIDENCE_LOST,
                    ]
                    .contains(&outcome.reason.as_str()) =>
                {
                    elsewhere.get_or_insert(released(&cluster));
                }
                _ => {}
            }
            // An upgrade that lands is released also when the next run begins at once.
            if upgrading.is_some_and(|run| {
                cluster.status().released.iter().any(|entry| entry.evidence == run.evidence)
            }) {
                elsewhere = None;
            }
            if let Some(then) = &elsewhere {
                prop_assert_eq!(&released(&cluster), then, "released by nobody");
            }
        }
    }

    /// A controller that dies again and again, after any number of acts, ends where one that never
    /// dies ends.
    #[test]
    fn dying_changes_nothing_about_the_end(
        deaths in prop::collection::vec(0..4_usize, 1..60),
        dry_runs in prop::collection::vec(going(), 0..3),
        upgrades in prop::collection::vec(going(), 0..3),
    ) {
        let start = || {
            let mut cluster = Cluster::new();
            cluster.gated_pod("one", V1);
            cluster.dry_runs.extend(dry_runs.clone());
            cluster.upgrades.extend(upgrades.clone());
            cluster
        };
        let mut steady = start();
        steady.run();
        let mut dying = start();
        for survives in deaths {
            dying.reconcile(survives);
        }
        dying.run();
        prop_assert_eq!(dying.reason(), steady.reason());
        prop_assert_eq!(released(&dying), released(&steady));
        prop_assert_eq!(&dying.upgrades_started, &steady.upgrades_started);
        prop_assert_eq!(job_names(&dying), job_names(&steady));
        let told = |cluster: &Cluster| {
            let history = cluster.status().history.into_iter();
            let told = history.map(|past| (past.image, past.attempt, past.phase, past.reason));
            told.collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&dying), told(&steady));
    }

    /// Once nothing is left to do, deciding again says so.
    #[test]
    fn a_settled_world_stays_settled(
        dry_runs in prop::collection::vec(going(), 0..3),
        upgrades in prop::collection::vec(going(), 0..3),
    ) {
        let mut cluster = Cluster::new();
        cluster.dry_runs.extend(dry_runs);
        cluster.upgrades.extend(upgrades);
        cluster.run();
        let decision = decide(&cluster.world());
        prop_assert_eq!(decision.status, cluster.status());
        prop_assert_eq!(decision.effects, vec![]);
    }
}
