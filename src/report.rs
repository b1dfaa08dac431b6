//! The versioned document that one run leaves: what was executed, what it changed, what the
//! witness saw, and the verdict.
//!
//! The document never holds a password, a bind value or a row.

mod assertion;
mod check;
mod checked;
mod document;
mod evidence;
mod finding;
mod fixture;
mod ledger;
mod leg;
pub mod render;
pub mod revision;
mod revisions;
mod round_trip;
mod statement;
mod summary;
pub mod units;
mod violation;
mod witnessed;

pub use assertion::{Assertion, AssertionOutcome};
pub use check::Check;
pub use checked::{CheckOutcome, Checked, CheckedAt};
pub use document::{Database, FORMAT_VERSION, Phase, Prediction, Report, RunId};
pub use finding::{Finding, Severity, WAITED_FOR_LOCK};
pub use fixture::{Fixture, FixtureOutcome};
pub use ledger::{Hints, HintsMoved, Ledger, SequenceMoved};
pub use leg::Leg;
pub use revisions::{Revision, Revisions};
pub use round_trip::{RoundTrip, StepName, TripStep};
pub use statement::{ServerError, Statement, StatementOutcome};
pub use summary::Summary;
pub use violation::{Before, ConstraintKind, Violation};
pub use witnessed::{CatalogueClass, CatalogueMove, Witnessed};
