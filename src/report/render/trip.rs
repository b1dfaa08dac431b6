//! The way back and forth again, in lines.

use super::outline::{Mark, Tone, printable};
use crate::report::units::{count, millis};
use crate::report::{RoundTrip, TripStep};

/// Lines of a step's output that help a reader.
const OUTPUT_LINES: usize = 6;

pub(super) fn round_trip(trip: &RoundTrip) -> Vec<Mark> {
    let mut marks: Vec<Mark> = trip.steps.iter().flat_map(step).collect();
    if !trip.compared.is_empty() {
        marks.push(Mark {
            tone: Tone::Plain,
            text: format!(
                "rows compared in {}: {}",
                count(trip.compared.len() as u64, "table"),
                printable(&trip.compared.join(", "))
            ),
        });
    }
    if let Some(reason) = &trip.cut {
        marks.push(Mark {
            tone: Tone::Warning,
            text: format!("not done: {}", printable(reason)),
        });
    }
    marks
}

fn step(step: &TripStep) -> Vec<Mark> {
    let (tone, end) = match step.exit {
        Some(0) => (Tone::Good, String::new()),
        Some(code) => (Tone::Warning, format!(", exit code {code}")),
        None => (Tone::Warning, ", ended by a signal".to_owned()),
    };
    let mut marks = vec![Mark {
        tone,
        text: format!("{}: {}{end}", step.name.words(), millis(step.millis)),
    }];
    let lines: Vec<&str> = step.output.lines().collect();
    let from = lines.len().saturating_sub(OUTPUT_LINES);
    marks.extend(lines.get(from..).into_iter().flatten().map(|line| Mark {
        tone: Tone::Plain,
        text: printable(line),
    }));
    marks
}
