//! For a terminal or a log: the verdict first, details after.

use std::fmt::Write;

use super::outline::{Mark, Outline, Sign, Tone};
use crate::report::Report;

/// How text may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether ANSI colours may be written.
    pub colour: bool,
    /// Columns after which long statements are cut.
    pub width: usize,
    /// Whether every statement is listed, not only the slowest and the failed.
    pub all_statements: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            colour: false,
            width: 100,
            all_statements: false,
        }
    }
}

/// Without `all_statements`, a longer list shows its slowest and its failed ones only.
const SHORT_LIST: usize = 12;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Renders a report as text.
#[must_use]
pub fn text(report: &Report, style: Style) -> String {
    text_of(&Outline::of(report), style)
}

/// Renders what was arranged for reading.
#[must_use]
pub fn text_of(outline: &Outline, style: Style) -> String {
    let mut page = Page {
        style,
        text: String::new(),
    };
    page.head(outline);
    page.failure(outline);
    page.marks("Findings", &outline.findings);
    page.marks("Fixtures", &outline.fixtures);
    page.marks("Assertions", &outline.assertions);
    page.marks("Checks", &outline.checks);
    page.marks(&outline.revisions_heading, &outline.revisions);
    page.schema(outline);
    page.statements(outline);
    page.marks("Round trip", &outline.round_trip);
    page.marks(&outline.rollback_heading, &outline.rollback);
    page.ledger(outline);
    page.facts(outline);
    page.text
}

struct Page {
    style: Style,
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.style.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn toned(&self, tone: Tone, text: &str) -> String {
        self.paint(
            match tone {
                Tone::Good => GREEN,
                Tone::Warning => YELLOW,
                Tone::Bad => RED,
                Tone::Plain => DIM,
            },
            text,
        )
    }

    fn heading(&mut self, heading: &str) {
        self.line("");
        let heading = self.paint(BOLD, heading);
        self.line(&heading);
    }

    /// Cuts a line at the width, on a character boundary.
    fn cut(&self, text: &str, used: usize) -> String {
        let room = self.style.width.saturating_sub(used).max(20);
        if text.chars().count() <= room {
            return text.to_owned();
        }
        let mut cut: String = text.chars().take(room - 1).collect();
        cut.push('…');
        cut
    }

    fn head(&mut self, outline: &Outline) {
        let symbol = symbol(outline.tone);
        let verdict = self.toned(outline.tone, &format!("{symbol} {}", outline.verdict));
        let used = outline.verdict.chars().count() + 4;
        let title = self.paint(DIM, &self.cut(&outline.title, used));
        self.line(&format!("{verdict}  {title}"));
        for line in wrap(&outline.message, self.style.width.saturating_sub(2)) {
            self.line(&format!("  {line}"));
        }
    }

    fn failure(&mut self, outline: &Outline) {
        if let Some(failure) = &outline.failure {
            self.heading(&format!("Statement {} ({})", failure.number, failure.place));
            for line in &failure.text {
                self.line(&format!("    {line}"));
            }
            for (index, line) in failure.error.iter().enumerate() {
                let line = if index == 0 {
                    self.paint(RED, line)
                } else {
                    line.clone()
                };
                self.line(&format!("  {line}"));
            }
        }
        if !outline.output.is_empty() {
            self.heading("Last lines of the command");
            for line in &outline.output {
                let line = self.paint(DIM, line);
                self.line(&format!("    {line}"));
            }
        }
    }

    fn marks(&mut self, heading: &str, marks: &[Mark]) {
        if marks.is_empty() {
            return;
        }
        self.heading(heading);
        for mark in marks {
            let symbol = self.toned(mark.tone, symbol(mark.tone));
            for (index, line) in wrap(&mark.text, self.style.width.saturating_sub(4))
                .iter()
                .enumerate()
            {
                if index == 0 {
                    self.line(&format!("  {symbol} {line}"));
                } else {
                    self.line(&format!("    {line}"));
                }
            }
        }
    }

    fn schema(&mut self, outline: &Outline) {
        if outline.schema.is_empty() {
            return;
        }
        self.heading(&outline.schema_heading);
        for line in &outline.schema {
            let colour = match line.sign {
                Sign::Added => GREEN,
                Sign::Removed => RED,
                Sign::Altered => YELLOW,
            };
            let sign = self.paint(colour, line.sign.symbol());
            let used = 7 + line.kind.chars().count() + line.identity.chars().count();
            let detail = self.cut(&line.detail, used);
            let detail = self.paint(DIM, &detail);
            self.line(&format!(
                "  {sign} {} {}  {detail}",
                line.kind, line.identity
            ));
        }
    }

    fn statements(&mut self, outline: &Outline) {
        if outline.statements.is_empty() {
            return;
        }
        let shown: Vec<_> = if self.style.all_statements || outline.statements.len() <= SHORT_LIST {
            outline.statements.iter().collect()
        } else {
            outline
                .statements
                .iter()
                .filter(|statement| statement.tone != Tone::Good)
                .collect()
        };
        self.heading(&outline.statements_heading);
        let all = shown.len() == outline.statements.len();
        for statement in &shown {
            let revision = outline
                .revision_headings
                .iter()
                .find(|(first, _)| all && first + 1 == statement.number);
            if let Some((_, heading)) = revision {
                let heading = self.paint(DIM, heading);
                self.line(&format!("  {heading}"));
            }
            let used = 6 + 10 + 2;
            let text = self.cut(&statement.text, used);
            let duration = self.paint(DIM, &format!("{:>10}", statement.duration));
            let text = match statement.tone {
                Tone::Good => text,
                tone => self.toned(tone, &text),
            };
            self.line(&format!("  {:>4}{duration}  {text}", statement.number));
            if statement.tone != Tone::Good {
                let outcome = self.cut(&statement.outcome, used);
                self.line(&format!("{:18}{outcome}", ""));
            }
        }
        let hidden = outline.statements.len() - shown.len();
        if hidden > 0 {
            self.line(&format!(
                "  … {hidden} more that completed; `drydock report --statements` or `--output sql` lists them"
            ));
        }
        if outline.omitted > 0 {
            self.line(&format!("  … {} more were not recorded", outline.omitted));
        }
    }

    fn ledger(&mut self, outline: &Outline) {
        if outline.ledger.is_empty() {
            return;
        }
        self.heading("What a rollback does not undo");
        for line in &outline.ledger {
            self.line(&format!("  · {line}"));
        }
    }

    fn facts(&mut self, outline: &Outline) {
        self.line("");
        let width = outline
            .facts
            .iter()
            .map(|(label, _)| label.chars().count())
            .max()
            .unwrap_or_default();
        for (label, value) in &outline.facts {
            let mut padded = String::new();
            let _ = write!(padded, "{label:<width$}");
            let label = self.paint(DIM, &padded);
            self.line(&format!("  {label}  {value}"));
        }
    }
}

fn symbol(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "✓",
        Tone::Warning => "!",
        Tone::Bad => "✗",
        Tone::Plain => "·",
    }
}

/// Breaks text at spaces; a word longer than a line stays whole, so that it can be copied.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let longer = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && longer > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
