//! The way back and forth again, in lines.

use super::object;
use super::outline::{Mark, Tone, printable};
use crate::report::units::{count, millis};
use crate::report::{Leg, RoundTrip, TripStep};
use crate::schema::Difference;

/// Objects that a downgrade left; more of them end in a number.
const SHOWN: usize = 30;

/// Lines of a step's output that help a reader.
const OUTPUT_LINES: usize = 6;

pub(super) fn round_trip(trip: &RoundTrip) -> Vec<Mark> {
    let mut marks: Vec<Mark> = trip.revisions.iter().flat_map(leg).collect();
    marks.extend(trip.steps.iter().flat_map(|step| lines("", step)));
    marks.extend(left("", &trip.left));
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

/// Those steps of a revision that ended well are one line.
fn leg(leg: &Leg) -> Vec<Mark> {
    let name = printable(&if leg.message.is_empty() {
        format!("revision {}", leg.revision)
    } else {
        format!("revision {} ({})", leg.revision, leg.message)
    });
    let mut said: Vec<String> = leg
        .steps
        .iter()
        .filter(|step| step.exit == Some(0))
        .map(|step| format!("{} {}", step.name.words(), millis(step.millis)))
        .collect();
    let whole = said.len() == leg.steps.len() && leg.left.is_empty();
    let changed = leg.rerun_changed.as_deref().unwrap_or_default();
    if !changed.is_empty() {
        said.push(format!(
            "a second run changes {}",
            printable(&changed.join(", "))
        ));
    }
    let mut marks = vec![Mark {
        tone: if whole && changed.is_empty() {
            Tone::Good
        } else {
            Tone::Warning
        },
        text: format!("{name}: {}", said.join(", ")),
    }];
    for step in leg.steps.iter().filter(|step| step.exit != Some(0)) {
        marks.extend(lines(&format!("{name}: "), step));
    }
    marks.extend(left(&format!("{name}: "), &leg.left));
    marks
}

/// What a downgrade left, object by object.
fn left(name: &str, left: &Difference) -> Vec<Mark> {
    let mark = |text| Mark {
        tone: Tone::Warning,
        text,
    };
    let mut marks: Vec<Mark> = left
        .iter()
        .take(SHOWN)
        .map(|(id, change)| mark(format!("{name}left behind: {}", object::line(id, change))))
        .collect();
    if left.len() > SHOWN {
        marks.push(mark(format!("{name}and {} more", left.len() - SHOWN)));
    }
    marks
}

fn lines(name: &str, step: &TripStep) -> Vec<Mark> {
    let (tone, end) = match step.exit {
        Some(0) => (Tone::Good, String::new()),
        Some(code) => (Tone::Warning, format!(", exit code {code}")),
        None => (Tone::Warning, ", ended by a signal".to_owned()),
    };
    let mut marks = vec![Mark {
        tone,
        text: format!("{name}{}: {}{end}", step.name.words(), millis(step.millis)),
    }];
    let lines: Vec<&str> = step.output.lines().collect();
    let from = lines.len().saturating_sub(OUTPUT_LINES);
    marks.extend(lines.get(from..).into_iter().flatten().map(|line| Mark {
        tone: Tone::Plain,
        text: printable(line),
    }));
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StepName;
    use crate::schema::{ObjectId, Snapshot};

    #[test]
    fn a_revision_is_one_line_and_one_more_for_what_failed() {
        let step = |name, exit, output: &str| TripStep {
            name,
            command: Vec::new(),
            exit: Some(exit),
            millis: 400,
            output: output.to_owned(),
        };
        let trip = RoundTrip {
            revisions: vec![
                Leg {
                    revision: "ae10".to_owned(),
                    message: "a note".to_owned(),
                    steps: vec![
                        step(StepName::Upgrade, 0, ""),
                        step(StepName::Downgrade, 0, ""),
                        step(StepName::UpgradeAgain, 1, "relation exists"),
                    ],
                    ..Leg::default()
                },
                Leg {
                    revision: "be20".to_owned(),
                    steps: vec![step(StepName::Upgrade, 0, "")],
                    rerun_changed: Some(vec!["orders".to_owned()]),
                    ..Leg::default()
                },
            ],
            ..RoundTrip::default()
        };
        let marks = round_trip(&trip);
        let lines: Vec<_> = marks
            .iter()
            .map(|mark| (mark.tone, mark.text.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                (
                    Tone::Warning,
                    "revision ae10 (a note): upgrade 400 ms, downgrade 400 ms"
                ),
                (
                    Tone::Warning,
                    "revision ae10 (a note): upgrade again: 400 ms, exit code 1"
                ),
                (Tone::Plain, "relation exists"),
                (
                    Tone::Warning,
                    "revision be20: upgrade 400 ms, a second run changes orders"
                ),
            ]
        );
    }

    #[test]
    fn each_object_that_a_downgrade_left_is_a_line_until_there_are_too_many() {
        let after: Snapshot = (0..=SHOWN)
            .map(|number| {
                let id = ObjectId {
                    kind: "type".to_owned(),
                    identity: format!("public.t{number:02}"),
                };
                (id, "{}".to_owned())
            })
            .collect();
        let trip = RoundTrip {
            left: Difference::between(&Snapshot::default(), &after),
            ..RoundTrip::default()
        };
        let marks = round_trip(&trip);
        assert_eq!(marks.len(), SHOWN + 1);
        assert_eq!(marks[0].text.trim_end(), "left behind: + type public.t00");
        assert_eq!(marks[SHOWN].text, "and 1 more");
    }
}
