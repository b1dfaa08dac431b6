//! Definitions that hold the time at which their statement ran: they are never the same in the
//! rehearsal and in the upgrade.

use crate::report::{Finding, Prediction, Severity};
use crate::schema::{Change, Span, holds_the_moment, same_but_for_the_moment};

/// Objects beyond it are counted, not named.
const NAMED: usize = 5;

/// What a rehearsal has to say of such definitions.
#[must_use]
pub(super) fn finding(prediction: &Prediction) -> Option<Finding> {
    let during = prediction.during?;
    let mut found: Vec<String> = prediction
        .difference
        .iter()
        .filter(|(_, change)| match change {
            Change::Added { after } => holds_the_moment(after, "", during),
            Change::Altered { before, after } => holds_the_moment(after, before, during),
            Change::Removed { .. } => false,
        })
        .map(|(id, _)| format!("{} {}", id.kind, id.identity))
        .collect();
    if found.is_empty() {
        return None;
    }
    if found.len() > NAMED {
        let more = format!("{} more", found.len() - NAMED);
        found.truncate(NAMED);
        found.push(more);
    }
    Some(Finding {
        code: "DefinedByTheMoment".to_owned(),
        severity: Severity::Warning,
        message: format!(
            "the time of the rehearsal is part of the definition of {}: 'now' and the like are \
             replaced by the time at which the statement runs, once and for all, unlike now(). The \
             upgrade will write its own time there, which counts as predicted",
            found.join(", ")
        ),
        statement: None,
    })
}

/// Whether what happened is what was predicted but for the time at which it did.
#[must_use]
pub(super) fn same(
    predicted: &Change,
    rehearsed: Option<Span>,
    happened: &Change,
    upgraded: Option<Span>,
) -> bool {
    let (Some(first), Some(second)) = (rehearsed, upgraded) else {
        return false;
    };
    match (predicted, happened) {
        (Change::Added { after: one }, Change::Added { after: other }) => {
            same_but_for_the_moment(one, first, other, second)
        }
        (
            Change::Altered { before, after: one },
            Change::Altered {
                before: really,
                after: other,
            },
        ) => before == really && same_but_for_the_moment(one, first, other, second),
        _ => false,
    }
}
