//! The witness's container: waits for the record, looks for itself, decides, reports.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::run::over;
use super::{Folders, Pod, Record, evidence};
use crate::dock::before::Before;
use crate::dock::console::Console;
use crate::dock::decide::After;
use crate::dock::link::{Ended, How};
use crate::dock::record::{DryRun, Said, Upgrade};
use crate::dock::trouble::chain;
use crate::dock::{document, files, verify as look};
use crate::report::{Phase, Report, Summary};
use crate::verdict::{Environment, Verdict};

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Beyond the budget of the run itself: time to wait for the database, to roll back, to write the
/// record.
const ALLOWANCE: Duration = Duration::from_secs(900);
/// How long a pod that is being stopped may take to end a dry run: the runner kills the command at
/// once, and the report must be out before the pod's grace period is over.
const DRY_RUN_GRACE: Duration = Duration::from_secs(3);
/// The same for an upgrade, whose command is asked and then waited for.
const UPGRADE_GRACE: Duration = Duration::from_secs(14 * 60);

/// Waits for the sidecar's record and reports. Gives the report and the very bytes that its
/// summary's digest is about; the summary is written as the termination message.
///
/// When the pod is being stopped, the record that the sidecar then writes is still waited for, but
/// not for ever.
pub async fn verify(pod: &Pod, console: &Console) -> (Report, Vec<u8>) {
    let phase = pod.phase();
    let mut report = match wait(pod, phase, console).await {
        Ok(record) => judge(pod, phase, record).await,
        Err(said) => document::not_started(&pod.run, phase, None, said, Timestamp::now()),
    };
    // An upgrade that was not started is one of this dry run's, too.
    report.bound_to = report.bound_to.or_else(|| pod.evidence.clone());
    let json = serde_json::to_vec(&report).unwrap_or_default();
    leave_summary(&pod.folders, &report, &json);
    if phase == Phase::DryRun
        && report.verdict == Verdict::Passed
        && let Err(error) = files::write(&pod.folders.passed(), b"")
    {
        // The lock is held a little longer then.
        tracing::warn!(error = %chain(&error), "the mark for the sidecar could not be written");
    }
    (report, json)
}

/// Writes the termination message; a log line when that cannot be done.
pub(super) fn leave_summary(folders: &Folders, report: &Report, json: &[u8]) {
    let summary = Summary::of(report, json);
    let text = serde_json::to_vec(&summary).unwrap_or_default();
    // The kubelet mounts a file here: it can be written, but not replaced.
    if let Err(error) = std::fs::write(&folders.termination, text) {
        tracing::error!(%error, "the termination message could not be written");
    }
}

async fn wait(pod: &Pod, phase: Phase, console: &Console) -> Result<Record, Said> {
    let path = pod.folders.record();
    let patience = match phase {
        Phase::DryRun => Some(pod.plan.budgets.duration + ALLOWANCE),
        // A real migration may take as long as it takes.
        Phase::Upgrade => None,
    };
    let left = async {
        // The time counts from when the command could begin: its image may have to be mended first.
        if patience.is_some() {
            let begun = pod.folders.begun();
            tokio::select! {
                _ = appears(&begun, None) => {}
                _ = appears(&path, None) => {}
            }
        }
        appears(&path, patience).await
    };
    tokio::select! {
        found = left => if !found {
            return Err(Said::new(
                Verdict::RollbackNotVerified,
                "the sidecar left no record; nothing is known about the rehearsal",
            ));
        },
        () = console.stopped() => {
            let grace = match phase {
                Phase::DryRun => DRY_RUN_GRACE,
                Phase::Upgrade => UPGRADE_GRACE,
            };
            if !appears(&path, Some(grace)).await {
                return Ok(Record::Stopped);
            }
        }
    }
    Ok(files::read_json(&path)?)
}

/// Waits for a file; false when it is not there in time.
async fn appears(path: &std::path::Path, patience: Option<Duration>) -> bool {
    let began = Instant::now();
    while !path.exists() {
        if patience.is_some_and(|patience| began.elapsed() > patience) {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

async fn judge(pod: &Pod, phase: Phase, record: Record) -> Report {
    let before = files::read_json::<Before>(&pod.folders.before()).map_err(Said::from);
    let not_started = |said| document::not_started(&pod.run, phase, None, said, Timestamp::now());
    match (record, before) {
        (Record::NotStarted(said), _) => not_started(said),
        (Record::DryRun(_) | Record::Upgrade(_), Err(said)) => not_started(said),
        (Record::DryRun(record), Ok(before)) => rolled_back(pod, &before, *record).await,
        (Record::Upgrade(record), Ok(before)) => landed(pod, &before, *record).await,
        // It was gone before anything was read, so before anything was done.
        (Record::Crashed, Err(_)) => not_started(crashed(phase)),
        (Record::Stopped, Err(_)) => not_started(stopped()),
        (Record::Crashed, Ok(before)) => gone(pod, phase, &before, crashed(phase)).await,
        (Record::Stopped, Ok(before)) => gone(pod, phase, &before, stopped()).await,
    }
}

/// Judges a run of which nothing is left but the state before.
async fn gone(pod: &Pod, phase: Phase, before: &Before, said: Said) -> Report {
    match phase {
        Phase::DryRun => {
            let record = DryRun::broken(pod.run.clone(), before, said);
            rolled_back(pod, before, record).await
        }
        Phase::Upgrade => {
            let mut record = Upgrade::begun(
                pod.run.clone(),
                before.database.clone(),
                pod.plan.tool.remembers(),
                pod.evidence.clone(),
            );
            record.ended = Some(Ended::lost());
            landed(pod, before, record).await
        }
    }
}

async fn rolled_back(pod: &Pod, before: &Before, record: DryRun) -> Report {
    let witness = look::rollback(&pod.target, &pod.run.id, before, &record).await;
    document::dry_run(record, witness, Timestamp::now())
}

async fn landed(pod: &Pod, before: &Before, record: Upgrade) -> Report {
    let rehearsed = evidence(pod).map(|(report, _)| (report.prediction, report.command_millis));
    match rehearsed {
        Ok((Some(predicted), millis)) => {
            let after = after(pod, before, &record).await;
            document::upgrade(record, &predicted, millis, after, Timestamp::now())
        }
        Ok((None, _)) => document::not_started(
            &record.run,
            Phase::Upgrade,
            None,
            Said::new(
                Verdict::Environment(Environment::Configuration),
                "the stored report of the dry run holds no prediction; rehearse again",
            ),
            Timestamp::now(),
        ),
        Err(said) => {
            document::not_started(&record.run, Phase::Upgrade, None, said, Timestamp::now())
        }
    }
}

/// What a command leaves that ended by itself is final. Of any other the runner may still be waiting
/// for its end.
async fn after(pod: &Pod, before: &Before, record: &Upgrade) -> Result<After, String> {
    let ended = record.ended.as_ref();
    if !ended.is_some_and(|ended| matches!(ended.how, How::Exited { .. })) {
        over(&pod.folders).await.map_err(|error| chain(&error))?;
    }
    look::after(&pod.target, &pod.run.id, before, ended).await
}

fn crashed(phase: Phase) -> Said {
    Said::new(
        Verdict::Environment(Environment::ConnectionLost),
        match phase {
            Phase::DryRun => {
                "the container that held the rehearsal was killed (out of memory?); the server \
                 rolled back by itself"
            }
            Phase::Upgrade => "the container that guarded the upgrade was killed",
        },
    )
}

fn stopped() -> Said {
    Said::new(
        Verdict::Interrupted,
        "the pod was stopped before it had written down what it did",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AlembicSpec, MigrationSpec};
    use crate::dock::console::Progress;
    use crate::dock::plan::Plan;
    use crate::dock::record::Run;
    use crate::postgres::url;
    use crate::report::RunId;

    #[tokio::test]
    async fn an_upgrade_that_was_not_started_is_bound_to_its_dry_run_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        for folder in [&folders.work, &folders.termination] {
            std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        }
        std::fs::create_dir(&folders.work).unwrap();
        let drifted = Record::NotStarted(Said::new(Verdict::Drift, "changed"));
        files::write_json(&folders.record(), &drifted).unwrap();
        let address = "postgresql://orders@127.0.0.1/orders";
        let (target, dialect) = url::parse(address, &url::Environment::new()).unwrap();
        let spec = MigrationSpec {
            alembic: Some(AlembicSpec::default()),
            ..MigrationSpec::default()
        };
        let evidence = Report::digest_of(b"the dry run's report");
        let pod = Pod {
            plan: Plan::of(&spec),
            run: Run {
                id: RunId("orders-upgrade-1".into()),
                attempt: 1,
                command: Vec::new(),
                tool: "alembic".into(),
                started: Timestamp::UNIX_EPOCH,
            },
            target,
            dialect,
            text: None,
            evidence: Some(evidence.clone()),
            folders,
        };
        let console = Console {
            output: tokio::sync::mpsc::channel(1).0,
            progress: tokio::sync::watch::channel(Progress::default()).0,
            stop: tokio::sync::watch::channel(false).1,
        };
        let (report, _) = verify(&pod, &console).await;
        assert_eq!(report.verdict, Verdict::Drift);
        assert_eq!(report.bound_to, Some(evidence));
    }
}
