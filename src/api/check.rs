//! Commands of the team's own that look at what a migration does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A command that is started as the upgrade's is, and meets the rehearsal too.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckSpec {
    /// What it is called in the report.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Word by word; no shell is involved. It has passed when it ends with 0.
    #[schemars(length(min = 1, max = 256))]
    pub command: Vec<String>,
    /// When it is started. Default: `After`.
    #[serde(default, skip_serializing_if = "CheckTime::is_default")]
    pub at: CheckTime,
}

/// When a check is started.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckTime {
    /// Before the upgrade: on the old schema, with the fixtures in.
    Before,
    /// After the upgrade, when it has ended with 0.
    #[default]
    After,
}

impl CheckTime {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
