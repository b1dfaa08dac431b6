//! The steps of a pod: the same parts as locally, handing over through files and a loopback link.
//!
//! | container | step | waits for | leaves |
//! |---|---|---|---|
//! | init `prepare` | [`prepare`] | | the binary, or the verdict that stops the pod |
//! | sidecar `rehearsal` or `guard` | [`rehearse`], [`upgrade`] | the runner | a mark that it is there, state before, record |
//! | `migration` | [`run`] | the sidecar's address | |
//! | `witness` | [`verify`] | the record | the report, and a mark when a dry run passed |
//!
//! The sidecar takes the advisory lock when the runner is there, and holds it until the witness's mark
//! is there, else until it is signalled, which happens only after both main containers have ended. When it crashes, the kubelet starts it again while the command may still
//! be running: a marker makes the second start refuse service and leave a record of the crash.

mod prepare;
mod run;
mod sidecar;
mod verify;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::record::{self, Run, Said};
use super::{document, files};
use crate::api::pod;
use crate::postgres::dialect::Dialect;
use crate::postgres::url::Target;
use crate::report::{Phase, Report};
use crate::verdict::{Environment, EvidenceDigest, Verdict};

pub use prepare::prepare;
pub use run::run;
pub use sidecar::{rehearse, upgrade};
pub use verify::verify;

/// What every container of ours in one pod knows.
#[derive(Debug, Clone)]
pub struct Pod {
    /// What is to be run.
    pub plan: Plan,
    /// Which run.
    pub run: Run,
    /// The database.
    pub target: Target,
    /// How the command reads its address.
    pub dialect: Dialect,
    /// The URL as it was given; `None` when it was given in parts.
    pub text: Option<String>,
    /// The digest of the dry run's report; in the upgrade only.
    pub evidence: Option<EvidenceDigest>,
    /// Where files are.
    pub folders: Folders,
}

/// Where the volumes are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The binary for the runner.
    pub bin: PathBuf,
    /// Files of ours alone.
    pub work: PathBuf,
    /// Shared with the runner.
    pub results: PathBuf,
    /// The stored report.
    pub evidence: PathBuf,
    /// The container's termination message.
    pub termination: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            bin: pod::BIN_PATH.into(),
            work: pod::WORK_PATH.into(),
            results: pod::RESULTS_PATH.into(),
            evidence: pod::EVIDENCE_PATH.into(),
            termination: "/dev/termination-log".into(),
        }
    }
}

impl Folders {
    /// The same folders below another root.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let moved = |path: PathBuf| root.join(path.strip_prefix("/").unwrap_or(&path));
        let usual = Self::default();
        Self {
            bin: moved(usual.bin),
            work: moved(usual.work),
            results: moved(usual.results),
            evidence: moved(usual.evidence),
            termination: moved(usual.termination),
        }
    }

    fn before(&self) -> PathBuf {
        self.work.join("before.json")
    }

    fn record(&self) -> PathBuf {
        self.work.join("record.json")
    }

    fn started(&self) -> PathBuf {
        self.work.join("started")
    }

    fn begun(&self) -> PathBuf {
        self.work.join("begun")
    }

    fn passed(&self) -> PathBuf {
        self.work.join("passed")
    }

    fn link(&self) -> PathBuf {
        self.results.join("link.json")
    }

    fn runner(&self) -> PathBuf {
        self.results.join("runner")
    }
}

/// Where the runner finds the sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    address: SocketAddr,
    token: String,
}

/// The record that the sidecar leaves for the witness.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase")]
enum Record {
    /// A dry run whose rehearsal was opened.
    DryRun(Box<record::DryRun>),
    /// An upgrade that was begun.
    Upgrade(Box<record::Upgrade>),
    /// A run that was over before its command was started.
    NotStarted(Said),
    /// The sidecar was killed and started again; nobody knows how the command ended.
    Crashed,
    /// The pod was stopped and nothing was left in time. Never written, only concluded.
    Stopped,
}

impl Pod {
    /// Dry run or upgrade: only an upgrade is bound to evidence.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.evidence.is_some() {
            Phase::Upgrade
        } else {
            Phase::DryRun
        }
    }
}

/// The report of a step that ends the run by itself, with the bytes that its summary's digest is
/// about; the summary is written as the container's termination message.
#[must_use]
pub fn end(run: &Run, phase: Phase, folders: &Folders, said: Said) -> (Report, Vec<u8>) {
    let report = document::not_started(run, phase, None, said, Timestamp::now());
    let json = serde_json::to_vec(&report).unwrap_or_default();
    verify::leave_summary(folders, &report, &json);
    (report, json)
}

/// Reads the dry run's report from the mounted volume, and checks that it is the announced one.
fn evidence(pod: &Pod) -> Result<(Report, EvidenceDigest), Said> {
    let malformed = |what: &str| {
        Said::new(
            Verdict::Environment(Environment::Configuration),
            format!("the stored report of the dry run {what}; rehearse again"),
        )
    };
    let announced = pod
        .evidence
        .clone()
        .ok_or_else(|| malformed("was not announced"))?;
    let packed = files::read(&pod.folders.evidence.join(pod::REPORT_KEY))?;
    let mut json = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(packed.as_slice()),
        &mut json,
    )
    .map_err(|_| malformed("is damaged"))?;
    if Report::digest_of(&json) != announced {
        return Err(malformed("is not the announced one"));
    }
    let report: Report = serde_json::from_slice(&json).map_err(|_| malformed("is damaged"))?;
    if report.phase != Phase::DryRun {
        return Err(malformed("is not one of a dry run"));
    }
    Ok((report, announced))
}
