//! How far the present run has come: records outcomes in it, and asks for what is missing to know
//! them.

use std::time::Duration;

use jiff::SignedDuration;

use super::effect::Effect;
use super::outcome::{belongs, evidence_lost, lost, not_started, outcome_of, refused};
use super::pods::{Progress, RunPod};
use super::problem::Problem;
use super::world::{GonePod, ObservedJob, StoredReport, World};
use crate::api::{JobRecord, MigrationStatus, Outcome, Run, RunPhase, reason};
use crate::report::Summary;
use crate::verdict::{Environment, RollbackProof, Verdict, Verified};

/// How often a report is asked for before it counts as lost.
const FETCHES: u32 = 10;

/// How long after the first failure it is asked for again; twice as long after each further one. The
/// last lines of a container that has just ended are in its log a moment later, and a pod that is being
/// deleted has no more than moments; a kubelet that is being restarted answers after seconds.
const FETCH_PAUSE: SignedDuration = SignedDuration::from_millis(50);

/// How long a pod may have a problem before we call it a standstill: a Secret that is applied
/// together with the Migration is there by then.
const GRACE: SignedDuration = SignedDuration::from_secs(5);

/// The same for a pod without a node: one that a cluster autoscaler makes is there by then.
const NODE_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// How often is tried again what the API server refuses. It says nothing when it would not any more.
pub(super) const SLOWLY: Duration = Duration::from_secs(10);

/// How long after its time a pod that is being deleted may still be there. Its node then does not
/// answer, and the Job waits for it for ever.
const OVERDUE: SignedDuration = SignedDuration::from_secs(30);

/// The stage of a run. Everything that is final is in the run's records already.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    /// The Job is to be created.
    Pending(RunPhase),
    /// The upgrade's Job is on record, and its pod waits for the word to start.
    Held(Held),
    /// The Job is being started, or runs; with what keeps it from starting, if anything.
    Going(RunPhase, Option<Obstacle>),
    /// The dry run passed; nothing else has been begun.
    Passed,
    /// The run ended without a release.
    Ended(RunPhase, Outcome),
    /// The upgrade landed where it should.
    Upgraded,
}

/// The pod of an upgrade that has not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) index: usize,
}

/// A problem, and whether it has lasted long enough to call for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) problem: Problem,
    pub(super) lasting: bool,
}

/// What is being decided.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) status: MigrationStatus,
    pub(super) effects: Vec<Effect>,
    pub(super) requeue: Option<Duration>,
}

impl Next {
    /// Asks to be woken after that time at the latest.
    pub(super) fn wake(&mut self, after: Duration) {
        self.requeue = Some(self.requeue.map_or(after, |other| other.min(after)));
    }
}

/// Looks at the run's Jobs.
pub(super) fn advance(world: &World, next: &mut Next, run: &mut Run) -> Stage {
    if let Some(mut record) = run.upgrade.take() {
        let stage = job(world, next, run, RunPhase::Upgrade, &mut record);
        run.upgrade = Some(record);
        return stage;
    }
    let Some(mut record) = run.dry_run.take() else {
        return Stage::Pending(RunPhase::DryRun);
    };
    let stage = job(world, next, run, RunPhase::DryRun, &mut record);
    run.dry_run = Some(record);
    stage
}

fn job(
    world: &World,
    next: &mut Next,
    run: &mut Run,
    phase: RunPhase,
    record: &mut JobRecord,
) -> Stage {
    if record.outcome.is_none() {
        let job = match (world.job(&record.name), &record.uid) {
            // Whether it was never created, or is gone again, it has run nothing that could not be
            // run again: an upgrade's pod starts only after its Job's UID is on record.
            (None, None) => return Stage::Pending(phase),
            (Some(job), Some(uid)) if job.uid == *uid => Some(job),
            (Some(job), None) => {
                record.uid = Some(job.uid.clone());
                record.created = Some(job.created);
                Some(job)
            }
            (_, Some(_)) => None,
        };
        let looked = match job {
            Some(job) => look(world, next, run, phase, record, job),
            None => gone(world, next, run, phase, record, "its Job is gone"),
        };
        match looked {
            Looked::Held(held) => return Stage::Held(held),
            Looked::Going(obstacle) => return Stage::Going(phase, obstacle),
            Looked::Over(outcome) => record.outcome = Some(outcome),
        }
    }
    match &record.outcome {
        Some(outcome) if outcome.reason == reason::PASSED => Stage::Passed,
        Some(outcome) if outcome.reason == reason::UPGRADED => Stage::Upgraded,
        Some(outcome) => Stage::Ended(phase, outcome.clone()),
        None => Stage::Going(phase, None),
    }
}

enum Looked {
    Held(Held),
    Going(Option<Obstacle>),
    Over(Outcome),
}

fn look(
    world: &World,
    next: &mut Next,
    run: &mut Run,
    phase: RunPhase,
    record: &mut JobRecord,
    job: &ObservedJob,
) -> Looked {
    let given_up = job.failed || job.deleting;
    let Some(pod) = &job.pod else {
        if given_up || phase == RunPhase::Upgrade && last_seen(world, phase, record).is_some() {
            let why = "its pod is gone and was not seen to end";
            return gone(world, next, run, phase, record, why);
        }
        // The reason is in the Job's events, which are not watched.
        next.wake(Duration::from_secs(2));
        return Looked::Going(obstacle(world, next, job.created, job.event.clone()));
    };
    // Somebody took the first pod away with force, and the Job, which has not seen it end, has made
    // another one.
    if phase == RunPhase::Upgrade && *record.pod.get_or_insert_with(|| pod.uid.clone()) != pod.uid {
        let why = "its pod is gone and was not seen to end; the pod in its place is not started";
        return gone(world, next, run, phase, record, why);
    }
    if let Some(index) = pod.gate
        && !given_up
        && pod.gone_by.is_none()
    {
        return Looked::Held(Held {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            index,
        });
    }
    match pod.progress() {
        Progress::Going | Progress::Blocked(_) if is_overdue(world, next, pod) => {
            let why = format!(
                "its pod {} is deleted, but its node does not say that it has ended",
                pod.name
            );
            Looked::Over(lost(world, phase, &why))
        }
        Progress::Going => Looked::Going(obstacle(world, next, pod.created, job.event.clone())),
        Progress::Blocked(problem) => {
            Looked::Going(obstacle(world, next, pod.created, Some(problem)))
        }
        Progress::Refused(summary) => Looked::Over(refused(world, run, phase, &summary)),
        Progress::Witnessed(summary) => {
            let pod = Seen::There(pod);
            witnessed(world, next, run, phase, record, pod, &summary)
        }
        // A dry run whose pod was evicted gets another pod; the Job is given up when it does not.
        Progress::Silent(_) if phase == RunPhase::DryRun && !given_up => {
            next.wake(Duration::from_secs(2));
            Looked::Going(None)
        }
        Progress::Silent(why) if pod.went_before_it_began() => {
            Looked::Over(not_started(world, phase, &why))
        }
        Progress::Silent(why) => Looked::Over(lost(world, phase, &why)),
    }
}

/// The pod, or its Job, is not there any more. What a watch saw of the pod may tell all the same how
/// it ended; without that nobody knows.
fn gone(
    world: &World,
    next: &mut Next,
    run: &mut Run,
    phase: RunPhase,
    record: &JobRecord,
    why: &str,
) -> Looked {
    // No pod of an upgrade is started before its UID is on record.
    if phase == RunPhase::Upgrade && record.pod.is_none() {
        return Looked::Over(not_started(world, phase, why));
    }
    let Some(gone) = last_seen(world, phase, record) else {
        return Looked::Over(lost(world, phase, why));
    };
    let mut pod = gone.pod.clone();
    pod.finished |= gone.last;
    match pod.progress() {
        Progress::Refused(summary) => Looked::Over(refused(world, run, phase, &summary)),
        Progress::Witnessed(summary) => {
            let pod = Seen::Gone(&pod);
            witnessed(world, next, run, phase, record, pod, &summary)
        }
        _ if !gone.last && is_overdue(world, next, &gone.pod) => {
            Looked::Over(lost(world, phase, why))
        }
        _ if !gone.last => {
            next.wake(Duration::from_secs(1));
            Looked::Going(None)
        }
        _ if gone.pod.went_before_it_began() => Looked::Over(not_started(world, phase, why)),
        _ => Looked::Over(lost(world, phase, why)),
    }
}

/// The very pod that is on record, or the last one of a dry run's Job, as it was when it went.
fn last_seen<'a>(world: &'a World, phase: RunPhase, record: &JobRecord) -> Option<&'a GonePod> {
    let seen = world.gone.as_ref();
    seen.filter(|gone| match phase {
        RunPhase::Upgrade => record.pod.as_ref() == Some(&gone.pod.uid),
        RunPhase::DryRun => record.uid.as_ref() == Some(&gone.pod.job),
    })
}

/// A pod whose witness has spoken.
#[derive(Clone, Copy)]
enum Seen<'a> {
    There(&'a RunPod),
    /// Its log went with it.
    Gone(&'a RunPod),
}

fn is_overdue(world: &World, next: &mut Next, pod: &RunPod) -> bool {
    let Some(gone_by) = pod.gone_by else {
        return false;
    };
    let left = OVERDUE - world.now.duration_since(gone_by);
    if let Ok(left) = Duration::try_from(left)
        && !left.is_zero()
    {
        next.wake(left);
        return false;
    }
    true
}

fn obstacle(
    world: &World,
    next: &mut Next,
    since: jiff::Timestamp,
    problem: Option<Problem>,
) -> Option<Obstacle> {
    let problem = problem?;
    let lasted = world.now.duration_since(since);
    let grace = if problem.reason == reason::UNSCHEDULABLE {
        NODE_GRACE
    } else {
        GRACE
    };
    let lasting = lasted >= grace;
    if !lasting {
        next.wake(Duration::try_from(grace - lasted).unwrap_or(Duration::from_secs(1)));
    }
    Some(Obstacle { problem, lasting })
}

fn witnessed(
    world: &World,
    next: &mut Next,
    run: &mut Run,
    phase: RunPhase,
    record: &JobRecord,
    seen: Seen<'_>,
    summary: &Summary,
) -> Looked {
    let (Seen::There(pod) | Seen::Gone(pod)) = seen;
    if let Err(why) = belongs(world, run, phase, summary) {
        return Looked::Over(evidence_lost(world, phase, summary, &why));
    }
    // An attempt that may be repeated must be known to be over.
    let not_begun = matches!(summary.verdict, Verdict::Environment(_) | Verdict::Drift)
        && pod.is_over_without_the_command();
    if phase == RunPhase::Upgrade
        && summary.verdict != Verdict::Passed
        && !pod.command_is_over()
        && !not_begun
    {
        if pod.finished {
            return Looked::Over(lost(
                world,
                phase,
                "the witness has spoken, but the command was not seen to end",
            ));
        }
        next.wake(Duration::from_secs(1));
        return Looked::Going(None);
    }
    let mut outcome = outcome_of(world, phase, summary);
    let store = || Effect::StoreReport {
        job: record.name.clone(),
        pod: pod.name.clone(),
        summary: summary.clone(),
    };
    match kept(world, &record.name, seen, summary) {
        Kept::Yes(report) => {
            outcome.report = Some(report.digest.clone());
            if phase == RunPhase::Upgrade && report.bound_to != run.evidence {
                return Looked::Over(evidence_lost(
                    world,
                    phase,
                    summary,
                    "the upgrade was not bound to this run's dry run",
                ));
            }
        }
        Kept::Taken(problem) => {
            next.effects.push(store());
            next.wake(SLOWLY);
            return Looked::Going(Some(Obstacle {
                problem,
                lasting: true,
            }));
        }
        Kept::NotYet(wait) => {
            match wait {
                Some(wait) => next.wake(wait),
                None => next.effects.push(store()),
            }
            return Looked::Going(None);
        }
        Kept::Never(why) if summary.verdict == Verdict::Passed => {
            return Looked::Over(evidence_lost(world, phase, summary, &why));
        }
        Kept::Never(why) => {
            outcome.message = format!("{} (its report could not be kept: {why})", outcome.message);
        }
    }
    match phase {
        RunPhase::DryRun => {
            run.evidence.clone_from(&outcome.report);
            run.before = summary.before.as_ref().map(ToString::to_string);
            run.predicted = summary.predicted.as_ref().map(ToString::to_string);
            run.admitted.clone_from(&pod.admitted);
            run.image_id.clone_from(&pod.image_id);
        }
        RunPhase::Upgrade => {
            if outcome.reason == reason::UPGRADED
                && let (Some(rehearsed), Some(ran)) = (&run.image_id, &pod.image_id)
                && !same_image(rehearsed, ran)
            {
                outcome.reason = reason::UPGRADE_DIVERGED.to_owned();
                outcome.message = format!(
                    "the upgrade ran the image {ran}, but {rehearsed} was rehearsed: the tag {} was moved in between",
                    run.image
                );
            }
            if outcome.reason == reason::UPGRADE_DIVERGED {
                run.landed = summary.predicted.as_ref().map(ToString::to_string);
            }
        }
    }
    Looked::Over(outcome)
}

/// Two ids of one image: a registry's name in front does not matter.
fn same_image(one: &str, other: &str) -> bool {
    let digest = |id: &str| {
        id.rsplit_once('@')
            .map_or(id, |(_, digest)| digest)
            .to_owned()
    };
    digest(one) == digest(other)
}

enum Kept<'a> {
    Yes(&'a StoredReport),
    /// It is to be fetched, after that time.
    NotYet(Option<Duration>),
    Taken(Problem),
    Never(String),
}

fn kept<'a>(world: &'a World, job: &str, seen: Seen<'_>, summary: &Summary) -> Kept<'a> {
    let enough = match seen {
        Seen::There(_) => FETCHES,
        Seen::Gone(_) => 1,
    };
    match world.reports.get(job) {
        Some(report) if report.digest == summary.digest && report.summary == *summary => {
            Kept::Yes(report)
        }
        Some(_) => Kept::Never("the report that is kept under this name is another one".to_owned()),
        None => match (world.taken.get(job), world.unfetched.get(job)) {
            (_, Some(failed)) if failed.tries >= enough => Kept::Never(failed.why.clone()),
            (Some(problem), _) => Kept::Taken(problem.clone()),
            (None, Some(failed)) => {
                let pause = FETCH_PAUSE * 2_i32.pow(failed.tries.saturating_sub(1).min(FETCHES));
                let left = pause - world.now.duration_since(failed.last);
                Kept::NotYet(Duration::try_from(left).ok().filter(|left| !left.is_zero()))
            }
            (None, None) => Kept::NotYet(None),
        },
    }
}

/// The proof that the run's dry run passed, from what is kept of it.
pub(super) fn verified(world: &World, run: &Run) -> Result<Verified, String> {
    let name = run.job(RunPhase::DryRun).map_or("", |record| &record.name);
    let report = world
        .reports
        .get(name)
        .ok_or_else(|| format!("the ConfigMap {name} with the dry run's report is gone"))?;
    if run.evidence.as_ref() != Some(&report.digest) {
        return Err(format!(
            "the ConfigMap {name} does not hold the dry run's report any more"
        ));
    }
    Verified::check(
        &report.summary.verdict,
        report.summary.rollback.unwrap_or(RollbackProof::Unknown),
        &report.summary.digest,
        &report.digest,
    )
    .map_err(|why| why.to_string())
}

/// Whether somebody else, mostly another run, held what the run needs, so that waiting helps.
pub(super) fn is_busy(outcome: &Outcome) -> bool {
    is_busy_end(&outcome.reason, outcome.cause.as_deref())
}

/// The same of what is left of an outcome.
pub(super) fn is_busy_end(reason: &str, cause: Option<&str>) -> bool {
    reason == reason::ENVIRONMENT
        && [
            Environment::Busy,
            Environment::EarlierRunAlive,
            Environment::Locked,
        ]
        .map(|cause| format!("{cause:?}"))
        .iter()
        .any(|busy| Some(busy.as_str()) == cause)
}
