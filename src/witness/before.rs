//! What is read before the rehearsal begins.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalogue::LEFT_OUT;
use super::reading::{self, Exact, Figures, Reading};
use super::{WitnessError, number};
use crate::postgres::ask::Ask;
use crate::report::{HintsMoved, Ledger, SequenceMoved};

/// What the witness compares with. One process takes it, another one may use it: it is JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// When, by the server's clock.
    pub taken: Timestamp,
    /// The server's major version.
    pub major: u32,
    /// `pg_current_snapshot()`.
    pub(super) snapshot: String,
    /// Transactions without epoch that are committed although an older one still ran.
    pub(super) recent: BTreeSet<u32>,
    /// Exact sums by catalogue.
    pub(super) catalogues: BTreeMap<String, Exact>,
    /// Catalogues that the role may not read.
    pub(super) not_covered: Vec<String>,
    /// Global identifiers of prepared transactions.
    pub(super) prepared: BTreeSet<String>,
    /// Names of replication slots.
    pub(super) slots: BTreeSet<String>,
    /// What the ledger compares with; `None` when the server would not say.
    pub(super) figures: Option<Figures>,
}

/// All catalogues that initdb made, with the role's right to read them, and what may be there
/// already without being ours.
const SURROUNDINGS: &str = "\
SELECT 'catalogue', relname, pg_catalog.has_table_privilege(oid, 'SELECT')
    FROM pg_catalog.pg_class
    WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind = 'r' AND oid < 16384
    ORDER BY relname;
SELECT 'prepared', gid FROM pg_catalog.pg_prepared_xacts;
SELECT 'slot', slot_name FROM pg_catalog.pg_replication_slots;
SELECT 'time', (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint;
";

impl Before {
    /// Reads in two round trips. Takes no lock that anybody waits for, and writes nothing.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn take(asker: &mut impl Ask, major: u32) -> Result<Self, WitnessError> {
        let what = "what is there before the rehearsal";
        let rows = asker
            .ask(SURROUNDINGS)
            .await
            .map_err(|source| WitnessError::Ask { what, source })?;
        let mut covered = Vec::new();
        let mut not_covered = Vec::new();
        let mut prepared = BTreeSet::new();
        let mut slots = BTreeSet::new();
        let mut taken = None;
        for row in &rows {
            let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
            match (text(0), text(1), text(2)) {
                ("catalogue", name, "t") if !LEFT_OUT.contains(&name) => covered.push(name),
                ("catalogue", name, "f") => not_covered.push(name.to_owned()),
                ("prepared", gid, _) => {
                    prepared.insert(gid.to_owned());
                }
                ("slot", name, _) => {
                    slots.insert(name.to_owned());
                }
                ("time", ..) => taken = Some(number::<i64>(row.get(1), "the time")?),
                _ => {}
            }
        }
        let taken = taken
            .and_then(|micros| Timestamp::from_microsecond(micros).ok())
            .ok_or(WitnessError::Answer("the time"))?;
        let Reading {
            snapshot,
            recent,
            catalogues,
            figures,
            ..
        } = reading::read(asker, &covered, None).await?;
        Ok(Self {
            taken,
            major,
            snapshot,
            recent,
            catalogues,
            not_covered,
            prepared,
            slots,
            figures,
        })
    }

    /// What moved although it was rolled back.
    pub(super) fn ledger(&self, after: &Reading) -> Ledger {
        let Some(now) = &after.figures else {
            return Ledger::default();
        };
        let Some(was) = &self.figures else {
            return Ledger {
                standbys: now.standbys,
                ..Ledger::default()
            };
        };
        Ledger {
            sequences: moved(&was.sequences, &now.sequences)
                .map(|(name, before, after)| SequenceMoved {
                    name,
                    before,
                    after,
                })
                .collect(),
            tables: moved(&was.tables, &now.tables)
                .map(|(name, before, after)| HintsMoved {
                    name,
                    before,
                    after,
                })
                .collect(),
            wal_bytes: now
                .wal
                .zip(was.wal)
                .map(|(now, was)| now.saturating_sub(was)),
            bloat_bytes: now.size.zip(was.size).map(|(now, was)| now - was),
            standbys: now.standbys,
        }
    }
}

/// What is there at both times and not the same, with what it was and what it is.
fn moved<T: Clone + PartialEq>(
    was: &BTreeMap<String, T>,
    now: &BTreeMap<String, T>,
) -> impl Iterator<Item = (String, T, T)> {
    was.iter().filter_map(|(name, before)| {
        let after = now.get(name).filter(|after| *after != before)?;
        Some((name.clone(), before.clone(), after.clone()))
    })
}
