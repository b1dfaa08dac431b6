//! What has ended: one entry for each attempt, the latest first.
//!
//! An entry is computed from the run's own record and written over what the same attempt has left,
//! so looking twice adds nothing. It stays when the run is gone.

use super::advance::is_busy_end;
use super::world::World;
use crate::api::{JobRecord, MigrationStatus, Past, PastPhase, Run, RunPhase, job_name, reason};

/// How many attempts are kept.
const KEPT: usize = 10;

/// How large a status may be, as JSON. What it says of the past gives way first.
const STATUS_LIMIT: usize = 32 * 1024;

/// Writes down how the present run stands, when one of its Jobs has ended.
pub(super) fn record(world: &World, status: &mut MigrationStatus) {
    let Some(run) = &status.run else { return };
    let history = &mut status.history;
    let known = history.iter().position(|past| is_of(past, run));
    let before = known.and_then(|at| history.get(at));
    let Some(past) = past(world, run, before) else {
        return;
    };
    match known {
        Some(at) => {
            if let Some(entry) = history.get_mut(at) {
                *entry = past;
            }
        }
        None => {
            // Who waits for another run tries again and again; that is one thing to tell.
            let latest = history.first();
            if latest.is_some_and(|latest| is_repeated(latest, &past)) {
                history.remove(0);
            }
            history.insert(0, past);
        }
    }
    history.truncate(KEPT);
}

/// Forgets what is oldest until the status is small enough to be kept.
pub(super) fn bound(status: &mut MigrationStatus) {
    while !status.history.is_empty() && size(status) > STATUS_LIMIT {
        status.history.pop();
    }
}

fn size(status: &MigrationStatus) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither a status nor a count can fail.
    let _ = serde_json::to_writer(&mut count, status);
    count.0
}

fn is_of(past: &Past, run: &Run) -> bool {
    past.input_digest == run.input_digest && past.attempt == run.attempt
}

fn is_repeated(earlier: &Past, later: &Past) -> bool {
    let busy = |past: &Past| is_busy_end(&past.reason, past.cause.as_deref());
    earlier.input_digest == later.input_digest
        && earlier.phase == later.phase
        && busy(earlier)
        && busy(later)
}

/// What is to be said of a run. `before` is what was said of the same attempt: a report that is not
/// at hand any more takes no figure away.
fn past(world: &World, run: &Run, before: Option<&Past>) -> Option<Past> {
    let ended = |phase| {
        let record = run.job(phase)?;
        record.outcome.as_ref().map(|outcome| (record, outcome))
    };
    // An upgrade that is tried again keeps the dry run of an earlier attempt, of which there is an
    // entry already.
    let is_its_own = |record: &JobRecord| {
        let migration = world.migration.metadata.name.as_deref().unwrap_or_default();
        let own = job_name(migration, RunPhase::DryRun, &run.input_digest, run.attempt);
        record.name == own
    };
    let rehearsed = run.dry_run.as_ref().filter(|record| is_its_own(record));
    let (phase, (record, outcome)) = match ended(RunPhase::Upgrade) {
        Some(ended) => (PastPhase::Upgrade, ended),
        None => {
            let (record, outcome) = ended(RunPhase::DryRun)?;
            if rehearsed.is_none() && outcome.reason == reason::PASSED {
                return None;
            }
            (PastPhase::DryRun, (record, outcome))
        }
    };
    let first = rehearsed.unwrap_or(record);
    let millis = |phase| {
        let record = run.job(phase).filter(|record| record.outcome.is_some())?;
        let figures = world.reports.get(&record.name)?.figures;
        u64::try_from(figures.command?.as_millis()).ok()
    };
    Some(Past {
        image: run.image.clone(),
        input_digest: run.input_digest.clone(),
        attempt: run.attempt,
        phase,
        reason: outcome.reason.clone(),
        cause: outcome.cause.clone(),
        nothing_to_do: outcome.nothing_to_do,
        evidence: run.evidence.clone(),
        started: first.created.unwrap_or(run.started),
        finished: outcome.at,
        dry_run_millis: millis(RunPhase::DryRun)
            .or_else(|| before.and_then(|past| past.dry_run_millis)),
        upgrade_millis: millis(RunPhase::Upgrade)
            .or_else(|| before.and_then(|past| past.upgrade_millis)),
    })
}

#[cfg(test)]
mod tests;
