//! From everything that was recorded to one verdict and one sentence.

mod dry_run;
pub(super) mod legs;
pub(super) mod round_trip;
mod standing;
mod upgrade;

pub use dry_run::{dry_run, nothing_to_do};
pub use standing::{Standing, standing};
pub use upgrade::{After, unjudged, upgrade};

use super::record::Said;

/// Of several sayings the one that must be reported; of equals the first.
fn worst(sayings: impl IntoIterator<Item = Said>) -> Option<Said> {
    sayings.into_iter().reduce(|first, second| {
        let worst = first.verdict.clone().worst(second.verdict.clone());
        if worst == first.verdict {
            first
        } else {
            second
        }
    })
}

/// A shell-like rendering of a command for messages.
fn words(command: &[String]) -> String {
    command.join(" ")
}
