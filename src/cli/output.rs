//! What goes to standard output: reports, and nothing else.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

use crate::report::{Report, render};

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For a pull request's comment
    Markdown,
    /// One self-contained page
    Html,
    /// The whole versioned document, one a line
    Json,
    /// The statements as they were executed
    Sql,
}

/// Prints reports in order.
///
/// # Errors
/// When standard output is closed or full.
pub(super) fn print(
    reports: &[Report],
    format: Format,
    all_statements: bool,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let style = style(&out, all_statements);
    if format == Format::Html {
        writeln!(out, "{}", render::html(reports))?;
        return out.flush();
    }
    for (index, report) in reports.iter().enumerate() {
        if index > 0 && matches!(format, Format::Text | Format::Markdown) {
            writeln!(out)?;
        }
        let text = match format {
            Format::Text => render::text(report, style),
            Format::Markdown => render::markdown(report),
            Format::Sql => render::sql(report),
            Format::Json | Format::Html => render::json(report) + "\n",
        };
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

/// How text looks on this stream.
pub(super) fn style(stream: &impl IsTerminal, all_statements: bool) -> render::Style {
    render::Style {
        colour: colours(stream),
        width: width(),
        all_statements,
    }
}

/// Colours only for eyes, and not for those who refuse them (<https://no-color.org>).
pub(super) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// The terminal's, within what is readable; a fixed one elsewhere.
fn width() -> usize {
    console::Term::stdout()
        .size_checked()
        .map_or(100, |(_, columns)| usize::from(columns).clamp(60, 160))
}
