//! What the controller says about a `Migration`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::digest::InputDigest;
use super::names::RunPhase;
use crate::verdict::{EvidenceDigest, Verdict};

/// The names of the conditions. `Reconciling` and `Stalled` exist only while they are True, as
/// kstatus asks, and so does `CredentialsExposed`; the others always exist.
pub mod condition {
    /// The image of the specification is released and nothing is left to do.
    pub const READY: &str = "Ready";
    /// Work is going on, or waits for something that comes by itself.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing will happen any more until a person acts.
    pub const STALLED: &str = "Stalled";
    /// The migration command succeeded in the rehearsal.
    pub const DRY_RUN_PASSED: &str = "DryRunPassed";
    /// The witness proved that the rehearsal left nothing behind.
    pub const ROLLBACK_VERIFIED: &str = "RollbackVerified";
    /// The real upgrade landed where the rehearsal predicted, or nothing was pending.
    pub const UPGRADED: &str = "Upgraded";
    /// The image of the specification is released: its pods start.
    pub const GATE_OPEN: &str = "GateOpen";
    /// The pod template gives the command the Secret that a dry run keeps from it.
    pub const CREDENTIALS_EXPOSED: &str = "CredentialsExposed";
}

/// The status of a Migration.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// The generation that this status is about; -1 before the first look.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// In one word, for people. Programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// See [`condition`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The present run: of the present input, or of an earlier one whose upgrade has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Images whose migration was applied. Their pods may start, restart and scale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<Released>,
    /// The latest upgrade that left the database in a state that no dry run had predicted, or nobody
    /// knows where, until another one lands as predicted or a person releases an image by hand.
    /// Meanwhile nothing is released because nothing is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unaccepted: Option<Unaccepted>,
    /// The value of the retry annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_retry: Option<String>,
    /// How often the latest inputs were attempted, the latest last, so that no attempt ever has the
    /// name of an earlier one whose Job and report are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempts>,
    /// How the latest attempts ended, of all images, the latest first: at most 10, and fewer where
    /// the status would become too large.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}

/// How one attempt ended: its dry run, or the upgrade that followed it.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// The image of its input.
    pub image: String,
    /// What was run.
    pub input_digest: InputDigest,
    /// Counts from 1 for each input.
    #[schemars(with = "i32", range(min = 1))]
    pub attempt: u32,
    /// How far it came.
    pub phase: PastPhase,
    /// How that ended: see [`Outcome::reason`].
    pub reason: String,
    /// The verdict's cause, when the verdict has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// True when nothing was pending.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_to_do: bool,
    /// The digest of the dry run's report, when it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceDigest>,
    /// When the first of its Jobs was created.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// When its end was known.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub finished: Timestamp,
    /// How long the command ran in the dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub dry_run_millis: Option<u64>,
    /// How long the command ran in the upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub upgrade_millis: Option<u64>,
}

/// How far an attempt came.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PastPhase {
    /// Its dry run ended, and no upgrade was started.
    DryRun,
    /// Its upgrade ended.
    Upgrade,
}

/// The attempts at one input.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempts {
    /// What was run.
    pub input_digest: InputDigest,
    /// The number of the latest attempt.
    #[schemars(with = "i32", range(min = 1))]
    pub latest: u32,
}

/// An upgrade that landed elsewhere than predicted, or nobody knows where.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unaccepted {
    /// The image that was upgraded to.
    pub image: String,
    /// `UpgradeDiverged`, `UpgradePartial`, `UpgradeUnknown` or `EvidenceLost`.
    pub reason: String,
    /// What was found.
    pub message: String,
    /// The digest of the state that it should have reached, when it may have: a dry run that finds
    /// nothing pending in just that state shows that it did. Absent when it would show nothing,
    /// because the state before was the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<String>,
}

/// A Migration's state in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Phase {
    /// Nothing has been started.
    Pending,
    /// The rehearsal is being started or runs.
    DryRun,
    /// The upgrade is being started or runs.
    Upgrading,
    /// The image is released.
    Released,
    /// Stopped; the condition Stalled says why.
    Stalled,
    /// Suspended.
    Suspended,
}

/// One pass of dry run and upgrade over one input.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// What is run.
    pub input_digest: InputDigest,
    /// The image of that input.
    pub image: String,
    /// The digest of its commands and database; see [`Released::commands`].
    pub commands: String,
    /// Counts from 1 for each input; each retry and each rehearsal after a drift is one more.
    #[schemars(with = "i32", range(min = 1))]
    pub attempt: u32,
    /// Rehearsals that were repeated because the database had changed before the upgrade.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32")]
    pub drifts: u32,
    /// Attempts in a row that ended because another run held the database.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32")]
    pub busy: u32,
    /// When this run began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// The dry run's Job: written before the Job is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<JobRecord>,
    /// The upgrade's Job: written before the Job is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<JobRecord>,
    /// The digest of the dry run's report, once the report is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceDigest>,
    /// The digest of the state that the dry run started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The digest of the state that the upgrade must reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<String>,
    /// The digest of the state that the upgrade left, when that is not the predicted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<String>,
    /// The image as the dry run's pod named it after admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<String>,
    /// The image id that the node ran the dry run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
}

/// One Job of a run.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// The Job's name.
    pub name: String,
    /// Its UID, once it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: Option<Timestamp>,
    /// The UID of an upgrade's pod, before that pod is started: no other pod of the Job ever is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl JobRecord {
    /// The intent to create a Job.
    #[must_use]
    pub fn intended(name: String) -> Self {
        Self {
            name,
            uid: None,
            created: None,
            pod: None,
            outcome: None,
        }
    }
}

/// How a Job ended.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The reason, as in the conditions: see [`super::reason`].
    pub reason: String,
    /// The verdict's cause, when the verdict has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What happened, where.
    pub message: String,
    /// Whether the witness proved the rollback; absent when it could not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_verified: Option<bool>,
    /// True when nothing was pending.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_to_do: bool,
    /// The digest of this run's report, when it is stored under the Job's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<EvidenceDigest>,
    /// When it was known.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// An image whose migration was applied.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// The image as the specification, or an adopted pod, named it.
    pub image: String,
    /// The image as it stood in the dry run's pod after admission, when that is another text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<String>,
    /// The digest of the image that ran, when the node knew one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The digest of the commands and the database; absent for an image that was adopted or released
    /// by hand, which then counts for any commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<String>,
    /// The digest of the dry run's report that allowed it; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceDigest>,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

impl Default for MigrationStatus {
    fn default() -> Self {
        Self {
            observed_generation: never_observed(),
            phase: None,
            conditions: Vec::new(),
            run: None,
            released: Vec::new(),
            unaccepted: None,
            handled_retry: None,
            attempts: Vec::new(),
            history: Vec::new(),
        }
    }
}

impl MigrationStatus {
    /// The condition of that type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.type_ == kind)
    }
}

/// Whether a condition exists and is True.
#[must_use]
pub fn is_true(condition: Option<&Condition>) -> bool {
    condition.is_some_and(|c| c.status == "True")
}

impl Run {
    /// The record of one of its Jobs.
    #[must_use]
    pub fn job(&self, phase: RunPhase) -> Option<&JobRecord> {
        match phase {
            RunPhase::DryRun => self.dry_run.as_ref(),
            RunPhase::Upgrade => self.upgrade.as_ref(),
        }
    }

    /// How one of its Jobs ended, when it has.
    #[must_use]
    pub fn outcome(&self, phase: RunPhase) -> Option<&Outcome> {
        self.job(phase)?.outcome.as_ref()
    }

    /// The names of its Jobs.
    pub fn job_names(&self) -> impl Iterator<Item = &str> {
        [&self.dry_run, &self.upgrade]
            .into_iter()
            .flatten()
            .map(|record| record.name.as_str())
    }
}

impl Outcome {
    /// The cause of a verdict as one word, when it has one.
    #[must_use]
    pub fn cause_of(verdict: &Verdict) -> Option<String> {
        match verdict {
            Verdict::NotRehearsed(cause) => Some(format!("{cause:?}")),
            Verdict::BudgetExceeded(cause) => Some(format!("{cause:?}")),
            Verdict::Environment(cause) => Some(format!("{cause:?}")),
            Verdict::UpgradeFailed(cause) => Some(format!("{cause:?}")),
            Verdict::Passed
            | Verdict::Failed
            | Verdict::RollbackNotVerified
            | Verdict::Drift
            | Verdict::UpgradeDiverged
            | Verdict::Interrupted => None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde calls
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the schema writes into a new object, so that nobody takes it for looked at.
const fn never_observed() -> i64 {
    -1
}
