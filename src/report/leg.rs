//! One revision of a round trip: there, back, and there again.

use serde::{Deserialize, Serialize};

use super::TripStep;
use crate::schema::Difference;

/// What was tried with one pending revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leg {
    /// Its identifier.
    pub revision: String,
    /// The first paragraph of its file, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether its upgrade changed nothing in the schema.
    pub data_only: bool,
    /// What was run, in order.
    pub steps: Vec<TripStep>,
    /// What its downgrade left different from before it.
    pub left: Difference,
    /// Tables whose rows were compared before its upgrade and after its downgrade.
    #[serde(default)]
    pub compared: Vec<String>,
    /// Tables that a second run of it would change; `None` when it was not run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_changed: Option<Vec<String>>,
}
