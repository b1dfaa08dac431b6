//! The comparison of two snapshots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ObjectId, Snapshot};

/// How one object differs between two snapshots. Bodies are the server's JSON texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// Only in the later snapshot.
    Added {
        /// Its definition.
        after: String,
    },
    /// Only in the earlier snapshot.
    Removed {
        /// Its definition.
        before: String,
    },
    /// In both, with different definitions.
    Altered {
        /// The earlier definition.
        before: String,
        /// The later definition.
        after: String,
    },
}

/// Every object that is not the same in two snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    changes: BTreeMap<ObjectId, Change>,
}

impl Difference {
    /// Compares two snapshots.
    #[must_use]
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let mut changes = BTreeMap::new();
        for (id, old) in before.iter() {
            match after.get(id) {
                None => {
                    changes.insert(
                        id.clone(),
                        Change::Removed {
                            before: old.to_owned(),
                        },
                    );
                }
                Some(new) if new != old => {
                    changes.insert(
                        id.clone(),
                        Change::Altered {
                            before: old.to_owned(),
                            after: new.to_owned(),
                        },
                    );
                }
                Some(_) => {}
            }
        }
        for (id, new) in after.iter() {
            if before.get(id).is_none() {
                changes.insert(
                    id.clone(),
                    Change::Added {
                        after: new.to_owned(),
                    },
                );
            }
        }
        Self { changes }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The number of objects that differ.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// The changes that `keep` wants.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&ObjectId, &Change) -> bool) -> Self {
        Self {
            changes: self
                .changes
                .iter()
                .filter(|(id, change)| keep(id, change))
                .map(|(id, change)| (id.clone(), change.clone()))
                .collect(),
        }
    }

    /// All changes in order of kind and identity.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Change)> {
        self.changes.iter()
    }
}

/// Written as a list, because an object is no key of a JSON map.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    id: ObjectId,
    #[serde(flatten)]
    change: Change,
}

impl Serialize for Difference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.changes.iter().map(|(id, change)| Row {
            id: id.clone(),
            change: change.clone(),
        }))
    }
}

impl<'de> Deserialize<'de> for Difference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?;
        Ok(Self {
            changes: rows.into_iter().map(|row| (row.id, row.change)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(rows: &[(&str, &str)]) -> Snapshot {
        rows.iter()
            .map(|(identity, body)| {
                (
                    ObjectId {
                        kind: "relation".into(),
                        identity: (*identity).into(),
                    },
                    (*body).into(),
                )
            })
            .collect()
    }

    #[test]
    fn added_removed_and_altered_objects_are_told_apart() {
        let difference = Difference::between(
            &snapshot(&[("a", "1"), ("b", "1"), ("c", "1")]),
            &snapshot(&[("b", "2"), ("c", "1"), ("d", "1")]),
        );
        let found: Vec<_> = difference
            .iter()
            .map(|(id, change)| (id.identity.as_str(), change.clone()))
            .collect();
        assert_eq!(
            found,
            [
                ("a", Change::Removed { before: "1".into() }),
                (
                    "b",
                    Change::Altered {
                        before: "1".into(),
                        after: "2".into()
                    }
                ),
                ("d", Change::Added { after: "1".into() }),
            ]
        );
    }

    #[test]
    fn a_difference_survives_json() {
        let difference = Difference::between(
            &snapshot(&[("a", "1")]),
            &snapshot(&[("a", "2"), ("b", "1")]),
        );
        let text = serde_json::to_string(&difference).unwrap();
        assert_eq!(
            serde_json::from_str::<Difference>(&text).unwrap(),
            difference
        );
    }
}
