//! The witness's container: waits for the record, looks for itself, decides, reports.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::run::over;
use super::{Folders, Pod, Record, evidence};
use crate::dock::before::Before;
use crate::dock::console::Console;
use crate::dock::decide::After;
use crate::dock::files::StorageError;
use crate::dock::link::{Ended, How};
use crate::dock::record::{DryRun, Said, Upgrade};
use crate::dock::trouble::chain;
use crate::dock::{document, files, verify as look};
use crate::report::{Phase, Report, Summary};
use crate::verdict::{Environment, UpgradeFailure, Verdict};

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
    files::read_json(&path).map_err(|error| unknown(phase, &chain(&error)))
}

/// There was a record, so the command may have run, and nothing says what it did.
fn unknown(phase: Phase, reason: &str) -> Said {
    match phase {
        Phase::DryRun => Said::new(
            Verdict::RollbackNotVerified,
            format!(
                "it could not be verified that nothing was left behind: {reason}; look at the \
                 database before anything else"
            ),
        ),
        Phase::Upgrade => Said::new(
            Verdict::UpgradeFailed(UpgradeFailure::Unknown),
            format!("{reason}; it is not known where the upgrade ended"),
        ),
    }
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

/// What is left of the state before.
enum Known {
    Before(Box<Before>),
    /// It was never written down, so no command was started.
    Nothing,
    /// It was, and cannot be read any more; says why.
    Lost(String),
}

impl Known {
    fn of(folders: &Folders) -> Self {
        match files::read_json(&folders.before()) {
            Ok(before) => Self::Before(before),
            Err(StorageError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Self::Nothing
            }
            Err(error) => Self::Lost(chain(&error)),
        }
    }

    fn reason(self) -> String {
        match self {
            Self::Lost(reason) => reason,
            Self::Before(_) | Self::Nothing => "the state before the run is missing".to_owned(),
        }
    }
}

async fn judge(pod: &Pod, phase: Phase, record: Record) -> Report {
    let not_started = |said| document::not_started(&pod.run, phase, None, said, Timestamp::now());
    match (record, Known::of(&pod.folders)) {
        (Record::NotStarted(said), _) => not_started(said),
        (Record::DryRun(record), Known::Before(before)) => rolled_back(pod, &before, *record).await,
        (Record::DryRun(record), lost) => {
            document::dry_run(*record, Err(lost.reason()), Timestamp::now())
        }
        (Record::Upgrade(record), Known::Before(before)) => landed(pod, &before, *record).await,
        (Record::Upgrade(record), lost) => {
            document::unjudged(*record, &lost.reason(), Timestamp::now())
        }
        // It was gone before anything was read, so before anything was done.
        (Record::Crashed, Known::Nothing) => not_started(crashed(phase)),
        (Record::Stopped, Known::Nothing) => not_started(stopped()),
        (Record::Crashed | Record::Stopped, Known::Lost(reason)) => {
            not_started(unknown(phase, &reason))
        }
        (Record::Crashed, Known::Before(before)) => gone(pod, phase, &before, crashed(phase)).await,
        (Record::Stopped, Known::Before(before)) => gone(pod, phase, &before, stopped()).await,
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
        Ok((None, _)) => document::unjudged(
            record,
            "the stored report of the dry run holds no prediction",
            Timestamp::now(),
        ),
        Err(said) => document::unjudged(record, &said.message, Timestamp::now()),
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
    use rstest::rstest;

    use super::*;
    use crate::api::{AlembicSpec, MigrationSpec};
    use crate::dock::console::Progress;
    use crate::dock::plan::Plan;
    use crate::dock::record::Run;
    use crate::postgres::url;
    use crate::report::RunId;
    use crate::verdict::EvidenceDigest;

    fn pod(root: &std::path::Path, evidence: Option<EvidenceDigest>) -> Pod {
        let folders = Folders::below(root);
        for folder in [&folders.work, &folders.termination] {
            std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        }
        std::fs::create_dir(&folders.work).unwrap();
        let address = "postgresql://orders@127.0.0.1/orders";
        let (target, dialect) = url::parse(address, &url::Environment::new()).unwrap();
        let spec = MigrationSpec {
            alembic: Some(AlembicSpec::default()),
            ..MigrationSpec::default()
        };
        Pod {
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
            evidence,
            folders,
        }
    }

    async fn verified(pod: &Pod) -> Report {
        let console = Console {
            output: tokio::sync::mpsc::channel(1).0,
            progress: tokio::sync::watch::channel(Progress::default()).0,
            stop: tokio::sync::watch::channel(false).1,
        };
        verify(pod, &console).await.0
    }

    #[tokio::test]
    async fn an_upgrade_that_was_not_started_is_bound_to_its_dry_run_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let evidence = Report::digest_of(b"the dry run's report");
        let pod = pod(root.path(), Some(evidence.clone()));
        let drifted = Record::NotStarted(Said::new(Verdict::Drift, "changed"));
        files::write_json(&pod.folders.record(), &drifted).unwrap();
        let report = verified(&pod).await;
        assert_eq!(report.verdict, Verdict::Drift);
        assert_eq!(report.bound_to, Some(evidence));
    }

    fn upgrade(pod: &Pod, change: impl FnOnce(&mut Upgrade)) -> Record {
        let mut upgrade = Upgrade {
            run: pod.run.clone(),
            database: None,
            remembers: true,
            bound_to: pod.evidence.clone(),
            ended: None,
            already_applied: false,
            findings: Vec::new(),
            interrupted: false,
            broken: None,
        };
        change(&mut upgrade);
        Record::Upgrade(Box::new(upgrade))
    }

    fn ended(how: How) -> Option<Ended> {
        Some(Ended {
            how,
            ..Ended::lost()
        })
    }

    fn dry_run(pod: &Pod) -> Record {
        Record::DryRun(Box::new(DryRun {
            ended: ended(How::Exited { code: 0 }),
            ..DryRun::unseen(pod.run.clone())
        }))
    }

    const LOST: Verdict = Verdict::UpgradeFailed(UpgradeFailure::Unknown);
    const STORAGE: Verdict = Verdict::Environment(Environment::Storage);

    #[rstest]
    #[case(|pod: &Pod| upgrade(pod, |it| it.ended = ended(How::Exited { code: 0 })), LOST)]
    #[case(|pod: &Pod| upgrade(pod, |_| ()), LOST)]
    #[case(|_: &Pod| Record::Crashed, LOST)]
    #[case(|_: &Pod| Record::Stopped, LOST)]
    #[case(|pod: &Pod| upgrade(pod, |it| it.already_applied = true), STORAGE)]
    #[case(
        |pod: &Pod| upgrade(pod, |it| it.ended = ended(How::NotStarted { reason: "no file".into() })),
        Verdict::Environment(Environment::CommandNotStarted)
    )]
    #[tokio::test]
    async fn an_upgrade_that_may_have_run_is_in_doubt_when_the_state_before_cannot_be_read(
        #[case] record: fn(&Pod) -> Record,
        #[case] expected: Verdict,
    ) {
        let root = tempfile::tempdir().unwrap();
        let pod = pod(root.path(), Some(Report::digest_of(b"evidence")));
        std::fs::write(pod.folders.before(), "{").unwrap();
        files::write_json(&pod.folders.record(), &record(&pod)).unwrap();
        let report = verified(&pod).await;
        assert_eq!(report.verdict, expected, "{}", report.message);
        assert!(report.bound_to.is_some());
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_proves_nothing() {
        for (evidence, expected) in [
            (None, Verdict::RollbackNotVerified),
            (Some(Report::digest_of(b"evidence")), LOST),
        ] {
            let root = tempfile::tempdir().unwrap();
            let pod = pod(root.path(), evidence);
            std::fs::write(pod.folders.record(), "{").unwrap();
            assert_eq!(verified(&pod).await.verdict, expected);
        }
    }

    #[tokio::test]
    async fn a_dry_run_without_its_state_before_is_not_proven_to_be_rolled_back() {
        for before in [None, Some("{")] {
            let root = tempfile::tempdir().unwrap();
            let pod = pod(root.path(), None);
            if let Some(text) = before {
                std::fs::write(pod.folders.before(), text).unwrap();
            }
            files::write_json(&pod.folders.record(), &dry_run(&pod)).unwrap();
            let report = verified(&pod).await;
            assert_eq!(report.verdict, Verdict::RollbackNotVerified);
            assert_eq!(report.command_exit, Some(0));
        }
    }
}
