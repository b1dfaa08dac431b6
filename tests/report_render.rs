//! Reports as people see them. Each picture is the whole rendering of a document in
//! tests/reports; `INSTA_UPDATE=always` takes new ones, and a reader compares.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use drydock::report::{Report, render};
use rstest::rstest;

fn report(name: &str) -> Report {
    let path = format!("{}/tests/reports/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn style(colour: bool) -> render::Style {
    render::Style {
        colour,
        ..render::Style::default()
    }
}

#[rstest]
fn a_report_looks_like_its_picture(
    #[values("passed", "failed_at_commit", "went_around", "diverged", "not_started")] name: &str,
) {
    let report = report(name);
    insta::assert_snapshot!(format!("{name}.text"), render::text(&report, style(false)));
    insta::assert_snapshot!(format!("{name}.markdown"), render::markdown(&report));
    insta::assert_snapshot!(format!("{name}.sql"), render::sql(&report));
    insta::assert_snapshot!(format!("{name}.html"), render::html(&[report]));
}

#[rstest]
fn colours_change_nothing_but_the_colour(
    #[values("passed", "failed_at_commit", "went_around")] name: &str,
) {
    let report = report(name);
    let coloured = render::text(&report, style(true));
    assert!(coloured.contains("\x1b["));
    let plain = console::strip_ansi_codes(&coloured).into_owned();
    assert_eq!(plain, render::text(&report, style(false)));
}

#[test]
fn no_line_of_our_own_is_wider_than_the_terminal() {
    for name in ["passed", "failed_at_commit", "went_around", "diverged"] {
        for width in [80, 100, 120] {
            let style = render::Style {
                width,
                all_statements: true,
                ..style(false)
            };
            for line in render::text(&report(name), style).lines() {
                // What a reader copies (statements, errors, output) and names are not cut.
                let copied = line.starts_with("    ") || line.starts_with("  ERROR");
                let name = line
                    .split_whitespace()
                    .any(|word| word.chars().count() > width / 2);
                assert!(
                    line.chars().count() <= width || copied || name,
                    "{width}: {line}"
                );
            }
        }
    }
}

#[test]
fn statements_are_listed_under_their_revision_with_its_duration() {
    let mut report = report("passed");
    let texts = [
        "BEGIN",
        "SELECT version_num FROM alembic_version",
        "CREATE TABLE a ()",
        "INSERT INTO alembic_version (version_num) VALUES (?)",
        "UPDATE alembic_version SET version_num=?",
        "COMMIT",
    ];
    report.statements.truncate(texts.len());
    for (statement, text) in report.statements.iter_mut().zip(texts) {
        statement.text = text.to_owned();
        statement.micros = 1500;
    }
    let text = render::text(&report, style(false));
    let (_, list) = text.split_once("  SELECT version_num").unwrap();
    let lines: Vec<&str> = list.lines().skip(1).take(6).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "revision 1: 2 statements, 3.0 ms",
            "3    1.5 ms  CREATE TABLE a ()",
            "4    1.5 ms  INSERT INTO alembic_version (version_num) VALUES (?)",
            "revision 2: 2 statements, 3.0 ms",
            "5    1.5 ms  UPDATE alembic_version SET version_num=?",
            "6    1.5 ms  COMMIT",
        ]
    );
    let page = render::html(&[report]);
    assert!(page.contains("revision 2: 2 statements, 3.0 ms"));
}

/// A report may quote what a stranger wrote: it must not drive the reader's terminal or browser.
#[test]
fn what_a_migration_writes_cannot_leave_its_place() {
    let mut report = report("failed_at_commit");
    let evil = "\x1b[2J</pre><script>alert(1)</script>\n```\n| a | b |\u{202e}";
    report.message = evil.to_owned();
    report.command = vec![evil.to_owned()];
    report.command_output = evil.to_owned();
    for statement in &mut report.statements {
        statement.text = evil.to_owned();
    }
    let text = render::text(&report, style(false));
    assert!(
        !text.contains('\x1b') && !text.contains('\u{202e}'),
        "{text}"
    );
    assert!(!render::html(&[report.clone()]).contains("<script>"));
    let markdown = render::markdown(&report);
    let open = markdown.lines().filter(|line| *line == "```").count();
    let longer = markdown
        .lines()
        .filter(|line| line.starts_with("````"))
        .count();
    assert!(
        longer >= 2,
        "the fence is not longer than what it holds:\n{markdown}"
    );
    assert!(open >= 1);
}
