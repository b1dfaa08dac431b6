//! What the witness saw and what a rollback does not undo, in lines.

use super::outline::{Mark, Tone, printable};
use crate::report::units::{bytes, count};
use crate::report::{CatalogueClass, Ledger, Witnessed};
use crate::verdict::RollbackProof;

pub(super) fn rollback_heading(witness: &Witnessed) -> String {
    let word = match witness.rollback {
        RollbackProof::Verified => "verified",
        RollbackProof::Violated => "VIOLATED",
        RollbackProof::Unknown => "not provable",
    };
    format!("Rollback: {word}")
}

pub(super) fn rollback(witness: &Witnessed) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut mark = |tone, text: String| marks.push(Mark { tone, text });
    match (witness.xid, witness.xact_status.as_deref()) {
        (None, _) => mark(
            Tone::Good,
            "no transaction id was ever assigned: nothing was written".to_owned(),
        ),
        (Some(xid), Some("aborted")) => mark(Tone::Good, format!("transaction {xid} is aborted")),
        (Some(xid), Some(status)) => mark(Tone::Bad, format!("transaction {xid} is {status}")),
        (Some(xid), None) => mark(
            Tone::Warning,
            format!("the fate of transaction {xid} could not be read"),
        ),
    }
    let moved_really = witness
        .moved
        .iter()
        .filter(|moved| moved.class == CatalogueClass::Real)
        .count();
    if !witness.unchanged.is_empty() {
        mark(
            Tone::Good,
            format!(
                "{} exactly as before, row by row",
                catalogues(witness.unchanged.len())
            ),
        );
    }
    for moved in &witness.moved {
        let what = match moved.class {
            CatalogueClass::Temporary => "only temporary objects moved",
            CatalogueClass::FileOnly => "only file names moved",
            CatalogueClass::Real => "rows moved",
        };
        let detail = if moved.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", printable(&moved.detail))
        };
        match &moved.attributed_to {
            Some(whose) => mark(
                Tone::Warning,
                format!("{}: {what}{detail}, by {whose}", moved.catalogue),
            ),
            None => mark(
                if moved.class == CatalogueClass::Real {
                    Tone::Bad
                } else {
                    Tone::Good
                },
                format!("{}: {what}{detail}", moved.catalogue),
            ),
        }
    }
    if witness.nothing_committed_meanwhile && moved_really == 0 {
        mark(
            Tone::Good,
            "nothing at all committed in the whole cluster meanwhile".to_owned(),
        );
    }
    if witness.leftovers.is_empty() {
        mark(
            Tone::Good,
            "no session, lock, prepared transaction, slot or temporary schema of ours is left"
                .to_owned(),
        );
    }
    for leftover in &witness.leftovers {
        mark(Tone::Bad, format!("left behind: {}", printable(leftover)));
    }
    for unproven in &witness.unproven {
        mark(Tone::Warning, format!("not proven: {unproven}"));
    }
    if !witness.not_covered.is_empty() {
        mark(
            Tone::Warning,
            format!(
                "not readable by this role, so not compared: {}",
                witness.not_covered.join(", ")
            ),
        );
    }
    marks
}

fn catalogues(number: usize) -> String {
    format!("{} are", count(number as u64, "catalogue"))
        .replace("1 catalogue are", "1 catalogue is")
}

pub(super) fn ledger(ledger: &Ledger) -> Vec<String> {
    let number = |value: Option<i64>| value.map_or_else(|| "unset".to_owned(), |v| v.to_string());
    let mut lines: Vec<String> = ledger
        .sequences
        .iter()
        .map(|sequence| {
            format!(
                "sequence {} moved {} → {}",
                printable(&sequence.name),
                number(sequence.before),
                number(sequence.after)
            )
        })
        .collect();
    for table in &ledger.tables {
        let (before, after) = (&table.before, &table.after);
        if before.has_index != after.has_index {
            lines.push(format!(
                "table {} is marked as one with{} indexes, until it is vacuumed",
                printable(&table.name),
                if after.has_index { "" } else { "out" }
            ));
        }
        if before.tuples != after.tuples {
            lines.push(format!(
                "the planner's estimate of the rows of {} went from {} to {}",
                printable(&table.name),
                before.tuples,
                after.tuples
            ));
        }
    }
    if let Some(wal) = ledger.wal_bytes.filter(|wal| *wal > 0) {
        lines.push(format!("at most {} of write-ahead log", bytes(wal)));
    }
    if let Some(growth) = ledger.bloat_bytes.filter(|growth| *growth > 0) {
        lines.push(format!(
            "{} more in the database's files, for VACUUM to reuse",
            bytes(growth.unsigned_abs())
        ));
    }
    match ledger.standbys {
        Some(0) => {}
        Some(number) => lines.push(format!(
            "{} replayed the locks",
            count(u64::from(number), "standby").replace("standbys", "standbys that are connected")
        )),
        None => lines.push("standbys: unknown (the role may not see them)".to_owned()),
    }
    lines
}
