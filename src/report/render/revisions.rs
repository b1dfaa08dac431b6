//! Where the database stands among the revisions, and what is pending.

use super::outline::{Mark, Tone, printable};
use crate::report::units::micros;
use crate::report::{Revision, Revisions};

/// Longer lists end in a number.
const SHOWN: usize = 30;

pub(super) fn heading(revisions: &Revisions) -> String {
    match revisions.pending.len() {
        _ if revisions.not_looked_at.is_some() => "Revisions".to_owned(),
        0 => "Revisions: none pending".to_owned(),
        pending => format!("Revisions: {pending} of {} pending", revisions.known),
    }
}

pub(super) fn marks(revisions: &Revisions) -> Vec<Mark> {
    if let Some(reason) = &revisions.not_looked_at {
        return vec![Mark {
            tone: Tone::Warning,
            text: format!("not looked at: {}", printable(reason)),
        }];
    }
    let mut marks = vec![plain(standing(revisions))];
    marks.extend(
        revisions
            .pending
            .iter()
            .take(SHOWN)
            .map(|revision| plain(format!("pending: {}", line(revision)))),
    );
    if revisions.pending.len() > SHOWN {
        marks.push(plain(format!("… {} more", revisions.pending.len() - SHOWN)));
    }
    marks
}

pub(super) fn heads(revisions: &Revisions) -> Vec<Mark> {
    revisions
        .heads
        .iter()
        .map(|head| plain(format!("head: {}", line(head))))
        .collect()
}

fn standing(revisions: &Revisions) -> String {
    let heads: Vec<String> = revisions.heads.iter().map(line).collect();
    let at = match revisions.current.as_slice() {
        [] => "the database is at no revision".to_owned(),
        current => format!(
            "the database is at {} by {}",
            current.join(", "),
            revisions.tables.join(", ")
        ),
    };
    printable(&format!(
        "{at}; {} {}",
        if heads.len() == 1 { "head:" } else { "heads:" },
        heads.join(", ")
    ))
}

fn line(revision: &Revision) -> String {
    let mut line = revision.revision.clone();
    if !revision.message.is_empty() {
        line.push_str(&format!(" ({})", revision.message));
    }
    if let Some(spent) = revision.micros {
        line.push_str(&format!(", {}", micros(spent)));
    }
    printable(&line)
}

fn plain(text: String) -> Mark {
    Mark {
        tone: Tone::Plain,
        text,
    }
}
