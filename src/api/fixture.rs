//! Rows that a rehearsal is given before it begins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows, put in before the upgrade's command is started, and rolled back with everything else.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FixtureSpec {
    /// What it is called in the report.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Any number of statements that change rows: INSERT, UPDATE, DELETE, MERGE, or SELECT of a
    /// function that does.
    #[schemars(length(min = 1, max = 65536))]
    pub sql: String,
}
