//! What the independent witness saw.

use serde::{Deserialize, Serialize};

use crate::verdict::RollbackProof;

/// What kind of move a catalogue showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CatalogueClass {
    /// Only temporary objects.
    Temporary,
    /// Only file names of relations (a rewrite, VACUUM FULL, TRUNCATE).
    FileOnly,
    /// Rows of permanent objects.
    Real,
}

/// One catalogue that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueMove {
    /// The catalogue, e.g. `pg_class`.
    pub catalogue: String,
    /// What kind of move.
    pub class: CatalogueClass,
    /// Why it is somebody else's; `None` when it is not attributed.
    pub attributed_to: Option<String>,
    /// How many rows came and went, and the names of relations that they are about.
    #[serde(default)]
    pub detail: String,
}

/// The witness's statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witnessed {
    /// The conclusion.
    pub rollback: RollbackProof,
    /// The rehearsal's top transaction id, when one was assigned.
    pub xid: Option<u64>,
    /// `pg_xact_status` of it: `aborted`, `committed`, `in progress`; `None` without an xid.
    pub xact_status: Option<String>,
    /// Catalogues that were compared and are exactly as before.
    pub unchanged: Vec<String>,
    /// Catalogues that moved.
    pub moved: Vec<CatalogueMove>,
    /// Catalogues that the role cannot read.
    pub not_covered: Vec<String>,
    /// Whether nothing at all committed in the whole cluster meanwhile: `true` proven, `false` not
    /// provable, which only means that it adds nothing.
    pub nothing_committed_meanwhile: bool,
    /// What is still there of ours: sessions, locks, prepared transactions, slots, temp schemas.
    pub leftovers: Vec<String>,
    /// What would have to be known for a proof, and is not.
    #[serde(default)]
    pub unproven: Vec<String>,
    /// Milliseconds that the proof took.
    pub millis: u64,
}
