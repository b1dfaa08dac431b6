//! One self-contained page: no script, no external resource.

use maud::{DOCTYPE, Markup, html as template};

use super::outline::{Mark, Outline, Sign, Tone};
use crate::report::Report;

const STYLE: &str = "
:root{color-scheme:light dark;--good:#1a7f37;--warning:#9a6700;--bad:#cf222e;--dim:#656d76;--line:#8884}
@media(prefers-color-scheme:dark){:root{--good:#3fb950;--warning:#d29922;--bad:#f85149;--dim:#8b949e}}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}
.good{color:var(--good)}.warning{color:var(--warning)}.bad{color:var(--bad)}.dim{color:var(--dim)}
pre,code{font:13px/1.45 ui-monospace,monospace}pre{overflow:auto;border-left:3px solid var(--line);padding:.4rem .8rem;margin:.4rem 0}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line)}
td.number{text-align:right;white-space:nowrap;color:var(--dim)}ul{list-style:none;padding:0;margin:.2rem 0}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dd{margin:0}dt{color:var(--dim)}
";

/// Renders reports as one HTML document.
#[must_use]
pub fn html(reports: &[Report]) -> String {
    let outlines: Vec<Outline> = reports.iter().map(Outline::of).collect();
    let title = outlines
        .last()
        .map(|outline| format!("{}: {}", outline.verdict, outline.title))
        .unwrap_or_default();
    template! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body { @for outline in &outlines { (article(outline)) } }
        }
    }
    .into_string()
}

fn article(outline: &Outline) -> Markup {
    template! {
        article {
            h1 { span class=(class(outline.tone)) { (outline.verdict) } " " span.dim { (outline.title) } }
            p { (outline.message) }
            @if let Some(failure) = &outline.failure {
                h2 { "Statement " (failure.number) " " span.dim { "(" (failure.place) ")" } }
                pre { @for line in &failure.text { (line) "\n" } }
                @if !failure.error.is_empty() { pre.bad { @for line in &failure.error { (line) "\n" } } }
            }
            @if !outline.output.is_empty() {
                h2 { "Last lines of the command" }
                pre.dim { @for line in &outline.output { (line) "\n" } }
            }
            (marks("Findings", &outline.findings))
            (marks("Fixtures", &outline.fixtures))
            (marks("Assertions", &outline.assertions))
            (marks("Checks", &outline.checks))
            (marks(&outline.revisions_heading, &outline.revisions))
            @if !outline.schema.is_empty() {
                h2 { (outline.schema_heading) }
                pre {
                    @for line in &outline.schema {
                        span class=(match line.sign { Sign::Added => "good", Sign::Removed => "bad", Sign::Altered => "warning" }) { (line) }
                        "\n"
                    }
                }
            }
            @if !outline.statements.is_empty() {
                h2 { (outline.statements_heading) }
                table {
                    thead { tr { th { "#" } th { "transaction" } th { "duration" } th { "statement" } th { "outcome" } } }
                    tbody {
                        @for statement in &outline.statements {
                            @for (first, heading) in &outline.revision_headings {
                                @if first + 1 == statement.number { tr { td {} td colspan="4" { b { (heading) } } } }
                            }
                            tr {
                                td.number { (statement.number) }
                                td.number { (statement.transaction) }
                                td.number { (statement.duration) }
                                td { code { (statement.text) } }
                                td class=(class(statement.tone)) { (statement.outcome) }
                            }
                        }
                    }
                }
                @if outline.omitted > 0 { p.dim { (outline.omitted) " more were not recorded." } }
            }
            (marks("Round trip", &outline.round_trip))
            (marks(&outline.rollback_heading, &outline.rollback))
            @if !outline.ledger.is_empty() {
                h2 { "What a rollback does not undo" }
                ul { @for line in &outline.ledger { li { (line) } } }
            }
            dl { @for (label, value) in &outline.facts { dt { (label) } dd { (value) } } }
        }
    }
}

fn marks(heading: &str, marks: &[Mark]) -> Markup {
    template! {
        @if !marks.is_empty() {
            h2 { (heading) }
            ul {
                @for mark in marks {
                    li {
                        span class=(class(mark.tone)) { (match mark.tone { Tone::Good => "✓", Tone::Warning => "!", Tone::Bad => "✗", Tone::Plain => "·" }) }
                        " " (mark.text)
                    }
                }
            }
        }
    }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
        Tone::Plain => "dim",
    }
}
