//! A report for people and for machines.
//!
//! [`outline`](Outline) says once what a reader should see and in which order; text, Markdown and
//! HTML only dress it. [`sql`] gives the statements back as a script, [`json`] the document itself.

mod check;
mod html;
mod markdown;
mod object;
mod outline;
mod proof;
mod revisions;
mod sql;
mod text;
mod trip;

pub use html::html;
pub use markdown::{markdown, markdown_of};
pub use outline::{Failure, Mark, Outline, SchemaLine, Sign, StatementLine, Tone};
pub use sql::sql;
pub use text::{Style, text, text_of};

use super::Report;

/// The document as one line of JSON, the very bytes over which its digest is computed.
#[must_use]
pub fn json(report: &Report) -> String {
    serde_json::to_string(report).unwrap_or_default()
}
