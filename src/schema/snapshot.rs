//! The structure of one database as names and bodies, free of OIDs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Scope;

/// One object of the catalogue: its kind (`relation`, `column`, `constraint`, …) and its qualified,
/// quoted identity, which holds no OID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// The kind, one of the fixed kinds of the catalogue query.
    pub kind: String,
    /// The identity as the server quotes it, e.g. `public.orders.customer_id`.
    pub identity: String,
}

/// Every object with its definition, ordered by kind and identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    objects: BTreeMap<ObjectId, String>,
}

impl Snapshot {
    /// The definition of one object: a JSON text as the server wrote it.
    #[must_use]
    pub fn get(&self, id: &ObjectId) -> Option<&str> {
        self.objects.get(id).map(String::as_str)
    }

    /// All objects in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &str)> {
        self.objects.iter().map(|(id, body)| (id, body.as_str()))
    }

    /// The number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether the snapshot holds no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The objects of one scope.
    #[must_use]
    pub fn scoped(&self, scope: Scope) -> Self {
        self.objects
            .iter()
            .filter(|(id, _)| Scope::of(&id.kind) == scope)
            .map(|(id, body)| (id.clone(), body.clone()))
            .collect()
    }

    /// Adds or replaces one object.
    pub fn insert(&mut self, id: ObjectId, body: String) {
        self.objects.insert(id, body);
    }

    /// Removes one object.
    pub fn remove(&mut self, id: &ObjectId) {
        self.objects.remove(id);
    }
}

impl FromIterator<(ObjectId, String)> for Snapshot {
    fn from_iter<I: IntoIterator<Item = (ObjectId, String)>>(rows: I) -> Self {
        Self {
            objects: rows.into_iter().collect(),
        }
    }
}

/// Written as a list, because an object is no key of a JSON map.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    id: ObjectId,
    body: String,
}

impl Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.objects.iter().map(|(id, body)| Row {
            id: id.clone(),
            body: body.clone(),
        }))
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?;
        Ok(rows.into_iter().map(|row| (row.id, row.body)).collect())
    }
}
