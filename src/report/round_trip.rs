//! What a second rehearsed transaction showed: the way back, and forth again.

use serde::{Deserialize, Serialize};

use super::Leg;
use crate::schema::Difference;

/// The second transaction of a dry run. It begins where the first one began, and is rolled back too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrip {
    /// Why it did not come to its end; `None` when it did. The verdict stands all the same.
    pub cut: Option<String>,
    /// The pending revisions one by one, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Leg>,
    /// What was run for all of them together, in order.
    pub steps: Vec<TripStep>,
    /// What the downgrade left different from before.
    pub left: Difference,
    /// Tables whose rows were compared before the upgrade and after the downgrade.
    #[serde(default)]
    pub compared: Vec<String>,
    /// Milliseconds that all of it took.
    pub millis: u64,
}

/// One command of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TripStep {
    /// Which one.
    pub name: StepName,
    /// Word by word.
    pub command: Vec<String>,
    /// Its exit code; `None` when a signal ended it.
    pub exit: Option<i32>,
    /// Milliseconds.
    pub millis: u64,
    /// The last lines of its output, when it did not end with 0.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// The commands of a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepName {
    /// The upgrade.
    Upgrade,
    /// `alembic check`: do the models say what the database says?
    ModelCheck,
    /// The upgrade, when there is nothing left to do.
    SecondUpgrade,
    /// Back to where the database stood.
    Downgrade,
    /// The upgrade behind the downgrade.
    UpgradeAgain,
    /// Writing the revision before into the version table, so that the upgrade runs again.
    StampBack,
    /// The same upgrade on what it has already changed.
    Rerun,
}

impl StepName {
    /// In words, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::ModelCheck => "models against database",
            Self::SecondUpgrade => "second upgrade",
            Self::Downgrade => "downgrade",
            Self::UpgradeAgain => "upgrade again",
            Self::StampBack => "stamp back",
            Self::Rerun => "second run",
        }
    }
}
