//! How a Migration stands, said in conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::advance::Obstacle;
use super::attempt::is_in_doubt;
use super::commands::Commands;
use super::problem::Problem;
use super::release::is_released;
use super::world::World;
use crate::api::{
    MigrationStatus, Outcome, Phase, Run, RunPhase, Unaccepted, commands_digest, condition,
    exposed_credentials, reason,
};

/// How a Migration stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// Nothing is started.
    Suspended,
    /// It is being deleted.
    Leaving,
    /// The dry run is being started or runs.
    DryRunning { obstacle: Option<Obstacle> },
    /// The dry run ended without a pass.
    DryRunEnded { outcome: Outcome },
    /// The upgrade is being started or runs; whether a newer specification waits for its end.
    Upgrading {
        obstacle: Option<Obstacle>,
        superseded: bool,
    },
    /// The upgrade ended badly; whether a newer specification waits for a person.
    UpgradeEnded { outcome: Outcome, superseded: bool },
    /// Another run holds the database.
    Busy { phase: RunPhase, outcome: Outcome },
    /// The Job cannot be created.
    JobRefused { phase: RunPhase, problem: Problem },
    /// Nothing is pending on top of an upgrade that landed elsewhere than predicted, or nobody knows
    /// where.
    NotAccepted(Unaccepted),
    /// The image is released.
    Released(&'static str),
}

/// What kstatus asks for, and what people read.
struct Words {
    phase: Phase,
    ready: bool,
    reconciling: bool,
    stalled: bool,
    reason: String,
    message: String,
}

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

/// Longer messages are cut: a status is read by people.
const MESSAGE_LIMIT: usize = 1500;

/// Writes conditions, phase and observed generation.
pub(super) fn write(status: &mut MigrationStatus, world: &World, standing: &Standing) {
    let words = words(world, status.run.as_ref(), standing);
    status.observed_generation = world.migration.metadata.generation.unwrap_or_default();
    status.phase = Some(words.phase);
    let run = status.run.clone();
    let spec = &world.migration.spec;
    // Whatever else is going on, an upgrade of another image, say.
    let open = words.ready
        || world.migration.metadata.deletion_timestamp.is_none()
            && is_released(status, &spec.image, &commands_digest(spec));
    let mut conditions = Conditions {
        world,
        old: std::mem::take(&mut status.conditions),
        new: Vec::new(),
    };
    let truth = |is: bool| if is { TRUE } else { FALSE };
    conditions.set(
        condition::READY,
        truth(words.ready),
        &words.reason,
        &words.message,
    );
    if words.reconciling {
        conditions.set(condition::RECONCILING, TRUE, &words.reason, &words.message);
    }
    if words.stalled {
        conditions.set(condition::STALLED, TRUE, &words.reason, &words.message);
    }
    let run = run.as_ref();
    let (state, why, message) = dry_run_passed(run, standing, &words);
    conditions.set(condition::DRY_RUN_PASSED, state, &why, &message);
    let (state, why, message) = rollback_verified(run);
    conditions.set(condition::ROLLBACK_VERIFIED, state, why, message);
    let (state, why, message) = upgraded(run, standing, &words);
    conditions.set(condition::UPGRADED, state, &why, &message);
    conditions.set(
        condition::GATE_OPEN,
        truth(open),
        if open {
            reason::RELEASED
        } else {
            &words.reason
        },
        &if open {
            format!("pods of {} start", world.migration.spec.image)
        } else {
            format!("pods of {} wait", world.migration.spec.image)
        },
    );
    let exposed = exposed_credentials(&world.migration.spec);
    if !exposed.is_empty() {
        let message = format!(
            "the template gives the command the database's Secret ({}), with which it can go around \
             the rehearsal; leave it out: both runs are given the database in the variables of \
             database.exposeAs",
            exposed.join(", ")
        );
        conditions.set(
            condition::CREDENTIALS_EXPOSED,
            TRUE,
            reason::SECRET_IN_TEMPLATE,
            &message,
        );
    }
    status.conditions = conditions.new;
}

struct Conditions<'a> {
    world: &'a World,
    old: Vec<Condition>,
    new: Vec<Condition>,
}

impl Conditions<'_> {
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let since = self
            .old
            .iter()
            .find(|old| old.type_ == kind && old.status == status)
            .map_or(Time(self.world.now), |old| old.last_transition_time.clone());
        let mut message = message.to_owned();
        if message.len() > MESSAGE_LIMIT {
            let end = message.floor_char_boundary(MESSAGE_LIMIT);
            message.truncate(end);
            message.push('…');
        }
        self.new.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since,
            observed_generation: self.world.migration.metadata.generation,
        });
    }
}

fn words(world: &World, run: Option<&Run>, standing: &Standing) -> Words {
    let image = &world.migration.spec.image;
    let see = Commands::of(world);
    let base = Words {
        phase: Phase::Pending,
        ready: false,
        reconciling: false,
        stalled: false,
        reason: reason::PENDING.to_owned(),
        message: String::new(),
    };
    match standing {
        Standing::Suspended => Words {
            phase: Phase::Suspended,
            reason: reason::SUSPENDED.to_owned(),
            message: format!(
                "suspended: nothing new is started; to go on: {}",
                see.resume
            ),
            ..base
        },
        Standing::Leaving => Words {
            message: "the Migration is being deleted".to_owned(),
            ..base
        },
        Standing::DryRunning { obstacle: None } => Words {
            phase: Phase::DryRun,
            reconciling: true,
            reason: reason::DRY_RUN_IN_PROGRESS.to_owned(),
            message: format!(
                "the migration of {image} is being rehearsed in the Job {}",
                job_of(run, RunPhase::DryRun)
            ),
            ..base
        },
        Standing::DryRunning {
            obstacle: Some(obstacle),
        } => hindered(base, run, RunPhase::DryRun, obstacle, &see),
        Standing::Upgrading {
            obstacle,
            superseded,
        } => {
            let words = match obstacle {
                Some(obstacle) => hindered(base, run, RunPhase::Upgrade, obstacle, &see),
                None => Words {
                    phase: Phase::Upgrading,
                    reconciling: true,
                    reason: reason::UPGRADE_IN_PROGRESS.to_owned(),
                    message: format!(
                        "the dry run passed; the upgrade to {} runs in the Job {}",
                        run.map_or(image, |run| &run.image),
                        job_of(run, RunPhase::Upgrade)
                    ),
                    ..base
                },
            };
            if *superseded && obstacle.is_none() {
                Words {
                    reason: reason::WAITING_FOR_UPGRADE.to_owned(),
                    message: format!("{}; {image} waits for its end", words.message),
                    ..words
                }
            } else {
                words
            }
        }
        Standing::DryRunEnded { outcome } => Words {
            phase: Phase::Stalled,
            stalled: true,
            reason: outcome.reason.clone(),
            message: format!(
                "{}: {}; {}",
                with_cause(outcome),
                sentence(&outcome.message),
                see.next(outcome)
            ),
            ..base
        },
        Standing::UpgradeEnded {
            outcome,
            superseded,
        } => Words {
            phase: Phase::Stalled,
            stalled: true,
            reason: outcome.reason.clone(),
            message: format!(
                "{}: {}; {}{}{}",
                with_cause(outcome),
                sentence(&outcome.message),
                if *superseded {
                    format!("{image} waits until a person has looked; ")
                } else {
                    String::new()
                },
                see.next(outcome),
                match run.and_then(|run| run.landed.as_ref()) {
                    Some(state) if !*superseded => format!(
                        "; to release {image} as it is, accept the state that the upgrade left: {}",
                        see.accept(state)
                    ),
                    _ => String::new(),
                }
            ),
            ..base
        },
        Standing::NotAccepted(unaccepted) => Words {
            phase: Phase::Stalled,
            stalled: true,
            reason: unaccepted.reason.clone(),
            message: format!(
                "{}: nothing is pending for {image}, but {} {}: {}; if the database is right for {image}, {}release it by hand: {}",
                unaccepted.reason,
                if is_in_doubt(&unaccepted.reason) {
                    "it is not shown that the database is where it should be after the upgrade to"
                } else {
                    "the database is in a state that no dry run predicted, after the upgrade to"
                },
                unaccepted.image,
                sentence(&unaccepted.message),
                match run.and_then(|run| run.before.as_ref()) {
                    Some(state) => format!("accept its state: {}; or ", see.accept(state)),
                    None => String::new(),
                },
                see.release(image)
            ),
            ..base
        },
        Standing::Busy { phase, outcome } => Words {
            phase: match phase {
                RunPhase::DryRun => Phase::DryRun,
                RunPhase::Upgrade => Phase::Upgrading,
            },
            reconciling: true,
            reason: outcome.reason.clone(),
            message: format!(
                "{}: {}; it is tried again by itself",
                with_cause(outcome),
                sentence(&outcome.message)
            ),
            ..base
        },
        Standing::JobRefused { phase, problem } => Words {
            phase: Phase::Stalled,
            stalled: true,
            reason: problem.reason.to_owned(),
            message: format!(
                "the Job {} cannot be created: {}; it is tried again every 10 seconds; to see the Migration: {}",
                job_of(run, *phase),
                sentence(&problem.message),
                see.describe
            ),
            ..base
        },
        Standing::Released(why) => Words {
            phase: Phase::Released,
            ready: true,
            reason: (*why).to_owned(),
            message: match *why {
                reason::UPGRADED => format!(
                    "the database is as rehearsed, pods of {image} start; the report: {}",
                    see.report
                ),
                reason::NOTHING_TO_DO => format!(
                    "{image} has nothing to migrate, its pods start; the report: {}",
                    see.report
                ),
                reason::ACCEPTED => format!(
                    "the upgrade to {image} landed elsewhere than predicted, and a person has \
                     accepted that state; its pods start; the report: {}",
                    see.report
                ),
                reason::RELEASED_BY_HAND => {
                    format!("{image} was released by hand, without a migration")
                }
                _ => format!("{image} was released before; nothing is run"),
            },
            ..base
        },
    }
}

fn hindered(
    base: Words,
    run: Option<&Run>,
    phase: RunPhase,
    obstacle: &Obstacle,
    see: &Commands,
) -> Words {
    let job = job_of(run, phase);
    Words {
        phase: match (obstacle.lasting, phase) {
            (true, _) => Phase::Stalled,
            (false, RunPhase::DryRun) => Phase::DryRun,
            (false, RunPhase::Upgrade) => Phase::Upgrading,
        },
        reconciling: !obstacle.lasting,
        stalled: obstacle.lasting,
        reason: obstacle.problem.reason.to_owned(),
        message: match obstacle.problem.reason {
            reason::NAME_TAKEN => format!(
                "the report of the Job {job} cannot be kept: {}; it is tried again every 10 seconds; to see the Migration: {}",
                sentence(&obstacle.problem.message),
                see.describe
            ),
            // There is no pod to look at.
            reason::QUOTA_EXCEEDED | reason::POD_FORBIDDEN => format!(
                "the Job {job} cannot make its pod: {}; it goes on by itself once this is mended; to see the Job: {}",
                sentence(&obstacle.problem.message),
                see.job(job)
            ),
            _ => format!(
                "the pod of the Job {job} cannot start: {}; it goes on by itself once this is mended; to see the pod: {}",
                sentence(&obstacle.problem.message),
                see.pods(job)
            ),
        },
        ..base
    }
}

fn dry_run_passed(
    run: Option<&Run>,
    standing: &Standing,
    words: &Words,
) -> (&'static str, String, String) {
    let outcome = run.and_then(|run| run.outcome(RunPhase::DryRun));
    match outcome {
        Some(outcome) if outcome.reason == reason::PASSED => {
            (TRUE, outcome.reason.clone(), outcome.message.clone())
        }
        Some(outcome) => (FALSE, outcome.reason.clone(), outcome.message.clone()),
        None if matches!(standing, Standing::Released(_)) => (
            UNKNOWN,
            words.reason.clone(),
            "no dry run was needed".to_owned(),
        ),
        None => (UNKNOWN, words.reason.clone(), words.message.clone()),
    }
}

fn rollback_verified(run: Option<&Run>) -> (&'static str, &'static str, &'static str) {
    let outcome = run.and_then(|run| run.outcome(RunPhase::DryRun));
    match outcome.map(|outcome| outcome.rollback_verified) {
        Some(Some(true)) => (
            TRUE,
            reason::VERIFIED,
            "an independent connection found the database as it was",
        ),
        Some(Some(false)) => (
            FALSE,
            reason::ROLLBACK_NOT_VERIFIED,
            "the rehearsal left something behind, or was bypassed",
        ),
        Some(None) => (
            UNKNOWN,
            reason::NOT_PROVEN,
            "there is no proof of the rollback",
        ),
        None => (UNKNOWN, reason::PENDING, "no dry run has ended"),
    }
}

fn upgraded(
    run: Option<&Run>,
    standing: &Standing,
    words: &Words,
) -> (&'static str, String, String) {
    if let Standing::Released(why) = standing {
        let message = match *why {
            reason::UPGRADED => "the database is in the state that was rehearsed",
            reason::NOTHING_TO_DO => "there was nothing to upgrade",
            reason::ACCEPTED => "the database is in a state that a person has accepted",
            _ => "no upgrade was run",
        };
        let state = if *why == reason::RELEASED_BY_HAND {
            UNKNOWN
        } else {
            TRUE
        };
        return (state, (*why).to_owned(), message.to_owned());
    }
    if let Standing::NotAccepted(unaccepted) = standing {
        let state = if is_in_doubt(&unaccepted.reason) {
            UNKNOWN
        } else {
            FALSE
        };
        return (state, words.reason.clone(), words.message.clone());
    }
    let record = run.and_then(|run| run.job(RunPhase::Upgrade));
    match record.map(|record| record.outcome.as_ref()) {
        Some(Some(outcome)) if is_in_doubt(&outcome.reason) => {
            (UNKNOWN, outcome.reason.clone(), outcome.message.clone())
        }
        Some(Some(outcome)) => (FALSE, outcome.reason.clone(), outcome.message.clone()),
        Some(None) => (UNKNOWN, words.reason.clone(), words.message.clone()),
        None => (
            UNKNOWN,
            reason::PENDING.to_owned(),
            "no upgrade has been started".to_owned(),
        ),
    }
}

fn job_of(run: Option<&Run>, phase: RunPhase) -> &str {
    run.and_then(|run| run.job(phase))
        .map_or("", |record| &record.name)
}

fn with_cause(outcome: &Outcome) -> String {
    match &outcome.cause {
        Some(cause) => format!("{} ({cause})", outcome.reason),
        None => outcome.reason.clone(),
    }
}

/// Without the full stop, so that it can be gone on after.
fn sentence(text: &str) -> &str {
    text.trim_end().trim_end_matches('.')
}
