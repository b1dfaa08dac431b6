//! The specification of a `Migration`.

#![allow(unreachable_pub)] // KubeSchema writes `pub` items into function bodies

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assertion::AssertionSpec;
use super::check::CheckSpec;
use super::database::DatabaseSpec;
use super::fixture::FixtureSpec;
use super::quantity::{Bytes, Duration};
use super::status::MigrationStatus;
use super::template::Template;
use super::{schema, status};

/// One application's database migration: which image brings it, how it is started, and which
/// database it changes.
///
/// A new image, or a change of anything else that a run depends on, starts a dry run; only a dry run
/// that passed, and was proven to have left nothing behind, is followed by the upgrade; only then
/// the pods of that image start.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drydock.dev",
    version = "v1alpha1",
    kind = "Migration",
    namespaced,
    status = "MigrationStatus",
    shortname = "mig",
    category = "drydock",
    derive = "Default",
    derive = "PartialEq",
    doc = "A database migration that gates the rollout of one image.",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "DryRun",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='DryRunPassed')].status"
    ),
    printcolumn(
        name = "Gate",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='GateOpen')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = kube::core::Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name must be at most 40 characters: the names of the Jobs are built from it")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::require_image_and_database)]
#[x_kube(
    validation = kube::core::Rule::new("has(self.alembic) != has(self.command)")
        .message("give exactly one of alembic and command"),
)]
pub struct MigrationSpec {
    /// The image that brings the migration, as the pods that wait for it name it. A tag or a digest
    /// is required; `:latest` is refused, because it does not say which version was migrated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = kube::core::Rule::new(
            r"self.contains('@sha256:') || self.matches('^.*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$')"
        ).message("the image needs a tag or a digest"),
        validation = kube::core::Rule::new("!self.endsWith(':latest')")
            .message("the tag latest does not say which version is migrated: name a tag or a digest"),
    )]
    pub image: String,

    /// Alembic's preset: `alembic upgrade head`, started in the image's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alembic: Option<AlembicSpec>,

    /// Any other command, word by word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,

    /// The database, and the variables in which the command looks for it.
    #[serde(default, skip_serializing_if = "DatabaseSpec::is_empty")]
    pub database: DatabaseSpec,

    /// What the migration's container and pod need: fields of both, side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,

    /// Limits of the rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRunSpec>,

    /// Settings of the real upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeSpec>,

    /// True: start nothing new. What runs goes on, and gates stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// How Alembic is called. All fields have defaults: `alembic: {}` is complete.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlembicSpec {
    /// The program and words before Alembic's own options. Default: `[alembic]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub command: Option<Vec<String>>,
    /// `alembic --config`. Default: Alembic's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The revision to upgrade to. Default: `head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `alembic -x`, one entry each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x: Vec<String>,
}

/// A migration command that is not Alembic's.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandSpec {
    /// The upgrade, word by word; no shell is involved.
    #[schemars(length(min = 1, max = 256))]
    pub upgrade: Vec<String>,
    /// The way back to before the upgrade, word by word, for the round trip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub downgrade: Vec<String>,
    /// Tables in which the tool keeps what it has applied, besides the well-known ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub version_tables: Vec<String>,
}

/// Limits and substitutions of the rehearsal.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("!has(self.fixtures)")
        .message("fixtures are for `drydock rehearse -f`: with rows in the database that are none of its own a dry run does not predict the upgrade"),
    validation = kube::core::Rule::new(
        "!has(self.deny) || self.deny.all(code, code in ['RerunChanged', 'RerunFailed'] ? has(self.rerun) && self.rerun == 'Pending' : has(self.roundTrip) && self.roundTrip)"
    ).message("what is denied is never looked for: RerunChanged and RerunFailed need rerun: Pending, the others roundTrip: true"),
)]
pub struct DryRunSpec {
    /// Beyond these the rehearsal is ended and rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budgets: Option<BudgetSpec>,
    /// What is done with statements that cannot run in a transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrently: Option<ConcurrentlySpec>,
    /// Rows that are put in before the upgrade. Only in a file for `drydock rehearse -f`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub fixtures: Vec<FixtureSpec>,
    /// Questions about the data as the upgrade leaves it, asked before the rollback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub assertions: Vec<AssertionSpec>,
    /// Commands of the team's own that meet the rehearsal before or after the upgrade. What they
    /// write is undone behind each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<CheckSpec>,
    /// True: a second transaction, rolled back like the first one, upgrades, compares the models with
    /// the database, upgrades again, downgrades, compares with before, and upgrades once more.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<bool>,
    /// `Pending`: in the second transaction each pending revision of Alembic's that changes rows and
    /// not the schema is stamped back and run again, and the rows are compared. Default: `Never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Rerun>,
    /// Findings that make the dry run fail, where otherwise they are only reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub deny: Vec<Deniable>,
}

/// Which data migrations are run a second time.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rerun {
    /// None.
    #[default]
    Never,
    /// Those that are pending.
    Pending,
}

/// Findings that can be denied, by their code in the report.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deniable {
    /// The downgrade fails.
    DowngradeFailed,
    /// The downgrade leaves something behind.
    DowngradeLeftovers,
    /// The downgrade loses rows, or what is in them.
    DowngradeLostData,
    /// A revision has no downgrade.
    MissingDowngrade,
    /// The models say something else than the database.
    ModelsDiffer,
    /// `alembic check` could not compare.
    ModelsNotCompared,
    /// env.py names no models.
    NoModels,
    /// A data migration changes rows when it is run a second time.
    RerunChanged,
    /// A data migration fails when it is run a second time.
    RerunFailed,
    /// The round trip was cut, or could not be begun.
    RoundTripNotDone,
    /// The upgrade changes something when nothing is left to do.
    SecondUpgradeChanged,
    /// The upgrade fails when nothing is left to do.
    SecondUpgradeFailed,
    /// The downgrade undoes nothing.
    StubDowngrade,
    /// The upgrade behind the downgrade leads elsewhere.
    UpgradeAgainDiffers,
    /// The upgrade behind the downgrade fails.
    UpgradeAgainFailed,
}

impl Deniable {
    /// Whether it is found by a second run of data migrations, not by the round trip.
    #[must_use]
    pub fn is_of_rerun(self) -> bool {
        matches!(self, Self::RerunChanged | Self::RerunFailed)
    }
}

/// The code.
impl std::fmt::Display for Deniable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What a rehearsal may cost the application.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetSpec {
    /// How long a session of the application may wait behind the rehearsal. Default: `300ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocking: Option<Duration>,
    /// How long the whole rehearsal may take. Default: `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// How long each assertion may take. Default: `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<Duration>,
    /// How long each check may take. Default: `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Duration>,
}

/// CREATE, DROP and REINDEX … CONCURRENTLY outside a transaction.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrentlySpec {
    /// Tables smaller than this are rehearsed with the plain form of the statement; on greater ones
    /// the migration is not rehearsed. Default: `64Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute_below: Option<Bytes>,
}

/// Settings of the real upgrade.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeSpec {
    /// PostgreSQL's `lock_timeout` for the migration's sessions. Default: the one that the rehearsal
    /// ran with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_timeout: Option<Duration>,
}

impl MigrationSpec {
    /// `dryRun.budgets.blocking`, or 300 ms.
    #[must_use]
    pub fn blocking_budget(&self) -> std::time::Duration {
        self.budgets()
            .and_then(|b| b.blocking)
            .unwrap_or(Duration::DEFAULT_BLOCKING)
            .get()
    }

    /// `dryRun.budgets.duration`, or 10 minutes.
    #[must_use]
    pub fn duration_budget(&self) -> std::time::Duration {
        self.budgets()
            .and_then(|b| b.duration)
            .unwrap_or(Duration::DEFAULT_DURATION)
            .get()
    }

    /// `dryRun.budgets.assertion`, or 5 seconds.
    #[must_use]
    pub fn assertion_budget(&self) -> std::time::Duration {
        self.budgets()
            .and_then(|b| b.assertion)
            .unwrap_or(Duration::DEFAULT_ASSERTION)
            .get()
    }

    /// `dryRun.budgets.check`, or 60 seconds.
    #[must_use]
    pub fn check_budget(&self) -> std::time::Duration {
        self.budgets()
            .and_then(|b| b.check)
            .unwrap_or(Duration::DEFAULT_CHECK)
            .get()
    }

    /// `dryRun.checks`.
    #[must_use]
    pub fn checks(&self) -> &[CheckSpec] {
        self.dry_run.as_ref().map_or(&[], |d| &d.checks)
    }

    /// `dryRun.fixtures`.
    #[must_use]
    pub fn fixtures(&self) -> &[FixtureSpec] {
        self.dry_run.as_ref().map_or(&[], |d| &d.fixtures)
    }

    /// `dryRun.assertions`.
    #[must_use]
    pub fn assertions(&self) -> &[AssertionSpec] {
        self.dry_run.as_ref().map_or(&[], |d| &d.assertions)
    }

    /// `dryRun.concurrently.substituteBelow` in bytes, or 64 MiB.
    #[must_use]
    pub fn substitute_below(&self) -> u64 {
        self.dry_run
            .as_ref()
            .and_then(|d| d.concurrently.as_ref())
            .and_then(|c| c.substitute_below)
            .unwrap_or(Bytes::DEFAULT_SUBSTITUTE_BELOW)
            .get()
    }

    /// `dryRun.roundTrip`, or false.
    #[must_use]
    pub fn round_trip(&self) -> bool {
        self.dry_run
            .as_ref()
            .and_then(|d| d.round_trip)
            .unwrap_or_default()
    }

    /// Whether `dryRun.rerun` is `Pending`.
    #[must_use]
    pub fn rerun(&self) -> bool {
        self.dry_run.as_ref().and_then(|d| d.rerun) == Some(Rerun::Pending)
    }

    /// `dryRun.deny`.
    #[must_use]
    pub fn denied(&self) -> &[Deniable] {
        self.dry_run.as_ref().map_or(&[], |d| d.deny.as_slice())
    }

    /// `upgrade.lockTimeout`, when one is given.
    #[must_use]
    pub fn lock_timeout(&self) -> Option<std::time::Duration> {
        self.upgrade
            .as_ref()
            .and_then(|u| u.lock_timeout)
            .map(Duration::get)
    }

    fn budgets(&self) -> Option<&BudgetSpec> {
        self.dry_run.as_ref().and_then(|d| d.budgets.as_ref())
    }
}

impl Migration {
    /// The status, or the one of an object that nobody has looked at yet.
    #[must_use]
    pub fn status_or_default(&self) -> status::MigrationStatus {
        self.status.clone().unwrap_or_default()
    }
}
