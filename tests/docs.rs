//! What the documentation names exists, and what it shows is valid.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use drydock::api;
use drydock::verdict::NotRehearsed;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.extend(
        ["README.md", "ARCHITECTURE.md", "examples/orders/README.md"].map(|p| root().join(p)),
    );
    pages
}

/// Every word between back quotes that begins with a letter and consists of letters, digits and `_`.
fn names(text: &str) -> BTreeSet<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect()
}

/// The first column of every table row, without back quotes.
fn first_column(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
}

#[test]
fn every_migration_that_is_shown_is_valid() {
    let mut shown = 0;
    for page in pages() {
        let text = read(&page);
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if block.contains("kind: Migration") || block.starts_with("spec:\n  image:") {
                api::from_yaml(block)
                    .unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()));
                shown += 1;
            }
        }
    }
    assert!(shown >= 3, "{shown} Migrations found in the documentation");
    api::from_yaml(&read("examples/orders/deploy/migration.yaml")).unwrap();
}

#[test]
fn every_link_leads_to_a_file() {
    for page in pages() {
        for target in read(&page)
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            assert!(
                page.parent().unwrap().join(file).exists(),
                "{}: {target}",
                page.display()
            );
        }
    }
}

#[test]
fn every_cause_of_not_rehearsed_is_explained_and_no_other() {
    let page = read("docs/limitations.md");
    let table = page.split("## Rehearsed otherwise").next().unwrap();
    let explained: BTreeSet<&str> = first_column(table).flat_map(names).collect();
    let schema = serde_json::to_string(&schemars::schema_for!(NotRehearsed)).unwrap();
    let causes: BTreeSet<&str> = schema
        .split("\"const\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(causes.len() > 5, "{schema}");
    assert_eq!(explained, causes);
}

#[test]
fn every_reason_that_is_explained_exists() {
    let page = read("docs/gate.md");
    let table = page
        .split("| reason |")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let reasons = read("src/api/reason.rs");
    let explained: BTreeSet<&str> = first_column(table).flat_map(names).collect();
    assert!(explained.len() > 15);
    for reason in explained {
        assert!(
            reasons.contains(&format!("\"{reason}\"")),
            "{reason} is no reason"
        );
    }
}

#[test]
fn every_metric_is_explained_and_no_other() {
    let page = read("docs/prometheus.md");
    let explained: BTreeSet<&str> = first_column(&page)
        .flat_map(names)
        .filter(|name| name.starts_with("drydock_"))
        .collect();
    let source = read("src/operator/controller/metrics.rs");
    let exposed: BTreeSet<&str> = source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| text.starts_with("drydock_") && !text.contains(' '))
        .collect();
    assert_eq!(explained, exposed);
}

/// Pairs of a file and a test in a text such as `` `drivers`: `a`, `b` ``.
fn tests_named(text: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = text.split('`').collect();
    let mut file = None;
    let mut named = Vec::new();
    for (name, then) in parts
        .iter()
        .skip(1)
        .step_by(2)
        .zip(parts.iter().skip(2).step_by(2))
    {
        let path = root().join(format!("tests/{name}.rs"));
        if *then == ": " && path.exists() {
            file = Some(*name);
        } else if let Some(file) = file
            && name.contains('_')
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            named.push((file, *name));
        }
    }
    named
}

#[test]
fn whatever_alembics_users_do_by_hand_has_a_test_that_is_named() {
    let text = read("docs/alembic.md");
    let (table, rest) = text.split_once("\n## ").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in &rows {
        assert!(!tests_named(row).is_empty(), "no test is named: {row}");
    }
    for (file, test) in rows.into_iter().chain(rest.lines()).flat_map(tests_named) {
        let source = read(format!("tests/{file}.rs"));
        assert!(
            source.contains(&format!("fn {test}(")),
            "tests/{file}.rs has no {test}"
        );
    }
}
