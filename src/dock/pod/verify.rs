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
/// Beyond the budget of the run itself: time to pull an image, to roll back, to write the record.
const ALLOWANCE: Duration = Duration::from_secs(900);

/// Waits for the sidecar's record and reports. Gives the report and the very bytes that its
/// summary's digest is about; the summary is written as the termination message.
pub async fn verify(pod: &Pod, console: &Console) -> (Report, Vec<u8>) {
    let phase = pod.phase();
    let waited = tokio::select! {
        waited = wait(pod, phase) => waited,
        said = stopped(pod, phase, console) => Err(said),
    };
    let mut report = match waited {
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

async fn wait(pod: &Pod, phase: Phase) -> Result<Record, Said> {
    let began = Instant::now();
    let path = pod.folders.record();
    while !path.exists() {
        if phase == Phase::DryRun && began.elapsed() > pod.plan.budgets.duration + ALLOWANCE {
            return Err(Said::new(
                Verdict::RollbackNotVerified,
                "the sidecar left no record; nothing is known about the rehearsal",
            ));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(files::read_json(&path)?)
}

/// Ends when nobody waits for this dry run any more and nothing was begun: the state before is
/// written down before anything else is done. What was begun is ended by the runner, and its record
/// is worth waiting for; so is that of any upgrade.
async fn stopped(pod: &Pod, phase: Phase, console: &Console) -> Said {
    console.stopped().await;
    if phase == Phase::Upgrade || pod.folders.before().exists() {
        return std::future::pending().await;
    }
    Said::new(
        Verdict::Interrupted,
        "the pod was stopped before the rehearsal began",
    )
}

async fn judge(pod: &Pod, phase: Phase, record: Record) -> Report {
    let now = Timestamp::now;
    let before = files::read_json::<Before>(&pod.folders.before()).map_err(Said::from);
    match (record, before) {
        (Record::NotStarted(said), _) => document::not_started(&pod.run, phase, None, said, now()),
        // It crashed before anything was read, so before anything was done.
        (Record::Crashed, Err(_)) => {
            document::not_started(&pod.run, phase, None, crashed(phase), now())
        }
        (Record::Crashed, Ok(before)) => match phase {
            Phase::DryRun => {
                let record =
                    DryRun::broken(pod.run.clone(), before.database.clone(), crashed(phase));
                rolled_back(pod, &before, record).await
            }
            Phase::Upgrade => {
                let mut record = Upgrade::begun(
                    pod.run.clone(),
                    before.database.clone(),
                    pod.plan.tool.remembers(),
                    pod.evidence.clone(),
                );
                record.ended = Some(Ended::lost());
                landed(pod, &before, record).await
            }
        },
        (Record::DryRun(_) | Record::Upgrade(_), Err(said)) => {
            document::not_started(&pod.run, phase, None, said, now())
        }
        (Record::DryRun(record), Ok(before)) => rolled_back(pod, &before, *record).await,
        (Record::Upgrade(record), Ok(before)) => landed(pod, &before, *record).await,
    }
}

async fn rolled_back(pod: &Pod, before: &Before, record: DryRun) -> Report {
    let witness = look::rollback(&pod.target, &pod.run.id, before, &record).await;
    document::dry_run(record, witness, Timestamp::now())
}

async fn landed(pod: &Pod, before: &Before, record: Upgrade) -> Report {
    let predicted = evidence(pod).map(|(report, _)| report.prediction);
    match predicted {
        Ok(Some(predicted)) => {
            let after = after(pod, before, &record).await;
            document::upgrade(record, &predicted, after, Timestamp::now())
        }
        Ok(None) => document::not_started(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AlembicSpec, MigrationSpec};
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
        let (report, _) = verify(&pod).await;
        assert_eq!(report.verdict, Verdict::Drift);
        assert_eq!(report.bound_to, Some(evidence));
    }
}
