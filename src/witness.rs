//! The proof that a rehearsal left nothing behind.
//!
//! The witness reads the system catalogues before and after, on a connection that took no part in
//! the rehearsal, and is told a transaction id and what was recorded. It trusts neither: a
//! transaction id alone proves little, because after a slip the leak has another one.
//!
//! *Exact* means: per catalogue the number of rows and a sum over the hash of each row's place and
//! inserting transaction (`ctid`, `xmin`; PostgreSQL manual, "System Columns"). Every INSERT, UPDATE
//! and DELETE that commits changes it; a rolled-back transaction, VACUUM, ANALYZE and `nextval` do
//! not.

mod before;
mod catalogue;
mod conclusion;
mod leftover;
mod moved;
mod reading;

use std::time::Instant;

use crate::postgres::ask::{Ask, AskError};
use crate::report::{Ledger, RunId, Witnessed};

pub use before::Before;

/// What is known about the rehearsal whose rollback is to be proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which run.
    pub run: RunId,
    /// The transactions that were rolled back, in their order.
    pub transactions: Vec<Taken>,
    /// Whether every answer of the server was as expected.
    pub gapless: bool,
    /// Whether the command worked on the database without the rehearsal.
    pub bypass: Bypass,
}

/// One transaction, and who held it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// The top transaction id, with epoch (`pg_current_xact_id`); `None` when none was assigned.
    pub xid: Option<u64>,
    /// The server process of the rehearsal's one connection.
    pub backend_pid: Option<i32>,
}

/// Whether the command worked on the database without the rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// Nothing speaks for it.
    None,
    /// It ran, and never came to the rehearsal.
    Possible,
    /// A session of its role and address was seen that is not the rehearsal's.
    Seen,
}

impl Facts {
    /// The ids of the transactions that have one.
    fn xids(&self) -> impl Iterator<Item = u64> {
        self.transactions.iter().filter_map(|taken| taken.xid)
    }

    /// Whether a row that moved can be somebody else's at all.
    fn attributable(&self) -> bool {
        self.gapless && self.bypass == Bypass::None
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A question was not answered.
    #[error("cannot read {what}")]
    Ask {
        /// What was asked for.
        what: &'static str,
        /// The server's answer.
        #[source]
        source: AskError,
    },
    /// An answer that cannot be understood.
    #[error("the server's answer about {0} cannot be understood")]
    Answer(&'static str),
    /// Before and after are not of the same server.
    #[error("the server's major version was {before} and is {after}: it is not the same server")]
    OtherServer {
        /// What it was.
        before: u32,
        /// What it is.
        after: u32,
    },
}

/// Proves, or does not, that a rehearsal left nothing behind: waits up to ten seconds for its
/// session to be gone, then compares with `before`.
///
/// # Errors
/// When the catalogues cannot be read: then nothing is proven.
pub async fn verify(
    asker: &mut impl Ask,
    major: u32,
    before: &Before,
    facts: &Facts,
) -> Result<(Witnessed, Ledger), WitnessError> {
    let began = Instant::now();
    if major != before.major {
        return Err(WitnessError::OtherServer {
            before: before.major,
            after: major,
        });
    }
    let end = leftover::wait(asker, major, before, facts).await?;
    let covered: Vec<&str> = before.catalogues.keys().map(String::as_str).collect();
    let after = reading::read(asker, &covered, Some(&before.snapshot)).await?;
    let moved = moved::find(asker, before, &after).await?;
    let ledger = before.ledger(&after);
    let mut witnessed = conclusion::conclude(before, &after, &end, moved, facts);
    witnessed.millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok((witnessed, ledger))
}

/// A number in an answer.
fn number<T: std::str::FromStr>(
    field: Option<&Option<String>>,
    what: &'static str,
) -> Result<T, WitnessError> {
    field
        .and_then(Option::as_deref)
        .and_then(|text| text.parse().ok())
        .ok_or(WitnessError::Answer(what))
}
