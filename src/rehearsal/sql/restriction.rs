//! Which statements a server refuses inside a transaction block (25001, "cannot run inside a
//! transaction block" on their pages in the manual's "SQL Commands").

use super::command::{Command, Discard, ReindexTarget};

/// Why a statement cannot run inside a transaction block, and what a rehearsal can do instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockRestriction {
    /// CONCURRENTLY: there is a plain form with the same result.
    Concurrently,
    /// VACUUM, CLUSTER of everything: changes nothing that a migration could depend on.
    Maintenance,
    /// DISCARD ALL: its parts can be done one by one.
    DiscardAll,
    /// It cannot be undone, or not be done in part.
    Never,
    /// Depends on what the server knows: a partitioned table or index for REINDEX and CLUSTER, a
    /// subscription's options. Ask the server.
    Perhaps,
}

impl Command {
    /// Whether and why the server refuses this statement inside a transaction block.
    #[must_use]
    pub fn block_restriction(&self) -> Option<BlockRestriction> {
        use super::command::ServerObject as On;
        match self {
            Self::CreateIndex(index) if index.concurrently => Some(BlockRestriction::Concurrently),
            Self::DropIndex(index) if index.concurrently => Some(BlockRestriction::Concurrently),
            Self::DetachPartition(detach) if !detach.finalize => {
                Some(BlockRestriction::Concurrently)
            }
            Self::Reindex(reindex) => match reindex.target {
                ReindexTarget::Index | ReindexTarget::Table if reindex.concurrently => {
                    Some(BlockRestriction::Concurrently)
                }
                ReindexTarget::Index | ReindexTarget::Table => Some(BlockRestriction::Perhaps),
                _ => Some(BlockRestriction::Never),
            },
            Self::Vacuum | Self::Cluster(None) => Some(BlockRestriction::Maintenance),
            Self::Cluster(Some(_)) => Some(BlockRestriction::Perhaps),
            Self::Discard(Discard::All) => Some(BlockRestriction::DiscardAll),
            Self::Server(On::AlterSubscription) => Some(BlockRestriction::Perhaps),
            Self::Server(_) => Some(BlockRestriction::Never),
            _ => None,
        }
    }
}
