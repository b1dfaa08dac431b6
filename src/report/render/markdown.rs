//! For a pull request's comment.

use super::outline::{Mark, Outline, Tone};
use crate::report::Report;

/// Renders a report as GitHub-flavoured Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    markdown_of(&Outline::of(report))
}

/// Renders what was arranged for reading.
#[must_use]
pub fn markdown_of(outline: &Outline) -> String {
    let mut page = String::new();
    let symbol = match outline.tone {
        Tone::Good => "✅",
        Tone::Warning => "⚠️",
        Tone::Bad => "❌",
        Tone::Plain => "ℹ️",
    };
    page.push_str(&format!(
        "### {symbol} {}: {}\n\n{}\n",
        outline.verdict,
        code(&outline.title),
        escape(&outline.message)
    ));
    if let Some(failure) = &outline.failure {
        page.push_str(&format!(
            "\n**Statement {}** ({})\n\n",
            failure.number, failure.place
        ));
        fence(&mut page, "sql", &failure.text);
        if !failure.error.is_empty() {
            fence(&mut page, "", &failure.error);
        }
    }
    if !outline.output.is_empty() {
        page.push_str("\n**Last lines of the command**\n\n");
        fence(&mut page, "", &outline.output);
    }
    marks(&mut page, "Findings", &outline.findings);
    marks(&mut page, "Fixtures", &outline.fixtures);
    marks(&mut page, "Assertions", &outline.assertions);
    marks(&mut page, "Checks", &outline.checks);
    marks(&mut page, &outline.revisions_heading, &outline.revisions);
    if !outline.schema.is_empty() {
        page.push_str(&format!("\n**{}**\n\n", outline.schema_heading));
        let lines: Vec<String> = outline
            .schema
            .iter()
            .map(|line| {
                // The viewer's `diff` colouring knows `!` for changed lines.
                line.to_string()
                    .strip_prefix('~')
                    .map_or_else(|| line.to_string(), |rest| format!("!{rest}"))
            })
            .collect();
        fence(&mut page, "diff", &lines);
    }
    if !outline.statements.is_empty() {
        page.push_str(&format!(
            "\n<details><summary>{}</summary>\n\n| # | transaction | duration | statement | outcome |\n|--:|--:|--:|---|---|\n",
            outline.statements_heading
        ));
        for statement in &outline.statements {
            page.push_str(&format!(
                "| {} | {} | {} | {} | {} |\n",
                statement.number,
                statement.transaction,
                statement.duration,
                code(&statement.text),
                escape(&statement.outcome)
            ));
        }
        if outline.omitted > 0 {
            page.push_str(&format!("\n{} more were not recorded.\n", outline.omitted));
        }
        page.push_str("\n</details>\n");
    }
    marks(&mut page, "Round trip", &outline.round_trip);
    marks(&mut page, &outline.rollback_heading, &outline.rollback);
    if !outline.ledger.is_empty() {
        page.push_str("\n**What a rollback does not undo**\n\n");
        for line in &outline.ledger {
            page.push_str(&format!("- {}\n", escape(line)));
        }
    }
    page.push('\n');
    let facts: Vec<String> = outline
        .facts
        .iter()
        .map(|(label, value)| format!("{label}: {}", escape(value)))
        .collect();
    page.push_str(&format!("<sub>{}</sub>\n", facts.join(" · ")));
    page
}

fn marks(page: &mut String, heading: &str, marks: &[Mark]) {
    if marks.is_empty() {
        return;
    }
    page.push_str(&format!("\n**{heading}**\n\n"));
    for mark in marks {
        let symbol = match mark.tone {
            Tone::Good => "✓",
            Tone::Warning => "⚠",
            Tone::Bad => "✗",
            Tone::Plain => "·",
        };
        page.push_str(&format!("- {symbol} {}\n", escape(&mark.text)));
    }
}

/// A fence longer than any run of backticks inside, so that a statement cannot end it.
fn fence(page: &mut String, language: &str, lines: &[String]) {
    let mut longest = 2;
    for line in lines {
        let mut run = 0;
        for c in line.chars() {
            run = if c == '`' { run + 1 } else { 0 };
            longest = longest.max(run);
        }
    }
    let ticks = "`".repeat(longest + 1);
    page.push_str(&format!("{ticks}{language}\n"));
    for line in lines {
        page.push_str(line);
        page.push('\n');
    }
    page.push_str(&format!("{ticks}\n"));
}

/// Inline code that is safe inside a table: pipes escaped, fenced by enough backticks.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\n' => escaped.push(' '),
            '|' | '*' | '_' | '`' | '\\' | '[' | ']' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}
