//! What is worth an event: transitions, never states.

use crate::api::{MigrationStatus, RunPhase, condition, is_true, reason};

/// As in `v1.Event`'s type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Normal,
    /// A person should look.
    Warning,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Whether it is good news.
    pub severity: Severity,
    /// A constant of [`crate::api::reason`].
    pub reason: String,
    /// What happened.
    pub message: String,
    /// The run that it is about, when it is about one.
    pub phase: Option<RunPhase>,
}

/// The events between two statuses.
#[must_use]
pub fn transitions(old: &MigrationStatus, new: &MigrationStatus) -> Vec<Transition> {
    let mut found = Vec::new();
    let mut tell = |severity, reason: &str, message: String, phase| {
        found.push(Transition {
            severity,
            reason: reason.to_owned(),
            message,
            phase,
        });
    };
    let job = |status: &MigrationStatus, phase| {
        let record = status.run.as_ref()?.job(phase)?;
        Some(record.name.clone())
    };
    let drifts = |status: &MigrationStatus| status.run.as_ref().map_or(0, |run| run.drifts);
    if drifts(new) > drifts(old) {
        tell(
            Severity::Warning,
            reason::DRIFT,
            "the database changed between dry run and upgrade; nothing was written, and it is rehearsed again".to_owned(),
            Some(RunPhase::Upgrade),
        );
    }
    let started = |phase, what: &str| {
        let name = job(new, phase)?;
        (Some(&name) != job(old, phase).as_ref())
            .then(|| format!("the {what} is started as the Job {name}"))
    };
    let became = |kind: &str| {
        let now = new.condition(kind).filter(|c| c.status == "True")?;
        let before = old.condition(kind).filter(|c| c.status == "True");
        before
            .is_none_or(|before| before.reason != now.reason)
            .then_some(now)
    };
    // In the order in which they happen: a pass and the start of the upgrade are often one change.
    if let Some(message) = started(RunPhase::DryRun, "dry run") {
        tell(
            Severity::Normal,
            reason::DRY_RUN_IN_PROGRESS,
            message,
            Some(RunPhase::DryRun),
        );
    }
    if let Some(passed) = became(condition::DRY_RUN_PASSED) {
        tell(
            Severity::Normal,
            &passed.reason,
            passed.message.clone(),
            Some(RunPhase::DryRun),
        );
    }
    if let Some(message) = started(RunPhase::Upgrade, "upgrade") {
        tell(
            Severity::Normal,
            reason::UPGRADE_IN_PROGRESS,
            message,
            Some(RunPhase::Upgrade),
        );
    }
    if let Some(stalled) = became(condition::STALLED) {
        tell(
            Severity::Warning,
            &stalled.reason,
            stalled.message.clone(),
            None,
        );
    }
    let image = |status: &MigrationStatus, image: &str| {
        status.released.iter().any(|entry| entry.image == image)
    };
    for entry in &new.released {
        if !image(old, &entry.image) && entry.commands.is_none() && old.observed_generation < 0 {
            tell(
                Severity::Normal,
                reason::ADOPTED,
                format!("{} already runs and counts as released", entry.image),
                None,
            );
        }
    }
    if is_true(new.condition(condition::GATE_OPEN))
        && let Some(ready) = became(condition::READY)
    {
        let by_a_person = [reason::RELEASED_BY_HAND, reason::ACCEPTED];
        let severity = if by_a_person.contains(&ready.reason.as_str()) {
            Severity::Warning
        } else {
            Severity::Normal
        };
        tell(severity, &ready.reason, ready.message.clone(), None);
    }
    found
}
