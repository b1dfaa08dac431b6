//! Questions about the data that a migration leaves.

#![allow(unreachable_pub)] // KubeSchema writes `pub` items into function bodies

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// One question, asked inside the rehearsal once the upgrade's command has ended with 0.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("(self.expect == 'Value') == has(self.value)")
        .message("value belongs to expect: Value, and to no other"),
)]
pub struct AssertionSpec {
    /// What it is called in the report.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// One query: SELECT, WITH, VALUES or TABLE. It cannot write.
    #[schemars(length(min = 1, max = 8192))]
    pub sql: String,
    /// What it must find.
    pub expect: Expectation,
    /// With `expect: Value`: the one value, as the server writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
}

/// What a query must find.
#[derive(
    schemars::JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize,
)]
pub enum Expectation {
    /// No row.
    #[default]
    Empty,
    /// At least one row.
    NonEmpty,
    /// One row of one column, which is `value`.
    Value,
}
