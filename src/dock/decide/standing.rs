//! Where a database stands when an upgrade is about to begin.

use crate::report::Prediction;
use crate::schema::State;

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Where the dry run began.
    AsBefore,
    /// Where the dry run ended, which is elsewhere.
    AsPredicted,
    /// Neither.
    Elsewhere {
        /// What is different from the state before, for a message.
        what: String,
    },
}

/// Compares. `remembers`: the tool knows itself what it has applied. When the dry run changed neither schema nor version tables (data only), the two states
/// are the same, and then it stands where the dry run began: that nothing is visible never proves
/// that the upgrade was applied.
#[must_use]
pub fn standing(now: &State, predicted: &Prediction, remembers: bool) -> Standing {
    if *now == predicted.before {
        return Standing::AsBefore;
    }
    if *now == predicted.predicted {
        if predicted.tells_pieces(remembers) {
            return Standing::AsPredicted;
        }
        return Standing::Elsewhere {
            what: "the schema is what it was to become, but the command commits in several pieces, and \
                   no version table says whether all of them are there"
                .to_owned(),
        };
    }
    let mut what = Vec::new();
    if now.fingerprint != predicted.before.fingerprint {
        what.push("the schema has changed since".to_owned());
    }
    for (name, table) in &now.versions {
        if predicted.before.versions.get(name) != Some(table) {
            let shown = match &table.rows {
                None => "is gone".to_owned(),
                Some(rows) => format!("holds {}", rows.join(", ")),
            };
            what.push(format!("{name} {shown}"));
        }
    }
    Standing::Elsewhere {
        what: what.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::schema::{Difference, Fingerprint, ObjectId, Snapshot, VersionTable};

    fn state(body: &str, version: &str) -> State {
        let snapshot: Snapshot = [(
            ObjectId {
                kind: "relation".into(),
                identity: "t".into(),
            },
            body.to_owned(),
        )]
        .into_iter()
        .collect();
        State {
            fingerprint: Fingerprint::of(&snapshot),
            versions: BTreeMap::from([(
                "public.alembic_version".to_owned(),
                VersionTable {
                    name: "public.alembic_version".into(),
                    rows: Some(vec![version.into()]),
                    alembic: true,
                },
            )]),
        }
    }

    fn prediction(before: State, predicted: State) -> Prediction {
        Prediction {
            before,
            predicted,
            difference: Difference::default(),
            during: None,
            pieces: Some(1),
        }
    }

    #[test]
    fn a_database_stands_before_behind_or_elsewhere() {
        let prediction = prediction(state("1", "a"), state("2", "b"));
        assert_eq!(
            standing(&state("1", "a"), &prediction, true),
            Standing::AsBefore
        );
        assert_eq!(
            standing(&state("2", "b"), &prediction, true),
            Standing::AsPredicted
        );
        assert_eq!(
            standing(&state("1", "x"), &prediction, true),
            Standing::Elsewhere {
                what: "public.alembic_version holds x".into()
            }
        );
        assert_eq!(
            standing(&state("3", "a"), &prediction, true),
            Standing::Elsewhere {
                what: "the schema has changed since".into()
            }
        );
    }

    #[test]
    fn the_schema_never_proves_that_all_pieces_of_a_script_are_there() {
        let mut script = prediction(state("1", "a"), state("2", "a"));
        let as_rehearsed = state("2", "a");
        assert_eq!(
            standing(&as_rehearsed, &script, false),
            Standing::AsPredicted
        );
        script.pieces = Some(2);
        let found = standing(&as_rehearsed, &script, false);
        assert!(matches!(found, Standing::Elsewhere { what } if what.contains("several pieces")));
        assert_eq!(
            standing(&as_rehearsed, &script, true),
            Standing::AsPredicted
        );
        // A version table of the tool's own moves with them.
        let mut flyway = prediction(state("1", "a"), state("2", "b"));
        flyway.pieces = Some(2);
        assert_eq!(
            standing(&state("2", "b"), &flyway, false),
            Standing::AsPredicted
        );
    }

    #[test]
    fn equal_states_are_never_taken_for_applied() {
        let same = state("1", "a");
        let prediction = prediction(same.clone(), same.clone());
        assert_eq!(standing(&same, &prediction, true), Standing::AsBefore);
    }
}
