//! What is to be done.

use std::time::Duration;

use crate::api::MigrationStatus;
use crate::report::Summary;
use crate::verdict::Verified;

/// One act upon the cluster. Each may be repeated without harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Keep the Migration from being forgotten while an upgrade may run.
    AddFinalizer,
    /// The upgrade is over.
    RemoveFinalizer,
    /// Start the dry run that the status names.
    CreateDryRunJob,
    /// Create the Job of the upgrade that the status names. Its pod waits at a gate of its own.
    CreateUpgradeJob {
        /// The dry run that passed. Nothing else can be upgraded.
        evidence: Verified,
    },
    /// Start the upgrade whose Job is on record: remove the gate from its pod.
    StartUpgrade {
        /// The pod.
        pod: String,
        /// Its UID.
        uid: String,
        /// The gate's position.
        index: usize,
        /// The dry run that passed.
        evidence: Verified,
    },
    /// End a dry run that nobody waits for any more, or an upgrade that is known not to have been
    /// started.
    DeleteJob {
        /// Its name.
        name: String,
        /// Its UID: another Job of that name is left alone.
        uid: String,
    },
    /// End an upgrade whose pod cannot begin. Nothing is concluded from that: how it ended is read
    /// from the pod when it is gone, so the Job stays until then.
    WithdrawUpgrade {
        /// The Job.
        job: String,
        /// Its UID.
        uid: String,
    },
    /// Fetch the report that the witness announced, check it and keep it.
    StoreReport {
        /// The Job.
        job: String,
        /// The Job's pod.
        pod: String,
        /// The witness's announcement.
        summary: Summary,
    },
    /// Forget an old report.
    DeleteReport {
        /// The name of its ConfigMap, which is that of its Job.
        name: String,
    },
    /// Remove drydock's gate from a waiting pod whose images are all released.
    OpenGate {
        /// The pod.
        pod: String,
        /// Its UID.
        uid: String,
        /// The gate's position.
        index: usize,
    },
}

/// The answer to a world.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Written first, when it is not as it was.
    pub status: MigrationStatus,
    /// Then done in this order, but for the gates, which are opened first.
    pub effects: Vec<Effect>,
    /// When to look again, although nothing may have changed; `None` to be woken by changes only.
    pub requeue: Option<Duration>,
}
